#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

/*
 * The one MQTT session of device and application. Topics: docs/spec/native.md. Commands are only hints or
 * small orders; nothing here decides what is installed.
 */

enum { IDLE_MS = 1000, SOON_MS = 20, TOPIC_ROOM = 128 };

/* room is written through the buffer */
static struct pag_span topic_of(const struct pag_inner *a, const char *rest,
                                uint8_t room[TOPIC_ROOM]) /* NOLINT(readability-non-const-parameter) */
{
    struct pag_buf b = { room, 0, TOPIC_ROOM };
    (void)pag_buf_put_str(&b, "pg/v1/d/");
    (void)pag_buf_put_str(&b, a->id);
    (void)pag_buf_put_str(&b, rest);
    return pag_buf_span(&b);
}

/* ---- connecting ---- */

static void wait_before_next(struct pag_inner *a)
{
    uint32_t s = 1;
    uint32_t max_s = a->set->backoff_max_s < 300 ? a->set->backoff_max_s : 300;
    for (uint8_t i = 0; i < a->session_fails && s < max_s; i++) {
        s *= 2;
    }
    if (a->session_fails < 16) {
        a->session_fails++;
    }
    uint32_t ms = pag_in_ms(s < max_s ? s : max_s);
    a->session_ms = a->now_ms;
    a->session_after = ms / 2 + pag_in_random(a, ms / 2 + 1);
}

static void lost(struct pag_inner *a, enum pag_err err)
{
    pag_in_log(a, "mqtt.down", pag_err_word(err), err);
    pag_mqttc_close(&a->mqtt, false);
    a->online_sent = false;
    a->sub_next = 0;
    a->result.packet = 0;
    wait_before_next(a);
}

static uint32_t connect_when_due(struct pag_inner *a)
{
    uint32_t waited = a->now_ms - a->session_ms;
    if (waited < a->session_after) {
        return a->session_after - waited;
    }
    if (!pag_in_tail_free(a)) {
        return SOON_MS; /* scratch is in use; the identity is read into it */
    }
    uint8_t room[TOPIC_ROOM];
    struct pag_span will = topic_of(a, "/will", room);
    room[will.n < TOPIC_ROOM ? will.n : TOPIC_ROOM - 1] = 0;
    struct pag_mqttc_login login = {
        .host = a->mqtt_host,
        .port = a->mqtt_port,
        .client_id = a->id,
        .will_topic = (const char *)room,
        .will = pag_span_str("offline"),
        .keepalive_s = a->set->keepalive_s,
    };
    struct pag_net_trust trust;
    enum pag_err err = pag_in_trust_of(a, &trust);
    if (err == PAG_OK) {
        err = pag_mqttc_open(&a->mqtt, &login, &trust);
    }
    if (err != PAG_OK) {
        lost(a, err);
    }
    return SOON_MS;
}

/* ---- receiving ---- */

static void take_message(struct pag_inner *a, const struct pag_mqttc_packet *p)
{
    uint8_t room[TOPIC_ROOM];
    struct pag_native_command c;
    a->fig.received++;
    if (pag_span_eq(p->topic, topic_of(a, "/cmd", room))) {
        /* Retained commands are old ones: never obeyed (security B7). */
        if (p->retain || pag_native_command_get(p->payload, &c) != PAG_OK) {
            a->fig.receive_drops++;
            pag_in_log(a, "mqtt.command_dropped", p->retain ? "retained" : "not a command", 0);
            return;
        }
        pag_in_command(a, &c);
        return;
    }
    if (a->hooks != NULL && a->hooks->on_message != NULL) {
        a->hooks->on_message(a->hooks_ctx, p->topic, p->payload);
    }
}

static void take_packet(struct pag_inner *a, const struct pag_mqttc_packet *p)
{
    if (p->type == PAG_MQTTC_CONNACK) {
        a->fig.mqtt_connects++;
        a->sub_next = 0;
        a->up_ms = a->now_ms;
        pag_in_contact(a);
        pag_in_log(a, "mqtt.up", a->mqtt_host, a->mqtt_port);
    } else if (p->type == PAG_MQTTC_PUBLISH) {
        take_message(a, p);
    } else if (p->type == PAG_MQTTC_SUBACK && p->code != 0) {
        pag_in_log(a, "mqtt.subscribe_refused", NULL, p->id);
    } else if (p->type == PAG_MQTTC_PUBACK && a->result.has && p->id == a->result.packet) {
        a->result.has = false;
    }
}

/* ---- sending: one packet a step, in this order ---- */

static bool send_subscription(struct pag_inner *a)
{
    uint8_t room[TOPIC_ROOM];
    if (a->sub_next > a->sub_n) {
        return false;
    }
    struct pag_span filter =
        a->sub_next == 0 ? topic_of(a, "/cmd", room) : pag_span_str(a->sub[a->sub_next - 1]);
    a->sub_next++;
    (void)pag_mqttc_subscribe(&a->mqtt, filter, 1);
    return true;
}

static bool send_online(struct pag_inner *a)
{
    uint8_t room[TOPIC_ROOM];
    uint16_t id = 0;
    if (a->online_sent) {
        return false;
    }
    a->online_sent = true;
    a->session_fails = 0;
    a->status_ms = a->now_ms - pag_in_ms(a->set->status_s); /* status follows at once */
    (void)pag_mqttc_publish(&a->mqtt, topic_of(a, "/will", room), pag_span_str("online"), 1, true, &id);
    return true;
}

static bool send_result(struct pag_inner *a)
{
    uint8_t room[TOPIC_ROOM];
    if (!a->result.has || a->result.packet != 0) {
        return false;
    }
    struct pag_span topic = topic_of(a, "/up/result", room);
    struct pag_buf b = pag_mqttc_room(&a->mqtt, topic.n);
    struct pag_native_result m = { a->result.id, a->result.code,
                                   pag_span_of(a->result.text, a->result.text_n) };
    if (pag_native_result_put(&b, &m) != PAG_OK) {
        a->result.has = false;
        return false;
    }
    return pag_mqttc_publish(&a->mqtt, topic, pag_buf_span(&b), 1, false, &a->result.packet) == PAG_OK;
}

static bool send_status(struct pag_inner *a)
{
    uint8_t room[TOPIC_ROOM];
    uint16_t id = 0;
    if (a->set->status_s == 0 || !pag_in_passed(a, a->status_ms, pag_in_ms(a->set->status_s))) {
        return false;
    }
    a->status_ms = a->now_ms;
    struct pag_span topic = topic_of(a, "/up/status", room);
    struct pag_buf b = pag_mqttc_room(&a->mqtt, topic.n);
    if (pag_in_status_put(a, &b) != PAG_OK) {
        return false;
    }
    (void)pag_mqttc_publish(&a->mqtt, topic, pag_buf_span(&b), 0, false, &id);
    return true;
}

uint32_t pag_in_session(struct pag_inner *a)
{
    struct pag_mqttc_packet p;
    if (!a->enrolled || a->set->mqtt_off || a->state == PAG_AGENT_REBOOT || a->state == PAG_AGENT_START) {
        return IDLE_MS;
    }
    if (!a->mqtt.open) {
        return connect_when_due(a);
    }
    enum pag_err err = pag_mqttc_step(&a->mqtt, &p);
    if (err == PAG_OK) {
        take_packet(a, &p);
        return 0;
    }
    if (err != PAG_E_AGAIN) {
        lost(a, err);
        return SOON_MS;
    }
    if (!a->mqtt.up) {
        /* the client reads the clock itself, later than this step began */
        if (a->port->now_ms(a->port->ctx) - a->mqtt.last_tx_ms >= pag_in_ms(a->set->io_timeout_s)) {
            lost(a, PAG_E_TIMEOUT);
        }
        return SOON_MS;
    }
    if (!pag_mqttc_idle(&a->mqtt)) {
        return SOON_MS;
    }
    bool sent = send_subscription(a) || send_online(a) || send_result(a) || send_status(a);
    return sent ? 0 : SOON_MS * 2;
}

void pag_in_session_close(struct pag_inner *a)
{
    pag_mqttc_close(&a->mqtt, false); /* without DISCONNECT: the broker says "offline" for us */
    a->online_sent = false;
}
