#include "host/bucket.h"

#include <pthread.h>
#include <stdlib.h>

#include "host/rand.h"

enum { SHARDS = 64, SETS = 128, WAYS = 8, TELL_MS = 3600000 };

static const uint64_t hour_ms = 3600000; /* milliseconds of an hour */

struct bucket {
    uint64_t key;   /* 0: free */
    uint64_t milli; /* thousandths of tokens */
    uint64_t at_ms;
    uint64_t told_ms; /* 0: never */
    uint32_t refused;
};

struct shard {
    pthread_mutex_t lock;
    struct bucket *bucket; /* SETS * WAYS */
};

struct pag_buckets {
    uint64_t secret[2];
    struct shard shard[SHARDS];
};

struct pag_buckets *pag_buckets_new(void)
{
    struct pag_buckets *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return NULL;
    }
    pag_rand_bytes((uint8_t *)b->secret, sizeof b->secret);
    for (size_t i = 0; i < SHARDS; i++) {
        (void)pthread_mutex_init(&b->shard[i].lock, NULL);
        b->shard[i].bucket = calloc((size_t)SETS * WAYS, sizeof(struct bucket));
        if (b->shard[i].bucket == NULL) {
            pag_buckets_free(b);
            return NULL;
        }
    }
    return b;
}

void pag_buckets_free(struct pag_buckets *b)
{
    for (size_t i = 0; b != NULL && i < SHARDS; i++) {
        (void)pthread_mutex_destroy(&b->shard[i].lock);
        free(b->shard[i].bucket);
    }
    free(b);
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0xD6E8FEB86659FD93);
    h ^= h >> 32;
    h *= UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 32;
}

/* Seeded, so that nobody can choose ids that share a set. */
static uint64_t hash_of(const struct pag_buckets *b, struct pag_span key)
{
    uint64_t h = b->secret[0];
    for (size_t i = 0; i < key.n; i++) {
        h = mix(h ^ key.p[i]) + b->secret[1];
    }
    h = mix(h);
    return h != 0 ? h : 1;
}

static struct bucket *find(struct shard *s, uint64_t hash, uint64_t full_milli, uint64_t now_ms)
{
    struct bucket *set = &s->bucket[(hash >> 8) % SETS * WAYS];
    struct bucket *oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].key == hash) {
            return &set[i];
        }
        if (set[i].key == 0 || (oldest->key != 0 && set[i].at_ms < oldest->at_ms)) {
            oldest = &set[i];
        }
    }
    *oldest = (struct bucket){ .key = hash, .milli = full_milli, .at_ms = now_ms };
    return oldest;
}

static void refill(struct bucket *k, struct pag_bucket_rate rate, uint64_t full_milli, uint64_t now_ms)
{
    uint64_t passed = now_ms > k->at_ms ? now_ms - k->at_ms : 0;
    passed = passed > hour_ms * 24 ? hour_ms * 24 : passed;
    uint64_t more = passed * rate.per_hour / (hour_ms / 1000);
    k->milli = more >= full_milli || k->milli + more > full_milli ? full_milli : k->milli + more;
    k->at_ms = now_ms;
}

static void refuse(struct bucket *k, struct pag_bucket_rate rate, uint64_t missing_milli, uint64_t now_ms,
                   struct pag_bucket_verdict *v)
{
    uint64_t wait_ms = missing_milli * (hour_ms / 1000) / rate.per_hour;
    v->ok = false;
    v->wait_s = wait_ms / 1000 >= 3600 ? 3600 : (uint32_t)(wait_ms / 1000) + 1;
    k->refused++;
    v->tell = k->told_ms == 0 || now_ms - k->told_ms >= TELL_MS;
    if (v->tell) {
        v->refused = k->refused;
        k->refused = 0;
        k->told_ms = now_ms;
    }
}

struct pag_bucket_verdict pag_bucket_take(struct pag_buckets *b, struct pag_span key,
                                          struct pag_bucket_rate rate, uint64_t cost, uint64_t now_ms)
{
    struct pag_bucket_verdict v = { .ok = true };
    if (rate.per_hour == 0) {
        return v;
    }
    uint64_t hash = hash_of(b, key);
    uint64_t full = (rate.burst > 0 ? rate.burst : 1) * 1000;
    struct shard *s = &b->shard[hash % SHARDS];
    (void)pthread_mutex_lock(&s->lock);
    struct bucket *k = find(s, hash, full, now_ms);
    refill(k, rate, full, now_ms);
    if (k->milli >= cost * 1000) {
        k->milli -= cost * 1000;
    } else {
        refuse(k, rate, cost * 1000 - k->milli, now_ms, &v);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return v;
}
