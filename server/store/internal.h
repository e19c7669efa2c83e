#ifndef PAG_SERVER_STORE_INTERNAL_H
#define PAG_SERVER_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/store/tx.h"

/* Of this room only. */

enum { PAG_TX_DIRTY_MAX = 16, PAG_TX_DENY_MAX = 64, PAG_SERIAL_MAX = 20 };

struct pag_serial {
    uint8_t n;
    uint8_t b[PAG_SERIAL_MAX];
};

struct pag_store_tx {
    struct pag_store *store;
    struct pag_db db;
    int64_t now_ms;
    int64_t event_seq; /* last given */
    bool events;       /* some in this group */
    bool all_dirty;    /* more products than fit */
    size_t dirty_n;
    char dirty[PAG_TX_DIRTY_MAX][PAG_PRODUCT_HEX];
    size_t deny_n;
    struct pag_serial deny[PAG_TX_DENY_MAX];
    bool deny_all; /* more than fit: read them all again */
};

/* ---- deny.c: the set of refused serials ---- */
struct pag_deny {
    pthread_rwlock_t lock;
    struct pag_serial *slot; /* open addressing; n == 0: free */
    size_t cap, n;
    atomic_ullong epoch;
};
enum pag_err pag_deny_init(struct pag_deny *d);
void pag_deny_drop(struct pag_deny *d);
enum pag_err pag_deny_add(struct pag_deny *d, const uint8_t *serial, size_t n);
bool pag_deny_has(struct pag_deny *d, const uint8_t *serial, size_t n);
enum pag_err pag_deny_load(struct pag_deny *d, struct pag_db *db);

/* ---- catalog.c: snapshots ---- */
struct pag_snapshot {
    struct pag_catalog catalog;
    atomic_uint refs;
    struct pag_arena_pool *pool;
    struct pag_arena *arena;
};
struct pag_catalogs {
    pthread_mutex_t lock;
    struct pag_snapshot **item;
    size_t n, cap;
    atomic_ullong generation;
};
enum pag_err pag_catalogs_init(struct pag_catalogs *c);
void pag_catalogs_drop(struct pag_catalogs *c);
enum pag_err pag_catalogs_load(struct pag_catalogs *c, struct pag_db *db);                    /* all */
enum pag_err pag_catalogs_rebuild(struct pag_catalogs *c, struct pag_db *db, const char *id); /* one */
void pag_snapshot_unref(struct pag_snapshot *s);

/* ---- touch.c: last_seen, kept in memory ---- */
struct pag_touched {
    char id[PAG_DEVICE_ID_MAX + 1]; /* "" : free */
    bool token;
    int64_t seen_ms, polled_ms;
};
struct pag_touch_table {
    struct pag_touched *slot;
    size_t cap, n;
};
void pag_touch_put(struct pag_touch_table *t, const struct pag_touched *one);
enum pag_err pag_touch_write(struct pag_touch_table *t, struct pag_db *db);

struct pag_again { /* what could not be taken into memory after its commit; the writer's own */
    bool deny, all;
    size_t n;
    char product[PAG_TX_DIRTY_MAX][PAG_PRODUCT_HEX];
};

struct pag_store_reader {
    struct pag_store *store;
    struct pag_db db;
    pthread_mutex_t lock; /* of touched */
    struct pag_touch_table touched;
    struct pag_snapshot **held;
    size_t held_n;
    uint64_t generation;
    struct pag_store_reader *next;
};

struct pag_store {
    struct pag_store_config config;
    char *path;
    char *blobs_dir;
    int blobs_fd;
    const struct pag_store_ops *ops;
    struct pag_store_tx tx;
    struct pag_again again;
    pthread_t writer, worker;
    bool writer_runs, worker_runs;
    pthread_mutex_t lock; /* of all below down to the blank line */
    pthread_cond_t wake, work_wake;
    struct pag_intent *first, *last;
    uint32_t queued;
    struct pag_work *work_first, *work_last;
    uint32_t work_queued;
    bool stop, work_stop;
    struct pag_store_stats stats;

    pthread_mutex_t readers_lock; /* of readers; held while touched rows are written */
    struct pag_store_reader *readers;
    pthread_mutex_t watch_lock; /* of watches; held while they are woken */
    struct pag_store_watch *watches;
    struct pag_deny deny;
    struct pag_catalogs catalogs;
};

enum pag_err pag_blobs_open(struct pag_store *store, struct pag_fail *why);
/* Removes files that no row names: of uploads that were refused, or cut off before their commit. At start. */
enum pag_err pag_blobs_sweep(struct pag_store *store);
void pag_blobs_close(struct pag_store *store);
void *pag_writer_main(void *arg);
void *pag_worker_main(void *arg);

#endif
