/* The small verbs: nothing here serves. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): explicit_bzero */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "host/ini.h"
#include "host/token.h"
#include "server/domain/access.h"
#include "server/lock.h"
#include "server/program.h"
#include "server/store/store.h"

/* Too large for a stack. */
struct installation {
    struct pag_config config;
    struct pag_paths paths;
};

static const char *what_of(const struct pag_fail *why, enum pag_err err)
{
    return why->what != NULL ? why->what : pag_err_word(err);
}

int pag_verb_version(const struct pag_args *args)
{
    if (args->json) {
        (void)printf("{\"version\":\"%s\"}\n", PAGURUS_VERSION);
    } else {
        (void)printf("pagurusd %s\n", PAGURUS_VERSION);
    }
    return PAG_EXIT_OK;
}

int pag_verb_check_config(const struct pag_args *args)
{
    if (args->manual) {
        pag_config_print_manual(stdout);
        return PAG_EXIT_OK;
    }
    struct installation *at = calloc(1, sizeof *at);
    if (at == NULL) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    }
    int code = pag_program_load(args, &at->config, &at->paths);
    if (code == PAG_EXIT_OK && args->print) {
        pag_ini_print(pag_config_table(), &at->config, true, stdout);
    } else if (code == PAG_EXIT_OK) {
        (void)printf("ok: data folder %s%s\n", at->paths.data,
                     pag_init_done(&at->paths) ? "" : " (not initialised yet)");
    }
    free(at);
    return code;
}

/* ---- the database of a daemon that does not run ---- */

static int store_open(const struct installation *at, struct pag_store **store)
{
    struct pag_fail why = { .code = PAG_OK };
    const struct pag_store_config config = {
        .path = at->paths.database,
        .blobs_dir = at->paths.blobs_dir,
        .clock = pag_clock_system(),
    };
    enum pag_err err = pag_store_open(&config, store, &why);
    return err == PAG_OK ? PAG_EXIT_OK : pag_say_database(at->paths.database, err, &why);
}

static int lock_take(const struct installation *at, const char *instead, int *fd)
{
    struct pag_fail why = { .code = PAG_OK };
    int holder = 0;
    enum pag_err err = pag_lock_take(at->paths.data, fd, &holder, &why);
    if (err == PAG_E_EXISTS) {
        return pag_say_error(PAG_EXIT_CONFLICT, instead, "pagurusd (process %d) uses %s", holder,
                             at->paths.data);
    }
    return err == PAG_OK ? PAG_EXIT_OK
                         : pag_say_error(PAG_EXIT_FAILED, NULL, "%s: %s", at->paths.data, what_of(&why, err));
}

/* "30d", "12h", "90m", "45s" or seconds. */
static enum pag_err seconds_of(const char *text, uint64_t *out)
{
    struct pag_span s = pag_span_str(text);
    uint64_t unit = 1;
    uint64_t v = 0;
    if (s.n > 0) {
        switch (s.p[s.n - 1]) {
        case 'd':
            unit = 86400;
            break;
        case 'h':
            unit = 3600;
            break;
        case 'm':
            unit = 60;
            break;
        case 's':
            break;
        default:
            s.n++;
            break;
        }
        s.n--;
    }
    enum pag_err err = pag_parse_u64(s, &v);
    if (err != PAG_OK || v == 0 || v > 315360000 / unit) {
        return PAG_E_RANGE;
    }
    *out = v * unit;
    return PAG_OK;
}

/* Makes a token row and leaves the secret in token. */
static int token_make(const struct installation *at, const char *name, const char *role, uint64_t ttl_s,
                      struct pag_api_token *token)
{
    struct pag_store *store = NULL;
    int code = store_open(at, &store);
    if (code != PAG_EXIT_OK) {
        return code;
    }
    pag_api_token_make(token);
    enum pag_err err = pag_store_token_insert(store, name, role, token->id, token->sha256, ttl_s);
    pag_store_close(store);
    return err == PAG_OK
               ? PAG_EXIT_OK
               : pag_say_error(PAG_EXIT_FAILED, NULL, "the token could not be stored: %s", pag_err_word(err));
}

static int setup_token(const struct pag_args *args, struct installation *at)
{
    struct pag_api_token token;
    uint64_t ttl_s = UINT64_C(30) * 86400;
    int fd = -1;
    const char *role = args->role != NULL ? args->role : "admin";
    const char *name = args->name != NULL ? args->name : "setup";
    if (pag_role_by_word(pag_span_str(role)) == PAG_ROLE_NONE) {
        return pag_say_error(PAG_EXIT_USAGE, "Roles: viewer, operator, releaser, admin.", "no role %s", role);
    }
    if (args->ttl != NULL && seconds_of(args->ttl, &ttl_s) != PAG_OK) {
        return pag_say_error(PAG_EXIT_USAGE, "Like 30d, 12h or 90m; at most 3650d.", "no duration: %s",
                             args->ttl);
    }
    int code = pag_program_load_installed(args, &at->config, &at->paths);
    if (code == PAG_EXIT_OK) {
        code = lock_take(at,
                         "While it runs an admin's token makes others:\n"
                         "  pagurus api POST /tokens -F name=ci -F role=releaser -F ttl_s=7776000\n"
                         "  Without one, end pagurusd first, then try again.",
                         &fd);
    }
    if (code == PAG_EXIT_OK) {
        code = token_make(at, name, role, ttl_s, &token);
    }
    if (code == PAG_EXIT_OK) {
        if (args->json) {
            (void)printf("{\"token\":\"%s\"}\n", token.text);
        } else {
            (void)printf("%s\n", token.text);
        }
        explicit_bzero(&token, sizeof token);
    }
    pag_lock_drop(at->paths.data, fd);
    return code;
}

int pag_verb_setup_token(const struct pag_args *args)
{
    struct installation *at = calloc(1, sizeof *at);
    int code = at != NULL ? setup_token(args, at) : pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    free(at);
    return code;
}

static int migrate(const struct pag_args *args, struct installation *at)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_store *store = NULL;
    uint32_t before = 0;
    uint32_t newest = 0;
    int fd = -1;
    int code = pag_program_load_installed(args, &at->config, &at->paths);
    if (code == PAG_EXIT_OK) {
        code = lock_take(at, "End it first.", &fd);
    }
    if (code == PAG_EXIT_OK && pag_store_version(at->paths.database, &before, &newest, &why) != PAG_OK) {
        code = pag_say_database(at->paths.database, why.code != PAG_OK ? why.code : PAG_E_IO, &why);
    }
    if (code == PAG_EXIT_OK) {
        code = store_open(at, &store);
    }
    if (code == PAG_EXIT_OK) {
        pag_store_close(store);
        (void)printf("schema %u -> %u\n", before, newest);
    }
    pag_lock_drop(at->paths.data, fd);
    return code;
}

int pag_verb_migrate(const struct pag_args *args)
{
    struct installation *at = calloc(1, sizeof *at);
    int code = at != NULL ? migrate(args, at) : pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    free(at);
    return code;
}

/* ---- init ---- */

static void say_done(const struct pag_args *args, const struct pag_init_result *result,
                     const struct pag_api_token *token, const char *data)
{
    if (args->json) {
        (void)printf("{\"data\":\"%s\",\"token\":\"%s\",\"root_sha256\":\"%s\",\"server_sha256\":\"%s\","
                     "\"root_export\":\"%s\"}\n",
                     data, token->text, result->root_sha256, result->server_sha256, result->root_export);
        return;
    }
    (void)printf("The data folder is %s.\n\n"
                 "Admin token (shown once):\n  %s\n\n"
                 "Root certificate, SHA-256:\n  %s\n\n"
                 "The root key is in %s, encrypted with your passphrase, and nowhere else.\n"
                 "Move that file off this server now; you need it when an authority must be renewed.\n\n"
                 "Next: pagurusd run --data %s\n",
                 data, token->text, result->root_sha256, result->root_export, data);
}

static int init_with(const struct pag_args *args, struct installation *at, struct pag_init_result *result)
{
    char passphrase[256];
    char found[320] = "";
    struct pag_fail why = { .code = PAG_OK };
    struct pag_api_token token;
    struct pag_clock clock = pag_clock_system();
    enum pag_err err = pag_init_passphrase(args->passphrase_file, passphrase, &why);
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_USAGE,
                             "Give one with --passphrase-file FILE (or - for standard input).",
                             "passphrase of the root key: %s", what_of(&why, err));
    }
    const struct pag_init_order order = {
        .data = at->paths.data,
        .names = args->names != NULL ? args->names : at->config.server.names,
        .organisation = args->organisation,
        .passphrase = passphrase,
        .now = clock.now_unix_ms(clock.ctx) / 1000,
        .server_s = at->config.certificates.server_s,
    };
    err = pag_init(&order, result, found, &why);
    explicit_bzero(passphrase, sizeof passphrase);
    if (err == PAG_E_EXISTS) {
        return pag_say_error(PAG_EXIT_CONFLICT, "Nothing was changed. Choose another --data folder.",
                             "%s exists already", found);
    }
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "%s: %s", at->paths.data, what_of(&why, err));
    }
    int code = token_make(at, "admin", "admin", 365 * UINT64_C(86400), &token);
    if (code == PAG_EXIT_OK) {
        say_done(args, result, &token, at->paths.data);
        explicit_bzero(&token, sizeof token);
    }
    return code;
}

int pag_verb_init(const struct pag_args *args)
{
    struct installation *at = calloc(1, sizeof *at);
    struct pag_init_result *result = calloc(1, sizeof *result);
    int code = PAG_EXIT_FAILED;
    if (at != NULL && result != NULL) {
        code = pag_program_load(args, &at->config, &at->paths);
        code = code == PAG_EXIT_OK ? init_with(args, at, result) : code;
    } else {
        code = pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    }
    free(result);
    free(at);
    return code;
}
