#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): sigwaitinfo */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/daemon.h"

enum { FINISH_MS = 8000 };

static void block_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, set, NULL); /* before any thread: they inherit it */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a full file is an error of write, not the end of the process */
}

/* A second TERM or INT means that somebody does not want to wait. */
static void let_second_signal_end(const sigset_t *set)
{
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
    (void)pthread_sigmask(SIG_UNBLOCK, set, NULL);
}

int pag_verb_run(const struct pag_args *args)
{
    sigset_t set;
    struct pag_daemon *d = calloc(1, sizeof *d);
    if (d == NULL) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    }
    block_signals(&set);
    d->args = *args;
    int code = pag_daemon_up(d);
    while (code == 0) {
        int signal_number = 0;
        if (sigwait(&set, &signal_number) != 0) {
            continue;
        }
        if (signal_number != SIGHUP) {
            pag_log_info(d->log, "stop.begun", PAG_F_I64("signal", signal_number));
            break;
        }
        pag_daemon_reload(d);
    }
    let_second_signal_end(&set);
    pag_daemon_down(d, FINISH_MS);
    free(d);
    return code;
}
