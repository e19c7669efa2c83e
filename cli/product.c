#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/prompt.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "core/image.h"

static const struct pag_column columns[] = {
    { "NAME", "name", PAG_CELL_TEXT },
    { "CHIP", "chip", PAG_CELL_TEXT },
    { "HARDWARE", "hardware", PAG_CELL_TEXT },
    { "SLOT", "slot_bytes", PAG_CELL_BYTES },
    { "TRUST", "trust_version", PAG_CELL_TEXT },
    { "ID", "id", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const struct pag_column lines[] = {
    { "name", "name", PAG_CELL_TEXT },
    { "id", "id", PAG_CELL_TEXT },
    { "chip", "chip", PAG_CELL_TEXT },
    { "hardware", "hardware", PAG_CELL_TEXT },
    { "slot", "slot_bytes", PAG_CELL_BYTES },
    { "trust set", "trust_version", PAG_CELL_TEXT },
    { "poll_s", "settings.poll_s", PAG_CELL_TEXT },
    { "legacy_auth", "settings.legacy_auth", PAG_CELL_TEXT },
    { "plain_http", "settings.plain_http", PAG_CELL_TEXT },
    { "max_serves", "settings.max_serves", PAG_CELL_TEXT },
    { "core", "settings.core", PAG_CELL_TEXT },
    { "topics.command", "settings.topics.command", PAG_CELL_TEXT },
    { "topics.status", "settings.topics.status", PAG_CELL_TEXT },
    { "topics.will", "settings.topics.will", PAG_CELL_TEXT },
    { "created", "created_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_product_list(struct pag_cli *cli)
{
    return pag_out_api_list(cli, "/products", columns);
}

int pag_cmd_product_show(struct pag_cli *cli)
{
    json_t *product = NULL;
    int rc = pag_find_product(cli, pag_word(cli, 0), &product);
    return rc == PAG_EXIT_OK ? pag_out_object(cli, product, lines) : rc;
}

/* Sets "a.b" = value in o, making the folders in between. */
static void set_path(json_t *o, const char *path, size_t n, json_t *value)
{
    char name[64];
    size_t len = 0;
    while (len < n && path[len] != '.') {
        len++;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)len, path);
    if (len == n) {
        (void)json_object_set_new(o, name, value);
        return;
    }
    if (!json_is_object(json_object_get(o, name))) {
        (void)json_object_set_new(o, name, json_object());
    }
    set_path(json_object_get(o, name), path + len + 1, n - len - 1,
             value); /* NOLINT(misc-no-recursion): depth
                        is the dots of one word */
}

static int settings_of(struct pag_cli *cli, const char *text, json_t *settings)
{
    const char *eq = strchr(text, '=');
    if (eq == NULL || eq == text) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "write it as poll_s=300 or topics.status=/status/{id}",
                            "\"%s\" is no setting", text);
    }
    set_path(settings, text, (size_t)(eq - text), pag_client_value(eq + 1));
    return PAG_EXIT_OK;
}

static int add_bytes(struct pag_cli *cli, const char *flag, const char *name, json_t *body)
{
    uint64_t n = 0;
    int rc = pag_opt_number(cli, flag, 0, &n);
    if (rc == PAG_EXIT_OK && n != 0 && n <= INT64_MAX) {
        (void)json_object_set_new(body, name, json_integer((json_int_t)n));
    }
    return rc;
}

static void add_hardware(struct pag_cli *cli, json_t *body)
{
    json_t *list = json_array();
    for (size_t i = 0; pag_opt_at(cli, "hardware", i) != NULL; i++) {
        const char *p = pag_opt_at(cli, "hardware", i);
        while (*p != 0) {
            size_t n = strcspn(p, ",");
            (void)json_array_append_new(list, json_stringn(p, n));
            p += n + (p[n] == ',');
        }
    }
    (void)json_object_set_new(body, "hardware", list);
}

int pag_cmd_product_create(struct pag_cli *cli)
{
    const char *chip = pag_opt(cli, "chip");
    json_t *reply = NULL;
    if (chip == NULL || pag_chip_by_name(pag_span_str(chip)) == PAG_CHIP_UNKNOWN) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "--chip esp8266, esp32, esp32-s2, esp32-s3, esp32-c3, … or posix",
                            chip == NULL ? "--chip is missing" : "no chip is called that");
    }
    json_t *body = pag_cli_keep(cli, json_pack("{s:s, s:s}", "name", pag_word(cli, 0), "chip", chip));
    json_t *settings = pag_cli_keep(cli, json_object());
    add_hardware(cli, body);
    int rc = add_bytes(cli, "flash", "flash_bytes", body);
    if (rc == PAG_EXIT_OK) {
        rc = add_bytes(cli, "slot", "slot_bytes", body);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && pag_opt_at(cli, "set", i) != NULL; i++) {
        rc = settings_of(cli, pag_opt_at(cli, "set", i), settings);
    }
    if (json_object_size(settings) > 0) {
        (void)json_object_set(body, "settings", settings);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_send(cli, "POST", "/products", body, &reply);
    }
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    pag_cli_say(
        cli,
        "product %s is made.   Next: pagurus key generate NAME, then pagurus key trust create --product %s\n",
        pag_word(cli, 0), pag_word(cli, 0));
    return rc;
}

/* What nobody should switch on without having read it. */
static int ask_plain_http(struct pag_cli *cli, const json_t *product, json_t *settings)
{
    json_t *wanted = json_object_get(settings, "plain_http");
    if (json_is_string(wanted) &&
        (strcmp(json_string_value(wanted), "on") == 0 || strcmp(json_string_value(wanted), "off") == 0)) {
        wanted = json_boolean(strcmp(json_string_value(wanted), "on") == 0);
        (void)json_object_set_new(settings, "plain_http", wanted);
    }
    if (!json_is_true(wanted) || json_is_true(pag_out_at(product, "settings.plain_http"))) {
        return PAG_EXIT_OK;
    }
    pag_cli_warn(cli,
                 "Over plain HTTP everybody on the way can read the firmware of %s, put another one in its "
                 "place, and say that he is any of its devices. Only firmware that checks a signature itself "
                 "notices. Keys, certificates and configuration never go that way.",
                 pag_out_text(product, "name"));
    return pag_prompt_yes(cli, "--yes", "Serve it over plain HTTP?");
}

int pag_cmd_product_set(struct pag_cli *cli)
{
    json_t *product = NULL;
    json_t *reply = NULL;
    json_t *settings = pag_cli_keep(cli, json_object());
    int rc = PAG_EXIT_OK;
    for (size_t i = 1; rc == PAG_EXIT_OK && i < cli->word_n; i++) {
        rc = settings_of(cli, cli->word[i], settings);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_find_product(cli, pag_word(cli, 0), &product);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *body = pag_cli_keep(cli, json_pack("{s:O}", "settings", settings));
    const char *path =
        pag_cli_text(cli, "/products/%s", pag_client_escape(cli, pag_out_text(product, "name")));
    rc = ask_plain_http(cli, product, settings);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    rc = pag_client_send(cli, "PATCH", path, body, &reply);
    if (rc == PAG_EXIT_OK && !(reply != NULL && pag_out_json(cli, reply))) {
        pag_cli_say(cli, "%s: %zu setting(s) changed\n", pag_out_text(product, "name"),
                    json_object_size(settings));
    }
    return rc;
}
