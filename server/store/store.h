#ifndef PAG_SERVER_STORE_STORE_H
#define PAG_SERVER_STORE_STORE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"
#include "host/clock.h"
#include "host/log.h"
#include "host/loop.h"
#include "server/domain/event.h"

/*
 * The database and the files beside it. One writer thread commits intents in groups; readers have a
 * connection each. A backend is a struct pag_store_ops (backend.h): statements are the common subset of
 * SQLite and PostgreSQL, so there is one set of queries (docs/adr/0010).
 */
struct pag_store;
struct pag_store_tx;     /* the writer's transaction, inside one intent's savepoint */
struct pag_store_reader; /* one thread's read connection */
struct pag_store_ops;

struct pag_store_config {
    const char *path;      /* of the database file */
    const char *blobs_dir; /* made 0700 when missing */
    uint32_t queue_max;    /* intents waiting; 0: 4096 */
    uint32_t touch_ms;     /* how often last_seen is written; 0: 5000 */
    struct pag_clock clock;
    struct pag_log *log;
    const struct pag_store_ops *ops; /* NULL: SQLite */
    bool readonly_schema;            /* refuse instead of migrating (PAG_E_STALE) */
};

/*
 * Opens, migrates, sweeps temporary blobs, starts the writer. PAG_E_UNSUPPORTED: the database is of a newer
 * version (why->detail: that version); PAG_E_CONFIG; PAG_E_IO.
 */
enum pag_err pag_store_open(const struct pag_store_config *config, struct pag_store **out,
                            struct pag_fail *why);
/* Commits what is queued, writes what was touched, stops the writer, frees. NULL is fine. */
void pag_store_close(struct pag_store *store);

/* Schema version of a database file without changing it; 0: empty or missing. newest: of this build. */
enum pag_err pag_store_version(const char *path, uint32_t *version, uint32_t *newest, struct pag_fail *why);

/* For init and setup-token: a token row in a store nobody serves, committed when this returns. role: word.
 * ttl_s 0: never expires. */
enum pag_err pag_store_token_insert(struct pag_store *store, const char *name, const char *role,
                                    const char *id, const uint8_t sha256[PAG_SHA256_BYTES], uint64_t ttl_s);

/* ---- writing ---- */

/*
 * A change. apply runs on the writer's thread inside a savepoint: not PAG_OK rolls it back alone. done runs
 * on loop (NULL: on the writer's thread) after the commit, with apply's result, or the commit's when that
 * failed. Placed by the caller, kept in place until done.
 */
struct pag_intent {
    enum pag_err (*apply)(struct pag_store_tx *tx, struct pag_intent *intent);
    void (*done)(struct pag_intent *intent, enum pag_err err);
    struct pag_loop *loop;
    void *ctx;
    /* owned by the store */
    struct pag_task task;
    struct pag_intent *next;
    enum pag_err err;
};
/* PAG_E_BUSY: the queue is full, done is not called. Any thread. */
enum pag_err pag_store_submit(struct pag_store *store, struct pag_intent *intent);
/* Submits and waits; for init and tests, never on a loop's thread. */
enum pag_err pag_store_apply(struct pag_store *store, struct pag_intent *intent);

/* File work (hashing, fsync) off the network threads: run on the store's worker thread, then done. */
struct pag_work {
    enum pag_err (*run)(struct pag_work *work);
    void (*done)(struct pag_work *work, enum pag_err err);
    struct pag_loop *loop;
    void *ctx;
    struct pag_task task;
    struct pag_work *next;
    enum pag_err err;
};
enum pag_err pag_store_work(struct pag_store *store, struct pag_work *work); /* PAG_E_BUSY */

/* ---- reading ---- */
enum pag_err pag_store_reader_new(struct pag_store *store, struct pag_store_reader **out,
                                  struct pag_fail *why);
void pag_store_reader_free(struct pag_store_reader *r); /* NULL is fine */

/* ---- waking ---- */
/* Woken after each commit that appended events (domain/event.h). */
void pag_store_watch_add(struct pag_store *store, struct pag_store_watch *w);
void pag_store_watch_remove(struct pag_store *store, struct pag_store_watch *w);

struct pag_store_stats {
    uint64_t commits, intents, busy, failed, touches;
    uint64_t commit_ms_max;
    uint32_t queue;
    int64_t last_commit_ms; /* Unix */
    uint64_t bytes;         /* of the database file */
    bool behind;            /* memory lacks something committed; tried again with each group */
};
struct pag_store_stats pag_store_stats_get(struct pag_store *store);
const char *pag_store_path(const struct pag_store *store);

#endif
