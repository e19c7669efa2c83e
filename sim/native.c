#include "core/native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagurus/agent.h>

#include "agent/boot.h"
#include "agent/slot.h"
#include "agent/twin_store.h"
#include "core/bytes.h"
#include "core/trust.h"
#include "host/crypto.h"
#include "sim/board.h"
#include "sim/saved.h"
#include "sim/stranger.h"

/*
 * A native device: the real agent and the real boot decision on a virtual board. A reset is what a loader
 * does: decide, then start the agent anew on what flash holds.
 */

enum {
    OFF_MS = 300,      /* a power failure lasts so long */
    RESTART_MS = 150,  /* from reset to the application */
    STEPS_AT_ONCE = 8, /* of one device before the others get their turn */
    RESETS_MAX = 60,   /* a loop of resets ends here */
    DER_MAX = 1024,
    LATE_SEQUENCE = 1000000000, /* higher than any release a server gets to */
};

struct native {
    struct pag_port port;
    struct pag_settings settings;
    struct pag_agent agent;
    uint8_t scratch[PAG_AGENT_SCRATCH_BYTES] __attribute__((aligned(8)));
    struct pag_boot boot;
    bool is_on;
    bool is_resumed; /* from an earlier run: what it ran is known when it has booted */
    size_t foreign_certificate_n, foreign_key_n;
    bool crash_now;
    bool cut_armed;     /* the power cut of its life was planned */
    bool corrupt_armed; /* so was the corruption */
    uint64_t reading_due_ms;
    uint32_t refusals;    /* of agents before the last reset */
    uint32_t checks_told; /* number of the check after it reported that it went back; 0: not yet */
    uint8_t foreign_certificate[DER_MAX], foreign_key[DER_MAX];
};

static uint64_t now_of(const struct pag_sim_device *d)
{
    return pag_loop_now_ms(d->world->loop);
}

static enum pag_area active_area(const struct native *n)
{
    return n->boot.slot == 0 ? PAG_AREA_SLOT_A : PAG_AREA_SLOT_B;
}

/* ---- looking at the device ---- */

static bool boots_something_else(const struct pag_sim_device *d)
{
    return memcmp(d->now.sha256, d->before.sha256, sizeof(d->now.sha256)) != 0;
}

static void observe(struct pag_sim_device *d)
{
    struct native *n = d->body;
    struct pag_agent_status st;
    pag_agent_status(&n->agent, &st);
    (void)snprintf(d->id, sizeof(d->id), "%s", st.id);
    d->refusals = n->refusals + st.figures.refused;
    d->state = pag_agent_state_word(st.state);
    d->reached = d->reached || (st.enrolled && st.contact_age_s != UINT32_MAX);
    if (st.last_error != PAG_OK) {
        pag_sim_device_error(d, st.last_error, st.last_what);
    }
    /* Done means that the server has been told. */
    const bool idle = !st.on_trial && (st.state == PAG_AGENT_IDLE || st.state == PAG_AGENT_POLL);
    if (boots_something_else(d)) {
        if (idle && st.last_report == PAG_REPORT_CONFIRMED) {
            pag_sim_device_outcome(d, PAG_SIM_CONFIRMED);
        }
    } else if (idle && st.last_report == PAG_REPORT_REVERTED) {
        /* The server takes what runs from the check that follows. */
        n->checks_told = n->checks_told > 0 ? n->checks_told : st.figures.checks + 1;
        if (st.figures.checks >= n->checks_told && st.state == PAG_AGENT_IDLE) {
            pag_sim_device_outcome(d, PAG_SIM_REVERTED);
        }
    } else if (idle && st.last_report == PAG_REPORT_REJECTED) {
        pag_sim_device_outcome(d, PAG_SIM_REFUSED);
    } else if (d->fault == PAG_SIM_FOREIGN && d->denials > 0) {
        pag_sim_device_outcome(d, PAG_SIM_DENIED);
    }
}

/* ---- what the application on it does ---- */

static void publish_reading(void *ctx, struct pag_agent *agent)
{
    struct pag_sim_device *d = ctx;
    struct native *n = d->body;
    if (now_of(d) < n->reading_due_ms) {
        return;
    }
    char text[16];
    (void)snprintf(text, sizeof(text), "%u.%u", 18 + pag_sim_random(d->world, 6),
                   pag_sim_random(d->world, 10));
    if (pag_agent_publish(agent, "temp", pag_span_str(text)) == PAG_OK) {
        n->reading_due_ms = now_of(d) + d->world->options->reading_ms;
        observe(d);
        pag_sim_device_reading(d);
    }
}

static enum pag_health self_test(void *ctx)
{
    struct pag_sim_device *d = ctx;
    struct native *n = d->body;
    if (d->fault != PAG_SIM_CRASH || !boots_something_else(d)) {
        return PAG_HEALTH_PASS;
    }
    if (d->index % 2 != 0) {
        return PAG_HEALTH_FAIL;
    }
    n->crash_now = true;
    return PAG_HEALTH_UNKNOWN;
}

static void plan_faults(struct pag_sim_device *d)
{
    struct native *n = d->body;
    if (d->fault == PAG_SIM_POWER_CUT && !n->cut_armed) {
        n->cut_armed = true;
        d->flash.cut_in = 1 + pag_sim_random(d->world, 2 * d->before.bytes / PAG_SIM_SECTOR);
        d->flash.cut_keep = pag_sim_random(d->world, 256);
    }
    if (d->fault == PAG_SIM_CORRUPT && !n->corrupt_armed) {
        n->corrupt_armed = true;
        d->corrupt_now = true;
    }
}

static void on_state(void *ctx, enum pag_agent_state state)
{
    struct pag_sim_device *d = ctx;
    struct native *n = d->body;
    if (state == PAG_AGENT_FETCH) {
        d->downloads++;
        plan_faults(d);
    }
    /* The server knows the chip that the device told it; what is soldered in is another. */
    if (d->fault == PAG_SIM_WRONG_CHIP) {
        n->settings.chip = (uint8_t)(state == PAG_AGENT_MANIFEST ? PAG_CHIP_ESP32 : PAG_CHIP_ESP8266);
    }
    observe(d);
}

static const struct pag_agent_hooks hooks = { .loop = publish_reading,
                                              .self_test = self_test,
                                              .on_state = on_state };

/* ---- reset and boot ---- */

static uint8_t running_slot(void *ctx)
{
    const struct pag_sim_device *d = ctx;
    const struct native *n = d->body;
    return n->boot.slot;
}

static void reboot(void *ctx)
{
    (void)ctx; /* the agent is halted after this; step_once sees it */
}

static void off(struct pag_sim_device *d, const char *state, uint32_t ms)
{
    struct native *n = d->body;
    n->is_on = false;
    n->refusals = d->refusals;
    n->crash_now = false;
    n->checks_told = 0;
    d->resets++;
    d->state = state;
    pag_sim_board_cut(d);
    pag_loop_timer(d->world->loop, &d->timer, ms);
}

static void boot(struct pag_sim_device *d)
{
    struct native *n = d->body;
    uint8_t work[PAG_BOOT_WORK_BYTES] __attribute__((aligned(8)));
    if (d->resets > RESETS_MAX) {
        d->state = "reset loop";
        return;
    }
    d->flash.dead = false;
    enum pag_err err = pag_boot_decide(&n->port, (struct pag_buf){ work, 0, sizeof(work) }, &n->boot);
    if (err == PAG_OK) {
        err = pag_sim_flash_sketch(&d->flash, active_area(n), &d->now);
    }
    if (err == PAG_OK && n->is_resumed) {
        d->before = d->now;
        n->is_resumed = false;
    }
    if (err == PAG_OK) {
        memcpy(n->settings.version, d->now.version, sizeof(n->settings.version));
        err = pag_agent_init(&n->agent, &n->port, &n->settings,
                             (struct pag_buf){ n->scratch, 0, sizeof(n->scratch) });
    }
    if (d->flash.dead) {
        d->power_cuts++;
        off(d, "no power", OFF_MS);
        return;
    }
    if (err != PAG_OK) {
        pag_sim_device_error(d, err, "does not boot");
        d->state = "dead";
        return;
    }
    pag_agent_set_hooks(&n->agent, &hooks, d);
    n->is_on = true;
    pag_loop_timer(d->world->loop, &d->timer, 0);
}

/* ---- running ---- */

/* False when the device went off. */
static bool step_once(struct pag_sim_device *d, uint32_t *wait_ms)
{
    struct native *n = d->body;
    *wait_ms = pag_agent_step(&n->agent);
    if (d->flash.dead) {
        d->power_cuts++;
        off(d, "no power", OFF_MS);
        return false;
    }
    if (n->crash_now) {
        off(d, "crashed", RESTART_MS);
        return false;
    }
    struct pag_agent_status st;
    pag_agent_status(&n->agent, &st);
    if (st.state == PAG_AGENT_HALTED) {
        observe(d);
        off(d, "restart", RESTART_MS);
        return false;
    }
    return true;
}

static void on_timer(struct pag_loop *loop, struct pag_timer *t)
{
    struct pag_sim_device *d = t->ctx;
    const struct native *n = d->body;
    if (!n->is_on) {
        boot(d);
        return;
    }
    uint32_t wait_ms = 0;
    for (int i = 0; i < STEPS_AT_ONCE && wait_ms == 0; i++) {
        if (!step_once(d, &wait_ms)) {
            return;
        }
    }
    if (d->fault == PAG_SIM_FOREIGN) {
        observe(d);
    }
    pag_loop_timer(loop, t, wait_ms);
}

/* ---- made at the factory ---- */

static void fill_settings(struct pag_sim_device *d)
{
    struct native *n = d->body;
    const struct pag_sim_options *o = d->world->options;
    struct pag_settings *s = &n->settings;
    pag_settings_default(s);
    (void)snprintf(s->host, sizeof(s->host), "%s", o->host);
    s->port = o->port;
    memcpy(s->mac, d->mac, sizeof(s->mac));
    (void)snprintf(s->image, sizeof(s->image), "firmware");
    (void)snprintf(s->claim, sizeof(s->claim), "%s", o->claim != NULL ? o->claim : "");
    memcpy(s->product, o->product_id, sizeof(s->product));
    s->hardware_n = (uint8_t)strlen(o->hardware);
    memcpy(s->hardware, o->hardware, s->hardware_n);
    s->chip = o->chip;
    s->ca = pag_span_of(o->ca.p, o->ca.n);
    s->has_trust_pin = o->has_pin;
    s->trust_pin_version = 1;
    memcpy(s->trust_pin, o->pin, sizeof(s->trust_pin));
    s->poll_s = o->poll_s;
    s->status_s = o->status_s;
    s->trial_s = o->trial_s;
    s->backoff_min_s = o->backoff_s;
    s->trigger_gap_s = o->jitter_s;
    s->trigger_jitter_s = o->jitter_s;
}

/* Slot A's last sector: the record of a factory image. */
static enum pag_err seal_factory(struct pag_sim_device *d)
{
    uint8_t bytes[PAG_SLOT_FACTORY_BYTES];
    struct pag_buf record = { bytes, 0, sizeof(bytes) };
    struct pag_slot slot = { .factory = true, .size = d->before.bytes };
    slot.sequence = d->fault == PAG_SIM_AHEAD ? LATE_SEQUENCE : 0;
    memcpy(slot.digest, d->before.sha256, sizeof(slot.digest));
    enum pag_err err = pag_slot_factory_put(&slot, &record);
    const uint32_t last = (d->flash.area_sectors[PAG_AREA_SLOT_A] - 1) * PAG_SIM_SECTOR;
    if (err == PAG_OK) { /* it may be shared with a device that was sealed before */
        err = pag_sim_flash_erase(&d->flash, PAG_AREA_SLOT_A, last, PAG_SIM_SECTOR);
    }
    return err == PAG_OK ? pag_sim_flash_program(&d->flash, PAG_AREA_SLOT_A, last, pag_buf_span(&record))
                         : err;
}

/* Another trust set than the fleet's, in flash and pinned. */
static enum pag_err make_untrusting(struct pag_sim_device *d)
{
    struct native *n = d->body;
    uint8_t bytes[PAG_TRUST_MAX];
    uint8_t work[256] __attribute__((aligned(8)));
    struct pag_buf set = { bytes, 0, sizeof(bytes) };
    struct pag_buf chunk = { work, 0, sizeof(work) };
    struct pag_twin twin;
    enum pag_err err = pag_sim_stranger_set(d->world->options->product_id, &set);
    if (err == PAG_OK) {
        err = pag_twin_open(&twin, &n->port, PAG_AREA_TRUST, chunk);
    }
    if (err == PAG_OK) {
        err = pag_twin_write(&twin, pag_buf_span(&set), chunk);
    }
    n->settings.has_trust_pin = true;
    pag_sha256_of(pag_crypto_openssl(), pag_buf_span(&set), n->settings.trust_pin);
    return err;
}

static enum pag_err make_foreign(struct pag_sim_device *d)
{
    struct native *n = d->body;
    struct pag_buf certificate = { n->foreign_certificate, 0, DER_MAX };
    struct pag_buf key = { n->foreign_key, 0, DER_MAX };
    const enum pag_err err = pag_sim_board_foreign(d->mac, &certificate, &key);
    n->foreign_certificate_n = certificate.n;
    n->foreign_key_n = key.n;
    n->settings.certificate = pag_buf_span(&certificate);
    n->settings.key = pag_buf_span(&key);
    return err;
}

static enum pag_err make_new(struct pag_sim_device *d)
{
    enum pag_err err = seal_factory(d);
    if (err == PAG_OK && d->fault == PAG_SIM_UNTRUSTED) {
        err = make_untrusting(d);
    }
    if (err == PAG_OK && d->fault == PAG_SIM_FOREIGN) {
        err = make_foreign(d);
    }
    return err;
}

static enum pag_err resume(struct pag_sim_device *d)
{
    struct native *n = d->body;
    const struct pag_sim_saved_device *s = d->saved;
    if (s->certificate.n > DER_MAX || s->key.n > DER_MAX) {
        return PAG_E_RANGE;
    }
    n->is_resumed = true;
    if (s->pin.n == sizeof(n->settings.trust_pin)) {
        n->settings.has_trust_pin = true;
        memcpy(n->settings.trust_pin, s->pin.p, s->pin.n);
    }
    if (s->key.n > 0) {
        memcpy(n->foreign_certificate, s->certificate.p, s->certificate.n);
        memcpy(n->foreign_key, s->key.p, s->key.n);
        n->foreign_certificate_n = s->certificate.n;
        n->foreign_key_n = s->key.n;
        n->settings.certificate = pag_span_of(n->foreign_certificate, s->certificate.n);
        n->settings.key = pag_span_of(n->foreign_key, s->key.n);
    }
    return PAG_OK;
}

void pag_sim_native_save(const struct pag_sim_device *d, struct pag_sim_saved_device *out)
{
    const struct native *n = d->body;
    if (d->fault == PAG_SIM_UNTRUSTED) {
        out->pin = pag_span_of(n->settings.trust_pin, sizeof(n->settings.trust_pin));
    }
    out->certificate = pag_span_of(n->foreign_certificate, n->foreign_certificate_n);
    out->key = pag_span_of(n->foreign_key, n->foreign_key_n);
}

enum pag_err pag_sim_native_init(struct pag_sim_device *d)
{
    struct native *n = calloc(1, sizeof(*n));
    if (n == NULL) {
        return PAG_E_NO_MEMORY;
    }
    d->body = n;
    pag_sim_board_init(&n->port, d);
    n->port.running_slot = running_slot;
    n->port.reboot = reboot;
    fill_settings(d);
    const enum pag_err err = d->saved != NULL ? resume(d) : make_new(d);
    /* A fleet does not come up in the same millisecond. */
    const uint32_t spread_ms = 500 + 4 * d->world->options->devices;
    d->timer = (struct pag_timer){ .on_fire = on_timer, .ctx = d };
    pag_loop_timer(d->world->loop, &d->timer, pag_sim_random(d->world, spread_ms));
    return err;
}

void pag_sim_native_free(struct pag_sim_device *d)
{
    pag_sim_board_cut(d);
    free(d->body);
    d->body = NULL;
}
