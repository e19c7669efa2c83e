/* Paths at which devices ask that know another server's address: docs/spec/legacy-http.md 1. */
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/out.h"

static const struct pag_column columns[] = {
    { "PATH", "path", PAG_CELL_TEXT },
    { "KIND", "kind", PAG_CELL_TEXT },
    { "AUTH", "auth", PAG_CELL_TEXT },
    { "304", "not_modified", PAG_CELL_TEXT },
    { "ANY .BIN", "plain_names", PAG_CELL_TEXT },
    { "SINCE", "created_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const char *mounts_path(struct pag_cli *cli)
{
    return pag_cli_text(cli, "/products/%s/mounts", pag_client_escape(cli, pag_word(cli, 0)));
}

int pag_cmd_product_mount_list(struct pag_cli *cli)
{
    return pag_out_api_list(cli, mounts_path(cli), columns);
}

static int options_of(struct pag_cli *cli, json_t *body)
{
    json_t *options = json_object();
    (void)json_object_set_new(body, "options", options);
    for (size_t i = 0; pag_opt_at(cli, "option", i) != NULL; i++) {
        const char *text = pag_opt_at(cli, "option", i);
        const char *eq = strchr(text, '=');
        if (eq == NULL || eq == text) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "write it as --option name=value", "\"%s\" is no option",
                                text);
        }
        (void)json_object_set_new(options, pag_cli_text(cli, "%.*s", (int)(eq - text), text),
                                  pag_client_value(eq + 1));
    }
    return PAG_EXIT_OK;
}

int pag_cmd_product_mount_add(struct pag_cli *cli)
{
    const char *kind = pag_opt(cli, "as");
    json_t *reply = NULL;
    if (kind == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "--as httpupdate, tag-emonesp, tag-squix, files or secureesp8266",
                            "--as is missing");
    }
    json_t *body = pag_cli_keep(cli, json_pack("{s:s, s:s}", "path", pag_word(cli, 1), "kind", kind));
    if (pag_opt(cli, "auth") != NULL) {
        (void)json_object_set_new(body, "auth", json_string(pag_opt(cli, "auth")));
    }
    (void)json_object_set_new(body, "not_modified", json_boolean(pag_opt_on(cli, "not-modified")));
    (void)json_object_set_new(body, "plain_names", json_boolean(pag_opt_on(cli, "any-name")));
    int rc = options_of(cli, body);
    rc = rc == PAG_EXIT_OK ? pag_client_send(cli, "POST", mounts_path(cli), body, &reply) : rc;
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    pag_cli_say(cli, "%s: %s is answered as %s\n", pag_word(cli, 0), pag_out_text(reply, "path"),
                pag_out_text(reply, "kind"));
    return rc;
}

int pag_cmd_product_mount_rm(struct pag_cli *cli)
{
    const char *path =
        pag_cli_text(cli, "%s?path=%s", mounts_path(cli), pag_client_escape(cli, pag_word(cli, 1)));
    json_t *reply = NULL;
    int rc = pag_client_send(cli, "DELETE", path, NULL, &reply);
    if (rc == PAG_EXIT_OK && !cli->json) {
        pag_cli_say(cli, "%s is not answered for %s any more\n", pag_word(cli, 1), pag_word(cli, 0));
    }
    return rc;
}
