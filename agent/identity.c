#include "agent/inner.h"
#include "core/bytes.h"
#include "core/cbor.h"
#include "core/mem.h"

/*
 * Record in the config area: CBOR map, docs/porting/flash.md. 1 id, 2 certificate, 3 key, 4 MQTT host, 5 MQTT
 * port, 6 clock floor, 7 server time of the last freshness token, 8 counter of the last signed command, 9
 * claim that came with one; the last two only when there is something.
 */
enum { KEY_ID = 1, KEY_CERT, KEY_KEY, KEY_MQTT_HOST, KEY_MQTT_PORT, KEY_FLOOR, KEY_TOKEN, KEYS = KEY_TOKEN };
enum { KEY_COUNTER = KEYS + 1, KEY_CLAIM, KEYS_MAX = 16 }; /* later agents may add what this one skips */
enum { NAME_MAX = 255, CERT_MAX = 1400 };

static enum pag_err get_member(struct pag_cbor_reader *r, uint64_t key, struct pag_in_identity *out)
{
    uint64_t v = 0;
    enum pag_err err = PAG_OK;
    switch (key) {
    case KEY_ID:
        return pag_cbor_get_text(r, 0, PAG_DEVICE_ID_MAX, &out->id);
    case KEY_CERT:
        return pag_cbor_get_bytes(r, 0, CERT_MAX, &out->certificate);
    case KEY_KEY:
        return pag_cbor_get_bytes(r, 0, PAG_IN_KEY_MAX, &out->key);
    case KEY_MQTT_HOST:
        err = pag_cbor_get_text(r, 0, NAME_MAX, &out->mqtt_host);
        out->mqtt_host.n = out->mqtt_host.n <= PAG_HOST_MAX ? out->mqtt_host.n : 0;
        return err;
    case KEY_MQTT_PORT:
        err = pag_cbor_get_uint(r, UINT16_MAX, &v);
        out->mqtt_port = (uint16_t)v;
        return err;
    case KEY_FLOOR:
        return pag_cbor_get_uint(r, UINT64_MAX, &out->floor_s);
    case KEY_TOKEN:
        return pag_cbor_get_uint(r, UINT64_MAX, &out->token_s);
    case KEY_COUNTER:
        err = pag_cbor_get_uint(r, UINT32_MAX, &v);
        out->counter = (uint32_t)v;
        return err;
    case KEY_CLAIM:
        return pag_cbor_get_text(r, 1, PAG_CLAIM_MAX, &out->claim);
    default:
        return pag_cbor_skip(r);
    }
}

enum pag_err pag_in_identity_get(const struct pag_inner *a, struct pag_buf *buf, struct pag_in_identity *out)
{
    memset(out, 0, sizeof *out);
    buf->n = 0;
    enum pag_err err = pag_twin_read(&a->config_twin, buf);
    struct pag_cbor_reader r = pag_cbor_read(pag_buf_span(buf));
    struct pag_cbor_map m;
    uint64_t key = 0;
    if (err == PAG_OK) {
        err = pag_cbor_map_begin(&r, KEYS_MAX, &m);
    }
    while (err == PAG_OK && pag_cbor_map_next(&m, &key)) {
        err = get_member(&r, key, out);
    }
    return err == PAG_OK ? m.err : err;
}

/* The counter outlives the identity: a command that was obeyed is never obeyed again. */
static void put_commanded(struct pag_cbor_writer *w, uint32_t counter, struct pag_span claim)
{
    if (counter > 0) {
        pag_cbor_put_uint(w, KEY_COUNTER);
        pag_cbor_put_uint(w, counter);
    }
    if (claim.n > 0) {
        pag_cbor_put_uint(w, KEY_CLAIM);
        pag_cbor_put_text(w, claim);
    }
}

enum pag_err pag_in_identity_put(struct pag_inner *a, const struct pag_in_identity *in, struct pag_buf *buf)
{
    struct pag_cbor_writer w = pag_cbor_write(buf);
    buf->n = 0;
    pag_cbor_put_map(&w, (size_t)KEYS + (a->counter > 0) + (in->claim.n > 0));
    pag_cbor_put_uint(&w, KEY_ID);
    pag_cbor_put_text(&w, in->id);
    pag_cbor_put_uint(&w, KEY_CERT);
    pag_cbor_put_bytes(&w, in->certificate);
    pag_cbor_put_uint(&w, KEY_KEY);
    pag_cbor_put_bytes(&w, in->key);
    pag_cbor_put_uint(&w, KEY_MQTT_HOST);
    pag_cbor_put_text(&w, in->mqtt_host);
    pag_cbor_put_uint(&w, KEY_MQTT_PORT);
    pag_cbor_put_uint(&w, in->mqtt_port);
    pag_cbor_put_uint(&w, KEY_FLOOR);
    pag_cbor_put_uint(&w, in->floor_s);
    pag_cbor_put_uint(&w, KEY_TOKEN);
    pag_cbor_put_uint(&w, in->token_s);
    put_commanded(&w, a->counter, in->claim);
    uint8_t chunk[64];
    enum pag_err err = w.err;
    if (err == PAG_OK) {
        err = pag_twin_write(&a->config_twin, pag_buf_span(buf), (struct pag_buf){ chunk, 0, sizeof chunk });
    }
    if (err == PAG_OK) {
        a->saved_floor_s = in->floor_s;
    }
    return err;
}

enum pag_err pag_in_identity_load(struct pag_inner *a)
{
    struct pag_in_identity in = { 0 };
    struct pag_buf buf = pag_in_scratch(a, 0, PAG_IN_TAIL);
    enum pag_err err = pag_twin_open(&a->config_twin, a->port, PAG_AREA_CONFIG, buf);
    if (err != PAG_OK) {
        return err;
    }
    const char *own = a->set->id[0] != 0 ? a->set->id : a->set->mac;
    (void)pag_text_copy(a->id, sizeof a->id, pag_span_str(own));
    (void)pag_text_copy(a->mqtt_host, sizeof a->mqtt_host, pag_span_str(a->set->host));
    a->mqtt_port = 8883;
    err = a->config_twin.has ? pag_in_identity_get(a, &buf, &in) : PAG_E_NOT_FOUND;
    if (a->config_twin.has && err != PAG_OK) { /* whole a moment ago: one wrong read */
        err = pag_in_identity_get(a, &buf, &in);
    }
    if (err == PAG_OK) {
        a->floor_s = in.floor_s < pag_in_floor_max(a) ? in.floor_s : pag_in_floor_max(a);
        a->saved_floor_s = a->floor_s;
        a->token_s = in.token_s;
        a->counter = in.counter;
        a->has_record = in.certificate.n > 0 && in.key.n > 0 && pag_device_id_ok(in.id);
    }
    a->own_certificate = a->set->certificate.n > 0 && a->set->key.n > 0;
    if (a->has_record && !a->own_certificate) {
        pag_in_renew_plan(a, in.certificate);
        (void)pag_text_copy(a->id, sizeof a->id, in.id);
        if (in.mqtt_host.n > 0) {
            (void)pag_text_copy(a->mqtt_host, sizeof a->mqtt_host, in.mqtt_host);
        }
        a->mqtt_port = in.mqtt_port > 0 ? in.mqtt_port : a->mqtt_port;
    }
    if (a->set->mqtt_host[0] != 0) {
        (void)pag_text_copy(a->mqtt_host, sizeof a->mqtt_host, pag_span_str(a->set->mqtt_host));
    }
    a->mqtt_port = a->set->mqtt_port > 0 ? a->set->mqtt_port : a->mqtt_port;
    a->enrolled = a->own_certificate || a->has_record;
    a->floor_s = a->floor_s > a->set->build_time ? a->floor_s : a->set->build_time;
    a->floor_ms = a->now_ms;
    return PAG_OK;
}

void pag_in_identity_keep_time(struct pag_inner *a, uint32_t step_s)
{
    struct pag_in_identity in = { 0 };
    uint64_t floor_s = pag_in_floor(a);
    if (floor_s <= a->saved_floor_s || floor_s - a->saved_floor_s < step_s) {
        return;
    }
    struct pag_buf from = pag_in_scratch(a, 0, PAG_IN_TAIL);
    struct pag_buf to = pag_in_scratch(a, PAG_IN_TAIL, PAG_IN_TAIL);
    if (a->config_twin.has && pag_in_identity_get(a, &from, &in) != PAG_OK) {
        return; /* never overwrite what cannot be read */
    }
    in.floor_s = floor_s;
    in.token_s = a->token_s;
    if (pag_in_identity_put(a, &in, &to) != PAG_OK) {
        (void)pag_in_fail(a, PAG_E_IO, "clock floor cannot be kept");
        a->saved_floor_s = floor_s; /* not again before tomorrow */
    }
}

enum pag_err pag_in_trust_of(struct pag_inner *a, struct pag_net_trust *out)
{
    struct pag_in_identity in = { 0 };
    *out = (struct pag_net_trust){ .ca = a->set->ca, .clock_floor = pag_in_floor(a) };
    if (a->own_certificate) {
        out->certificate = a->set->certificate;
        out->key = a->set->key;
        return PAG_OK;
    }
    if (!a->has_record) {
        return PAG_OK;
    }
    struct pag_buf buf = pag_in_scratch(a, PAG_AGENT_SCRATCH_BYTES - PAG_IN_TAIL, PAG_IN_TAIL);
    enum pag_err err = pag_in_identity_get(a, &buf, &in);
    out->certificate = in.certificate;
    out->key = in.key;
    return err;
}
