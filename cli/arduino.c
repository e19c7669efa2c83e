#include "cli/arduino.h"

#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "core/bytes.h"
#include "core/image_key.h"
#include "host/crypto.h"
#include "host/fs.h"
#include "host/signing.h"

enum { NAMES_MAX = 20 };

/* ---- behind the image ---- */

static bool is_signed(const struct pag_firmware *f)
{
    struct pag_span head;
    struct pag_span signature;
    bool packed_signed = f->packed.n == 0 && f->plain.p != f->bytes.p;
    return f->image.trailer_bytes > 0 || packed_signed ||
           (f->filesystem && pag_image_trailer_split(f->bytes, &head, &signature));
}

bool pag_arduino_has(struct pag_cli *cli, const struct pag_firmware *f)
{
    return pag_opt(cli, "arduino-key") != NULL || pag_opt(cli, "detach") != NULL ||
           pag_opt(cli, "signature") != NULL || is_signed(f);
}

static int sign_one(struct pag_cli *cli, struct pag_key *key, struct pag_firmware *f)
{
    struct pag_span payload = f->packed.n > 0 ? f->packed : f->bytes;
    enum pag_signature_form form =
        pag_opt_on(cli, "arduino-legacy") ? PAG_SIGNATURE_LEGACY : PAG_SIGNATURE_STANDARD;
    uint8_t digest[PAG_SHA256_BYTES];
    if (is_signed(f)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "push it without --arduino-key, or take the unsigned file",
                            "%s is signed already", f->file);
    }
    size_t cap = payload.n + PAG_SIGNATURE_MAX + 4;
    struct pag_buf out = { pag_cli_alloc(cli, cap), 0, cap };
    pag_sha256_of(pag_crypto_openssl(), payload, digest);
    (void)pag_buf_put(&out, payload);
    if (pag_signing_make(key->pkey, form, digest, &out) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "%s could not be signed with %s", f->file, key->name);
    }
    uint8_t length[4];
    pag_put_u32le(length, (uint32_t)(out.n - payload.n));
    (void)pag_buf_put(&out, pag_span_of(length, sizeof length));
    f->bytes = pag_buf_span(&out);
    pag_firmware_digest(f);
    pag_cli_say(cli, "%s: signed with %s (RSA %u, %s form%s)\n", f->file, key->name, (unsigned)key->rsa_bits,
                form == PAG_SIGNATURE_LEGACY ? "legacy" : "standard", f->packed.n > 0 ? ", packed" : "");
    return PAG_EXIT_OK;
}

int pag_arduino_sign(struct pag_cli *cli, struct pag_firmware *f, size_t n)
{
    const char *name = pag_opt(cli, "arduino-key");
    struct pag_key key;
    if (name == NULL) {
        return PAG_EXIT_OK;
    }
    int rc = pag_key_open_any(cli, name, &key);
    if (rc == PAG_EXIT_OK && key.rsa_bits == 0) {
        rc = pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus key generate NAME --rsa 2048; or --detach for P-256",
                          "%s is no RSA key; the Arduino core checks RSA alone", name);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < n; i++) {
        rc = sign_one(cli, &key, &f[i]);
    }
    pag_key_close(&key);
    return rc;
}

/* ---- beside the image ---- */

static int send_detached(struct pag_cli *cli, const char *release, const struct pag_firmware *f,
                         struct pag_span signature)
{
    struct pag_answer a;
    struct pag_call call = { .method = "POST", .raw = signature, .type = "application/octet-stream" };
    call.path = pag_cli_text(cli, "/releases/%s/images/%s/signatures", release, f->name);
    int rc = pag_client_call(cli, &call, &a);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "%s: signature by %s kept beside it\n", f->name, pag_out_text(a.json, "key"));
    }
    return rc;
}

static int detach_with(struct pag_cli *cli, const char *release, const struct pag_firmware *f, size_t n)
{
    struct pag_key key;
    int rc = pag_key_open_any(cli, pag_opt(cli, "detach"), &key);
    for (size_t i = 0; rc == PAG_EXIT_OK && i < n; i++) {
        uint8_t room[PAG_SIGNATURE_MAX];
        struct pag_buf out = { room, 0, sizeof room };
        if (pag_signing_make(key.pkey, PAG_SIGNATURE_STANDARD, f[i].digest, &out) != PAG_OK) {
            rc = pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "%s could not be signed with %s", f[i].file,
                              key.name);
        } else {
            rc = send_detached(cli, release, &f[i], pag_buf_span(&out));
        }
    }
    pag_key_close(&key);
    return rc;
}

int pag_arduino_detach(struct pag_cli *cli, const char *release, const struct pag_firmware *f, size_t n)
{
    const char *file = pag_opt(cli, "signature");
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    int rc = pag_opt_on(cli, "detach") ? detach_with(cli, release, f, n) : PAG_EXIT_OK;
    if (rc != PAG_EXIT_OK || file == NULL) {
        return rc;
    }
    if (pag_fs_read(file, PAG_SIGNATURE_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    rc = send_detached(cli, release, f, pag_buf_span(&buf));
    pag_fs_buf_free(&buf);
    return rc;
}

/* ---- for the sketch ---- */

const char *pag_arduino_header(struct pag_cli *cli, const struct pag_key *key, const char *pem)
{
    return pag_cli_text(
        cli,
        "/* Signing key %s (%s) for an Arduino sketch on ESP8266, made by: pagurus key public --arduino %s\n"
        " * Include it in one file and call pagurus_signing_begin() in setup(), before any update begins. "
        "From\n"
        " * then on only images signed with this key are installed. */\n"
        "#ifndef PAGURUS_SIGNING_KEY_H\n"
        "#define PAGURUS_SIGNING_KEY_H\n\n"
        "#include <BearSSLHelpers.h>\n"
        "#include <Updater.h>\n\n"
        "static const char pagurus_signing_key[] PROGMEM = R\"PEM(\n"
        "%s)PEM\";\n\n"
        "static inline void pagurus_signing_begin()\n"
        "{\n"
        "    static BearSSL::PublicKey key(pagurus_signing_key);\n"
        "    static BearSSL::HashSHA256 hash;\n"
        "    static BearSSL::SigningVerifier verifier(&key);\n"
        "    Update.installSignature(&hash, &verifier);\n"
        "}\n\n"
        "#endif\n",
        key->name, pag_key_id_text(cli, key->id), key->name, pem);
}

/* ---- before something is cut off ---- */

int pag_arduino_strands(struct pag_cli *cli, const char *release, const char *verb)
{
    struct pag_answer a;
    struct pag_call call = { .method = "GET", .silent = true };
    const json_t *one = NULL;
    size_t i = 0;
    call.path = pag_cli_text(cli, "/releases/%s/strands?verb=%s", release, verb);
    if (pag_client_call(cli, &call, &a) != PAG_EXIT_OK) {
        return PAG_EXIT_OK; /* the server looks again, and refuses */
    }
    uint64_t total = pag_out_number(json_object_get(a.json, "total"), "value");
    if (total == 0) {
        return PAG_EXIT_OK;
    }
    pag_cli_warn(cli, "this would leave %llu devices without a release that their key verifies:",
                 (unsigned long long)total);
    json_array_foreach(json_object_get(a.json, "items"), i, one)
    {
        const char *name = pag_out_text(one, "name");
        if (i < NAMES_MAX) {
            pag_cli_say(cli, "  %s%s%s, runs %s\n", pag_out_text(one, "id"), name[0] != 0 ? " " : "", name,
                        pag_out_text(one, "version"));
        }
    }
    if (total > NAMES_MAX) {
        pag_cli_say(cli, "  … and %llu more\n", (unsigned long long)(total - NAMES_MAX));
    }
    if (pag_opt_on(cli, "strand-anyway")) {
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(
        cli, PAG_EXIT_CONFLICT,
        "sign with the key they have and bring the new one with it; or --strand-anyway REASON",
        "nothing was changed: devices would be cut off");
}

json_t *pag_arduino_change(struct pag_cli *cli)
{
    const char *reason = pag_opt(cli, "strand-anyway");
    return reason == NULL ? NULL : pag_cli_keep(cli, json_pack("{s:s}", "strand_anyway", reason));
}
