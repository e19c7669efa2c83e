#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/bytes.h"
#include "server/store/internal.h"
#include "server/store/migrate.h"

enum { QUEUE_MAX = 4096, WORK_MAX = 64, TOUCH_MS = 5000 };

static char *text_of(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = malloc(n);
    if (copy != NULL) {
        memcpy(copy, s, n);
    }
    return copy;
}

/* ---- opening ---- */

static enum pag_err open_writer_db(struct pag_store *store, struct pag_fail *why)
{
    enum pag_err err = pag_db_open(&store->tx.db, store->ops, store->path, true, why);
    if (err != PAG_OK) {
        return err;
    }
    uint32_t version = 0;
    err = pag_migrate_version(&store->tx.db, &version);
    if (err == PAG_OK && store->config.readonly_schema && version != pag_migrate_newest()) {
        return pag_fail_set(why, PAG_E_STALE, "the database wants pagurusd migrate", version);
    }
    err = pag_migrate_up(&store->tx.db, why);
    if (err != PAG_OK) {
        return err;
    }
    struct pag_q q = pag_q_of(&store->tx.db, "SELECT COALESCE(MAX(seq), 0) FROM event");
    if (pag_q_row(&q)) {
        store->tx.event_seq = pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}

static enum pag_err fill_memory(struct pag_store *store)
{
    enum pag_err err = pag_deny_init(&store->deny);
    if (err == PAG_OK) {
        err = pag_catalogs_init(&store->catalogs);
    }
    if (err == PAG_OK) {
        err = pag_deny_load(&store->deny, &store->tx.db);
    }
    if (err == PAG_OK) {
        err = pag_catalogs_load(&store->catalogs, &store->tx.db);
    }
    return err;
}

static enum pag_err start_threads(struct pag_store *store)
{
    store->writer_runs = pthread_create(&store->writer, NULL, pag_writer_main, store) == 0;
    store->worker_runs =
        store->writer_runs && pthread_create(&store->worker, NULL, pag_worker_main, store) == 0;
    return store->worker_runs ? PAG_OK : PAG_E_NO_MEMORY;
}

static void init_locks(struct pag_store *store)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&store->wake, &attr);
    (void)pthread_cond_init(&store->work_wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&store->lock, NULL);
    (void)pthread_mutex_init(&store->readers_lock, NULL);
    (void)pthread_mutex_init(&store->watch_lock, NULL);
}

enum pag_err pag_store_open(const struct pag_store_config *config, struct pag_store **out,
                            struct pag_fail *why)
{
    struct pag_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory", 0);
    }
    store->config = *config;
    store->config.queue_max = config->queue_max != 0 ? config->queue_max : QUEUE_MAX;
    store->config.touch_ms = config->touch_ms != 0 ? config->touch_ms : TOUCH_MS;
    store->ops = config->ops != NULL ? config->ops : pag_store_sqlite();
    store->blobs_fd = -1;
    store->tx.store = store;
    init_locks(store);
    store->path = text_of(config->path);
    store->blobs_dir = text_of(config->blobs_dir);
    enum pag_err err = PAG_E_NO_MEMORY;
    if (store->path != NULL && store->blobs_dir != NULL) {
        err = pag_blobs_open(store, why);
    }
    if (err == PAG_OK) {
        err = open_writer_db(store, why);
    }
    if (err == PAG_OK) {
        err = fill_memory(store);
    }
    if (err == PAG_OK) {
        err = pag_blobs_sweep(store);
    }
    if (err == PAG_OK) {
        err = start_threads(store);
    }
    if (err != PAG_OK) {
        pag_store_close(store);
        return err;
    }
    *out = store;
    return PAG_OK;
}

void pag_store_close(struct pag_store *store)
{
    if (store == NULL) {
        return;
    }
    pthread_mutex_lock(&store->lock);
    store->work_stop = true;
    (void)pthread_cond_signal(&store->work_wake);
    pthread_mutex_unlock(&store->lock);
    if (store->worker_runs) {
        (void)pthread_join(store->worker, NULL);
    }
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    (void)pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->lock);
    if (store->writer_runs) {
        (void)pthread_join(store->writer, NULL);
    }
    pag_catalogs_drop(&store->catalogs);
    pag_deny_drop(&store->deny);
    if (store->tx.db.ops != NULL) {
        pag_db_close(&store->tx.db);
    }
    pag_blobs_close(store);
    (void)pthread_mutex_destroy(&store->lock);
    (void)pthread_mutex_destroy(&store->readers_lock);
    (void)pthread_mutex_destroy(&store->watch_lock);
    (void)pthread_cond_destroy(&store->wake);
    (void)pthread_cond_destroy(&store->work_wake);
    free(store->path);
    free(store->blobs_dir);
    free(store);
}

enum pag_err pag_store_version(const char *path, uint32_t *version, uint32_t *newest, struct pag_fail *why)
{
    struct stat st;
    *newest = pag_migrate_newest();
    if (stat(path, &st) != 0) {
        *version = 0;
        return PAG_OK;
    }
    struct pag_db *db = calloc(1, sizeof *db);
    if (db == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = pag_db_open(db, pag_store_sqlite(), path, false, why);
    if (err == PAG_OK) {
        err = pag_migrate_version(db, version);
        pag_db_close(db);
    }
    free(db);
    return err;
}

/* ---- submitting ---- */

enum pag_err pag_store_submit(struct pag_store *store, struct pag_intent *intent)
{
    enum pag_err err = PAG_OK;
    intent->next = NULL;
    intent->err = PAG_OK;
    pthread_mutex_lock(&store->lock);
    if (store->queued >= store->config.queue_max || store->stop) {
        store->stats.busy++;
        err = PAG_E_BUSY;
    } else {
        if (store->last != NULL) {
            store->last->next = intent;
        } else {
            store->first = intent;
        }
        store->last = intent;
        store->queued++;
        (void)pthread_cond_signal(&store->wake);
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_done;
    enum pag_err err;
};

static void waiter_done(struct pag_intent *intent, enum pag_err err)
{
    struct waiter *w = intent->ctx;
    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    w->err = err;
    (void)pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

struct applied { /* keeps the caller's ctx for its own apply */
    struct pag_intent intent;
    struct pag_intent *inner;
};

static enum pag_err apply_inner(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct applied *a = (struct applied *)(void *)intent;
    return a->inner->apply(tx, a->inner);
}

enum pag_err pag_store_apply(struct pag_store *store, struct pag_intent *intent)
{
    struct waiter w = { .is_done = false };
    (void)pthread_mutex_init(&w.lock, NULL);
    (void)pthread_cond_init(&w.wake, NULL);
    struct applied a = { .intent = { .apply = apply_inner, .done = waiter_done, .ctx = &w },
                         .inner = intent };
    enum pag_err err = pag_store_submit(store, &a.intent);
    if (err == PAG_OK) {
        pthread_mutex_lock(&w.lock);
        while (!w.is_done) {
            (void)pthread_cond_wait(&w.wake, &w.lock);
        }
        err = w.err;
        pthread_mutex_unlock(&w.lock);
    }
    (void)pthread_mutex_destroy(&w.lock);
    (void)pthread_cond_destroy(&w.wake);
    return err;
}

enum pag_err pag_store_work(struct pag_store *store, struct pag_work *work)
{
    enum pag_err err = PAG_OK;
    work->next = NULL;
    pthread_mutex_lock(&store->lock);
    if (store->work_queued >= WORK_MAX || store->work_stop) {
        err = PAG_E_BUSY;
    } else {
        if (store->work_last != NULL) {
            store->work_last->next = work;
        } else {
            store->work_first = work;
        }
        store->work_last = work;
        store->work_queued++;
        (void)pthread_cond_signal(&store->work_wake);
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

/* ---- readers and watches ---- */

enum pag_err pag_store_reader_new(struct pag_store *store, struct pag_store_reader **out,
                                  struct pag_fail *why)
{
    struct pag_store_reader *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory", 0);
    }
    enum pag_err err = pag_db_open(&r->db, store->ops, store->path, false, why);
    if (err != PAG_OK) {
        free(r);
        return err;
    }
    r->store = store;
    (void)pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_lock(&store->readers_lock);
    r->next = store->readers;
    store->readers = r;
    pthread_mutex_unlock(&store->readers_lock);
    *out = r;
    return PAG_OK;
}

struct touch_rest {
    struct pag_intent intent;
    struct pag_touch_table table;
};

static enum pag_err write_rest(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct touch_rest *rest = intent->ctx;
    return pag_touch_write(&rest->table, &tx->db);
}

void pag_store_reader_free(struct pag_store_reader *r)
{
    if (r == NULL) {
        return;
    }
    struct pag_store *store = r->store;
    pthread_mutex_lock(&store->readers_lock);
    for (struct pag_store_reader **at = &store->readers; *at != NULL; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    pthread_mutex_unlock(&store->readers_lock);
    struct touch_rest rest = { .intent = { .apply = write_rest }, .table = r->touched };
    rest.intent.ctx = &rest;
    if (rest.table.n > 0) {
        (void)pag_store_apply(store, &rest.intent); /* queue full: seen a little earlier is good enough */
    }
    free(rest.table.slot);
    for (size_t i = 0; i < r->held_n; i++) {
        pag_snapshot_unref(r->held[i]);
    }
    free(r->held);
    pag_db_close(&r->db);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

struct pag_db *pag_store_tx_db(struct pag_store_tx *tx)
{
    return &tx->db;
}

int64_t pag_store_tx_now(const struct pag_store_tx *tx)
{
    return tx->now_ms;
}

struct pag_db *pag_store_reader_db(struct pag_store_reader *r)
{
    return &r->db;
}

void pag_store_watch_add(struct pag_store *store, struct pag_store_watch *w)
{
    pthread_mutex_lock(&store->watch_lock);
    w->next = store->watches;
    store->watches = w;
    pthread_mutex_unlock(&store->watch_lock);
}

void pag_store_watch_remove(struct pag_store *store, struct pag_store_watch *w)
{
    pthread_mutex_lock(&store->watch_lock);
    for (struct pag_store_watch **at = &store->watches; *at != NULL; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    pthread_mutex_unlock(&store->watch_lock);
}

struct pag_store_stats pag_store_stats_get(struct pag_store *store)
{
    struct stat st;
    pthread_mutex_lock(&store->lock);
    struct pag_store_stats stats = store->stats;
    stats.queue = store->queued;
    pthread_mutex_unlock(&store->lock);
    stats.bytes = stat(store->path, &st) == 0 ? (uint64_t)st.st_size : 0;
    return stats;
}

const char *pag_store_path(const struct pag_store *store)
{
    return store->path;
}
