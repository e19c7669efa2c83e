#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): pipe2, close_range */
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/unconst.h"

/* ---- in the child, between fork and exec: async-signal-safe calls only ---- */

static void default_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    for (int s = 1; s < NSIG; s++) {
        struct sigaction sa = { .sa_handler = SIG_DFL };
        (void)sigaction(s, &sa, NULL); /* fails for KILL and STOP, as it should */
    }
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool place_descriptors(const struct pag_child_config *config, int out)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (config->log_file != NULL) {
        out = open(config->log_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    }
    int to = out >= 0 ? out : nothing;
    if (nothing < 0 || (config->log_file != NULL && out < 0)) {
        return false;
    }
    return dup2(nothing, 0) == 0 && dup2(to, 1) == 1 && dup2(to, 2) == 2;
}

/* Reports errno through report and ends. */
static _Noreturn void give_up(int report)
{
    int number = errno;
    ssize_t put = write(report, &number, sizeof number);
    _exit(put == (ssize_t)sizeof number ? 127 : 126);
}

static _Noreturn void run_child(const struct pag_child_config *config, int out, int report, pid_t parent)
{
    default_signals();
    if (config->death_signal != 0 && prctl(PR_SET_PDEATHSIG, config->death_signal) != 0) {
        give_up(report);
    }
    if (getppid() != parent) { /* it died before the call above */
        _exit(126);
    }
    int keep = fcntl(report, F_DUPFD_CLOEXEC, 3);
    if (keep < 0 || !place_descriptors(config, out)) {
        give_up(report);
    }
    if (dup3(keep, 3, O_CLOEXEC) < 0 && errno != EINVAL) { /* EINVAL: it is 3 already */
        give_up(keep);
    }
    (void)syscall(SYS_close_range, 4U, ~0U, 0U);
    if (config->dir != NULL && chdir(config->dir) != 0) {
        give_up(3);
    }
    char *const *env = config->env != NULL ? pag_unconst(config->env) : environ;
    (void)execve(config->argv[0], pag_unconst(config->argv), env);
    give_up(3);
}

/* ---- in the parent ---- */

static void close_both(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) {
            (void)close(pair[i]);
            pair[i] = -1;
        }
    }
}

/* Waits for exec to have happened (end of file) or failed (its errno). */
static int exec_errno(int fd)
{
    int number = 0;
    ssize_t got = 0;
    do {
        got = read(fd, &number, sizeof number);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof number ? number : 0;
}

static enum pag_err start(const struct pag_child_config *config, int report[2], int out[2],
                          struct pag_child *child, struct pag_fail *why)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        return pag_fail_set(why, PAG_E_IO, "cannot fork", (uint64_t)errno);
    }
    if (pid == 0) {
        run_child(config, out[1], report[1], parent);
    }
    (void)close(report[1]);
    report[1] = -1;
    int number = exec_errno(report[0]);
    if (number != 0) {
        (void)waitpid(pid, NULL, 0);
        return pag_fail_set(why, PAG_E_NOT_FOUND, "cannot execute program", (uint64_t)number);
    }
    *child = (struct pag_child){ .pid = (int)pid, .out_fd = out[0], .status = 0 };
    out[0] = -1;
    return PAG_OK;
}

enum pag_err pag_child_start(const struct pag_child_config *config, struct pag_child *out,
                             struct pag_fail *why)
{
    int report[2] = { -1, -1 };
    int pipe_fd[2] = { -1, -1 };
    bool fine = pipe2(report, O_CLOEXEC) == 0;
    if (fine && config->pipe && config->log_file == NULL) {
        fine = pipe2(pipe_fd, O_CLOEXEC) == 0 && fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK) == 0;
    }
    enum pag_err err = fine ? start(config, report, pipe_fd, out, why)
                            : pag_fail_set(why, PAG_E_IO, "cannot make pipe", (uint64_t)errno);
    close_both(report);
    close_both(pipe_fd);
    return err;
}

bool pag_child_poll(struct pag_child *child)
{
    if (child->pid == 0) {
        return true;
    }
    int status = 0;
    pid_t got = waitpid(child->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR)) {
        return false;
    }
    child->status = got > 0 ? status : -1; /* ECHILD: somebody else reaped it */
    child->pid = 0;
    return true;
}

void pag_child_signal(const struct pag_child *child, int signal)
{
    if (child->pid > 0) {
        (void)kill(child->pid, signal);
    }
}

static bool gone_within(struct pag_child *child, uint32_t ms)
{
    const struct timespec nap = { 0, 5000000 };
    for (uint32_t waited = 0; waited <= ms; waited += 5) {
        if (pag_child_poll(child)) {
            return true;
        }
        (void)nanosleep(&nap, NULL);
    }
    return pag_child_poll(child);
}

void pag_child_stop(struct pag_child *child, uint32_t grace_ms)
{
    pag_child_signal(child, SIGTERM);
    if (!gone_within(child, grace_ms)) {
        pag_child_signal(child, SIGKILL);
        (void)gone_within(child, 60000);
    }
    if (child->out_fd >= 0) {
        (void)close(child->out_fd);
        child->out_fd = -1;
    }
}
