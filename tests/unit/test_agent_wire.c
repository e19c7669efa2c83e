/* The device's own HTTP and MQTT clients against bytes that are right, late, or hostile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "agent/http_client.h"
#include "agent/mqtt_client.h"
#include "core/bytes.h"

/* ---- HTTP ---- */

static enum pag_err parse(const char *text, struct pag_httpc_reply *out, size_t *used)
{
    struct pag_httpc_parser p;
    pag_httpc_parser_begin(&p);
    enum pag_err err = pag_httpc_parser_feed(&p, pag_span_str(text), used);
    *out = p.reply;
    return err;
}

static void a_reply_gives_status_length_and_range(void **state)
{
    (void)state;
    struct pag_httpc_reply r;
    size_t used = 0;
    const char *text =
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\ncontent-range:  bytes 5-14/20 \r\n"
        "Retry-After: 7\r\nConnection: close\r\n\r\nBODY";
    assert_int_equal(parse(text, &r, &used), PAG_OK);
    assert_int_equal(used, strlen(text) - 4);
    assert_int_equal(r.status, 206);
    assert_int_equal(r.length, 10);
    assert_true(r.has_range && r.range_from == 5 && r.range_to == 14 && r.range_total == 20);
    assert_int_equal(r.retry_after_s, 7);
    assert_true(r.close);
}

static void an_interim_reply_is_skipped(void **state)
{
    (void)state;
    struct pag_httpc_reply r;
    size_t used = 0;
    assert_int_equal(parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", &r, &used),
                     PAG_OK);
    assert_int_equal(r.status, 204);
}

static void hostile_heads_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1 \r\n Folded: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Length: 1\r\nContent-Range: bytes 9-5/20\r\n\r\n",
        "HTTP/1.1 206 OK\r\nContent-Length: 1\r\nContent-Range: bytes 0-20/20\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pag_httpc_reply r;
        size_t used = 0;
        enum pag_err err = parse(bad[i], &r, &used);
        if (err == PAG_OK || err == PAG_E_SHORT) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

static void every_truncation_of_a_head_asks_for_more(void **state)
{
    (void)state;
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: x\r\n\r\n";
    for (size_t n = 0; n < strlen(text); n++) {
        struct pag_httpc_parser p;
        size_t used = 0;
        pag_httpc_parser_begin(&p);
        assert_int_equal(pag_httpc_parser_feed(&p, pag_span_of(text, n), &used), PAG_E_SHORT);
        assert_int_equal(used, n);
    }
}

static void endless_heads_are_cut_off(void **state)
{
    (void)state;
    struct pag_httpc_parser p;
    size_t used = 0;
    pag_httpc_parser_begin(&p);
    enum pag_err err = pag_httpc_parser_feed(&p, pag_span_str("HTTP/1.1 200 OK\r\n"), &used);
    int lines = 0;
    while (err == PAG_E_SHORT && lines < 1000) {
        err = pag_httpc_parser_feed(&p, pag_span_str("A: b\r\n"), &used);
        lines++;
    }
    assert_int_equal(err, PAG_E_LIMIT);
    assert_int_equal(lines, PAG_HTTPC_HEADERS_MAX + 1);
}

/* ---- MQTT ---- */

static enum pag_err packet(const void *bytes, size_t n, struct pag_mqttc_packet *out)
{
    return pag_mqttc_packet_get(pag_span_of(bytes, n), out);
}

static void a_publish_gives_topic_payload_and_id(void **state)
{
    (void)state;
    struct pag_mqttc_packet p;
    static const uint8_t in[] = { 0x32, 8, 0, 2, 'a', 'b', 0, 7, 'x', 'y' };
    assert_int_equal(packet(in, sizeof in, &p), PAG_OK);
    assert_true(pag_span_eq_str(p.topic, "ab") && pag_span_eq_str(p.payload, "xy"));
    assert_int_equal(p.id, 7);
    assert_int_equal(p.qos, 1);
}

static void hostile_packets_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint8_t b[12];
    } bad[] = {
        { 2, { 0x10, 0 } },                  /* CONNECT from a broker */
        { 4, { 0x20, 2, 2, 0 } },            /* reserved bits of CONNACK */
        { 5, { 0x20, 3, 0, 0, 0 } },         /* too long */
        { 3, { 0x30, 1, 0 } },               /* no topic */
        { 5, { 0x30, 3, 0, 9, 'a' } },       /* topic longer than the packet */
        { 5, { 0x30, 3, 0, 1, '#' } },       /* wildcard */
        { 4, { 0x30, 2, 0, 0 } },            /* empty topic */
        { 7, { 0x34, 5, 0, 1, 'a', 0, 1 } }, /* QoS 2 */
        { 7, { 0x36, 5, 0, 1, 'a', 0, 1 } }, /* QoS 3 */
        { 7, { 0x32, 5, 0, 1, 'a', 0, 0 } }, /* id 0 */
        { 5, { 0x38, 3, 0, 1, 'a' } },       /* DUP without QoS */
        { 5, { 0x30, 0x83, 0, 0, 1 } },      /* length not in its shortest form */
        { 5, { 0x90, 3, 0, 1, 3 } },         /* SUBACK code 3 */
        { 3, { 0xD0, 1, 0 } },               /* PINGRESP with a body */
        { 4, { 0x41, 2, 0, 1 } },            /* flags on PUBACK */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pag_mqttc_packet p;
        if (packet(bad[i].b, bad[i].n, &p) != PAG_E_SYNTAX) {
            fail_msg("taken: case %zu", i);
        }
    }
}

/* A line with the broker's bytes on one side; hands out at most 3 bytes a read, takes 5 a write. */
struct line {
    const uint8_t *in;
    size_t in_n, in_at;
    uint8_t out[1024];
    size_t out_n;
    uint32_t now_ms;
    bool eager; /* no limits */
};

static enum pag_err line_open(void *ctx, const char *host, uint16_t port, const struct pag_net_trust *trust,
                              struct pag_conn *out)
{
    (void)host;
    (void)port;
    (void)trust;
    out->p = ctx;
    return PAG_OK;
}

static enum pag_err line_ready(void *ctx, struct pag_conn *c)
{
    (void)ctx;
    (void)c;
    return PAG_OK;
}

static enum pag_err line_read(void *ctx, struct pag_conn *c, uint8_t *out, size_t *n)
{
    struct line *l = ctx;
    (void)c;
    size_t have = l->in_n - l->in_at;
    if (have == 0) {
        return PAG_E_AGAIN;
    }
    *n = *n < have ? *n : have;
    *n = l->eager || *n < 3 ? *n : 3;
    memcpy(out, l->in + l->in_at, *n);
    l->in_at += *n;
    return PAG_OK;
}

static enum pag_err line_write(void *ctx, struct pag_conn *c, const uint8_t *data, size_t *n)
{
    struct line *l = ctx;
    (void)c;
    *n = *n < 5 ? *n : 5;
    assert_true(l->out_n + *n <= sizeof l->out);
    memcpy(l->out + l->out_n, data, *n);
    l->out_n += *n;
    return PAG_OK;
}

static void line_close(void *ctx, struct pag_conn *c)
{
    (void)ctx;
    c->p = NULL;
}

static uint32_t line_now(void *ctx)
{
    return ((struct line *)ctx)->now_ms;
}

static struct pag_port port_of(struct line *l)
{
    return (struct pag_port){ .ctx = l,
                              .net = { line_open, line_ready, line_read, line_write, line_close },
                              .now_ms = line_now };
}

static void connect_to(struct pag_mqttc *m, const struct pag_port *port)
{
    struct pag_mqttc_login login = { .host = "h",
                                     .port = 1,
                                     .client_id = "dev",
                                     .will_topic = "w",
                                     .will = pag_span_str("offline"),
                                     .keepalive_s = 10 };
    pag_mqttc_init(m, port);
    assert_int_equal(pag_mqttc_open(m, &login, NULL), PAG_OK);
}

static void a_session_connects_and_acknowledges_what_it_gets(void **state)
{
    (void)state;
    static const uint8_t in[] = { 0x20, 2, 0, 0, 0x32, 6, 0, 1, 't', 0, 9, 'p' };
    static const uint8_t connect[] = { 0x10, 27,  0, 4, 'M', 'Q', 'T', 'T', 4,   0x2E, 0,   10,  0,   3,  'd',
                                       'e',  'v', 0, 1, 'w', 0,   7,   'o', 'f', 'f',  'l', 'i', 'n', 'e' };
    struct line l = { .in = in, .in_n = sizeof in };
    struct pag_port port = port_of(&l);
    struct pag_mqttc m;
    struct pag_mqttc_packet p;
    connect_to(&m, &port);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_OK);
    assert_int_equal(p.type, PAG_MQTTC_CONNACK);
    assert_memory_equal(l.out, connect, sizeof connect);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_OK);
    assert_true(pag_span_eq_str(p.topic, "t") && pag_span_eq_str(p.payload, "p"));
    static const uint8_t ack[] = { 0x40, 2, 0, 9 };
    assert_memory_equal(l.out + l.out_n - 4, ack, 4);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_E_AGAIN);
}

static void a_message_too_large_is_skipped_and_the_next_one_read(void **state)
{
    (void)state;
    static uint8_t in[4 + 2003 + 5];
    static const uint8_t small[] = { 0x30, 3, 0, 1, 'b' };
    memcpy(in, (const uint8_t[]){ 0x20, 2, 0, 0 }, 4);
    memcpy(in + 4, (const uint8_t[]){ 0x32, 0xD0, 0x0F, 0, 1, 'a', 0, 3 },
           8); /* 2000 bytes follow the head */
    memcpy(in + 4 + 2003, small, sizeof small);
    struct line l = { .in = in, .in_n = sizeof in, .eager = true };
    struct pag_port port = port_of(&l);
    struct pag_mqttc m;
    struct pag_mqttc_packet p;
    connect_to(&m, &port);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_OK);
    enum pag_err err = PAG_E_AGAIN;
    for (int i = 0; i < 10 && err == PAG_E_AGAIN; i++) {
        err = pag_mqttc_step(&m, &p);
    }
    assert_int_equal(err, PAG_OK);
    assert_true(pag_span_eq_str(p.topic, "b"));
    static const uint8_t ack[] = { 0x40, 2, 0, 3 };
    assert_memory_equal(l.out + l.out_n - 4, ack, 4);
}

static void a_refused_login_closes_the_session(void **state)
{
    (void)state;
    static const uint8_t in[] = { 0x20, 2, 0, 5 };
    struct line l = { .in = in, .in_n = sizeof in };
    struct pag_port port = port_of(&l);
    struct pag_mqttc m;
    struct pag_mqttc_packet p;
    connect_to(&m, &port);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_E_UNAUTHENTICATED);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_E_CLOSED);
}

static void a_silent_broker_is_pinged_and_then_given_up(void **state)
{
    (void)state;
    static const uint8_t in[] = { 0x20, 2, 0, 0 };
    struct line l = { .in = in, .in_n = sizeof in };
    struct pag_port port = port_of(&l);
    struct pag_mqttc m;
    struct pag_mqttc_packet p;
    connect_to(&m, &port);
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_OK);
    l.now_ms = 6000;
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_E_AGAIN);
    assert_int_equal(l.out[l.out_n - 2], 0xC0);
    l.now_ms = 15001;
    assert_int_equal(pag_mqttc_step(&m, &p), PAG_E_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_gives_status_length_and_range),
        cmocka_unit_test(an_interim_reply_is_skipped),
        cmocka_unit_test(hostile_heads_are_refused),
        cmocka_unit_test(every_truncation_of_a_head_asks_for_more),
        cmocka_unit_test(endless_heads_are_cut_off),
        cmocka_unit_test(a_publish_gives_topic_payload_and_id),
        cmocka_unit_test(hostile_packets_are_refused),
        cmocka_unit_test(a_session_connects_and_acknowledges_what_it_gets),
        cmocka_unit_test(a_message_too_large_is_skipped_and_the_next_one_read),
        cmocka_unit_test(a_refused_login_closes_the_session),
        cmocka_unit_test(a_silent_broker_is_pinged_and_then_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
