#include "cli/prompt.h"

#include <errno.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static int no_terminal(struct pag_cli *cli, const char *flag, const char *what)
{
    return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "give %s", flag),
                        "this needs an answer (%s) and there is %s", what,
                        cli->no_input ? "--no-input" : "no terminal to ask on");
}

static bool can_ask(const struct pag_cli *cli)
{
    return cli->in_tty && !cli->no_input;
}

enum pag_err pag_read_line(int fd, char *secret, size_t cap)
{
    size_t n = 0;
    for (;;) {
        char c = 0;
        ssize_t got = read(fd, &c, 1);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return PAG_E_IO;
        }
        if (got == 0 || c == '\n') {
            break;
        }
        if (n + 1 >= cap) {
            return PAG_E_SPACE;
        }
        secret[n++] = c;
    }
    if (n > 0 && secret[n - 1] == '\r') {
        n--;
    }
    secret[n] = 0;
    return PAG_OK;
}

int pag_prompt_yes(struct pag_cli *cli, const char *flag, const char *question)
{
    char answer[16] = "";
    if (cli->yes) {
        return PAG_EXIT_OK;
    }
    if (!can_ask(cli)) {
        return no_terminal(cli, flag, question);
    }
    (void)fprintf(stderr, "%s [y/N] ", question);
    (void)fflush(stderr);
    if (pag_read_line(STDIN_FILENO, answer, sizeof answer) == PAG_OK &&
        (strcmp(answer, "y") == 0 || strcmp(answer, "Y") == 0 || strcmp(answer, "yes") == 0)) {
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "not confirmed, nothing was done");
}

int pag_prompt_confirm(struct pag_cli *cli, const char *name, const char *question)
{
    char answer[128] = "";
    const char *given = pag_opt(cli, "confirm");
    if (given == NULL) {
        if (!can_ask(cli)) {
            return no_terminal(cli, pag_cli_text(cli, "--yes --confirm %s", name), question);
        }
        (void)fprintf(stderr, "%s\nType \"%s\" to go on: ", question, name);
        (void)fflush(stderr);
        if (pag_read_line(STDIN_FILENO, answer, sizeof answer) != PAG_OK) {
            answer[0] = 0;
        }
        given = answer;
    } else if (!cli->yes) {
        return pag_prompt_yes(cli, "--yes", question);
    }
    if (strcmp(given, name) != 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "--confirm %s", name),
                            "\"%s\" is not the name, nothing was done", given);
    }
    return PAG_EXIT_OK;
}

int pag_prompt_secret(struct pag_cli *cli, const char *flag, const char *label, char *secret, size_t cap)
{
    struct termios old;
    if (!can_ask(cli)) {
        return no_terminal(cli, flag, label);
    }
    /* Echo goes off before the question shows, so that no quick typist is seen. */
    bool changed = tcgetattr(STDIN_FILENO, &old) == 0;
    if (changed) {
        struct termios quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    (void)fprintf(stderr, "%s: ", label);
    (void)fflush(stderr);
    enum pag_err err = pag_read_line(STDIN_FILENO, secret, cap);
    if (changed) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
    }
    (void)fputc('\n', stderr);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "%s could not be read", label);
    }
    return PAG_EXIT_OK;
}
