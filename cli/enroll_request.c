#include "cli/client.h"
#include "cli/commands.h"

/* Devices that ask over EST without a code, where the product's owner looks at each (docs/spec/est.md). */

static const struct pag_column columns[] = {
    { "ID", "id", PAG_CELL_TEXT },
    { "DEVICE", "device", PAG_CELL_TEXT },
    { "PRODUCT", "product", PAG_CELL_TEXT },
    { "STATE", "state", PAG_CELL_TEXT },
    { "FROM", "address", PAG_CELL_TEXT },
    { "SINCE", "created_at", PAG_CELL_TIME },
    { "KEY SHA-256", "key_sha256", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_request_list(struct pag_cli *cli)
{
    return pag_out_api_list(cli, "/enrollment/requests", columns);
}

static int decide(struct pag_cli *cli, const char *verb, const char *said)
{
    const char *id = pag_word(cli, 0);
    const char *path = pag_cli_text(cli, "/enrollment/requests/%s:%s", pag_client_escape(cli, id), verb);
    int rc = pag_client_send(cli, "POST", path, pag_cli_keep(cli, json_object()), NULL);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "%s %s\n", id, said);
    }
    return rc;
}

int pag_cmd_request_approve(struct pag_cli *cli)
{
    return decide(cli, "approve", "approved; the device gets its certificate when it asks again");
}

int pag_cmd_request_deny(struct pag_cli *cli)
{
    return decide(cli, "deny", "denied; the same key is answered 403");
}
