#ifndef PAG_SIM_POOL_H
#define PAG_SIM_POOL_H

#include <pagurus/types.h>

/*
 * Flash sectors shared by content: thousands of devices hold the same few images. One pool a thread, not
 * thread-safe.
 */

enum { PAG_SIM_SECTOR = 4096 };

struct pag_sim_sector {
    uint8_t bytes[PAG_SIM_SECTOR]; /* never changed while shared */
    uint32_t hash;
    uint32_t refs;
    uint32_t number; /* in the file that is being written (sim/saved.h); 0: none yet */
    struct pag_sim_sector *next;
};

struct pag_sim_pool;

struct pag_sim_pool *pag_sim_pool_new(void);       /* NULL: no memory */
void pag_sim_pool_free(struct pag_sim_pool *pool); /* with all its sectors; NULL is fine */

/* The one sector with these PAG_SIM_SECTOR bytes, with one more reference. NULL: no memory. */
struct pag_sim_sector *pag_sim_pool_put(struct pag_sim_pool *pool, const uint8_t *bytes);
void pag_sim_pool_release(struct pag_sim_pool *pool, struct pag_sim_sector *sector); /* NULL is fine */

size_t pag_sim_pool_count(const struct pag_sim_pool *pool); /* distinct sectors held */

#endif
