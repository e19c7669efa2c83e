/* Verbs about certificates and keys. They work beside a running daemon: files are replaced whole. */
#include <stdio.h>
#include <stdlib.h>

#include "server/lock.h"
#include "server/program.h"

struct installation { /* too large for a stack */
    struct pag_config config;
    struct pag_paths paths;
};

static const char *what_of(const struct pag_fail *why, enum pag_err err)
{
    return why->what != NULL ? why->what : pag_err_word(err);
}

/* The process that serves this data folder, 0: none. */
static int daemon_of(const struct installation *at)
{
    int fd = -1;
    int holder = 0;
    enum pag_err err = pag_lock_take(at->paths.data, &fd, &holder, NULL);
    if (err == PAG_OK) {
        pag_lock_drop(at->paths.data, fd);
        return 0;
    }
    return err == PAG_E_EXISTS ? holder : 0;
}

static int confirm(const struct pag_args *args, struct installation *at)
{
    struct pag_fail why = { .code = PAG_OK };
    int code = pag_program_load_installed(args, &at->config, &at->paths);
    if (code != PAG_EXIT_OK) {
        return code;
    }
    if (pag_init_root_state(&at->paths) == PAG_ROOT_CONFIRMED) {
        (void)printf("The export of the root key is confirmed already.\n");
        return PAG_EXIT_OK;
    }
    enum pag_err err = pag_init_root_confirm(&at->paths, args->keep, &why);
    if (err == PAG_E_CONFLICT) {
        return pag_say_error(
            PAG_EXIT_CONFLICT,
            "Move it to a safe place, try its passphrase there, then confirm. --keep leaves it here, "
            "where whoever takes this server takes it too.",
            "%s is still in the data folder", at->paths.root_export);
    }
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "%s: %s", at->paths.data, what_of(&why, err));
    }
    (void)printf("Confirmed: the root key is in your hands.\n");
    return PAG_EXIT_OK;
}

static int renew(const struct pag_args *args, struct installation *at)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_clock clock = pag_clock_system();
    int code = pag_program_load_installed(args, &at->config, &at->paths);
    if (code != PAG_EXIT_OK) {
        return code;
    }
    const char *names = args->names != NULL ? args->names : at->config.server.names;
    enum pag_err err = pag_init_renew_server(&at->paths, names, clock.now_unix_ms(clock.ctx) / 1000,
                                             at->config.certificates.server_s, &why);
    if (err != PAG_OK) {
        return pag_say_error(err == PAG_E_CONFIG ? PAG_EXIT_USAGE : PAG_EXIT_FAILED, NULL, "%s: %s",
                             at->paths.server_pem, what_of(&why, err));
    }
    (void)printf("New certificate: %s\n", at->paths.server_pem);
    int pid = daemon_of(at);
    if (pid > 0) {
        (void)printf("Next: kill -HUP %d, so that the running pagurusd takes it.\n", pid);
    }
    return PAG_EXIT_OK;
}

static int with_installation(const struct pag_args *args,
                             int (*verb)(const struct pag_args *args, struct installation *at))
{
    struct installation *at = calloc(1, sizeof *at);
    int code = at != NULL ? verb(args, at) : pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    free(at);
    return code;
}

int pag_verb_confirm_root_export(const struct pag_args *args)
{
    return with_installation(args, confirm);
}

int pag_verb_renew_server_cert(const struct pag_args *args)
{
    return with_installation(args, renew);
}
