/*
 * A device with the TLS library of the ESP32: one GET with its own certificate.
 *     mbedtls_client HOST PORT NAME ROOT.pem [CERT.pem KEY.pem] [--mfl BYTES] [--suites ecdsa|rsa] PATH
 * As bearssl_client; "error -0x…" of mbedTLS, and why a certificate was not believed, go to standard error.
 */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context drbg;
static mbedtls_ssl_context ssl;
static mbedtls_ssl_config config;
static mbedtls_x509_crt root, own;
static mbedtls_pk_context key;
static mbedtls_net_context net;

static void die(const char *what, int error)
{
    char why[512] = "";
    uint32_t flags = mbedtls_ssl_get_verify_result(&ssl);
    if (flags != 0 && flags != UINT32_MAX) {
        (void)mbedtls_x509_crt_verify_info(why, sizeof why, "", flags);
    }
    (void)fprintf(stderr, "%s: error -0x%04x %s\n", what, (unsigned)-error, why);
    exit(1);
}

static void check(const char *what, int error)
{
    if (error != 0) {
        die(what, error);
    }
}

static int fragment_code(const char *bytes)
{
    switch (strtoul(bytes, NULL, 10)) {
    case 512:
        return MBEDTLS_SSL_MAX_FRAG_LEN_512;
    case 1024:
        return MBEDTLS_SSL_MAX_FRAG_LEN_1024;
    case 2048:
        return MBEDTLS_SSL_MAX_FRAG_LEN_2048;
    case 4096:
        return MBEDTLS_SSL_MAX_FRAG_LEN_4096;
    default:
        return MBEDTLS_SSL_MAX_FRAG_LEN_NONE;
    }
}

struct options {
    const char *word[7];
    const char *mfl, *suites;
    int words;
};

static struct options read_options(int argc, char **argv)
{
    struct options o = { .words = 0 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mfl") == 0 && i + 1 < argc) {
            o.mfl = argv[++i];
        } else if (strcmp(argv[i], "--suites") == 0 && i + 1 < argc) {
            o.suites = argv[++i];
        } else if (o.words < 7) {
            o.word[o.words++] = argv[i];
        }
    }
    if (o.words != 5 && o.words != 7) {
        die("usage", 0);
    }
    return o;
}

static void prepare(const struct options *o)
{
    static const int ecdsa[] = { MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 0 };
    static const int rsa[] = { MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0 };
    check("config", mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                                MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &drbg);
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    check(o->word[3], mbedtls_x509_crt_parse_file(&root, o->word[3]));
    mbedtls_ssl_conf_ca_chain(&config, &root, NULL);
    if (o->suites != NULL) {
        mbedtls_ssl_conf_ciphersuites(&config, strcmp(o->suites, "rsa") == 0 ? rsa : ecdsa);
    }
    if (o->mfl != NULL) {
        check("mfl", mbedtls_ssl_conf_max_frag_len(&config, (unsigned char)fragment_code(o->mfl)));
    }
    if (o->words == 7) {
        check(o->word[4], mbedtls_x509_crt_parse_file(&own, o->word[4]));
#if MBEDTLS_VERSION_MAJOR >= 3
        check(o->word[5], mbedtls_pk_parse_keyfile(&key, o->word[5], NULL, mbedtls_ctr_drbg_random, &drbg));
        check("pair", mbedtls_pk_check_pair(&own.pk, &key, mbedtls_ctr_drbg_random, &drbg));
#else
        check(o->word[5], mbedtls_pk_parse_keyfile(&key, o->word[5], NULL));
        check("pair", mbedtls_pk_check_pair(&own.pk, &key));
#endif
        check("own", mbedtls_ssl_conf_own_cert(&config, &own, &key));
    }
}

static void talk(const struct options *o)
{
    char request[512];
    unsigned char part[512];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", o->word[o->words - 1],
                     o->word[2]);
    check("connect", mbedtls_net_connect(&net, o->word[0], o->word[1], MBEDTLS_NET_PROTO_TCP));
    mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, NULL);
    check("handshake", mbedtls_ssl_handshake(&ssl));
    if (mbedtls_ssl_write(&ssl, (const unsigned char *)request, (size_t)n) != n) {
        die("write", 0);
    }
    for (;;) {
        int got = mbedtls_ssl_read(&ssl, part, sizeof part);
        if (got == 0 || got == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
            break;
        }
        if (got < 0) {
            die("read", got);
        }
        (void)fwrite(part, 1, (size_t)got, stdout);
    }
    (void)fprintf(stderr, "suite %s\n", mbedtls_ssl_get_ciphersuite(&ssl));
    (void)mbedtls_ssl_close_notify(&ssl);
}

int main(int argc, char **argv)
{
    struct options o = read_options(argc, argv);
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&drbg);
    mbedtls_ssl_init(&ssl);
    mbedtls_ssl_config_init(&config);
    mbedtls_x509_crt_init(&root);
    mbedtls_x509_crt_init(&own);
    mbedtls_pk_init(&key);
    mbedtls_net_init(&net);
    check("random", mbedtls_ctr_drbg_seed(&drbg, mbedtls_entropy_func, &entropy, NULL, 0));
    prepare(&o);
    check("setup", mbedtls_ssl_setup(&ssl, &config));
    check("name", mbedtls_ssl_set_hostname(&ssl, o.word[2][0] != '\0' ? o.word[2] : NULL));
    talk(&o);
    mbedtls_net_free(&net);
    mbedtls_ssl_free(&ssl);
    mbedtls_ssl_config_free(&config);
    mbedtls_x509_crt_free(&root);
    mbedtls_x509_crt_free(&own);
    mbedtls_pk_free(&key);
    mbedtls_ctr_drbg_free(&drbg);
    mbedtls_entropy_free(&entropy);
    return 0;
}
