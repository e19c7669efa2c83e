#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/http_client.h"
#include "agent/mqtt_client.h"
#include "core/bytes.h"
#include "core/native.h"
#include "sim/board.h"
#include "sim/httpupdate.h"
#include "sim/saved.h"

/*
 * A device whose sketch uses ESP8266httpUpdate and a plain MQTT client: enrols once for a certificate, asks
 * every poll_s, installs what it gets without asking why, and restarts. Slot B of its flash is where the
 * Arduino core stages; eboot copies it over slot A.
 */

enum {
    REQUEST_MAX = 1024,
    DER_MAX = 2048,
    STEP_MS = 200,
    RESTART_MS = 1500,
    STALL_MS = 60000, /* the library's own, core 3.0 */
    KEEPALIVE_S = 30,
    MQTT_RETRY_MS = 2000,
    CHIP_BYTES = 4 << 20,
};

enum phase {
    LEGACY_ENROLL,
    LEGACY_IDLE,
    LEGACY_SEND,
    LEGACY_HEAD,
    LEGACY_BODY,
    LEGACY_RESTART,
    LEGACY_PHASES
};

static const char *const phase_words[LEGACY_PHASES] = {
    "enroll", "idle", "ask", "ask", "download", "restart"
};

struct legacy {
    struct pag_port port;
    enum phase phase;
    bool open;       /* conn, or http while enrolling */
    bool asked;      /* the enrolment was sent */
    bool to_confirm; /* restarted into another sketch; the server has not seen it yet */
    bool mqtt_open;
    uint64_t due_ms; /* of the phase: next poll, end of a stall, end of a restart */
    struct pag_conn conn;
    uint8_t wire[PAG_SIM_UPDATE_HEAD_MAX]; /* request out, then head in */
    size_t wire_n, wire_at;
    uint8_t *body;
    struct pag_sim_update_head head;
    uint32_t body_n;
    uint32_t losses;
    uint8_t *old; /* of PAG_SIM_LOOP: the sketch that comes back again and again */
    uint32_t old_n;
    /* enrolment */
    struct pag_httpc http;
    uint8_t certificate[DER_MAX], key[DER_MAX];
    size_t certificate_n, key_n;
    /* readings */
    uint64_t mqtt_due_ms, reading_due_ms;
    char mqtt_host[PAG_DEVICE_ID_MAX];
    uint16_t mqtt_port;
    struct pag_mqttc mqtt;
};

static uint64_t now_of(const struct pag_sim_device *d)
{
    return pag_loop_now_ms(d->world->loop);
}

static void go(struct pag_sim_device *d, enum phase phase, uint32_t after_ms)
{
    struct legacy *l = d->body;
    l->phase = phase;
    l->due_ms = now_of(d) + after_ms;
    d->state = phase_words[phase];
}

static struct pag_net_trust trust_of(const struct pag_sim_device *d)
{
    const struct legacy *l = d->body;
    const struct pag_buf *ca = &d->world->options->ca;
    return (struct pag_net_trust){ .ca = pag_span_of(ca->p, ca->n),
                                   .certificate = pag_span_of(l->certificate, l->certificate_n),
                                   .key = pag_span_of(l->key, l->key_n) };
}

/* ---- enrolment: native v1's, with the claim ---- */

static enum pag_err put_enroll(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    const struct pag_sim_options *o = d->world->options;
    uint8_t csr_bytes[DER_MAX];
    uint8_t message[PAG_NATIVE_MAX];
    struct pag_buf csr = { csr_bytes, 0, sizeof(csr_bytes) };
    struct pag_buf key = { l->key, 0, sizeof(l->key) };
    struct pag_buf body = { message, 0, sizeof(message) };
    enum pag_err err = l->port.make_csr(d, d->id, &key, &csr);
    if (err != PAG_OK) {
        return err;
    }
    l->key_n = 0; /* the enrolment itself is made without */
    const struct pag_native_enroll m = { .claim = pag_span_str(o->claim),
                                         .csr = pag_buf_span(&csr),
                                         .mac = pag_span_str(d->mac),
                                         .chip = o->chip,
                                         .hardware = pag_span_str(o->hardware),
                                         .version = pag_span_str(d->now.version) };
    err = pag_native_enroll_put(&body, &m);
    const struct pag_httpc_request request = {
        .method = "POST", .path = "/v1/enroll", .host = o->host, .port = o->port, .body = pag_buf_span(&body)
    };
    struct pag_buf out = { l->wire, 0, sizeof(l->wire) };
    err = err == PAG_OK ? pag_httpc_request_put(&out, &request) : err;
    l->wire_n = out.n;
    if (err == PAG_OK) {
        l->key_n = key.n;
    }
    return err;
}

static enum pag_err take_enrolled(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    uint8_t *message = l->body + l->body_n;
    size_t n = PAG_NATIVE_MAX - l->body_n;
    enum pag_err err = PAG_OK;
    while ((err = pag_httpc_body(&l->http, message, &n)) == PAG_OK && n > 0) {
        l->body_n += (uint32_t)n;
        message = l->body + l->body_n;
        n = PAG_NATIVE_MAX - l->body_n;
    }
    struct pag_native_enrolled m;
    err = err == PAG_OK ? pag_native_enrolled_get(pag_span_of(l->body, l->body_n), &m) : err;
    if (err != PAG_OK || m.certificate.n > sizeof(l->certificate)) {
        return err != PAG_OK ? err : PAG_E_RANGE;
    }
    memcpy(l->certificate, m.certificate.p, m.certificate.n);
    l->certificate_n = m.certificate.n;
    l->mqtt_port = m.mqtt_port;
    if (pag_text_copy(d->id, sizeof(d->id), m.device_id) != PAG_OK ||
        pag_text_copy(l->mqtt_host, sizeof(l->mqtt_host), m.mqtt_host) != PAG_OK) {
        return PAG_E_RANGE;
    }
    return PAG_OK;
}

/* One step; PAG_E_AGAIN while it goes on. */
static enum pag_err enroll_step(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    const struct pag_sim_options *o = d->world->options;
    enum pag_err err = PAG_OK;
    if (!l->open) {
        struct pag_net_trust trust = trust_of(d);
        trust.certificate.n = trust.key.n = 0;
        err = put_enroll(d);
        err = err == PAG_OK ? pag_httpc_open(&l->http, o->host, o->port, &trust) : err;
        l->open = err == PAG_OK;
        l->asked = false;
        l->body_n = 0;
        if (err != PAG_OK) {
            return err;
        }
        l->body = malloc(PAG_NATIVE_MAX);
        if (l->body == NULL) {
            return PAG_E_NO_MEMORY;
        }
    }
    err = pag_httpc_ready(&l->http);
    if (err == PAG_OK && !l->asked) {
        err = pag_httpc_send(&l->http, pag_span_of(l->wire, l->wire_n));
        l->asked = err == PAG_OK;
    }
    struct pag_httpc_reply reply = { 0 };
    if (err == PAG_OK && !l->http.in_body) {
        err = pag_httpc_head(&l->http, &reply);
        if (err == PAG_OK && reply.status != 200) {
            pag_sim_device_error(d, PAG_E_DENIED, "enrolment was refused");
            err = PAG_E_DENIED;
        }
    }
    return err == PAG_OK ? take_enrolled(d) : err;
}

static void close_all(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    if (l->phase == LEGACY_ENROLL && l->open) {
        pag_httpc_close(&l->http);
    } else if (l->open) {
        l->port.net.close(d, &l->conn);
    }
    l->open = false;
    free(l->body);
    l->body = NULL;
    l->body_n = 0;
}

static void do_enroll(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    const enum pag_err err = enroll_step(d);
    if (err == PAG_E_AGAIN) {
        return;
    }
    close_all(d);
    if (err == PAG_OK) {
        d->reached = true;
        go(d, LEGACY_IDLE, pag_sim_random(d->world, d->world->options->poll_s * 1000));
        return;
    }
    l->certificate_n = l->key_n = 0;
    if (err != PAG_E_DENIED) { /* that has been noted */
        pag_sim_device_error(d, err, "enrolment failed");
    }
    go(d, LEGACY_ENROLL, d->world->options->backoff_s * 1000 + pag_sim_random(d->world, 1000));
}

/* ---- the update request ---- */

static void fail(struct pag_sim_device *d, enum pag_err err, const char *what, int code)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "%s (%d)", what, code);
    pag_sim_device_error(d, err, text);
    close_all(d);
    go(d, LEGACY_IDLE, d->world->options->poll_s * 1000);
}

static struct pag_sim_update_ask ask_of(const struct pag_sim_device *d, char path[96])
{
    const struct pag_sim_options *o = d->world->options;
    (void)snprintf(path, 96, "/update/%s", o->product);
    struct pag_sim_update_ask ask = { .host = o->legacy_host,
                                      .port = o->legacy_port,
                                      .path = o->legacy_path != NULL ? o->legacy_path : path,
                                      .running = &d->now,
                                      .free_space = o->slot_bytes,
                                      .chip_bytes = CHIP_BYTES };
    memcpy(ask.mac, d->mac, sizeof(ask.mac));
    return ask;
}

static void do_open(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    char path[96];
    const struct pag_sim_update_ask ask = ask_of(d, path);
    const struct pag_net_trust trust = trust_of(d);
    struct pag_buf out = { l->wire, 0, REQUEST_MAX };
    enum pag_err err = pag_sim_update_request(&out, &ask);
    if (err == PAG_OK) {
        err = l->port.net.open(d, ask.host, ask.port, d->world->options->legacy_plain ? NULL : &trust,
                               &l->conn);
    }
    if (err != PAG_OK) {
        fail(d, err, "cannot connect", -1);
        return;
    }
    l->open = true;
    l->wire_n = out.n;
    l->wire_at = 0;
    go(d, LEGACY_SEND, STALL_MS);
}

static void do_send(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    while (l->wire_at < l->wire_n) {
        size_t n = l->wire_n - l->wire_at;
        const enum pag_err err = l->port.net.write(d, &l->conn, l->wire + l->wire_at, &n);
        if (err == PAG_E_AGAIN) {
            return;
        }
        if (err != PAG_OK) {
            fail(d, err, "sending failed", -2);
            return;
        }
        l->wire_at += n;
    }
    l->wire_n = 0;
    go(d, LEGACY_HEAD, STALL_MS);
}

/* The sketch's connections are closed before the first byte is written, without a DISCONNECT. */
static void begin_download(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    pag_mqttc_close(&l->mqtt, false);
    l->mqtt_open = false;
    l->mqtt_due_ms = UINT64_MAX;
    d->downloads++;
    l->body = malloc(l->head.length);
    if (l->body == NULL) {
        fail(d, PAG_E_NO_MEMORY, "no memory", -8);
        return;
    }
    l->body_n = (uint32_t)(l->wire_n - l->head.bytes);
    l->body_n = l->body_n < l->head.length ? l->body_n : l->head.length;
    memcpy(l->body, l->wire + l->head.bytes, l->body_n);
    go(d, LEGACY_BODY, STALL_MS);
}

static void no_update(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    if (l->to_confirm) {
        l->to_confirm = false;
        pag_sim_device_outcome(d, PAG_SIM_CONFIRMED);
    } else if (l->losses > 0) {
        pag_sim_device_outcome(d, PAG_SIM_REVERTED); /* the server gave up */
    }
    close_all(d);
    go(d, LEGACY_IDLE, d->world->options->poll_s * 1000);
}

/* A reply that says that this is not its server, or that it may not have an update. */
static bool turned_away(enum pag_sim_update verdict)
{
    return verdict == PAG_SIM_UPDATE_NO_SERVER || verdict == PAG_SIM_UPDATE_NOT_FOUND ||
           verdict == PAG_SIM_UPDATE_FORBIDDEN || verdict == PAG_SIM_UPDATE_UNAUTHORIZED ||
           verdict == PAG_SIM_UPDATE_WRONG_CODE;
}

static void do_head(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    size_t n = sizeof(l->wire) - l->wire_n;
    const enum pag_err err = n > 0 ? l->port.net.read(d, &l->conn, l->wire + l->wire_n, &n) : PAG_E_LIMIT;
    if (err == PAG_E_AGAIN) {
        return;
    }
    if (err != PAG_OK) {
        fail(d, err, "no reply", -5);
        return;
    }
    l->wire_n += n;
    char path[96];
    const struct pag_sim_update_ask ask = ask_of(d, path);
    enum pag_sim_update verdict = PAG_SIM_UPDATE_GO;
    if (pag_sim_update_head(pag_span_of(l->wire, l->wire_n), &ask, &l->head, &verdict) == PAG_E_SHORT) {
        return;
    }
    d->reached = d->reached || !turned_away(verdict);
    if (verdict == PAG_SIM_UPDATE_GO) {
        begin_download(d);
    } else if (verdict == PAG_SIM_UPDATE_NONE) {
        no_update(d);
    } else {
        fail(d, PAG_E_DENIED, "update refused", (int)verdict);
    }
}

/* Update.end, then what eboot does after the restart: over the running sketch. */
static enum pag_sim_update install(struct pag_sim_device *d)
{
    const struct legacy *l = d->body;
    const struct pag_span body = pag_span_of(l->body, l->body_n);
    char path[96];
    const struct pag_sim_update_ask ask = ask_of(d, path);
    enum pag_sim_update verdict = pag_sim_update_peek(body.p, &ask);
    verdict = verdict == PAG_SIM_UPDATE_GO ? pag_sim_update_end(body, &l->head) : verdict;
    if (verdict != PAG_SIM_UPDATE_GO) {
        return verdict;
    }
    const bool written = pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_B, body) == PAG_OK &&
                         pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_A, body) == PAG_OK &&
                         pag_sim_flash_sketch(&d->flash, PAG_AREA_SLOT_A, &d->now) == PAG_OK;
    return written ? PAG_SIM_UPDATE_GO : PAG_SIM_UPDATE_ERROR_MAGIC;
}

/* The new sketch dies before it has said a word, and what boots at last is the old one, flashed again. */
static void lose_it(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    if (pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_A, pag_span_of(l->old, l->old_n)) == PAG_OK) {
        (void)pag_sim_flash_sketch(&d->flash, PAG_AREA_SLOT_A, &d->now);
        l->losses++;
    }
}

static void do_body(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    while (l->body_n < l->head.length) {
        size_t n = l->head.length - l->body_n;
        const enum pag_err err = l->port.net.read(d, &l->conn, l->body + l->body_n, &n);
        if (err == PAG_E_AGAIN) {
            return;
        }
        if (err != PAG_OK) {
            fail(d, err, "download broke off", 6);
            return;
        }
        l->body_n += (uint32_t)n;
        l->due_ms = now_of(d) + STALL_MS;
    }
    const enum pag_sim_update verdict = install(d);
    if (verdict != PAG_SIM_UPDATE_GO) {
        fail(d, PAG_E_DIGEST, "Update error", (int)verdict);
        return;
    }
    close_all(d);
    d->resets++;
    if (d->fault == PAG_SIM_LOOP) {
        lose_it(d);
    }
    l->to_confirm = memcmp(d->now.sha256, d->before.sha256, sizeof(d->now.sha256)) != 0;
    go(d, LEGACY_RESTART, RESTART_MS);
}

/* ---- readings ---- */

static void mqtt_open(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    char will[PAG_DEVICE_ID_MAX + 16];
    (void)snprintf(will, sizeof(will), "pg/v1/d/%s/will", d->id);
    const struct pag_mqttc_login login = { .host = l->mqtt_host[0] != '\0' ? l->mqtt_host
                                                                           : d->world->options->host,
                                           .port = l->mqtt_port,
                                           .client_id = d->id,
                                           .will_topic = will,
                                           .will = pag_span_str("offline"),
                                           .keepalive_s = KEEPALIVE_S };
    const struct pag_net_trust trust = trust_of(d);
    l->mqtt_open = pag_mqttc_open(&l->mqtt, &login, &trust) == PAG_OK;
    l->mqtt_due_ms = now_of(d) + MQTT_RETRY_MS;
}

static void publish(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    char topic[PAG_DEVICE_ID_MAX + 32];
    char text[16];
    (void)snprintf(topic, sizeof(topic), "pg/v1/d/%s/up/data/temp", d->id);
    (void)snprintf(text, sizeof(text), "%u.%u", 18 + pag_sim_random(d->world, 6),
                   pag_sim_random(d->world, 10));
    uint16_t id = 0;
    if (pag_mqttc_publish(&l->mqtt, pag_span_str(topic), pag_span_str(text), 0, false, &id) == PAG_OK) {
        pag_sim_device_reading(d);
        l->reading_due_ms = now_of(d) + d->world->options->reading_ms;
    }
}

static void do_readings(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    if (l->certificate_n == 0 || l->mqtt_port == 0 || l->phase == LEGACY_RESTART) {
        return;
    }
    if (!l->mqtt_open) {
        if (now_of(d) >= l->mqtt_due_ms) {
            mqtt_open(d);
        }
        return;
    }
    struct pag_mqttc_packet got;
    const enum pag_err err = pag_mqttc_step(&l->mqtt, &got);
    if (err != PAG_OK && err != PAG_E_AGAIN) {
        l->mqtt_open = false;
        l->mqtt_due_ms = now_of(d) + MQTT_RETRY_MS;
        pag_sim_device_error(d, err, "MQTT session ended");
    } else if (l->mqtt.up && now_of(d) >= l->reading_due_ms) {
        publish(d);
    }
}

/* ---- the loop of the sketch ---- */

static void do_idle(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    if (l->mqtt_due_ms == UINT64_MAX) {
        l->mqtt_due_ms = now_of(d); /* the connections come back after a download */
    }
    if (now_of(d) >= l->due_ms) {
        do_open(d);
    }
}

static void step(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    const bool due = now_of(d) >= l->due_ms;
    switch (l->phase) {
    case LEGACY_ENROLL:
        if (l->open || due) {
            do_enroll(d);
        }
        return;
    case LEGACY_IDLE:
        do_idle(d);
        return;
    case LEGACY_RESTART:
        if (due) {
            go(d, LEGACY_IDLE, 0);
        }
        return;
    case LEGACY_SEND:
    case LEGACY_HEAD:
    case LEGACY_BODY:
        break;
    case LEGACY_PHASES:
        return;
    }
    if (due) {
        fail(d, PAG_E_TIMEOUT, "stalled", -11);
    } else if (l->phase == LEGACY_SEND) {
        do_send(d);
    } else if (l->phase == LEGACY_HEAD) {
        do_head(d);
    } else {
        do_body(d);
    }
}

static void on_timer(struct pag_loop *loop, struct pag_timer *t)
{
    struct pag_sim_device *d = t->ctx;
    const struct legacy *l = d->body;
    enum phase before = l->phase;
    step(d);
    for (int i = 0; i < LEGACY_PHASES && l->phase != before; i++) { /* what follows at once */
        before = l->phase;
        step(d);
    }
    do_readings(d);
    /* Input wakes it by itself; this is for what is due. */
    pag_loop_timer(loop, t, STEP_MS);
}

/* What an earlier run left. */
static enum pag_err resume(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    const struct pag_sim_saved_device *s = d->saved;
    if (s->certificate.n > sizeof(l->certificate) || s->key.n > sizeof(l->key)) {
        return PAG_E_RANGE;
    }
    memcpy(l->certificate, s->certificate.p, s->certificate.n);
    memcpy(l->key, s->key.p, s->key.n);
    l->certificate_n = s->certificate.n;
    l->key_n = s->key.n;
    l->mqtt_port = s->mqtt_port;
    const enum pag_err err = pag_text_copy(l->mqtt_host, sizeof(l->mqtt_host), s->mqtt_host);
    if (err != PAG_OK || pag_sim_flash_sketch(&d->flash, PAG_AREA_SLOT_A, &d->now) != PAG_OK) {
        return PAG_E_RANGE;
    }
    d->before = d->now;
    return PAG_OK;
}

void pag_sim_legacy_save(const struct pag_sim_device *d, struct pag_sim_saved_device *out)
{
    const struct legacy *l = d->body;
    out->certificate = pag_span_of(l->certificate, l->certificate_n);
    out->key = pag_span_of(l->key, l->certificate_n > 0 ? l->key_n : 0); /* of an enrolment that ended well */
    out->mqtt_host = pag_span_str(l->mqtt_host);
    out->mqtt_port = l->mqtt_port;
}

static enum pag_err keep_old(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    l->old_n = d->now.bytes;
    l->old = malloc(l->old_n);
    return l->old != NULL ? pag_sim_flash_read(&d->flash, PAG_AREA_SLOT_A, 0, l->old, l->old_n)
                          : PAG_E_NO_MEMORY;
}

enum pag_err pag_sim_legacy_init(struct pag_sim_device *d)
{
    struct legacy *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return PAG_E_NO_MEMORY;
    }
    d->body = l;
    pag_sim_board_init(&l->port, d);
    pag_httpc_init(&l->http, &l->port);
    pag_mqttc_init(&l->mqtt, &l->port);
    enum pag_err err = d->saved != NULL ? resume(d) : PAG_OK;
    err = err == PAG_OK && d->fault == PAG_SIM_LOOP ? keep_old(d) : err;
    const bool enrolls =
        !d->world->options->legacy_plain && d->world->options->claim != NULL && l->certificate_n == 0;
    go(d, enrolls ? LEGACY_ENROLL : LEGACY_IDLE, pag_sim_random(d->world, 1000));
    d->timer = (struct pag_timer){ .on_fire = on_timer, .ctx = d };
    pag_loop_timer(d->world->loop, &d->timer, 1 + d->index % 1000);
    return err;
}

void pag_sim_legacy_free(struct pag_sim_device *d)
{
    struct legacy *l = d->body;
    if (l == NULL) {
        return;
    }
    close_all(d);
    pag_mqttc_close(&l->mqtt, true);
    pag_sim_board_cut(d);
    free(l->old);
    free(l);
    d->body = NULL;
}
