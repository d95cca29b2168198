/* SPDX-License-Identifier: MIT */
/* typist SCRIPT PROGRAM [ARGUMENTS]: types at a program through a pseudo-terminal.
 *
 * Each line of SCRIPT is `expect TEXT` (waits until the program has printed TEXT behind what was
 * expected before), `prompt TEXT` (and then until it reads single keys: what comes earlier is
 * edited by the terminal), `send TEXT` or `size LINES COLUMNS`; in texts \n, \t, \e, \\ and \xHH.
 * At the end of the script it waits for the program. Everything printed goes to the standard
 * output; the exit code is the program's, or 99 if something expected did not come.
 */
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { WAIT_MS = 20000, SEEN_BYTES = 1 << 20, EXIT_UNEXPECTED = 99, LINE_BYTES = 4096 };

static char seen[SEEN_BYTES];
static size_t seen_bytes;
static size_t expected_to; /* what stands before was expected already */
static int terminal;

/* False at the end, or when nothing comes. */
static bool read_more(void)
{
    struct pollfd wait = { .fd = terminal, .events = POLLIN };
    ssize_t got;

    if (poll(&wait, 1, WAIT_MS) <= 0 || seen_bytes == sizeof seen)
        return false;
    got = read(terminal, seen + seen_bytes, sizeof seen - seen_bytes);
    if (got <= 0)
        return false;
    (void)fwrite(seen + seen_bytes, 1, (size_t)got, stdout);
    seen_bytes += (size_t)got;
    return true;
}

static bool expect(const char *text, size_t bytes)
{
    for (;;) {
        const char *at = memmem(seen + expected_to, seen_bytes - expected_to, text, bytes);

        if (at != NULL) {
            expected_to = (size_t)(at - seen) + bytes;
            return true;
        }
        if (!read_more())
            return false;
    }
}

static bool expect_raw(void)
{
    struct termios modes;

    for (int waited_ms = 0; waited_ms < WAIT_MS; waited_ms += 2) {
        if (tcgetattr(terminal, &modes) == 0 && (modes.c_lflag & ICANON) == 0)
            return true;
        (void)usleep(2000);
    }
    return false;
}

static size_t unescape(char *text)
{
    static const char from[] = "nte\\";
    static const char to[] = "\n\t\x1b\\";
    char *out = text;

    for (const char *in = text; *in != '\0' && *in != '\n'; in++) {
        const char *name;

        if (*in != '\\') {
            *out++ = *in;
        } else if (in[1] == 'x') {
            const char digits[3] = { in[2], in[3], '\0' };

            *out++ = (char)strtol(digits, NULL, 16);
            in += 3;
        } else {
            name = strchr(from, *++in);
            *out++ = name != NULL ? to[name - from] : *in;
        }
    }
    *out = '\0';
    return (size_t)(out - text);
}

static bool obey(char *line)
{
    struct winsize window = { .ws_row = 0 };

    if (strncmp(line, "expect ", 7) == 0 || strncmp(line, "prompt ", 7) == 0) {
        const size_t bytes = unescape(line + 7);

        if (expect(line + 7, bytes) && (line[0] == 'e' || expect_raw()))
            return true;
        fprintf(stderr, "typist: '%s' did not come\n", line + 7);
        return false;
    }
    if (strncmp(line, "send ", 5) == 0) {
        const size_t bytes = unescape(line + 5);

        return write(terminal, line + 5, bytes) == (ssize_t)bytes;
    }
    if (sscanf(line, "size %hu %hu", &window.ws_row, &window.ws_col) == 2)
        return ioctl(terminal, TIOCSWINSZ, &window) == 0;
    fprintf(stderr, "typist: what is '%s'?\n", line);
    return false;
}

int main(int argc, char **argv)
{
    struct winsize window = { .ws_row = 24, .ws_col = 80 };
    char line[LINE_BYTES];
    bool is_good = true;
    int status = 0;
    FILE *script = argc > 2 ? fopen(argv[1], "r") : NULL;
    pid_t child;

    if (script == NULL) {
        fprintf(stderr, "usage: typist SCRIPT PROGRAM [ARGUMENTS]\n");
        return EXIT_UNEXPECTED;
    }
    child = forkpty(&terminal, NULL, NULL, &window);
    if (child == 0) {
        (void)setenv("TERM", "vt100", 1);
        execv(argv[2], argv + 2);
        _exit(EXIT_UNEXPECTED);
    }
    while (is_good && fgets(line, sizeof line, script) != NULL)
        is_good = obey(line);
    if (!is_good)
        (void)close(terminal);
    while (is_good && read_more()) {
    }
    (void)fclose(script);
    if (child < 0 || waitpid(child, &status, 0) < 0 || !is_good)
        return EXIT_UNEXPECTED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
