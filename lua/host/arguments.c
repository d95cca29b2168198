/* SPDX-License-Identifier: MIT */
#include "arguments.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <lua.h>

void arguments_print_version(void)
{
    printf("sombra %s  (%s)\n", SOMBRA_VERSION, LUA_COPYRIGHT);
    fflush(stdout);
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

/* A name with one of these is a path; most scripts have one, and then no table of commands is read.
 */
static bool may_be_command(const char *word)
{
    return word[0] != '-' && word[0] != '\0' && strpbrk(word, "./") == NULL;
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
    parsed.may_be_command = index == 1 && argc > 1 && may_be_command(argv[1]);
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
