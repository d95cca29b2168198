/* SPDX-License-Identifier: MIT */
#include "pager.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interrupt.h"

enum { EXIT_NOT_FOUND = 127, PIECE_BYTES = 4096 };

/* A handler rather than SIG_IGN, which the pager would inherit. */
static void on_signal(int signal_number)
{
    (void)signal_number;
}

static bool is_longer_than_screen(const char *text, size_t bytes)
{
    struct winsize window;
    size_t lines = 0;
    size_t column = 0;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) ||
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0 || window.ws_row == 0)
        return false;
    for (size_t i = 0; i < bytes && lines < window.ws_row; i++) {
        column = text[i] == '\n' ? 0 : column + 1;
        if (column == 0 || column > window.ws_col) {
            column = column > 0 ? 1 : 0;
            lines++;
        }
    }
    return lines >= window.ws_row;
}

/* False if there is no such program. */
static bool page(const char *command, const char *text, size_t bytes)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct sigaction interrupt_before;
    struct sigaction pipe_before;
    FILE *pipe;
    int status = -1;

    (void)sigemptyset(&action.sa_mask);
    fflush(stdout);
    (void)sigaction(SIGINT, &action, &interrupt_before); /* the pager's, not ours */
    (void)sigaction(SIGPIPE, &action, &pipe_before);     /* it may be left early */
    pipe = popen(command, "w");
    if (pipe != NULL) {
        (void)fwrite(text, 1, bytes, pipe);
        status = pclose(pipe);
    }
    (void)sigaction(SIGINT, &interrupt_before, NULL);
    (void)sigaction(SIGPIPE, &pipe_before, NULL);
    return status != -1 && !(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND);
}

void pager_print(const char *text, size_t bytes)
{
    const char *command = getenv("PAGER");

    if (command == NULL)
        command = "less -FRX 2>/dev/null";
    if (command[0] != '\0' && is_longer_than_screen(text, bytes) && page(command, text, bytes))
        return;
    /* In pieces that a pipe takes whole or not at all: of a longer write that a signal ends early
     * the rest would be tried again. */
    while (bytes > 0 && !interrupt_came_late()) {
        const size_t piece = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;

        (void)fwrite(text, 1, piece, stdout);
        fflush(stdout);
        text += piece;
        bytes -= piece;
    }
}
