#include "sim/pool.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

enum { BUCKETS = 1 << 14 };

struct pag_sim_pool {
    struct pag_sim_sector *bucket[BUCKETS];
    size_t count;
};

struct pag_sim_pool *pag_sim_pool_new(void)
{
    return calloc(1, sizeof(struct pag_sim_pool));
}

void pag_sim_pool_free(struct pag_sim_pool *pool)
{
    for (size_t i = 0; pool != NULL && i < BUCKETS; i++) {
        while (pool->bucket[i] != NULL) {
            struct pag_sim_sector *sector = pool->bucket[i];
            pool->bucket[i] = sector->next;
            free(sector);
        }
    }
    free(pool);
}

struct pag_sim_sector *pag_sim_pool_put(struct pag_sim_pool *pool, const uint8_t *bytes)
{
    const uint32_t hash = pag_hash32(pag_span_of(bytes, PAG_SIM_SECTOR), 0);
    struct pag_sim_sector **head = &pool->bucket[hash % BUCKETS];
    for (struct pag_sim_sector *s = *head; s != NULL; s = s->next) {
        if (s->hash == hash && memcmp(s->bytes, bytes, PAG_SIM_SECTOR) == 0) {
            s->refs++;
            return s;
        }
    }
    struct pag_sim_sector *fresh = malloc(sizeof(*fresh));
    if (fresh == NULL) {
        return NULL;
    }
    memcpy(fresh->bytes, bytes, PAG_SIM_SECTOR);
    fresh->hash = hash;
    fresh->refs = 1;
    fresh->number = 0;
    fresh->next = *head;
    *head = fresh;
    pool->count++;
    return fresh;
}

void pag_sim_pool_release(struct pag_sim_pool *pool, struct pag_sim_sector *sector)
{
    if (sector == NULL || --sector->refs > 0) {
        return;
    }
    struct pag_sim_sector **at = &pool->bucket[sector->hash % BUCKETS];
    while (*at != sector) {
        at = &(*at)->next;
    }
    *at = sector->next;
    pool->count--;
    free(sector);
}

size_t pag_sim_pool_count(const struct pag_sim_pool *pool)
{
    return pool->count;
}
