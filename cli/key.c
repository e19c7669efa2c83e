#include <openssl/evp.h>
#include <string.h>

#include "cli/arduino.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/keyfile.h"
#include "cli/prompt.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"
#include "host/signing.h"
#include "host/x509.h"

enum { PEM_MAX = 16384 };

static const char *use_of(struct pag_cli *cli)
{
    const char *use = pag_opt(cli, "use");
    if (use == NULL || strcmp(use, "release") == 0 || strcmp(use, "root") == 0 ||
        strcmp(use, "arduino") == 0) {
        return use == NULL ? "" : use;
    }
    (void)pag_cli_fail(cli, PAG_EXIT_USAGE, "--use release, --use root or --use arduino", "no use \"%s\"",
                       use);
    return NULL;
}

/* What a key is for when nothing was said: RSA signs images. */
static int register_as(struct pag_cli *cli, const struct pag_key *key, const char *use)
{
    if (use[0] == 0) {
        use = key->rsa_bits != 0 ? "arduino" : "release";
    }
    if (key->rsa_bits != 0 && strcmp(use, "arduino") != 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--use arduino",
                            "%s is an RSA key, which signs images alone", key->name);
    }
    return pag_key_register(cli, key, use);
}

static int made(struct pag_cli *cli, const struct pag_key *key, const char *how)
{
    const char *file = pag_key_path(cli, key->name, ".pem");
    json_t *v = pag_cli_keep(cli, json_pack("{s:s, s:s, s:s}", "name", key->name, "key_id",
                                            pag_key_id_text(cli, key->id), "file", file));
    if (!pag_out_json(cli, v)) {
        (void)printf("%s\t%s\n", key->name, pag_key_id_text(cli, key->id));
    }
    pag_cli_say(
        cli, "%s: %s\nThere is no other copy. Back it up now, away from this machine:\n  cp %s /media/usb/\n",
        how, file, file);
    return PAG_EXIT_OK;
}

int pag_cmd_key_generate(struct pag_cli *cli)
{
    struct pag_key key;
    const char *use = use_of(cli);
    if (use == NULL) {
        return PAG_EXIT_USAGE;
    }
    uint64_t bits = 0;
    int rc = pag_opt_number(cli, "rsa", 0, &bits);
    if (rc == PAG_EXIT_OK && bits != 0 &&
        (bits < PAG_RSA_BITS_MIN || bits > PAG_RSA_BITS_MAX || bits % 256 != 0)) {
        rc = pag_cli_fail(cli, PAG_EXIT_USAGE, "--rsa 2048 is what the Arduino core documents",
                          "RSA keys have 2048 to 4096 bits, in steps of 256");
    }
    if (rc == PAG_EXIT_OK) {
        rc = bits != 0 ? pag_key_make_rsa(cli, pag_word(cli, 0), (uint32_t)bits, &key)
                       : pag_key_make(cli, pag_word(cli, 0), &key);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (pag_opt_on(cli, "register")) {
        rc = register_as(cli, &key, use);
    }
    if (rc == PAG_EXIT_OK) {
        rc = made(cli, &key, "key made");
    }
    pag_key_close(&key);
    return rc;
}

static int import_pem(struct pag_cli *cli, const char *file, struct pag_span pem, struct pag_key *key)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    char secret[PAG_SECRET_MAX] = "";
    bool locked = strstr((const char *)pem.p, "ENCRYPTED") != NULL;
    if (locked) {
        int rc = pag_prompt_secret(cli, "a key without a passphrase, and --passphrase-file for the new one",
                                   pag_cli_text(cli, "Passphrase of %s", file), secret, sizeof secret);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
    }
    enum pag_err err = pag_signing_key_of_pem(pem, locked ? secret : NULL, &key->pkey, &why);
    memset(secret, 0, sizeof secret);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, err == PAG_E_DENIED ? PAG_EXIT_DENIED : PAG_EXIT_USAGE,
                            "want a private key in PEM: P-256, or RSA for images", "%s: %s", file,
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    return PAG_EXIT_OK;
}

int pag_cmd_key_import(struct pag_cli *cli)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    struct pag_key key;
    const char *name = pag_word(cli, 0);
    const char *file = pag_word(cli, 1);
    memset(&key, 0, sizeof key);
    if (pag_fs_read(file, PEM_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    int rc = import_pem(cli, file, pag_buf_span(&buf), &key);
    pag_fs_buf_free(&buf);
    if (rc == PAG_EXIT_OK) {
        rc = pag_key_save(cli, name, key.pkey);
    }
    pag_key_close(&key);
    if (rc == PAG_EXIT_OK) {
        rc = pag_key_public_any(cli, name, &key);
    }
    if (rc == PAG_EXIT_OK) {
        rc = made(cli, &key, "key imported");
        pag_key_close(&key);
    }
    return rc;
}

/* With --arduino the name may be left out when only one key here can be meant. */
static int which_public(struct pag_cli *cli, const char **name)
{
    size_t hits = 0;
    if (cli->word_n > 0) {
        *name = pag_word(cli, 0);
        return PAG_EXIT_OK;
    }
    for (const char **local = pag_key_names(cli); pag_opt_on(cli, "arduino") && *local != NULL; local++) {
        struct pag_key key;
        if (pag_key_public_any(cli, *local, &key) == PAG_EXIT_OK) {
            *name = key.rsa_bits != 0 ? *local : *name;
            hits += key.rsa_bits != 0;
            pag_key_close(&key);
        }
    }
    return hits == 1 ? PAG_EXIT_OK
                     : pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus key list shows them",
                                    "say which key: pagurus key public NAME");
}

int pag_cmd_key_public(struct pag_cli *cli)
{
    struct pag_key key;
    const char *use = use_of(cli);
    const char *name = NULL;
    int rc = use == NULL ? PAG_EXIT_USAGE : which_public(cli, &name);
    rc = rc == PAG_EXIT_OK ? pag_key_public_any(cli, name, &key) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (pag_opt_on(cli, "register")) {
        rc = register_as(cli, &key, use);
    }
    const char *pem = pag_key_spki_pem(cli, &key);
    json_t *v = pag_cli_keep(cli, json_pack("{s:s, s:s, s:s}", "name", key.name, "key_id",
                                            pag_key_id_text(cli, key.id), "pem", pem));
    if (rc == PAG_EXIT_OK && !pag_out_json(cli, v)) {
        const char *text = pag_opt_on(cli, "arduino") ? pag_arduino_header(cli, &key, pem) : pem;
        rc = pag_cmd_output(cli, pag_span_str(text));
    }
    pag_key_close(&key);
    return rc;
}

static const struct pag_column columns[] = {
    { "NAME", "name", PAG_CELL_TEXT }, { "KEY ID", "key_id", PAG_CELL_TEXT },
    { "KIND", "kind", PAG_CELL_TEXT }, { "PROTECTED", "protected", PAG_CELL_TEXT },
    { "USE", "use", PAG_CELL_TEXT },   { NULL, NULL, PAG_CELL_TEXT },
};

static json_t *row_of(struct pag_cli *cli, const char *name)
{
    struct pag_key key;
    struct pag_buf buf = { NULL, 0, 0 };
    if (pag_key_public_any(cli, name, &key) != PAG_EXIT_OK) {
        return NULL;
    }
    (void)pag_fs_read(pag_key_path(cli, name, ".pem"), PEM_MAX, &buf, NULL);
    bool locked = buf.p != NULL && strstr((const char *)buf.p, "BEGIN ENCRYPTED") != NULL;
    pag_fs_buf_free(&buf);
    const char *kind = key.rsa_bits != 0 ? pag_cli_text(cli, "rsa-%u", (unsigned)key.rsa_bits) : "p-256";
    json_t *row =
        json_pack("{s:s, s:s, s:b, s:s, s:n, s:s}", "name", name, "key_id", pag_key_id_text(cli, key.id),
                  "protected", locked, "kind", kind, "use", "file", pag_key_path(cli, name, ".pem"));
    pag_key_close(&key);
    return row;
}

static json_t *local_rows(struct pag_cli *cli)
{
    json_t *rows = pag_cli_keep(cli, json_array());
    for (const char **name = pag_key_names(cli); *name != NULL; name++) {
        json_t *row = row_of(cli, *name);
        if (row != NULL) {
            (void)json_array_append_new(rows, row);
        }
    }
    return rows;
}

int pag_cmd_key_list(struct pag_cli *cli)
{
    if (pag_opt_on(cli, "remote")) {
        return pag_out_api_list(cli, "/keys", columns);
    }
    return pag_out_items(cli, local_rows(cli), columns);
}
