#include "cli/relay_image.h"

#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/text.h"
#include "cli/trust.h"
#include "core/base64.h"
#include "core/bytes.h"
#include "core/image.h"
#include "core/manifest.h"
#include "host/crypto.h"
#include "host/fs.h"

enum { IMAGE_MAX = 64 << 20 };

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* True when the file is there and has that digest. */
static bool read_checked(const char *path, const char *sha256, struct pag_buf *out)
{
    uint8_t digest[PAG_SHA256_BYTES];
    char hex[65];
    if (pag_fs_read(path, IMAGE_MAX, out, NULL) != PAG_OK) {
        return false;
    }
    pag_sha256_of(pag_crypto_openssl(), pag_buf_span(out), digest);
    pag_text_hex(pag_span_of(digest, sizeof digest), hex);
    if (strcmp(hex, sha256) == 0) {
        return true;
    }
    pag_fs_buf_free(out);
    *out = (struct pag_buf){ NULL, 0, 0 };
    return false;
}

static int download(struct pag_cli *cli, const json_t *item, const char *path, const char **why)
{
    struct pag_answer a;
    const char *part = pag_cli_text(cli, "%s.part", path);
    FILE *sink = fopen(part, "wbe");
    if (sink == NULL) {
        *why = pag_cli_text(cli, "%s cannot be written", part);
        return PAG_EXIT_FAILED;
    }
    struct pag_call call = { .method = "GET", .sink = sink, .silent = true };
    call.path =
        pag_cli_text(cli, "/relay/devices/%s/image", pag_client_escape(cli, pag_out_text(item, "device")));
    int rc = pag_client_call(cli, &call, &a);
    bool closed = fclose(sink) == 0;
    if (rc != PAG_EXIT_OK || !closed || pag_fs_rename(part, path, NULL) != PAG_OK) {
        (void)pag_fs_remove(part, NULL);
        *why = "the image could not be fetched";
        return rc != PAG_EXIT_OK ? rc : PAG_EXIT_FAILED;
    }
    return PAG_EXIT_OK;
}

static int verify(struct pag_cli *cli, const json_t *product, const json_t *item, const struct pag_buf *bytes,
                  const char **why)
{
    const char *text = pag_out_text(item, "action.manifest");
    struct pag_buf cose = { (uint8_t[PAG_MANIFEST_MAX]){ 0 }, 0, PAG_MANIFEST_MAX };
    struct pag_fail fail = { PAG_OK, NULL, 0 };
    struct pag_manifest *m = pag_cli_alloc(cli, sizeof *m);
    struct pag_trust_view *trust = pag_cli_alloc(cli, sizeof *trust);
    uint8_t digest[PAG_SHA256_BYTES];
    if (text[0] == '\0' || pag_base64_decode(pag_span_str(text), &cose) != PAG_OK) {
        *why = "the release has no signed manifest";
        return PAG_EXIT_DENIED;
    }
    int rc = pag_trust_load(cli, product, trust);
    if (rc != PAG_EXIT_OK) {
        *why = "the product's trust set cannot be had";
        return rc == PAG_EXIT_NOT_FOUND ? PAG_EXIT_DENIED : rc;
    }
    if (pag_manifest_verify(pag_crypto_openssl(), pag_buf_span(&cose), &trust->set, m, &fail) != PAG_OK) {
        *why = pag_cli_text(cli, "its manifest is not signed as the trust set asks: %s",
                            fail.what != NULL ? fail.what : "unreadable");
        return PAG_EXIT_DENIED;
    }
    pag_sha256_of(pag_crypto_openssl(), pag_buf_span(bytes), digest);
    if (!pag_equal_ct(digest, m->digest, sizeof digest) || m->size != bytes->n ||
        strcmp(m->version, pag_out_text(item, "action.version")) != 0) {
        *why = "the image is not the one that was signed";
        return PAG_EXIT_DENIED;
    }
    return PAG_EXIT_OK;
}

static int read_chip(struct pag_cli *cli, struct pag_relay_image *out, const char **why)
{
    struct pag_fail fail = { PAG_OK, NULL, 0 };
    struct pag_image *image = pag_cli_alloc(cli, sizeof *image);
    if (pag_image_read(pag_crypto_openssl(), pag_buf_span(&out->bytes), image, &fail) != PAG_OK) {
        *why = pag_cli_text(cli, "the image is broken: %s", fail.what != NULL ? fail.what : "unreadable");
        return PAG_EXIT_DENIED;
    }
    out->chip = image->chip;
    return PAG_EXIT_OK;
}

int pag_relay_image_get(struct pag_cli *cli, const char *folder, const json_t *product, const json_t *item,
                        struct pag_relay_image *out, const char **why)
{
    const char *sha256 = pag_out_text(item, "action.sha256");
    int rc = PAG_EXIT_OK;
    memset(out, 0, sizeof *out);
    *why = "";
    if (!is_sha256(sha256)) { /* it becomes a file name */
        *why = "the server names no digest";
        return PAG_EXIT_FAILED;
    }
    const char *path = pag_cli_text(cli, "%s/%s", folder, sha256);
    if (!read_checked(path, sha256, &out->bytes)) {
        rc = download(cli, item, path, why);
        if (rc == PAG_EXIT_OK && !read_checked(path, sha256, &out->bytes)) {
            (void)pag_fs_remove(path, NULL);
            *why = "what came is not what the server names";
            rc = PAG_EXIT_FAILED;
        }
    }
    rc = rc == PAG_EXIT_OK ? verify(cli, product, item, &out->bytes, why) : rc;
    rc = rc == PAG_EXIT_OK ? read_chip(cli, out, why) : rc;
    if (rc != PAG_EXIT_OK) {
        pag_fs_buf_free(&out->bytes);
        out->bytes = (struct pag_buf){ NULL, 0, 0 };
    }
    return rc;
}
