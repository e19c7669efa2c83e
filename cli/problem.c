#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): strcasestr */
#include <string.h>

#include "cli/client.h"

int pag_problem_exit(long status)
{
    static const struct {
        long status;
        int code;
    } map[] = {
        { 400, PAG_EXIT_USAGE },     { 401, PAG_EXIT_DENIED },      { 403, PAG_EXIT_DENIED },
        { 404, PAG_EXIT_NOT_FOUND }, { 405, PAG_EXIT_USAGE },       { 409, PAG_EXIT_CONFLICT },
        { 410, PAG_EXIT_NOT_FOUND }, { 412, PAG_EXIT_CONFLICT },    { 413, PAG_EXIT_USAGE },
        { 415, PAG_EXIT_USAGE },     { 422, PAG_EXIT_USAGE },       { 428, PAG_EXIT_USAGE },
        { 429, PAG_EXIT_TIMEOUT },   { 503, PAG_EXIT_UNREACHABLE }, { 504, PAG_EXIT_TIMEOUT },
    };
    if (status >= 200 && status < 300) {
        return PAG_EXIT_OK;
    }
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++) {
        if (map[i].status == status) {
            return map[i].code;
        }
    }
    return PAG_EXIT_FAILED;
}

static const char *member(const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text != NULL ? text : "";
}

/* What to do when the server did not say. */
static const char *usual_remedy(long status)
{
    switch (status) {
    case 401:
        return "pagurus login stores a token; PAGURUS_TOKEN and --token-file give one for a run";
    case 403:
        return "this needs a token of a higher role; pagurus whoami shows yours";
    case 404:
        return "the matching list command shows what there is";
    case 429:
    case 503:
        return "the server is busy; try again in a moment";
    case 507:
        return "the server's disk is full: make room there, then try again";
    default:
        return "pagurus doctor looks at the whole installation";
    }
}

/* True when text, but for its full stop, stands in what already. */
static bool said_in(struct pag_cli *cli, const char *what, const char *text)
{
    size_t n = strlen(text);
    n -= n > 0 && text[n - 1] == '.';
    return n > 0 && strcasestr(what, pag_cli_text(cli, "%.*s", (int)n, text)) != NULL;
}

/* what: the sentence that was said before them. */
static void say_errors(struct pag_cli *cli, const json_t *errors, const char *what)
{
    size_t i = 0;
    const json_t *e = NULL;
    json_array_foreach(errors, i, e)
    {
        const char *pointer = member(e, "pointer");
        const char *text = member(e, "detail")[0] != 0 ? member(e, "detail") : member(e, "code");
        bool again = said_in(cli, what, text);
        if (!again || !said_in(cli, what, pointer)) {
            pag_cli_say(cli, "  - %s%s%s\n", pointer, pointer[0] != 0 && !again ? ": " : "",
                        again ? "" : text);
            what = pag_cli_text(cli, "%s\n%s %s", what, pointer, text);
        }
    }
}

int pag_problem_say(struct pag_cli *cli, const struct pag_call *call, const struct pag_answer *a)
{
    int code = pag_problem_exit(a->status);
    if ((cli->json || cli->jsonl) && a->json != NULL) {
        (void)fflush(stdout);
        (void)json_dumpf(a->json, stderr, JSON_COMPACT);
        (void)fputc('\n', stderr);
        return code;
    }
    const char *detail = member(a->json, "detail");
    const char *title = member(a->json, "title");
    const char *help = member(a->json, "help");
    const char *what = detail[0] != 0  ? detail
                       : title[0] != 0 ? title
                                       : "the server refused without a reason";
    (void)pag_cli_fail(cli, code, NULL, "%s", what);
    say_errors(cli, json_object_get(a->json, "errors"), what);
    if (said_in(cli, what, help)) {
        help = "";
    } else if (strstr(help, "'errors'") != NULL) { /* a member of the JSON, which nobody sees here */
        help = json_array_size(json_object_get(a->json, "errors")) > 0
                   ? "mend what is named above"
                   : "check what the flags were given; --help says what they take";
    }
    pag_cli_say(cli, "  at: %s %s -> %ld%s%s%s%s\n", call->method, call->path, a->status,
                member(a->json, "code")[0] != 0 ? " " : "", member(a->json, "code"),
                member(a->json, "request_id")[0] != 0 ? ", request " : "", member(a->json, "request_id"));
    pag_cli_say(cli, "  fix: %s\n", help[0] != 0 ? help : usual_remedy(a->status));
    return code;
}
