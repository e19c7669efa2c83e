#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "core/bytes.h"
#include "host/fs.h"

enum { INPUT_MAX = 64 << 20, FIELD_MAX = 1 << 20 };

static json_t *field_value(const char *text)
{
    if (text[0] == '@') {
        struct pag_buf buf = { NULL, 0, 0 };
        if (pag_fs_read(text + 1, FIELD_MAX, &buf, NULL) != PAG_OK) {
            return NULL;
        }
        json_t *v = json_stringn((const char *)buf.p, buf.n);
        pag_fs_buf_free(&buf);
        return v;
    }
    return pag_client_value(text);
}

static int fields(struct pag_cli *cli, json_t *body)
{
    for (size_t i = 0; pag_opt_at(cli, "field", i) != NULL; i++) {
        const char *f = pag_opt_at(cli, "field", i);
        const char *eq = strchr(f, '=');
        json_t *v = eq == NULL ? NULL : field_value(eq + 1);
        if (v == NULL) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "-F name=value, -F name=@file", "\"%s\" is no field", f);
        }
        (void)json_object_set_new(body, pag_cli_text(cli, "%.*s", (int)(eq - f), f), v);
    }
    return PAG_EXIT_OK;
}

static int input(struct pag_cli *cli, const char *file, struct pag_call *call)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *path = strcmp(file, "-") == 0 ? "/dev/stdin" : file;
    const char *type = pag_opt(cli, "type");
    if (strcmp(file, "-") == 0) {
        /* A pipe has no size: read to the end. */
        char *p = pag_cli_alloc(cli, 1 << 20);
        size_t n = fread(p, 1, 1 << 20, stdin);
        call->raw = pag_span_of(p, n);
    } else if (pag_fs_read(path, INPUT_MAX, &buf, &why) == PAG_OK) {
        uint8_t *copy = pag_cli_alloc(cli, buf.n + 1);
        memcpy(copy, buf.p, buf.n);
        call->raw = pag_span_of(copy, buf.n);
        pag_fs_buf_free(&buf);
    } else {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    call->type = type != NULL ? type : "application/json";
    return PAG_EXIT_OK;
}

int pag_cmd_api(struct pag_cli *cli)
{
    static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD" };
    struct pag_answer a;
    struct pag_call call = { .method = pag_word(cli, 0), .path = pag_word(cli, 1) };
    bool known = false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        known = known || strcmp(methods[i], call.method) == 0;
    }
    if (!known || call.path[0] != '/') {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus api GET /devices", "want a method and a path");
    }
    call.root = strncmp(call.path, "/api/", 5) == 0 || strcmp(call.path, "/healthz") == 0 ||
                strcmp(call.path, "/readyz") == 0 || strcmp(call.path, "/metrics") == 0;
    int rc = PAG_EXIT_OK;
    if (pag_opt_on(cli, "input")) {
        rc = input(cli, pag_opt(cli, "input"), &call);
    } else if (pag_opt_on(cli, "field")) {
        call.body = pag_cli_keep(cli, json_object());
        rc = fields(cli, call.body);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_call(cli, &call, &a);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (a.json != NULL && (cli->json || cli->jsonl || cli->out_tty)) {
        (void)json_dumpf(a.json, stdout, (cli->jsonl ? JSON_COMPACT : JSON_INDENT(2)) | JSON_ENCODE_ANY);
        (void)fputc('\n', stdout);
        return rc;
    }
    (void)fwrite(a.body.p, 1, a.body.n, stdout);
    if (a.json != NULL && a.body.n > 0 && a.body.p[a.body.n - 1] != '\n') {
        (void)fputc('\n', stdout);
    }
    return rc;
}
