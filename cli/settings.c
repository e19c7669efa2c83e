#include "cli/settings.h"

#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/prompt.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"

enum origin { ORIGIN_SYSTEM, ORIGIN_USER, ORIGIN_PROJECT };

struct reading {
    struct pag_cli *cli;
    struct pag_contexts *out;
    const char *file;
    enum origin origin;
    const char *wrong; /* first refused key */
};

const char *pag_conf_dir(struct pag_cli *cli)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    if (xdg != NULL && xdg[0] == '/') {
        return pag_cli_text(cli, "%s/pagurus", xdg);
    }
    return pag_cli_text(cli, "%s/.config/pagurus", home != NULL && home[0] != 0 ? home : ".");
}

/* ---- reading ---- */

struct pag_context *pag_contexts_find(struct pag_contexts *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->list[i].name, name) == 0) {
            return &c->list[i];
        }
    }
    return NULL;
}

struct pag_context *pag_contexts_add(struct pag_contexts *c, const char *name)
{
    struct pag_context *found = pag_contexts_find(c, name);
    if (found == NULL && c->n < PAG_CONTEXTS_MAX) {
        found = &c->list[c->n++];
        *found = (struct pag_context){ .name = name };
    }
    return found;
}

static bool set_top(struct pag_contexts *c, const char *key, const char *value, enum origin origin)
{
    const char *current = origin == ORIGIN_PROJECT ? "context" : "current";
    if (strcmp(key, current) == 0) {
        c->current = value;
    } else if (strcmp(key, "product") == 0) {
        c->product = value;
    } else if (strcmp(key, "channel") == 0) {
        c->channel = value;
    } else if (strcmp(key, "sign") == 0) {
        c->sign = value;
    } else {
        return false;
    }
    return true;
}

static bool set_context(struct pag_context *c, const char *key, const char *value)
{
    if (strcmp(key, "server") == 0) {
        c->server = value;
    } else if (strcmp(key, "ca") == 0) {
        c->ca = value;
    } else if (strcmp(key, "token_file") == 0) {
        c->token_file = value;
    } else if (strcmp(key, "token_command") == 0) {
        c->token_command = value;
    } else {
        return false;
    }
    return true;
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    const char *kept = pag_cli_text(r->cli, "%s", value);
    bool ok = false;
    if (section[0] == 0) {
        ok = set_top(r->out, name, kept, r->origin);
    } else if (strncmp(section, "context ", 8) == 0 && r->origin != ORIGIN_PROJECT &&
               pag_text_name_ok(section + 8)) {
        struct pag_context *c = pag_contexts_add(r->out, pag_cli_text(r->cli, "%s", section + 8));
        ok = c != NULL && set_context(c, name, kept);
    }
    if (!ok && r->wrong == NULL) {
        r->wrong = pag_cli_text(r->cli, "%s%s%s", section, section[0] != 0 ? "." : "", name);
    }
    return ok ? 1 : 0;
}

static int read_file(struct pag_cli *cli, const char *file, enum origin origin, struct pag_contexts *out)
{
    struct reading r = { .cli = cli, .out = out, .file = file, .origin = origin };
    if (!pag_fs_exists(file)) {
        return PAG_EXIT_OK;
    }
    int line = ini_parse(file, on_key, &r);
    if (line == 0) {
        return PAG_EXIT_OK;
    }
    if (line < 0) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "check who may read it", "%s cannot be read", file);
    }
    const char *fix = origin == ORIGIN_PROJECT
                          ? "a project file may set context, product, channel and sign; nothing secret"
                          : "man 5 pagurus.ini lists the keys";
    return pag_cli_fail(cli, PAG_EXIT_USAGE, fix, "%s:%d: %s%s", file, line,
                        r.wrong != NULL ? "unknown key " : "not understood", r.wrong != NULL ? r.wrong : "");
}

static const char *own_file(struct pag_cli *cli)
{
    const char *given = getenv("PAGURUS_CONFIG");
    return given != NULL && given[0] != 0 ? given : pag_cli_text(cli, "%s/config.ini", pag_conf_dir(cli));
}

/* The nearest .pagurus.ini from here upwards, not above the home folder's level of "/". */
static const char *project_file(struct pag_cli *cli)
{
    char dir[1024];
    if (getcwd(dir, sizeof dir) == NULL) {
        return NULL;
    }
    for (;;) {
        const char *file = pag_cli_text(cli, "%s/.pagurus.ini", strcmp(dir, "/") == 0 ? "" : dir);
        if (pag_fs_exists(file)) {
            return file;
        }
        char *slash = strrchr(dir, '/');
        if (slash == NULL || slash == dir) {
            return NULL;
        }
        *slash = 0;
    }
}

int pag_contexts_read_own(struct pag_cli *cli, struct pag_contexts *out)
{
    memset(out, 0, sizeof *out);
    out->current = "";
    return read_file(cli, own_file(cli), ORIGIN_USER, out);
}

int pag_contexts_read(struct pag_cli *cli, struct pag_contexts *out)
{
    memset(out, 0, sizeof *out);
    out->current = "";
    const char *project = project_file(cli);
    int rc = read_file(cli, "/etc/pagurus/cli.ini", ORIGIN_SYSTEM, out);
    if (rc == PAG_EXIT_OK) {
        rc = read_file(cli, own_file(cli), ORIGIN_USER, out);
    }
    if (rc == PAG_EXIT_OK && project != NULL) {
        rc = read_file(cli, project, ORIGIN_PROJECT, out);
    }
    return rc;
}

/* ---- writing ---- */

static void put_key(struct pag_cli *cli, const char **text, const char *key, const char *value)
{
    if (value != NULL && value[0] != 0) {
        *text = pag_cli_text(cli, "%s%s = %s\n", *text, key, value);
    }
}

int pag_contexts_write(struct pag_cli *cli, const struct pag_contexts *c)
{
    const char *text = "; written by pagurus login and pagurus context; man 5 pagurus.ini\n";
    struct pag_fail why = { PAG_OK, "", 0 };
    const char *file = own_file(cli);
    put_key(cli, &text, "current", c->current);
    put_key(cli, &text, "product", c->product);
    put_key(cli, &text, "channel", c->channel);
    put_key(cli, &text, "sign", c->sign);
    for (size_t i = 0; i < c->n; i++) {
        text = pag_cli_text(cli, "%s\n[context %s]\n", text, c->list[i].name);
        put_key(cli, &text, "server", c->list[i].server);
        put_key(cli, &text, "ca", c->list[i].ca);
        put_key(cli, &text, "token_file", c->list[i].token_file);
        put_key(cli, &text, "token_command", c->list[i].token_command);
    }
    if (pag_fs_mkdirs(pag_conf_dir(cli), 0700, &why) != PAG_OK ||
        pag_fs_write(file, pag_span_str(text), 0600, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    return PAG_EXIT_OK;
}

/* ---- what holds for this run ---- */

static bool loopback(const char *host)
{
    static const char *const names[] = { "127.0.0.1", "localhost", "[::1]" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(host, names[i], n) == 0 && (host[n] == 0 || host[n] == ':' || host[n] == '/')) {
            return true;
        }
    }
    return false;
}

const char *pag_conf_file(struct pag_cli *cli, const char *file)
{
    char here[4096];
    if (file == NULL || file[0] == '/' || getcwd(here, sizeof here) == NULL) {
        return file;
    }
    return pag_cli_text(cli, "%s/%s", here, file);
}

const char *pag_conf_url(struct pag_cli *cli, const char *text)
{
    bool tls = strncmp(text, "https://", 8) == 0;
    bool plain = strncmp(text, "http://", 7) == 0 && loopback(text + 7);
    size_t n = strlen(text);
    if ((!tls && !plain) || strpbrk(text, " \t\r\n?#@") != NULL || n < 9) {
        return NULL;
    }
    while (n > 0 && text[n - 1] == '/') {
        n--;
    }
    return pag_cli_text(cli, "%.*s", (int)n, text);
}

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v != NULL && v[0] != 0 ? v : NULL;
}

static const char *first(const char *a, const char *b)
{
    return a != NULL ? a : b;
}

static struct pag_contexts *contexts_of(struct pag_cli *cli, int *rc)
{
    struct pag_contexts *c = pag_cli_alloc(cli, sizeof *c);
    *rc = pag_contexts_read(cli, c);
    return c;
}

int pag_conf_load(struct pag_cli *cli)
{
    if (cli->set_loaded) {
        return PAG_EXIT_OK;
    }
    int rc = PAG_EXIT_OK;
    struct pag_contexts *all = contexts_of(cli, &rc);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *asked = first(pag_opt(cli, "context"), env("PAGURUS_CONTEXT"));
    const struct pag_context *c = pag_contexts_find(all, first(asked, all->current));
    if (asked != NULL && c == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus context list shows them", "no context \"%s\"",
                            asked);
    }
    const char *server = first(pag_opt(cli, "server"), env("PAGURUS_SERVER"));
    cli->set.context = c == NULL ? "" : c->name;
    if (server != NULL) {
        cli->set.server = pag_conf_url(cli, server);
        if (cli->set.server == NULL) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "write it as https://host:8443",
                                "\"%s\" is no server address", server);
        }
    } else if (c != NULL && c->server != NULL) {
        cli->set.server = pag_conf_url(cli, c->server);
    }
    cli->set.own_server =
        c != NULL && c->server != NULL && cli->set.server != NULL && strcmp(cli->set.server, c->server) == 0;
    cli->set.ca = first(pag_opt(cli, "ca"), env("PAGURUS_CA"));
    if (cli->set.ca == NULL && cli->set.own_server) {
        cli->set.ca = c->ca;
    }
    cli->set_loaded = true;
    return PAG_EXIT_OK;
}

int pag_conf_need_server(struct pag_cli *cli)
{
    if (cli->set.server != NULL) {
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE,
                        "pagurus login https://host:8443, or --server, or PAGURUS_SERVER",
                        "no server is set");
}

static int token_of_file(struct pag_cli *cli, const char *file)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    enum pag_err err = pag_fs_private(file, &why);
    if (err == PAG_E_DENIED) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "chmod 600 %s", file),
                            "%s holds a token and others may read it", file);
    }
    if (err == PAG_OK) {
        err = pag_fs_read(file, PAG_SECRET_MAX, &buf, &why);
    }
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_DENIED, "pagurus login stores a token", "token file %s: %s", file,
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    size_t n = strcspn((const char *)buf.p, "\r\n");
    cli->set.token = pag_cli_text(cli, "%.*s", (int)n, (const char *)buf.p);
    pag_fs_buf_free(&buf);
    return PAG_EXIT_OK;
}

static int token_of_command(struct pag_cli *cli, const char *command)
{
    char token[PAG_SECRET_MAX] = "";
    FILE *f = popen(command, "r"); /* NOLINT(cert-env33-c): the user's own configuration says what to run */
    enum pag_err err = f == NULL ? PAG_E_IO : pag_read_line(fileno(f), token, sizeof token);
    int status = f == NULL ? -1 : pclose(f);
    if (err != PAG_OK || status != 0 || token[0] == 0) {
        return pag_cli_fail(cli, PAG_EXIT_DENIED, "run it by hand to see why",
                            "token_command \"%s\" gave no token", command);
    }
    cli->set.token = pag_cli_text(cli, "%s", token);
    return PAG_EXIT_OK;
}

static int token_of_stdin(struct pag_cli *cli)
{
    char token[PAG_SECRET_MAX] = "";
    if (pag_read_line(STDIN_FILENO, token, sizeof token) != PAG_OK || token[0] == 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pass-show token | pagurus … --token-stdin",
                            "--token-stdin: no token came");
    }
    cli->set.token = pag_cli_text(cli, "%s", token);
    return PAG_EXIT_OK;
}

static int token_of_context(struct pag_cli *cli)
{
    int rc = PAG_EXIT_OK;
    struct pag_contexts *all = contexts_of(cli, &rc);
    const struct pag_context *c = rc == PAG_EXIT_OK ? pag_contexts_find(all, cli->set.context) : NULL;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (c != NULL && cli->set.own_server && c->token_file != NULL) {
        return token_of_file(cli, c->token_file);
    }
    if (c != NULL && cli->set.own_server && c->token_command != NULL) {
        return token_of_command(cli, c->token_command);
    }
    return pag_cli_fail(
        cli, PAG_EXIT_DENIED,
        pag_cli_text(cli, "pagurus login %s, or PAGURUS_TOKEN, or --token-file", cli->set.server),
        "not signed in to %s", cli->set.server);
}

static bool token_ok(const char *token)
{
    for (const char *p = token; *p != 0; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p > '~') {
            return false;
        }
    }
    return token[0] != 0;
}

int pag_conf_token(struct pag_cli *cli)
{
    const char *file = first(pag_opt(cli, "token-file"), NULL);
    int rc = PAG_EXIT_OK;
    if (cli->set.token != NULL) {
        return rc;
    }
    if (file != NULL) {
        rc = token_of_file(cli, file);
    } else if (pag_opt_on(cli, "token-stdin")) {
        rc = token_of_stdin(cli);
    } else if (env("PAGURUS_TOKEN") != NULL) {
        cli->set.token = env("PAGURUS_TOKEN");
    } else if (env("PAGURUS_TOKEN_FILE") != NULL) {
        rc = token_of_file(cli, env("PAGURUS_TOKEN_FILE"));
    } else {
        rc = token_of_context(cli);
    }
    if (rc == PAG_EXIT_OK && !token_ok(cli->set.token)) {
        cli->set.token = NULL;
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "a token reads pgt_…, on one line", "that is no token");
    }
    return rc;
}

const char *pag_conf_default(struct pag_cli *cli, const char *flag)
{
    int rc = PAG_EXIT_OK;
    const char *given = pag_opt(cli, flag);
    if (given != NULL) {
        return given;
    }
    const struct pag_contexts *all = contexts_of(cli, &rc);
    if (rc != PAG_EXIT_OK) {
        return NULL;
    }
    if (strcmp(flag, "product") == 0) {
        return all->product;
    }
    return strcmp(flag, "channel") == 0 ? all->channel : all->sign;
}
