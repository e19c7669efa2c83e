#ifndef PAG_HOST_BUCKET_H
#define PAG_HOST_BUCKET_H

#include <stdbool.h>

#include <pagurus/types.h>

/*
 * Token buckets by key, in fixed memory: what was not used for longest makes room, and begins full when it
 * comes back. Keys are hashed with a secret. Thread-safe.
 */
struct pag_buckets;

struct pag_buckets *pag_buckets_new(void); /* NULL: no memory */
void pag_buckets_free(struct pag_buckets *b);

struct pag_bucket_rate {
    uint64_t per_hour; /* tokens; 0: no limit */
    uint64_t burst;    /* most that can be there; at least 1 counts */
};

struct pag_bucket_verdict {
    bool ok;
    bool tell;        /* refused, and for the first time in an hour */
    uint32_t refused; /* tell: how often since the last telling, this one included */
    uint32_t wait_s;  /* not ok: until cost tokens are there, at least 1 */
};

/* Takes cost tokens of key when they are there. now_ms: monotonic. */
struct pag_bucket_verdict pag_bucket_take(struct pag_buckets *b, struct pag_span key,
                                          struct pag_bucket_rate rate, uint64_t cost, uint64_t now_ms);

#endif
