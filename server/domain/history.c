#include "server/domain/history.h"

#include <string.h>

#include "server/domain/words.h"

/* ---- reports ---- */

/* How far an update has come; final states are above all others. */
static unsigned rank(enum pag_report_state s)
{
    switch (s) {
    case PAG_REPORT_OFFERED:
        return 0;
    case PAG_REPORT_DEFERRED:
        return 1;
    case PAG_REPORT_DOWNLOADING:
        return 2;
    case PAG_REPORT_DOWNLOADED:
        return 3;
    case PAG_REPORT_INSTALLING:
        return 4;
    case PAG_REPORT_REBOOTING:
        return 5;
    case PAG_REPORT_CONFIRMED:
    case PAG_REPORT_FAILED:
    case PAG_REPORT_REVERTED:
    case PAG_REPORT_REJECTED:
    case PAG_REPORT_CANCELLED:
        return 6;
    }
    return 0;
}

static bool is_new_try(enum pag_report_state s)
{
    return s == PAG_REPORT_DOWNLOADING || s == PAG_REPORT_DEFERRED;
}

static bool is_digest(struct pag_span s, const uint8_t digest[PAG_SHA256_BYTES])
{
    return s.n == PAG_SHA256_BYTES && memcmp(s.p, digest, PAG_SHA256_BYTES) == 0;
}

static void take_text(char out[PAG_WHY_MAX + 1], struct pag_span text)
{
    size_t n = text.n < PAG_WHY_MAX ? text.n : PAG_WHY_MAX;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = text.p[i];
        out[i] = (char)(c < 0x20 || c == 0x7F ? ' ' : c);
    }
    while (n > 0 && !pag_utf8_ok(pag_span_of(out, n))) {
        n--; /* cut inside a character, or never UTF-8 */
    }
    out[n] = '\0';
}

enum pag_err pag_action_report(const struct pag_action *a, const struct pag_native_report *r, int64_t now_ms,
                               struct pag_action *next, enum pag_report_verdict *verdict,
                               struct pag_fail *why)
{
    if (r->state > PAG_REPORT_CANCELLED) {
        return pag_fail_set(why, PAG_E_RANGE, "no such report state", r->state);
    }
    enum pag_report_state state = (enum pag_report_state)r->state;
    if (r->manifest_digest.n != 0 && !is_digest(r->manifest_digest, a->manifest_digest)) {
        return pag_fail_set(why, PAG_E_DIGEST, "the report is about another manifest", r->action_id);
    }
    *verdict = PAG_REPORT_APPLY;
    if (pag_action_final(a->state)) {
        *verdict = PAG_REPORT_LATE;
        return PAG_OK;
    }
    if (state == PAG_REPORT_CONFIRMED && !is_digest(r->running_digest, a->target)) {
        return pag_fail_set(why, PAG_E_CONFLICT, "confirmed, but the image of this action does not run",
                            r->action_id);
    }
    /* Numbers rise within an action and wrap (docs/spec/native.md 1); 0 is none. */
    bool seen = r->seq != 0 && a->report_seq != 0 && (int32_t)(r->seq - a->report_seq) <= 0;
    bool back = rank(state) < rank(a->state) && !is_new_try(state);
    bool same = state == a->state && r->progress_pct == a->progress_pct && r->code == a->code;
    if (seen || back || (same && state != PAG_REPORT_OFFERED)) {
        *verdict = PAG_REPORT_DUPLICATE;
        return PAG_OK;
    }
    *next = *a;
    next->state = state;
    next->progress_pct = r->progress_pct <= 100 ? r->progress_pct : 100;
    next->code = r->code;
    take_text(next->text, r->text);
    next->changed_ms = now_ms;
    next->report_seq = r->seq != 0 ? r->seq : a->report_seq;
    return PAG_OK;
}

/* ---- history of one image ---- */

/* The same device would refuse the same bytes again: it is not the network, the power or the time. */
static bool is_for_good(int32_t code)
{
    static const enum pag_err reasons[] = {
        PAG_E_SIGNATURE, PAG_E_PRODUCT, PAG_E_HARDWARE, PAG_E_ROLLBACK,
        PAG_E_BLOCKED,   PAG_E_SYNTAX,  PAG_E_MAGIC,    PAG_E_UNSUPPORTED
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (code == reasons[i]) {
            return true;
        }
    }
    return false;
}

static void block(struct pag_device_image *h, const char *how, const char *text)
{
    struct pag_words w = pag_words_into(h->reason, sizeof h->reason);
    h->blocked = true;
    pag_words_put(&w, h->version[0] != '\0' ? h->version : "The image");
    pag_words_put(&w, how);
    if (h->failures > 1) {
        pag_words_put(&w, " ");
        pag_words_num(&w, h->failures);
        pag_words_put(&w, " times");
    }
    pag_words_put(&w, "; not offered again until retry.");
    if (text[0] != '\0') {
        pag_words_put(&w, " It said: ");
        pag_words_put(&w, text);
    }
    for (size_t n = w.b.n; n > 0 && !pag_utf8_ok(pag_span_of(h->reason, n)); n--) {
        h->reason[n - 1] = '\0'; /* cut inside a character */
    }
}

void pag_history_outcome(struct pag_device_image *h, const struct pag_action *final, bool native,
                         int64_t now_ms)
{
    h->changed_ms = now_ms;
    switch (final->state) {
    case PAG_REPORT_CONFIRMED:
        h->serves = 0;
        break;
    case PAG_REPORT_REVERTED:
        h->failures++;
        if (native || h->failures >= PAG_FAILURES_MAX) {
            block(h, " was installed and the device went back to the old image", "");
        }
        break;
    case PAG_REPORT_FAILED:
    case PAG_REPORT_REJECTED:
        h->failures++;
        if (h->failures >= PAG_FAILURES_MAX || is_for_good(final->code)) {
            block(h, final->state == PAG_REPORT_REJECTED ? " was refused by the device" : " failed",
                  final->text);
        }
        break;
    case PAG_REPORT_OFFERED:
    case PAG_REPORT_DOWNLOADING:
    case PAG_REPORT_DOWNLOADED:
    case PAG_REPORT_INSTALLING:
    case PAG_REPORT_REBOOTING:
    case PAG_REPORT_DEFERRED:
    case PAG_REPORT_CANCELLED:
        break;
    }
}

void pag_history_regressed(struct pag_device_image *h, int64_t now_ms)
{
    h->changed_ms = now_ms;
    h->failures++;
    if (h->failures >= PAG_FAILURES_MAX) {
        block(h, " ran and the device came back with an older image", "");
    }
}

void pag_history_served(struct pag_device_image *h, int64_t now_ms)
{
    h->serves++;
    h->changed_ms = now_ms;
}

bool pag_history_looping(const struct pag_device_image *h, uint32_t max_serves)
{
    return h->serves >= max_serves;
}

/* ---- what a check-in proves ---- */

static bool runs_target(const struct pag_action *a, const struct pag_device *d)
{
    if (d->facts.running.source != PAG_ABSENT) {
        return memcmp(d->facts.running.value, a->target, sizeof a->target) == 0;
    }
    return d->protocol != PAG_PROTOCOL_NATIVE && d->facts.version.source != PAG_ABSENT &&
           strcmp(d->facts.version.value, a->version) == 0;
}

enum pag_report_state pag_action_seen(const struct pag_action *a, const struct pag_device *d)
{
    const struct pag_facts *f = &d->facts;
    if (pag_action_final(a->state)) {
        return a->state;
    }
    if (runs_target(a, d)) {
        bool trial = f->boot_state.source != PAG_ABSENT && f->boot_state.value == 1;
        if (trial) { /* also when no report of it came through */
            return rank(a->state) < rank(PAG_REPORT_REBOOTING) ? PAG_REPORT_REBOOTING : a->state;
        }
        return PAG_REPORT_CONFIRMED;
    }
    if (d->protocol == PAG_PROTOCOL_NATIVE) {
        bool back = f->boot_state.source != PAG_ABSENT && f->boot_state.value == 2 &&
                    f->last_failed.source != PAG_ABSENT &&
                    memcmp(f->last_failed.value, a->target, sizeof a->target) == 0;
        return back ? PAG_REPORT_REVERTED : a->state;
    }
    if (d->protocol == PAG_PROTOCOL_FILES && f->running.source == PAG_ABSENT) {
        return a->state; /* it never says what it runs */
    }
    if (d->protocol == PAG_PROTOCOL_SECUREESP) {
        return a->state; /* it says what it runs all the time: that it came back is for its reboot to show */
    }
    /* It had every byte and asks with another image: the install did not last. */
    return a->state == PAG_REPORT_INSTALLING ? PAG_REPORT_FAILED : a->state;
}

/* ---- the state that people see ---- */

static enum pag_device_state open_state(const struct pag_device_view *v, struct pag_words *w)
{
    const struct pag_facts *f = &v->device->facts;
    pag_words_put(w, v->action->version);
    switch (v->action->state) {
    case PAG_REPORT_DEFERRED:
        pag_words_put(w, " is deferred by the device");
        if (v->action->text[0] != '\0') {
            pag_words_put(w, ": ");
            pag_words_put(w, v->action->text);
        }
        pag_words_put(w, ".");
        return PAG_DEVICE_UPDATE_OFFERED;
    case PAG_REPORT_OFFERED:
        pag_words_put(w, " is offered.");
        return PAG_DEVICE_UPDATE_OFFERED;
    case PAG_REPORT_DOWNLOADING:
        pag_words_put(w, " is being downloaded.");
        return PAG_DEVICE_UPDATING;
    case PAG_REPORT_DOWNLOADED:
    case PAG_REPORT_INSTALLING:
    case PAG_REPORT_REBOOTING:
    case PAG_REPORT_CONFIRMED:
    case PAG_REPORT_FAILED:
    case PAG_REPORT_REVERTED:
    case PAG_REPORT_REJECTED:
    case PAG_REPORT_CANCELLED:
        break;
    }
    if (f->boot_state.source != PAG_ABSENT && f->boot_state.value == 1) {
        pag_words_put(w, " runs on trial.");
        return PAG_DEVICE_ON_TRIAL;
    }
    pag_words_put(w, " is being installed.");
    return PAG_DEVICE_UPDATING;
}

static enum pag_device_state failed_state(const struct pag_device_view *v, struct pag_words *w)
{
    bool reverted = v->action->state == PAG_REPORT_REVERTED;
    pag_words_put(w, v->action->version);
    if (reverted) {
        pag_words_put(w, " did not pass its trial; the device went back to the old image");
    } else {
        pag_words_put(w, v->action->state == PAG_REPORT_REJECTED ? " was refused by the device" : " failed");
    }
    if (v->action->text[0] != '\0') {
        pag_words_put(w, ": ");
        pag_words_put(w, v->action->text);
    }
    pag_words_put(w, v->blocked != NULL ? "; not offered again until retry." : ".");
    return reverted ? PAG_DEVICE_REVERTED : PAG_DEVICE_FAILED;
}

static bool is_failure(enum pag_report_state s)
{
    return s == PAG_REPORT_FAILED || s == PAG_REPORT_REVERTED || s == PAG_REPORT_REJECTED;
}

/* What failed last says nothing of another image. */
static bool is_due(const struct pag_device_view *v)
{
    return v->due_version != NULL &&
           (v->action == NULL || !is_failure(v->action->state) ||
            memcmp(v->action->target, v->due_sha256, sizeof v->action->target) != 0);
}

enum pag_device_state pag_device_judge(const struct pag_device_view *v, char why[PAG_WHY_MAX + 1])
{
    struct pag_words w = pag_words_into(why, PAG_WHY_MAX + 1);
    if (v->device->revoked_ms != 0) {
        pag_words_put(&w, "Its certificate was revoked.");
        return PAG_DEVICE_REVOKED;
    }
    if (v->action != NULL && !pag_action_final(v->action->state)) {
        return open_state(v, &w);
    }
    if (v->up_to_date) {
        pag_words_put(&w, v->plan_why);
        return PAG_DEVICE_UP_TO_DATE;
    }
    if (is_due(v)) {
        pag_words_put(&w, v->due_version);
        pag_words_put(&w, " is to be installed; the device has not asked since.");
        return PAG_DEVICE_UPDATE_OFFERED;
    }
    if (v->action != NULL && v->action->state == PAG_REPORT_REVERTED) {
        return failed_state(v, &w);
    }
    if (v->blocked != NULL) {
        pag_words_put(&w, v->blocked->reason[0] != '\0' ? v->blocked->reason : v->plan_why);
        return PAG_DEVICE_BLOCKED;
    }
    if (v->action != NULL && is_failure(v->action->state)) {
        return failed_state(v, &w);
    }
    pag_words_put(&w, v->plan_why);
    return v->plan_why[0] != '\0' ? PAG_DEVICE_BLOCKED : PAG_DEVICE_NEW;
}
