/* SPDX-License-Identifier: MIT */
#include "editor.h"

#include <assert.h>
#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include <lauxlib.h>

#include "interrupt.h"

enum { HISTORY_ENTRIES = 2000, HISTORY_FILE_BYTES = 1 << 20 };

struct editor {
    EditLine *line;
    History *history;
    lua_State *L;
    editor_complete_fn complete;
    const char *prompt;
    char path[PATH_MAX]; /* of the history; "" = it is not kept */
};

/* Written by the handler, during editor_read. */
static volatile sig_atomic_t was_resized;
static volatile sig_atomic_t was_continued;

static void on_signal(int signal_number)
{
    if (signal_number == SIGWINCH)
        was_resized = 1;
    else
        was_continued = 1;
}

/* ---- keys -------------------------------------------------------------------------------- */

/* Waits for a key or a signal. The signals are let in by the wait only, so that one that comes just
 * before it is not slept over. */
static void wait_key(void)
{
    struct pollfd key = { .fd = STDIN_FILENO, .events = POLLIN };
    sigset_t signals;
    sigset_t before;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGWINCH);
    (void)sigaddset(&signals, SIGCONT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
    if (!interrupt_was_pressed() && !was_resized && !was_continued)
        (void)ppoll(&key, 1, NULL, &before);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void redraw(EditLine *line)
{
    if (was_continued)
        el_set(line, EL_PREP_TERM, 1); /* the shell took the terminal back */
    if (was_resized)
        el_resize(line);
    was_continued = was_resized = 0;
    el_set(line, EL_REFRESH);
}

/* In the place of libedit's own, which reads on after a signal; here Ctrl-C ends the line. */
static int read_key(EditLine *line, wchar_t *out)
{
    mbstate_t state;

    memset(&state, 0, sizeof state);
    for (;;) {
        char byte;
        ssize_t got;
        size_t used;

        wait_key();
        if (interrupt_was_pressed())
            return -1;
        if (was_resized || was_continued) {
            redraw(line);
            continue;
        }
        got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1) {
            *out = L'?';
            return 1;
        }
        if (used != (size_t)-2)
            return 1;
    }
}

static const char *prompt_of(EditLine *line)
{
    struct editor *editor = NULL;

    el_get(line, EL_CLIENTDATA, &editor);
    return editor->prompt;
}

static char *push_prompt(EditLine *line)
{
    return (char *)(uintptr_t)prompt_of(line);
}

/* The Tab key. */
static unsigned char complete_word(EditLine *line, int key)
{
    const LineInfo *info = el_line(line);
    struct editor *editor = NULL;
    unsigned char outcome = CC_REFRESH_BEEP;
    lua_State *L;
    int top;

    (void)key;
    el_get(line, EL_CLIENTDATA, &editor);
    L = editor->L;
    top = lua_gettop(L);
    lua_pushcfunction(L, editor->complete);
    lua_pushlstring(L, info->buffer, (size_t)(info->cursor - info->buffer));
    if (lua_pcall(L, 1, 2, 0) == LUA_OK) {
        const char *inserted = lua_tostring(L, -2);
        const char *listed = lua_tostring(L, -1);

        if (inserted != NULL && inserted[0] != '\0' && el_insertstr(line, inserted) == 0)
            outcome = CC_REFRESH;
        if (listed != NULL) {
            printf("\n%s\n", listed);
            fflush(stdout);
            outcome = CC_REDISPLAY;
        }
    }
    lua_settop(L, top);
    return outcome;
}

/* ---- history ----------------------------------------------------------------------------- */

/* Makes the directories above a file; a failure shows when the file is opened. */
static void make_parents(const char *path)
{
    char directory[PATH_MAX];
    size_t length = strlen(path);

    assert(length < sizeof directory);
    for (size_t i = 1; i < length; i++) {
        if (path[i] != '/')
            continue;
        memcpy(directory, path, i);
        directory[i] = '\0';
        (void)mkdir(directory, 0700);
    }
}

static void find_history(char *out_path, size_t capacity)
{
    const char *path = getenv("SOMBRA_HISTORY");
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int length = 0;

    if (path != NULL)
        length = snprintf(out_path, capacity, "%s", path);
    else if (state != NULL && state[0] == '/')
        length = snprintf(out_path, capacity, "%s/sombra/history", state);
    else if (home != NULL)
        length = snprintf(out_path, capacity, "%s/.local/state/sombra/history", home);
    if (length <= 0 || (size_t)length >= capacity)
        out_path[0] = '\0';
}

static void load_history(struct editor *editor)
{
    HistEvent event;
    struct stat status;

    find_history(editor->path, sizeof editor->path);
    if (editor->path[0] == '\0' || stat(editor->path, &status) != 0 || status.st_size == 0)
        return;
    if (history(editor->history, &event, H_LOAD, editor->path) < 0)
        editor->path[0] = '\0'; /* some other file: it is left alone */
    else if (status.st_size > HISTORY_FILE_BYTES)
        (void)history(editor->history, &event, H_SAVE, editor->path);
}

/* By way of a history of its own: what "the last n" means differs between versions of libedit. */
static void write_entry(FILE *file, const char *text)
{
    History *single = history_init();
    HistEvent event;

    if (single == NULL)
        return;
    (void)history(single, &event, H_SETSIZE, 1);
    if (history(single, &event, H_ENTER, text) >= 0)
        (void)history(single, &event, H_SAVE_FP, file);
    history_end(single);
}

static void append_history(struct editor *editor, const char *text)
{
    FILE *file;

    if (editor->path[0] == '\0')
        return;
    make_parents(editor->path);
    file = fopen(editor->path, "a");
    if (file == NULL) {
        editor->path[0] = '\0';
        return;
    }
    (void)fchmod(fileno(file), 0600);
    (void)fseek(file, 0, SEEK_END); /* libedit writes its heading at the place 0 only */
    write_entry(file, text);
    (void)fclose(file);
}

void editor_remember(struct editor *editor, const char *text)
{
    HistEvent event;

    if (text[strspn(text, " \t\r\n")] == '\0')
        return;
    if (history(editor->history, &event, H_FIRST) >= 0 && strcmp(event.str, text) == 0)
        return;
    if (history(editor->history, &event, H_ENTER, text) >= 0)
        append_history(editor, text);
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static bool is_capable(void)
{
    const char *term = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term != NULL && term[0] != '\0' &&
           strcmp(term, "dumb") != 0;
}

static void set_up(struct editor *editor)
{
    HistEvent event;

    (void)history(editor->history, &event, H_SETSIZE, HISTORY_ENTRIES);
    el_set(editor->line, EL_CLIENTDATA, editor);
    el_set(editor->line, EL_EDITOR, "emacs");
    el_set(editor->line, EL_PROMPT, push_prompt);
    el_set(editor->line, EL_HIST, history, editor->history);
    el_set(editor->line, EL_GETCFN, read_key);
    /* In wide characters, because libedit leaks its copies of narrow ones. */
    el_wset(editor->line, EL_ADDFN, L"sombra-complete", L"Complete the word", complete_word);
    el_set(editor->line, EL_BIND, "^I", "sombra-complete", NULL);
    el_set(editor->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_source(editor->line, NULL); /* ~/.editrc: vi keys, bindings */
    load_history(editor);
}

struct editor *editor_open(lua_State *L, editor_complete_fn complete)
{
    static struct editor editor;

    assert(editor.line == NULL);
    if (!is_capable())
        return NULL;
    /* Letters are UTF-8 here whatever the locale, since Lua's strings are. */
    (void)setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    editor = (struct editor){ .L = L, .complete = complete, .prompt = "" };
    editor.line = el_init("sombra", stdin, stdout, stderr);
    editor.history = history_init();
    if (editor.line == NULL || editor.history == NULL) {
        editor_close(&editor);
        return NULL;
    }
    set_up(&editor);
    return &editor;
}

void editor_close(struct editor *editor)
{
    if (editor == NULL)
        return;
    if (editor->line != NULL)
        el_end(editor->line);
    if (editor->history != NULL)
        history_end(editor->history);
    editor->line = NULL;
    editor->history = NULL;
}

/* ---- reading ----------------------------------------------------------------------------- */

enum editor_outcome editor_read(struct editor *editor, const char *prompt)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct sigaction resized_before;
    struct sigaction continued_before;
    const char *text;
    bool was_interrupted;
    int length = 0;

    editor->prompt = prompt;
    was_resized = was_continued = 0;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGWINCH, &action, &resized_before);
    (void)sigaction(SIGCONT, &action, &continued_before);
    interrupt_begin(editor->L);
    el_resize(editor->line);
    text = el_gets(editor->line, &length);
    was_interrupted = interrupt_end(editor->L);
    (void)sigaction(SIGWINCH, &resized_before, NULL);
    (void)sigaction(SIGCONT, &continued_before, NULL);
    editor->prompt = "";
    if (was_interrupted)
        return EDITOR_INTERRUPTED;
    if (text == NULL || length <= 0)
        return EDITOR_END;
    if (text[length - 1] == '\n')
        length--;
    lua_pushlstring(editor->L, text, (size_t)length);
    return EDITOR_LINE;
}
