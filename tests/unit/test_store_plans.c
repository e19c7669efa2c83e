/* What an operator's page asks of 50,000 devices is answered from an index, whatever it filters by. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include "tests/support/app_fixture.h"

enum { DEVICES = 50000, STATES = 8, NOW = 1000000000, POLL_S = 300 };

static const char *last_sql;

static enum pag_err noting_prepare(void *db, const char *sql, void **stmt)
{
    last_sql = sql;
    return pag_store_sqlite()->prepare(db, sql, stmt);
}

static struct pag_store_ops noting;

static enum pag_err insert_all(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct pag_device d = { .tags = "" };
    struct pag_product p;
    enum pag_err err = pag_product_get(pag_store_tx_db(tx), "meter", &p);
    (void)intent;
    memcpy(d.product, p.id, sizeof d.product);
    for (unsigned i = 0; i < DEVICES && err == PAG_OK; i++) {
        (void)snprintf(d.id, sizeof d.id, "a0%010x", i * 7919U % DEVICES);
        d.state = (enum pag_device_state)(i % STATES);
        d.protocol = i % 3 == 0 ? PAG_PROTOCOL_HTTP_UPDATE : PAG_PROTOCOL_NATIVE;
        d.online = i % 5 == 0;
        d.last_seen_ms = i % 10 == 0 ? 1000 : NOW; /* a tenth is silent */
        err = pag_device_insert(pag_store_tx_db(tx), &d);
    }
    return err;
}

static int begin(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    struct pag_intent intent = { .apply = insert_all };
    noting = *pag_store_sqlite();
    noting.prepare = noting_prepare;
    fixture_begin(f);
    fixture_close(f);
    fixture_open(f, &noting);
    fixture_product(f, PAG_LEGACY_NONE);
    *state = f;
    return pag_store_apply(f->store, &intent) == PAG_OK ? 0 : 1;
}

static int end(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

/* The plan of the statement prepared last, its lines joined. */
static const char *plan(struct pag_db *db)
{
    static char text[2048];
    static char sql[4096];
    size_t n = 0;
    (void)snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", last_sql);
    void *stmt = NULL;
    bool row = true;
    assert_int_equal(pag_store_sqlite()->prepare(db->handle, sql, &stmt), PAG_OK);
    while (pag_store_sqlite()->step(stmt, &row) == PAG_OK && row) {
        struct pag_span line = pag_store_sqlite()->get_bytes(stmt, 3);
        n += (size_t)snprintf(text + n, sizeof text - n, "%.*s; ", (int)line.n, (const char *)line.p);
    }
    pag_store_sqlite()->finish(stmt);
    return text;
}

static void assert_plan(struct pag_db *db, const char *has, const char *has_not)
{
    const char *got = plan(db);
    if (strstr(got, has) == NULL || (has_not != NULL && strstr(got, has_not) != NULL)) {
        fail_msg("want \"%s\", not \"%s\": %s\nof %s", has, has_not != NULL ? has_not : "-", got, last_sql);
    }
}

static void lists_and_counts_by_state_read_an_index_alone(void **state)
{
    struct fixture *f = *state;
    struct pag_store_reader *r = NULL;
    struct pag_product p;
    assert_int_equal(pag_store_reader_new(f->store, &r, NULL), PAG_OK);
    struct pag_db *db = pag_store_reader_db(r);
    assert_int_equal(pag_product_get(db, "meter", &p), PAG_OK);
    struct pag_arena *arena = fixture_call(f)->arena;
    uint64_t total = 0;
    for (int all = 0; all < 2; all++) {
        uint64_t sum = 0;
        for (int s = 0; s <= PAG_DEVICE_STALE; s++) {
            struct pag_device_filter filter = { .product = all ? "" : p.id,
                                                .state = s,
                                                .shown = { .now_ms = NOW, .poll_s = POLL_S },
                                                .after = "",
                                                .limit = 10 };
            struct pag_device *list = NULL;
            size_t n = 0;
            last_sql = NULL;
            assert_int_equal(pag_device_list(db, arena, &filter, &list, &n), PAG_OK);
            assert_int_equal(n, 10);
            for (size_t i = 0; i < n; i++) {
                assert_true(s == PAG_DEVICE_STALE ? list[i].last_seen_ms == 1000 : (int)list[i].state == s);
                assert_true(i == 0 || strcmp(list[i - 1].id, list[i].id) < 0);
            }
            if (last_sql != NULL) { /* the second state finds it prepared */
                assert_plan(db, "INDEX device_shown (product_id=?", "SCAN device");
            }
            last_sql = NULL;
            assert_int_equal(pag_device_total(db, &filter, &total), PAG_OK);
            sum += total;
            if (last_sql != NULL) {
                assert_plan(db, "INDEX device_shown (product_id=?", "SCAN device");
            }
        }
        assert_int_equal(sum, DEVICES); /* each is shown in one state */
    }
    pag_store_reader_free(r);
}

static void counts_of_a_product_come_from_a_covering_index(void **state)
{
    struct fixture *f = *state;
    struct pag_store_reader *r = NULL;
    struct pag_product p;
    uint32_t by_state[16];
    uint32_t of_all[16];
    uint32_t online = 0;
    uint32_t online_all = 0;
    const struct pag_shown shown = { .now_ms = NOW, .poll_s = POLL_S };
    assert_int_equal(pag_store_reader_new(f->store, &r, NULL), PAG_OK);
    struct pag_db *db = pag_store_reader_db(r);
    assert_int_equal(pag_product_get(db, "meter", &p), PAG_OK);
    assert_int_equal(pag_device_counts(db, p.id, shown, by_state, &online), PAG_OK);
    assert_plan(db, "USING COVERING INDEX device_shown (product_id=?)", "TEMP B-TREE");
    assert_int_equal(pag_device_counts(db, "", shown, of_all, &online_all), PAG_OK);
    assert_memory_equal(by_state, of_all, sizeof of_all);
    assert_int_equal(online, online_all);
    assert_int_equal(by_state[PAG_DEVICE_STALE], DEVICES / 10);
    uint32_t wanted = 0;
    for (unsigned i = 0; i < DEVICES; i++) {
        wanted += i % 5 == 0 || (i % 3 == 0 && i % 10 != 0) ? 1 : 0;
    }
    assert_int_equal(online, wanted);
    struct pag_count_row *rows = NULL;
    size_t n = 0;
    assert_int_equal(pag_device_versions(db, fixture_call(f)->arena, p.id, &rows, &n), PAG_OK);
    assert_plan(db, "d USING COVERING INDEX device_by_version (product_id=?)", "SCAN d");
    pag_store_reader_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_counts_by_state_read_an_index_alone),
        cmocka_unit_test(counts_of_a_product_come_from_a_covering_index),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
