#include <string.h>
#include <time.h>

#include "server/store/internal.h"

enum { GROUP_MAX = 256 };

/* ---- one intent ---- */

struct mark { /* what a savepoint that is rolled back must forget */
    size_t dirty_n, deny_n;
    bool all_dirty, deny_all, events;
};

static struct mark mark_of(const struct pag_store_tx *tx)
{
    return (struct mark){ tx->dirty_n, tx->deny_n, tx->all_dirty, tx->deny_all, tx->events };
}

static void mark_back(struct pag_store_tx *tx, struct mark m)
{
    tx->dirty_n = m.dirty_n;
    tx->deny_n = m.deny_n;
    tx->all_dirty = m.all_dirty;
    tx->deny_all = m.deny_all;
    tx->events = m.events;
}

/* Not PAG_OK: the whole group is lost, as the connection is in no known state. */
static enum pag_err apply_one(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct mark before = mark_of(tx);
    enum pag_err err = pag_db_exec(&tx->db, "SAVEPOINT intent");
    if (err != PAG_OK) {
        intent->err = err;
        return err;
    }
    intent->err = intent->apply(tx, intent);
    if (intent->err != PAG_OK) {
        mark_back(tx, before);
        err = pag_db_exec(&tx->db, "ROLLBACK TO intent");
    }
    if (err == PAG_OK) {
        err = pag_db_exec(&tx->db, "RELEASE intent");
    }
    return err;
}

static void touch_all(struct pag_store *store)
{
    uint64_t n = 0;
    pthread_mutex_lock(&store->readers_lock);
    for (struct pag_store_reader *r = store->readers; r != NULL; r = r->next) {
        struct pag_touch_table taken;
        pthread_mutex_lock(&r->lock);
        taken = r->touched;
        memset(&r->touched, 0, sizeof r->touched);
        pthread_mutex_unlock(&r->lock);
        n += taken.n;
        (void)pag_touch_write(&taken, &store->tx.db);
    }
    pthread_mutex_unlock(&store->readers_lock);
    pthread_mutex_lock(&store->lock);
    store->stats.touches += n;
    pthread_mutex_unlock(&store->lock);
}

static enum pag_err group_commit(struct pag_store *store, struct pag_intent *first, bool touch)
{
    struct pag_store_tx *tx = &store->tx;
    tx->now_ms = (int64_t)store->config.clock.now_unix_ms(store->config.clock.ctx);
    mark_back(tx, (struct mark){ 0 });
    enum pag_err err = pag_db_exec(&tx->db, "BEGIN IMMEDIATE");
    for (struct pag_intent *i = first; i != NULL && err == PAG_OK; i = i->next) {
        err = apply_one(tx, i);
    }
    if (err == PAG_OK && touch) {
        touch_all(store);
    }
    if (err == PAG_OK) {
        err = pag_db_exec(&tx->db, "COMMIT");
    }
    if (err != PAG_OK) {
        (void)pag_db_exec(&tx->db, "ROLLBACK");
    }
    return err;
}

/* ---- after the commit ---- */

static void again_one(struct pag_again *again, const char *product)
{
    if (again->n == PAG_TX_DIRTY_MAX) {
        again->all = true;
        return;
    }
    memcpy(again->product[again->n++], product, PAG_PRODUCT_HEX);
}

static enum pag_err publish_denied(struct pag_store *store, bool all)
{
    const struct pag_store_tx *tx = &store->tx;
    enum pag_err err = PAG_OK;
    for (size_t i = 0; i < tx->deny_n && err == PAG_OK; i++) {
        err = pag_deny_add(&store->deny, tx->deny[i].b, tx->deny[i].n);
    }
    if (all || tx->deny_all || err != PAG_OK) {
        err = pag_deny_load(&store->deny, &store->tx.db);
    }
    store->again.deny = err != PAG_OK;
    return err;
}

/* One product's error keeps no other back. */
static enum pag_err publish_catalogs(struct pag_store *store, const struct pag_again *before)
{
    struct pag_store_tx *tx = &store->tx;
    enum pag_err worst = PAG_OK;
    for (size_t i = 0; i < before->n && !tx->all_dirty; i++) {
        pag_store_tx_dirty(tx, before->product[i]);
    }
    if (tx->all_dirty || before->all) {
        worst = pag_catalogs_load(&store->catalogs, &tx->db);
        store->again.all = worst != PAG_OK;
        return worst;
    }
    for (size_t i = 0; i < tx->dirty_n; i++) {
        enum pag_err err = pag_catalogs_rebuild(&store->catalogs, &tx->db, tx->dirty[i]);
        if (err != PAG_OK) {
            again_one(&store->again, tx->dirty[i]);
            worst = err;
        }
    }
    return worst;
}

/* What fails is tried again after the next group; there is one every touch_ms at least. */
static void publish_memory(struct pag_store *store)
{
    const struct pag_again before = store->again;
    memset(&store->again, 0, sizeof store->again);
    enum pag_err denied = publish_denied(store, before.deny);
    enum pag_err catalogs = publish_catalogs(store, &before);
    if (denied != PAG_OK) {
        pag_log_error(store->config.log, "store.denied", PAG_F_STR("error", pag_err_word(denied)));
    }
    if (catalogs != PAG_OK) {
        pag_log_error(store->config.log, "store.catalog", PAG_F_STR("error", pag_err_word(catalogs)));
    }
    pthread_mutex_lock(&store->lock);
    store->stats.behind = denied != PAG_OK || catalogs != PAG_OK;
    pthread_mutex_unlock(&store->lock);
}

static void wake_watches(struct pag_store *store)
{
    pthread_mutex_lock(&store->watch_lock);
    for (struct pag_store_watch *w = store->watches; w != NULL; w = w->next) {
        w->wake(w);
    }
    pthread_mutex_unlock(&store->watch_lock);
}

static void run_done(struct pag_loop *loop, struct pag_task *task)
{
    (void)loop;
    struct pag_intent *intent =
        (struct pag_intent *)(void *)((char *)task - offsetof(struct pag_intent, task));
    intent->done(intent, intent->err);
}

static void answer(struct pag_intent *first, enum pag_err err)
{
    while (first != NULL) {
        struct pag_intent *intent = first;
        first = intent->next;
        if (err != PAG_OK) {
            intent->err = err;
        }
        if (intent->loop != NULL) {
            intent->task.run = run_done;
            pag_loop_post(intent->loop, &intent->task);
        } else {
            intent->done(intent, intent->err);
        }
    }
}

static void run_group(struct pag_store *store, struct pag_intent *first, uint32_t n, bool touch)
{
    struct pag_clock *clock = &store->config.clock;
    uint64_t began = clock->now_ms(clock->ctx);
    enum pag_err err = group_commit(store, first, touch);
    if (err == PAG_OK) {
        publish_memory(store);
    } else {
        pag_log_error(store->config.log, "store.commit", PAG_F_STR("error", pag_err_word(err)),
                      PAG_F_U64("lost", n));
    }
    uint64_t took = clock->now_ms(clock->ctx) - began;
    pthread_mutex_lock(&store->lock);
    store->stats.commits += err == PAG_OK;
    store->stats.failed += err != PAG_OK;
    store->stats.intents += n;
    store->stats.last_commit_ms = err == PAG_OK ? store->tx.now_ms : store->stats.last_commit_ms;
    store->stats.commit_ms_max = took > store->stats.commit_ms_max ? took : store->stats.commit_ms_max;
    pthread_mutex_unlock(&store->lock);
    if (err == PAG_OK && store->tx.events) {
        wake_watches(store);
    }
    answer(first, err);
}

/* ---- the threads ---- */

static uint32_t take_group(struct pag_store *store, struct pag_intent **first)
{
    uint32_t n = 0;
    *first = store->first;
    struct pag_intent *last = NULL;
    for (struct pag_intent *i = store->first; i != NULL && n < GROUP_MAX; i = i->next) {
        last = i;
        n++;
    }
    if (last != NULL) {
        store->first = last->next;
        last->next = NULL;
    }
    if (store->first == NULL) {
        store->last = NULL;
    }
    store->queued -= n;
    return n;
}

static void wait_until(struct pag_store *store, const struct timespec *due)
{
    if (store->first == NULL && !store->stop) {
        (void)pthread_cond_timedwait(&store->wake, &store->lock, due);
    }
}

static struct timespec after_ms(uint32_t ms)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

static bool is_past(const struct timespec *due)
{
    struct timespec now = after_ms(0);
    return now.tv_sec > due->tv_sec || (now.tv_sec == due->tv_sec && now.tv_nsec >= due->tv_nsec);
}

void *pag_writer_main(void *arg)
{
    struct pag_store *store = arg;
    struct timespec due = after_ms(store->config.touch_ms);
    for (bool stop = false; !stop;) {
        struct pag_intent *first = NULL;
        pthread_mutex_lock(&store->lock);
        wait_until(store, &due);
        uint32_t n = take_group(store, &first);
        stop = store->stop && store->first == NULL;
        pthread_mutex_unlock(&store->lock);
        bool touch = stop || is_past(&due);
        if (n > 0 || touch) {
            run_group(store, first, n, touch);
        }
        if (touch) {
            due = after_ms(store->config.touch_ms);
        }
    }
    return NULL;
}

static void run_work_done(struct pag_loop *loop, struct pag_task *task)
{
    (void)loop;
    struct pag_work *work = (struct pag_work *)(void *)((char *)task - offsetof(struct pag_work, task));
    work->done(work, work->err);
}

void *pag_worker_main(void *arg)
{
    struct pag_store *store = arg;
    for (;;) {
        pthread_mutex_lock(&store->lock);
        while (store->work_first == NULL && !store->work_stop) {
            pthread_cond_wait(&store->work_wake, &store->lock);
        }
        struct pag_work *work = store->work_first;
        if (work != NULL) {
            store->work_first = work->next;
            store->work_last = work->next == NULL ? NULL : store->work_last;
            store->work_queued--;
        }
        pthread_mutex_unlock(&store->lock);
        if (work == NULL) {
            return NULL;
        }
        work->err = work->run(work);
        if (work->loop != NULL) {
            work->task.run = run_work_done;
            pag_loop_post(work->loop, &work->task);
        } else {
            work->done(work, work->err);
        }
    }
}
