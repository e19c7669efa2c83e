#include "cli/enroll.h"

#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/settings.h"
#include "cli/text.h"
#include "cli/trust.h"
#include "core/bytes.h"

static const struct pag_column columns[] = {
    { "ID", "id", PAG_CELL_TEXT },
    { "PRODUCT", "product", PAG_CELL_TEXT },
    { "USES LEFT", "uses_left", PAG_CELL_TEXT },
    { "MAC", "mac", PAG_CELL_TEXT },
    { "EXPIRES", "expires_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_enroll_mac(struct pag_cli *cli, const char **mac)
{
    const char *text = pag_opt(cli, "mac");
    char *digits = pag_cli_alloc(cli, 13);
    *mac = NULL;
    if (text == NULL) {
        return PAG_EXIT_OK;
    }
    if (pag_mac_text(pag_span_str(text), digits) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--mac 84:f3:eb:00:00:03: twelve hex digits",
                            "\"%s\" is no MAC", text);
    }
    *mac = digits;
    return PAG_EXIT_OK;
}

int pag_enroll_code(struct pag_cli *cli, const struct pag_enroll_for *who, json_t **reply)
{
    uint64_t uses = 0;
    uint64_t ttl_s = 0;
    int rc = pag_opt_number(cli, "uses", 1, &uses);
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_seconds(cli, "ttl", 7ULL * 86400, &ttl_s);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *body = pag_cli_keep(cli, json_pack("{s:s, s:I, s:I}", "product", who->product, "uses",
                                               (json_int_t)uses, "ttl_s", (json_int_t)ttl_s));
    if (who->mac != NULL) {
        (void)json_object_set_new(body, "mac", json_string(who->mac));
    }
    return pag_client_send(cli, "POST", "/enrollment/codes", body, reply);
}

/* --product and --mac. */
static int given_device(struct pag_cli *cli, struct pag_enroll_for *who)
{
    who->product = pag_conf_default(cli, "product");
    if (who->product == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus product list shows them", "--product is missing");
    }
    return pag_enroll_mac(cli, &who->mac);
}

int pag_cmd_code_create(struct pag_cli *cli)
{
    struct pag_enroll_for who = { NULL, NULL };
    json_t *reply = NULL;
    int rc = given_device(cli, &who);
    rc = rc == PAG_EXIT_OK ? pag_enroll_code(cli, &who, &reply) : rc;
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    (void)printf("%s\n", pag_out_text(reply, "code"));
    pag_cli_say(cli, "good for %llu device(s) of %s until %s; it is shown only now\n",
                (unsigned long long)pag_out_number(reply, "uses_left"), pag_out_text(reply, "product"),
                pag_out_text(reply, "expires_at"));
    return rc;
}

int pag_cmd_code_list(struct pag_cli *cli)
{
    return pag_out_api_list(cli, "/enrollment/codes", columns);
}

int pag_cmd_code_revoke(struct pag_cli *cli)
{
    const char *path = pag_cli_text(cli, "/enrollment/codes/%s", pag_client_escape(cli, pag_word(cli, 0)));
    int rc = pag_client_send(cli, "DELETE", path, NULL, NULL);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "code %s revoked; devices that used it stay enrolled\n", pag_word(cli, 0));
    }
    return rc;
}

/* ---- the text that a device starts from (docs/spec/device-config.md) ---- */

static const char *host_of(struct pag_cli *cli, const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    return pag_cli_text(cli, "%.*s", (int)n, host);
}

/* The port on which the server says that it waits for devices. */
static int device_port(struct pag_cli *cli, uint32_t *port)
{
    json_t *status = NULL;
    size_t i = 0;
    const json_t *l = NULL;
    int rc = pag_client_get(cli, "/status", &status);
    json_array_foreach(json_object_get(status, "listeners"), i, l)
    {
        uint64_t n = pag_out_number(l, "port");
        if (strcmp(pag_out_text(l, "name"), "device") == 0 && n > 0 && n <= UINT16_MAX) {
            *port = (uint32_t)n;
            return rc;
        }
    }
    return rc != PAG_EXIT_OK ? rc
                             : pag_cli_fail(cli, PAG_EXIT_NOT_FOUND,
                                            "--device-server HOST:PORT, the address that devices use",
                                            "the server names no port for devices");
}

/* "host", "host:8444", "[::1]:8444". */
int pag_enroll_server(struct pag_cli *cli, const char **host, uint32_t *port)
{
    const char *given = pag_opt(cli, "device-server");
    const char *text = given != NULL ? given : host_of(cli, cli->set.server);
    uint32_t number = 0;
    size_t n = text[0] == '[' ? strcspn(text, "]") + 1 : strcspn(text, ":");
    if (text[n] == ':' &&
        (pag_parse_u32(pag_span_str(text + n + 1), &number) != PAG_OK || number == 0 || number > 65535)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--device-server ota.example.net:8444",
                            "\"%s\" is no address", text);
    }
    int rc = number == 0 ? device_port(cli, &number) : PAG_EXIT_OK;
    bool bracket = text[0] == '[';
    *host = pag_cli_text(cli, "%.*s", (int)(bracket ? n - 2 : n), text + (bracket ? 1 : 0));
    *port = number;
    return rc;
}

static int server_lines(struct pag_cli *cli, const char **text)
{
    const char *host = NULL;
    uint32_t port = 0;
    int rc = pag_enroll_server(cli, &host, &port);
    if (rc == PAG_EXIT_OK) {
        *text = pag_cli_text(cli, "%sserver=%s\nport=%u\n", *text, host, (unsigned)port);
    }
    return rc;
}

static int hardware_line(struct pag_cli *cli, const json_t *product, const char **text)
{
    const json_t *list = json_object_get(product, "hardware");
    const char *id = pag_opt(cli, "hardware");
    if (id == NULL && json_array_size(list) == 1) {
        id = json_string_value(json_array_get(list, 0));
    }
    if (id == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--hardware ID; pagurus product show lists them",
                            "product %s runs on %zu boards", pag_out_text(product, "name"),
                            json_array_size(list));
    }
    *text = pag_cli_text(cli, "%shardware=%s\n", *text, id);
    return PAG_EXIT_OK;
}

static int trust_lines(struct pag_cli *cli, const json_t *product, const char **text)
{
    struct pag_trust_view *v = pag_cli_alloc(cli, sizeof *v);
    char hex[65];
    int rc = pag_trust_load(cli, product, v);
    if (rc == PAG_EXIT_NOT_FOUND) {
        return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND,
                            pag_cli_text(cli, "pagurus key trust create --product %s --root R --release K",
                                         pag_out_text(product, "name")),
                            "product %s has no trust set: its devices could never accept an update",
                            pag_out_text(product, "name"));
    }
    if (rc == PAG_EXIT_OK) {
        pag_text_hex(pag_span_of(v->digest, sizeof v->digest), hex);
        *text =
            pag_cli_text(cli, "%strust_pin=%s\ntrust_pin_version=%u\n", *text, hex, (unsigned)v->set.version);
    }
    return rc;
}

/* A text for one device names it; one for several can't. */
static void mac_line(struct pag_cli *cli, const char *mac, const char **text)
{
    if (mac != NULL) {
        *text = pag_cli_text(cli, "%smac=%s\n", *text, mac);
    } else {
        *text = pag_cli_text(cli, "%s# mac= and the device's own MAC: needed, unless its firmware knows it\n",
                             *text);
    }
}

static int claim_line(struct pag_cli *cli, const struct pag_enroll_for *who, const char **text)
{
    const char *code = pag_opt(cli, "code");
    json_t *reply = NULL;
    if (code == NULL) {
        int rc = pag_enroll_code(cli, who, &reply);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        code = pag_out_text(reply, "code");
    }
    *text = pag_cli_text(cli, "%sclaim=%s\n", *text, code);
    return PAG_EXIT_OK;
}

int pag_enroll_root(struct pag_cli *cli, struct pag_span *pem)
{
    struct pag_answer a;
    struct pag_call call = { .method = "GET", .path = "/ca/root.pem", .no_token = true };
    int rc = pag_client_call(cli, &call, &a);
    *pem = a.body;
    return rc;
}

static int ca_block(struct pag_cli *cli, const char **text)
{
    struct pag_span pem;
    int rc = pag_enroll_root(cli, &pem);
    if (rc == PAG_EXIT_OK) {
        *text = pag_cli_text(cli, "%s%.*s", *text, (int)pem.n, (const char *)pem.p);
    }
    return rc;
}

int pag_enroll_text(struct pag_cli *cli, const struct pag_enroll_for *who, const char **text)
{
    json_t *product = NULL;
    int rc = pag_find_product(cli, who->product, &product);
    uint8_t id[PAG_PRODUCT_ID_BYTES];
    rc = rc == PAG_EXIT_OK ? pag_find_product_id(cli, product, id) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *all =
        pag_cli_text(cli, "# %s; the claim makes this file a secret until it is used\n", who->product);
    rc = server_lines(cli, &all);
    if (rc == PAG_EXIT_OK) {
        all = pag_cli_text(cli, "%sproduct=%s\nchip=%s\n", all, pag_out_text(product, "id") + strlen("prd_"),
                           pag_out_text(product, "chip"));
        rc = hardware_line(cli, product, &all);
    }
    if (rc == PAG_EXIT_OK) {
        mac_line(cli, who->mac, &all);
        rc = trust_lines(cli, product, &all);
    }
    if (rc == PAG_EXIT_OK) {
        rc = ca_block(cli, &all);
    }
    if (rc == PAG_EXIT_OK) {
        rc = claim_line(cli, who, &all);
    }
    *text = all;
    return rc;
}

int pag_cmd_device_config(struct pag_cli *cli)
{
    struct pag_enroll_for who = { NULL, NULL };
    const char *text = NULL;
    int rc = given_device(cli, &who);
    rc = rc == PAG_EXIT_OK ? pag_enroll_text(cli, &who, &text) : rc;
    if (rc == PAG_EXIT_OK) {
        rc = pag_cmd_output_secret(cli, pag_span_str(text));
    }
    if (rc == PAG_EXIT_OK && who.mac == NULL) {
        pag_cli_say(cli, "add a line mac= for each device, or give --mac: without one it cannot enrol\n");
    }
    return rc;
}
