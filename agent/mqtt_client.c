#include "agent/mqtt_client.h"

#include "core/bytes.h"
#include "core/mem.h"

enum { CONNECT = 0x10, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, PINGREQ = 0xC0, DISCONNECT = 0xE0 };
enum { HEAD_MAX = 5, LENGTH_MAX = 268435455 };

/* ---- reading ---- */

enum pag_err pag_mqttc_length(struct pag_span head, uint32_t *total)
{
    uint32_t v = 0;
    uint32_t i = 1;
    for (; i < HEAD_MAX && i < head.n; i++) {
        v |= (uint32_t)(head.p[i] & 0x7F) << (7 * (i - 1));
        if ((head.p[i] & 0x80) == 0) {
            break;
        }
    }
    if (i >= HEAD_MAX) {
        return PAG_E_SYNTAX;
    }
    if (i >= head.n) {
        return PAG_E_SHORT;
    }
    /* Minimal form only (2.2.3 is silent, every broker does): a longer one hides something. */
    if (i > 1 && head.p[i] == 0) {
        return PAG_E_SYNTAX;
    }
    *total = v + i + 1;
    return PAG_OK;
}

static bool topic_ok(struct pag_span topic)
{
    for (size_t i = 0; i < topic.n; i++) {
        if (topic.p[i] == '+' || topic.p[i] == '#' || topic.p[i] < 0x20) {
            return false;
        }
    }
    return topic.n > 0 && pag_utf8_ok(topic);
}

static enum pag_err get_publish(uint8_t flags, struct pag_span body, struct pag_mqttc_packet *p)
{
    p->qos = (flags >> 1) & 3;
    p->dup = (flags & 8) != 0;
    p->retain = (flags & 1) != 0;
    size_t id_n = p->qos == 1 ? 2 : 0;
    if (p->qos > 1 || (p->qos == 0 && p->dup) || body.n < 2) {
        return PAG_E_SYNTAX;
    }
    size_t topic_n = pag_u16be(body.p);
    if (body.n - 2 < topic_n + id_n) {
        return PAG_E_SYNTAX;
    }
    p->topic = pag_span_of(body.p + 2, topic_n);
    if (!topic_ok(p->topic)) {
        return PAG_E_SYNTAX;
    }
    if (id_n != 0) {
        p->id = pag_u16be(body.p + 2 + topic_n);
        if (p->id == 0) {
            return PAG_E_SYNTAX;
        }
    }
    size_t at = 2 + topic_n + id_n;
    p->payload = pag_span_of(body.p + at, body.n - at);
    return PAG_OK;
}

static enum pag_err get_suback(struct pag_span body, struct pag_mqttc_packet *p)
{
    if (body.n < 3) {
        return PAG_E_SYNTAX;
    }
    p->id = pag_u16be(body.p);
    for (size_t i = 2; i < body.n; i++) {
        if (body.p[i] > 2 && body.p[i] != 0x80) {
            return PAG_E_SYNTAX;
        }
        p->code |= body.p[i] & 0x80;
    }
    return PAG_OK;
}

static enum pag_err get_body(uint8_t head, struct pag_span body, struct pag_mqttc_packet *p)
{
    p->type = head >> 4;
    uint8_t flags = head & 0x0F;
    if (p->type == PAG_MQTTC_PUBLISH) {
        return get_publish(flags, body, p);
    }
    if (flags != 0) {
        return PAG_E_SYNTAX;
    }
    if (p->type == PAG_MQTTC_CONNACK && body.n == 2 && body.p[0] <= 1) {
        p->code = body.p[1];
        return PAG_OK;
    }
    if (p->type == PAG_MQTTC_PUBACK && body.n == 2) {
        p->id = pag_u16be(body.p);
        return PAG_OK;
    }
    if (p->type == PAG_MQTTC_SUBACK) {
        return get_suback(body, p);
    }
    return p->type == PAG_MQTTC_PINGRESP && body.n == 0 ? PAG_OK : PAG_E_SYNTAX;
}

enum pag_err pag_mqttc_packet_get(struct pag_span in, struct pag_mqttc_packet *out)
{
    uint32_t total = 0;
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_mqttc_length(in, &total);
    if (err != PAG_OK || total != in.n) {
        return PAG_E_SYNTAX;
    }
    size_t head_n = 2;
    while ((in.p[head_n - 1] & 0x80) != 0) {
        head_n++;
    }
    err = get_body(in.p[0], pag_span_of(in.p + head_n, in.n - head_n), out);
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

/* ---- writing ---- */

static void put_u16(struct pag_buf *b, size_t v)
{
    b->p[b->n++] = (uint8_t)(v >> 8);
    b->p[b->n++] = (uint8_t)v;
}

static void put_string(struct pag_buf *b, struct pag_span s)
{
    put_u16(b, s.n);
    (void)pag_buf_put(b, s); /* begin() has made room */
}

/* Begins a packet in tx, whose body will have n bytes. PAG_E_RANGE when it does not fit. */
static enum pag_err begin(struct pag_mqttc *m, uint8_t head, size_t n, struct pag_buf *b)
{
    if (n > PAG_MQTTC_TX - HEAD_MAX) {
        return PAG_E_RANGE;
    }
    *b = (struct pag_buf){ m->tx, 0, sizeof m->tx };
    b->p[b->n++] = head;
    if (n >= 0x80) {
        b->p[b->n++] = (uint8_t)(0x80 | (n & 0x7F));
    }
    b->p[b->n++] = (uint8_t)(n >= 0x80 ? n >> 7 : n);
    return PAG_OK;
}

static void queued(struct pag_mqttc *m, const struct pag_buf *b)
{
    m->tx_n = (uint16_t)b->n;
    m->tx_at = 0;
}

static uint32_t now(const struct pag_mqttc *m)
{
    return m->port->now_ms(m->port->ctx);
}

static enum pag_err flush(struct pag_mqttc *m)
{
    while (m->tx_at < m->tx_n) {
        size_t n = (size_t)(m->tx_n - m->tx_at);
        size_t room = n;
        enum pag_err err = m->port->net.write(m->port->ctx, &m->conn, m->tx + m->tx_at, &n);
        if (err != PAG_OK) {
            return err;
        }
        if (n == 0 || n > room) {
            return PAG_E_INTERNAL;
        }
        m->tx_at = (uint16_t)(m->tx_at + n);
        m->last_tx_ms = now(m);
    }
    m->tx_n = 0;
    m->tx_at = 0;
    return PAG_OK;
}

/* Sends a packet that fits in one go, later if the line is slow. */
static enum pag_err send_now(struct pag_mqttc *m, const struct pag_buf *b)
{
    queued(m, b);
    enum pag_err err = flush(m);
    return err == PAG_E_AGAIN ? PAG_OK : err;
}

static enum pag_err put_connect(struct pag_mqttc *m, const struct pag_mqttc_login *login)
{
    static const uint8_t name[] = { 0, 4, 'M', 'Q', 'T', 'T', 4 };
    struct pag_span id = pag_span_str(login->client_id);
    struct pag_span topic = pag_span_str(login->will_topic);
    struct pag_buf b;
    enum pag_err err = begin(m, CONNECT, sizeof name + 3 + 2 + id.n + 2 + topic.n + 2 + login->will.n, &b);
    if (err != PAG_OK) {
        return err;
    }
    memcpy(b.p + b.n, name, sizeof name);
    b.n += sizeof name;
    b.p[b.n++] = 0x20 | 0x08 | 0x04 | 0x02; /* will retained, QoS 1; clean session (3.1.2.3) */
    put_u16(&b, login->keepalive_s);
    put_string(&b, id);
    put_string(&b, topic);
    put_string(&b, login->will);
    queued(m, &b);
    return PAG_OK;
}

/* ---- session ---- */

void pag_mqttc_init(struct pag_mqttc *m, const struct pag_port *port)
{
    memset(m, 0, sizeof *m);
    m->port = port;
}

enum pag_err pag_mqttc_open(struct pag_mqttc *m, const struct pag_mqttc_login *login,
                            const struct pag_net_trust *trust)
{
    pag_mqttc_close(m, false);
    enum pag_err err = put_connect(m, login);
    if (err != PAG_OK) {
        return err;
    }
    err = m->port->net.open(m->port->ctx, login->host, login->port, trust, &m->conn);
    if (err != PAG_OK) {
        return err;
    }
    m->open = true;
    m->keepalive_s = login->keepalive_s;
    m->last_rx_ms = now(m);
    m->last_tx_ms = m->last_rx_ms;
    return PAG_OK;
}

/* How many bytes are still to be read of the packet in rx; 0: it is whole, or larger than rx. */
static enum pag_err missing(const struct pag_mqttc *m, uint32_t *total, size_t *want)
{
    enum pag_err err = pag_mqttc_length(pag_span_of(m->rx, m->rx_n), total);
    if (err == PAG_E_SHORT) {
        *want = m->rx_n < 2 ? (size_t)(2 - m->rx_n) : 1;
        return PAG_OK;
    }
    if (err == PAG_OK) {
        size_t room = *total < sizeof m->rx ? *total : sizeof m->rx;
        *want = room - m->rx_n;
    }
    return err;
}

static enum pag_err read_more(struct pag_mqttc *m, size_t want)
{
    size_t n = want;
    enum pag_err err = m->port->net.read(m->port->ctx, &m->conn, m->rx + m->rx_n, &n);
    if (err != PAG_OK) {
        return err;
    }
    if (n == 0 || n > want) {
        return PAG_E_INTERNAL;
    }
    m->rx_n = (uint16_t)(m->rx_n + n);
    m->last_rx_ms = now(m);
    return PAG_OK;
}

/* Reads until one packet is whole in rx. PAG_E_AGAIN while it is not. */
static enum pag_err fill(struct pag_mqttc *m, uint32_t *total)
{
    size_t want = 0;
    enum pag_err err = missing(m, total, &want);
    while (err == PAG_OK && want > 0) { /* at most one read a byte of rx */
        err = read_more(m, want);
        err = err == PAG_OK ? missing(m, total, &want) : err;
    }
    return err;
}

static enum pag_err skip_rest(struct pag_mqttc *m)
{
    size_t want = m->skip < sizeof m->rx ? m->skip : sizeof m->rx;
    size_t n = want;
    enum pag_err err = m->port->net.read(m->port->ctx, &m->conn, m->rx, &n);
    if (err != PAG_OK) {
        return err;
    }
    if (n == 0 || n > want) {
        return PAG_E_INTERNAL;
    }
    m->skip -= (uint32_t)n;
    m->last_rx_ms = now(m);
    return PAG_E_AGAIN;
}

static enum pag_err acknowledge(struct pag_mqttc *m, uint16_t id)
{
    struct pag_buf b;
    enum pag_err err = begin(m, PUBACK, 2, &b);
    if (err != PAG_OK) {
        return err;
    }
    put_u16(&b, id);
    return send_now(m, &b);
}

/* A PUBLISH larger than rx: its id lies in what was read, if the topic is not absurd. */
static enum pag_err skip_large(struct pag_mqttc *m, uint32_t total)
{
    size_t head_n = 2;
    while ((m->rx[head_n - 1] & 0x80) != 0) {
        head_n++;
    }
    size_t topic_n = pag_u16be(m->rx + head_n);
    if (m->rx[0] >> 4 != PAG_MQTTC_PUBLISH || (m->rx[0] & 0x06) > 2 || head_n + 4 + topic_n > sizeof m->rx) {
        return PAG_E_SYNTAX;
    }
    uint16_t id = (m->rx[0] & 2) != 0 ? pag_u16be(m->rx + head_n + 2 + topic_n) : 0;
    m->skip = total - (uint32_t)sizeof m->rx;
    m->rx_n = 0;
    enum pag_err err = id != 0 ? acknowledge(m, id) : PAG_OK;
    return err == PAG_OK ? PAG_E_AGAIN : err;
}

static enum pag_err read_packet(struct pag_mqttc *m, struct pag_mqttc_packet *got)
{
    uint32_t total = 0;
    enum pag_err err = m->skip > 0 ? skip_rest(m) : fill(m, &total);
    if (err != PAG_OK) {
        return err;
    }
    if (total > sizeof m->rx) {
        return skip_large(m, total);
    }
    err = pag_mqttc_packet_get(pag_span_of(m->rx, total), got);
    m->rx_n = 0; /* the bytes stay in rx until the next call */
    if (err != PAG_OK) {
        return err;
    }
    if (!m->up) {
        if (got->type != PAG_MQTTC_CONNACK) {
            return PAG_E_SYNTAX;
        }
        m->up = got->code == 0;
        return m->up ? PAG_OK : PAG_E_UNAUTHENTICATED;
    }
    if (got->type == PAG_MQTTC_CONNACK) {
        return PAG_E_SYNTAX;
    }
    if (got->type == PAG_MQTTC_PINGRESP) {
        m->ping_out = false;
    }
    return got->type == PAG_MQTTC_PUBLISH && got->qos == 1 ? acknowledge(m, got->id) : PAG_OK;
}

static enum pag_err keep_alive(struct pag_mqttc *m)
{
    uint32_t alive_ms = (uint32_t)m->keepalive_s * 1000;
    if (alive_ms == 0) {
        return PAG_OK;
    }
    if (now(m) - m->last_rx_ms > alive_ms + alive_ms / 2) {
        return PAG_E_TIMEOUT;
    }
    bool quiet = now(m) - m->last_tx_ms > alive_ms / 2 || now(m) - m->last_rx_ms > alive_ms / 2;
    if (!m->up || m->tx_n > 0 || m->ping_out || !quiet) {
        return PAG_OK;
    }
    struct pag_buf b;
    enum pag_err err = begin(m, PINGREQ, 0, &b);
    m->ping_out = true;
    return err == PAG_OK ? send_now(m, &b) : err;
}

static enum pag_err step(struct pag_mqttc *m, struct pag_mqttc_packet *got)
{
    enum pag_err err = keep_alive(m);
    if (err != PAG_OK) {
        return err;
    }
    if (!m->ready) {
        err = m->port->net.ready(m->port->ctx, &m->conn);
        if (err != PAG_OK) {
            return err;
        }
        m->ready = true;
    }
    /* Nothing is read while something is being written, so that an acknowledgement always has room. */
    err = flush(m);
    return err == PAG_OK ? read_packet(m, got) : err;
}

enum pag_err pag_mqttc_step(struct pag_mqttc *m, struct pag_mqttc_packet *got)
{
    if (!m->open) {
        return PAG_E_CLOSED;
    }
    enum pag_err err = step(m, got);
    if (err != PAG_OK && err != PAG_E_AGAIN) {
        pag_mqttc_close(m, false);
    }
    return err;
}

static enum pag_err may_send(const struct pag_mqttc *m)
{
    if (!m->up) {
        return PAG_E_CLOSED;
    }
    return m->tx_n > 0 ? PAG_E_BUSY : PAG_OK;
}

static uint16_t new_id(struct pag_mqttc *m)
{
    m->next_id = m->next_id == UINT16_MAX ? 1 : (uint16_t)(m->next_id + 1);
    return m->next_id;
}

struct pag_buf pag_mqttc_room(struct pag_mqttc *m, size_t topic_n)
{
    size_t at = HEAD_MAX + 2 + topic_n + 2; /* topic with its length, packet id */
    if (m->tx_n > 0 || at > sizeof m->tx) {
        return (struct pag_buf){ m->tx, 0, 0 };
    }
    return (struct pag_buf){ m->tx + at, 0, sizeof m->tx - at };
}

enum pag_err pag_mqttc_publish(struct pag_mqttc *m, struct pag_span topic, struct pag_span payload,
                               uint8_t qos, bool retain, uint16_t *id)
{
    struct pag_buf b;
    enum pag_err err = may_send(m);
    if (err == PAG_OK && (!topic_ok(topic) || qos > 1)) {
        err = PAG_E_RANGE;
    }
    if (err == PAG_OK) {
        uint8_t head = (uint8_t)(PUBLISH | qos << 1 | (retain ? 1 : 0));
        err = begin(m, head, 2 + topic.n + (qos > 0 ? 2 : 0) + payload.n, &b);
    }
    if (err != PAG_OK) {
        return err;
    }
    put_string(&b, topic);
    *id = 0;
    if (qos > 0) {
        *id = new_id(m);
        put_u16(&b, *id);
    }
    if (payload.n > 0) { /* begin() has made room; payload may lie further on in tx */
        memmove(b.p + b.n, payload.p, payload.n);
        b.n += payload.n;
    }
    return send_now(m, &b);
}

enum pag_err pag_mqttc_subscribe(struct pag_mqttc *m, struct pag_span filter, uint8_t qos)
{
    struct pag_buf b;
    enum pag_err err = may_send(m);
    if (err == PAG_OK) {
        err = begin(m, SUBSCRIBE, 2 + 2 + filter.n + 1, &b);
    }
    if (err != PAG_OK) {
        return err;
    }
    put_u16(&b, new_id(m));
    put_string(&b, filter);
    b.p[b.n++] = qos;
    return send_now(m, &b);
}

void pag_mqttc_close(struct pag_mqttc *m, bool goodbye)
{
    const struct pag_port *port = m->port;
    if (m->open) {
        struct pag_buf b;
        if (goodbye && m->up && m->tx_n == 0 && begin(m, DISCONNECT, 0, &b) == PAG_OK) {
            (void)send_now(m, &b);
        }
        port->net.close(port->ctx, &m->conn);
    }
    uint16_t next_id = m->next_id;
    pag_mqttc_init(m, port);
    m->next_id = next_id;
}

bool pag_mqttc_idle(const struct pag_mqttc *m)
{
    return m->up && m->tx_n == 0;
}
