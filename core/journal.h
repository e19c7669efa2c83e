#ifndef PAG_CORE_JOURNAL_H
#define PAG_CORE_JOURNAL_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Boot journal: two sectors of 128 cells of 32 bytes, append only, safe against a cut at any byte of any
 * program or erase. docs/spec/journal.md. What the records mean for a boot is agent/boot's affair, and so is
 * the rule that the record read last is appended again before anything irreversible is done because of it.
 */

enum {
    PAG_JOURNAL_SECTOR_BYTES = 4096,
    PAG_JOURNAL_SECTORS = 2,
    PAG_JOURNAL_CELL_BYTES = 32,
    PAG_JOURNAL_CELLS = PAG_JOURNAL_SECTOR_BYTES / PAG_JOURNAL_CELL_BYTES,
    PAG_JOURNAL_FAILED_MAX = 4, /* blacklisted images that are remembered */
    PAG_JOURNAL_DIGEST_BYTES = 8,
};

enum pag_journal_type {                                /* on flash: never renumbered */
                        PAG_JOURNAL_CHECKPOINT = 0x11, /* IDLE: runs this confirmed image */
                        PAG_JOURNAL_FETCH = 0x12,      /* aux: next sector to write */
                        PAG_JOURNAL_STAGED = 0x13, /* whole target read back, hash and signature verified */
                        PAG_JOURNAL_APPLY = 0x14, /* scratch for this step is complete; aux: CRC of scratch */
                        PAG_JOURNAL_TRY = 0x15,   /* count 1..3, before the jump; aux: deadline in s */
                        PAG_JOURNAL_CONFIRM = 0x16, /* count 0 = a, 1 = b */
                        PAG_JOURNAL_REVERT = 0x17,  /* aux: enum pag_journal_reason */
                        PAG_JOURNAL_RESTORE = 0x18, /* as APPLY, with the reverse delta */
                        PAG_JOURNAL_REVERTED =
                            0x19, /* the old image runs; this digest is blacklisted, a report is owed */
                        PAG_JOURNAL_EPOCH = 0x1A,    /* floor raised to that of the confirmed image */
                        PAG_JOURNAL_FALLBACK = 0x1B, /* the other good image; never the state */
                        PAG_JOURNAL_FAILED =
                            0x1C, /* a blacklisted image carried over to a new sector; never the state */
};

enum pag_journal_reason {
    PAG_JOURNAL_TRIES_USED = 1,
    PAG_JOURNAL_DEADLINE = 2,
    PAG_JOURNAL_APP_ASKED = 3,
    PAG_JOURNAL_HASH_BAD = 4,
    PAG_JOURNAL_SERVER_ORDER = 5,
};

struct pag_journal_record {
    enum pag_journal_type type;
    uint8_t slot;                             /* 0 A, 1 B */
    uint8_t count;                            /* 0..127: try number, half of a confirmation */
    uint32_t seq;                             /* given by pag_journal_append */
    uint32_t epoch;                           /* security floor in force; append never lets it sink */
    uint32_t sequence;                        /* of the manifest of the image meant, 0 = factory */
    uint8_t digest[PAG_JOURNAL_DIGEST_BYTES]; /* first bytes of the image's SHA-256 */
    uint32_t aux;
};

/* The two sectors, offsets 0..8191. Same rules and errors as struct pag_flash of agent/port.h. */
struct pag_journal_flash {
    void *ctx;
    enum pag_err (*read)(void *ctx, uint32_t off, uint8_t *out, uint32_t n);
    enum pag_err (*program)(void *ctx, uint32_t off, struct pag_span data);
    enum pag_err (*erase)(void *ctx, uint32_t off, uint32_t n);
};

/* Placed by the caller; about 300 bytes, no interior pointers but to flash. */
struct pag_journal {
    const struct pag_journal_flash *flash;
    bool any;                             /* a complete sector was found; else all below is zero */
    uint8_t sector;                       /* the one in use */
    uint16_t next;                        /* first cell free in it, PAG_JOURNAL_CELLS when full */
    uint8_t misses;                       /* cells skipped in this sector in this power-up */
    bool copy_owed;                       /* cell 7 is not good: write cells 0 and 7 before anything else */
    uint32_t seq;                         /* highest there is */
    uint32_t epoch;                       /* highest floor of any record */
    struct pag_journal_record last;       /* the state; the checkpoint itself when nothing follows it */
    struct pag_journal_record checkpoint; /* confirmed image */
    struct pag_journal_record opening;    /* cell 0 of this sector */
    bool has_fallback;
    struct pag_journal_record fallback;
    uint8_t failed_n; /* oldest first */
    struct pag_journal_record failed[PAG_JOURNAL_FAILED_MAX];
};

/*
 * Reads both sectors; writes and erases nothing. flash must outlive j. PAG_OK also for a journal without a
 * complete sector (j->any false). PAG_E_IO when reading failed.
 */
enum pag_err pag_journal_open(struct pag_journal *j, const struct pag_journal_flash *flash);

/*
 * Appends r (its seq is ignored) and on PAG_OK takes it into *j. Each program is read back twice; a cell that
 * does not hold is skipped, after 8 of them or when the sector is full the other one is taken. A cut at any
 * moment leaves the state before or the one after. The very first record must be a CHECKPOINT:
 * PAG_E_CONFLICT. PAG_E_RANGE for a type or count that cannot be written. PAG_E_IO: flash fails, refuse
 * updates; the old state is still there.
 */
enum pag_err pag_journal_append(struct pag_journal *j, const struct pag_journal_record *r);

/* True when the image was reverted from, with a release number not below sequence (a newer one may be tried).
 */
bool pag_journal_is_failed(const struct pag_journal *j, const uint8_t digest[PAG_JOURNAL_DIGEST_BYTES],
                           uint32_t sequence);

/* One cell to and from bytes. get: false for a blank, torn or unknown cell. */
void pag_journal_cell_put(const struct pag_journal_record *r, uint8_t out[PAG_JOURNAL_CELL_BYTES]);
bool pag_journal_cell_get(const uint8_t in[PAG_JOURNAL_CELL_BYTES], struct pag_journal_record *out);

#endif
