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

/* A cell that two reads give differently was torn: bad. */
static enum pag_err read_cell(const struct pag_journal_flash *f, uint8_t sector, unsigned cell,
                              enum cell_kind *kind, struct pag_journal_record *out)
{
    uint8_t first[PAG_JOURNAL_CELL_BYTES];
    uint8_t again[PAG_JOURNAL_CELL_BYTES];
    if (f->read(f->ctx, cell_offset(sector, cell), first, sizeof first) != PAG_OK ||
        f->read(f->ctx, cell_offset(sector, cell), again, sizeof again) != PAG_OK) {
        return PAG_E_IO;
    }
    bool same = memcmp(first, again, sizeof first) == 0;
    *kind = same && is_blank(first) ? CELL_BLANK : CELL_BAD;
    if (same && pag_journal_cell_get(first, out)) {
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

/* Checkpoint of a complete sector, from cell 0 or its copy. */
static enum pag_err read_opening(const struct pag_journal_flash *f, uint8_t sector, bool *complete,
                                 struct pag_journal_record *out)
{
    static const uint8_t cells[] = { CELL_CHECKPOINT, CELL_COPY };
    *complete = false;
    for (size_t i = 0; i < sizeof cells && !*complete; i++) {
        enum cell_kind kind = CELL_BAD;
        if (read_cell(f, sector, cells[i], &kind, out) != PAG_OK) {
            return PAG_E_IO;
        }
        *complete = kind == CELL_GOOD && out->type == PAG_JOURNAL_CHECKPOINT;
    }
    return PAG_OK;
}

static enum pag_err read_sector(struct pag_journal *j)
{
    j->next = CELL_COPY + 1;
    for (unsigned cell = CELL_FALLBACK; cell < PAG_JOURNAL_CELLS; cell++) {
        struct pag_journal_record r;
        enum cell_kind kind = CELL_BAD;
        if (read_cell(j->flash, j->sector, cell, &kind, &r) != PAG_OK) {
            return PAG_E_IO;
        }
        if (cell == CELL_COPY) {
            j->copy_owed = kind == CELL_BLANK;
            continue;
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

enum pag_err pag_journal_open(struct pag_journal *j, const struct pag_journal_flash *flash)
{
    struct pag_journal_record opening;
    memset(j, 0, sizeof *j);
    j->flash = flash;
    for (unsigned i = 0; i < PAG_JOURNAL_SECTORS; i++) {
        uint8_t sector = (uint8_t)i;
        bool complete = false;
        if (read_opening(flash, sector, &complete, &opening) != PAG_OK) {
            return PAG_E_IO;
        }
        if (complete && (!j->any || later(opening.seq, j->checkpoint.seq))) {
            j->any = true;
            j->sector = sector;
            j->checkpoint = opening;
        }
    }
    if (!j->any) {
        return PAG_OK;
    }
    j->seq = j->checkpoint.seq;
    j->epoch = j->checkpoint.epoch;
    j->last = j->checkpoint;
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
    if (err == PAG_OK) {
        err = write_cell(j, j->sector, CELL_CHECKPOINT, &opening);
    }
    if (err != PAG_OK) {
        j->sector = old;
        return PAG_E_IO;
    }
    j->any = true;
    j->next = CELL_COPY + 1;
    j->misses = 0;
    j->copy_owed = false;
    /* A copy that does not hold is no loss: cell 0 was just read back. */
    (void)write_cell(j, j->sector, CELL_COPY, &opening);
    return PAG_OK;
}

/* Copy of cell 0 that a cut has left out: cell 0 itself may be weak, so the copy goes before anything else.
 */
static void pay_copy(struct pag_journal *j)
{
    if (!j->copy_owed) {
        return;
    }
    struct pag_journal_record opening;
    enum cell_kind kind = CELL_BAD;
    j->copy_owed = false;
    if (read_cell(j->flash, j->sector, CELL_CHECKPOINT, &kind, &opening) == PAG_OK && kind == CELL_GOOD) {
        (void)write_cell(j, j->sector, CELL_COPY, &opening);
    }
}

enum pag_err pag_journal_append(struct pag_journal *j, const struct pag_journal_record *r)
{
    struct pag_journal_record record = *r;
    if (!type_ok(r->type) || r->count >= SLOT_BIT || r->slot > 1) {
        return PAG_E_RANGE;
    }
    record.seq = j->seq + 1;
    record.epoch = r->epoch > j->epoch ? r->epoch : j->epoch;
    pay_copy(j);
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
