#include "agent/boot.h"
#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

enum { POLL_MS = 50, GOODBYE_MS = 200, JOURNAL_ATTEMPTS = 5 };

static struct pag_journal_record record_of(const struct pag_inner *a, enum pag_journal_type type,
                                           uint8_t count, uint32_t aux)
{
    struct pag_journal_record r = { .type = type, .slot = a->slot, .count = count, .aux = aux };
    r.sequence = a->run.sequence;
    memcpy(r.digest, a->run.digest, sizeof r.digest);
    return r;
}

/* ---- the deadline: while running, not over power-off: three tries cover those ---- */

void pag_in_watch_trial(struct pag_inner *a)
{
    /* Without a journal nobody knows whether this is a trial: the loader looks again. */
    bool unread = a->state == PAG_AGENT_START;
    bool ending = a->state == PAG_AGENT_REVERT || a->state == PAG_AGENT_REBOOT;
    if ((!a->trial && !unread) || ending || !pag_in_passed(a, a->boot_ms, a->trial_ms)) {
        return;
    }
    /* Once CONFIRM stands there is no way back; what is missing the loader writes. */
    if (!a->trial || (a->state == PAG_AGENT_CONFIRM && a->arm_phase > 0)) {
        pag_in_enter(a, PAG_AGENT_REBOOT);
        return;
    }
    a->revert_reason = PAG_JOURNAL_DEADLINE;
    pag_in_enter(a, PAG_AGENT_REVERT);
}

uint32_t pag_in_journal_rests(const struct pag_inner *a)
{
    uint32_t waited = a->now_ms - a->due_ms;
    return a->journal_fails > 0 && waited < a->due_after ? a->due_after - waited : 0;
}

/* Each attempt may erase a sector: a few, further and further apart. */
uint32_t pag_in_journal_refuses(struct pag_inner *a)
{
    if (++a->journal_fails < JOURNAL_ATTEMPTS) {
        pag_in_due(a, 1000U << a->journal_fails);
        return a->due_after;
    }
    pag_in_enter(a, PAG_AGENT_REBOOT); /* the loader cannot write TRY either and goes back */
    return 0;
}

/* ---- TRIAL ---- */

uint32_t pag_in_state_trial(struct pag_inner *a)
{
    enum pag_health health = PAG_HEALTH_UNKNOWN;
    a->entered = false;
    bool asks = a->hooks != NULL && a->hooks->self_test != NULL;
    if (a->contacted) {
        health = asks ? a->hooks->self_test(a->hooks_ctx) : PAG_HEALTH_PASS;
    }
    if (health == PAG_HEALTH_FAIL) {
        a->revert_reason = PAG_JOURNAL_APP_ASKED;
        pag_in_enter(a, PAG_AGENT_REVERT);
        return 0;
    }
    if (health == PAG_HEALTH_PASS) {
        a->arm_phase = 0;
        pag_in_enter(a, PAG_AGENT_CONFIRM);
        return 0;
    }
    if (a->contacted) {
        return POLL_MS;
    }
    uint32_t waited = a->now_ms - a->due_ms;
    if (waited < a->due_after) {
        return a->due_after - waited < POLL_MS ? a->due_after - waited : POLL_MS;
    }
    pag_in_enter(a, PAG_AGENT_POLL);
    return 0;
}

/* ---- CONFIRM: a, b, then EPOCH when the floor rises ---- */

uint32_t pag_in_state_confirm(struct pag_inner *a)
{
    struct pag_journal_record r;
    a->entered = false;
    uint32_t rest_ms = pag_in_journal_rests(a);
    if (rest_ms > 0) {
        return rest_ms;
    }
    if (a->arm_phase == 0) {
        r = record_of(a, PAG_JOURNAL_CONFIRM, 0, 0);
    } else if (a->arm_phase == 1) {
        r = record_of(a, PAG_JOURNAL_CONFIRM, 1, (a->j.seq + 1) << PAG_BOOT_OUTCOME_SHIFT);
    } else {
        r = record_of(a, PAG_JOURNAL_EPOCH, 0, a->j.last.aux);
        r.epoch = a->run.epoch;
    }
    if (pag_in_record(a, &r) != PAG_OK) {
        return pag_in_journal_refuses(a);
    }
    a->journal_fails = 0;
    a->arm_phase++;
    if (a->arm_phase == 1 || (a->arm_phase == 2 && a->run.epoch > a->j.epoch)) {
        return 0;
    }
    a->trial = false;
    a->fails = 0;
    pag_in_log(a, "agent.confirmed", NULL, a->run.sequence);
    pag_in_due(a, 0);
    pag_in_enter(a, PAG_AGENT_IDLE); /* which finds the report owed */
    return 0;
}

/* ---- REVERT ---- */

uint32_t pag_in_state_revert(struct pag_inner *a)
{
    struct pag_journal_record r = record_of(a, PAG_JOURNAL_REVERT, 0, a->revert_reason);
    r.sequence = a->j.last.sequence; /* of TRY: the slot may not have been read yet */
    memcpy(r.digest, a->j.last.digest, sizeof r.digest);
    a->entered = false;
    pag_in_log(a, "agent.revert", NULL, a->revert_reason);
    /* Without the record the reset uses up a try; after three the loader goes back by itself. */
    (void)pag_in_record(a, &r);
    pag_in_enter(a, PAG_AGENT_REBOOT);
    return 0;
}

/* ---- REBOOT ---- */

uint32_t pag_in_state_reboot(struct pag_inner *a)
{
    if (a->entered) {
        a->entered = false;
        pag_in_forget(a, false);
        pag_in_session_close(a);
        pag_in_due(a, GOODBYE_MS);
        return GOODBYE_MS;
    }
    uint32_t waited = a->now_ms - a->due_ms;
    if (waited < a->due_after) {
        return a->due_after - waited;
    }
    pag_in_log(a, "agent.reboot", NULL, 0);
    a->state = PAG_AGENT_HALTED;
    a->port->reboot(a->port->ctx);
    return 1000;
}
