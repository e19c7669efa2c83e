#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"

enum { CSR_MAX = 16384 };

static int output(struct pag_cli *cli, struct pag_span data, uint32_t mode)
{
    const char *file = pag_opt(cli, "output");
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file == NULL || strcmp(file, "-") == 0) {
        (void)fwrite(data.p, 1, data.n, stdout);
        return PAG_EXIT_OK;
    }
    if (pag_fs_write(file, data, mode, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    pag_cli_say(cli, "%s: %zu bytes\n", file, data.n);
    return PAG_EXIT_OK;
}

int pag_cmd_output(struct pag_cli *cli, struct pag_span data)
{
    return output(cli, data, 0644);
}

int pag_cmd_output_secret(struct pag_cli *cli, struct pag_span data)
{
    return output(cli, data, 0600);
}

static const struct pag_column columns[] = {
    { "CA", "name", PAG_CELL_TEXT },
    { "SUBJECT", "subject", PAG_CELL_TEXT },
    { "SERIAL", "serial", PAG_CELL_TEXT },
    { "VALID UNTIL", "not_after", PAG_CELL_TIME },
    { "SHA-256", "fingerprint", PAG_CELL_SHORT },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_ca_show(struct pag_cli *cli)
{
    static const char *const names[] = { "root", "device", "device-old", "server", "operator" };
    json_t *reply = NULL;
    int rc = pag_client_get(cli, "/ca", &reply);
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    json_t *rows = pag_cli_keep(cli, json_array());
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        json_t *ca = json_object_get(reply, names[i]);
        if (json_is_object(ca)) {
            json_t *row = json_copy(ca);
            (void)json_object_set_new(row, "name", json_string(names[i]));
            (void)json_array_append_new(rows, row);
        }
    }
    rc = pag_out_items(cli, rows, columns);
    if (json_is_object(json_object_get(reply, "crl"))) {
        pag_cli_say(cli, "revocation list %llu, next by %s\n",
                    (unsigned long long)pag_out_number(reply, "crl.number"),
                    pag_out_text(reply, "crl.next_update"));
    }
    uint64_t due = pag_out_number(reply, "device_certificates.due");
    uint64_t expired = pag_out_number(reply, "device_certificates.expired");
    uint64_t old = pag_out_number(reply, "device_certificates.old_authority");
    if (due + expired > 0) {
        pag_cli_say(cli,
                    "devices: %llu should renew their certificates, %llu have none that is still valid\n",
                    (unsigned long long)due, (unsigned long long)expired);
    }
    if (json_is_object(json_object_get(reply, "device-old"))) {
        pag_cli_say(cli, "%llu device(s) have certificates of the old authority; pagurus ca retire ends it\n",
                    (unsigned long long)old);
    }
    return rc;
}

static int fetch(struct pag_cli *cli, const char *path)
{
    struct pag_answer a;
    struct pag_call call = { .method = "GET", .path = path, .no_token = true };
    int rc = pag_client_call(cli, &call, &a);
    return rc == PAG_EXIT_OK ? pag_cmd_output(cli, a.body) : rc;
}

int pag_cmd_ca_bundle(struct pag_cli *cli)
{
    return fetch(cli, "/ca/root.pem");
}

int pag_cmd_ca_crl(struct pag_cli *cli)
{
    return fetch(cli, "/ca/device.crl");
}

int pag_cmd_ca_revoke(struct pag_cli *cli)
{
    return pag_cmd_device_revoke(cli);
}

static int read_csr(struct pag_cli *cli, const char *file, const char **pem)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "openssl req -new -key device.key -subj / -out device.csr",
                            "--csr FILE is missing");
    }
    if (pag_fs_read(file, CSR_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    *pem = pag_cli_text(cli, "%s", (const char *)buf.p);
    pag_fs_buf_free(&buf);
    if (strstr(*pem, "PRIVATE KEY") != NULL || strstr(*pem, "BEGIN CERTIFICATE REQUEST") == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "a private key stays where it is; send only the request",
                            "%s is no certificate request in PEM", file);
    }
    return PAG_EXIT_OK;
}

int pag_cmd_ca_issue(struct pag_cli *cli)
{
    const char *pem = NULL;
    const char *product = pag_opt(cli, "product");
    uint64_t days = 0;
    json_t *reply = NULL;
    int rc = read_csr(cli, pag_opt(cli, "csr"), &pem);
    if (rc == PAG_EXIT_OK && product == NULL) {
        rc = pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus product list shows them", "--product is missing");
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_number(cli, "days", 0, &days);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *body = pag_cli_keep(
        cli, json_pack("{s:s, s:s, s:s}", "device_id", pag_word(cli, 0), "product", product, "csr", pem));
    if (days != 0) {
        (void)json_object_set_new(body, "days", json_integer((json_int_t)days));
    }
    rc = pag_client_send(cli, "POST", "/ca/issue", body, &reply);
    if (rc != PAG_EXIT_OK || pag_out_json(cli, reply)) {
        return rc;
    }
    const char *chain = pag_opt_on(cli, "chain") ? pag_out_text(reply, "chain") : "";
    pag_cli_say(cli, "issued to %s, serial %s\n", pag_word(cli, 0), pag_out_text(reply, "serial"));
    return pag_cmd_output(cli,
                          pag_span_str(pag_cli_text(cli, "%s%s", pag_out_text(reply, "certificate"), chain)));
}
