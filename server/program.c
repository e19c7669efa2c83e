#include "server/program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/errno_text.h"

int pag_say_error(int exit_code, const char *next, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fputs("error: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    if (next != NULL) {
        (void)fprintf(stderr, "  %s\n", next);
    }
    return exit_code;
}

int pag_say_database(const char *path, enum pag_err err, const struct pag_fail *why)
{
    const char *what = why->what != NULL ? why->what : pag_err_word(err);
    if (err == PAG_E_UNSUPPORTED) {
        return pag_say_error(PAG_EXIT_CONFLICT, "Run the newer pagurusd, or restore a backup made before it.",
                             "%s was written by a newer version (schema %llu)", path,
                             (unsigned long long)why->detail);
    }
    if (err == PAG_E_CHECKSUM) {
        return pag_say_error(PAG_EXIT_FAILED,
                             "Put a backup in its place and remove the files beside it that end in -wal and "
                             "-shm: docs/operating/storage.md",
                             "%s: damaged, or not a database", path);
    }
    if (err == PAG_E_SPACE) {
        return pag_say_error(PAG_EXIT_FAILED, pag_say_room(ENOSPC), "%s: %s: %s", path, what,
                             pag_errno_text(ENOSPC));
    }
    return pag_say_error(PAG_EXIT_FAILED, "Is it yours and writable, and is there room on the disk?",
                         "%s: %s", path, what);
}

const char *pag_say_room(uint64_t error_number)
{
    return error_number == ENOSPC || error_number == EDQUOT ? "Make room on that disk, then start again."
                                                            : "Is the folder yours and writable?";
}

int pag_program_load(const struct pag_args *args, struct pag_config *config, struct pag_paths *paths)
{
    struct pag_ini_error error = { .text = "" };
    const struct pag_config_args from = {
        .file = args->config,
        .data = args->data,
        .set = args->set,
        .set_n = args->set_n,
    };
    enum pag_err err = pag_config_load(&from, config, &error);
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_USAGE, "'pagurusd check-config --print' shows every setting.", "%s",
                             error.text);
    }
    if (pag_paths_of(config->server.data, paths) != PAG_OK) {
        return pag_say_error(PAG_EXIT_USAGE, NULL, "the path of the data folder is too long: %s",
                             config->server.data);
    }
    return PAG_EXIT_OK;
}

int pag_program_load_installed(const struct pag_args *args, struct pag_config *config,
                               struct pag_paths *paths)
{
    int code = pag_program_load(args, config, paths);
    if (code == PAG_EXIT_OK && !pag_init_done(paths)) {
        code = pag_say_error(PAG_EXIT_NOT_FOUND, "Make one with: pagurusd init --data <folder>",
                             "%s holds no installation", paths->data);
    }
    return code;
}
