#ifndef PAG_HOST_SPAWN_H
#define PAG_HOST_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include <pagurus/errors.h>

/*
 * Child processes without a shell. The kernel sends the child death_signal when the *thread* that started it
 * ends (prctl PR_SET_PDEATHSIG): start long-living children from a thread that lives as long.
 */
struct pag_child_config {
    const char *const *argv; /* NULL-terminated; argv[0] is a path, PATH is not searched */
    const char *const *env;  /* NULL-terminated, the whole environment; NULL: inherited */
    const char *dir;         /* working directory; NULL: inherited */
    const char *log_file;    /* stdout and stderr are appended here, mode 0600; NULL: see pipe */
    bool pipe;        /* stdout and stderr readable at pag_child.out_fd (non-blocking); else /dev/null */
    int death_signal; /* 0: none */
};

struct pag_child {
    int pid;    /* 0: not running */
    int out_fd; /* -1 without pipe */
    int status; /* as of waitpid, valid once pag_child_poll said it has ended */
};

/* stdin is /dev/null; all other descriptors are closed; signals are at their defaults. PAG_E_NOT_FOUND when
 * argv[0] cannot be executed (why->detail is errno), PAG_E_IO, PAG_E_NO_MEMORY. */
enum pag_err pag_child_start(const struct pag_child_config *config, struct pag_child *out,
                             struct pag_fail *why);

/* True when it has ended (now or before): status is set, pid becomes 0, nothing is left to reap. Never
 * blocks. */
bool pag_child_poll(struct pag_child *child);

/* Sends a signal; nothing when it has ended. */
void pag_child_signal(const struct pag_child *child, int signal);

/* SIGTERM, after grace_ms SIGKILL; returns when it is gone, and closes out_fd. */
void pag_child_stop(struct pag_child *child, uint32_t grace_ms);

#endif
