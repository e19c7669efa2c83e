/* At which time the posix port judges a server's certificate: docs/spec/trust-set.md 4, clock floor. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ports/posix/posix_port.h"

enum { HOUR_S = 3600, DAY_S = 86400, DER_MAX = 1024, TURNS = 200000 };

struct peer {
    struct pag_port port;
    struct pag_posix posix;
    EVP_PKEY *key;
    uint8_t der[DER_MAX];
    size_t der_n;
    SSL_CTX *tls;
    int listener;
    uint16_t number;
};

/* A certificate for 127.0.0.1 that is its own authority. */
static void certify(struct peer *p, time_t from, time_t to)
{
    X509 *cert = X509_new();
    unsigned char *out = p->der;
    assert_non_null(cert);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(cert), from));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(cert), to));
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
    assert_int_equal(X509_set_pubkey(cert, p->key), 1);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    assert_non_null(san);
    assert_int_equal(X509_add_ext(cert, san, -1), 1);
    X509_EXTENSION_free(san);
    assert_true(X509_sign(cert, p->key, EVP_sha256()) > 0);
    int n = i2d_X509(cert, NULL);
    assert_in_range(n, 1, DER_MAX);
    p->der_n = (size_t)i2d_X509(cert, &out);
    SSL_CTX_free(p->tls);
    p->tls = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(p->tls, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(p->tls, p->key), 1);
    X509_free(cert);
}

static int start(void **state)
{
    struct peer *p = calloc(1, sizeof *p);
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t n = sizeof at;
    assert_non_null(p);
    p->key = EVP_EC_gen("P-256");
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&at, &n), 0);
    p->number = ntohs(at.sin_port);
    for (size_t i = 0; i < PAG_POSIX_CONNS; i++) {
        p->posix.conn[i].fd = -1;
    }
    p->port.ctx = &p->posix;
    pag_posix_net(&p->port);
    *state = p;
    return 0;
}

static int stop(void **state)
{
    struct peer *p = *state;
    pag_posix_net_close_all(&p->posix);
    SSL_CTX_free(p->tls);
    EVP_PKEY_free(p->key);
    (void)close(p->listener);
    free(p);
    return 0;
}

/* One connection, both ends driven here. What ready says in the end. */
static enum pag_err connect_at(struct peer *p, uint64_t floor_s)
{
    struct pag_net_trust trust = { .ca = { p->der, p->der_n }, .clock_floor = floor_s };
    struct pag_conn conn;
    assert_int_equal(p->port.net.open(p->port.ctx, "127.0.0.1", p->number, &trust, &conn), PAG_OK);
    int fd = accept(p->listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    SSL *server = SSL_new(p->tls);
    assert_int_equal(SSL_set_fd(server, fd), 1);
    enum pag_err err = PAG_E_AGAIN;
    for (int i = 0; i < TURNS && err == PAG_E_AGAIN; i++) {
        err = p->port.net.ready(p->port.ctx, &conn);
        (void)SSL_accept(server);
    }
    p->port.net.close(p->port.ctx, &conn);
    SSL_free(server);
    (void)close(fd);
    return err;
}

static void without_a_floor_the_clock_of_the_board_counts(void **state)
{
    struct peer *p = *state;
    time_t now = time(NULL);
    certify(p, now - DAY_S, now + DAY_S);
    assert_int_equal(connect_at(p, 0), PAG_OK);
    certify(p, now - 2 * DAY_S, now - DAY_S);
    assert_int_equal(connect_at(p, 0), PAG_E_TLS);
    certify(p, now + HOUR_S, now + DAY_S);
    assert_int_equal(connect_at(p, 0), PAG_E_TLS);
}

static void a_floor_behind_the_clock_changes_nothing(void **state)
{
    struct peer *p = *state;
    time_t now = time(NULL);
    certify(p, now - 2 * DAY_S, now - DAY_S);
    assert_int_equal(connect_at(p, (uint64_t)now - 2 * DAY_S + HOUR_S), PAG_E_TLS);
    certify(p, now + HOUR_S, now + DAY_S); /* no tolerance for a clock that is right */
    assert_int_equal(connect_at(p, (uint64_t)now - DAY_S), PAG_E_TLS);
}

static void a_clock_behind_the_floor_is_wrong_and_the_floor_counts(void **state)
{
    struct peer *p = *state;
    time_t now = time(NULL);
    time_t floor_s = now + 100L * DAY_S;
    certify(p, now - DAY_S, now + DAY_S); /* over by then */
    assert_int_equal(connect_at(p, (uint64_t)floor_s), PAG_E_TLS);
    certify(p, floor_s - DAY_S, floor_s + DAY_S); /* not begun by the clock */
    assert_int_equal(connect_at(p, (uint64_t)floor_s), PAG_OK);
}

static void at_the_floor_a_certificate_may_be_a_day_younger(void **state)
{
    struct peer *p = *state;
    time_t floor_s = time(NULL) + 100L * DAY_S;
    certify(p, floor_s + 23 * HOUR_S, floor_s + 9L * DAY_S);
    assert_int_equal(connect_at(p, (uint64_t)floor_s), PAG_OK);
    certify(p, floor_s + 25 * HOUR_S, floor_s + 9L * DAY_S);
    assert_int_equal(connect_at(p, (uint64_t)floor_s), PAG_E_TLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_floor_the_clock_of_the_board_counts, start, stop),
        cmocka_unit_test_setup_teardown(a_floor_behind_the_clock_changes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_clock_behind_the_floor_is_wrong_and_the_floor_counts, start, stop),
        cmocka_unit_test_setup_teardown(at_the_floor_a_certificate_may_be_a_day_younger, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
