#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/loop.h"

/* A clock the test moves: timers are tested without waiting. */
static uint64_t fake_ms;

static uint64_t fake_now(void *ctx)
{
    (void)ctx;
    return fake_ms;
}

static const struct pag_clock fake_clock = { .now_ms = fake_now, .now_unix_ms = fake_now };

enum { TIMERS = 500 };
static uint64_t fired_at[TIMERS];
static struct pag_timer timers[TIMERS];
static size_t fired_n;
static uint64_t last_due;
static bool order_kept;

static void note_fire(struct pag_loop *loop, struct pag_timer *t)
{
    order_kept = order_kept && t->due_ms >= last_due && t->due_ms <= pag_loop_now_ms(loop);
    last_due = t->due_ms;
    fired_at[t - timers] = t->due_ms;
    fired_n++;
}

static void tick(struct pag_loop *loop, struct pag_task *task)
{
    fake_ms += 7;
    if (fake_ms > 3000) {
        pag_loop_stop(loop);
    } else {
        pag_loop_post(loop, task);
    }
}

static void timers_fire_in_order_of_due_time_and_stopped_ones_never(void **state)
{
    (void)state;
    const char *text = getenv("PAG_SEED");
    unsigned long seed = text != NULL ? strtoul(text, NULL, 10) : 20261121UL;
    print_message("seed %lu\n", seed);
    uint32_t x = (uint32_t)seed;
    fake_ms = 0;
    fired_n = 0;
    last_due = 0;
    order_kept = true;
    struct pag_loop *loop = pag_loop_new(fake_clock);
    for (size_t i = 0; i < TIMERS; i++) {
        timers[i] = (struct pag_timer){ .on_fire = note_fire };
        fired_at[i] = 0;
    }
    uint64_t due[TIMERS] = { 0 };
    for (size_t step = 0; step < 5000; step++) {
        x = x * 1664525U + 1013904223U;
        size_t i = (x >> 10) % TIMERS;
        if ((x >> 4) % 4 == 0) {
            pag_loop_timer_stop(loop, &timers[i]);
            due[i] = 0;
        } else {
            due[i] = 1 + (x >> 16) % 2000;
            pag_loop_timer(loop, &timers[i], due[i]);
        }
    }
    struct pag_task task = { .run = tick };
    pag_loop_post(loop, &task);
    assert_int_equal(pag_loop_run(loop), PAG_OK);
    assert_true(order_kept);
    size_t want = 0;
    for (size_t i = 0; i < TIMERS; i++) {
        assert_int_equal(fired_at[i], due[i]);
        want += due[i] != 0;
    }
    assert_int_equal(fired_n, want);
    pag_loop_free(loop);
}

static unsigned again_n;

static void fire_again(struct pag_loop *loop, struct pag_timer *t)
{
    if (++again_n == 3) {
        pag_loop_stop(loop);
    }
    pag_loop_timer(loop, t, 0);
}

static void a_timer_re_armed_with_zero_does_not_starve_the_loop(void **state)
{
    (void)state;
    again_n = 0;
    struct pag_loop *loop = pag_loop_new(pag_clock_system());
    struct pag_timer t = { .on_fire = fire_again };
    pag_loop_timer(loop, &t, 0);
    assert_int_equal(pag_loop_run(loop), PAG_OK);
    assert_int_equal(again_n, 3);
    pag_loop_timer_stop(loop, &t);
    pag_loop_free(loop);
}

struct pair {
    struct pag_watch w;
    struct pair *other;
    unsigned calls;
};

static void unwatch_other(struct pag_loop *loop, struct pag_watch *w, unsigned events)
{
    struct pair *p = w->ctx;
    assert_int_equal(events & PAG_LOOP_READ, PAG_LOOP_READ);
    p->calls++;
    pag_loop_unwatch(loop, &p->other->w);
    (void)close(p->other->w.fd);
    p->other->w.fd = -1;
    pag_loop_unwatch(loop, w);
    pag_loop_stop(loop);
}

static void an_unwatched_descriptor_is_silent_in_the_same_batch(void **state)
{
    (void)state;
    struct pag_loop *loop = pag_loop_new(pag_clock_system());
    struct pair a = { 0 };
    struct pair b = { 0 };
    int x[2];
    int y[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, x), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, y), 0);
    a.w = (struct pag_watch){ .fd = x[0], .on_event = unwatch_other, .ctx = &a };
    b.w = (struct pag_watch){ .fd = y[0], .on_event = unwatch_other, .ctx = &b };
    a.other = &b;
    b.other = &a;
    assert_int_equal(pag_loop_watch(loop, &a.w, PAG_LOOP_READ), PAG_OK);
    assert_int_equal(pag_loop_watch(loop, &b.w, PAG_LOOP_READ), PAG_OK);
    assert_int_equal(write(x[1], "1", 1), 1);
    assert_int_equal(write(y[1], "1", 1), 1);
    assert_int_equal(pag_loop_run(loop), PAG_OK);
    assert_int_equal(a.calls + b.calls, 1);
    for (int i = 0; i < 2; i++) {
        (void)close(i == 0 ? x[1] : y[1]);
    }
    (void)close(a.w.fd >= 0 ? a.w.fd : b.w.fd);
    pag_loop_free(loop);
}

enum { POSTERS = 3, POSTS = 2000 };

struct posted {
    struct pag_task task;
    unsigned poster, number;
};

static struct posted posts[POSTERS][POSTS];
static unsigned next_number[POSTERS];
static unsigned posts_seen;
static struct pag_loop *post_loop;

static void on_post(struct pag_loop *loop, struct pag_task *task)
{
    struct posted *p = (struct posted *)(void *)task;
    order_kept = order_kept && p->number == next_number[p->poster];
    next_number[p->poster]++;
    if (++posts_seen == POSTERS * POSTS) {
        pag_loop_stop(loop);
    }
}

static void *poster_main(void *arg)
{
    unsigned me = *(unsigned *)arg;
    for (unsigned i = 0; i < POSTS; i++) {
        posts[me][i] = (struct posted){ .task = { .run = on_post }, .poster = me, .number = i };
        pag_loop_post(post_loop, &posts[me][i].task);
    }
    return NULL;
}

static void posts_of_several_threads_all_run_and_keep_each_thread_s_order(void **state)
{
    (void)state;
    order_kept = true;
    post_loop = pag_loop_new(pag_clock_system());
    pthread_t thread[POSTERS];
    unsigned id[POSTERS] = { 0, 1, 2 };
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, poster_main, &id[i]), 0);
    }
    assert_int_equal(pag_loop_run(post_loop), PAG_OK);
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    assert_true(order_kept);
    assert_int_equal(posts_seen, POSTERS * POSTS);
    pag_loop_free(post_loop);
}

static void a_stop_before_run_ends_the_run_at_once(void **state)
{
    (void)state;
    struct pag_loop *loop = pag_loop_new(pag_clock_system());
    pag_loop_stop(loop);
    assert_int_equal(pag_loop_run(loop), PAG_OK);
    pag_loop_free(loop);
    pag_loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_of_due_time_and_stopped_ones_never),
        cmocka_unit_test(a_timer_re_armed_with_zero_does_not_starve_the_loop),
        cmocka_unit_test(an_unwatched_descriptor_is_silent_in_the_same_batch),
        cmocka_unit_test(posts_of_several_threads_all_run_and_keep_each_thread_s_order),
        cmocka_unit_test(a_stop_before_run_ends_the_run_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
