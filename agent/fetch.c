#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

enum {
    SECTOR = 4096,
    POLL_MS = 10,
    STALLS_MAX = 6,
    RATE_WINDOW_MS = 60000,
    PIECES = 4, /* the image is asked for in quarters: between them progress is reported */
};

static uint8_t other_slot(const struct pag_inner *a)
{
    return (uint8_t)(1 - a->slot);
}

static struct pag_journal_record record_of(const struct pag_inner *a, enum pag_journal_type type,
                                           uint8_t count, uint32_t aux)
{
    struct pag_journal_record r = { .type = type, .slot = other_slot(a), .count = count, .aux = aux };
    r.sequence = a->target.sequence;
    memcpy(r.digest, a->target.digest, sizeof r.digest);
    return r;
}

static enum pag_err mark(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    struct pag_journal_record r = record_of(a, PAG_JOURNAL_FETCH, t->downloads, t->done / SECTOR);
    t->marked = t->done;
    return pag_in_record(a, &r);
}

/* Reports FAILED and begins this image no more before the next restart. */
static uint32_t give_up(struct pag_inner *a, enum pag_err err, const char *what)
{
    (void)pag_in_fail(a, err, what);
    pag_in_forget(a, false);
    a->has_given_up = true;
    a->given_up_sequence = a->target.sequence;
    memcpy(a->given_up, a->target.digest, sizeof a->given_up);
    pag_in_say(a, PAG_REPORT_FAILED, err, what, PAG_AGENT_IDLE);
    return 0;
}

/* Ends this attempt, not the update: the next check brings the offer again, and the download goes on at the
 * sector in the journal's last FETCH record. */
static uint32_t put_off(struct pag_inner *a, enum pag_err err, const char *what)
{
    (void)pag_in_fail(a, err, what);
    pag_in_forget(a, false);
    pag_in_back_off(a);
    return 0;
}

static uint32_t cancelled(struct pag_inner *a)
{
    a->cancel = false;
    pag_in_forget(a, false);
    pag_in_say(a, PAG_REPORT_CANCELLED, PAG_OK, NULL, PAG_AGENT_IDLE);
    return 0;
}

/* ---- beginning ---- */

static bool same_image(const struct pag_inner *a)
{
    const struct pag_journal_record *r = &a->j.last;
    return (r->type == PAG_JOURNAL_FETCH || r->type == PAG_JOURNAL_STAGED) && r->slot == other_slot(a) &&
           r->sequence == a->target.sequence && memcmp(r->digest, a->target.digest, sizeof r->digest) == 0;
}

static void begin(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    t->started = true;
    t->start_ms = a->now_ms;
    t->rate_ms = a->now_ms;
    a->fig.downloads++;
    if (same_image(a)) {
        uint32_t sectors = a->j.last.type == PAG_JOURNAL_STAGED ? UINT32_MAX / SECTOR : a->j.last.aux;
        t->downloads = a->j.last.type == PAG_JOURNAL_STAGED ? 0 : a->j.last.count;
        t->done = sectors < (t->size + SECTOR - 1) / SECTOR ? sectors * SECTOR : t->size;
        t->marked = t->done;
        a->fig.resumes += t->done > 0;
    }
    t->claimed = t->done > 0;
}

/*
 * When the first sector has come, not before: an offer whose bytes never come costs no flash and no way back.
 * The record first: from here on the other slot is no way back. A cut may have come between the two.
 */
static enum pag_err claim_slot(struct pag_inner *a)
{
    enum pag_err err = PAG_OK;
    if (!same_image(a)) {
        a->fresh_n++;
        /* What says that the running image is confirmed may be weak, and after the erase it is the only one.
         */
        err = pag_in_checkpoint(a);
        err = err == PAG_OK ? mark(a) : err;
    }
    err = err == PAG_OK ? pag_slot_unseal(a->port, other_slot(a)) : err;
    a->target.claimed = err == PAG_OK;
    return err;
}

static enum pag_err ask(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    char path[80];
    struct pag_buf b = { (uint8_t *)path, 0, sizeof path - 1 };
    enum pag_err err = pag_buf_put_str(&b, "/v1/blob/");
    err = err == PAG_OK ? pag_buf_put_hex(&b, pag_span_of(t->digest, sizeof t->digest)) : err;
    path[b.n] = 0;
    uint32_t piece = (t->size / PIECES + SECTOR) & ~(uint32_t)(SECTOR - 1);
    piece = piece < PAG_IN_MARK_BYTES ? PAG_IN_MARK_BYTES : piece;
    t->piece_end = t->size - t->done > piece ? t->done + piece : t->size;
    t->fill = 0;
    struct pag_in_request r = { .method = "GET", .path = path, .stream = true };
    r.has_range = t->done > 0 || t->piece_end < t->size;
    r.from = t->done;
    r.to = t->piece_end - 1;
    return err == PAG_OK ? pag_in_ask(a, &r) : err;
}

/* Is the answer exactly the bytes asked for, of exactly the size that was signed? */
static enum pag_err check_head(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    const struct pag_httpc_reply *r = &a->x.reply;
    if (r->status == 206) {
        /* A server may not care for the end that was asked and give the rest: never more than was signed. */
        bool whole = r->range_to == t->piece_end - 1 || r->range_to == t->size - 1;
        bool fits = r->has_range && whole && r->range_from == t->done && r->range_total == t->size &&
                    r->length == r->range_to - r->range_from + 1;
        t->piece_end = fits ? r->range_to + 1 : t->piece_end;
        return fits ? PAG_OK : PAG_E_RANGE;
    }
    if (r->status == 200 && t->done == 0 && r->length == t->size) {
        t->piece_end = t->size;
        return PAG_OK;
    }
    return PAG_E_RANGE;
}

/* ---- going on ---- */

static enum pag_err write_sector(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    enum pag_area area = pag_slot_area(other_slot(a));
    memset(a->scratch + t->fill, 0xFF, SECTOR - t->fill);
    enum pag_err err = t->claimed ? PAG_OK : claim_slot(a);
    if (err == PAG_OK) {
        err = a->port->flash.erase(a->port->ctx, area, t->done, SECTOR);
    }
    if (err == PAG_OK) {
        err = a->port->flash.program(a->port->ctx, area, t->done, pag_span_of(a->scratch, SECTOR));
    }
    if (err != PAG_OK) {
        return err;
    }
    t->done += t->fill;
    t->fill = 0;
    t->stalls = 0;
    return t->done - t->marked >= PAG_IN_MARK_BYTES ? mark(a) : PAG_OK;
}

static enum pag_err read_some(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    uint32_t left = t->piece_end - t->done;
    uint32_t whole = left < SECTOR ? left : SECTOR;
    size_t n = whole - t->fill;
    enum pag_err err = pag_httpc_body(&a->http, a->scratch + t->fill, &n);
    if (err != PAG_OK) {
        return err;
    }
    t->fill += (uint32_t)n;
    t->rate_bytes += (uint32_t)n;
    a->fig.fetched_bytes += (uint32_t)n;
    a->x.since_ms = a->now_ms;
    return t->fill == whole ? write_sector(a) : PAG_OK;
}

static enum pag_err check_pace(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    if (pag_in_passed(a, t->start_ms, pag_in_ms(a->set->download_s))) {
        return PAG_E_TIMEOUT;
    }
    if (!pag_in_passed(a, t->rate_ms, RATE_WINDOW_MS)) {
        return PAG_OK;
    }
    bool slow = t->rate_bytes / (RATE_WINDOW_MS / 1000) < a->set->min_rate_bps;
    t->rate_ms = a->now_ms;
    t->rate_bytes = 0;
    return slow ? PAG_E_TIMEOUT : PAG_OK;
}

/* After a cut or a refusal: waits and resumes; after too many in a row ends the attempt. */
static uint32_t stalled(struct pag_inner *a, enum pag_err err, const char *what)
{
    struct pag_in_target *t = &a->target;
    pag_in_forget(a, false);
    t->fill = 0;
    if (++t->stalls > STALLS_MAX || err == PAG_E_UNAUTHENTICATED || err == PAG_E_DENIED || err == PAG_E_TLS ||
        pag_in_ms(a->retry_after_s) > RATE_WINDOW_MS) {
        return put_off(a, err, what);
    }
    a->fig.resumes++;
    uint32_t ms = a->retry_after_s > 0 ? pag_in_ms(a->retry_after_s) : 500U << t->stalls;
    t->wait_ms = ms / 2 + pag_in_random(a, ms / 2 + 1);
    t->wait_since = a->now_ms;
    a->retry_after_s = 0;
    return POLL_MS;
}

/* Fetches from the first byte again, which counts as one more of the whole downloads allowed. */
static enum pag_err begin_anew(struct pag_inner *a)
{
    a->target.downloads++;
    a->target.done = 0;
    a->target.claimed = false; /* a download that had come to STAGED has left its seal there */
    return mark(a);
}

/* The server's word on the request, docs/spec/native.md 2. */
static uint32_t refused(struct pag_inner *a, enum pag_err err, const char *what)
{
    switch (a->x.reply.status) {
    case 400:
    case 413:
        return give_up(a, err, what);
    case 404:
    case 409:
    case 410:
        return pag_in_drop(a, err, what);
    case 416:
        return begin_anew(a) == PAG_OK ? stalled(a, err, what) : give_up(a, PAG_E_IO, what);
    default:
        return stalled(a, err, what);
    }
}

static uint32_t end_of_piece(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    pag_in_forget(a, true);
    if (t->done >= t->size) {
        pag_in_enter(a, PAG_AGENT_VERIFY);
        return 0;
    }
    pag_in_say(a, PAG_REPORT_DOWNLOADING, PAG_OK, NULL, PAG_AGENT_FETCH);
    return 0;
}

static uint32_t stream(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    enum pag_err err = check_pace(a);
    if (err != PAG_OK) {
        return put_off(a, err, "download too slow");
    }
    err = read_some(a);
    if (err == PAG_E_AGAIN) {
        if (pag_in_passed(a, a->x.since_ms, pag_in_ms(a->set->io_timeout_s))) {
            return stalled(a, PAG_E_TIMEOUT, "download: silence");
        }
        return POLL_MS;
    }
    if (err == PAG_E_IO && t->fill == SECTOR) {
        return give_up(a, err, "flash does not take the image");
    }
    if (err != PAG_OK) {
        return stalled(a, err, "download: cut");
    }
    return t->done >= t->piece_end ? end_of_piece(a) : 0;
}

uint32_t pag_in_state_fetch(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    const char *what = "download: no answer";
    a->entered = false;
    if (a->cancel) {
        return cancelled(a);
    }
    if (!t->started) {
        begin(a);
    }
    if (t->done >= t->size) {
        pag_in_enter(a, PAG_AGENT_VERIFY);
        return 0;
    }
    if (t->downloads >= PAG_IN_DOWNLOADS_MAX) {
        return give_up(a, PAG_E_LIMIT, "given up after whole downloads");
    }
    if (t->wait_ms > 0 && !pag_in_passed(a, t->wait_since, t->wait_ms)) {
        return POLL_MS;
    }
    t->wait_ms = 0;
    if (a->x.phase == PAG_IN_X_IDLE) {
        enum pag_err err = ask(a);
        return err == PAG_OK ? 0 : put_off(a, err, "download: request");
    }
    if (a->x.phase == PAG_IN_X_BODY && a->x.stream) {
        return stream(a);
    }
    enum pag_err err = pag_in_answer(a);
    if (err == PAG_E_AGAIN) {
        return POLL_MS;
    }
    if (err == PAG_OK) {
        err = pag_in_judge(a, &what);
        if (err != PAG_OK) {
            return refused(a, err, what);
        }
        what = "download: answer does not fit the manifest";
        err = check_head(a);
    }
    return err == PAG_OK ? 0 : stalled(a, err, what);
}

/* ---- VERIFY ---- */

static uint32_t download_again(struct pag_inner *a)
{
    struct pag_in_target *t = &a->target;
    (void)pag_in_fail(a, PAG_E_DIGEST, "flash does not hold what was signed");
    enum pag_err err = begin_anew(a);
    t->started = true;
    t->start_ms = a->now_ms;
    t->rate_ms = a->now_ms;
    t->rate_bytes = 0;
    if (err != PAG_OK || t->downloads >= PAG_IN_DOWNLOADS_MAX) {
        return give_up(a, PAG_E_DIGEST, "flash does not hold what was signed");
    }
    pag_in_enter(a, PAG_AGENT_FETCH);
    return 0;
}

/* While verifying, scratch below the tail holds the running hash and a piece of the image. */
enum { HASH_AT = 0, PIECE_AT = 256, PIECE_BYTES = 2048 };
_Static_assert(sizeof(struct pag_slot_hash) <= PIECE_AT && PIECE_AT + PIECE_BYTES <= PAG_IN_REQUEST_MAX,
               "the tail stays free for a new MQTT connection");

uint32_t pag_in_state_verify(struct pag_inner *a)
{
    struct pag_slot_hash *hash = (struct pag_slot_hash *)(void *)(a->scratch + HASH_AT);
    uint8_t digest[PAG_SHA256_BYTES];
    enum pag_err err = PAG_OK;
    if (a->entered) {
        a->entered = false;
        a->arm_phase = 0;
        err = pag_slot_hash_begin(hash, a->port, other_slot(a), a->target.size);
        if (err != PAG_OK) {
            return give_up(a, err, "image larger than the slot");
        }
    }
    if (a->cancel) {
        return cancelled(a);
    }
    err = pag_slot_hash_step(hash, a->port, pag_in_scratch(a, PIECE_AT, PIECE_BYTES), digest);
    if (err == PAG_E_AGAIN) {
        return 0;
    }
    if (err != PAG_OK) {
        return give_up(a, err, "flash cannot be read");
    }
    if (memcmp(digest, a->target.digest, sizeof digest) != 0) {
        return download_again(a);
    }
    pag_in_say(a, PAG_REPORT_DOWNLOADED, PAG_OK, NULL, PAG_AGENT_ARM);
    return 0;
}

/* ---- ARM ---- */

enum arm { ARM_SAY, ARM_SEAL, ARM_STAGE, ARM_WAIT, ARM_TRY };

static uint32_t next_arm(struct pag_inner *a, enum pag_err err, enum arm next)
{
    if (err != PAG_OK) {
        return give_up(a, err, "flash does not take the manifest");
    }
    a->arm_phase = (uint8_t)next;
    return 0;
}

static uint32_t wait_for_application(struct pag_inner *a)
{
    if (a->hooks != NULL && a->hooks->may_update != NULL && !a->hooks->may_update(a->hooks_ctx)) {
        return 1000;
    }
    a->arm_phase = ARM_TRY;
    pag_in_say(a, PAG_REPORT_REBOOTING, PAG_OK, NULL, PAG_AGENT_ARM);
    return 0;
}

uint32_t pag_in_state_arm(struct pag_inner *a)
{
    struct pag_journal_record r;
    struct pag_in_target *t = &a->target;
    a->entered = false;
    if (a->cancel) {
        return cancelled(a);
    }
    switch ((enum arm)a->arm_phase) {
    case ARM_SAY:
        a->arm_phase = ARM_SEAL;
        pag_in_say(a, PAG_REPORT_INSTALLING, PAG_OK, NULL, PAG_AGENT_ARM);
        return 0;
    case ARM_SEAL:
        return next_arm(a,
                        pag_slot_seal(a->port, other_slot(a), t->action_id,
                                      pag_span_of(t->manifest, t->manifest_n), pag_in_scratch(a, 0, SECTOR)),
                        ARM_STAGE);
    case ARM_STAGE:
        r = record_of(a, PAG_JOURNAL_STAGED, 0, 0);
        return next_arm(a, pag_in_record(a, &r), ARM_WAIT);
    case ARM_WAIT:
        return wait_for_application(a);
    case ARM_TRY:
        break;
    }
    /* Count 0: armed. The loader writes TRY 1 before it jumps. */
    r = record_of(a, PAG_JOURNAL_TRY, 0, a->set->trial_s);
    if (pag_in_record(a, &r) != PAG_OK) {
        return give_up(a, PAG_E_IO, "journal cannot be written");
    }
    pag_in_enter(a, PAG_AGENT_REBOOT);
    return 0;
}
