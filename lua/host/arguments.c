/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <assert.h>
#include <string.h>

#include <lua.h>

static const char help_text[] =
    "usage: sombra [options] [script [args]]\n"
    "\n"
    "Runs a Lua 5.4 script, with require(\"sombra\") built in. Without a script: a prompt when "
    "the\n"
    "input is a terminal, otherwise the input is run.\n"
    "\n"
    "options:\n"
    "  -e stat      run the string 'stat'\n"
    "  -i           enter the prompt after running 'script'\n"
    "  -l mod       require 'mod' into the global 'mod'\n"
    "  -l g=mod     require 'mod' into the global 'g'\n"
    "  -v           print the version\n"
    "  -E           ignore the environment variables\n"
    "  -W           turn warnings on\n"
    "  -h, --help   print this text and exit\n"
    "  --version    print the version and exit\n"
    "  --           stop handling options\n"
    "  -            stop handling options and run the standard input\n"
    "\n"
    "exit codes: 0 success, 1 error in Lua, 2 wrong usage, 3 database cannot be opened or is\n"
    "damaged, 4 limit reached, 130 interrupted (Ctrl-C)\n"
    "\n"
    "environment: LUA_INIT_5_4 or LUA_INIT, LUA_PATH_5_4 or LUA_PATH, LUA_CPATH_5_4 or LUA_CPATH\n";

void arguments_print_version(void)
{
    printf("sombra %s  (%s)\n", SOMBRA_VERSION, LUA_COPYRIGHT);
    fflush(stdout);
}

void arguments_print_help(FILE *stream)
{
    fputs(help_text, stream);
    fflush(stream);
}

static bool parse_long(const char *word, struct arguments *out)
{
    if (strcmp(word, "--help") == 0)
        out->prints_help = true;
    else if (strcmp(word, "--version") == 0)
        out->prints_version = out->ends_after_version = true;
    else
        return false;
    return true;
}

/* -e and -l take the rest of the word, or the next word. */
static bool parse_valued(const char *word, int *index, const struct arguments *out)
{
    if (word[2] != '\0')
        return true;
    (*index)++;
    return *index < out->argc && out->argv[*index][0] != '-';
}

static bool parse_short(const char *word, int *index, struct arguments *out)
{
    const bool is_single = word[2] == '\0';

    switch (word[1]) {
    case 'e':
        out->has_statement = true;
        return parse_valued(word, index, out);
    case 'l':
        return parse_valued(word, index, out);
    case 'i':
        out->is_interactive = out->prints_version = true;
        return is_single;
    case 'v':
        out->prints_version = true;
        return is_single;
    case 'E':
        out->ignores_environment = true;
        return is_single;
    case 'W':
        return is_single;
    case 'h':
        out->prints_help = true;
        return is_single;
    default:
        return false;
    }
}

bool arguments_parse(int argc, char **argv, struct arguments *out, const char **out_bad)
{
    struct arguments parsed = { .argc = argc, .argv = argv };
    int index = 1;

    assert(out != NULL && out_bad != NULL);
    for (; index < argc; index++) {
        const char *word = argv[index];
        const int start = index;

        if (word[0] != '-' || word[1] == '\0')
            break;
        if (strcmp(word, "--") == 0) {
            parsed.options_end = index++;
            parsed.script_index = index;
            *out = parsed;
            return true;
        }
        if (word[1] == '-' ? !parse_long(word, &parsed) : !parse_short(word, &index, &parsed)) {
            *out_bad = argv[start];
            return false;
        }
    }
    parsed.options_end = parsed.script_index = index;
    *out = parsed;
    return true;
}

char arguments_next(const struct arguments *arguments, int *index, const char **out_value)
{
    const char *word;

    assert(*index >= 1);
    *out_value = NULL;
    if (*index >= arguments->options_end)
        return 0;
    word = arguments->argv[(*index)++];
    if (word[1] == 'e' || word[1] == 'l')
        *out_value = word[2] != '\0' ? word + 2 : arguments->argv[(*index)++];
    return word[1];
}
