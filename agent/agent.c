#include "agent/config.h"
#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

enum { SECTOR_MAX = 4096, STEP_MAX_MS = 1000, DAYS20_S = 1728000, LONELY_KEEP_S = 600, TRIAL_WAIT_S = 30 };
enum { YEARS20_S = 631152000, BUILT_AFTER_S = 1750000000 /* for images that do not say */ };

static const char *const words[PAG_AGENT_STATE_COUNT] = {
    "start", "enroll", "idle",  "poll",    "trust",  "manifest", "fetch",  "verify",
    "arm",   "report", "trial", "confirm", "revert", "reboot",   "halted",
};

static uint32_t state_halted(struct pag_inner *a)
{
    (void)a;
    return STEP_MAX_MS;
}

static uint32_t (*const states[PAG_AGENT_STATE_COUNT])(struct pag_inner *a) = {
    [PAG_AGENT_START] = pag_in_state_start,   [PAG_AGENT_ENROLL] = pag_in_state_enroll,
    [PAG_AGENT_IDLE] = pag_in_state_idle,     [PAG_AGENT_POLL] = pag_in_state_poll,
    [PAG_AGENT_TRUST] = pag_in_state_trust,   [PAG_AGENT_MANIFEST] = pag_in_state_manifest,
    [PAG_AGENT_FETCH] = pag_in_state_fetch,   [PAG_AGENT_VERIFY] = pag_in_state_verify,
    [PAG_AGENT_ARM] = pag_in_state_arm,       [PAG_AGENT_REPORT] = pag_in_state_report,
    [PAG_AGENT_TRIAL] = pag_in_state_trial,   [PAG_AGENT_CONFIRM] = pag_in_state_confirm,
    [PAG_AGENT_REVERT] = pag_in_state_revert, [PAG_AGENT_REBOOT] = pag_in_state_reboot,
    [PAG_AGENT_HALTED] = state_halted,
};

const char *pag_agent_state_word(enum pag_agent_state s)
{
    return (unsigned)s < PAG_AGENT_STATE_COUNT ? words[s] : "unknown";
}

static struct pag_inner *inner(struct pag_agent *agent)
{
    return (struct pag_inner *)agent->opaque;
}

static const struct pag_inner *inner_const(const struct pag_agent *agent)
{
    return (const struct pag_inner *)agent->opaque;
}

/* ---- small services ---- */

void pag_in_log(const struct pag_inner *a, const char *event, const char *text, int64_t value)
{
    if (a->port->log != NULL) {
        a->port->log(a->port->ctx, event, text, value);
    }
}

void pag_in_enter(struct pag_inner *a, enum pag_agent_state s)
{
    a->state = (uint8_t)s;
    a->entered = true;
    if (a->hooks != NULL && a->hooks->on_state != NULL) {
        a->hooks->on_state(a->hooks_ctx, s);
    }
}

enum pag_err pag_in_fail(struct pag_inner *a, enum pag_err err, const char *what)
{
    a->last_error = err;
    a->last_what = what != NULL ? what : "";
    pag_in_log(a, "agent.failed", a->last_what, err);
    return err;
}

uint32_t pag_in_random(const struct pag_inner *a, uint32_t below)
{
    uint8_t b[4];
    if (below == 0) {
        return 0;
    }
    a->port->random(a->port->ctx, b, sizeof b);
    return pag_u32le(b) % below;
}

uint32_t pag_in_ms(uint32_t s)
{
    return (s < DAYS20_S ? s : DAYS20_S) * 1000U;
}

bool pag_in_passed(const struct pag_inner *a, uint32_t since_ms, uint32_t ms)
{
    return a->now_ms - since_ms >= ms;
}

void pag_in_due(struct pag_inner *a, uint32_t ms)
{
    a->due_ms = a->now_ms;
    a->due_after = ms;
}

void pag_in_back_off(struct pag_inner *a)
{
    uint32_t s = a->trial ? 1 : a->set->backoff_min_s;
    uint32_t max_s = a->trial ? TRIAL_WAIT_S : a->set->backoff_max_s;
    for (uint8_t i = 0; i < a->fails && s < max_s; i++) {
        s = s > DAYS20_S / 2 ? DAYS20_S : s * 2;
    }
    s = s < max_s ? s : max_s;
    if (a->fails < 30) {
        a->fails++;
    }
    uint32_t ms = pag_in_ms(s);
    ms = ms / 2 + pag_in_random(a, ms / 2 + 1);
    /* A busy server must not hold a good image on trial until its deadline. */
    uint32_t most_s = a->trial ? TRIAL_WAIT_S : UINT32_MAX;
    a->retry_after_s = a->retry_after_s < most_s ? a->retry_after_s : most_s;
    if (a->retry_after_s > 0 && pag_in_ms(a->retry_after_s) > ms) {
        ms = pag_in_ms(a->retry_after_s) + pag_in_random(a, 1000);
    }
    a->retry_after_s = 0;
    pag_in_due(a, ms);
    pag_in_enter(a, a->trial ? PAG_AGENT_TRIAL : PAG_AGENT_IDLE);
}

void pag_in_rest(struct pag_inner *a)
{
    a->fails = 0;
    uint32_t ms = pag_in_ms(a->poll_s > 0 ? a->poll_s : a->set->poll_s);
    /* A tenth of jitter keeps a fleet that was started at once apart. */
    pag_in_due(a, ms - ms / 20 + pag_in_random(a, ms / 10 + 1));
    pag_in_enter(a, a->trial ? PAG_AGENT_TRIAL : PAG_AGENT_IDLE);
}

void pag_in_contact(struct pag_inner *a)
{
    a->contacted = true;
    a->contact_ever = true;
    a->contact_ms = a->now_ms;
}

enum pag_err pag_in_trigger(struct pag_inner *a, uint32_t jitter_ms)
{
    if (a->triggered_before && !pag_in_passed(a, a->trigger_ms, pag_in_ms(a->set->trigger_gap_s))) {
        a->fig.triggers_dropped++;
        return PAG_E_LIMIT;
    }
    a->triggered_before = true;
    a->trigger_ms = a->now_ms;
    uint32_t ms = pag_in_random(a, jitter_ms + 1);
    uint32_t waited = a->now_ms - a->due_ms;
    if (waited < a->due_after && a->due_after - waited > ms) {
        pag_in_due(a, ms);
    }
    return PAG_OK;
}

uint64_t pag_in_floor(const struct pag_inner *a)
{
    uint64_t max_s = pag_in_floor_max(a);
    uint64_t now_s = a->floor_s + (a->now_ms - a->floor_ms) / 1000;
    return a->floor_s == 0 ? 0 : now_s < max_s ? now_s : max_s;
}

uint64_t pag_in_floor_max(const struct pag_inner *a)
{
    return (a->set->build_time > 0 ? a->set->build_time : (uint64_t)BUILT_AFTER_S) + YEARS20_S;
}

void pag_in_raise_floor(struct pag_inner *a, uint64_t unix_s)
{
    uint64_t max_s = pag_in_floor_max(a);
    unix_s = unix_s < max_s ? unix_s : max_s;
    if (unix_s > pag_in_floor(a)) {
        a->floor_s = unix_s;
        a->floor_ms = a->now_ms;
    }
}

enum pag_err pag_in_record(struct pag_inner *a, const struct pag_journal_record *r)
{
    enum pag_err err = pag_journal_append(&a->j, r);
    return err == PAG_OK ? err : pag_in_fail(a, err, "journal cannot be written");
}

bool pag_in_may_reboot(const struct pag_inner *a)
{
    return a->hooks == NULL || a->hooks->may_update == NULL || a->hooks->may_update(a->hooks_ctx);
}

void pag_in_feed(const struct pag_inner *a)
{
    if (a->port->feed_watchdog != NULL) {
        a->port->feed_watchdog(a->port->ctx);
    }
}

uint8_t pag_in_progress(const struct pag_in_target *t)
{
    uint32_t hundredth = t->size / 100; /* in 32 bits: no device needs a 64-bit division for this */
    if (t->done >= t->size || hundredth == 0) {
        return t->size > 0 && t->done >= t->size ? 100 : 0;
    }
    return (uint8_t)(t->done / hundredth < 99 ? t->done / hundredth : 99);
}

uint8_t pag_in_boot_state(const struct pag_inner *a)
{
    if (a->trial) {
        return 1;
    }
    return a->came_back ? 2 : 0;
}

struct pag_buf pag_in_scratch(const struct pag_inner *a, uint32_t from, uint32_t n)
{
    return (struct pag_buf){ a->scratch + from, 0, n };
}

/* ---- the public face ---- */

enum pag_err pag_agent_init(struct pag_agent *agent, const struct pag_port *port,
                            const struct pag_settings *settings, struct pag_buf scratch)
{
    struct pag_inner *a = inner(agent);
    const struct pag_flash *f = &port->flash;
    memset(agent, 0, sizeof *agent);
    if (scratch.cap < PAG_AGENT_SCRATCH_BYTES || ((uintptr_t)scratch.p & 7) != 0) {
        return PAG_E_SPACE;
    }
    for (int i = 0; i < PAG_AREA_COUNT; i++) {
        if (f->area_bytes[i] < 2 * f->sector_bytes || f->area_bytes[i] % f->sector_bytes != 0) {
            return PAG_E_CONFIG;
        }
    }
    if (f->sector_bytes != SECTOR_MAX || pag_settings_check(settings, NULL) != PAG_OK) {
        return PAG_E_CONFIG;
    }
    a->port = port;
    a->set = settings;
    a->self = agent;
    a->scratch = scratch.p;
    a->last_what = "";
    a->last_report = UINT8_MAX;
    a->now_ms = port->now_ms(port->ctx);
    a->boot_ms = a->now_ms;
    a->trial_ms = pag_in_ms(settings->trial_s);
    a->contact_ms = a->now_ms;
    a->token_ms = a->now_ms;
    a->status_ms = a->now_ms;
    a->session_ms = a->now_ms;
    pag_httpc_init(&a->http, port);
    pag_mqttc_init(&a->mqtt, port);
    a->state = PAG_AGENT_START;
    a->entered = true;
    return PAG_OK;
}

void pag_agent_set_hooks(struct pag_agent *agent, const struct pag_agent_hooks *hooks, void *ctx)
{
    inner(agent)->hooks = hooks;
    inner(agent)->hooks_ctx = ctx;
}

static void run_hooks(struct pag_inner *a)
{
    if (a->hooks == NULL) {
        return;
    }
    if (!a->set_up && a->hooks->setup != NULL) {
        a->hooks->setup(a->hooks_ctx, a->self);
    }
    a->set_up = true;
    if (a->hooks->loop != NULL) {
        a->hooks->loop(a->hooks_ctx, a->self);
    }
}

/* Nobody has answered for long: a reset may help, in every state but those that write what boots. */
static void watch_loneliness(struct pag_inner *a)
{
    bool writing = a->state == PAG_AGENT_VERIFY || a->state == PAG_AGENT_ARM ||
                   a->state == PAG_AGENT_CONFIRM || a->state == PAG_AGENT_REVERT ||
                   a->state == PAG_AGENT_REBOOT;
    if (a->set->lonely_reboot_s == 0 || writing ||
        !pag_in_passed(a, a->contact_ms, pag_in_ms(a->set->lonely_reboot_s)) || !pag_in_may_reboot(a)) {
        return;
    }
    pag_in_log(a, "agent.lonely", NULL, 0);
    pag_in_forget(a, false);
    if (a->state != PAG_AGENT_START) {
        pag_in_identity_keep_time(a, LONELY_KEEP_S);
    }
    pag_in_enter(a, PAG_AGENT_REBOOT);
}

uint32_t pag_agent_step(struct pag_agent *agent)
{
    struct pag_inner *a = inner(agent);
    if (a->state == PAG_AGENT_HALTED) {
        return STEP_MAX_MS;
    }
    a->now_ms = a->port->now_ms(a->port->ctx);
    pag_in_feed(a);
    run_hooks(a);
    pag_in_watch_trial(a);
    watch_loneliness(a);
    uint32_t session_ms = pag_in_session(a);
    uint32_t ms = states[a->state](a);
    uint32_t took_ms = a->port->now_ms(a->port->ctx) - a->now_ms;
    a->loop_max_ms = took_ms > a->loop_max_ms ? took_ms : a->loop_max_ms;
    ms = session_ms < ms ? session_ms : ms;
    return ms < STEP_MAX_MS ? ms : STEP_MAX_MS;
}

enum pag_err pag_agent_check_now(struct pag_agent *agent)
{
    struct pag_inner *a = inner(agent);
    if (a->state != PAG_AGENT_IDLE) {
        return PAG_E_BUSY;
    }
    return pag_in_trigger(a, 0);
}

enum pag_err pag_agent_subscribe(struct pag_agent *agent, const char *filter)
{
    struct pag_inner *a = inner(agent);
    if (a->sub_n == PAG_SUBSCRIPTIONS_MAX) {
        return PAG_E_SPACE;
    }
    a->sub[a->sub_n++] = filter;
    return PAG_OK;
}

static enum pag_err publish(struct pag_inner *a, struct pag_span topic, struct pag_span payload)
{
    uint16_t id = 0;
    if (payload.n > PAG_PUBLISH_MAX) {
        return PAG_E_RANGE;
    }
    enum pag_err err =
        a->online_sent ? pag_mqttc_publish(&a->mqtt, topic, payload, 0, false, &id) : PAG_E_CLOSED;
    if (err == PAG_OK) {
        a->fig.published++;
    } else {
        a->fig.publish_drops++;
    }
    return err;
}

enum pag_err pag_agent_publish_raw(struct pag_agent *agent, const char *topic, struct pag_span payload)
{
    return publish(inner(agent), pag_span_str(topic), payload);
}

enum pag_err pag_agent_publish(struct pag_agent *agent, const char *topic, struct pag_span payload)
{
    struct pag_inner *a = inner(agent);
    uint8_t text[24 + PAG_DEVICE_ID_MAX + PAG_TOPIC_REST_MAX];
    struct pag_buf b = { text, 0, sizeof text };
    struct pag_span rest = pag_span_str(topic);
    if (rest.n == 0 || rest.n > PAG_TOPIC_REST_MAX) {
        return PAG_E_RANGE;
    }
    for (size_t i = 0; i < rest.n; i++) {
        uint8_t c = rest.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              c == '/' || c == '.' || c == '-')) {
            return PAG_E_SYNTAX;
        }
    }
    (void)pag_buf_put_str(&b, "pg/v1/d/");
    (void)pag_buf_put_str(&b, a->id);
    (void)pag_buf_put_str(&b, "/up/data/");
    enum pag_err err = pag_buf_put(&b, rest);
    return err == PAG_OK ? publish(a, pag_buf_span(&b), payload) : PAG_E_RANGE;
}

void pag_agent_status(const struct pag_agent *agent, struct pag_agent_status *out)
{
    const struct pag_inner *a = inner_const(agent);
    uint32_t now = a->port->now_ms(a->port->ctx);
    memset(out, 0, sizeof *out);
    out->state = (enum pag_agent_state)a->state;
    out->id = a->id;
    out->slot = a->slot;
    out->on_trial = a->trial;
    out->came_back = a->came_back;
    out->enrolled = a->enrolled;
    out->mqtt_up = a->mqtt.up;
    out->stale = a->stale;
    out->has_trust = a->trust_version > 0;
    out->progress_pct = a->target.has ? pag_in_progress(&a->target) : 0;
    out->last_report = a->last_report;
    out->action_id = a->target.has ? a->target.action_id : 0;
    out->sequence = a->run.sequence;
    out->epoch = a->j.epoch;
    out->trust_version = a->trust_version;
    memcpy(out->running, a->run.digest, sizeof out->running);
    out->last_error = a->last_error;
    out->last_what = a->last_what;
    out->contact_age_s = a->contact_ever ? (now - a->contact_ms) / 1000 : UINT32_MAX;
    out->now_unix_s = pag_in_floor(a);
    out->figures = a->fig;
}
