#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"

static const struct pag_column lines[] = {
    { "version", "version", PAG_CELL_TEXT },
    { "started", "started_at", PAG_CELL_TIME },
    { "uptime s", "uptime_s", PAG_CELL_TEXT },
    { "devices", "devices.total", PAG_CELL_TEXT },
    { "online", "devices.online", PAG_CELL_TEXT },
    { "store", "store.path", PAG_CELL_TEXT },
    { "store size", "store.bytes", PAG_CELL_BYTES },
    { "store queue", "store.queue", PAG_CELL_TEXT },
    { "broker", "broker.state", PAG_CELL_STATE },
    { "broker port", "broker.port", PAG_CELL_TEXT },
    { "broker connected", "broker.connected", PAG_CELL_TEXT },
    { "broker restarts", "broker.restarts", PAG_CELL_TEXT },
    { "certificates to renew", "device_certificates.due", PAG_CELL_TEXT },
    { "certificates ended", "device_certificates.expired", PAG_CELL_TEXT },
    { "root exported", "root_exported", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const struct pag_column versions[] = {
    { "PRODUCT", "product", PAG_CELL_TEXT },
    { "VERSION", "version", PAG_CELL_TEXT },
    { "DEVICES", "count", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const struct pag_column states[] = {
    { "STATE", "state", PAG_CELL_STATE },
    { "DEVICES", "count", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

/* Of {"up_to_date":41,…} the states that some device is in, as rows. */
static json_t *state_rows(struct pag_cli *cli, json_t *by_state)
{
    json_t *rows = pag_cli_keep(cli, json_array());
    const char *state = NULL;
    json_t *count = NULL;
    json_object_foreach(by_state, state, count)
    {
        if (json_integer_value(count) > 0) {
            (void)json_array_append_new(rows, json_pack("{s:s, s:O}", "state", state, "count", count));
        }
    }
    return rows;
}

static int below(struct pag_cli *cli, json_t *rows, const struct pag_column *columns)
{
    if (json_array_size(rows) == 0 || pag_opt_on(cli, "columns")) {
        return PAG_EXIT_OK;
    }
    (void)fputc('\n', stdout);
    return pag_out_items(cli, rows, columns);
}

/* The certificates of devices, which a look at the authorities counts; left out where that may not be asked.
 */
static void add_certificates(struct pag_cli *cli, json_t *status)
{
    struct pag_answer a = { 0 };
    const struct pag_call call = { .method = "GET", .path = "/ca", .silent = true };
    if (pag_client_call(cli, &call, &a) == PAG_EXIT_OK && a.json != NULL) {
        (void)json_object_set(status, "device_certificates", json_object_get(a.json, "device_certificates"));
    }
}

int pag_cmd_status(struct pag_cli *cli)
{
    json_t *status = NULL;
    int rc = pag_client_get(cli, "/status", &status);
    if (rc != PAG_EXIT_OK || pag_out_json(cli, status)) {
        return rc;
    }
    add_certificates(cli, status);
    rc = pag_out_object(cli, status, lines);
    if (rc == PAG_EXIT_OK) {
        rc = below(cli, state_rows(cli, pag_out_at(status, "devices.by_state")), states);
    }
    if (rc == PAG_EXIT_OK) {
        rc = below(cli, pag_out_at(status, "devices.by_version"), versions);
    }
    size_t i = 0;
    const json_t *w = NULL;
    json_array_foreach(json_object_get(status, "warnings"), i, w)
    {
        if (json_is_string(w)) {
            pag_cli_warn(cli, "%s", json_string_value(w));
        }
    }
    return rc;
}

int pag_cmd_version(struct pag_cli *cli)
{
    json_t *v = pag_cli_keep(cli, json_pack("{s:s}", "version", PAGURUS_VERSION));
    if (!pag_out_json(cli, v)) {
        (void)printf("pagurus %s\n", PAGURUS_VERSION);
    }
    return PAG_EXIT_OK;
}
