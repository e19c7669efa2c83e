#include "agent/boot.h"

#include "core/bytes.h"
#include "core/mem.h"

/* ---- the journal's view of a port ---- */

static enum pag_err journal_read(void *ctx, uint32_t off, uint8_t *out, uint32_t n)
{
    const struct pag_port *p = ctx;
    return p->flash.read(p->ctx, PAG_AREA_JOURNAL, off, out, n);
}

static enum pag_err journal_program(void *ctx, uint32_t off, struct pag_span data)
{
    const struct pag_port *p = ctx;
    return p->flash.program(p->ctx, PAG_AREA_JOURNAL, off, data);
}

static enum pag_err journal_erase(void *ctx, uint32_t off, uint32_t n)
{
    const struct pag_port *p = ctx;
    return p->flash.erase(p->ctx, PAG_AREA_JOURNAL, off, n);
}

enum pag_err pag_boot_journal(const struct pag_port *port, struct pag_journal_flash *f, struct pag_journal *j)
{
    union { /* the journal hands ctx back untouched and nobody writes through it */
        const struct pag_port *in;
        void *out;
    } ctx = { .in = port };
    *f = (struct pag_journal_flash){ ctx.out, journal_read, journal_program, journal_erase };
    return pag_journal_open(j, f);
}

uint8_t pag_boot_active(const struct pag_journal *j)
{
    switch (j->last.type) {
    case PAG_JOURNAL_CONFIRM:
    case PAG_JOURNAL_EPOCH:
        return j->last.slot;
    case PAG_JOURNAL_CHECKPOINT:
    case PAG_JOURNAL_FETCH:
    case PAG_JOURNAL_STAGED:
    case PAG_JOURNAL_APPLY:
    case PAG_JOURNAL_TRY:
    case PAG_JOURNAL_REVERT:
    case PAG_JOURNAL_RESTORE:
    case PAG_JOURNAL_REVERTED:
    case PAG_JOURNAL_FALLBACK:
    case PAG_JOURNAL_FAILED:
        break;
    }
    return j->checkpoint.slot;
}

/* ---- verifying ---- */

static enum pag_err verify_once(const struct pag_port *port, struct pag_buf work, uint8_t slot,
                                struct pag_slot *image)
{
    struct pag_slot_hash h;
    uint8_t digest[PAG_SHA256_BYTES];
    enum pag_err err = pag_slot_read(port, slot, work, image);
    if (err == PAG_OK) {
        err = pag_slot_hash_begin(&h, port, slot, image->size);
    }
    if (err != PAG_OK) {
        return err;
    }
    do { /* at most size / sector steps */
        if (port->feed_watchdog != NULL) {
            port->feed_watchdog(port->ctx);
        }
        err = pag_slot_hash_step(&h, port, work, digest);
    } while (err == PAG_E_AGAIN);
    if (err != PAG_OK) {
        return err;
    }
    return memcmp(digest, image->digest, sizeof digest) == 0 ? PAG_OK : PAG_E_DIGEST;
}

/*
 * Whole image against the manifest in its slot. PAG_E_DIGEST. A failure is believed the second time: one
 * wrong read must not take a good image away.
 */
static enum pag_err verify(const struct pag_port *port, struct pag_buf work, uint8_t slot,
                           struct pag_slot *image)
{
    enum pag_err err = verify_once(port, work, slot, image);
    return err == PAG_OK ? err : verify_once(port, work, slot, image);
}

/* The slot holds the image that a record names, whole, and not below the floor. */
static enum pag_err verify_record(const struct pag_port *port, struct pag_buf work,
                                  const struct pag_journal_record *r, uint32_t floor, struct pag_slot *image)
{
    enum pag_err err = verify(port, work, r->slot, image);
    if (err == PAG_OK && memcmp(image->digest, r->digest, sizeof r->digest) != 0) {
        err = PAG_E_DIGEST;
    }
    return err == PAG_OK && image->epoch < floor ? PAG_E_ROLLBACK : err;
}

/* ---- deciding ---- */

struct boot_work {
    const struct pag_port *port;
    struct pag_buf work;
    struct pag_journal_flash flash;
    struct pag_journal j;
};

/* Number under which an outcome is reported; carried in aux so that repeating a record keeps it. */
static uint32_t outcome(const struct boot_work *b, uint32_t reason)
{
    return (b->j.seq + 1) << PAG_BOOT_OUTCOME_SHIFT | reason;
}

static enum pag_err append(struct boot_work *b, enum pag_journal_type type, uint8_t count, uint32_t aux)
{
    struct pag_journal_record r = b->j.last;
    r.type = type;
    r.count = count;
    r.aux = aux;
    r.epoch = 0; /* the floor stays */
    if (b->port->log != NULL) {
        b->port->log(b->port->ctx, "boot.record", NULL, type);
    }
    return pag_journal_append(&b->j, &r);
}

/* Both sectors unreadable (or a factory-new device): the first good slot whose epoch is not below the
 * other's. */
static enum pag_err boot_without_journal(struct boot_work *b, struct pag_boot *out)
{
    uint32_t floor = 0;
    for (uint8_t slot = 0; slot < 2; slot++) {
        if (pag_slot_read(b->port, slot, b->work, &out->image) == PAG_OK && out->image.epoch > floor) {
            floor = out->image.epoch;
        }
    }
    for (uint8_t slot = 0; slot < 2; slot++) {
        if (verify(b->port, b->work, slot, &out->image) == PAG_OK && out->image.epoch >= floor) {
            out->slot = slot;
            return PAG_OK;
        }
    }
    return PAG_E_NOT_FOUND;
}

/* An image that is no more than a candidate: its slot is being written, or it is to be tried. */
static bool is_unproven(const struct pag_journal_record *last, uint8_t slot)
{
    bool other = last->type == PAG_JOURNAL_FETCH || last->type == PAG_JOURNAL_STAGED ||
                 last->type == PAG_JOURNAL_TRY || last->type == PAG_JOURNAL_REVERT ||
                 last->type == PAG_JOURNAL_REVERTED;
    return other && last->slot == slot;
}

/*
 * The records name no image that is whole: a weak one may have been lost, and with it the name of the image
 * that was confirmed. Rather than nothing, a slot that is whole and not refused.
 */
static enum pag_err boot_any(struct boot_work *b, struct pag_boot *out)
{
    for (uint8_t slot = 0; slot < 2; slot++) {
        if (!is_unproven(&b->j.last, slot) && verify(b->port, b->work, slot, &out->image) == PAG_OK &&
            out->image.epoch >= b->j.epoch &&
            !pag_journal_is_failed(&b->j, out->image.digest, out->image.sequence)) {
            out->slot = slot;
            return PAG_OK;
        }
    }
    return PAG_E_NOT_FOUND;
}

/* The confirmed image, or the one confirmed before when flash has rotted. Writes nothing. */
static enum pag_err boot_confirmed(struct boot_work *b, struct pag_boot *out)
{
    struct pag_journal_record active = b->j.checkpoint;
    if (b->j.last.type == PAG_JOURNAL_CONFIRM || b->j.last.type == PAG_JOURNAL_EPOCH) {
        active = b->j.last;
    }
    out->trial = false;
    out->slot = active.slot;
    /* The floor does not bind the confirmed image: it stays bootable until EPOCH names its successor. */
    if (verify_record(b->port, b->work, &active, 0, &out->image) == PAG_OK) {
        return PAG_OK;
    }
    /* Until CHECKPOINT names the new image, the image before is in the old one; FALLBACK may be older still.
     */
    const struct pag_journal_record *const spares[] = {
        b->j.checkpoint.slot != active.slot ? &b->j.checkpoint : NULL,
        b->j.has_fallback ? &b->j.fallback : NULL,
    };
    for (size_t i = 0; i < sizeof spares / sizeof spares[0]; i++) {
        const struct pag_journal_record *spare = spares[i];
        if (spare != NULL && !pag_journal_is_failed(&b->j, spare->digest, spare->sequence) &&
            verify_record(b->port, b->work, spare, b->j.epoch, &out->image) == PAG_OK) {
            out->slot = spare->slot;
            return PAG_OK;
        }
    }
    return boot_any(b, out);
}

static enum pag_err boot_reverted(struct boot_work *b, struct pag_boot *out)
{
    /* When the journal cannot be written the confirmed image runs all the same. */
    (void)append(b, PAG_JOURNAL_REVERTED, 0, outcome(b, b->j.last.aux & PAG_BOOT_REASON_MASK));
    return boot_confirmed(b, out);
}

static enum pag_err boot_trial(struct boot_work *b, struct pag_boot *out)
{
    if (b->j.last.count >= PAG_BOOT_TRIES) {
        (void)append(b, PAG_JOURNAL_REVERT, 0, PAG_JOURNAL_TRIES_USED);
        return boot_reverted(b, out);
    }
    if (append(b, PAG_JOURNAL_TRY, (uint8_t)(b->j.last.count + 1), b->j.last.aux) != PAG_OK) {
        return boot_confirmed(b, out);
    }
    if (verify_record(b->port, b->work, &b->j.last, b->j.epoch, &out->image) != PAG_OK) {
        (void)append(b, PAG_JOURNAL_REVERT, 0, PAG_JOURNAL_HASH_BAD);
        return boot_reverted(b, out);
    }
    out->slot = b->j.last.slot;
    out->trial = true;
    out->try_n = b->j.last.count;
    return PAG_OK;
}

static enum pag_err decide(struct boot_work *b, struct pag_boot *out)
{
    if (!b->j.any) {
        return boot_without_journal(b, out);
    }
    switch (b->j.last.type) {
    case PAG_JOURNAL_TRY:
        return boot_trial(b, out);
    case PAG_JOURNAL_REVERT:
        return boot_reverted(b, out);
    case PAG_JOURNAL_CONFIRM:
        if (b->j.last.count == 0) {
            (void)append(b, PAG_JOURNAL_CONFIRM, 1, outcome(b, 0));
        }
        return boot_confirmed(b, out);
    case PAG_JOURNAL_CHECKPOINT:
    case PAG_JOURNAL_FETCH:
    case PAG_JOURNAL_STAGED:
    case PAG_JOURNAL_APPLY:
    case PAG_JOURNAL_RESTORE:
    case PAG_JOURNAL_REVERTED:
    case PAG_JOURNAL_EPOCH:
    case PAG_JOURNAL_FALLBACK:
    case PAG_JOURNAL_FAILED:
        break;
    }
    return boot_confirmed(b, out);
}

enum pag_err pag_boot_decide(const struct pag_port *port, struct pag_buf work, struct pag_boot *out)
{
    struct boot_work b = { .port = port, .work = work };
    memset(out, 0, sizeof *out);
    if (work.cap < PAG_BOOT_WORK_BYTES) {
        return PAG_E_SPACE;
    }
    enum pag_err err = pag_boot_journal(port, &b.flash, &b.j);
    return err == PAG_OK ? decide(&b, out) : err;
}
