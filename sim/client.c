#include "sim/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/board.h"
#include "sim/install.h"
#include "sim/saved.h"

enum {
    STEP_MS = 200,
    RESTART_MS = 1500,
    CHIP_BYTES = 4 << 20,
    ROUNDS_AT_ONCE = 8,
    NTP_MS = 4000, /* a clock that is wrong at power-on is right so much later */
};

static const char *const phase_words[] = {
    [PAG_SIM_PHASE_ENROLL] = "enroll",   [PAG_SIM_PHASE_IDLE] = "idle", [PAG_SIM_PHASE_FETCH] = "ask",
    [PAG_SIM_PHASE_RESTART] = "restart", [PAG_SIM_PHASE_DEAD] = "dead",
};

uint64_t pag_sim_client_now(const struct pag_sim_device *d)
{
    return pag_loop_now_ms(d->world->loop);
}

void pag_sim_client_go(struct pag_sim_device *d, enum pag_sim_phase phase, uint32_t after_ms)
{
    struct pag_sim_client *c = d->body;
    c->phase = phase;
    c->due_ms = pag_sim_client_now(d) + after_ms;
    d->state = phase_words[phase];
}

struct pag_net_trust pag_sim_client_trust(const struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    const struct pag_buf *ca = &d->world->options->ca;
    return (struct pag_net_trust){ .ca = pag_span_of(ca->p, ca->n),
                                   .certificate = pag_span_of(c->certificate, c->certificate_n),
                                   .key = pag_span_of(c->key, c->certificate_n > 0 ? c->key_n : 0) };
}

/* ---- what scripts say ---- */

static const struct pag_sim_place *place_of(const struct pag_sim_device *d)
{
    const struct pag_sim_options *o = d->world->options;
    return d->who->plain_only && o->plain.host[0] != '\0' ? &o->plain : &o->legacy_at;
}

bool pag_sim_client_is_plain(const struct pag_sim_device *d)
{
    return place_of(d)->plain;
}

struct pag_sim_update_ask pag_sim_client_about(const struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    const struct pag_sim_place *place = place_of(d);
    const uint32_t slot = d->world->options->slot_bytes;
    const uint32_t room = d->who->free_max > 0 && !c->is_stand_in ? d->who->free_max : slot;
    const uint32_t full = d->fault == PAG_SIM_FULL ? PAG_SIM_SECTOR : room;
    struct pag_sim_update_ask ask = { .host = place->host,
                                      .port = place->port,
                                      .path = c->path,
                                      .running = &d->now,
                                      .version = d->now.version,
                                      .free_space = full,
                                      .chip_bytes = CHIP_BYTES,
                                      .core = d->who->version,
                                      .esp32 = d->who->esp32 };
    memcpy(ask.mac, d->mac, sizeof(ask.mac));
    return ask;
}

static const char *root_of(enum pag_sim_family family)
{
    switch (family) {
    case PAG_SIM_F_UPDATE:
        return "/update/";
    case PAG_SIM_F_TAG:
        return "/tag/";
    case PAG_SIM_F_SECUREESP:
        return "/secureesp8266/";
    case PAG_SIM_F_NATIVE:
    case PAG_SIM_F_TASMOTA:
    case PAG_SIM_F_IDF:
    case PAG_SIM_F_ESPHOME:
    case PAG_SIM_F_WEBTOOLS:
    case PAG_SIM_F_DETACHED:
        break;
    }
    return "/files/";
}

void pag_sim_client_path(struct pag_sim_device *d, const char *rest)
{
    struct pag_sim_client *c = d->body;
    const char *own = d->path != NULL ? d->path : place_of(d)->path;
    if (own != NULL) {
        (void)snprintf(c->path, sizeof(c->path), "%s%s", own, rest);
    } else {
        (void)snprintf(c->path, sizeof(c->path), "%s%s%s", root_of(d->who->family),
                       d->world->options->product, rest);
    }
}

enum pag_err pag_sim_client_request(struct pag_sim_device *d, const char *method, const char *more)
{
    enum { HTTP = 80, HTTPS = 443 };
    struct pag_sim_client *c = d->body;
    const struct pag_sim_place *place = place_of(d);
    struct pag_buf out = { c->fetch.wire, 0, sizeof(c->fetch.wire) };
    (void)pag_buf_put_str(&out, method);
    (void)pag_buf_put_str(&out, " ");
    (void)pag_buf_put_str(&out, c->path);
    (void)pag_buf_put_str(&out, " HTTP/1.1\r\nHost: ");
    (void)pag_buf_put_str(&out, place->host);
    if (place->port != (place->plain ? HTTP : HTTPS)) {
        (void)pag_buf_put_str(&out, ":");
        (void)pag_buf_put_dec(&out, place->port);
    }
    (void)pag_buf_put_str(&out, "\r\n");
    (void)pag_buf_put_str(&out, more);
    const enum pag_err err = pag_buf_put_str(&out, "\r\n");
    c->fetch.wire_n = out.n;
    return err;
}

enum pag_sim_next pag_sim_client_fail(struct pag_sim_device *d, const char *what, int code)
{
    struct pag_sim_client *c = d->body;
    c->fetch.err = PAG_E_DENIED;
    c->fetch.what = what;
    c->fetch.code = code;
    return PAG_SIM_NEXT_FAIL;
}

enum pag_err pag_sim_client_take(struct pag_sim_device *d, bool append)
{
    struct pag_sim_client *c = d->body;
    struct pag_sim_fetch *f = &c->fetch;
    const uint32_t keep = append ? c->image_n : 0;
    if (f->body_n > PAG_SIM_STORE_MAX - keep) {
        return PAG_E_LIMIT;
    }
    if (keep + f->body_n > c->image_cap) {
        uint8_t *room = realloc(c->image, keep + f->body_n);
        if (room == NULL) {
            return PAG_E_NO_MEMORY;
        }
        c->image = room;
        c->image_cap = keep + f->body_n;
    }
    if (f->body_n > 0) {
        memcpy(c->image + keep, f->body, f->body_n);
    }
    c->image_n = keep + f->body_n;
    return PAG_OK;
}

/* ---- the round ---- */

static void over(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_options *o = d->world->options;
    pag_sim_fetch_close(d, &c->fetch);
    c->step = 0;
    d->rounds++;
    pag_sim_client_go(d, PAG_SIM_PHASE_IDLE, o->poll_s * 1000);
}

static void failed(struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    char text[64];
    d->clock_refusals += d->shape.is_1970 && c->fetch.err == PAG_E_TLS ? 1 : 0;
    (void)snprintf(text, sizeof(text), "%s (%d)", c->fetch.what, c->fetch.code);
    pag_sim_device_error(d, c->fetch.err, text);
    over(d);
}

static void current(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    d->reached = true;
    if (c->to_confirm) {
        c->to_confirm = false;
        pag_sim_device_outcome(d, PAG_SIM_CONFIRMED);
    } else if (c->losses > 0) {
        pag_sim_device_outcome(d, PAG_SIM_REVERTED); /* the server gave up */
    }
    over(d);
}

static void ask(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_place *place = place_of(d);
    const struct pag_net_trust trust = pag_sim_client_trust(d);
    if (d->who->one_tls && !place->plain) {
        pag_sim_link_close(d, true); /* no memory for both */
    }
    d->shape.is_1970 = d->fault == PAG_SIM_CLOCK && pag_sim_client_now(d) < c->ntp_ms;
    enum pag_err err = c->script->ask(d);
    if (err == PAG_OK) {
        const struct pag_sim_address_of to = { place->host, place->port, place->plain ? NULL : &trust };
        err = pag_sim_fetch_open(d, &c->fetch, &to);
    }
    if (err != PAG_OK) {
        c->fetch.err = err;
        c->fetch.what = "cannot connect";
        c->fetch.code = -1;
        failed(d);
        return;
    }
    pag_sim_client_go(d, PAG_SIM_PHASE_FETCH, 0);
}

void pag_sim_client_begin(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    c->step = 0;
    ask(d);
}

enum pag_sim_update pag_sim_client_install(struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    const struct pag_sim_update_ask about = pag_sim_client_about(d);
    return pag_sim_install(d, pag_span_of(c->image, c->image_n), &c->announced, &about);
}

/* The new sketch dies before it has said a word, and what boots at last is the old one, flashed again. */
static void lose_it(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_A, pag_span_of(c->old, c->old_n)) == PAG_OK) {
        (void)pag_sim_flash_sketch(&d->flash, PAG_AREA_SLOT_A, &d->now);
        c->losses++;
    }
}

void pag_sim_client_restart(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    pag_sim_fetch_close(d, &c->fetch);
    pag_sim_link_close(d, false);
    pag_sim_board_cut(d);
    d->resets++;
    c->step = 0;
    if (!pag_sim_install_boot(d)) {
        pag_sim_device_error(d, PAG_E_IO, "half an image: it does not boot any more");
        pag_sim_device_outcome(d, PAG_SIM_DEAD);
        pag_sim_client_go(d, PAG_SIM_PHASE_DEAD, 0);
        return;
    }
    if (d->fault == PAG_SIM_LOOP) {
        lose_it(d);
    }
    if (c->script->restarted != NULL) {
        c->script->restarted(d);
    }
    c->to_confirm = memcmp(d->now.sha256, d->before.sha256, sizeof(d->now.sha256)) != 0;
    c->flashed = false;
    c->booted_ms = pag_sim_client_now(d);
    c->image_n = d->who->family == PAG_SIM_F_SECUREESP ? c->image_n : 0; /* that one is a file */
    pag_sim_client_go(d, PAG_SIM_PHASE_RESTART, RESTART_MS / d->world->options->faster);
}

static void installs(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const enum pag_sim_update verdict = pag_sim_client_install(d);
    if (verdict != PAG_SIM_UPDATE_GO) {
        c->fetch.err = verdict == PAG_SIM_UPDATE_ERROR_SIGN ? PAG_E_SIGNATURE : PAG_E_DIGEST;
        c->fetch.what = "Update error";
        c->fetch.code = (int)verdict;
        d->refusals++;
        c->image_n = 0;
        if (verdict == PAG_SIM_UPDATE_ERROR_SIGN) {
            pag_sim_device_outcome(d, PAG_SIM_REFUSED);
        }
        failed(d);
        return;
    }
    pag_sim_client_restart(d);
}

static void follow(struct pag_sim_device *d, enum pag_sim_next next)
{
    struct pag_sim_client *c = d->body;
    enum pag_err err = PAG_OK;
    switch (next) {
    case PAG_SIM_NEXT_READ:
        if (c->fetch.at == PAG_SIM_FETCH_JUDGED) {
            d->state = "download";
            d->reached = true;
            err = pag_sim_fetch_body(d, &c->fetch, c->fetch.head.length, c->script->peek);
        }
        if (err != PAG_OK) {
            (void)pag_sim_client_fail(d, "no memory", -8);
            failed(d);
        }
        return;
    case PAG_SIM_NEXT_ASK:
        pag_sim_fetch_close(d, &c->fetch);
        c->step++;
        ask(d);
        return;
    case PAG_SIM_NEXT_CURRENT:
        current(d);
        return;
    case PAG_SIM_NEXT_OVER:
        over(d);
        return;
    case PAG_SIM_NEXT_INSTALL:
        installs(d);
        return;
    case PAG_SIM_NEXT_FAIL:
        failed(d);
        return;
    }
}

/* The first bytes of an image: what is to go wrong with this download is decided. */
static void plan_faults(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const uint32_t bytes = c->fetch.head.length;
    if (bytes <= PAG_SIM_SECTOR) {
        return;
    }
    d->downloads++;
    if (d->fault == PAG_SIM_LINK_LOSS && d->link_losses == 0) {
        d->lose_link_at = 1 + pag_sim_random(d->world, bytes - 1);
    }
}

/* Behind TLS and TCP: only a check over the image sees it. */
static void flip(struct pag_sim_device *d)
{
    struct pag_sim_fetch *f = &((struct pag_sim_client *)d->body)->fetch;
    if (d->fault == PAG_SIM_FLIP && f->body_n > PAG_SIM_SECTOR) {
        d->corruptions++;
        f->body[PAG_SIM_SECTOR + pag_sim_random(d->world, f->body_n - PAG_SIM_SECTOR)] ^= 1;
    }
}

static void do_fetch(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    enum pag_sim_next next = PAG_SIM_NEXT_FAIL;
    switch (pag_sim_fetch_step(d, &c->fetch)) {
    case PAG_SIM_FETCH_AGAIN:
        return;
    case PAG_SIM_FETCH_HEAD:
        next = c->script->head(d);
        if (next == PAG_SIM_NEXT_READ) {
            plan_faults(d);
        }
        break;
    case PAG_SIM_FETCH_PEEK:
        next = c->script->peek_at(d);
        break;
    case PAG_SIM_FETCH_DONE:
        flip(d);
        next = c->script->body(d);
        break;
    case PAG_SIM_FETCH_FAILED:
        if (c->script->broken != NULL && c->fetch.at == PAG_SIM_FETCH_READING) {
            c->script->broken(d);
        }
        break;
    }
    follow(d, next);
}

static void do_enroll(struct pag_sim_device *d)
{
    const struct pag_sim_options *o = d->world->options;
    struct pag_sim_client *c = d->body;
    const enum pag_err err = pag_sim_enroll_step(d);
    if (err == PAG_E_AGAIN) {
        return;
    }
    pag_sim_enroll_close(d);
    if (err == PAG_OK) {
        d->reached = true;
        pag_sim_client_go(d, PAG_SIM_PHASE_IDLE, pag_sim_random(d->world, o->poll_s * 1000));
        return;
    }
    c->certificate_n = c->key_n = 0;
    if (err != PAG_E_DENIED) { /* that has been noted */
        pag_sim_device_error(d, err, "enrolment failed");
    }
    pag_sim_client_go(d, PAG_SIM_PHASE_ENROLL, o->backoff_s * 1000 + pag_sim_random(d->world, 1000));
}

static void step(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const bool due = pag_sim_client_now(d) >= c->due_ms;
    switch (c->phase) {
    case PAG_SIM_PHASE_ENROLL:
        if (c->enrolment != NULL || due) {
            do_enroll(d);
        }
        return;
    case PAG_SIM_PHASE_IDLE:
        if (due && !c->script->waits) {
            pag_sim_client_begin(d);
        }
        return;
    case PAG_SIM_PHASE_FETCH:
        do_fetch(d);
        return;
    case PAG_SIM_PHASE_RESTART:
        if (due) {
            pag_sim_client_go(d, PAG_SIM_PHASE_IDLE, 0);
        }
        return;
    case PAG_SIM_PHASE_DEAD:
        return;
    }
}

static void on_timer(struct pag_loop *loop, struct pag_timer *t)
{
    struct pag_sim_device *d = t->ctx;
    const struct pag_sim_client *c = d->body;
    for (int i = 0; i < ROUNDS_AT_ONCE; i++) { /* what follows at once */
        const enum pag_sim_phase phase = c->phase;
        const int at = (int)c->fetch.at;
        const unsigned n = c->step;
        const uint32_t peek = c->fetch.peek_at;
        step(d);
        if (phase == c->phase && at == (int)c->fetch.at && n == c->step && peek == c->fetch.peek_at) {
            break;
        }
    }
    pag_sim_link_step(d);
    /* Input wakes it by itself; this is for what is due. */
    pag_loop_timer(loop, t, STEP_MS);
}

/* ---- from one run to the next ---- */

static enum pag_err resume(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_saved_device *s = d->saved;
    if (s->certificate.n > sizeof(c->certificate) || s->key.n > sizeof(c->key)) {
        return PAG_E_RANGE;
    }
    memcpy(c->certificate, s->certificate.p, s->certificate.n);
    memcpy(c->key, s->key.p, s->key.n);
    c->certificate_n = s->certificate.n;
    c->key_n = s->key.n;
    c->mqtt_port = s->mqtt_port;
    const enum pag_err err = pag_text_copy(c->mqtt_host, sizeof(c->mqtt_host), s->mqtt_host);
    if (err != PAG_OK || pag_sim_flash_sketch(&d->flash, PAG_AREA_SLOT_A, &d->now) != PAG_OK) {
        return PAG_E_RANGE;
    }
    d->before = d->now;
    return PAG_OK;
}

void pag_sim_client_save(const struct pag_sim_device *d, struct pag_sim_saved_device *out)
{
    const struct pag_sim_client *c = d->body;
    out->certificate = pag_span_of(c->certificate, c->certificate_n);
    out->key = pag_span_of(c->key, c->certificate_n > 0 ? c->key_n : 0); /* of an enrolment that ended well */
    out->mqtt_host = pag_span_str(c->mqtt_host);
    out->mqtt_port = c->mqtt_port;
}

static enum pag_err keep_old(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    c->old_n = d->now.bytes;
    c->old = malloc(c->old_n);
    return c->old != NULL ? pag_sim_flash_read(&d->flash, PAG_AREA_SLOT_A, 0, c->old, c->old_n)
                          : PAG_E_NO_MEMORY;
}

static bool has_own_certificate(const struct pag_sim_device *d)
{
    return d->who->readings && !place_of(d)->plain && d->world->options->claim != NULL;
}

enum pag_err pag_sim_client_init(struct pag_sim_device *d)
{
    struct pag_sim_client *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return PAG_E_NO_MEMORY;
    }
    d->body = c;
    c->script = pag_sim_script_of(d->who->family);
    d->shape = (struct pag_sim_shape){ .mfln = d->who->mfln,
                                       .record_max = d->who->record_max,
                                       .tls12 = d->who->family != PAG_SIM_F_WEBTOOLS,
                                       .blind = d->who->blind };
    pag_sim_board_init(&c->port, d);
    pag_mqttc_init(&c->mqtt, &c->port);
    enum pag_err err = d->saved != NULL ? resume(d) : PAG_OK;
    err = err == PAG_OK && d->fault == PAG_SIM_LOOP ? keep_old(d) : err;
    const bool enrolls = has_own_certificate(d) && c->certificate_n == 0;
    d->silent = !enrolls && c->certificate_n == 0 && d->user == NULL;
    c->booted_ms = pag_sim_client_now(d);
    c->ntp_ms = pag_sim_client_now(d) + NTP_MS;
    pag_sim_client_go(d, enrolls ? PAG_SIM_PHASE_ENROLL : PAG_SIM_PHASE_IDLE, pag_sim_random(d->world, 1000));
    d->timer = (struct pag_timer){ .on_fire = on_timer, .ctx = d };
    pag_loop_timer(d->world->loop, &d->timer, 1 + d->index % 1000);
    return err;
}

void pag_sim_client_free(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c == NULL) {
        return;
    }
    pag_sim_enroll_close(d);
    pag_sim_fetch_close(d, &c->fetch);
    pag_mqttc_close(&c->mqtt, true);
    pag_sim_board_cut(d);
    free(c->old);
    free(c->image);
    free(c);
    d->body = NULL;
}
