#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): mkdtemp */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/http.h"
#include "tests/support/tls_pairs.h"

enum { THREADS = 2, FILE_BYTES = 300000 };

/* ---- certificates ---- */

static char folder[] = "/tmp/pag-tls-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *out = path[turn++ % 4];
    (void)snprintf(out, sizeof(path[0]), "%s/%s", folder, name);
    return out;
}

static void save_certs(const char *name, X509 *first, X509 *second)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, first), 1);
    if (second != NULL) {
        assert_int_equal(PEM_write_X509(f, second), 1);
    }
    (void)fclose(f);
}

static void save_key(const char *name, EVP_PKEY *key, mode_t mode)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(f);
    (void)chmod(path_of(name), mode);
}

static struct pair root, device_ca, operator_ca, server_pair, device;

/* ---- server ---- */

struct server {
    struct pag_tls *tls;
    struct pag_http *http;
    struct pag_http_listener *listeners[THREADS];
    uint16_t port;
};

static struct pag_loop *loops[THREADS];
static pthread_t threads[THREADS];
static struct server main_server, other_server;
static uint8_t content[FILE_BYTES];
static atomic_bool refuse_all;

static bool admit_peer(void *ctx, const struct pag_tls_peer *peer)
{
    (void)ctx;
    return !atomic_load(&refuse_all) && peer->cn[0] != '\0';
}

static void handle_who(struct pag_http_request *req)
{
    const struct pag_tls_peer *p = req->peer;
    const char *text = pag_arena_printf(req->arena, "%d %d %s %s %u", p->has_certificate, p->resumed, p->cn,
                                        p->product, p->serial_n);
    pag_http_reply(req, &(struct pag_http_reply){ .status = 200, .body = pag_span_str(text), .close = true });
}

static atomic_uint file_done, file_whole;

static void on_file_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    (void)ctx;
    (void)first;
    (void)sent;
    atomic_fetch_add(&file_whole, complete ? 1 : 0);
    atomic_fetch_add(&file_done, 1);
}

static void handle_file(struct pag_http_request *req)
{
    pag_http_reply_file(req, &(struct pag_http_file){ .fd = open(path_of("blob"), O_RDONLY | O_CLOEXEC),
                                                      .bytes = FILE_BYTES,
                                                      .done = on_file_done });
}

static const struct pag_http_route routes[] = {
    { PAG_HTTP_GET, "/who", 0, PAG_BODY_NONE, 0, handle_who },
    { PAG_HTTP_GET, "/file", 0, PAG_BODY_NONE, 0, handle_file },
};

static struct pag_tls_config tls_config(void)
{
    static char cert[128];
    static char key[128];
    static char ca[128];
    (void)snprintf(cert, sizeof(cert), "%s/srv.pem", folder);
    (void)snprintf(key, sizeof(key), "%s/srv.key", folder);
    (void)snprintf(ca, sizeof(ca), "%s/clientca.pem", folder);
    return (struct pag_tls_config){ .cert_file = cert,
                                    .key_file = key,
                                    .client_ca_file = ca,
                                    .id_context = "test",
                                    .session_cache = 100,
                                    .admit = admit_peer };
}

static void serve(struct server *s, uint32_t record_bytes)
{
    struct pag_fail why = { 0 };
    struct pag_tls_config t = tls_config();
    t.record_bytes = record_bytes;
    if (pag_tls_new(&t, &s->tls, &why) != PAG_OK) {
        fail_msg("%s", why.what);
    }
    const struct pag_http_config config = {
        .routes = routes, .route_n = 2, .tls = s->tls, .handshake_ms = 3000
    };
    assert_int_equal(pag_http_new(&config, &s->http, NULL), PAG_OK);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(
            pag_http_attach(s->http, loops[i], "127.0.0.1", s->port, NULL, &s->listeners[i], NULL), PAG_OK);
        s->port = pag_http_port(s->listeners[i]);
    }
}

static void *thread_main(void *arg)
{
    (void)pag_loop_run(arg);
    return NULL;
}

static int start(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    root = issue(&(struct profile){ .cn = "root", .is_ca = true }, NULL);
    device_ca = issue(&(struct profile){ .cn = "device ca", .is_ca = true }, &root);
    operator_ca = issue(&(struct profile){ .cn = "operator ca", .is_ca = true }, &root);
    server_pair =
        issue(&(struct profile){ .cn = "localhost", .usage = "serverAuth", .san = "DNS:localhost" }, &root);
    device = issue(&(struct profile){ .cn = "5ccf7f000001",
                                      .usage = "clientAuth",
                                      .san = "URI:urn:pagurus:00112233aabbccdd:5ccf7f000001" },
                   &device_ca);
    save_certs("srv.pem", server_pair.cert, NULL);
    save_key("srv.key", server_pair.key, 0600);
    save_certs("clientca.pem", device_ca.cert, root.cert);
    FILE *f = fopen(path_of("blob"), "wb");
    for (size_t i = 0; i < FILE_BYTES; i++) {
        content[i] = (uint8_t)(i * 2654435761U >> 11);
    }
    assert_true(f != NULL && fwrite(content, 1, FILE_BYTES, f) == FILE_BYTES);
    (void)fclose(f);
    for (int i = 0; i < THREADS; i++) {
        loops[i] = pag_loop_new(pag_clock_system());
    }
    serve(&main_server, 0);
    serve(&other_server, 1400);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, loops[i]), 0);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        pag_loop_stop(loops[i]);
        (void)pthread_join(threads[i], NULL);
    }
    struct server *servers[] = { &main_server, &other_server };
    for (int i = 0; i < 2; i++) {
        pag_http_free(servers[i]->http);
        pag_tls_free(servers[i]->tls);
    }
    for (int i = 0; i < THREADS; i++) {
        pag_loop_free(loops[i]);
    }
    struct pair *pairs[] = { &root, &device_ca, &operator_ca, &server_pair, &device };
    for (size_t i = 0; i < 5; i++) {
        drop(pairs[i]);
    }
    static const char *const names[] = { "srv.pem",  "srv.key", "clientca.pem", "blob",
                                         "open.key", "new.pem", "new.key" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)unlink(path_of(names[i]));
    }
    return rmdir(folder);
}

/* ---- client ---- */

struct client {
    SSL_CTX *ctx;
    SSL *ssl;
    int fd;
    size_t largest, first_largest, records; /* of records received: bytes after the record head */
};

static void on_record(int sent, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
    (void)version;
    (void)ssl;
    struct client *c = arg;
    const uint8_t *head = p;
    if (!sent && type == SSL3_RT_HEADER && n >= 5) {
        size_t length = (size_t)head[3] << 8 | head[4];
        c->largest = length > c->largest ? length : c->largest;
        c->records++;
        c->first_largest = c->records < 10 ? c->largest : c->first_largest;
    }
}

/* room: of the receive buffer, 0: the usual. */
static int dial(const struct server *s, int room)
{
    struct timeval patience = { .tv_sec = 5 };
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(s->port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (room > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    }
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void open_narrow(struct client *c, const struct server *s, int version, int room)
{
    *c = (struct client){ .ctx = SSL_CTX_new(TLS_client_method()) };
    (void)SSL_CTX_set_min_proto_version(c->ctx, version);
    (void)SSL_CTX_set_max_proto_version(c->ctx, version);
    c->ssl = SSL_new(c->ctx);
    c->fd = dial(s, room);
    (void)SSL_set_fd(c->ssl, c->fd);
}

static void open_client(struct client *c, const struct server *s, int version, const struct pair *id)
{
    open_narrow(c, s, version, 0);
    if (id != NULL) {
        assert_int_equal(SSL_use_certificate(c->ssl, id->cert), 1);
        assert_int_equal(SSL_use_PrivateKey(c->ssl, id->key), 1);
    }
    SSL_set_msg_callback(c->ssl, on_record);
    SSL_set_msg_callback_arg(c->ssl, c);
}

static void close_client(struct client *c)
{
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    (void)close(c->fd);
    ERR_clear_error();
}

/* The body of /who, or "" when the handshake or the connection fails. */
static const char *who(struct client *c)
{
    static char text[2048];
    static const char request[] = "GET /who HTTP/1.1\r\nHost: a\r\n\r\n";
    size_t n = 0;
    int r = SSL_connect(c->ssl) == 1 ? SSL_write(c->ssl, request, sizeof(request) - 1) : -1;
    while (r > 0 && n < sizeof(text) - 1) {
        r = SSL_read(c->ssl, text + n, (int)(sizeof(text) - 1 - n));
        n += r > 0 ? (size_t)r : 0;
    }
    text[n] = '\0';
    char *body = strstr(text, "\r\n\r\n");
    return body == NULL ? "" : body + 4;
}

static const char *who_is(int version, const struct pair *id)
{
    struct client c;
    open_client(&c, &main_server, version, id);
    const char *text = who(&c);
    close_client(&c);
    return text;
}

/* ---- tests ---- */

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void a_device_is_known_by_its_certificate(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        for (int round = 0; round < 3; round++) { /* the second from the cache of chains */
            assert_string_equal(who_is(versions[v], &device), "1 0 5ccf7f000001 00112233aabbccdd 2");
        }
        assert_string_equal(who_is(versions[v], NULL), "0 0   0");
    }
}

static void strangers_are_refused_in_the_handshake(void **state)
{
    (void)state;
    struct pair other_root = issue(&(struct profile){ .cn = "root", .is_ca = true }, NULL);
    struct pair other_ca = issue(&(struct profile){ .cn = "device ca", .is_ca = true }, &other_root);
    const struct {
        struct profile p;
        const struct pair *ca;
    } cases[] = {
        { { .cn = "foreign", .usage = "clientAuth" }, &other_ca },
        { { .cn = "expired", .usage = "clientAuth", .from_s = -2 * DAY, .to_s = -60 }, &device_ca },
        { { .cn = "early", .usage = "clientAuth", .from_s = DAY }, &device_ca },
        { { .cn = "server-use", .usage = "serverAuth" }, &device_ca },
        { { .cn = "no-use" }, &device_ca },
        { { .cn = "a-ca", .usage = "clientAuth", .is_ca = true }, &device_ca },
        { { .cn = "Upper", .usage = "clientAuth" }, &device_ca },
        { { .cn = "operator", .usage = "clientAuth" }, &operator_ca },
        { { .cn = "of-root", .usage = "clientAuth" }, &root },
        { { .cn = "san", .usage = "clientAuth", .san = "URI:urn:pagurus:00:other" }, &device_ca },
        { { .cn = "self", .usage = "clientAuth" }, NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pair p = issue(&cases[i].p, cases[i].ca);
        for (int v = 0; v < 2; v++) {
            uint64_t before = pag_tls_stats_get(main_server.tls).failed;
            struct client c;
            open_client(&c, &main_server, versions[v], &p);
            if (cases[i].ca != NULL) { /* send the issuer along: it must not help */
                (void)SSL_add1_chain_cert(c.ssl, cases[i].ca->cert);
            }
            const char *text = who(&c);
            close_client(&c);
            if (text[0] != '\0') {
                fail_msg("%s was taken: %s", cases[i].p.cn, text);
            }
            assert_int_equal(pag_tls_stats_get(main_server.tls).failed, before + 1);
        }
        drop(&p);
    }
    drop(&other_root);
    drop(&other_ca);
}

/* Connects, takes the session, and returns what /who says on a second connection with it. */
static const char *resume(const struct server *first, const struct server *second, int version,
                          uint64_t options)
{
    struct client c;
    open_client(&c, first, version, &device);
    (void)SSL_set_options(c.ssl, options);
    assert_string_equal(who(&c), "1 0 5ccf7f000001 00112233aabbccdd 2");
    SSL_SESSION *session = SSL_get1_session(c.ssl);
    close_client(&c);
    atomic_store(&refuse_all, second == NULL);
    open_client(&c, second == NULL ? first : second, version, &device);
    (void)SSL_set_options(c.ssl, options);
    assert_int_equal(SSL_set_session(c.ssl, session), 1);
    const char *text = who(&c);
    close_client(&c);
    SSL_SESSION_free(session);
    atomic_store(&refuse_all, false);
    return text;
}

static void sessions_are_resumed_by_ticket_and_by_id_on_any_thread(void **state)
{
    (void)state;
    static const char want[] = "1 1 5ccf7f000001 00112233aabbccdd 2";
    for (int round = 0; round < 8; round++) { /* the kernel spreads connections over both threads */
        assert_string_equal(resume(&main_server, &main_server, TLS1_3_VERSION, 0), want);
        assert_string_equal(resume(&main_server, &main_server, TLS1_2_VERSION, 0), want);
        assert_string_equal(resume(&main_server, &main_server, TLS1_2_VERSION, SSL_OP_NO_TICKET), want);
    }
}

static void a_device_no_longer_admitted_cannot_resume(void **state)
{
    (void)state;
    assert_string_equal(resume(&main_server, NULL, TLS1_3_VERSION, 0), "");
    assert_string_equal(resume(&main_server, NULL, TLS1_2_VERSION, 0), "");
    assert_string_equal(resume(&main_server, NULL, TLS1_2_VERSION, SSL_OP_NO_TICKET), "");
}

static void a_session_of_another_listener_means_a_full_handshake(void **state)
{
    (void)state;
    static const char want[] = "1 0 5ccf7f000001 00112233aabbccdd 2";
    assert_string_equal(resume(&main_server, &other_server, TLS1_3_VERSION, 0), want);
    assert_string_equal(resume(&main_server, &other_server, TLS1_2_VERSION, 0), want);
    assert_string_equal(resume(&main_server, &other_server, TLS1_2_VERSION, SSL_OP_NO_TICKET), want);
}

static void old_protocols_and_weak_suites_are_refused(void **state)
{
    (void)state;
    static const char *const suites[] = { "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA",
                                          "AES128-GCM-SHA256",         "AES128-SHA",
                                          "ECDHE-ECDSA-AES128-CCM8",   "DHE-RSA-AES128-GCM-SHA256",
                                          "NULL-SHA256:@SECLEVEL=0" };
    struct client c;
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
        open_client(&c, &main_server, TLS1_2_VERSION, &device);
        (void)SSL_set_cipher_list(c.ssl, suites[i]);
        assert_string_equal(who(&c), "");
        close_client(&c);
    }
    open_client(&c, &main_server, TLS1_1_VERSION, &device);
    SSL_set_security_level(c.ssl, 0);
    assert_string_equal(who(&c), "");
    close_client(&c);
    static const char *const good[] = { "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
                                        "ECDHE-ECDSA-AES256-GCM-SHA384" };
    for (size_t i = 0; i < 3; i++) {
        open_client(&c, &main_server, TLS1_2_VERSION, &device);
        (void)SSL_set_cipher_list(c.ssl, good[i]);
        assert_string_not_equal(who(&c), "");
        close_client(&c);
    }
}

static void renegotiation_is_refused(void **state)
{
    (void)state;
    struct client c;
    char byte;
    open_client(&c, &main_server, TLS1_2_VERSION, &device);
    assert_int_equal(SSL_connect(c.ssl), 1);
    assert_int_equal(SSL_renegotiate(c.ssl), 1);
    (void)SSL_do_handshake(c.ssl);
    (void)SSL_read(c.ssl, &byte, 1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_last_error()), SSL_R_NO_RENEGOTIATION); /* the server's alert */
    close_client(&c);
    assert_string_not_equal(who_is(TLS1_2_VERSION, &device), "");
}

static bool survives_key_updates(int n)
{
    struct client c;
    open_client(&c, &main_server, TLS1_3_VERSION, &device);
    assert_int_equal(SSL_connect(c.ssl), 1);
    for (int i = 0; i < n; i++) {
        (void)SSL_key_update(c.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
        (void)SSL_do_handshake(c.ssl);
    }
    const char *text = who(&c);
    close_client(&c);
    return text[0] != '\0';
}

static void a_flood_of_key_updates_is_cut_off(void **state)
{
    (void)state;
    assert_true(survives_key_updates(16));
    assert_false(survives_key_updates(17));
}

static void fetch_file(struct client *c)
{
    static uint8_t got[FILE_BYTES + 4096];
    static const char request[] = "GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    size_t n = 0;
    int r = 1;
    assert_int_equal(SSL_connect(c->ssl), 1);
    assert_true(SSL_write(c->ssl, request, sizeof(request) - 1) > 0);
    while (r > 0) {
        r = SSL_read(c->ssl, got + n, (int)(sizeof(got) - n));
        n += r > 0 ? (size_t)r : 0;
    }
    assert_int_equal(SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN,
                     SSL_RECEIVED_SHUTDOWN); /* close_notify */
    assert_true(n > FILE_BYTES);
    assert_memory_equal(got + n - FILE_BYTES, content, FILE_BYTES);
}

static bool done_comes_to(unsigned want)
{
    for (int i = 0; i < 1000 && atomic_load(&file_done) != want; i++) {
        (void)usleep(10000);
    }
    return atomic_load(&file_done) == want;
}

static void read_body(struct client *c, const char *request, size_t most)
{
    static uint8_t room[4096];
    size_t n = 0;
    int r = SSL_connect(c->ssl) == 1 ? SSL_write(c->ssl, request, (int)strlen(request)) : -1;
    while (r > 0 && n < most) {
        r = SSL_read(c->ssl, room, sizeof(room));
        n += r > 0 ? (size_t)r : 0;
    }
    assert_true(n >= most);
}

static void a_download_counts_when_the_peer_has_it_and_never_when_it_left_half_way(void **state)
{
    (void)state;
    static const char *const requests[] = { "GET /file HTTP/1.1\r\nHost: a\r\n\r\n",
                                            "GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" };
    for (int i = 0; i < 8; i++) {
        const int reads_all = i & 1;
        unsigned done = atomic_load(&file_done);
        unsigned whole = atomic_load(&file_whole);
        struct client c;
        open_narrow(&c, &main_server, versions[i >> 2], 2048);
        read_body(&c, requests[(i >> 1) & 1], reads_all ? FILE_BYTES + 60 : FILE_BYTES / 2);
        if (reads_all) { /* and stays */
            assert_true(done_comes_to(done + 1));
            close_client(&c);
        } else {
            close_client(&c);
            assert_true(done_comes_to(done + 1));
        }
        assert_int_equal(atomic_load(&file_whole), whole + (reads_all ? 1U : 0U));
    }
}

static void a_file_comes_in_small_records_first_and_large_ones_later(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct client c;
        open_client(&c, &main_server, versions[v], &device);
        fetch_file(&c);
        assert_true(c.first_largest <= 1400 + 40);
        assert_true(c.largest > 16000);
        close_client(&c);
        open_client(&c, &other_server, versions[v], &device); /* record_bytes = 1400 */
        fetch_file(&c);
        assert_true(c.largest <= 1400 + 40);
        close_client(&c);
    }
}

static void every_record_fits_a_negotiated_fragment_length(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        struct client c;
        open_client(&c, &main_server, versions[v], &device);
        assert_int_equal(SSL_set_tlsext_max_fragment_length(c.ssl, TLSEXT_max_fragment_length_512), 1);
        fetch_file(&c);
        assert_true(c.records > FILE_BYTES / 512);
        assert_true(c.largest <= 512 + 24); /* the certificate's too */
        close_client(&c);
    }
}

static void a_probe_is_not_a_failure(void **state)
{
    (void)state;
    static const uint8_t bye[] = {
        0x15, 3, 3, 0, 2, 1, 90, 0x15, 3, 3, 0, 2, 1, 0
    }; /* user_canceled, close_notify */
    struct pag_tls_stats before = pag_tls_stats_get(main_server.tls);
    for (int i = 0; i < 20; i++) {
        struct client c;
        char head[6];
        open_client(&c, &main_server, TLS1_2_VERSION, NULL);
        BIO *out = BIO_new(BIO_s_mem());
        SSL_set_bio(c.ssl, BIO_new(BIO_s_mem()), out);
        (void)SSL_connect(c.ssl); /* ClientHello into memory */
        char *hello = NULL;
        long n = BIO_get_mem_data(out, &hello);
        assert_int_equal(send(c.fd, hello, (size_t)n, 0), n);
        assert_int_equal(recv(c.fd, head, sizeof(head), MSG_WAITALL), sizeof(head));
        assert_int_equal(head[0], 22);
        assert_int_equal(head[5], 2); /* ServerHello, in the first record */
        if (i % 2 == 0) {
            assert_int_equal(send(c.fd, bye, sizeof(bye), MSG_NOSIGNAL), sizeof(bye));
        }
        close_client(&c);
    }
    for (int i = 0; i < 200 && pag_tls_stats_get(main_server.tls).probes < before.probes + 20; i++) {
        (void)usleep(10000);
    }
    struct pag_tls_stats after = pag_tls_stats_get(main_server.tls);
    assert_int_equal(after.probes, before.probes + 20);
    assert_int_equal(after.failed, before.failed);
}

static void reload_takes_the_new_certificate_and_keeps_the_tickets(void **state)
{
    (void)state;
    struct client c;
    struct pag_fail why = { 0 };
    open_client(&c, &main_server, TLS1_3_VERSION, &device);
    assert_string_not_equal(who(&c), "");
    SSL_SESSION *session = SSL_get1_session(c.ssl);
    close_client(&c);
    struct pair fresh =
        issue(&(struct profile){ .cn = "localhost", .usage = "serverAuth", .san = "DNS:new" }, &root);
    save_certs("srv.pem", fresh.cert, NULL);
    assert_int_equal(pag_tls_reload(main_server.tls, &why), PAG_E_CONFIG); /* the key is still the old one */
    assert_string_equal(why.what, "TLS key does not belong to the certificate");
    assert_string_not_equal(who_is(TLS1_3_VERSION, &device), "");
    save_key("srv.key", fresh.key, 0600);
    assert_int_equal(pag_tls_reload(main_server.tls, &why), PAG_OK);
    open_client(&c, &main_server, TLS1_3_VERSION, &device);
    assert_string_not_equal(who(&c), "");
    assert_int_equal(X509_cmp(SSL_get0_peer_certificate(c.ssl), fresh.cert), 0);
    close_client(&c);
    open_client(&c, &main_server, TLS1_3_VERSION, &device);
    (void)SSL_set_session(c.ssl, session);
    assert_string_equal(who(&c), "1 1 5ccf7f000001 00112233aabbccdd 2");
    close_client(&c);
    SSL_SESSION_free(session);
    drop(&fresh);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    struct pag_tls *tls = NULL;
    struct pair old = issue(
        &(struct profile){ .cn = "old", .usage = "serverAuth", .from_s = -2 * DAY, .to_s = -DAY }, &root);
    save_key("open.key", server_pair.key, 0644);
    save_certs("new.pem", old.cert, NULL);
    save_key("new.key", old.key, 0600);
    const struct {
        const char *cert, *key, *ca, *what;
    } cases[] = {
        { "none", "srv.key", "clientca.pem", "TLS certificate file is missing or not PEM" },
        { "srv.pem", "none", "clientca.pem", "TLS key file is missing" },
        { "srv.pem", "open.key", "clientca.pem", "TLS key file is open to others, want mode 0600" },
        { "srv.pem", "new.key", "clientca.pem", "TLS key does not belong to the certificate" },
        { "new.pem", "new.key", "clientca.pem", "TLS certificate has expired" },
        { "srv.pem", "srv.key", "none", "client CA file is missing" },
        { "srv.pem", "srv.key", "srv.key", "client CA file has no certificate" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pag_fail why = { .what = "" };
        struct pag_tls_config config = tls_config();
        config.cert_file = path_of(cases[i].cert);
        config.key_file = path_of(cases[i].key);
        config.client_ca_file = path_of(cases[i].ca);
        assert_int_equal(pag_tls_new(&config, &tls, &why), PAG_E_CONFIG);
        assert_string_equal(why.what, cases[i].what);
    }
    drop(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_is_known_by_its_certificate),
        cmocka_unit_test(strangers_are_refused_in_the_handshake),
        cmocka_unit_test(sessions_are_resumed_by_ticket_and_by_id_on_any_thread),
        cmocka_unit_test(a_device_no_longer_admitted_cannot_resume),
        cmocka_unit_test(a_session_of_another_listener_means_a_full_handshake),
        cmocka_unit_test(old_protocols_and_weak_suites_are_refused),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(a_flood_of_key_updates_is_cut_off),
        cmocka_unit_test(a_download_counts_when_the_peer_has_it_and_never_when_it_left_half_way),
        cmocka_unit_test(a_file_comes_in_small_records_first_and_large_ones_later),
        cmocka_unit_test(every_record_fits_a_negotiated_fragment_length),
        cmocka_unit_test(a_probe_is_not_a_failure),
        cmocka_unit_test(reload_takes_the_new_certificate_and_keeps_the_tickets),
        cmocka_unit_test(bad_files_are_named),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
