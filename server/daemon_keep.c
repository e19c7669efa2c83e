/* Who is kept out, handed on whatever else works; and what happens from time to time. */
#include <stdlib.h>
#include <string.h>

#include "host/fs.h"
#include "server/app/enroll.h"
#include "server/app/sweep.h"
#include "server/daemon.h"

enum {
    LOOK_MS = 1000,
    SWEEP_MAX_MS = 60000,
    EVENTS_AT_ONCE = 200,
    SMALL_ARENA = 4 << 20,
    LIST_ARENA = 512 << 20, /* ceiling: half a million revoked certificates */
};

/* ---- the list ---- */

static struct pag_revoked *revoked_of(struct pag_arena *arena, const struct pag_denials *all)
{
    struct pag_revoked *list = pag_arena_alloc(arena, (all->revoked_n + 1) * sizeof *list);
    for (size_t i = 0; list != NULL && i < all->revoked_n; i++) {
        memcpy(list[i].serial, all->revoked[i].serial, sizeof list[i].serial);
        list[i].serial_n = all->revoked[i].serial_n;
        list[i].at = (uint64_t)all->revoked[i].revoked_ms / 1000;
    }
    return list;
}

static enum pag_err write_own(struct pag_daemon *d, const struct pag_revoked *list, size_t n)
{
    struct pag_daemon_keep *k = &d->keep;
    (void)pthread_mutex_lock(&d->certificate_lock);
    k->crl.ca = d->device_ca;
    k->crl.old = d->old_ca;
    (void)pthread_mutex_unlock(&d->certificate_lock);
    enum pag_err err = pag_crl_write(&k->crl, list, n, d->clock.now_unix_ms(d->clock.ctx));
    atomic_store(&k->crl_number, k->crl.number);
    atomic_store(&k->crl_until_s, k->crl.until_s);
    return err;
}

static enum pag_err hand_on_in(struct pag_daemon *d, struct pag_arena *arena)
{
    struct pag_call call = pag_daemon_call(d, arena);
    struct pag_denials all = { .revoked_n = 0 };
    enum pag_err err = pag_app_denials(&call, &all);
    struct pag_revoked *list = err == PAG_OK ? revoked_of(arena, &all) : NULL;
    if (list == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    if (d->broker == NULL) {
        return write_own(d, list, all.revoked_n);
    }
    const struct pag_broker_denials denials = {
        .revoked = list,
        .revoked_n = all.revoked_n,
        .denied = all.device,
        .denied_n = all.device_n,
    };
    err = pag_broker_set_denials(d->broker, &denials);
    return err == PAG_OK ? pag_daemon_users(d, &call)
                         : err; /* a revoked device's password is none any more */
}

/* Everything anew: small, and nothing can be missed. After a failure it is due again. */
static enum pag_err hand_on(struct pag_daemon *d)
{
    uint64_t epoch = pag_app_deny_epoch(d->app); /* before reading: what comes meanwhile is handed on later */
    struct pag_arena *arena = pag_arena_open(d->pool, LIST_ARENA);
    enum pag_err err = arena != NULL ? hand_on_in(d, arena) : PAG_E_NO_MEMORY;
    pag_arena_close(arena);
    d->keep.due = err != PAG_OK;
    if (err == PAG_OK) {
        d->keep.deny_epoch = epoch;
    } else {
        pag_log_error(d->log, "keep.denials_not_set", PAG_F_STR("error", pag_err_word(err)));
    }
    return err;
}

/* ---- events: at once ---- */

/* What an event means for the lists and for the next look. */
static void note(struct pag_daemon_keep *k, const struct pag_event *e)
{
    k->due = k->due || strcmp(e->type, "device.revoked") == 0 || strcmp(e->type, "device.enrolled") == 0 ||
             strncmp(e->type, "broker.", 7) == 0;
    /* States follow from what is published: what publishing has left over is swept at the next look. */
    if (strncmp(e->type, "release.", 8) == 0) {
        k->sweep_due_ms = 0;
    }
}

/* One page of events after the cursor; false when there is nothing more, or they could not be read. */
static bool read_page(struct pag_daemon *d)
{
    struct pag_daemon_keep *k = &d->keep;
    struct pag_arena *arena = pag_arena_open(d->pool, SMALL_ARENA);
    if (arena == NULL) {
        k->due = true;
        return false;
    }
    struct pag_call call = pag_daemon_call(d, arena);
    struct pag_event *list = NULL;
    size_t n = 0;
    int64_t next = k->cursor;
    enum pag_err err = pag_app_events(&call, k->cursor, EVENTS_AT_ONCE, &list, &n, &next);
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        note(k, &list[i]);
    }
    k->cursor = next;
    k->due = k->due || err != PAG_OK;
    pag_arena_close(arena);
    return err == PAG_OK && n > 0;
}

static void on_wake(struct pag_subscription *s)
{
    struct pag_daemon *d = s->ctx;
    while (read_page(d)) {
    }
    if (d->keep.due) {
        (void)hand_on(d);
    }
}

/* ---- sweeping ---- */

struct sweep {
    struct pag_call call;
    struct pag_daemon *daemon;
    struct pag_sweep_in in;
    struct pag_sweep_out out;
};

static void swept(struct pag_call *call, enum pag_err err)
{
    struct sweep *s = call->user;
    struct pag_daemon *d = s->daemon;
    uint64_t now = d->clock.now_ms(d->clock.ctx);
    uint64_t every = (uint64_t)atomic_load(&d->keep.silence_s) * 250; /* a quarter of it */
    every = every == 0 || every > SWEEP_MAX_MS ? SWEEP_MAX_MS : every < LOOK_MS ? LOOK_MS : every;
    if (err != PAG_OK) {
        pag_log_warn(d->log, "keep.not_swept", PAG_F_STR("error", pag_err_word(err)));
    } else if (s->out.actions + s->out.commands > 0) {
        pag_log_info(d->log, "keep.swept", PAG_F_U64("actions", s->out.actions),
                     PAG_F_U64("commands", s->out.commands));
    }
    d->keep.sweeping = false;
    d->keep.sweep_due_ms = err == PAG_OK && s->out.more ? now : now + every;
    pag_arena_close(call->arena);
    free(s);
}

static void sweep(struct pag_daemon *d)
{
    struct sweep *s = calloc(1, sizeof *s);
    struct pag_arena *arena = s != NULL ? pag_arena_open(d->pool, SMALL_ARENA) : NULL;
    if (arena == NULL) {
        free(s);
        return;
    }
    s->daemon = d;
    s->in.events_ms = (int64_t)atomic_load(&d->keep.events_s) * 1000;
    s->in.silence_ms = (int64_t)atomic_load(&d->keep.silence_s) * 1000;
    s->call = pag_daemon_call(d, arena);
    s->call.done = swept;
    s->call.user = s;
    d->keep.sweeping = true;
    pag_app_sweep(&s->call, &s->in, &s->out);
}

static void on_timer(struct pag_loop *loop, struct pag_timer *timer)
{
    struct pag_daemon *d = timer->ctx;
    struct pag_daemon_keep *k = &d->keep;
    k->due = atomic_exchange(&k->stale, false) || k->due;
    bool renew = d->broker == NULL && d->clock.now_unix_ms(d->clock.ctx) / 1000 >= k->crl.due_s;
    if (k->due || renew || pag_app_deny_epoch(d->app) != k->deny_epoch) {
        (void)hand_on(d);
    }
    if (!k->sweeping && d->clock.now_ms(d->clock.ctx) >= k->sweep_due_ms) {
        sweep(d);
    }
    pag_loop_timer(loop, timer, LOOK_MS);
}

/* ---- life ---- */

int pag_daemon_keep_first(struct pag_daemon *d)
{
    struct pag_crl *crl = &d->keep.crl;
    crl->ca = d->device_ca;
    crl->valid_s = d->config.certificates.crl_s;
    crl->every_s = d->config.certificates.crl_every_s;
    memcpy(crl->path, d->paths.device_crl, sizeof d->paths.device_crl);
    enum pag_err err = pag_fs_mkdirs(d->paths.broker_dir, 0700, NULL);
    if (err == PAG_OK) {
        err = hand_on(d);
    }
    return err == PAG_OK ? 0
                         : pag_say_error(PAG_EXIT_FAILED, NULL, "%s: the list of revoked devices: %s",
                                         d->paths.device_crl, pag_err_word(err));
}

int pag_daemon_keep_start(struct pag_daemon *d)
{
    struct pag_daemon_keep *k = &d->keep;
    struct pag_arena *arena = pag_arena_open(d->pool, SMALL_ARENA);
    struct pag_call call = pag_daemon_call(d, arena);
    atomic_store(&k->silence_s, d->config.device.silence_s);
    atomic_store(&k->events_s, d->config.store.events_s);
    enum pag_err err = arena != NULL ? pag_app_events_newest(&call, &k->cursor) : PAG_E_NO_MEMORY;
    pag_arena_close(arena);
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "start: %s", pag_err_word(err));
    }
    k->subscription = (struct pag_subscription){ .loop = d->loop, .wake = on_wake, .ctx = d };
    pag_app_subscribe(d->app, &k->subscription);
    k->subscribed = true;
    k->timer = (struct pag_timer){ .on_fire = on_timer, .ctx = d };
    pag_loop_timer(d->loop, &k->timer, LOOK_MS);
    return 0;
}

void pag_daemon_keep_stop(struct pag_daemon *d)
{
    if (d->keep.subscribed) {
        pag_app_unsubscribe(d->app, &d->keep.subscription);
        d->keep.subscribed = false;
    }
}
