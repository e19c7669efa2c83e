#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/client.h"
#include "sim/said.h"

/*
 * MQTT of clients: readings on the topics of native v1, or what the firmware has always said. Its own CONNECT
 * where it differs from the agent's: will, user, password.
 */

enum { RETRY_MS = 2000 };

/* ---- CONNECT ---- */

static void put_field(struct pag_buf *out, struct pag_span s)
{
    (void)pag_buf_put_u8(out, (uint8_t)(s.n >> 8));
    (void)pag_buf_put_u8(out, (uint8_t)s.n);
    (void)pag_buf_put(out, s);
}

/* Replaces the CONNECT that pag_mqttc_open has written and not yet sent. */
static enum pag_err replace_connect(struct pag_mqttc *m, const char *id, const struct pag_sim_said *s)
{
    enum { CLEAN = 2, WILL = 4, WILL_RETAIN = 32, PASSWORD = 64, USER = 128, SHORT_MAX = 127 };
    uint8_t room[PAG_MQTTC_TX];
    struct pag_buf body = { room, 0, sizeof(room) };
    put_field(&body, pag_span_str("MQTT"));
    (void)pag_buf_put_u8(&body, 4);
    (void)pag_buf_put_u8(&body, (uint8_t)(CLEAN | WILL | (s->will_retained ? WILL_RETAIN : 0) |
                                          (s->user != NULL ? USER | PASSWORD : 0)));
    (void)pag_buf_put_u8(&body, 0);
    (void)pag_buf_put_u8(&body, s->keepalive_s);
    put_field(&body, pag_span_str(id));
    put_field(&body, pag_span_str(s->will_topic));
    put_field(&body, pag_span_str(s->will));
    if (s->user != NULL) {
        put_field(&body, pag_span_str(s->user->name));
        put_field(&body, pag_span_str(s->user->password));
    }
    struct pag_buf out = { m->tx, 0, sizeof(m->tx) };
    (void)pag_buf_put_u8(&out, 0x10);
    if (body.n > SHORT_MAX) {
        (void)pag_buf_put_u8(&out, (uint8_t)(0x80 | (body.n & SHORT_MAX)));
    }
    (void)pag_buf_put_u8(&out, (uint8_t)(body.n > SHORT_MAX ? body.n >> 7 : body.n));
    const enum pag_err err = pag_buf_put(&out, pag_buf_span(&body));
    m->tx_n = (uint16_t)out.n;
    m->tx_at = 0;
    return err;
}

static void open_link(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    struct pag_sim_said said;
    pag_sim_said_of(d, &said);
    const struct pag_mqttc_login login = { .host = said.host,
                                           .port = said.port,
                                           .client_id = said.client_id,
                                           .will_topic = said.will_topic,
                                           .will = pag_span_str(said.will),
                                           .keepalive_s = said.keepalive_s };
    const struct pag_net_trust trust = pag_sim_client_trust(d);
    enum pag_err err = pag_mqttc_open(&c->mqtt, &login, said.plain ? NULL : &trust);
    if (err == PAG_OK && said.own_connect) {
        err = replace_connect(&c->mqtt, said.client_id, &said);
    }
    c->mqtt_open = err == PAG_OK;
    c->subscribed = false;
    c->mqtt_due_ms = pag_sim_client_now(d) + RETRY_MS;
}

/* ---- while it is up ---- */

static bool says_nothing(const struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    const bool reachable = d->user != NULL ? d->world->options->mqtt_at.host[0] != '\0'
                                           : c->certificate_n > 0 && c->mqtt_port != 0;
    /* One TLS connection at a time. */
    const bool busy = c->phase == PAG_SIM_PHASE_FETCH && d->who->one_tls && !pag_sim_client_is_plain(d);
    return !reachable || busy || c->phase == PAG_SIM_PHASE_RESTART || c->phase == PAG_SIM_PHASE_ENROLL ||
           c->phase == PAG_SIM_PHASE_DEAD;
}

static void say(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    struct pag_sim_said said;
    pag_sim_said_of(d, &said);
    if (!c->subscribed && said.filter[0] != '\0') {
        c->subscribed = pag_mqttc_subscribe(&c->mqtt, pag_span_str(said.filter), 0) == PAG_OK;
        c->up_since_ms = pag_sim_client_now(d);
        c->to_say |= PAG_SIM_SAY_ONLINE | PAG_SIM_SAY_DISCOVERY;
        return;
    }
    const bool urgent = said.announces && c->to_say != 0;
    if ((!urgent && pag_sim_client_now(d) < c->reading_due_ms) || !pag_mqttc_idle(&c->mqtt)) {
        return;
    }
    char topic[PAG_DEVICE_ID_MAX + 48];
    char text[PAG_SIM_SAID_MAX];
    uint16_t id = 0;
    const bool retained = pag_sim_said_next(d, topic, sizeof(topic), text, sizeof(text));
    if (pag_mqttc_publish(&c->mqtt, pag_span_str(topic), pag_span_str(text), 0, retained, &id) == PAG_OK &&
        !urgent) {
        pag_sim_device_reading(d);
        if (c->script->told != NULL) {
            c->script->told(d);
        }
        c->reading_due_ms = pag_sim_client_now(d) + d->world->options->reading_ms;
    }
}

void pag_sim_link_step(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (says_nothing(d)) {
        return;
    }
    if (!c->mqtt_open) {
        if (pag_sim_client_now(d) >= c->mqtt_due_ms) {
            open_link(d);
        }
        return;
    }
    struct pag_mqttc_packet got;
    const enum pag_err err = pag_mqttc_step(&c->mqtt, &got);
    if (err != PAG_OK && err != PAG_E_AGAIN) {
        c->mqtt_open = false;
        c->mqtt_due_ms = pag_sim_client_now(d) + RETRY_MS;
        pag_sim_device_error(d, err, "MQTT session ended");
        return;
    }
    if (err == PAG_OK && got.type == PAG_MQTTC_PUBLISH && c->script->message != NULL) {
        c->script->message(d, &got);
    } else if (c->mqtt.up) {
        say(d);
    }
}

void pag_sim_link_close(struct pag_sim_device *d, bool goodbye)
{
    struct pag_sim_client *c = d->body;
    pag_mqttc_close(&c->mqtt, goodbye);
    c->mqtt_open = false;
    c->mqtt_due_ms = pag_sim_client_now(d);
}
