/* States follow from what is published and from the clock, whether devices ask or not. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include "server/app/sweep.h"
#include "tests/support/app_fixture.h"

static struct pag_check_in ask(const char *mac, const char *version, const uint8_t md5[16])
{
    struct pag_check_in in = { .protocol = PAG_PROTOCOL_HTTP_UPDATE,
                               .proof = PAG_PROOF_SAID,
                               .mode = PAG_CHECK_FIRMWARE,
                               .device = mac,
                               .product = "meter",
                               .mac = mac };
    in.facts.running_md5.source = PAG_SAID;
    memcpy(in.facts.running_md5.value, md5, 16);
    in.facts.version.source = PAG_SAID;
    (void)snprintf(in.facts.version.value, sizeof in.facts.version.value, "%s", version);
    return in;
}

static void check(struct fixture *f, const char *mac, const struct pag_release_image *runs,
                  const char *version, struct pag_check_reply *reply)
{
    struct pag_check_in in = ask(mac, version, runs->md5);
    pag_app_check_in(fixture_call(f), &in, reply);
    assert_int_equal(fixture_wait(f), PAG_OK);
}

struct many {
    struct pag_intent intent;
    struct pag_device like;
    unsigned n;
};

static enum pag_err insert_many(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct many *m = intent->ctx;
    enum pag_err err = PAG_OK;
    for (unsigned i = 0; i < m->n && err == PAG_OK; i++) {
        (void)snprintf(m->like.id, sizeof m->like.id, "a0%010x", i);
        (void)snprintf(m->like.mac, sizeof m->like.mac, "a0%010x", i);
        err = pag_device_insert(pag_store_tx_db(tx), &m->like);
    }
    return err;
}

/* n devices more, like the one that has asked. */
static void multiply(struct fixture *f, const char *mac, unsigned n)
{
    struct pag_device_row row;
    assert_int_equal(pag_app_device(fixture_call(f), mac, &row), PAG_OK);
    struct many m = { .intent = { .apply = insert_many }, .like = row.device, .n = n };
    m.like.online = false;
    m.like.tags = NULL;
    m.intent.ctx = &m;
    assert_int_equal(pag_store_apply(f->store, &m.intent), PAG_OK);
}

static struct pag_summary summary(struct fixture *f)
{
    struct pag_summary s;
    assert_int_equal(pag_app_summary(fixture_call(f), &s), PAG_OK);
    return s;
}

static uint64_t listed(struct fixture *f, const char *state)
{
    struct pag_device_list list;
    const struct pag_device_query q = { .state = state, .limit = 10 };
    assert_int_equal(pag_app_devices(fixture_call(f), &q, &list), PAG_OK);
    assert_int_equal(list.n, list.total < 10 ? list.total : 10);
    for (size_t i = 0; i < list.n; i++) {
        enum pag_device_state shown = list.item[i].stale ? PAG_DEVICE_STALE : list.item[i].device.state;
        assert_string_equal(pag_device_state_word(shown), state);
    }
    return list.total;
}

static struct pag_sweep_out sweep(struct fixture *f)
{
    struct pag_sweep_out out;
    const struct pag_sweep_in in = { .silence_ms = 0 };
    pag_app_sweep(fixture_call(f), &in, &out);
    assert_int_equal(fixture_wait(f), PAG_OK);
    return out;
}

static void withdraw(struct fixture *f, const char *release)
{
    struct pag_release_view view;
    pag_app_withdraw(fixture_call(f), &(struct pag_publish_in){ .release = release }, &view);
    assert_int_equal(fixture_wait(f), PAG_OK);
}

static void counts_and_filters_follow_publish_and_withdraw_at_once(void **state)
{
    enum { N = 1000 };
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    multiply(f, "b00000000001", N - 1);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_UP_TO_DATE], N);
    fixture_release(f, "2.0.0", 2, &v2);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_UPDATE_OFFERED], N);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_UP_TO_DATE], 0);
    assert_int_equal(listed(f, "update_offered"), N);
    assert_int_equal(listed(f, "up_to_date"), 0);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    withdraw(f, v2.release);
    assert_int_equal(listed(f, "up_to_date"), N);
    struct pag_device_row row;
    assert_int_equal(pag_app_device(fixture_call(f), "b00000000001", &row), PAG_OK);
    assert_int_equal(row.device.open_action, 0);
    assert_int_equal(row.action.state, PAG_REPORT_CANCELLED);
    assert_int_equal(sweep(f).rounds, 0);
}

static void what_is_left_when_the_process_ends_is_judged_after_the_next_start(void **state)
{
    enum { N = 2345 };
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    multiply(f, "b00000000001", N - 1);
    fixture_release(f, "2.0.0", 2, &v2);
    assert_in_range(listed(f, "update_offered"), 1000, N - 1);
    fixture_close(f);
    fixture_open(f, NULL);
    assert_false(sweep(f).more);
    assert_int_equal(listed(f, "update_offered"), N);
}

/* Devices say nothing of themselves here: who never asked stays new, whom an operator holds stays. */
static void only_who_is_concerned_changes(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_check_reply reply;
    struct pag_device_row row;
    const struct pag_device_patch hold = { .pin = "1.0.0" };
    fixture_release(f, "1.0.0", 1, &v1);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    check(f, "b00000000002", &v1, "1.0.0", &reply);
    pag_app_device_patch(fixture_call(f), "b00000000002", &hold, &row);
    assert_int_equal(fixture_wait(f), PAG_OK);
    pag_app_device_revoke(fixture_call(f), "b00000000001", "lost");
    assert_int_equal(fixture_wait(f), PAG_OK);
    fixture_release(f, "2.0.0", 2, &v2);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_REVOKED], 1);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_UP_TO_DATE], 1);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_UPDATE_OFFERED], 0);
}

static void silence_shows_as_stale_in_counts_and_filters(void **state)
{
    enum { N = 1000 };
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    multiply(f, "b00000000001", N - 1);
    fixture_pass(f, 3 * 300 * 1000 + 10000);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_STALE], 0);
    assert_int_equal(summary(f).online, N);
    fixture_pass(f, 1);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_STALE], N);
    assert_int_equal(summary(f).by_state[PAG_DEVICE_UP_TO_DATE], 0);
    assert_int_equal(summary(f).online, 0);
    assert_int_equal(listed(f, "stale"), N);
    assert_int_equal(listed(f, "up_to_date"), 0);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    for (int i = 0; i < 500 && listed(f, "stale") == N; i++) { /* last_seen is written in batches */
        (void)usleep(10000);
    }
    assert_int_equal(listed(f, "stale"), N - 1);
    assert_int_equal(listed(f, "up_to_date"), 1);
}

/* Old firmware goes nowhere by itself: what it runs was withdrawn, and no newer one exists. A pin leads back.
 */
static void device_on_a_withdrawn_release_is_led_on_or_by_its_pin_back(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_release_image v3;
    struct pag_check_reply reply;
    struct pag_device_row row;
    const struct pag_device_patch back = { .pin = "1.0.0" };
    const struct pag_device_patch loose = { .pin = "" };
    fixture_release(f, "1.0.0", 1, &v1);
    fixture_release(f, "2.0.0", 2, &v2);
    check(f, "b00000000001", &v2, "2.0.0", &reply);
    withdraw(f, v2.release);
    check(f, "b00000000001", &v2, "2.0.0", &reply);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    pag_app_device_patch(fixture_call(f), "b00000000001", &back, &row);
    assert_int_equal(fixture_wait(f), PAG_OK);
    check(f, "b00000000001", &v2, "2.0.0", &reply);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_string_equal(reply.version, "1.0.0");
    pag_app_device_patch(fixture_call(f), "b00000000001", &loose, &row);
    assert_int_equal(fixture_wait(f), PAG_OK);
    fixture_release(f, "3.0.0", 3, &v3);
    check(f, "b00000000001", &v2, "2.0.0", &reply);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_string_equal(reply.version, "3.0.0");
}

static size_t events_of(struct fixture *f, const char *type)
{
    struct pag_event *list = NULL;
    size_t n = 0;
    size_t found = 0;
    int64_t next = 0;
    assert_int_equal(pag_app_events(fixture_call(f), 0, 1000, &list, &n, &next), PAG_OK);
    for (size_t i = 0; i < n; i++) {
        found += strcmp(list[i].type, type) == 0;
    }
    return found;
}

static void presence_is_told_once_for_each_change(void **state)
{
    struct fixture *f = *state;
    struct pag_release_image v1;
    struct pag_check_reply reply;
    fixture_release(f, "1.0.0", 1, &v1);
    check(f, "b00000000001", &v1, "1.0.0", &reply);
    const bool said[] = { true, true, false, false, true };
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        pag_app_presence(fixture_call(f), "b00000000001", said[i]);
        assert_int_equal(fixture_wait(f), PAG_OK);
    }
    assert_int_equal(events_of(f, "device.online"), 2);
    assert_int_equal(events_of(f, "device.offline"), 1);
    pag_app_presence(fixture_call(f), "stranger", true);
    assert_int_equal(fixture_wait(f), PAG_E_NOT_FOUND);
}

static void answer_to_a_repeated_request_is_kept_for_a_day(void **state)
{
    struct fixture *f = *state;
    const struct pag_idempotent first = { .token = "t1",
                                          .route = "POST /products",
                                          .key = "k",
                                          .body_sha256 = { 1 },
                                          .status = 201,
                                          .body = pag_span_str("{}") };
    pag_app_idempotent_put(fixture_call(f), &first);
    assert_int_equal(fixture_wait(f), PAG_OK);
    struct pag_idempotent io = { .token = "t1", .route = "POST /products", .key = "k", .body_sha256 = { 1 } };
    assert_int_equal(pag_app_idempotent_get(fixture_call(f), &io), PAG_OK);
    assert_int_equal(io.status, 201);
    assert_true(pag_span_eq_str(io.body, "{}"));
    io.body_sha256[0] = 2;
    assert_int_equal(pag_app_idempotent_get(fixture_call(f), &io), PAG_E_CONFLICT);
    io.token = "t2";
    assert_int_equal(pag_app_idempotent_get(fixture_call(f), &io), PAG_E_NOT_FOUND);
    io.token = "t1";
    io.body_sha256[0] = 1;
    fixture_pass(f, 86400001);
    assert_int_equal(pag_app_idempotent_get(fixture_call(f), &io), PAG_E_NOT_FOUND);
}

/* ---- a check-in that is overtaken ---- */

struct gate {
    struct pag_intent intent;
    sem_t entered, open;
};

static enum pag_err wait_at_gate(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct gate *g = intent->ctx;
    (void)tx;
    (void)sem_post(&g->entered);
    (void)sem_wait(&g->open);
    return PAG_OK;
}

static void gate_done(struct pag_intent *intent, enum pag_err err)
{
    (void)intent;
    (void)err;
}

struct second {
    struct pag_call call;
    sem_t done;
    enum pag_err err;
};

static void second_done(struct pag_call *call, enum pag_err err)
{
    struct second *s = call->user;
    s->err = err;
    (void)sem_post(&s->done);
}

static void check_in_decided_before_a_publish_is_decided_again(void **state)
{
    struct fixture *f = *state;
    static uint8_t file[FIXTURE_IMAGE_MAX];
    struct pag_release_image v1;
    struct pag_release_image v2;
    struct pag_release_view view;
    struct pag_check_reply reply;
    char id[PAG_ID_TEXT];
    struct gate g = { .intent = { .apply = wait_at_gate, .done = gate_done } };
    struct second s = { .err = PAG_E_INTERNAL };
    fixture_release(f, "1.0.0", 1, &v1);
    fixture_draft(f, "2.0.0", id);
    size_t n = fixture_image(file, 4, 2);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), &v2), PAG_OK);
    (void)sem_init(&g.entered, 0, 0);
    (void)sem_init(&g.open, 0, 0);
    (void)sem_init(&s.done, 0, 0);
    g.intent.ctx = &g;
    assert_int_equal(pag_store_submit(f->store, &g.intent), PAG_OK);
    (void)sem_wait(&g.entered);
    s.call = *fixture_call(f);
    s.call.arena = pag_arena_open(f->pool, 4 << 20);
    s.call.done = second_done;
    s.call.user = &s;
    pag_app_publish(&s.call, &(struct pag_publish_in){ .release = id }, &view);
    struct pag_check_in in = ask("b00000000001", "1.0.0", v1.md5);
    pag_app_check_in(fixture_call(f), &in, &reply);
    (void)sem_post(&g.open);
    assert_int_equal(fixture_wait(f), PAG_OK);
    (void)sem_wait(&s.done);
    assert_int_equal(s.err, PAG_OK);
    pag_arena_close(s.call.arena);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_string_equal(reply.version, "2.0.0");
    assert_int_equal(listed(f, "update_offered"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counts_and_filters_follow_publish_and_withdraw_at_once),
        TEST(what_is_left_when_the_process_ends_is_judged_after_the_next_start),
        TEST(only_who_is_concerned_changes),
        TEST(silence_shows_as_stale_in_counts_and_filters),
        TEST(device_on_a_withdrawn_release_is_led_on_or_by_its_pin_back),
        TEST(presence_is_told_once_for_each_change),
        TEST(answer_to_a_repeated_request_is_kept_for_a_day),
        TEST(check_in_decided_before_a_publish_is_decided_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
