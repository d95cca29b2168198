/* SPDX-License-Identifier: MIT */
/* The command line of `sombra`: what was asked for, before any Lua state exists.
 *
 * The grammar is that of `lua` 5.4. Options stop at the first word that is not one; that word
 * is the script, and what follows belongs to it. One thing is added: if the very first word is the
 * name of a command (lua/sombra/cli/commands.lua has them), all words belong to that command.
 */
#ifndef HOST_ARGUMENTS_H
#define HOST_ARGUMENTS_H

#include <stdbool.h>

struct arguments {
    int argc;
    char **argv;              /* the process's own, never changed */
    int script_index;         /* in argv; argc when there is no script. "-" means stdin */
    int options_end;          /* argv[1 .. options_end - 1] are options and their values */
    bool is_interactive;      /* -i */
    bool prints_version;      /* -v, -i or --version */
    bool prints_help;         /* -h or --help */
    bool has_statement;       /* -e was given: no REPL without -i */
    bool ignores_environment; /* -E */
    bool ends_after_version;  /* --version: print and leave */
    bool may_be_command;      /* the first word could be a command's name */
};

/* False when a word is no option or lacks its value; *out_bad is then that word. */
bool arguments_parse(int argc, char **argv, struct arguments *out, const char **out_bad);

/* The options in the order given, for running -e, -l and -W. *index starts at 1 and is moved on.
 * Returns the option's letter, 0 at the end; *out_value is NULL for options that have none. */
char arguments_next(const struct arguments *arguments, int *index, const char **out_value);

void arguments_print_version(void);

#endif
