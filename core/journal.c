#include "core/journal.h"

#include "core/bytes.h"
#include "core/mem.h"

/*
 * A sector: cell 0 CHECKPOINT (programmed last of the opening), 1 FALLBACK, 2..5 FAILED, 6 the record that
 * opened it, 7 a copy of cell 0, 8.. further records. docs/spec/journal.md 3.
 */
enum {
    MAGIC = 0x5047,
    SLOT_BIT = 0x80,
    CRC_AT = 28,
    CELL_CHECKPOINT = 0,
    CELL_FALLBACK = 1,
    CELL_FAILED = 2,
    CELL_OPENING = 6,
    CELL_COPY = 7,
    MISSES_MAX = 8,
    READS_MAX = 4,
};
_Static_assert(CELL_FAILED + PAG_JOURNAL_FAILED_MAX == CELL_OPENING, "docs/spec/journal.md 3");

/* ---- cells ---- */

static bool type_ok(unsigned type)
{
    return type >= PAG_JOURNAL_CHECKPOINT && type <= PAG_JOURNAL_FAILED;
}

static bool is_state(enum pag_journal_type type)
{
    return type != PAG_JOURNAL_FALLBACK && type != PAG_JOURNAL_FAILED;
}

void pag_journal_cell_put(const struct pag_journal_record *r, uint8_t out[PAG_JOURNAL_CELL_BYTES])
{
    pag_put_u16le(out, MAGIC);
    out[2] = (uint8_t)r->type;
    out[3] = (uint8_t)((r->slot != 0 ? SLOT_BIT : 0) | (r->count & (SLOT_BIT - 1)));
    pag_put_u32le(out + 4, r->seq);
    pag_put_u32le(out + 8, r->epoch);
    pag_put_u32le(out + 12, r->sequence);
    memcpy(out + 16, r->digest, sizeof r->digest);
    pag_put_u32le(out + 24, r->aux);
    pag_put_u32le(out + CRC_AT, pag_crc32(0, pag_span_of(out, CRC_AT)));
}

bool pag_journal_cell_get(const uint8_t in[PAG_JOURNAL_CELL_BYTES], struct pag_journal_record *out)
{
    if (pag_u16le(in) != MAGIC || !type_ok(in[2]) ||
        pag_u32le(in + CRC_AT) != pag_crc32(0, pag_span_of(in, CRC_AT))) {
        return false;
    }
    out->type = (enum pag_journal_type)in[2];
    out->slot = (in[3] & SLOT_BIT) != 0;
    out->count = in[3] & (SLOT_BIT - 1);
    out->seq = pag_u32le(in + 4);
    out->epoch = pag_u32le(in + 8);
    out->sequence = pag_u32le(in + 12);
    memcpy(out->digest, in + 16, sizeof out->digest);
    out->aux = pag_u32le(in + 24);
    return true;
}

static bool is_blank(const uint8_t cell[PAG_JOURNAL_CELL_BYTES])
{
    uint8_t all = 0xFF;
    for (size_t i = 0; i < PAG_JOURNAL_CELL_BYTES; i++) {
        all = (uint8_t)(all & cell[i]);
    }
    return all == 0xFF;
}

/* seq wraps: later means less than 2^31 ahead. */
static bool later(uint32_t a, uint32_t b)
{
    uint32_t ahead = a - b;
    return ahead != 0 && ahead < 0x80000000U;
}

static uint32_t cell_offset(uint8_t sector, unsigned cell)
{
    return sector * (uint32_t)PAG_JOURNAL_SECTOR_BYTES + cell * (uint32_t)PAG_JOURNAL_CELL_BYTES;
}

enum cell_kind { CELL_BLANK, CELL_BAD, CELL_GOOD };

/*
 * Two reads in a row must agree: one wrong read is no change of state, and a torn cell that never reads the
 * same is bad.
 */
static enum pag_err read_cell(const struct pag_journal_flash *f, uint8_t sector, unsigned cell,
                              enum cell_kind *kind, struct pag_journal_record *out)
{
    uint8_t bytes[2][PAG_JOURNAL_CELL_BYTES];
    uint32_t off = cell_offset(sector, cell);
    bool read[2] = { false, false };
    bool same = false;
    unsigned at = 0;
    for (unsigned i = 0; i < READS_MAX && !same; i++) {
        at = i & 1;
        read[at] = f->read(f->ctx, off, bytes[at], sizeof bytes[at]) == PAG_OK;
        same = read[0] && read[1] && memcmp(bytes[0], bytes[1], sizeof bytes[0]) == 0;
    }
    if (!read[0] && !read[1]) {
        return PAG_E_IO;
    }
    *kind = same && is_blank(bytes[at]) ? CELL_BLANK : CELL_BAD;
    if (same && pag_journal_cell_get(bytes[at], out)) {
        *kind = CELL_GOOD;
    }
    return PAG_OK;
}

/* ---- reading ---- */

static void take_failed(struct pag_journal *j, const struct pag_journal_record *r)
{
    size_t keep = 0;
    for (size_t i = 0; i < j->failed_n; i++) {
        if (memcmp(j->failed[i].digest, r->digest, sizeof r->digest) != 0) {
            j->failed[keep++] = j->failed[i];
        }
    }
    if (keep == PAG_JOURNAL_FAILED_MAX) {
        memmove(&j->failed[0], &j->failed[1], sizeof j->failed - sizeof j->failed[0]);
        keep--;
    }
    j->failed[keep] = *r;
    j->failed_n = (uint8_t)(keep + 1);
}

/* Takes a valid record into the picture; records come in the order of their cells. */
static void take(struct pag_journal *j, const struct pag_journal_record *r)
{
    if (later(r->seq, j->seq)) {
        j->seq = r->seq;
    }
    if (r->epoch > j->epoch) {
        j->epoch = r->epoch;
    }
    if (r->type == PAG_JOURNAL_CHECKPOINT) {
        j->checkpoint = *r;
    }
    if (r->type == PAG_JOURNAL_FALLBACK) {
        j->has_fallback = true;
        j->fallback = *r;
    }
    if (r->type == PAG_JOURNAL_FAILED || r->type == PAG_JOURNAL_REVERTED) {
        take_failed(j, r);
    }
    if (is_state(r->type)) {
        j->last = *r;
    }
}

/* What tells one sector from the other. */
struct sector_look {
    bool complete, copied; /* cell 0 or 7 is a CHECKPOINT; cell 7 is */
    bool any;
    uint32_t seq; /* highest of any record, when any */
    struct pag_journal_record opening;
};

static enum pag_err look_at(const struct pag_journal_flash *f, uint8_t sector, struct sector_look *look)
{
    *look = (struct sector_look){ .complete = false };
    for (unsigned cell = 0; cell < PAG_JOURNAL_CELLS; cell++) {
        struct pag_journal_record r;
        enum cell_kind kind = CELL_BAD;
        if (read_cell(f, sector, cell, &kind, &r) != PAG_OK) {
            return PAG_E_IO;
        }
        if (kind != CELL_GOOD) {
            continue;
        }
        look->seq = !look->any || later(r.seq, look->seq) ? r.seq : look->seq;
        look->any = true;
        if ((cell == CELL_CHECKPOINT || cell == CELL_COPY) && r.type == PAG_JOURNAL_CHECKPOINT) {
            look->opening = look->complete ? look->opening : r;
            look->complete = true;
            look->copied = cell == CELL_COPY;
        }
    }
    return PAG_OK;
}

static enum pag_err read_sector(struct pag_journal *j)
{
    j->next = CELL_COPY + 1;
    for (unsigned cell = CELL_FALLBACK; cell < PAG_JOURNAL_CELLS; cell++) {
        struct pag_journal_record r;
        enum cell_kind kind = CELL_BAD;
        if (cell == CELL_COPY) {
            continue;
        }
        if (read_cell(j->flash, j->sector, cell, &kind, &r) != PAG_OK) {
            return PAG_E_IO;
        }
        if (kind == CELL_GOOD) {
            take(j, &r);
        }
        if (kind != CELL_BLANK && cell > CELL_COPY) {
            j->next = (uint16_t)(cell + 1);
        }
    }
    return PAG_OK;
}

/*
 * The sector written to last counts, which need not be the one opened last: a sector whose cell 0 was cut may
 * read bad, the other one be gone on with, and then read good again. With equal numbers the younger opening
 * counts.
 */
static bool supersedes(const struct sector_look *a, const struct sector_look *b)
{
    if (!a->complete || !b->complete) {
        return a->complete;
    }
    return later(a->seq, b->seq) || (a->seq == b->seq && later(a->opening.seq, b->opening.seq));
}

enum pag_err pag_journal_open(struct pag_journal *j, const struct pag_journal_flash *flash)
{
    struct sector_look look[PAG_JOURNAL_SECTORS];
    memset(j, 0, sizeof *j);
    j->flash = flash;
    for (unsigned i = 0; i < PAG_JOURNAL_SECTORS; i++) {
        if (look_at(flash, (uint8_t)i, &look[i]) != PAG_OK) {
            return PAG_E_IO;
        }
    }
    j->sector = supersedes(&look[1], &look[0]) ? 1 : 0;
    const struct sector_look *in_use = &look[j->sector];
    const struct sector_look *other = &look[1 - j->sector];
    if (!in_use->complete) {
        j->sector = 0;
        return PAG_OK;
    }
    j->any = true;
    j->opening = in_use->opening;
    j->copy_owed = !in_use->copied;
    j->checkpoint = j->opening;
    j->last = j->opening;
    j->epoch = j->opening.epoch;
    /* What is appended now is later than anything that may come to light. */
    j->seq = other->any && later(other->seq, in_use->seq) ? other->seq : in_use->seq;
    return read_sector(j);
}

bool pag_journal_is_failed(const struct pag_journal *j, const uint8_t digest[PAG_JOURNAL_DIGEST_BYTES],
                           uint32_t sequence)
{
    for (size_t i = 0; i < j->failed_n; i++) {
        if (memcmp(j->failed[i].digest, digest, PAG_JOURNAL_DIGEST_BYTES) == 0) {
            return sequence <= j->failed[i].sequence;
        }
    }
    return false;
}

/* ---- writing ---- */

static enum pag_err write_cell(const struct pag_journal *j, uint8_t sector, unsigned cell,
                               const struct pag_journal_record *r)
{
    const struct pag_journal_flash *f = j->flash;
    uint8_t want[PAG_JOURNAL_CELL_BYTES];
    uint8_t is[PAG_JOURNAL_CELL_BYTES];
    pag_journal_cell_put(r, want);
    if (f->program(f->ctx, cell_offset(sector, cell), pag_span_of(want, sizeof want)) != PAG_OK) {
        return PAG_E_IO;
    }
    for (unsigned pass = 0; pass < 2; pass++) {
        if (f->read(f->ctx, cell_offset(sector, cell), is, sizeof is) != PAG_OK ||
            memcmp(is, want, sizeof is) != 0) {
            return PAG_E_IO;
        }
    }
    return PAG_OK;
}

/* Everything of the new sector but cell 0. state: what goes into cell 6. */
static enum pag_err write_body(const struct pag_journal *next, const struct pag_journal_record *state)
{
    const struct pag_journal_flash *f = next->flash;
    enum pag_err err = f->erase(f->ctx, cell_offset(next->sector, 0), PAG_JOURNAL_SECTOR_BYTES);
    if (err == PAG_OK && next->has_fallback) {
        err = write_cell(next, next->sector, CELL_FALLBACK, &next->fallback);
    }
    for (unsigned i = 0; i < next->failed_n && err == PAG_OK; i++) {
        struct pag_journal_record failed = next->failed[i];
        failed.type = PAG_JOURNAL_FAILED;
        err = write_cell(next, next->sector, CELL_FAILED + i, &failed);
    }
    if (err == PAG_OK) {
        err = write_cell(next, next->sector, CELL_OPENING, state);
    }
    return err;
}

/*
 * Cell 0 and its copy in cell 7. The same bytes again in a cell that a cut has left half programmed or weak
 * make it firm. True when one of the two holds: then the sector is complete for good.
 */
static bool write_opening(struct pag_journal *j)
{
    bool first = write_cell(j, j->sector, CELL_CHECKPOINT, &j->opening) == PAG_OK;
    bool copy = write_cell(j, j->sector, CELL_COPY, &j->opening) == PAG_OK;
    j->copy_owed = !first && !copy;
    return first || copy;
}

/*
 * Opens the other sector with the picture after r. Cell 0 comes last: until it is whole the old sector
 * stands. A blank sector is erased as well: one that was cut while erasing may only look blank.
 */
static enum pag_err change_sector(struct pag_journal *j, const struct pag_journal_record *r)
{
    uint8_t old = j->sector;
    struct pag_journal_record opening;
    if (!j->any && r->type != PAG_JOURNAL_CHECKPOINT) {
        return PAG_E_CONFLICT;
    }
    opening = r->type == PAG_JOURNAL_CHECKPOINT ? *r : j->checkpoint;
    opening.seq = r->seq;
    opening.epoch = r->epoch;
    j->sector = j->any ? (uint8_t)(1 - old) : 0;
    enum pag_err err = write_body(j, is_state(r->type) ? r : &j->last);
    j->opening = opening;
    if (err != PAG_OK || !write_opening(j)) {
        j->sector = old;
        return PAG_E_IO;
    }
    j->any = true;
    j->next = CELL_COPY + 1;
    j->misses = 0;
    return PAG_OK;
}

enum pag_err pag_journal_append(struct pag_journal *j, const struct pag_journal_record *r)
{
    struct pag_journal_record record = *r;
    if (!type_ok(r->type) || r->count >= SLOT_BIT || r->slot > 1) {
        return PAG_E_RANGE;
    }
    record.seq = j->seq + 1;
    record.epoch = r->epoch > j->epoch ? r->epoch : j->epoch;
    /* A cut has left the copy out: cell 0 may be weak, and with it all that is appended here. Without a firm
     * one the other sector, which may be the only one that holds, is not given up. */
    if (j->copy_owed && !write_opening(j)) {
        return PAG_E_IO;
    }
    while (j->any && j->next < PAG_JOURNAL_CELLS && j->misses < MISSES_MAX) {
        unsigned cell = j->next++;
        if (write_cell(j, j->sector, cell, &record) == PAG_OK) {
            take(j, &record);
            return PAG_OK;
        }
        j->misses++;
    }
    struct pag_journal before = *j;
    take(j, &record);
    enum pag_err err = change_sector(j, &record);
    if (err != PAG_OK) {
        *j = before;
    }
    return err;
}
