#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/prompt.h"
#include "cli/text.h"

static const struct pag_column list_columns[] = {
    { "ID", "id", PAG_CELL_TEXT },
    { "NAME", "name", PAG_CELL_TEXT },
    { "PRODUCT", "product", PAG_CELL_TEXT },
    { "STATE", "state", PAG_CELL_STATE },
    { "RUNNING", "running.version", PAG_CELL_TEXT },
    { "WANTED", "wanted.version", PAG_CELL_TEXT },
    { "ONLINE", "online", PAG_CELL_TEXT },
    { "LAST SEEN", "last_seen", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const struct pag_column show_lines[] = {
    { "id", "id", PAG_CELL_TEXT },
    { "name", "name", PAG_CELL_TEXT },
    { "mac", "mac", PAG_CELL_TEXT },
    { "product", "product", PAG_CELL_TEXT },
    { "chip", "chip", PAG_CELL_TEXT },
    { "hardware", "hardware", PAG_CELL_TEXT },
    { "protocol", "protocol", PAG_CELL_TEXT },
    { "state", "state", PAG_CELL_STATE },
    { "why", "why", PAG_CELL_TEXT },
    { "message", "message", PAG_CELL_TEXT },
    { "what to do", "message_help", PAG_CELL_TEXT },
    { "online", "online", PAG_CELL_TEXT },
    { "running", "running.version", PAG_CELL_TEXT },
    { "sha256", "running.sha256", PAG_CELL_SHORT },
    { "wanted", "wanted.version", PAG_CELL_TEXT },
    { "action", "action.state", PAG_CELL_STATE },
    { "progress", "action.progress", PAG_CELL_TEXT },
    { "action text", "action.text", PAG_CELL_TEXT },
    { "verify key", "verify_key", PAG_CELL_TEXT },
    { "pin", "pin", PAG_CELL_TEXT },
    { "tags", "tags", PAG_CELL_TEXT },
    { "last seen", "last_seen", PAG_CELL_TIME },
    { "enrolled", "enrolled_at", PAG_CELL_TIME },
    { "certificate", "certificate.serial", PAG_CELL_TEXT },
    { "valid until", "certificate.not_after", PAG_CELL_TIME },
    { "revoked", "certificate.revoked_at", PAG_CELL_TIME },
    { "copy suspected", "clone_suspected_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

const struct pag_column pag_event_columns[] = {
    { "TIME", "at", PAG_CELL_TIME },       { "EVENT", "type", PAG_CELL_TEXT },
    { "DEVICE", "device", PAG_CELL_TEXT }, { "ACTOR", "actor", PAG_CELL_TEXT },
    { "DATA", "data", PAG_CELL_TEXT },     { NULL, NULL, PAG_CELL_TEXT },
};

/* Adds "name=value" to the query of url when the option is given. */
static const char *with_query(struct pag_cli *cli, const char *url, const char *option, const char *name)
{
    const char *v = pag_opt(cli, option);
    if (v == NULL) {
        return url;
    }
    return pag_cli_text(cli, "%s%s%s=%s", url, strchr(url, '?') != NULL ? "&" : "?", name,
                        pag_client_escape(cli, v));
}

int pag_cmd_device_list(struct pag_cli *cli)
{
    const char *url = with_query(cli, "/devices", "product", "product");
    url = with_query(cli, url, "state", "state");
    url = with_query(cli, url, "running", "version");
    url = with_query(cli, url, "find", "q");
    return pag_out_api_list(cli, url, list_columns);
}

/* Path below a device's own, for the first word of the command. */
static int device_path(struct pag_cli *cli, const char *tail, const char **path, json_t **device)
{
    int rc = pag_find_device(cli, pag_word(cli, 0), device);
    if (rc == PAG_EXIT_OK) {
        *path = pag_cli_text(cli, "/devices/%s%s", pag_client_escape(cli, pag_out_text(*device, "id")), tail);
    }
    return rc;
}

/* A list of the API below the device. */
static int device_list(struct pag_cli *cli, const char *tail, const struct pag_column *columns)
{
    const char *path = NULL;
    json_t *device = NULL;
    int rc = device_path(cli, tail, &path, &device);
    return rc == PAG_EXIT_OK ? pag_out_api_list(cli, path, columns) : rc;
}

int pag_cmd_device_history(struct pag_cli *cli)
{
    return device_list(cli, "/history", pag_event_columns);
}

int pag_cmd_device_show(struct pag_cli *cli)
{
    json_t *device = NULL;
    if (pag_opt_on(cli, "history")) {
        return pag_cmd_device_history(cli);
    }
    int rc = pag_find_device(cli, pag_word(cli, 0), &device);
    return rc == PAG_EXIT_OK ? pag_out_object(cli, device, show_lines) : rc;
}

static const struct pag_column data_columns[] = {
    { "TIME", "at", PAG_CELL_TIME },
    { "TOPIC", "topic", PAG_CELL_TEXT },
    { "PAYLOAD", "payload", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_device_data(struct pag_cli *cli)
{
    const char *path = NULL;
    json_t *device = NULL;
    json_t *reply = NULL;
    int rc = device_path(cli, "/data", &path, &device);
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_get(cli, path, &reply);
    }
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    const json_t *status = json_object_get(reply, "status");
    if (json_object_size(status) > 0) {
        json_t *row = pag_cli_keep(cli, json_pack("{s:s, s:O*, s:O}", "topic", "(status)", "at",
                                                  json_object_get(reply, "status_at"), "payload", status));
        (void)json_array_insert(json_object_get(reply, "data"), 0, row);
    }
    return pag_out_items(cli, json_object_get(reply, "data"), data_columns);
}

/* A change of a device with an answer that people need not see. */
static int device_send(struct pag_cli *cli, const char *method, const char *tail, json_t *body,
                       const char *said)
{
    const char *path = NULL;
    json_t *device = NULL;
    json_t *reply = NULL;
    int rc = device_path(cli, tail, &path, &device);
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_send(cli, method, path, body, &reply);
    }
    if (rc == PAG_EXIT_OK && !(reply != NULL && pag_out_json(cli, reply))) {
        pag_cli_say(cli, "%s: %s\n", pag_out_text(device, "id"), said);
    }
    return rc;
}

static int send_command(struct pag_cli *cli, const char *kind, const char *arg)
{
    uint64_t ttl_s = 0;
    int rc = pag_opt_seconds(cli, "ttl", 3600, &ttl_s);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *body = pag_cli_keep(cli, json_pack("{s:s, s:I}", "kind", kind, "ttl_s", (json_int_t)ttl_s));
    if (arg != NULL) {
        (void)json_object_set_new(body, "arg", json_string(arg));
    }
    return device_send(
        cli, "POST", "/commands", body,
        pag_cli_text(cli, "%s is queued; pagurus device commands %s shows it", kind, pag_word(cli, 0)));
}

int pag_cmd_device_reboot(struct pag_cli *cli)
{
    return send_command(cli, "reboot", NULL);
}

int pag_cmd_device_identify(struct pag_cli *cli)
{
    return send_command(cli, "identify", NULL);
}

int pag_cmd_device_check(struct pag_cli *cli)
{
    return send_command(cli, "check", NULL);
}

int pag_cmd_device_command(struct pag_cli *cli)
{
    static const char *const kinds[] = { "check",    "reboot", "identify", "config", "app",
                                         "firmware", "flash",  "ca",       "cert",   "key" };
    const char *kind = pag_word(cli, 1);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i], kind) == 0) {
            return send_command(cli, kind, pag_word(cli, 2));
        }
    }
    const char *near = pag_text_nearest(kind, kinds, sizeof kinds / sizeof kinds[0]);
    return pag_cli_fail(cli, PAG_EXIT_USAGE,
                        near != NULL
                            ? pag_cli_text(cli, "did you mean %s?", near)
                            : "one of check, reboot, identify, config, app; secureESP8266: firmware, "
                              "flash, ca, cert, key",
                        "no command kind \"%s\"", kind);
}

static const struct pag_column command_columns[] = {
    { "ID", "id", PAG_CELL_TEXT },         { "KIND", "kind", PAG_CELL_TEXT },
    { "STATE", "state", PAG_CELL_STATE },  { "CREATED", "created_at", PAG_CELL_TIME },
    { "RESULT", "result", PAG_CELL_TEXT }, { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_device_commands(struct pag_cli *cli)
{
    return device_list(cli, "/commands", command_columns);
}

int pag_cmd_device_retry(struct pag_cli *cli)
{
    return device_send(cli, "POST", ":retry", NULL,
                       "blacklist and loop breaker cleared; it will be offered updates again");
}

int pag_cmd_device_revoke(struct pag_cli *cli)
{
    json_t *device = NULL;
    const char *reason = pag_opt(cli, "reason");
    int rc = pag_find_device(cli, pag_word(cli, 0), &device);
    if (rc == PAG_EXIT_OK) {
        const char *id = pag_out_text(device, "id");
        rc = pag_prompt_confirm(
            cli, id, pag_cli_text(cli, "Cut %s off for good? Its certificate cannot be revived.", id));
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *body = pag_cli_keep(cli, json_object());
    if (reason != NULL) {
        (void)json_object_set_new(body, "reason", json_string(reason));
    }
    return device_send(cli, "POST", ":revoke", body, "revoked: off HTTPS now, off MQTT within 5 s");
}

static int patch(struct pag_cli *cli, json_t *body, const char *said)
{
    return device_send(cli, "PATCH", "", body, said);
}

int pag_cmd_device_pin(struct pag_cli *cli)
{
    const char *version = pag_word(cli, 1);
    return patch(cli, pag_cli_keep(cli, json_pack("{s:s}", "pin", version)),
                 pag_cli_text(cli, "pinned to %s", version));
}

int pag_cmd_device_unpin(struct pag_cli *cli)
{
    return patch(cli, pag_cli_keep(cli, json_pack("{s:n}", "pin")), "follows its product's releases again");
}

int pag_cmd_device_rename(struct pag_cli *cli)
{
    const char *name = pag_word(cli, 1);
    return patch(cli, pag_cli_keep(cli, json_pack("{s:s}", "name", name)),
                 pag_cli_text(cli, "is now called %s", name));
}

static size_t tag_at(const json_t *tags, const char *tag)
{
    for (size_t i = 0; i < json_array_size(tags); i++) {
        if (strcmp(json_string_value(json_array_get(tags, i)), tag) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

int pag_cmd_device_tag(struct pag_cli *cli)
{
    json_t *device = NULL;
    int rc = pag_find_device(cli, pag_word(cli, 0), &device);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *old = json_object_get(device, "tags");
    json_t *tags = pag_cli_keep(cli, json_is_array(old) ? json_copy(old) : json_array());
    for (size_t i = 1; i < cli->word_n; i++) {
        const char *w = cli->word[i];
        if ((w[0] != '+' && w[0] != '-') || w[1] == 0) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus device tag ID +new -old",
                                "\"%s\" is neither +tag nor -tag", w);
        }
        size_t at = tag_at(tags, w + 1);
        if (w[0] == '+' && at == SIZE_MAX) {
            (void)json_array_append_new(tags, json_string(w + 1));
        } else if (w[0] == '-' && at != SIZE_MAX) {
            (void)json_array_remove(tags, at);
        }
    }
    return patch(cli, pag_cli_keep(cli, json_pack("{s:O}", "tags", tags)), "tags set");
}
