#include "agent/boot.h"
#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

enum { POLL_MS = 20 };

/*
 * Numbers of reports rise, also over resets, and what is sent again carries the same: sixteen to a journal
 * record written in this power-up, the first of them for the outcome that the record itself is. They wrap.
 */
enum { PER_RECORD = 16, NUMBER_BITS = 0xFFFFFF };

static uint32_t new_number(struct pag_inner *a)
{
    if (a->report_record != a->j.seq) {
        a->report_record = a->j.seq;
        a->report_n = 0;
    }
    if (a->report_n == PER_RECORD - 1) {
        struct pag_journal_record again = a->j.last;
        again.epoch = 0;
        a->report_n -= pag_in_record(a, &again) == PAG_OK ? PER_RECORD - 1 : 1;
        a->report_record = a->j.seq;
    }
    a->report_n++;
    return a->report_record * PER_RECORD + a->report_n;
}

void pag_in_numbers_begin(struct pag_inner *a)
{
    a->report_record = a->j.seq; /* of an earlier power-up: its numbers may be used up */
    a->report_n = PER_RECORD - 1;
}

/* aux has room for 24 bits of the record an outcome was written as, which is not 2^23 records back. */
static uint32_t number_of_outcome(const struct pag_journal_record *r)
{
    uint32_t number = r->aux >> PAG_BOOT_OUTCOME_SHIFT;
    uint32_t back = number != 0 ? (r->seq - number) & NUMBER_BITS : 0;
    return (r->seq - back) * PER_RECORD;
}

static bool is_final(enum pag_report_state s)
{
    return s == PAG_REPORT_CONFIRMED || s == PAG_REPORT_FAILED || s == PAG_REPORT_REVERTED ||
           s == PAG_REPORT_REJECTED || s == PAG_REPORT_CANCELLED || s == PAG_REPORT_DEFERRED;
}

void pag_in_say(struct pag_inner *a, enum pag_report_state s, enum pag_err code, const char *text,
                enum pag_agent_state after)
{
    const struct pag_in_target *t = &a->target;
    uint8_t pct = s == PAG_REPORT_DOWNLOADED ? 100 : 0;
    if (s == PAG_REPORT_DOWNLOADING) {
        pct = pag_in_progress(t);
    }
    a->report = (struct pag_in_report){
        .state = (uint8_t)s,
        .pct = pct,
        .must = is_final(s),
        .code = code,
        .text = text,
        .action_id = t->action_id,
        .seq = new_number(a),
    };
    memcpy(a->report.manifest, t->manifest_digest, sizeof a->report.manifest);
    a->after = (uint8_t)after;
    pag_in_enter(a, PAG_AGENT_REPORT);
}

bool pag_in_owed(const struct pag_inner *a)
{
    const struct pag_journal_record *r = &a->j.last;
    if (r->type == PAG_JOURNAL_REVERTED) {
        return a->j.any && r->slot != a->slot;
    }
    bool confirmed = r->type == PAG_JOURNAL_EPOCH || (r->type == PAG_JOURNAL_CONFIRM && r->count == 1);
    return a->j.any && confirmed && r->slot == a->slot; /* else the fallback runs, which confirms nothing */
}

static const char *reason_text(uint32_t reason)
{
    static const char *const texts[] = { "",
                                         "trial: three tries without a confirmation",
                                         "trial: no health before the deadline",
                                         "trial: the application's self-test failed",
                                         "trial: image not whole when it was to be booted",
                                         "trial: server's order" };
    return reason < sizeof texts / sizeof texts[0] ? texts[reason] : "";
}

/* Stands for the reason on the wire, which knows pag_err. */
static enum pag_err reason_code(uint32_t reason)
{
    if (reason == PAG_JOURNAL_HASH_BAD) {
        return PAG_E_DIGEST;
    }
    return reason == PAG_JOURNAL_DEADLINE ? PAG_E_TIMEOUT : PAG_E_CONDITION;
}

void pag_in_say_owed(struct pag_inner *a)
{
    const struct pag_journal_record *r = &a->j.last;
    bool reverted = r->type == PAG_JOURNAL_REVERTED;
    uint32_t reason = r->aux & PAG_BOOT_REASON_MASK;
    a->report = (struct pag_in_report){
        .state = reverted ? PAG_REPORT_REVERTED : PAG_REPORT_CONFIRMED,
        .pct = reverted ? 0 : 100,
        .owed = true,
        .code = reverted ? (int32_t)reason_code(reason) : 0,
        .text = reverted ? reason_text(reason) : NULL,
        .action_id = reverted ? a->failed_action : a->run.action_id,
        .seq = number_of_outcome(r),
    };
    memcpy(a->report.manifest, reverted ? a->failed_manifest : a->run.manifest_digest,
           sizeof a->report.manifest);
    a->after = PAG_AGENT_IDLE;
    pag_in_enter(a, PAG_AGENT_REPORT);
}

void pag_in_say_result(struct pag_inner *a, enum pag_agent_state after)
{
    a->report = (struct pag_in_report){
        .state = a->last_report <= PAG_REPORT_CANCELLED ? a->last_report : (uint8_t)PAG_REPORT_OFFERED,
        .with_result = true, /* known by its command's id: no number */
    };
    a->after = (uint8_t)after;
    pag_in_enter(a, PAG_AGENT_REPORT);
}

static enum pag_err ask(struct pag_inner *a)
{
    const struct pag_in_report *r = &a->report;
    struct pag_native_report m = {
        .action_id = r->action_id,
        .state = r->state,
        .progress_pct = r->pct,
        .code = r->code,
        .text = pag_span_str(r->text),
        .running_digest = pag_span_of(a->run.digest, sizeof a->run.digest),
        .seq = r->seq,
        .has_result = r->with_result,
    };
    static const uint8_t none[PAG_SHA256_BYTES];
    if (memcmp(r->manifest, none, sizeof none) != 0) {
        m.manifest_digest = pag_span_of(r->manifest, sizeof r->manifest);
    }
    if (r->with_result) {
        m.result.id = a->result.id;
        m.result.code = a->result.code;
        m.result.text = pag_span_of(a->result.text, a->result.text_n);
    }
    struct pag_buf body = pag_in_scratch(a, PAG_IN_REQUEST_MAX / 2, PAG_IN_REQUEST_MAX / 2);
    enum pag_err err = pag_native_report_put(&body, &m);
    if (err != PAG_OK) {
        return err;
    }
    a->fig.reports++;
    return pag_in_ask(
        a, &(struct pag_in_request){ .method = "POST", .path = "/v1/report", .body = pag_buf_span(&body) });
}

/* The server has it, or will never want it. */
static enum pag_err acknowledged(struct pag_inner *a)
{
    a->last_report = a->report.with_result ? a->last_report : a->report.state;
    a->report.must = false;
    if (a->report.with_result) {
        a->result.has = false;
    }
    if (!a->report.owed) {
        return PAG_OK;
    }
    a->report.owed = false;
    bool confirmed = a->report.state == PAG_REPORT_CONFIRMED;
    struct pag_journal_record before = a->j.checkpoint;
    struct pag_journal_record r = { .type = PAG_JOURNAL_CHECKPOINT,
                                    .slot = a->slot,
                                    .sequence = a->run.sequence };
    memcpy(r.digest, a->run.digest, sizeof r.digest);
    enum pag_err err = pag_in_record(a, &r);
    if (err == PAG_OK && confirmed && before.slot != a->slot) {
        before.type = PAG_JOURNAL_FALLBACK;
        before.epoch = 0;
        err = pag_in_record(a, &before);
    }
    return err;
}

static bool is_refusal(enum pag_err err, uint16_t status)
{
    return err != PAG_OK && err != PAG_E_UNAUTHENTICATED && err != PAG_E_DENIED && err != PAG_E_BUSY &&
           status / 100 == 4;
}

/* A word on the way was refused because the server has closed the action. */
static bool is_closed(const struct pag_inner *a, enum pag_err err)
{
    return (err == PAG_E_NOT_FOUND || err == PAG_E_CONFLICT) && !a->report.must && !a->report.owed &&
           !a->report.with_result;
}

static uint32_t go_on(struct pag_inner *a, bool outcome)
{
    pag_in_forget(a, true);
    enum pag_agent_state after = (enum pag_agent_state)a->after;
    if (after == PAG_AGENT_IDLE && !a->report.with_result) {
        pag_in_rest(a);
    } else {
        pag_in_enter(a, after);
    }
    if (outcome && a->report.state == PAG_REPORT_CONFIRMED) {
        pag_in_due(a, 0); /* a hint may have been missed while it rebooted, or the next step waits */
    }
    return 0;
}

uint32_t pag_in_state_report(struct pag_inner *a)
{
    const char *what = "report: no answer";
    enum pag_err err = PAG_OK;
    if (a->entered) {
        a->entered = false;
        err = ask(a);
        if (err == PAG_OK) {
            return 0;
        }
        (void)pag_in_fail(a, err, "report cannot be written");
        (void)acknowledged(a); /* a bug of ours must not stop the device from updating */
        return go_on(a, false);
    }
    err = pag_in_answer(a);
    if (err == PAG_E_AGAIN) {
        return POLL_MS;
    }
    if (err == PAG_OK) {
        err = pag_in_judge(a, &what);
    }
    if (err != PAG_OK && a->x.phase == PAG_IN_X_DONE && is_refusal(err, a->x.reply.status)) {
        if (is_closed(a, err)) {
            return pag_in_drop(a, err, "report: the action is closed");
        }
        (void)pag_in_fail(a, err, "report: the server does not want it");
        err = PAG_OK;
    }
    if (err == PAG_OK) {
        bool outcome = a->report.owed;
        if (acknowledged(a) != PAG_OK) {
            pag_in_back_off(a);
            return 0;
        }
        return go_on(a, outcome);
    }
    (void)pag_in_fail(a, err, what);
    pag_in_forget(a, false);
    if (a->report.must || a->report.owed || a->report.with_result || a->after == PAG_AGENT_IDLE) {
        pag_in_back_off(a); /* IDLE sends it again when it is time */
        return 0;
    }
    pag_in_enter(a, (enum pag_agent_state)a->after); /* a word on the way: the next one says more */
    return 0;
}
