#include "agent/boot.h"
#include "agent/inner.h"
#include "core/bytes.h"
#include "core/manifest.h"
#include "core/mem.h"

enum { POLL_MS = 20, CAP_RANGE = 1, SETS_MAX = 64, KEEP_TIME_S = 86400, POLL_MIN_S = 5, NEW_IMAGES_MAX = 8 };

/* ---- START ---- */

/* What runs here, as its slot says (without manifest or factory record: zeros), and whether the other slot
 * holds an image that has failed. */
static void learn_images(struct pag_inner *a)
{
    struct pag_slot other;
    struct pag_buf work = pag_in_scratch(a, 0, PAG_SLOT_WORK_BYTES);
    if (pag_slot_read(a->port, a->slot, work, &a->run) != PAG_OK) {
        pag_in_log(a, "agent.unsealed", NULL, a->slot);
    }
    if (pag_slot_read(a->port, (uint8_t)(1 - a->slot), work, &other) == PAG_OK &&
        pag_journal_is_failed(&a->j, other.digest, other.sequence)) {
        memcpy(a->failed_digest, other.digest, sizeof a->failed_digest);
        memcpy(a->failed_manifest, other.manifest_digest, sizeof a->failed_manifest);
        a->failed_action = other.action_id;
        a->has_failed_digest = true;
    }
}

enum pag_err pag_in_checkpoint(struct pag_inner *a)
{
    struct pag_journal_record r = { .type = PAG_JOURNAL_CHECKPOINT,
                                    .slot = a->slot,
                                    .sequence = a->run.sequence };
    r.epoch = a->j.any ? 0 : a->run.epoch;
    memcpy(r.digest, a->run.digest, sizeof r.digest);
    return pag_in_record(a, &r);
}

/* Does the journal name the running image as the confirmed one? */
static bool runs_confirmed(const struct pag_inner *a)
{
    const struct pag_journal_record *last = &a->j.last;
    bool confirmed = last->type == PAG_JOURNAL_CONFIRM || last->type == PAG_JOURNAL_EPOCH;
    const struct pag_journal_record *r = confirmed ? last : &a->j.checkpoint;
    bool half = last->type == PAG_JOURNAL_CONFIRM && last->count == 0;
    return !half && r->slot == a->slot && memcmp(r->digest, a->run.digest, sizeof r->digest) == 0;
}

/* Power has failed between CONFIRM b and EPOCH: the floor rises now. A report owed stays so. */
static enum pag_err raise_epoch(struct pag_inner *a)
{
    bool reverted = a->j.last.type == PAG_JOURNAL_REVERTED; /* first told, then CHECKPOINT follows */
    if (reverted || !runs_confirmed(a) || a->run.epoch <= a->j.epoch) {
        return PAG_OK;
    }
    bool owed = a->j.last.type == PAG_JOURNAL_CONFIRM || a->j.last.type == PAG_JOURNAL_EPOCH;
    struct pag_journal_record r = { .type = PAG_JOURNAL_EPOCH,
                                    .slot = a->slot,
                                    .epoch = a->run.epoch,
                                    .sequence = a->run.sequence,
                                    .aux = owed ? a->j.last.aux : 0 };
    memcpy(r.digest, a->run.digest, sizeof r.digest);
    enum pag_err err = pag_in_record(a, &r);
    return err != PAG_OK || owed ? err : pag_in_checkpoint(a);
}

/* Puts the journal right that the loader has left; at most two records. */
static enum pag_err settle_journal(struct pag_inner *a)
{
    if (!a->j.any) {
        return pag_in_checkpoint(a); /* first start of a new device, or both sectors lost */
    }
    struct pag_journal_record again = a->j.last;
    again.epoch = 0;
    if (a->trial && again.count == 0) {
        again.count = 1; /* a vendor's loader has jumped here: agent/port.h */
        return pag_in_record(a, &again);
    }
    if (a->trial) {
        return PAG_OK;
    }
    if (pag_in_owed(a)) {
        /* The record read may be a weak one: what is reported rests on one written in this power-up. */
        a->came_back = again.type == PAG_JOURNAL_REVERTED;
        enum pag_err err = pag_in_record(a, &again);
        return err == PAG_OK ? raise_epoch(a) : err;
    }
    if (pag_boot_active(&a->j) != a->slot) {
        /* Not for good: the next boot may find the confirmed image whole. */
        pag_in_log(a, "agent.fallback", "the loader found the confirmed image broken", a->slot);
        return PAG_OK;
    }
    return raise_epoch(a);
}

static void learn_trial(struct pag_inner *a)
{
    const struct pag_journal_record *last = &a->j.last;
    a->trial = a->j.any && last->type == PAG_JOURNAL_TRY && last->slot == a->slot;
    a->try_n = !a->trial ? 0 : last->count > 0 ? last->count : 1;
    if (a->trial && last->aux != 0) {
        a->trial_ms = pag_in_ms(last->aux);
    }
}

static void learn_trust(struct pag_inner *a)
{
    struct pag_buf raw = pag_in_scratch(a, 0, PAG_TRUST_MAX);
    struct pag_trust_set *set = (struct pag_trust_set *)(void *)(a->scratch + PAG_TRUST_MAX);
    if (pag_twin_open(&a->trust_twin, a->port, PAG_AREA_TRUST, raw) == PAG_OK && a->trust_twin.has &&
        pag_in_trust_get(a, &raw, set) == PAG_OK &&
        memcmp(set->product, a->set->product, sizeof set->product) == 0) {
        a->trust_version = set->version;
    }
}

uint32_t pag_in_state_start(struct pag_inner *a)
{
    uint32_t rest_ms = pag_in_journal_rests(a);
    if (rest_ms > 0) {
        return rest_ms;
    }
    a->slot = a->port->running_slot(a->port->ctx) != 0 ? 1 : 0;
    enum pag_err err = pag_boot_journal(a->port, &a->jflash, &a->j);
    if (err == PAG_OK) {
        learn_trial(a); /* before anything that may fail: its deadline must bind */
        err = pag_in_identity_load(a);
    }
    if (err != PAG_OK) {
        (void)pag_in_fail(a, err, "flash cannot be read");
        return 1000;
    }
    learn_trust(a);
    learn_images(a);
    pag_in_numbers_begin(a);
    if (settle_journal(a) != PAG_OK && a->trial) {
        return pag_in_journal_refuses(a);
    }
    a->journal_fails = 0;
    a->want_nonce = true;
    pag_in_log(a, "agent.start", a->id, a->run.sequence);
    pag_in_due(a, 0);
    if (!a->enrolled) {
        pag_in_enter(a, PAG_AGENT_ENROLL);
        return 0;
    }
    pag_in_enter(a, a->trial ? PAG_AGENT_TRIAL : PAG_AGENT_IDLE);
    return 0;
}

/* ---- IDLE ---- */

static void watch_time(struct pag_inner *a)
{
    uint32_t window_ms = pag_in_ms(a->set->fresh_window_s);
    uint64_t unix_s = a->port->now_unix_s != NULL ? a->port->now_unix_s(a->port->ctx) : 0;
    /* the floor is kept over resets: a frozen device without a clock notices too */
    uint64_t now_s = unix_s > pag_in_floor(a) ? unix_s : pag_in_floor(a);
    bool late = pag_in_passed(a, a->token_ms, window_ms);
    bool late_by_clock = a->token_s > 0 && now_s > a->token_s && now_s - a->token_s > a->set->fresh_window_s;
    if ((late || late_by_clock) && !a->stale) {
        a->stale = true;
        pag_in_log(a, "agent.stale", NULL, 0);
    }
    uint32_t every_s = a->set->fresh_every_s;
    every_s = a->token_valid_s > 0 && a->token_valid_s < every_s ? a->token_valid_s : every_s;
    if (pag_in_passed(a, a->token_ms, pag_in_ms(every_s))) {
        a->want_nonce = true;
    }
    /* millisecond differences stay meaningful for 24 days; an older moment is moved along */
    if (pag_in_passed(a, a->token_ms, pag_in_ms(UINT32_MAX))) {
        a->token_ms = a->now_ms - pag_in_ms(UINT32_MAX);
    }
    uint64_t floor_s = pag_in_floor(a);
    a->floor_s = floor_s;
    a->floor_ms = a->floor_ms + (a->now_ms - a->floor_ms) / 1000 * 1000;
}

uint32_t pag_in_state_idle(struct pag_inner *a)
{
    if (a->entered) {
        a->entered = false;
        pag_in_forget(a, false); /* an idle device holds one connection: MQTT */
        a->target.has = false;
        a->target.fill = 0;
        pag_in_identity_keep_time(a, KEEP_TIME_S);
    }
    watch_time(a);
    if (pag_in_order_step(a)) {
        return 0;
    }
    if (a->reboot_wanted && !a->result.has && pag_in_may_reboot(a)) {
        pag_in_enter(a, PAG_AGENT_REBOOT);
        return 0;
    }
    if (a->result.has && !a->report.must && pag_in_passed(a, a->result.since_ms, a->result.wait_ms)) {
        a->result.since_ms = a->now_ms;
        a->result.wait_ms = pag_in_ms(a->set->backoff_min_s);
        pag_in_say_result(a, PAG_AGENT_IDLE);
        return 0;
    }
    if (!a->report.must && pag_in_renew_due(a)) {
        pag_in_renew_begin(a);
        return 0;
    }
    uint32_t waited = a->now_ms - a->due_ms;
    if (waited < a->due_after) {
        return a->due_after - waited;
    }
    if (pag_in_owed(a)) {
        pag_in_say_owed(a);
    } else if (a->report.must) {
        pag_in_enter(a, PAG_AGENT_REPORT);
    } else {
        pag_in_enter(a, PAG_AGENT_POLL);
    }
    return 0;
}

/* ---- POLL ---- */

static enum pag_err ask(struct pag_inner *a)
{
    struct pag_native_check m = {
        .running_digest = pag_span_of(a->run.digest, sizeof a->run.digest),
        .version = pag_span_str(a->set->version[0] != 0 ? a->set->version : a->run.version),
        .sequence = a->run.sequence,
        .epoch = a->j.epoch,
        .trust_version = a->trust_version,
        .slot = a->slot,
        .boot_state = pag_in_boot_state(a),
        .slot_bytes = pag_slot_room(a->port, (uint8_t)(1 - a->slot)),
        .chip = a->set->chip,
        .hardware = pag_span_of(a->set->hardware, a->set->hardware_n),
        .boot_count = a->j.seq,
        .has_nonce = a->want_nonce,
        .nonce = pag_span_of(a->nonce, sizeof a->nonce),
        .capabilities = (uint32_t)CAP_RANGE | PAG_CAP_SIGNED_COMMANDS,
    };
    if (a->want_nonce) {
        a->port->random(a->port->ctx, a->nonce, sizeof a->nonce);
    } else {
        m.nonce.n = 0;
    }
    if (a->has_failed_digest) {
        m.last_failed = pag_span_of(a->failed_digest, sizeof a->failed_digest);
    }
    struct pag_buf body = pag_in_scratch(a, PAG_IN_REQUEST_MAX / 2, PAG_IN_REQUEST_MAX / 2);
    enum pag_err err = pag_native_check_put(&body, &m);
    if (err != PAG_OK) {
        return err;
    }
    a->fig.checks++;
    return pag_in_ask(
        a, &(struct pag_in_request){ .method = "POST", .path = "/v1/check", .body = pag_buf_span(&body) });
}

uint32_t pag_in_state_poll(struct pag_inner *a)
{
    const char *what = "check: no answer";
    enum pag_err err = PAG_OK;
    if (a->entered) {
        a->entered = false;
        err = ask(a);
        if (err == PAG_OK) {
            return 0;
        }
    } else {
        err = pag_in_answer(a);
        if (err == PAG_E_AGAIN) {
            return POLL_MS;
        }
        if (err == PAG_OK) {
            err = pag_in_judge(a, &what);
        }
    }
    if (err != PAG_OK) {
        a->fig.check_failures++;
        (void)pag_in_fail(a, err, what);
        pag_in_forget(a, false);
        pag_in_back_off(a);
        return 0;
    }
    if (a->x.reply.status == 204) {
        pag_in_forget(a, true);
        pag_in_rest(a);
        return 0;
    }
    pag_in_enter(a, PAG_AGENT_MANIFEST);
    return 0;
}

/* ---- MANIFEST ---- */

/* What is left of an offer once its small parts were taken; the spans lie at the start of scratch. */
struct offer {
    uint32_t action_id;
    struct pag_span manifest, token, permit;
    uint32_t end; /* first free byte of scratch, multiple of 8 */
};

/* Moves s down to at; the parts of a message keep their order, so nothing is overwritten that is still
 * wanted. */
static struct pag_span pack(struct pag_inner *a, uint32_t *at, struct pag_span s)
{
    struct pag_span out = pag_span_of(a->scratch + *at, s.n);
    if (s.n > 0) {
        memmove(a->scratch + *at, s.p, s.n);
    }
    *at += (uint32_t)s.n;
    return out;
}

static enum pag_err take_offer(struct pag_inner *a, struct offer *out)
{
    struct pag_native_offer m;
    enum pag_err err = pag_native_offer_get(pag_span_of(a->scratch, a->x.body_n), &m);
    if (err != PAG_OK) {
        return err;
    }
    uint32_t at = 0;
    uint32_t least_s = a->set->poll_s < POLL_MIN_S ? a->set->poll_s : POLL_MIN_S;
    a->poll_s = m.poll_s > 0 && m.poll_s < least_s ? least_s : m.poll_s;
    a->trust_wanted = m.trust_version;
    for (uint8_t i = 0; i < m.command_n; i++) {
        pag_in_command(a, &m.command[i]);
    }
    out->action_id = m.action_id;
    out->manifest = pack(a, &at, m.manifest);
    out->token = pack(a, &at, m.token);
    out->permit = pack(a, &at, m.permit);
    out->end = (at + 7) & ~7U;
    return PAG_OK;
}

/* Where judging lays things: raw set, parsed set; then manifests over the raw set. */
struct desk {
    struct pag_trust_set *trust;
    struct pag_manifest *manifest, *permit;
};
enum { MANIFEST_ROOM = (sizeof(struct pag_manifest) + 7) & ~7U };
_Static_assert(2 * MANIFEST_ROOM <= PAG_TRUST_MAX, "two manifests fit where the raw set was");
_Static_assert(2 * PAG_MANIFEST_MAX + PAG_TOKEN_MAX + 8 + PAG_TRUST_MAX + sizeof(struct pag_trust_set) <=
                   PAG_AGENT_SCRATCH_BYTES,
               "an offer is judged in scratch");

static enum pag_err lay_out(struct pag_inner *a, const struct offer *o, struct desk *d)
{
    uint8_t *base = a->scratch + o->end;
    struct pag_buf raw = { base, 0, PAG_TRUST_MAX };
    d->trust = (struct pag_trust_set *)(void *)(base + PAG_TRUST_MAX);
    d->manifest = (struct pag_manifest *)(void *)base;
    d->permit = (struct pag_manifest *)(void *)(base + MANIFEST_ROOM);
    return pag_in_trust_get(a, &raw, d->trust);
}

static enum pag_err judge_token(const struct pag_inner *a, const struct pag_token *t, struct pag_fail *why)
{
    /* x still says when the nonce was made: the request of this very answer */
    if (pag_in_passed(a, a->x.begun_ms, pag_in_ms(t->valid_s))) {
        return pag_fail_set(why, PAG_E_STALE, "token: no longer valid", t->valid_s);
    }
    if (t->trust_version < a->trust_version) {
        return pag_fail_set(why, PAG_E_STALE, "token: of a server that knows an older trust set",
                            t->trust_version);
    }
    return PAG_OK;
}

static void take_token(struct pag_inner *a, const struct offer *o, const struct desk *d)
{
    struct pag_token t;
    struct pag_fail why = { 0 };
    if (o->token.n == 0 || !a->want_nonce) {
        return;
    }
    enum pag_err err = pag_token_verify(a->port->crypto, o->token, d->trust, a->nonce, &t, &why);
    pag_in_feed(a);
    if (err == PAG_OK) {
        err = judge_token(a, &t, &why);
    }
    if (err != PAG_OK) {
        (void)pag_in_fail(a, err, why.what);
        return;
    }
    a->want_nonce = false;
    a->stale = false;
    a->token_ms = a->now_ms;
    a->token_s = t.server_time;
    a->token_valid_s = t.valid_s;
    a->trust_wanted = t.trust_version > a->trust_wanted ? t.trust_version : a->trust_wanted;
    pag_in_raise_floor(a, t.server_time);
}

static void fill_target(struct pag_inner *a, struct pag_manifest_target *t, struct pag_conditions *state)
{
    *t = (struct pag_manifest_target){ .kind = PAG_KIND_FIRMWARE, .chip = (enum pag_chip)a->set->chip };
    memcpy(t->product, a->set->product, sizeof t->product);
    t->hardware.n = a->set->hardware_n;
    memcpy(t->hardware.id, a->set->hardware, a->set->hardware_n);
    t->image = a->set->image;
    t->epoch = a->j.epoch;
    t->sequence = a->run.sequence;
    t->trust_version = a->trust_version;
    t->slot_bytes = pag_slot_room(a->port, (uint8_t)(1 - a->slot));
    t->now_unix_s = pag_in_floor(a);
    t->has_layout = a->set->has_layout;
    memcpy(t->layout, a->set->layout, sizeof t->layout);
    memcpy(t->installed, a->run.digest, sizeof t->installed);
    *state = (struct pag_conditions){ 0 };
    if (a->port->measure != NULL) {
        a->port->measure(a->port->ctx, state);
    } else {
        uint32_t heap = a->port->free_heap != NULL ? a->port->free_heap(a->port->ctx) / 1024 : 0;
        int32_t rssi = a->port->rssi_dbm != NULL ? a->port->rssi_dbm(a->port->ctx) : 0;
        state->has = (uint8_t)((heap > 0 ? 2 : 0) | (rssi < 0 ? 4 : 0));
        state->heap_min_kib = (uint16_t)(heap < UINT16_MAX ? heap : UINT16_MAX);
        state->rssi_min_dbm = (int8_t)(rssi < INT8_MIN ? INT8_MIN : rssi);
    }
    t->state = state;
}

static enum pag_err judge(struct pag_inner *a, const struct offer *o, const struct desk *d,
                          struct pag_fail *why)
{
    struct pag_manifest_target t;
    struct pag_conditions state;
    if (d->trust->expires_at != 0 && pag_in_floor(a) > d->trust->expires_at) {
        return pag_fail_set(why, PAG_E_CONDITION, "trust set has expired, a new one is needed",
                            d->trust->expires_at);
    }
    enum pag_err err = pag_manifest_verify(a->port->crypto, o->manifest, d->trust, d->manifest, why);
    if (err != PAG_OK) {
        return err;
    }
    fill_target(a, &t, &state);
    pag_in_feed(a);
    if (o->permit.n > 0 &&
        pag_manifest_verify(a->port->crypto, o->permit, d->trust, d->permit, NULL) == PAG_OK) {
        t.permit = d->permit;
    }
    err = pag_manifest_admit(d->manifest, &t, why);
    if (err != PAG_OK) {
        return err;
    }
    if (pag_journal_is_failed(&a->j, d->manifest->digest, d->manifest->sequence)) {
        return pag_fail_set(why, PAG_E_BLOCKED, "admit: this image has failed its trial here", 0);
    }
    if (a->has_given_up && a->given_up_sequence == d->manifest->sequence &&
        memcmp(a->given_up, d->manifest->digest, sizeof a->given_up) == 0) {
        return pag_fail_set(why, PAG_E_LIMIT, "admit: given up after whole downloads", PAG_IN_DOWNLOADS_MAX);
    }
    if (pag_in_passed(a, a->fresh_ms, pag_in_ms(KEEP_TIME_S))) {
        a->fresh_ms = a->now_ms;
        a->fresh_n = 0;
    }
    if (a->fresh_n >= NEW_IMAGES_MAX &&
        memcmp(a->j.last.digest, d->manifest->digest, sizeof a->j.last.digest) != 0) {
        return pag_fail_set(why, PAG_E_CONDITION, "admit: enough images begun today", NEW_IMAGES_MAX);
    }
    if (a->hooks != NULL && a->hooks->may_update != NULL && !a->hooks->may_update(a->hooks_ctx)) {
        return pag_fail_set(why, PAG_E_CONDITION, "admit: the application asks to wait", 0);
    }
    return PAG_OK;
}

static void aim(struct pag_inner *a, const struct offer *o, const struct pag_manifest *m)
{
    struct pag_in_target *t = &a->target;
    memset(t, 0, sizeof *t);
    a->cancel = false; /* a cancel that came before was for another action */
    t->has = true;
    t->action_id = o->action_id;
    t->size = m->size;
    t->sequence = m->sequence;
    t->epoch = m->epoch;
    memcpy(t->digest, m->digest, sizeof t->digest);
    t->manifest_n = (uint16_t)o->manifest.n;
    memcpy(t->manifest, o->manifest.p, o->manifest.n);
    pag_sha256_of(a->port->crypto, o->manifest, t->manifest_digest);
    pag_in_raise_floor(a, m->issued_at);
}

static uint32_t refuse(struct pag_inner *a, const struct offer *o, enum pag_err err, const char *what)
{
    memset(&a->target, 0, sizeof a->target);
    a->target.has = true; /* so that the report names action and manifest */
    a->target.action_id = o->action_id;
    pag_sha256_of(a->port->crypto, o->manifest, a->target.manifest_digest);
    if (err == PAG_E_EXISTS) { /* nothing to do: the server has missed that it runs */
        pag_in_say(a, PAG_REPORT_CONFIRMED, PAG_OK, NULL, PAG_AGENT_IDLE);
        return 0;
    }
    a->fig.refused++;
    (void)pag_in_fail(a, err, what);
    pag_in_say(a, err == PAG_E_CONDITION ? PAG_REPORT_DEFERRED : PAG_REPORT_REJECTED, err, what,
               PAG_AGENT_IDLE);
    return 0;
}

/* A set that the device lacks and may fetch now. */
static bool lacks_set(const struct pag_inner *a)
{
    return !a->trial && (a->trust_version > 0 || a->set->has_trust_pin) &&
           a->trust_wanted > a->trust_version && a->trust_wanted - a->trust_version <= SETS_MAX;
}

static uint32_t judge_offer(struct pag_inner *a, const struct offer *o)
{
    struct desk d = { 0 };
    struct pag_fail why = { 0 };
    bool set_missing = a->trust_version == 0;
    enum pag_err err = set_missing ? PAG_E_NOT_FOUND : lay_out(a, o, &d);
    if (err == PAG_OK) {
        take_token(a, o, &d);
    }
    if (lacks_set(a)) { /* the token has said so, the offer has not */
        pag_in_enter(a, PAG_AGENT_TRUST);
        return 0;
    }
    if (a->trial || o->manifest.n == 0) {
        pag_in_rest(a); /* on trial nothing new is begun */
        return 0;
    }
    a->fig.offers++;
    if (err == PAG_OK) {
        err = judge(a, o, &d, &why);
    } else {
        why.what = "no trust set, nothing can be accepted";
    }
    if (err != PAG_OK) {
        return refuse(a, o, err, why.what);
    }
    aim(a, o, d.manifest);
    pag_in_say(a, PAG_REPORT_DOWNLOADING, PAG_OK, NULL, PAG_AGENT_FETCH);
    return 0;
}

uint32_t pag_in_state_manifest(struct pag_inner *a)
{
    struct offer o;
    a->entered = false;
    enum pag_err err = take_offer(a, &o);
    pag_in_forget(a, true);
    if (err != PAG_OK) {
        (void)pag_in_fail(a, err, "check: answer is not an offer");
        pag_in_forget(a, false);
        pag_in_back_off(a);
        return 0;
    }
    if (lacks_set(a)) {
        pag_in_enter(a, PAG_AGENT_TRUST);
        return 0;
    }
    return judge_offer(a, &o);
}
