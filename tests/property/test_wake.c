/* Answers reach the loop that asked; wake-ups and cursors miss nothing, whoever writes. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/support/app_fixture.h"
#include "tests/support/draw.h"

enum { WRITERS = 6, EACH = 150, WAIT_MS = 20000 };

static uint64_t seed;

static uint64_t system_now(void *ctx)
{
    struct timespec t;
    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- many write, one reads ---- */

struct reader {
    struct fixture *f;
    struct pag_loop *loop;
    struct pag_app_thread *thread;
    struct pag_subscription subscription;
    int64_t cursor;
    uint32_t last[WRITERS]; /* number last seen of each */
    atomic_uint seen;
    atomic_bool wrong;
};

/* {"w":<writer>,"n":<number>} */
static bool member(struct pag_span *rest, const char *name, uint32_t *out)
{
    size_t n = strlen(name);
    size_t end = n;
    if (rest->n <= n || memcmp(rest->p, name, n) != 0) {
        return false;
    }
    while (end < rest->n && rest->p[end] >= '0' && rest->p[end] <= '9') {
        end++;
    }
    bool ok = pag_parse_u32(pag_span_of(rest->p + n, end - n), out) == PAG_OK;
    *rest = pag_span_of(rest->p + end, rest->n - end);
    return ok;
}

static void take(struct reader *r, const struct pag_event *e)
{
    uint32_t writer = 0;
    uint32_t number = 0;
    struct pag_span rest = e->data;
    bool ok = e->seq > r->cursor && member(&rest, "{\"w\":", &writer) && member(&rest, ",\"n\":", &number) &&
              writer < WRITERS && number > r->last[writer];
    if (!ok) {
        atomic_store(&r->wrong, true);
        return;
    }
    r->last[writer] = number;
    r->cursor = e->seq;
    (void)atomic_fetch_add(&r->seen, 1);
}

static void on_wake(struct pag_subscription *s)
{
    struct reader *r = s->ctx;
    for (size_t n = 1; n > 0;) {
        struct pag_arena *arena = pag_arena_open(r->f->pool, 1 << 20);
        struct pag_call call = { .thread = r->thread, .arena = arena };
        struct pag_event *list = NULL;
        int64_t next = 0;
        n = 0;
        if (pag_app_events(&call, r->cursor, 7, &list, &n, &next) != PAG_OK) {
            atomic_store(&r->wrong, true);
        }
        for (size_t i = 0; i < n; i++) {
            take(r, &list[i]);
        }
        pag_arena_close(arena);
    }
}

static void *read_events(void *arg)
{
    struct reader *r = arg;
    (void)pag_loop_run(r->loop);
    return NULL;
}

struct writer {
    struct fixture *f;
    pthread_t thread;
    uint32_t who, number, acknowledged;
    uint64_t dice;
    bool refuse;
};

static enum pag_err put(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct writer *w = intent->ctx;
    const struct pag_field field[] = { PAG_F_U64("w", w->who), PAG_F_U64("n", w->number) };
    const struct pag_event_in in = { .type = "test.written", .field = field, .field_n = 2 };
    enum pag_err err = pag_store_event_add(tx, &in);
    return err == PAG_OK && w->refuse ? PAG_E_CONFLICT : err;
}

static void *write_events(void *arg)
{
    struct writer *w = arg;
    for (w->number = 1; w->number <= EACH; w->number++) {
        struct pag_intent intent = { .apply = put, .ctx = w };
        w->refuse = draw(&w->dice) % 4 == 0;
        enum pag_err err = pag_store_apply(w->f->store, &intent);
        if (err != (w->refuse ? PAG_E_CONFLICT : PAG_OK)) {
            return w;
        }
        w->acknowledged += err == PAG_OK;
        if (draw(&w->dice) % 8 == 0) {
            (void)usleep(draw(&w->dice) % 3000);
        }
    }
    return NULL;
}

static uint32_t write_all(struct fixture *f)
{
    struct writer w[WRITERS];
    uint32_t sum = 0;
    memset(w, 0, sizeof w);
    for (uint32_t i = 0; i < WRITERS; i++) {
        w[i].f = f;
        w[i].who = i;
        w[i].dice = seed + i;
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_events, &w[i]), 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        void *failed = NULL;
        (void)pthread_join(w[i].thread, &failed);
        assert_null(failed);
        sum += w[i].acknowledged;
    }
    return sum;
}

static void woken_reader_sees_each_acknowledged_event_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    struct reader r = { .f = f };
    struct pag_clock clock = { system_now, system_now, NULL };
    pthread_t thread;
    r.loop = pag_loop_new(clock);
    assert_non_null(r.loop);
    assert_int_equal(pag_app_thread_new(f->app, r.loop, &r.thread, NULL), PAG_OK);
    assert_int_equal(pag_app_events_newest(fixture_call(f), &r.cursor), PAG_OK);
    r.subscription = (struct pag_subscription){ .loop = r.loop, .wake = on_wake, .ctx = &r };
    pag_app_subscribe(f->app, &r.subscription);
    assert_int_equal(pthread_create(&thread, NULL, read_events, &r), 0);
    uint32_t acknowledged = write_all(f);
    /* Nobody looks on its own: what is missing here was not woken for. */
    for (int i = 0; i < WAIT_MS / 10 && atomic_load(&r.seen) < acknowledged; i++) {
        (void)usleep(10000);
    }
    pag_app_unsubscribe(f->app, &r.subscription);
    pag_loop_stop(r.loop);
    (void)pthread_join(thread, NULL);
    assert_false(atomic_load(&r.wrong));
    assert_int_equal(atomic_load(&r.seen), acknowledged);
    pag_app_thread_free(r.thread);
    pag_loop_free(r.loop);
}

/* ---- many ask, each on its own loop ---- */

enum { ASKERS = 3, ASKS = 60 };

struct asker {
    struct fixture *f;
    struct pag_loop *loop;
    struct pag_app_thread *thread;
    pthread_t on;
    struct pag_task first;
    struct pag_arena *arena;
    struct pag_call call;
    struct pag_check_in in;
    struct pag_check_reply reply;
    char mac[13];
    uint32_t who, n, elsewhere, failed, busy;
};

static void ask(struct asker *a);

static void asked(struct pag_call *call, enum pag_err err)
{
    struct asker *a = call->user;
    a->elsewhere += pthread_equal(pthread_self(), a->on) == 0;
    a->busy += err == PAG_E_BUSY; /* overtaken again and again: it is told to come again */
    a->failed += err != PAG_OK && err != PAG_E_BUSY;
    pag_arena_close(a->arena);
    if (++a->n < ASKS) {
        ask(a);
    } else {
        pag_loop_stop(a->loop);
    }
}

/* Half of them are of one device, which all askers speak for: revisions conflict and are tried again. */
static void ask(struct asker *a)
{
    a->arena = pag_arena_open(a->f->pool, 1 << 20);
    a->call = (struct pag_call){ .thread = a->thread, .arena = a->arena, .done = asked, .user = a };
    bool common = a->n % 2 == 0;
    (void)snprintf(a->mac, sizeof a->mac, common ? "aabbccddeeff" : "a%x00%08x", a->who, a->n);
    a->in = (struct pag_check_in){ .protocol = PAG_PROTOCOL_HTTP_UPDATE,
                                   .proof = PAG_PROOF_SAID,
                                   .device = a->mac,
                                   .product = "meter",
                                   .mac = a->mac };
    a->in.facts.version.source = PAG_SAID;
    (void)snprintf(a->in.facts.version.value, sizeof a->in.facts.version.value, "%u.%u", a->who, a->n);
    pag_app_check_in(&a->call, &a->in, &a->reply);
}

static void ask_first(struct pag_loop *loop, struct pag_task *task)
{
    struct asker *a = (struct asker *)(void *)((char *)task - offsetof(struct asker, first));
    (void)loop;
    a->on = pthread_self();
    ask(a);
}

static void *run_loop(void *arg)
{
    (void)pag_loop_run(arg);
    return NULL;
}

static void answers_come_on_the_loop_that_asked_also_after_conflicts(void **state)
{
    struct fixture *f = *state;
    static struct asker a[ASKERS];
    pthread_t thread[ASKERS];
    struct pag_clock clock = { system_now, system_now, NULL };
    struct pag_device_row row;
    uint32_t busy = 0;
    memset(a, 0, sizeof a);
    for (uint32_t i = 0; i < ASKERS; i++) {
        a[i].f = f;
        a[i].who = i;
        a[i].loop = pag_loop_new(clock);
        a[i].first.run = ask_first;
        assert_int_equal(pag_app_thread_new(f->app, a[i].loop, &a[i].thread, NULL), PAG_OK);
        pag_loop_post(a[i].loop, &a[i].first);
        assert_int_equal(pthread_create(&thread[i], NULL, run_loop, a[i].loop), 0);
    }
    for (uint32_t i = 0; i < ASKERS; i++) {
        (void)pthread_join(thread[i], NULL);
        assert_int_equal(a[i].n, ASKS);
        assert_int_equal(a[i].elsewhere, 0);
        assert_int_equal(a[i].failed, 0);
        assert_true(a[i].busy < ASKS / 4);
        busy += a[i].busy;
        pag_app_thread_free(a[i].thread);
        pag_loop_free(a[i].loop);
    }
    assert_int_equal(pag_app_device(fixture_call(f), "aabbccddeeff", &row), PAG_OK);
    /* Each one that was told yes is in the row: it rose with each. */
    assert_true(row.device.revision + busy + ASKERS >= ASKERS * ASKS / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const char *given = getenv("PAG_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        TEST(woken_reader_sees_each_acknowledged_event_once_and_in_order),
        TEST(answers_come_on_the_loop_that_asked_also_after_conflicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
