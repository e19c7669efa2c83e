#include <string.h>

#include "cli/commands.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "host/fs.h"

static const struct pag_column columns[] = {
    { "CURRENT", "current", PAG_CELL_TEXT }, { "NAME", "name", PAG_CELL_TEXT },
    { "SERVER", "server", PAG_CELL_TEXT },   { "CA", "ca", PAG_CELL_TEXT },
    { "TOKEN", "token", PAG_CELL_TEXT },     { NULL, NULL, PAG_CELL_TEXT },
};

static json_t *row_of(const struct pag_contexts *all, const struct pag_context *c)
{
    const char *token = c->token_file != NULL ? c->token_file : c->token_command != NULL ? "(command)" : NULL;
    return json_pack("{s:b, s:s, s:s?, s:s?, s:s?}", "current", strcmp(all->current, c->name) == 0, "name",
                     c->name, "server", c->server, "ca", c->ca, "token", token);
}

int pag_cmd_context_list(struct pag_cli *cli)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    json_t *rows = pag_cli_keep(cli, json_array());
    int rc = pag_contexts_read(cli, all);
    for (size_t i = 0; i < all->n; i++) {
        (void)json_array_append_new(rows, row_of(all, &all->list[i]));
    }
    return rc == PAG_EXIT_OK ? pag_out_items(cli, rows, columns) : rc;
}

static int no_context(struct pag_cli *cli, const struct pag_contexts *all, const char *name)
{
    const char *names[PAG_CONTEXTS_MAX];
    for (size_t i = 0; i < all->n; i++) {
        names[i] = all->list[i].name;
    }
    const char *near = pag_text_nearest(name, names, all->n);
    return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND,
                        near != NULL ? pag_cli_text(cli, "did you mean %s?", near)
                                     : "pagurus context list shows them; pagurus login makes one",
                        "no context \"%s\"", name);
}

int pag_cmd_context_show(struct pag_cli *cli)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    int rc = pag_contexts_read(cli, all);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *name = pag_word(cli, 0) != NULL ? pag_word(cli, 0) : all->current;
    const struct pag_context *c = pag_contexts_find(all, name);
    if (c == NULL) {
        return no_context(cli, all, name);
    }
    return pag_out_object(cli, pag_cli_keep(cli, row_of(all, c)), columns);
}

int pag_cmd_context_use(struct pag_cli *cli)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    int rc = pag_contexts_read_own(cli, all);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (pag_contexts_find(all, pag_word(cli, 0)) == NULL) {
        return no_context(cli, all, pag_word(cli, 0));
    }
    all->current = pag_word(cli, 0);
    rc = pag_contexts_write(cli, all);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "now using %s\n", all->current);
    }
    return rc;
}

int pag_cmd_context_add(struct pag_cli *cli)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    const char *name = pag_word(cli, 0);
    const char *server = pag_conf_url(cli, pag_word(cli, 1));
    int rc = pag_contexts_read_own(cli, all);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (!pag_text_name_ok(name) || server == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus context add prod https://ota.example.net:8443",
                            "want a name of letters, digits, . _ - and an https address");
    }
    struct pag_context *c = pag_contexts_add(all, name);
    if (c == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus context remove", "there are %d contexts",
                            PAG_CONTEXTS_MAX);
    }
    c->server = server;
    c->ca = pag_opt(cli, "ca") != NULL ? pag_conf_file(cli, pag_opt(cli, "ca")) : c->ca;
    c->token_file =
        pag_opt(cli, "token-file") != NULL ? pag_conf_file(cli, pag_opt(cli, "token-file")) : c->token_file;
    c->token_command =
        pag_opt(cli, "token-command") != NULL ? pag_opt(cli, "token-command") : c->token_command;
    if (all->current[0] == 0) {
        all->current = name;
    }
    rc = pag_contexts_write(cli, all);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "context %s: %s\n", name, server);
    }
    return rc;
}

int pag_cmd_context_remove(struct pag_cli *cli)
{
    struct pag_contexts *all = pag_cli_alloc(cli, sizeof *all);
    const char *name = pag_word(cli, 0);
    int rc = pag_contexts_read_own(cli, all);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    struct pag_context *c = pag_contexts_find(all, name);
    if (c == NULL) {
        return no_context(cli, all, name);
    }
    const char *own = pag_cli_text(cli, "%s/tokens/%s", pag_conf_dir(cli), name);
    if (c->token_file != NULL && strcmp(c->token_file, own) == 0) {
        (void)pag_fs_remove(own, NULL);
    }
    *c = all->list[all->n - 1];
    all->n--;
    if (strcmp(all->current, name) == 0) {
        all->current = "";
    }
    rc = pag_contexts_write(cli, all);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "context %s removed\n", name);
    }
    return rc;
}
