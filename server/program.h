#ifndef PAG_SERVER_PROGRAM_H
#define PAG_SERVER_PROGRAM_H

#include "server/config.h"
#include "server/init.h"

/* What main.c's verbs share: arguments, exit codes, messages. */

enum pag_exit {
    PAG_EXIT_OK = 0,
    PAG_EXIT_FAILED = 1,
    PAG_EXIT_USAGE = 2,     /* arguments or configuration */
    PAG_EXIT_NOT_FOUND = 3, /* the data folder holds no installation */
    PAG_EXIT_CONFLICT = 5,  /* already running, port taken, data of a newer version, nothing overwritten */
};

enum { PAG_ARGS_SET_MAX = 32 };

struct pag_args {
    const char *config;
    const char *data;
    const char *set[PAG_ARGS_SET_MAX];
    size_t set_n;
    const char *names;           /* init, renew-server-cert */
    const char *organisation;    /* init */
    const char *passphrase_file; /* init */
    const char *role;            /* setup-token */
    const char *name;            /* setup-token */
    const char *ttl;             /* setup-token, duration */
    bool print;                  /* check-config: all settings */
    bool manual;                 /* check-config: the reference as Markdown */
    bool json;                   /* init, setup-token, version */
    bool keep;                   /* confirm-root-export: leave the file where it is */
};

/* "error: …" on stderr, then "  …" with what to do; both without a newline. next may be NULL. */
int pag_say_error(int exit_code, const char *next, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Why the database cannot be used, with what to do. path: its file; why: of pag_store_open and its like. */
int pag_say_database(const char *path, enum pag_err err, const struct pag_fail *why);
/* What to do about a file operation that failed with this errno. */
const char *pag_say_room(uint64_t error_number);

/* Configuration and paths of args. 0, or the exit code after having said why. */
int pag_program_load(const struct pag_args *args, struct pag_config *config, struct pag_paths *paths);
/* The same, and the data folder must hold an installation. */
int pag_program_load_installed(const struct pag_args *args, struct pag_config *config,
                               struct pag_paths *paths);

/* Verbs; each returns the exit code. */
int pag_verb_init(const struct pag_args *args);
int pag_verb_run(const struct pag_args *args);
int pag_verb_check_config(const struct pag_args *args);
int pag_verb_setup_token(const struct pag_args *args);
int pag_verb_confirm_root_export(const struct pag_args *args);
int pag_verb_renew_server_cert(const struct pag_args *args);
int pag_verb_migrate(const struct pag_args *args);
int pag_verb_version(const struct pag_args *args);

#endif
