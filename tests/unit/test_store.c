/* What a store of any backend must hold, on SQLite; faults come from a wrapped backend. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "tests/support/app_fixture.h"

/* ---- a backend that fails at the N-th step ---- */

static atomic_int steps_left = -1; /* negative: never fails */

static atomic_bool broken; /* each step fails */

static enum pag_err faulty_step(void *stmt, bool *row)
{
    if (atomic_load(&broken)) {
        *row = false;
        return PAG_E_IO;
    }
    if (atomic_load(&steps_left) >= 0 && atomic_fetch_sub(&steps_left, 1) == 0) {
        *row = false;
        return PAG_E_IO;
    }
    return pag_store_sqlite()->step(stmt, row);
}

static struct pag_store_ops faulty;

static int begin(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    faulty = *pag_store_sqlite();
    faulty.step = faulty_step;
    atomic_store(&steps_left, -1);
    atomic_store(&broken, false);
    fixture_begin(f);
    fixture_close(f);
    fixture_open(f, &faulty);
    *state = f;
    return 0;
}

static int end(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

static struct pag_db *reading(struct fixture *f, struct pag_store_reader **r)
{
    assert_int_equal(pag_store_reader_new(f->store, r, NULL), PAG_OK);
    return pag_store_reader_db(*r);
}

/* ---- intents ---- */

struct event_intent {
    struct pag_intent intent;
    const char *type;
    enum pag_err verdict;
};

static enum pag_err put_event(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct event_intent *e = intent->ctx;
    const struct pag_event_in in = { .type = e->type };
    enum pag_err err = pag_store_event_add(tx, &in);
    return err == PAG_OK ? e->verdict : err;
}

static enum pag_err add_event(struct fixture *f, const char *type, enum pag_err verdict)
{
    struct event_intent e = { .intent = { .apply = put_event }, .type = type, .verdict = verdict };
    e.intent.ctx = &e;
    return pag_store_apply(f->store, &e.intent);
}

static void refused_intent_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct pag_event *list = NULL;
    size_t n = 0;
    int64_t next = 0;
    assert_int_equal(add_event(f, "one", PAG_OK), PAG_OK);
    assert_int_equal(add_event(f, "two", PAG_E_CONFLICT), PAG_E_CONFLICT);
    assert_int_equal(add_event(f, "three", PAG_OK), PAG_OK);
    assert_int_equal(pag_app_events(fixture_call(f), 0, 10, &list, &n, &next), PAG_OK);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].type, "one");
    assert_string_equal(list[1].type, "three");
    assert_true(list[1].seq > list[0].seq);
    assert_int_equal(next, list[1].seq);
}

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

static void count_done(struct pag_intent *intent, enum pag_err err)
{
    if (err == PAG_OK) {
        (void)sem_post(intent->ctx);
    }
}

static enum pag_err nothing(struct pag_store_tx *tx, struct pag_intent *intent)
{
    (void)tx;
    (void)intent;
    return PAG_OK;
}

static void gate_done(struct pag_intent *intent, enum pag_err err)
{
    (void)intent;
    (void)err;
}

static void full_queue_says_busy_and_what_waits_is_committed_in_groups(void **state)
{
    enum { N = 4096 };
    struct fixture *f = *state;
    struct gate g = { .intent = { .apply = wait_at_gate, .done = gate_done } };
    struct pag_intent *many = calloc(N + 1, sizeof *many);
    sem_t done;
    (void)sem_init(&g.entered, 0, 0);
    (void)sem_init(&g.open, 0, 0);
    (void)sem_init(&done, 0, 0);
    g.intent.ctx = &g;
    assert_int_equal(pag_store_submit(f->store, &g.intent), PAG_OK);
    (void)sem_wait(&g.entered);
    uint64_t commits = pag_store_stats_get(f->store).commits;
    for (int i = 0; i < N; i++) {
        many[i] = (struct pag_intent){ .apply = nothing, .done = count_done, .ctx = &done };
        assert_int_equal(pag_store_submit(f->store, &many[i]), PAG_OK);
    }
    many[N] = many[0];
    assert_int_equal(pag_store_submit(f->store, &many[N]), PAG_E_BUSY);
    (void)sem_post(&g.open);
    for (int i = 0; i < N; i++) {
        (void)sem_wait(&done);
    }
    assert_in_range(pag_store_stats_get(f->store).commits - commits, 1, 64);
    free(many);
}

/* ---- faults ---- */

static bool has_release(struct fixture *f, const char *version)
{
    struct pag_release_list list;
    const struct pag_release_query q = { .limit = 100 };
    assert_int_equal(pag_app_releases(fixture_call(f), &q, &list), PAG_OK);
    for (size_t i = 0; i < list.n; i++) {
        if (strcmp(list.item[i].release.version, version) == 0) {
            return true;
        }
    }
    return false;
}

/* Each single step of the database fails once: what was refused is not there, what was acknowledged is. */
static void failing_step_loses_what_was_refused_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    bool fired = true;
    fixture_product(f, PAG_LEGACY_NONE);
    for (int n = 0; fired && n < 200; n++) {
        struct pag_release_view view;
        char version[16];
        (void)snprintf(version, sizeof version, "1.0.%d", n);
        const struct pag_release_in in = { .product = "meter", .version = version };
        atomic_store(&steps_left, n);
        pag_app_release_create(fixture_call(f), &in, &view);
        enum pag_err err = fixture_wait(f);
        fired = atomic_exchange(&steps_left, -1) < 0;
        assert_true(err == PAG_OK || fired);
        assert_int_equal(has_release(f, version), err == PAG_OK);
        fixture_close(f);
        fixture_open(f, &faulty);
        assert_int_equal(has_release(f, version), err == PAG_OK);
    }
    assert_false(fired);
}

static struct pag_span blob_content(uint8_t *room, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        room[i] = (uint8_t)(i * 31);
    }
    return pag_span_of(room, n);
}

static int spool(struct fixture *f, struct pag_span content)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/spool", f->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, content.p, content.n), (ssize_t)content.n);
    return fd;
}

static int files_named_tmp(struct fixture *f)
{
    char command[128];
    (void)snprintf(command, sizeof command, "find %s/blobs -name 'tmp-*' | wc -l", f->dir);
    FILE *p = popen(command, "r");
    int n = -1;
    char line[32];
    if (fgets(line, sizeof line, p) != NULL) {
        n = (int)strtol(line, NULL, 10);
    }
    (void)pclose(p);
    return n;
}

static void full_disk_leaves_no_blob_and_says_space(void **state)
{
    struct fixture *f = *state;
    static uint8_t room[65536];
    uint8_t sha[32];
    uint64_t bytes = 0;
    int out = -1;
    struct pag_span content = blob_content(room, sizeof room);
    int fd = spool(f, content);
    struct rlimit old;
    pag_sha256_of(pag_crypto_openssl(), content, sha);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit tight = { 16384, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    enum pag_err err = pag_store_blob_put(f->store, fd, content.n, sha);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(err, PAG_E_SPACE);
    assert_int_equal(pag_store_blob_open(f->store, sha, &out, &bytes), PAG_E_NOT_FOUND);
    assert_int_equal(files_named_tmp(f), 0);
    assert_int_equal(pag_store_blob_put(f->store, fd, content.n, sha), PAG_OK);
    assert_int_equal(pag_store_blob_open(f->store, sha, &out, &bytes), PAG_OK);
    assert_int_equal(bytes, content.n);
    (void)close(out);
    (void)close(fd);
}

static void blob_of_another_digest_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t room[100];
    int fd = spool(f, blob_content(room, sizeof room));
    assert_int_equal(pag_store_blob_put(f->store, fd, sizeof room, (const uint8_t[32]){ 1 }), PAG_E_DIGEST);
    assert_int_equal(pag_store_blob_put(f->store, fd, sizeof room + 1, (const uint8_t[32]){ 1 }),
                     PAG_E_SHORT);
    assert_int_equal(files_named_tmp(f), 0);
    (void)close(fd);
}

static void half_written_blobs_are_swept_at_start(void **state)
{
    struct fixture *f = *state;
    char path[96];
    (void)snprintf(path, sizeof path, "%s/blobs/tmp-0123", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    (void)close(fd);
    fixture_close(f);
    fixture_open(f, &faulty);
    assert_int_equal(files_named_tmp(f), 0);
}

/* ---- schema ---- */

static void database_of_a_newer_version_is_refused_untouched(void **state)
{
    struct fixture *f = *state;
    char path[96];
    char blobs[96];
    struct pag_db *db = calloc(1, sizeof *db);
    struct pag_store *store = NULL;
    struct pag_fail why = { 0 };
    (void)snprintf(path, sizeof path, "%s/newer.db", f->dir);
    (void)snprintf(blobs, sizeof blobs, "%s/blobs", f->dir);
    assert_int_equal(pag_db_open(db, pag_store_sqlite(), path, true, NULL), PAG_OK);
    assert_int_equal(pag_db_exec(db, "CREATE TABLE schema_version (version BIGINT NOT NULL PRIMARY KEY);"
                                     "INSERT INTO schema_version VALUES (99)"),
                     PAG_OK);
    pag_db_close(db);
    free(db);
    const struct pag_store_config config = { .path = path, .blobs_dir = blobs, .clock = fixture_clock(f) };
    assert_int_equal(pag_store_open(&config, &store, &why), PAG_E_UNSUPPORTED);
    assert_int_equal(why.detail, 99);
    uint32_t version = 0;
    uint32_t newest = 0;
    assert_int_equal(pag_store_version(path, &version, &newest, NULL), PAG_OK);
    assert_int_equal(version, 99);
}

/* ---- audit ---- */

static enum pag_err tamper(struct pag_store_tx *tx, struct pag_intent *intent)
{
    return pag_db_exec(pag_store_tx_db(tx), intent->ctx);
}

static void changed_audit_row_breaks_the_chain_at_that_row(void **state)
{
    struct fixture *f = *state;
    struct pag_store_reader *r = NULL;
    int64_t seq = 0;
    char sql[] = "UPDATE audit SET actor = 'nobody' WHERE seq = 2";
    struct pag_intent intent = { .apply = tamper, .ctx = sql };
    fixture_product(f, PAG_LEGACY_NONE);
    char id[PAG_ID_TEXT];
    fixture_draft(f, "1.0.0", id);
    fixture_draft(f, "1.0.1", id);
    struct pag_db *db = reading(f, &r);
    assert_int_equal(pag_store_audit_verify(db, &seq), PAG_OK);
    assert_int_equal(seq, 3);
    assert_int_equal(pag_store_apply(f->store, &intent), PAG_OK);
    assert_int_equal(pag_store_audit_verify(db, &seq), PAG_E_DIGEST);
    assert_int_equal(seq, 2);
    pag_store_reader_free(r);
}

/* ---- threads ---- */

struct racer {
    struct fixture *f;
    pthread_t thread;
    atomic_int stop;
};

static void *read_catalogs(void *arg)
{
    struct racer *racer = arg;
    struct pag_store_reader *r = NULL;
    if (pag_store_reader_new(racer->f->store, &r, NULL) != PAG_OK) {
        return NULL;
    }
    while (atomic_load(&racer->stop) == 0) {
        const struct pag_catalog *c = pag_store_catalog(r, "meter");
        pag_store_touch(r, "aabbccddeeff", 1, true);
        if (c != NULL && c->release_n > 0 && c->release[c->release_n - 1].release->image_n != 1) {
            abort();
        }
    }
    pag_store_reader_free(r);
    return NULL;
}

static void snapshots_change_under_readers_without_harm(void **state)
{
    struct fixture *f = *state;
    struct racer racer[2];
    struct pag_release_image image;
    fixture_product(f, PAG_LEGACY_NONE);
    for (int i = 0; i < 2; i++) {
        racer[i].f = f;
        atomic_init(&racer[i].stop, 0);
        assert_int_equal(pthread_create(&racer[i].thread, NULL, read_catalogs, &racer[i]), 0);
    }
    for (int i = 0; i < 5; i++) {
        char version[16];
        (void)snprintf(version, sizeof version, "1.%d.0", i);
        fixture_release(f, version, (uint8_t)i, &image);
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&racer[i].stop, 1);
        (void)pthread_join(racer[i].thread, NULL);
    }
}

/* ---- memory that could not follow a commit ---- */

static enum pag_err change_and_break(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct pag_product p;
    (void)intent;
    enum pag_err err = pag_product_get(pag_store_tx_db(tx), "meter", &p);
    p.settings.poll_s = 777;
    err = err == PAG_OK ? pag_product_update(pag_store_tx_db(tx), &p) : err;
    pag_store_tx_dirty(tx, p.id);
    pag_store_tx_deny(tx, (const uint8_t[]){ 1, 2, 3 }, 3);
    atomic_store(&broken, true);
    return err;
}

static bool behind_within(struct fixture *f, bool wanted)
{
    const struct timespec pause = { .tv_nsec = 10000000 };
    for (int i = 0; i < 500; i++) {
        if (pag_store_stats_get(f->store).behind == wanted) {
            return true;
        }
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

static void what_memory_missed_is_told_and_made_up_for(void **state)
{
    struct fixture *f = *state;
    struct pag_store_reader *r = NULL;
    struct pag_intent intent = { .apply = change_and_break };
    fixture_product(f, PAG_LEGACY_NONE);
    (void)reading(f, &r);
    assert_int_equal(pag_app_ready(f->app), PAG_OK);
    assert_int_equal(pag_store_apply(f->store, &intent), PAG_OK);
    assert_true(behind_within(f, true));
    assert_int_equal(pag_app_ready(f->app), PAG_E_STALE);
    assert_int_not_equal(pag_store_catalog(r, "meter")->product.settings.poll_s, 777);
    assert_true(pag_store_denied(f->store, (const uint8_t[]){ 1, 2, 3 }, 3));
    atomic_store(&broken, false);
    assert_true(behind_within(f, false));
    assert_int_equal(pag_app_ready(f->app), PAG_OK);
    assert_int_equal(pag_store_catalog(r, "meter")->product.settings.poll_s, 777);
    pag_store_reader_free(r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refused_intent_leaves_nothing_behind),
        TEST(full_queue_says_busy_and_what_waits_is_committed_in_groups),
        TEST(failing_step_loses_what_was_refused_and_nothing_else),
        TEST(full_disk_leaves_no_blob_and_says_space),
        TEST(blob_of_another_digest_is_refused),
        TEST(half_written_blobs_are_swept_at_start),
        TEST(database_of_a_newer_version_is_refused_untouched),
        TEST(changed_audit_row_breaks_the_chain_at_that_row),
        TEST(snapshots_change_under_readers_without_harm),
        TEST(what_memory_missed_is_told_and_made_up_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
