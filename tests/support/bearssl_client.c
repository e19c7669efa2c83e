/*
 * A device with the TLS library of the ESP8266 Arduino core: one GET with its own certificate, over small
 * records. bearssl_client HOST PORT NAME ROOT.pem [CERT.pem KEY.pem] [--buffer BYTES] [--suites ecdsa|rsa]
 * PATH HOST is dialled, NAME is what the certificate must be for ("" : not looked at). The answer goes to
 * standard output. Exit code: 0, or 1 with "error N" of BearSSL on standard error.
 */
#define _POSIX_C_SOURCE 200809L
#include <bearssl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILE_MAX = 16384, ECDSA_ONLY = 1, RSA_ONLY = 2 };

struct bytes {
    unsigned char p[FILE_MAX];
    size_t n;
};

static void die(const char *what, int error)
{
    (void)fprintf(stderr, "%s: error %d\n", what, error);
    exit(1);
}

/* ---- PEM ---- */

static void append(void *ctx, const void *data, size_t n)
{
    struct bytes *b = ctx;
    if (n > sizeof b->p - b->n) {
        die("too long", 0);
    }
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

/* The objects of a PEM file, in order; returns how many. */
static size_t read_pem(const char *path, struct bytes *out, size_t max)
{
    static char text[FILE_MAX];
    br_pem_decoder_context pem;
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        die(path, 0);
    }
    size_t left = fread(text, 1, sizeof text, f);
    size_t n = 0;
    const char *at = text;
    (void)fclose(f);
    br_pem_decoder_init(&pem);
    while (left > 0) {
        size_t took = br_pem_decoder_push(&pem, at, left);
        at += took;
        left -= took;
        switch (br_pem_decoder_event(&pem)) {
        case BR_PEM_BEGIN_OBJ:
            if (n == max) {
                return n;
            }
            out[n].n = 0;
            br_pem_decoder_setdest(&pem, append, &out[n]);
            break;
        case BR_PEM_END_OBJ:
            n++;
            break;
        case BR_PEM_ERROR:
            die(path, -1);
            break;
        }
    }
    return n;
}

/* ---- what the device keeps ---- */

static struct bytes root_der, chain_der[4], key_der, root_dn;
static br_x509_decoder_context root_decoder;
static br_skey_decoder_context key_decoder;
static br_x509_certificate chain[4];

static void read_root(const char *path, br_x509_trust_anchor *anchor)
{
    if (read_pem(path, &root_der, 1) != 1) {
        die(path, 0);
    }
    br_x509_decoder_init(&root_decoder, append, &root_dn);
    br_x509_decoder_push(&root_decoder, root_der.p, root_der.n);
    br_x509_pkey *key = br_x509_decoder_get_pkey(&root_decoder);
    if (key == NULL || !br_x509_decoder_isCA(&root_decoder)) {
        die(path, br_x509_decoder_last_error(&root_decoder));
    }
    anchor->dn.data = root_dn.p;
    anchor->dn.len = root_dn.n;
    anchor->flags = BR_X509_TA_CA;
    anchor->pkey = *key;
}

static void use_certificate(br_ssl_client_context *cc, const char *cert, const char *key)
{
    size_t n = read_pem(cert, chain_der, 4);
    for (size_t i = 0; i < n; i++) {
        chain[i].data = chain_der[i].p;
        chain[i].data_len = chain_der[i].n;
    }
    if (n == 0 || read_pem(key, &key_der, 1) != 1) {
        die(cert, 0);
    }
    br_skey_decoder_init(&key_decoder);
    br_skey_decoder_push(&key_decoder, key_der.p, key_der.n);
    switch (br_skey_decoder_key_type(&key_decoder)) {
    case BR_KEYTYPE_RSA:
        br_ssl_client_set_single_rsa(cc, chain, n, br_skey_decoder_get_rsa(&key_decoder),
                                     br_rsa_pkcs1_sign_get_default());
        break;
    case BR_KEYTYPE_EC:
        br_ssl_client_set_single_ec(cc, chain, n, br_skey_decoder_get_ec(&key_decoder), BR_KEYTYPE_SIGN,
                                    BR_KEYTYPE_EC, br_ec_get_default(), br_ecdsa_sign_asn1_get_default());
        break;
    default:
        die(key, br_skey_decoder_last_error(&key_decoder));
    }
}

/* ---- the line ---- */

static int dial(const char *host, const char *port)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &all) != 0) {
        die(host, 0);
    }
    for (struct addrinfo *a = all; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(all);
    if (fd < 0) {
        die(host, 0);
    }
    return fd;
}

static int low_read(void *ctx, unsigned char *buf, size_t n)
{
    ssize_t got = read(*(int *)ctx, buf, n);
    return got <= 0 ? -1 : (int)got;
}

static int low_write(void *ctx, const unsigned char *buf, size_t n)
{
    ssize_t put = send(*(int *)ctx, buf, n, MSG_NOSIGNAL);
    return put <= 0 ? -1 : (int)put;
}

static const uint16_t ecdsa_suites[] = { BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 };
static const uint16_t rsa_suites[] = { BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 };

struct options {
    const char *word[7];
    int words, suites;
    size_t buffer;
};

static struct options read_options(int argc, char **argv)
{
    struct options o = { .buffer = 16384 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--buffer") == 0 && i + 1 < argc) {
            o.buffer = (size_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--suites") == 0 && i + 1 < argc) {
            o.suites = strcmp(argv[++i], "rsa") == 0 ? RSA_ONLY : ECDSA_ONLY;
        } else if (o.words < 7) {
            o.word[o.words++] = argv[i];
        }
    }
    if ((o.words != 5 && o.words != 7) || o.buffer < 512 || o.buffer > 16384) {
        die("usage", 0);
    }
    return o;
}

int main(int argc, char **argv)
{
    static unsigned char input[16384 + 325];
    static unsigned char output[512 + 85];
    static br_ssl_client_context cc;
    static br_x509_minimal_context xc;
    br_sslio_context io;
    br_x509_trust_anchor anchor;
    struct options o = read_options(argc, argv);
    read_root(o.word[3], &anchor);
    br_ssl_client_init_full(&cc, &xc, &anchor, 1);
    br_ssl_engine_set_versions(&cc.eng, BR_TLS12, BR_TLS12);
    if (o.suites != 0) {
        br_ssl_engine_set_suites(&cc.eng, o.suites == RSA_ONLY ? rsa_suites : ecdsa_suites, 1);
    }
    if (o.words == 7) {
        use_certificate(&cc, o.word[4], o.word[5]);
    }
    /* What the core's setBufferSizes(o.buffer, 512) makes: smaller than 16384 asks for short records. */
    br_ssl_engine_set_buffers_bidi(&cc.eng, input, o.buffer + 325, output, sizeof output);
    if (br_ssl_client_reset(&cc, o.word[2][0] != '\0' ? o.word[2] : NULL, 0) != 1) {
        die("reset", br_ssl_engine_last_error(&cc.eng));
    }
    int fd = dial(o.word[0], o.word[1]);
    char request[512];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", o.word[o.words - 1],
                     o.word[2]);
    br_sslio_init(&io, &cc.eng, low_read, &fd, low_write, &fd);
    (void)br_sslio_write_all(&io, request, (size_t)n);
    (void)br_sslio_flush(&io);
    for (;;) {
        unsigned char part[512];
        int got = br_sslio_read(&io, part, sizeof part);
        if (got <= 0) {
            break;
        }
        (void)fwrite(part, 1, (size_t)got, stdout);
    }
    int error = br_ssl_engine_last_error(&cc.eng);
    (void)close(fd);
    if (error != 0 && error != BR_ERR_IO) {
        die("tls", error);
    }
    (void)fprintf(stderr, "suite %04x\n", (unsigned)cc.eng.session.cipher_suite);
    return error == 0 ? 0 : 1;
}
