#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text.h"
#include "host/errno_text.h"

/* Values of a server or a file may be part of a message: nothing in it may drive the terminal. */
static void put_clean(const char *text)
{
    char piece[1024];
    while (*text != 0) {
        const char *end = strchr(text, '\n');
        size_t n = end == NULL ? strlen(text) : (size_t)(end - text);
        char line[512];
        size_t take = n < sizeof line - 1 ? n : sizeof line - 1;
        memcpy(line, text, take);
        line[take] = 0;
        (void)pag_text_clean(line, piece, sizeof piece);
        (void)fputs(piece, stderr);
        text += take;
        if (take == n && end != NULL) {
            (void)fputc('\n', stderr);
            text++;
        }
    }
}

static const char *code_word(int code)
{
    switch ((enum pag_exit)code) {
    case PAG_EXIT_OK:
        return "ok";
    case PAG_EXIT_USAGE:
        return "usage";
    case PAG_EXIT_NOT_FOUND:
        return "not-found";
    case PAG_EXIT_DENIED:
        return "denied";
    case PAG_EXIT_CONFLICT:
        return "conflict";
    case PAG_EXIT_UNREACHABLE:
        return "unreachable";
    case PAG_EXIT_TIMEOUT:
        return "timeout";
    case PAG_EXIT_ENDED_BADLY:
        return "ended-badly";
    case PAG_EXIT_INTERRUPTED:
        return "interrupted";
    case PAG_EXIT_FAILED:
        break;
    }
    return "failed";
}

static void fail_json(int code, const char *what, const char *remedy)
{
    char type[64];
    (void)snprintf(type, sizeof type, "urn:pagurus:cli:%s", code_word(code));
    json_t *problem = json_pack("{s:s, s:s, s:s, s:s, s:i}", "type", type, "title", code_word(code), "detail",
                                what, "code", code_word(code), "exit", code);
    if (problem == NULL) {
        problem = json_pack("{s:s}", "type", type);
    }
    if (remedy != NULL) {
        (void)json_object_set_new(problem, "help", json_string(remedy));
    }
    (void)json_dumpf(problem, stderr, JSON_COMPACT);
    (void)fputc('\n', stderr);
    json_decref(problem);
}

int pag_cli_fail(struct pag_cli *cli, int code, const char *remedy, const char *fmt, ...)
{
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    (void)fflush(stdout);
    if (pag_opt_on(cli, "json") || pag_opt_on(cli, "jsonl")) {
        fail_json(code, what, remedy);
        return code;
    }
    (void)fputs(cli->color_err ? "\033[31merror:\033[0m " : "error: ", stderr);
    put_clean(what);
    (void)fputc('\n', stderr);
    if (remedy != NULL && remedy[0] != 0) {
        (void)fputs("  fix: ", stderr);
        put_clean(remedy);
        (void)fputc('\n', stderr);
    }
    return code;
}

static const char *file_remedy(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return "make free space on that disk, then try again; nothing was left half-written";
    case ENOENT:
    case ENOTDIR:
        return "check the path";
    case EACCES:
    case EPERM:
    case EROFS:
        return "check who owns the file and its folder";
    default:
        return "check the path, its folder and free space";
    }
}

int pag_cli_fail_file(struct pag_cli *cli, int code, const char *path, const struct pag_fail *why)
{
    /* Only what the system refused has its errno in detail (host/fs.h). */
    bool system = strncmp(why->what, "cannot ", 7) == 0 && why->detail > 0 && why->detail < 4096;
    int number = system ? (int)why->detail : 0;
    return pag_cli_fail(cli, code, file_remedy(number), "%s: %s%s%s", path, why->what, system ? ": " : "",
                        system ? pag_errno_text(number) : "");
}

void pag_cli_say(const struct pag_cli *cli, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    if (cli->quiet) {
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)fflush(stdout);
    put_clean(text);
}

void pag_cli_warn(const struct pag_cli *cli, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)fflush(stdout);
    (void)fputs(cli->color_err ? "\033[33mwarning:\033[0m " : "warning: ", stderr);
    put_clean(text);
    (void)fputc('\n', stderr);
}
