#include "host/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host/loop_timers.h"

enum {
    BATCH = 256,
    WAIT_MAX_MS = 60000,
    WATCHED = 1 << 30, /* beside the events in pag_watch.armed: in the epoll set, also with no events */
};

struct pag_loop {
    struct pag_clock clock;
    int epoll_fd;
    struct pag_watch wake;             /* eventfd: a task was posted or stop was asked for */
    _Atomic(struct pag_task *) posted; /* newest first */
    atomic_bool stop;
    bool running;
    bool firing;
    uint64_t now_ms;
    struct pag_timer *timers;
    struct epoll_event batch[BATCH];
    int batch_n;
    int batch_at; /* event being delivered */
};

static void on_wake(struct pag_loop *loop, struct pag_watch *w, unsigned events)
{
    (void)loop;
    (void)events;
    uint64_t count;
    (void)!read(w->fd, &count, sizeof(count)); /* only clears readiness; the list is looked at anyway */
}

static void wake(struct pag_loop *loop)
{
    const uint64_t one = 1;
    int saved = errno; /* called from signal handlers too */
    (void)!write(loop->wake.fd, &one, sizeof(one));
    errno = saved;
}

struct pag_loop *pag_loop_new(struct pag_clock clock)
{
    struct pag_loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return NULL;
    }
    loop->clock = clock;
    loop->wake.on_event = on_wake;
    loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->now_ms = clock.now_ms(clock.ctx);
    if (loop->wake.fd < 0 || loop->epoll_fd < 0 ||
        pag_loop_watch(loop, &loop->wake, PAG_LOOP_READ) != PAG_OK) {
        pag_loop_free(loop);
        return NULL;
    }
    return loop;
}

void pag_loop_free(struct pag_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    if (loop->wake.fd >= 0) {
        (void)close(loop->wake.fd);
    }
    if (loop->epoll_fd >= 0) {
        (void)close(loop->epoll_fd);
    }
    free(loop);
}

void pag_loop_stop(struct pag_loop *loop)
{
    atomic_store(&loop->stop, true);
    wake(loop);
}

void pag_loop_post(struct pag_loop *loop, struct pag_task *task)
{
    struct pag_task *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do {
        task->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&loop->posted, &head, task, memory_order_release,
                                                    memory_order_relaxed));
    if (head == NULL) { /* whoever found the list empty wakes the loop; the others ride along */
        wake(loop);
    }
}

static void run_posted(struct pag_loop *loop)
{
    struct pag_task *newest = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct pag_task *oldest = NULL;
    while (newest != NULL) {
        struct pag_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct pag_task *next = oldest->next; /* run may free the task or post it again */
        oldest->run(loop, oldest);
        oldest = next;
    }
}

static enum pag_err control(struct pag_loop *loop, int op, struct pag_watch *w, unsigned events)
{
    struct epoll_event ev = { .data.ptr = w };
    ev.events = (events & PAG_LOOP_READ ? EPOLLIN : 0U) | (events & PAG_LOOP_WRITE ? EPOLLOUT : 0U) |
                (events & PAG_LOOP_HANGUP ? EPOLLRDHUP : 0U) | (events & PAG_LOOP_EDGE ? EPOLLET : 0U);
    if (epoll_ctl(loop->epoll_fd, op, w->fd, &ev) != 0) {
        return errno == ENOMEM || errno == ENOSPC ? PAG_E_NO_MEMORY : PAG_E_IO;
    }
    w->armed = events | WATCHED;
    return PAG_OK;
}

enum pag_err pag_loop_watch(struct pag_loop *loop, struct pag_watch *w, unsigned events)
{
    if (w->armed == (events | WATCHED)) {
        return PAG_OK;
    }
    return control(loop, w->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, w, events);
}

void pag_loop_again(struct pag_loop *loop, struct pag_watch *w)
{
    if (w->armed != 0) {
        (void)control(loop, EPOLL_CTL_MOD, w, w->armed & ~(unsigned)WATCHED);
    }
}

void pag_loop_forget(struct pag_loop *loop, struct pag_watch *w)
{
    w->armed = 0;
    for (int i = loop->batch_at + 1; i < loop->batch_n; i++) {
        if (loop->batch[i].data.ptr == w) {
            loop->batch[i].data.ptr = NULL;
        }
    }
}

void pag_loop_unwatch(struct pag_loop *loop, struct pag_watch *w)
{
    if (w->armed != 0) {
        (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        pag_loop_forget(loop, w);
    }
}

static void deliver(struct pag_loop *loop, const struct epoll_event *ev)
{
    struct pag_watch *w = ev->data.ptr;
    if (w == NULL) { /* unwatched by an earlier callback of this batch */
        return;
    }
    unsigned events = (ev->events & EPOLLIN ? PAG_LOOP_READ : 0U) |
                      (ev->events & EPOLLOUT ? PAG_LOOP_WRITE : 0U) |
                      (ev->events & EPOLLRDHUP ? PAG_LOOP_HANGUP : 0U);
    if (ev->events & (EPOLLERR | EPOLLHUP)) { /* let the owner's read or write meet the error */
        events |= PAG_LOOP_HANGUP | PAG_LOOP_DEAD | (w->armed & (PAG_LOOP_READ | PAG_LOOP_WRITE));
    }
    w->on_event(loop, w, events);
}

static void fire_due(struct pag_loop *loop)
{
    loop->firing = true;
    while (loop->timers != NULL && loop->timers->due_ms <= loop->now_ms) {
        struct pag_timer *t = loop->timers;
        pag_timers_remove(&loop->timers, t);
        t->is_armed = false;
        t->on_fire(loop, t);
    }
    loop->firing = false;
}

static int wait_ms(const struct pag_loop *loop)
{
    if (loop->timers == NULL) {
        return WAIT_MAX_MS;
    }
    if (loop->timers->due_ms <= loop->now_ms) {
        return 0;
    }
    uint64_t wait = loop->timers->due_ms - loop->now_ms;
    return wait > WAIT_MAX_MS ? WAIT_MAX_MS : (int)wait;
}

enum pag_err pag_loop_run(struct pag_loop *loop)
{
    enum pag_err err = PAG_OK;
    loop->running = true;
    loop->now_ms = loop->clock.now_ms(loop->clock.ctx);
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire)) {
        int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, wait_ms(loop));
        if (n < 0 && errno != EINTR) {
            err = PAG_E_IO;
            break;
        }
        loop->now_ms = loop->clock.now_ms(loop->clock.ctx);
        loop->batch_n = n < 0 ? 0 : n;
        for (loop->batch_at = 0; loop->batch_at < loop->batch_n; loop->batch_at++) {
            deliver(loop, &loop->batch[loop->batch_at]);
        }
        loop->batch_n = 0;
        run_posted(loop);
        fire_due(loop);
    }
    run_posted(loop); /* what was posted before the stop still runs */
    loop->running = false;
    atomic_store(&loop->stop, false);
    return err;
}

void pag_loop_timer(struct pag_loop *loop, struct pag_timer *t, uint64_t after_ms)
{
    if (t->is_armed) {
        pag_timers_remove(&loop->timers, t);
    }
    if (!loop->running) { /* the cached time is from the last iteration or from pag_loop_new */
        loop->now_ms = loop->clock.now_ms(loop->clock.ctx);
    }
    uint64_t least = loop->firing ? 1 : 0; /* or a timer re-armed with 0 would fire for ever */
    uint64_t after = after_ms < least ? least : after_ms;
    t->due_ms = after > UINT64_MAX - loop->now_ms ? UINT64_MAX : loop->now_ms + after;
    t->is_armed = true;
    pag_timers_add(&loop->timers, t);
}

void pag_loop_timer_stop(struct pag_loop *loop, struct pag_timer *t)
{
    if (t->is_armed) {
        pag_timers_remove(&loop->timers, t);
        t->is_armed = false;
    }
}

uint64_t pag_loop_now_ms(const struct pag_loop *loop)
{
    return loop->now_ms;
}
