#ifndef PAG_HOST_LOOP_H
#define PAG_HOST_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include <pagurus/errors.h>

#include "host/clock.h"

/*
 * One epoll loop, one thread. Everything except pag_loop_post and pag_loop_stop is called on the loop's own
 * thread (or before it runs). Watches and timers are placed by their owner, who keeps them in place until
 * removed.
 */
struct pag_loop;

/* DEAD is only reported: failed, or shut in both directions. EDGE is only asked for: an event comes once when
 * something new happens (EPOLLET), and the owner remembers what it has not used up. */
enum { PAG_LOOP_READ = 1, PAG_LOOP_WRITE = 2, PAG_LOOP_HANGUP = 4, PAG_LOOP_DEAD = 8, PAG_LOOP_EDGE = 16 };

/*
 * Level-triggered unless EDGE. HANGUP is reported whether asked for or not when the socket failed or both
 * directions are shut: the owner must then unwatch, or it is called again at once. Asked for, it also tells
 * of a peer that has sent its FIN.
 */
struct pag_watch {
    int fd;
    void (*on_event)(struct pag_loop *loop, struct pag_watch *w, unsigned events);
    void *ctx;
    unsigned armed; /* owned by the loop; 0 to start with */
};

struct pag_timer {
    void (*on_fire)(struct pag_loop *loop, struct pag_timer *t);
    void *ctx;
    /* owned by the loop; all zeros to start with */
    uint64_t due_ms;
    struct pag_timer *child, *next, *prev;
    bool is_armed;
};

/* Work handed to another thread's loop. Placed by the caller, kept in place until run is called. */
struct pag_task {
    void (*run)(struct pag_loop *loop, struct pag_task *task);
    struct pag_task *next; /* owned by the loop */
};

struct pag_loop *pag_loop_new(struct pag_clock clock); /* NULL: no memory or no descriptor */
void pag_loop_free(struct pag_loop *loop);        /* NULL is fine; posted tasks not yet run are dropped */
enum pag_err pag_loop_run(struct pag_loop *loop); /* until pag_loop_stop */
void pag_loop_stop(struct pag_loop *loop);        /* any thread, also from a signal handler */
void pag_loop_post(struct pag_loop *loop,
                   struct pag_task *task); /* any thread; never fails, FIFO per poster */

enum pag_err pag_loop_watch(struct pag_loop *loop, struct pag_watch *w, unsigned events); /* add or change */
/* For EDGE: what is ready now is reported once more in the next iteration. */
void pag_loop_again(struct pag_loop *loop, struct pag_watch *w);
void pag_loop_unwatch(struct pag_loop *loop,
                      struct pag_watch *w); /* safe inside any callback; close(fd) after */
/* The same for a descriptor that has no duplicate and is closed right after: the kernel then forgets it by
 * itself. */
void pag_loop_forget(struct pag_loop *loop, struct pag_watch *w);

/* Arms or re-arms. Never fires inside this call; 0 means in the next iteration. It is not armed when on_fire
 * is called and may be armed again there. */
void pag_loop_timer(struct pag_loop *loop, struct pag_timer *t, uint64_t after_ms);
void pag_loop_timer_stop(struct pag_loop *loop, struct pag_timer *t);
uint64_t pag_loop_now_ms(const struct pag_loop *loop); /* cached once an iteration, monotonic */

#endif
