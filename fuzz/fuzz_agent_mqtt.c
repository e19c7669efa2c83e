/* A broker's bytes: packets read alone, and a whole session over a line that hands them out in pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/mqtt_client.h"
#include "core/bytes.h"

struct line {
    struct pag_span in;
    size_t at;
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
    size_t have = l->in.n - l->at;
    if (have == 0) {
        return PAG_E_CLOSED;
    }
    size_t piece = 1 + l->at % 50;
    *n = *n < have ? *n : have;
    *n = *n < piece ? *n : piece;
    memcpy(out, l->in.p + l->at, *n);
    l->at += *n;
    return PAG_OK;
}

static enum pag_err line_write(void *ctx, struct pag_conn *c, const uint8_t *data, size_t *n)
{
    (void)ctx;
    (void)c;
    (void)data;
    *n = *n < 9 ? *n : 9;
    return PAG_OK;
}

static void line_close(void *ctx, struct pag_conn *c)
{
    (void)ctx;
    c->p = NULL;
}

static uint32_t line_now(void *ctx)
{
    (void)ctx;
    return 0;
}

static void run_session(struct pag_span in)
{
    struct line l = { .in = in };
    const struct pag_port port = { .ctx = &l,
                                   .net = { line_open, line_ready, line_read, line_write, line_close },
                                   .now_ms = line_now };
    struct pag_mqttc m;
    struct pag_mqttc_packet p;
    const struct pag_mqttc_login login = {
        .host = "h", .client_id = "d", .will_topic = "w", .will = pag_span_str("offline"), .keepalive_s = 60
    };
    pag_mqttc_init(&m, &port);
    if (pag_mqttc_open(&m, &login, NULL) != PAG_OK) {
        abort();
    }
    for (size_t i = 0; i <= in.n + 2; i++) {
        enum pag_err err = pag_mqttc_step(&m, &p);
        if (err == PAG_OK && p.payload.n > 0 &&
            (p.payload.p < m.rx || p.payload.p + p.payload.n > m.rx + sizeof m.rx)) {
            abort();
        }
        if (err != PAG_OK && err != PAG_E_AGAIN) {
            return;
        }
    }
    abort(); /* a session over a finite line ends */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_mqttc_packet p;
    struct pag_span in = pag_span_of(data, size);
    if (pag_mqttc_packet_get(in, &p) == PAG_OK && p.topic.n + p.payload.n > size) {
        abort();
    }
    run_session(in);
    return 0;
}
