/*
 * A device that believes one public key: fetches an image and the signature beside it, checks both, and only
 * then installs. Told which image by its check-in, which the test does for it.
 *
 *   signed_device URL CA.pem CERT.pem KEY.pem PUBLIC.pem SLOT
 *
 * URL: of the image; the signature is at URL/sig. Exit 0: installed in SLOT. 3: the signature is not by that
 * key over these bytes. 4: it is no image. 1: not fetched. SLOT is untouched unless 0.
 */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image.h"
#include "host/crypto.h"
#include "host/fs.h"
#include "host/signing.h"

enum { IMAGE_MAX = 4 << 20, KEY_MAX = 8192 };

struct fetched {
    struct pag_buf buf;
    bool too_long;
};

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    struct fetched *f = ctx;
    f->too_long = pag_buf_put(&f->buf, pag_span_of(data, size * n)) != PAG_OK;
    return f->too_long ? 0 : size * n;
}

static bool fetch(const char *url, char **argv, struct fetched *out)
{
    long status = 0;
    CURL *curl = curl_easy_init();
    bool ok = curl != NULL && curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_CAINFO, argv[2]) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_SSLCERT, argv[3]) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_SSLKEY, argv[4]) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEDATA, out) == CURLE_OK &&
              curl_easy_perform(curl) == CURLE_OK &&
              curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200;
    curl_easy_cleanup(curl);
    if (!ok) {
        (void)fprintf(stderr, "%s: not fetched, status %ld\n", url, status);
    }
    return ok;
}

static int install(struct pag_span image, struct pag_span signature, char **argv)
{
    struct pag_buf key = { NULL, 0, 0 };
    struct pag_image read;
    struct pag_fail why = { 0 };
    uint8_t digest[PAG_SHA256_BYTES];
    if (pag_fs_read(argv[5], KEY_MAX, &key, &why) != PAG_OK) {
        return 1;
    }
    pag_sha256_of(pag_crypto_openssl(), image, digest);
    enum pag_err err = pag_signing_check(pag_buf_span(&key), PAG_SIGNATURE_STANDARD, digest, signature);
    pag_fs_buf_free(&key);
    if (err != PAG_OK) {
        (void)fprintf(stderr, "refused: the signature is not by the key that is built in\n");
        return 3;
    }
    if (pag_image_read(pag_crypto_openssl(), image, &read, &why) != PAG_OK) {
        (void)fprintf(stderr, "refused: %s\n", why.what);
        return 4;
    }
    return pag_fs_write(argv[6], image, 0644, &why) == PAG_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    static uint8_t room[IMAGE_MAX];
    static uint8_t sig_room[PAG_SIGNATURE_MAX];
    static char sig_url[1024];
    struct fetched image = { .buf = { room, 0, sizeof room } };
    struct fetched signature = { .buf = { sig_room, 0, sizeof sig_room } };
    if (argc != 7) {
        (void)fprintf(stderr, "usage: signed_device URL CA CERT KEY PUBLIC SLOT\n");
        return 2;
    }
    (void)snprintf(sig_url, sizeof sig_url, "%s/sig", argv[1]);
    if (!fetch(argv[1], argv, &image) || !fetch(sig_url, argv, &signature)) {
        return 1;
    }
    return install(pag_buf_span(&image.buf), pag_buf_span(&signature.buf), argv);
}
