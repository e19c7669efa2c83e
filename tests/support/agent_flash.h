#ifndef PAG_TESTS_SUPPORT_AGENT_FLASH_H
#define PAG_TESTS_SUPPORT_AGENT_FLASH_H

/* What a device in memory consists of (agent_fake.h), and its NOR flash, which can lose power and go bad. */
#include <openssl/evp.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagurus/agent.h>

#include "agent/boot.h"
#include "agent/port.h"
#include "core/bytes.h"
#include "core/cbor.h"
#include "core/manifest.h"
#include "core/native.h"
#include "host/crypto.h"

enum {
    FAKE_SECTOR = 4096,
    FAKE_SLOT = 48 * FAKE_SECTOR,
    FAKE_RX = 70000,
    FAKE_TX = 8192,
    FAKE_IMAGE_MAX = 47 * FAKE_SECTOR
};

/* WEAK: the bits that the operation was to change read either way until the next erase, anew at each read;
 * LEANING: so at each power-up. */
enum fake_cut {
    FAKE_CUT_BEFORE,
    FAKE_CUT_HALF,
    FAKE_CUT_AFTER,
    FAKE_CUT_WEAK,
    FAKE_CUT_LEANING,
    FAKE_CUT_KINDS
};

struct fake;

struct fake_server {
    EVP_PKEY *root, *release, *fresh;
    uint8_t trust[PAG_TRUST_MAX];
    size_t trust_n;
    uint8_t next[PAG_TRUST_MAX];
    size_t next_n;
    uint32_t trust_version;
    uint64_t trust_expires_s; /* of sets signed from now on */
    uint8_t manifest[PAG_MANIFEST_MAX];
    size_t manifest_n;
    uint8_t permit[PAG_MANIFEST_MAX];
    size_t permit_n;
    const uint8_t *image;
    uint32_t image_n;
    bool offering;
    uint32_t action_id;
    uint32_t checks, blobs, report_n;
    uint32_t states; /* bit i: a report of state i came */
    struct pag_native_report last;
    uint32_t last_report_seq;
    bool seq_sank; /* a report came with a number not above the one before */
    int32_t last_code;
    uint32_t results, result_id; /* results of commands, and the last of them */
    int32_t result_code;
    /* misbehaviour */
    uint16_t status;       /* answer everything with this, 0 = be good */
    const char *status_on; /* only requests that begin so; NULL: all */
    uint32_t status_times; /* so often, then be good; 0: always */
    uint32_t retry_after_s, bad_answers;
    const char *raw;    /* answer everything with these bytes */
    uint32_t cut_after; /* close the connection after so many body bytes of a blob, 0 = never */
    uint32_t flip_at;   /* bit error in the blob at this offset, 0 = none */
    bool too_long;      /* announces more than asked */
    bool token;
    uint32_t token_valid_s;       /* 0: a day */
    uint32_t token_trust_version; /* 0: as offered */
    uint32_t nonces;              /* checks that asked for a token */
    uint8_t commands[320];
    size_t commands_n;
    /* the claim: worth one public key */
    uint8_t claimed[PAG_SHA256_BYTES];
    bool claim_used;
    char claim[PAG_CLAIM_MAX + 1]; /* as it came */
    uint32_t enrolled, turned_away;
    const char *broker;                                      /* told to who enrols; NULL: none */
    void (*on_enroll)(struct fake *f, struct pag_span body); /* answers instead; NULL: the claim counts */
};

struct fake {
    struct pag_port port;
    struct pag_settings set;
    uint8_t *area[PAG_AREA_COUNT];
    uint32_t now_ms;
    uint64_t unix_s;
    uint64_t seed;
    uint8_t slot;
    bool rebooted;
    uint32_t keys_made;
    /* power */
    uint64_t ops;    /* flash operations so far */
    uint64_t cut_at; /* power fails at this one, 0 = never */
    enum fake_cut cut_kind;
    bool dead;
    uint64_t loader_ops; /* of the last boot */
    uint64_t stuck_at;   /* this program operation leaves one bit as it was and says nothing, 0 = none */
    uint8_t *weak[PAG_AREA_COUNT]; /* bits that read either way; area says 1 there */
    uint64_t read_seed, leaning_seed;
    bool leaning;
    struct pag_boot boot; /* of the last boot */
    /* told of each operation when it is done, data NULL: an erase. whole: power did not fail in it */
    void (*watch)(struct fake *f, enum pag_area area, uint32_t off, struct pag_span data, bool whole);
    void *watch_ctx;
    /* network */
    uint8_t certificate[700], key[200]; /* shown on the last connection */
    size_t certificate_n, key_n;
    bool open, ready_slow, down;
    uint8_t tx[FAKE_TX]; /* what the device has sent of the present request */
    size_t tx_n;
    uint8_t *rx; /* what it has not read yet */
    size_t rx_n, rx_at;
    size_t rx_end; /* after this the server closes; SIZE_MAX: stays open */
    struct fake_server srv;
    struct pag_agent agent;
    alignas(8) uint8_t scratch[PAG_AGENT_SCRATCH_BYTES];
    enum pag_health health;
};

/* ---- flash ---- */

static inline struct fake *fake_of(void *ctx)
{
    return ctx;
}

static inline bool fake_power_fails(struct fake *f)
{
    f->ops++;
    if (f->cut_at != 0 && f->ops == f->cut_at) {
        f->dead = true;
    }
    return f->dead;
}

static inline uint64_t fake_mix(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return *seed >> 33;
}

/* Marks what changes from old to new in n bytes as weak: all of it, every eighth bit or one. */
static inline void fake_weaken(struct fake *f, enum pag_area area, uint32_t off, const uint8_t *want,
                               size_t n)
{
    uint64_t density = fake_mix(&f->read_seed) % 3;
    size_t only = fake_mix(&f->read_seed) % n;
    f->leaning = f->cut_kind == FAKE_CUT_LEANING;
    for (size_t i = 0; i < n; i++) {
        uint8_t *cell = f->area[area] + off + i;
        uint8_t changed = (uint8_t)(*cell ^ (want != NULL ? (*cell & want[i]) : 0xFF));
        uint8_t some = density == 0   ? 0xFF
                       : density == 1 ? (uint8_t)(1U << fake_mix(&f->read_seed) % 8)
                       : i == only    ? 0xFF
                                      : 0;
        uint8_t weak = changed & some;
        *cell = (uint8_t)((want != NULL ? *cell & want[i] : 0xFF) | weak);
        f->weak[area][off + i] = weak;
    }
}

static inline bool fake_is_weak_kind(const struct fake *f)
{
    return f->cut_kind == FAKE_CUT_WEAK || f->cut_kind == FAKE_CUT_LEANING;
}

static inline void fake_tell(struct fake *f, enum pag_area area, uint32_t off, struct pag_span data,
                             bool whole)
{
    if (f->watch != NULL) {
        f->watch(f, area, off, data, whole);
    }
}

static inline enum pag_err fake_erase(void *ctx, enum pag_area area, uint32_t off, uint32_t n)
{
    struct fake *f = fake_of(ctx);
    struct pag_span none = { NULL, n };
    if (off % FAKE_SECTOR != 0 || n % FAKE_SECTOR != 0 || off > f->port.flash.area_bytes[area] ||
        n > f->port.flash.area_bytes[area] - off) {
        abort(); /* the agent must never ask for that */
    }
    if (f->dead) {
        return PAG_E_IO;
    }
    bool cut = fake_power_fails(f);
    if (cut && fake_is_weak_kind(f)) {
        fake_weaken(f, area, off, NULL, n);
    } else {
        bool nothing = cut && f->cut_kind == FAKE_CUT_BEFORE;
        uint32_t part = nothing ? 0 : cut && f->cut_kind == FAKE_CUT_HALF ? n / 2 : n;
        memset(f->area[area] + off, 0xFF, part);
        memset(f->weak[area] + off, 0, part);
    }
    fake_tell(f, area, off, none, !cut || f->cut_kind == FAKE_CUT_AFTER);
    return cut ? PAG_E_IO : PAG_OK;
}

static inline enum pag_err fake_program(void *ctx, enum pag_area area, uint32_t off, struct pag_span data)
{
    struct fake *f = fake_of(ctx);
    if (off % 4 != 0 || data.n % 4 != 0 || off > f->port.flash.area_bytes[area] ||
        data.n > f->port.flash.area_bytes[area] - off) {
        abort();
    }
    if (f->dead) {
        return PAG_E_IO;
    }
    bool cut = fake_power_fails(f);
    size_t n = data.n;
    if (cut) {
        n = f->cut_kind == FAKE_CUT_BEFORE ? 0 : f->cut_kind == FAKE_CUT_HALF ? n / 2 : n;
    }
    for (size_t i = 0; i < data.n; i++) {
        uint8_t cell = f->area[area][off + i];
        if ((data.p[i] & (uint8_t)~cell) != 0) {
            abort(); /* programming cannot set a bit */
        }
    }
    if (cut && fake_is_weak_kind(f)) {
        fake_weaken(f, area, off, data.p, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            f->area[area][off + i] &= data.p[i];
            f->weak[area][off + i] &= data.p[i];
        }
    }
    if (f->stuck_at != 0 && f->ops == f->stuck_at && n > 0) {
        size_t i = fake_mix(&f->read_seed) % n;
        f->area[area][off + i] |= (uint8_t)(1U << fake_mix(&f->read_seed) % 8);
    }
    fake_tell(f, area, off, data, !cut || f->cut_kind == FAKE_CUT_AFTER);
    return cut ? PAG_E_IO : PAG_OK;
}

static inline enum pag_err fake_read(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    struct fake *f = fake_of(ctx);
    if (off > f->port.flash.area_bytes[area] || n > f->port.flash.area_bytes[area] - off) {
        abort();
    }
    memcpy(out, f->area[area] + off, n);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t weak = f->weak[area][off + i];
        if (weak != 0) {
            uint64_t leaning = f->leaning_seed + (uint64_t)area * 1000003U + off + i;
            uint64_t r = f->leaning ? fake_mix(&leaning) : fake_mix(&f->read_seed);
            out[i] = (uint8_t)(out[i] & ~(weak & (r >> 3)));
        }
    }
    return f->dead ? PAG_E_IO : PAG_OK;
}

#endif
