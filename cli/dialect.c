/* Products and devices that speak secureESP8266. */
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/text.h"
#include "host/fs.h"

enum { FILE_BYTES_MAX = 4096 };

static const struct pag_column lines[] = {
    { "dialect", "dialect", PAG_CELL_TEXT },
    { "downloadserver", "settings.downloadserver", PAG_CELL_TEXT },
    { "downloadport", "settings.downloadport", PAG_CELL_TEXT },
    { "downloadpath", "settings.downloadpath", PAG_CELL_TEXT },
    { "mqttserver", "settings.mqttserver", PAG_CELL_TEXT },
    { "mqttport", "settings.mqttport", PAG_CELL_TEXT },
    { "mqtttls", "settings.mqtttls", PAG_CELL_TEXT },
    { "ntpserver", "settings.ntpserver", PAG_CELL_TEXT },
    { "statusinterval", "settings.statusinterval", PAG_CELL_TEXT },
    { "waittimeout", "settings.waittimeout", PAG_CELL_TEXT },
    { "retrytimeout", "settings.retrytimeout", PAG_CELL_TEXT },
    { "updateserverurl", "settings.updateserverurl", PAG_CELL_TEXT },
    { "wifi", "settings.wifi", PAG_CELL_TEXT },
    { "board", "settings.board", PAG_CELL_TEXT },
    { "encoding", "settings.encoding", PAG_CELL_TEXT },
    { "variant", "settings.variant", PAG_CELL_TEXT },
    { "fulltopic", "settings.fulltopic", PAG_CELL_TEXT },
    { "otaurl", "settings.otaurl", PAG_CELL_TEXT },
    { "key", "settings.key", PAG_CELL_TEXT },
    { "series_days", "settings.series_days", PAG_CELL_TEXT },
    { "series_rows", "settings.series_rows", PAG_CELL_TEXT },
    { "changed", "changed_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

/* "@file": JSON of a file that is the user's alone, so that passwords are on no command line. */
static int value_of(struct pag_cli *cli, const char *text, json_t **out)
{
    struct pag_buf raw = { NULL, 0, 0 };
    struct pag_fail why = { .code = PAG_OK };
    if (text[0] != '@') {
        *out = pag_client_value(text);
        return PAG_EXIT_OK;
    }
    enum pag_err err = pag_fs_private(text + 1, &why);
    err = err == PAG_OK ? pag_fs_read(text + 1, FILE_BYTES_MAX, &raw, &why) : err;
    *out = err == PAG_OK ? json_loadb((const char *)raw.p, raw.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    pag_fs_buf_free(&raw);
    if (*out == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "one JSON value, at most 4096 bytes, in a file of mode 0600: chmod 600",
                            "%s cannot be used%s%s", text + 1, why.what != NULL ? ": " : "",
                            why.what != NULL ? why.what : "");
    }
    return PAG_EXIT_OK;
}

static int settings_of(struct pag_cli *cli, size_t from, json_t *settings)
{
    for (size_t i = from; i < cli->word_n; i++) {
        const char *eq = strchr(cli->word[i], '=');
        json_t *value = NULL;
        if (eq == NULL || eq == cli->word[i]) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "write it as statusinterval=60000 or wifi=@wifi.json",
                                "\"%s\" is no setting", cli->word[i]);
        }
        int rc = value_of(cli, eq + 1, &value);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        const char *name = pag_cli_text(cli, "%.*s", (int)(eq - cli->word[i]), cli->word[i]);
        (void)json_object_set_new(settings, name, value);
    }
    return PAG_EXIT_OK;
}

/* GET without words, DELETE with --off, else PATCH. */
static int run(struct pag_cli *cli, const char *path, json_t *body, const char *name)
{
    json_t *reply = NULL;
    if (pag_opt_on(cli, "off")) {
        int rc = pag_client_send(cli, "DELETE", path, NULL, &reply);
        if (rc == PAG_EXIT_OK) {
            pag_cli_say(cli, "%s: taken away\n", name);
        }
        return rc;
    }
    int rc = json_object_size(body) > 0 ? pag_client_send(cli, "PATCH", path, body, &reply)
                                        : pag_client_get(cli, path, &reply);
    return rc == PAG_EXIT_OK ? pag_out_object(cli, reply, lines) : rc;
}

int pag_cmd_product_dialect(struct pag_cli *cli)
{
    json_t *product = NULL;
    json_t *body = pag_cli_keep(cli, json_object());
    json_t *settings = pag_cli_keep(cli, json_object());
    const char *dialect = pag_word(cli, 1);
    bool named = dialect != NULL && strchr(dialect, '=') == NULL;
    int rc = settings_of(cli, named ? 2 : 1, settings);
    if (rc == PAG_EXIT_OK && named) {
        (void)json_object_set_new(body, "dialect", json_string(dialect));
    }
    if (rc == PAG_EXIT_OK && json_object_size(settings) > 0) {
        (void)json_object_set(body, "settings", settings);
    }
    rc = rc == PAG_EXIT_OK ? pag_find_product(cli, pag_word(cli, 0), &product) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *name = pag_out_text(product, "name");
    return run(cli, pag_cli_text(cli, "/products/%s/dialect", pag_client_escape(cli, name)), body, name);
}

/* Path below a device's own, for the first word of the command. */
static int device_path(struct pag_cli *cli, const char *tail, const char **path, const char **id)
{
    json_t *device = NULL;
    int rc = pag_find_device(cli, pag_word(cli, 0), &device);
    if (rc == PAG_EXIT_OK) {
        *id = pag_out_text(device, "id");
        *path = pag_cli_text(cli, "/devices/%s%s", pag_client_escape(cli, *id), tail);
    }
    return rc;
}

int pag_cmd_device_dialect(struct pag_cli *cli)
{
    const char *path = NULL;
    const char *id = NULL;
    json_t *body = pag_cli_keep(cli, json_object());
    json_t *settings = pag_cli_keep(cli, json_object());
    int rc = settings_of(cli, 1, settings);
    if (rc == PAG_EXIT_OK && json_object_size(settings) > 0) {
        (void)json_object_set(body, "settings", settings);
    }
    rc = rc == PAG_EXIT_OK ? device_path(cli, "/dialect", &path, &id) : rc;
    return rc == PAG_EXIT_OK ? run(cli, path, body, id) : rc;
}

int pag_cmd_device_key(struct pag_cli *cli)
{
    const char *path = NULL;
    const char *id = NULL;
    json_t *reply = NULL;
    int rc = device_path(cli, "/key", &path, &id);
    rc =
        rc == PAG_EXIT_OK ? pag_client_send(cli, "POST", path, pag_cli_keep(cli, json_object()), &reply) : rc;
    if (rc == PAG_EXIT_OK && !(reply != NULL && pag_out_json(cli, reply))) {
        pag_cli_say(cli,
                    "%s: a new key waits, certificate %s.   Next: pagurus device command %s key, then cert, "
                    "then reboot\n",
                    id, pag_out_text(reply, "serial"), id);
    }
    return rc;
}

static const struct pag_column series_columns[] = {
    { "TIME", "at", PAG_CELL_TIME },
    { "VALUE", "value", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_device_series(struct pag_cli *cli)
{
    static const char *const names[] = { "from", "to", "limit" };
    const char *path = NULL;
    const char *id = NULL;
    const char *field = pag_opt(cli, "field");
    json_t *reply = NULL;
    if (field == NULL) {
        return pag_cli_fail(
            cli, PAG_EXIT_USAGE,
            "--field uptimemillis, maxmillis, mqttmillis, rssi, espfreeheap, espname, espimage, "
            "espbuild, espip, errormessage or espflasherror",
            "--field is missing");
    }
    int rc = device_path(cli, "/series", &path, &id);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    path = pag_cli_text(cli, "%s?field=%s", path, pag_client_escape(cli, field));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *v = pag_opt(cli, names[i]);
        path = v != NULL ? pag_cli_text(cli, "%s&%s=%s", path, names[i], pag_client_escape(cli, v)) : path;
    }
    rc = pag_client_get(cli, path, &reply);
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    return pag_out_items(cli, json_object_get(reply, "items"), series_columns);
}
