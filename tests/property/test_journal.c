/* Random histories on a flash that is cut at every byte of every operation; PAG_SEED replays one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "core/journal.h"
#include "tests/support/draw.h"

enum { AREA = PAG_JOURNAL_SECTORS * PAG_JOURNAL_SECTOR_BYTES, NEVER = INT32_MAX };

/* NOR flash that dies after `budget` more bytes; dead, it takes nothing more. Erasing counts as one byte a
 * page. */
struct flash {
    uint8_t cell[AREA];
    long budget;
    bool dead;
    unsigned erases;
    unsigned stuck_at; /* a bit here never clears; AREA: none */
};

static uint64_t seed_state;

static uint32_t next_random(void)
{
    return draw(&seed_state);
}

static enum pag_err flash_read(void *ctx, uint32_t off, uint8_t *out, uint32_t n)
{
    struct flash *f = ctx;
    assert_true(off + n <= AREA);
    memcpy(out, f->cell + off, n);
    return f->dead ? PAG_E_IO : PAG_OK;
}

static enum pag_err flash_program(void *ctx, uint32_t off, struct pag_span data)
{
    struct flash *f = ctx;
    assert_true(off % 4 == 0 && data.n % 4 == 0 && off + data.n <= AREA);
    for (size_t i = 0; i < data.n; i++) {
        if (f->budget-- <= 0) {
            f->dead = true;
            return PAG_E_IO;
        }
        uint8_t stuck = off + i == f->stuck_at ? 1 : 0;
        f->cell[off + i] = (uint8_t)(f->cell[off + i] & (data.p[i] | stuck));
    }
    return PAG_OK;
}

static enum pag_err flash_erase(void *ctx, uint32_t off, uint32_t n)
{
    struct flash *f = ctx;
    assert_true(off % PAG_JOURNAL_SECTOR_BYTES == 0 && n == PAG_JOURNAL_SECTOR_BYTES);
    f->erases++;
    for (uint32_t at = off; at < off + n; at += 256) {
        if (f->budget-- <= 0) {
            f->dead = true;
            return PAG_E_IO;
        }
        memset(f->cell + at, 0xFF, 256);
    }
    return PAG_OK;
}

static struct flash flash;
static const struct pag_journal_flash ops = { &flash, flash_read, flash_program, flash_erase };

static void flash_new(void)
{
    memset(flash.cell, 0xFF, sizeof flash.cell);
    flash.budget = NEVER;
    flash.dead = false;
    flash.erases = 0;
    flash.stuck_at = AREA;
}

static struct pag_journal_record record_of(uint32_t r)
{
    static const enum pag_journal_type types[] = {
        PAG_JOURNAL_CHECKPOINT, PAG_JOURNAL_FETCH,   PAG_JOURNAL_STAGED,
        PAG_JOURNAL_TRY,        PAG_JOURNAL_CONFIRM, PAG_JOURNAL_REVERT,
        PAG_JOURNAL_REVERTED,   PAG_JOURNAL_EPOCH,   PAG_JOURNAL_FALLBACK,
    };
    struct pag_journal_record out = { .type = types[r % 9], .slot = r >> 4 & 1, .count = r >> 5 & 3 };
    out.epoch = r >> 8 & 3;
    out.sequence = r >> 10 & 7;
    out.digest[0] = (uint8_t)(r >> 13 & 7);
    out.aux = r;
    return out;
}

/* What a reader of the journal may rely on; seq of the checkpoint changes with the sector and is left out. */
struct picture {
    struct pag_journal_record last, checkpoint, fallback;
    struct pag_journal_record failed[PAG_JOURNAL_FAILED_MAX];
    uint32_t epoch;
    uint8_t failed_n;
    bool any, has_fallback;
};

static struct picture picture_of(const struct pag_journal *j)
{
    struct picture p;
    memset(&p, 0, sizeof p);
    p.any = j->any;
    p.epoch = j->epoch;
    p.has_fallback = j->has_fallback;
    p.failed_n = j->failed_n;
    memcpy(&p.last, &j->last, sizeof p.last);
    memcpy(&p.checkpoint, &j->checkpoint, sizeof p.checkpoint);
    memcpy(&p.fallback, &j->fallback, sizeof p.fallback);
    memcpy(p.failed, j->failed, j->failed_n * sizeof p.failed[0]);
    p.checkpoint.seq = 0;
    p.checkpoint.epoch = 0;
    for (size_t i = 0; i < p.failed_n; i++) {
        p.failed[i].type = PAG_JOURNAL_FAILED;
    }
    return p;
}

static bool same_record(const struct pag_journal_record *a, const struct pag_journal_record *b)
{
    uint8_t x[PAG_JOURNAL_CELL_BYTES];
    uint8_t y[PAG_JOURNAL_CELL_BYTES];
    pag_journal_cell_put(a, x);
    pag_journal_cell_put(b, y);
    return memcmp(x, y, sizeof x) == 0;
}

static bool same_picture(const struct picture *a, const struct picture *b)
{
    bool same = a->any == b->any && a->epoch == b->epoch && a->has_fallback == b->has_fallback &&
                a->failed_n == b->failed_n;
    if (!same || !a->any) {
        return same;
    }
    for (size_t i = 0; i < a->failed_n; i++) {
        same = same && same_record(&a->failed[i], &b->failed[i]);
    }
    return same && same_record(&a->last, &b->last) && same_record(&a->checkpoint, &b->checkpoint) &&
           (!a->has_fallback || same_record(&a->fallback, &b->fallback));
}

static struct picture reopened(void)
{
    struct pag_journal j;
    flash.dead = false;
    flash.budget = NEVER;
    assert_int_equal(pag_journal_open(&j, &ops), PAG_OK);
    return picture_of(&j);
}

/* Brings a fresh journal n random records far. */
static void history(struct pag_journal *j, unsigned n)
{
    struct pag_journal_record first = record_of(0);
    flash_new();
    assert_int_equal(pag_journal_open(j, &ops), PAG_OK);
    assert_false(j->any);
    assert_int_equal(pag_journal_append(j, &first), PAG_OK);
    for (unsigned i = 1; i < n; i++) {
        struct pag_journal_record r = record_of(next_random());
        assert_int_equal(pag_journal_append(j, &r), PAG_OK);
    }
}

static void reading_gives_what_was_appended(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 60; run++) {
        struct pag_journal j;
        history(&j, 1 + next_random() % 600);
        struct picture was = picture_of(&j);
        struct picture is = reopened();
        assert_true(same_picture(&was, &is));
    }
}

/* One append from the same start, cut after every possible byte. */
static void cut_everywhere(unsigned n)
{
    static uint8_t start[AREA];
    struct pag_journal j;
    history(&j, n);
    memcpy(start, flash.cell, sizeof start);
    struct pag_journal before_j = j;
    struct picture before = picture_of(&j);
    struct pag_journal_record r = record_of(next_random());
    assert_int_equal(pag_journal_append(&j, &r), PAG_OK);
    struct picture after = picture_of(&j);
    bool done = false;
    for (long cut = 0; !done; cut++) {
        memcpy(flash.cell, start, sizeof start);
        flash.budget = cut;
        flash.dead = false;
        j = before_j;
        done = pag_journal_append(&j, &r) == PAG_OK && !flash.dead;
        struct picture is = reopened();
        assert_true(same_picture(&is, &before) || same_picture(&is, &after));
        assert_true(!done || same_picture(&is, &after));
        /* and the next power-up goes on from there */
        assert_int_equal(pag_journal_open(&j, &ops), PAG_OK);
        assert_int_equal(pag_journal_append(&j, &r), PAG_OK);
        is = reopened();
        assert_int_equal(is.last.type, j.last.type);
        assert_int_equal(is.last.seq, j.last.seq);
    }
}

static void a_cut_at_any_byte_leaves_the_state_before_or_after(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 40; run++) {
        cut_everywhere(1 + next_random() % 130);
    }
    /* the sector is full after 1 + 120 records: the change of sectors is among these */
    for (unsigned n = 118; n < 126; n++) {
        cut_everywhere(n);
        cut_everywhere(n + 121);
    }
}

static void a_first_record_cut_at_any_byte_is_whole_or_absent(void **state)
{
    (void)state;
    struct pag_journal_record r = record_of(0);
    for (long cut = 0; cut < 200; cut++) {
        struct pag_journal j;
        flash_new();
        assert_int_equal(pag_journal_open(&j, &ops), PAG_OK);
        flash.budget = cut;
        enum pag_err err = pag_journal_append(&j, &r);
        struct picture is = reopened();
        assert_true(is.any || err != PAG_OK);
        assert_true(!is.any || is.last.type == PAG_JOURNAL_CHECKPOINT);
    }
}

static void a_stuck_bit_costs_a_cell_not_a_record(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 200; run++) {
        struct pag_journal j;
        history(&j, 1 + next_random() % 100);
        unsigned cell = j.sector * (unsigned)PAG_JOURNAL_CELLS + j.next;
        flash.stuck_at = cell * PAG_JOURNAL_CELL_BYTES + next_random() % 28;
        struct pag_journal_record r = record_of(next_random());
        assert_int_equal(pag_journal_append(&j, &r), PAG_OK);
        struct picture was = picture_of(&j);
        struct picture is = reopened();
        assert_true(same_picture(&was, &is));
    }
}

static void the_first_record_must_be_a_checkpoint(void **state)
{
    (void)state;
    struct pag_journal j;
    struct pag_journal_record r = record_of(1);
    flash_new();
    assert_int_equal(pag_journal_open(&j, &ops), PAG_OK);
    assert_int_equal(pag_journal_append(&j, &r), PAG_E_CONFLICT);
    assert_false(j.any);
    assert_int_equal(flash.erases, 0);
}

static void a_bit_flipped_anywhere_in_a_cell_is_noticed(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 50; run++) {
        uint8_t cell[PAG_JOURNAL_CELL_BYTES];
        struct pag_journal_record r = record_of(next_random());
        struct pag_journal_record out;
        r.seq = next_random();
        pag_journal_cell_put(&r, cell);
        assert_true(pag_journal_cell_get(cell, &out));
        assert_true(same_record(&r, &out));
        for (unsigned bit = 0; bit < 8 * sizeof cell; bit++) {
            cell[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_false(pag_journal_cell_get(cell, &out));
            cell[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
    }
}

static void a_reverted_image_is_refused_until_a_newer_release_names_it(void **state)
{
    (void)state;
    struct pag_journal j;
    struct pag_journal_record r = record_of(0);
    flash_new();
    assert_int_equal(pag_journal_open(&j, &ops), PAG_OK);
    assert_int_equal(pag_journal_append(&j, &r), PAG_OK);
    r.type = PAG_JOURNAL_REVERTED;
    r.sequence = 7;
    r.digest[0] = 0xAB;
    assert_int_equal(pag_journal_append(&j, &r), PAG_OK);
    for (unsigned i = 0; i < 400; i++) { /* over several sectors */
        struct pag_journal_record idle = record_of(0);
        assert_int_equal(pag_journal_append(&j, &idle), PAG_OK);
    }
    assert_int_equal(pag_journal_open(&j, &ops), PAG_OK);
    assert_true(pag_journal_is_failed(&j, r.digest, 7));
    assert_false(pag_journal_is_failed(&j, r.digest, 8));
    r.digest[0] = 0xAC;
    assert_false(pag_journal_is_failed(&j, r.digest, 7));
}

int main(void)
{
    const char *seed = getenv("PAG_SEED");
    seed_state = seed != NULL ? strtoull(seed, NULL, 10) : 20261121;
    (void)printf("PAG_SEED=%llu\n", (unsigned long long)seed_state);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_gives_what_was_appended),
        cmocka_unit_test(a_cut_at_any_byte_leaves_the_state_before_or_after),
        cmocka_unit_test(a_first_record_cut_at_any_byte_is_whole_or_absent),
        cmocka_unit_test(a_stuck_bit_costs_a_cell_not_a_record),
        cmocka_unit_test(the_first_record_must_be_a_checkpoint),
        cmocka_unit_test(a_bit_flipped_anywhere_in_a_cell_is_noticed),
        cmocka_unit_test(a_reverted_image_is_refused_until_a_newer_release_names_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
