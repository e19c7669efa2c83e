#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/crypto.h"
#include "host/fs.h"
#include "host/token.h"
#include "host/x509.h"

static const uint64_t NOW = 1767225600; /* 2026-01-01 */
static const uint8_t PRODUCT[PAG_PRODUCT_ID_BYTES] = { 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4 };

struct pki {
    struct pag_ca *root, *device, *server, *people;
    EVP_PKEY *key;
    char folder[64];
};

static int set_up(void **state)
{
    struct pki *p = calloc(1, sizeof *p);
    (void)snprintf(p->folder, sizeof p->folder, "/tmp/pag-x509-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    assert_int_equal(pag_ca_root_new("Test house", NOW, &p->root, NULL), PAG_OK);
    assert_int_equal(pag_ca_issuing_new(p->root, PAG_CA_DEVICE, NOW, &p->device, NULL), PAG_OK);
    assert_int_equal(pag_ca_issuing_new(p->root, PAG_CA_SERVER, NOW, &p->server, NULL), PAG_OK);
    assert_int_equal(pag_ca_issuing_new(p->root, PAG_CA_OPERATOR, NOW, &p->people, NULL), PAG_OK);
    p->key = pag_crypto_key_new();
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pki *p = *state;
    char path[128];
    static const char *const names[] = { "a.pem", "k.pem", "anchor.pem", "root.pem" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", p->folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(p->folder);
    pag_ca_free(p->root);
    pag_ca_free(p->device);
    pag_ca_free(p->server);
    pag_ca_free(p->people);
    EVP_PKEY_free(p->key);
    free(p);
    return 0;
}

static struct pag_span csr_of(EVP_PKEY *key, const char *cn, uint8_t space[2048])
{
    struct pag_buf der = { space, 0, 2048 };
    assert_int_equal(pag_x509_csr_make(key, cn, &der), PAG_OK);
    return (struct pag_span){ der.p, der.n };
}

static enum pag_err issue(struct pki *p, struct pag_span csr, const char *cn, struct pag_issued *out)
{
    const struct pag_cert_order order = { .cn = cn, .product = PRODUCT, .now = NOW, .lifetime_s = 86400 };
    return pag_ca_issue_client(p->device, csr, &order, out, NULL);
}

static void device_certificate_says_what_the_server_ordered_not_what_the_request_says(void **state)
{
    struct pki *p = *state;
    uint8_t space[2048];
    struct pag_issued out;
    struct pag_span csr = csr_of(p->key, "somebody-else", space);
    assert_int_equal(issue(p, csr, "84f3eb000003", &out), PAG_OK);
    assert_string_equal(out.info.cn, "84f3eb000003");
    assert_string_equal(out.info.subject, "CN=84f3eb000003");
    assert_string_equal(out.info.product, "deadbeef01020304");
    assert_int_equal(out.info.not_before, NOW - 3600);
    assert_int_equal(out.info.not_after, NOW + 86400);
    assert_int_equal(out.info.serial_n, 16);
    assert_false(out.info.is_ca);
    assert_in_range(out.der_n, 400, 600); /* docs/operating/certificates.md: it goes to small devices */
}

static void write_pem(const struct pki *p, const char *name, struct pag_span der, char path[128])
{
    uint8_t space[4096];
    struct pag_buf pem = { space, 0, sizeof space };
    (void)snprintf(path, 128, "%s/%s", p->folder, name);
    assert_int_equal(pag_x509_pem_of_der("CERTIFICATE", der, &pem), PAG_OK);
    assert_int_equal(pag_fs_write(path, (struct pag_span){ pem.p, pem.n }, 0644, NULL), PAG_OK);
}

static void anchor_trusts_its_own_leaves_and_no_sister_of_the_authority(void **state)
{
    struct pki *p = *state;
    static uint8_t space[2048];
    char path[128];
    struct pag_buf anchor = { space, 0, sizeof space };
    static struct pag_issued device;
    static struct pag_issued person;
    const struct pag_cert_order order = { .cn = "anna", .now = NOW, .lifetime_s = 86400 };
    assert_int_equal(pag_ca_anchor(p->device, NOW, &anchor, NULL), PAG_OK);
    write_pem(p, "anchor.pem", (struct pag_span){ anchor.p, anchor.n }, path);
    static uint8_t csr_space[2048];
    assert_int_equal(issue(p, csr_of(p->key, "x", csr_space), "dev-a", &device), PAG_OK);
    assert_int_equal(pag_ca_issue_client_key(p->people, p->key, &order, &person, NULL), PAG_OK);
    assert_int_equal(pag_x509_verify((struct pag_span){ device.der, device.der_n }, path, false, NOW, NULL),
                     PAG_OK);
    assert_int_equal(pag_x509_verify((struct pag_span){ device.der, device.der_n }, path, true, NOW, NULL),
                     PAG_E_TLS);
    assert_int_equal(pag_x509_verify((struct pag_span){ person.der, person.der_n }, path, false, NOW, NULL),
                     PAG_E_TLS);
    assert_int_equal(
        pag_x509_verify((struct pag_span){ device.der, device.der_n }, path, false, NOW + 86401, NULL),
        PAG_E_TLS);
    assert_int_equal(
        pag_x509_verify((struct pag_span){ device.der, device.der_n }, path, false, NOW - 3601, NULL),
        PAG_E_TLS);
}

static void names_that_could_open_topics_are_refused(void **state)
{
    struct pki *p = *state;
    uint8_t space[2048];
    struct pag_issued out;
    struct pag_span csr = csr_of(p->key, "x", space);
    char long_name[66];
    memset(long_name, 'a', 65);
    long_name[65] = '\0';
    const char *const bad[] = { "",    "#",   "+",        "a/b",          "A",     "a b",
                                "a\n", "a.b", "\xc3\xa4", "svc-pagurusd", "svc-x", long_name };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(issue(p, csr, bad[i], &out), PAG_E_DENIED);
    }
    assert_int_equal(issue(p, csr, long_name + 1, &out), PAG_OK);
    assert_string_equal(out.info.cn, long_name + 1);
}

/* A request with an own idea of itself: extensions, subject, digest. */
static size_t odd_csr(EVP_PKEY *key, const EVP_MD *digest, bool extensions, uint8_t *out)
{
    X509_REQ *req = X509_REQ_new();
    X509_NAME *name = X509_REQ_get_subject_name(req);
    assert_int_equal(X509_REQ_set_pubkey(req, key), 1);
    if (extensions) {
        STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
        assert_int_equal(
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"one", -1, -1, 0), 1);
        assert_int_equal(
            X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"tw\0o", 4, -1, 0), 1);
        assert_true(sk_X509_EXTENSION_push(list, X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints,
                                                                     "critical,CA:TRUE")) > 0);
        assert_true(sk_X509_EXTENSION_push(
                        list, X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, "serverAuth")) > 0);
        assert_true(sk_X509_EXTENSION_push(list, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
                                                                     "DNS:*.example.org")) > 0);
        assert_int_equal(X509_REQ_add_extensions(req, list), 1);
        sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
    }
    assert_true(X509_REQ_sign(req, key, digest) > 0);
    int n = i2d_X509_REQ(req, &out);
    X509_REQ_free(req);
    return (size_t)n;
}

static void extensions_and_second_names_of_a_request_are_ignored(void **state)
{
    struct pki *p = *state;
    uint8_t der[2048];
    struct pag_issued out;
    struct pag_span csr = { der, odd_csr(p->key, EVP_sha256(), true, der) };
    assert_int_equal(issue(p, csr, "dev-a", &out), PAG_OK);
    const unsigned char *at = out.der;
    X509 *cert = d2i_X509(NULL, &at, (long)out.der_n);
    assert_int_equal(X509_check_ca(cert), 0);
    assert_int_equal(X509_get_ext_count(cert), 6);
    assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_CLIENT);
    assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(cert)), 1);
    assert_int_equal(X509_check_host(cert, "a.example.org", 0, 0, NULL), 0);
    X509_free(cert);
}

static void weak_keys_and_weak_digests_are_refused(void **state)
{
    struct pki *p = *state;
    uint8_t der[4096];
    uint8_t id[PAG_SHA256_BYTES];
    EVP_PKEY *rsa = EVP_RSA_gen(1024);
    EVP_PKEY *p384 = EVP_EC_gen("P-384");
    assert_int_equal(
        pag_x509_csr_check((struct pag_span){ der, odd_csr(rsa, EVP_sha256(), false, der) }, id, NULL),
        PAG_E_UNSUPPORTED);
    assert_int_equal(
        pag_x509_csr_check((struct pag_span){ der, odd_csr(p384, EVP_sha256(), false, der) }, id, NULL),
        PAG_E_UNSUPPORTED);
    assert_int_equal(
        pag_x509_csr_check((struct pag_span){ der, odd_csr(p->key, EVP_sha1(), false, der) }, id, NULL),
        PAG_E_UNSUPPORTED);
    assert_int_equal(
        pag_x509_csr_check((struct pag_span){ der, odd_csr(p->key, EVP_sha256(), false, der) }, id, NULL),
        PAG_OK);
    EVP_PKEY_free(rsa);
    EVP_PKEY_free(p384);
}

static void every_changed_or_missing_byte_of_a_request_is_noticed(void **state)
{
    struct pki *p = *state;
    uint8_t space[2048];
    uint8_t id[PAG_SHA256_BYTES];
    struct pag_span csr = csr_of(p->key, "x", space);
    for (size_t n = 0; n < csr.n; n++) {
        assert_int_not_equal(pag_x509_csr_check((struct pag_span){ space, n }, id, NULL), PAG_OK);
    }
    for (size_t i = 0; i < csr.n; i++) {
        space[i] ^= 0x10;
        assert_int_not_equal(pag_x509_csr_check(csr, id, NULL), PAG_OK);
        space[i] ^= 0x10;
    }
    assert_int_equal(pag_x509_csr_check(csr, id, NULL), PAG_OK);
    assert_int_equal(pag_x509_csr_check((struct pag_span){ space, 5000 }, id, NULL), PAG_E_LIMIT);
}

static void a_key_has_one_hash_in_requests_and_certificates(void **state)
{
    struct pki *p = *state;
    uint8_t space[2048];
    uint8_t id[PAG_SHA256_BYTES];
    struct pag_issued out;
    struct pag_span csr = csr_of(p->key, "x", space);
    assert_int_equal(pag_x509_csr_check(csr, id, NULL), PAG_OK);
    assert_int_equal(issue(p, csr, "dev-a", &out), PAG_OK);
    assert_memory_equal(id, out.info.key_sha256, sizeof id);
}

static void the_next_certificate_is_made_from_the_last_one_alone(void **state)
{
    struct pki *p = *state;
    uint8_t space[2048];
    struct pag_issued last;
    struct pag_issued next;
    EVP_PKEY *key = NULL;
    const struct pag_cert_order order = {
        .cn = "dev-a", .product = PRODUCT, .now = NOW + 60000, .lifetime_s = 86400
    };
    assert_int_equal(issue(p, csr_of(p->key, "x", space), "dev-a", &last), PAG_OK);
    assert_int_equal(pag_x509_key_of_cert((struct pag_span){ last.der, last.der_n }, &key), PAG_OK);
    assert_int_equal(pag_ca_issue_device_key(p->device, key, &order, &next, NULL), PAG_OK);
    pag_x509_key_free(key);
    assert_memory_equal(next.info.key_sha256, last.info.key_sha256, sizeof next.info.key_sha256);
    assert_int_equal(next.info.not_after, NOW + 60000 + 86400);
    for (size_t n = 0; n < last.der_n; n++) {
        assert_int_equal(pag_x509_key_of_cert((struct pag_span){ last.der, n }, &key), PAG_E_SYNTAX);
        assert_null(key);
    }
}

static void a_leaf_does_not_outlive_its_authority(void **state)
{
    struct pki *p = *state;
    struct pag_issued out;
    struct pag_cert_order order = { .cn = "svc-x", .now = NOW, .lifetime_s = 100ULL * 31557600 };
    assert_int_equal(pag_ca_issue_client_key(p->device, p->key, &order, &out, NULL), PAG_OK);
    assert_int_equal(out.info.not_after, pag_ca_info(p->device)->not_after);
    order.now = pag_ca_info(p->device)->not_after;
    assert_int_equal(pag_ca_issue_client_key(p->device, p->key, &order, &out, NULL), PAG_E_EXPIRED);
}

static void server_certificate_names_addresses_twice(void **state)
{
    struct pki *p = *state;
    static const char *const names[] = { "pag.example.org", "*.dev.example.org", "192.0.2.7", "2001:db8::1" };
    const struct pag_cert_order order = { .now = NOW, .lifetime_s = 86400, .names = names, .names_n = 4 };
    struct pag_issued out;
    assert_int_equal(pag_ca_issue_server(p->server, p->key, &order, &out, NULL), PAG_OK);
    const unsigned char *at = out.der;
    X509 *cert = d2i_X509(NULL, &at, (long)out.der_n);
    assert_int_equal(X509_check_ip_asc(cert, "192.0.2.7", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "2001:db8::1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "192.0.2.8", 0), 0);
    assert_int_equal(X509_check_host(cert, "192.0.2.7", 0, 0, NULL), 1); /* as BearSSL looks for it */
    assert_int_equal(X509_check_host(cert, "a.dev.example.org", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "a.b.dev.example.org", 0, 0, NULL), 0);
    assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER);
    X509_free(cert);
}

static void bad_host_names_are_refused(void **state)
{
    struct pki *p = *state;
    const char *const bad[] = { "", "a..b", "-a", "a-", "a b", "*", "a.*.b", "ex\nample", "a_b", ".a", "a." };
    struct pag_issued out;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct pag_cert_order order = {
            .now = NOW, .lifetime_s = 86400, .names = &bad[i], .names_n = 1
        };
        assert_int_equal(pag_ca_issue_server(p->server, p->key, &order, &out, NULL), PAG_E_CONFIG);
    }
}

static void revocation_list_holds_the_revoked_and_verifies(void **state)
{
    struct pki *p = *state;
    struct pag_issued out;
    const struct pag_cert_order order = { .cn = "dev-a", .now = NOW, .lifetime_s = 86400 };
    assert_int_equal(pag_ca_issue_client_key(p->device, p->key, &order, &out, NULL), PAG_OK);
    struct pag_revoked entry = { .serial_n = out.info.serial_n, .at = NOW };
    memcpy(entry.serial, out.info.serial, sizeof entry.serial);
    const struct pag_crl_order crl_order = { &entry, 1, 7, NOW, 86400 };
    struct pag_buf pem = { NULL, 0, 0 };
    assert_int_equal(pag_ca_crl(p->device, &crl_order, &pem, NULL), PAG_OK);
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
    const unsigned char *at = out.der;
    X509 *cert = d2i_X509(NULL, &at, (long)out.der_n);
    X509_REVOKED *found = NULL;
    assert_int_equal(X509_CRL_get0_by_cert(crl, &found, cert), 1);
    struct pag_span ca_der = pag_ca_der(p->device);
    at = ca_der.p;
    X509 *ca = d2i_X509(NULL, &at, (long)ca_der.n);
    assert_int_equal(X509_CRL_verify(crl, X509_get0_pubkey(ca)), 1);
    X509_free(ca);
    X509_free(cert);
    X509_CRL_free(crl);
    BIO_free(bio);
    free(pem.p);
}

static void keys_come_back_only_with_their_passphrase_and_only_when_private(void **state)
{
    struct pki *p = *state;
    char path[128];
    EVP_PKEY *key = NULL;
    (void)snprintf(path, sizeof path, "%s/k.pem", p->folder);
    assert_int_equal(pag_x509_key_save(p->key, path, "correct horse", NULL), PAG_OK);
    assert_int_equal(pag_x509_key_load(path, "wrong horse", &key, NULL), PAG_E_DENIED);
    assert_int_equal(pag_x509_key_load(path, NULL, &key, NULL), PAG_E_DENIED);
    assert_int_equal(pag_x509_key_load(path, "correct horse", &key, NULL), PAG_OK);
    assert_int_equal(EVP_PKEY_eq(key, p->key), 1);
    EVP_PKEY_free(key);
    assert_int_equal(pag_x509_key_save(p->key, path, NULL, NULL), PAG_OK);
    assert_int_equal(pag_x509_key_load(path, NULL, &key, NULL), PAG_OK);
    EVP_PKEY_free(key);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(pag_x509_key_load(path, NULL, &key, NULL), PAG_E_DENIED);
}

static void an_authority_whose_key_is_another_is_refused(void **state)
{
    struct pki *p = *state;
    char cert[128];
    char key[128];
    struct pag_ca *ca = NULL;
    write_pem(p, "a.pem", pag_ca_der(p->device), cert);
    (void)snprintf(key, sizeof key, "%s/k.pem", p->folder);
    assert_int_equal(pag_ca_key_save(p->server, key, NULL, NULL), PAG_OK);
    assert_int_equal(pag_ca_load(cert, key, NULL, &ca, NULL), PAG_E_CONFIG);
    assert_int_equal(pag_ca_key_save(p->device, key, NULL, NULL), PAG_OK);
    assert_int_equal(pag_ca_load(cert, key, NULL, &ca, NULL), PAG_OK);
    pag_ca_free(ca);
}

static void a_token_with_a_typo_is_told_apart(void **state)
{
    (void)state;
    struct pag_api_token t;
    struct pag_api_token back;
    pag_api_token_make(&t);
    assert_int_equal(strlen(t.text), PAG_TOKEN_CHARS);
    assert_int_equal(pag_api_token_parse((struct pag_span){ (uint8_t *)t.text, strlen(t.text) }, &back),
                     PAG_OK);
    assert_memory_equal(t.sha256, back.sha256, sizeof t.sha256);
    assert_string_equal(t.id, back.id);
    t.text[30] = t.text[30] == 'A' ? 'B' : 'A';
    assert_int_equal(pag_api_token_parse((struct pag_span){ (uint8_t *)t.text, strlen(t.text) }, &back),
                     PAG_E_CHECKSUM);
    assert_int_equal(pag_api_token_parse((struct pag_span){ (uint8_t *)t.text, 20 }, &back), PAG_E_SYNTAX);
}

static void a_claim_survives_being_typed_by_people(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct pag_claim c;
        struct pag_claim back;
        char typed[64] = "";
        size_t n = 0;
        pag_claim_make(&c);
        for (size_t i = 0; i < PAG_CLAIM_CHARS; i++) {
            char x = c.text[i];
            typed[n++] = (char)(x == '0' ? 'o' : x == '1' ? 'l' : x >= 'A' && x <= 'Z' ? x + 32 : x);
            if (i % 5 == 4) {
                typed[n++] = '-';
            }
        }
        assert_int_equal(pag_claim_parse((struct pag_span){ (uint8_t *)typed, n }, &back), PAG_OK);
        assert_string_equal(back.text, c.text);
        assert_memory_equal(back.sha256, c.sha256, sizeof c.sha256);
        c.text[7] = c.text[7] == '7' ? '8' : '7';
        assert_int_equal(pag_claim_parse((struct pag_span){ (uint8_t *)c.text, PAG_CLAIM_CHARS }, &back),
                         PAG_E_CHECKSUM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(device_certificate_says_what_the_server_ordered_not_what_the_request_says),
        cmocka_unit_test(anchor_trusts_its_own_leaves_and_no_sister_of_the_authority),
        cmocka_unit_test(names_that_could_open_topics_are_refused),
        cmocka_unit_test(extensions_and_second_names_of_a_request_are_ignored),
        cmocka_unit_test(weak_keys_and_weak_digests_are_refused),
        cmocka_unit_test(every_changed_or_missing_byte_of_a_request_is_noticed),
        cmocka_unit_test(a_key_has_one_hash_in_requests_and_certificates),
        cmocka_unit_test(the_next_certificate_is_made_from_the_last_one_alone),
        cmocka_unit_test(a_leaf_does_not_outlive_its_authority),
        cmocka_unit_test(server_certificate_names_addresses_twice),
        cmocka_unit_test(bad_host_names_are_refused),
        cmocka_unit_test(revocation_list_holds_the_revoked_and_verifies),
        cmocka_unit_test(keys_come_back_only_with_their_passphrase_and_only_when_private),
        cmocka_unit_test(an_authority_whose_key_is_another_is_refused),
        cmocka_unit_test(a_token_with_a_typo_is_told_apart),
        cmocka_unit_test(a_claim_survives_being_typed_by_people),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
