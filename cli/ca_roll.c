#include <openssl/crypto.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/keyfile.h"
#include "cli/prompt.h"
#include "core/bytes.h"
#include "host/fs.h"
#include "host/x509.h"

/* The root signs here: neither its key nor its passphrase goes to the server. */

enum { CERT_MAX = 4096, WAIT_S = 30 };

static int kind_of(struct pag_cli *cli, enum pag_ca_kind *kind)
{
    const char *word = pag_word(cli, 0);
    *kind = PAG_CA_DEVICE;
    if (word != NULL && strcmp(word, "server") == 0) {
        *kind = PAG_CA_SERVER;
    } else if (word != NULL && strcmp(word, "device") != 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus ca roll device, or server",
                            "\"%s\" is no authority that can be followed by another", word);
    }
    return PAG_EXIT_OK;
}

static int open_root(struct pag_cli *cli, struct pag_ca **root)
{
    char secret[PAG_SECRET_MAX] = "";
    const char *file = pag_opt(cli, "root");
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file == NULL) {
        return pag_cli_fail(
            cli, PAG_EXIT_USAGE,
            "--root root-export.pem, the file that pagurusd init has written and you have put away",
            "--root is missing");
    }
    if (!pag_fs_exists(file)) {
        return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, NULL, "%s: there is no such file", file);
    }
    int rc = pag_key_passphrase(cli, "Passphrase of the root key", secret);
    if (rc == PAG_EXIT_OK && pag_ca_load(file, file, secret, root, &why) != PAG_OK) {
        rc = why.code == PAG_E_DENIED
                 ? pag_cli_fail(cli, PAG_EXIT_DENIED, "chmod 600 and the passphrase that init was given",
                                "%s: %s", file, why.what)
                 : pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "%s: %s", file, why.what);
    }
    OPENSSL_cleanse(secret, sizeof secret);
    return rc;
}

static int sign(struct pag_cli *cli, const struct pag_ca *root, enum pag_ca_kind kind, const char *csr,
                const char **pem)
{
    struct pag_buf der = { pag_cli_alloc(cli, CERT_MAX), 0, CERT_MAX };
    struct pag_buf text = { pag_cli_alloc(cli, CERT_MAX), 0, CERT_MAX - 1 };
    struct pag_fail why = { PAG_OK, "", 0 };
    struct pag_clock clock = pag_clock_system();
    enum pag_err err =
        pag_ca_issuing_sign(root, pag_span_str(csr), kind, clock.now_unix_ms(clock.ctx) / 1000, &der, &why);
    if (err == PAG_OK) {
        err = pag_x509_pem_of_der("CERTIFICATE", (struct pag_span){ der.p, der.n }, &text);
    }
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "the server's request cannot be signed: %s",
                            why.what);
    }
    *pem = pag_cli_text(cli, "%.*s", (int)text.n, (const char *)text.p);
    return PAG_EXIT_OK;
}

/* Serial of an authority, "" when the server has none of that name; in the arena. */
static int serial_now(struct pag_cli *cli, const char *path, const char **serial)
{
    json_t *reply = NULL;
    int rc = pag_client_get(cli, "/ca", &reply);
    *serial = rc == PAG_EXIT_OK ? pag_cli_text(cli, "%s", pag_out_text(reply, path)) : "";
    return rc;
}

/* Until the server shows another authority there than before. */
static int wait_for_other(struct pag_cli *cli, const char *path, const char *before)
{
    const struct timespec pause = { 0, 100000000 };
    for (int i = 0; i < WAIT_S * 10; i++) {
        const char *serial = "";
        struct pag_arena *outer = pag_cli_round_begin(cli);
        int rc = serial_now(cli, path, &serial);
        bool other = strcmp(serial, before) != 0;
        pag_cli_round_end(cli, outer);
        if (rc != PAG_EXIT_OK || other) {
            return rc;
        }
        (void)nanosleep(&pause, NULL);
    }
    return pag_cli_fail(cli, PAG_EXIT_TIMEOUT, "look at the server's log (reload.failed)",
                        "the server has taken it, and does not use it after %d s", WAIT_S);
}

int pag_cmd_ca_roll(struct pag_cli *cli)
{
    enum pag_ca_kind kind = PAG_CA_DEVICE;
    struct pag_ca *root = NULL;
    json_t *reply = NULL;
    const char *pem = NULL;
    int rc = kind_of(cli, &kind);
    const char *word = kind == PAG_CA_DEVICE ? "device" : "server";
    const char *serial = pag_cli_text(cli, "%s.serial", word);
    const char *path = pag_cli_text(cli, "/ca/%s/next", word);
    rc = rc == PAG_EXIT_OK ? open_root(cli, &root) : rc;
    const char *before = "";
    rc = rc == PAG_EXIT_OK ? serial_now(cli, serial, &before) : rc;
    rc = rc == PAG_EXIT_OK ? pag_client_send(cli, "POST", path, NULL, &reply) : rc;
    rc = rc == PAG_EXIT_OK ? sign(cli, root, kind, pag_out_text(reply, "csr"), &pem) : rc;
    pag_ca_free(root);
    if (rc == PAG_EXIT_OK) {
        json_t *body = pag_cli_keep(cli, json_pack("{s:s}", "certificate", pem));
        rc = pag_client_send(cli, "PUT", path, body, NULL);
    }
    rc = rc == PAG_EXIT_OK ? wait_for_other(cli, serial, before) : rc;
    if (rc == PAG_EXIT_OK && kind == PAG_CA_DEVICE) {
        pag_cli_say(cli,
                    "devices are certified by a new authority from now on; the old one stays in force until "
                    "pagurus ca retire\n");
    } else if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli,
                    "the server has a new authority and new certificates; devices trust the root and notice "
                    "nothing\n");
    }
    return rc;
}

int pag_cmd_ca_retire(struct pag_cli *cli)
{
    const char *before = "";
    int rc = serial_now(cli, "device-old.serial", &before);
    rc = rc != PAG_EXIT_OK || before[0] != '\0' ? rc
                                                : pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, "pagurus ca show",
                                                               "there is no old device authority to retire");
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_send(cli, "DELETE",
                             pag_opt_on(cli, "force") ? "/ca/device/old?force=true" : "/ca/device/old", NULL,
                             NULL);
    }
    rc = rc == PAG_EXIT_OK ? wait_for_other(cli, "device-old.serial", before) : rc;
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "the old device authority is trusted no more\n");
    }
    return rc;
}
