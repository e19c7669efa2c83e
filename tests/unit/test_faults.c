/*
 * One thing fails, at every place in turn: a statement, BEGIN, COMMIT, a write (refused for lack of space, or
 * cut short), an fsync. What was acknowledged is there after the next start, what was refused is not, the
 * database is whole, and the answer says that the server failed.
 */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "core/trust.h"
#include "tests/support/app_fixture.h"

enum fault { FAULT_STATEMENT, FAULT_SPACE, FAULT_SHORT, FAULT_SYNC, FAULTS };

static atomic_int kind = FAULTS;
static atomic_int left = -1; /* negative: nothing fails */

static bool due(enum fault f)
{
    return atomic_load(&kind) == (int)f && atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0;
}

/* ---- statements ---- */

static enum pag_err bad_step(void *stmt, bool *row)
{
    if (due(FAULT_STATEMENT)) {
        *row = false;
        return PAG_E_IO;
    }
    return pag_store_sqlite()->step(stmt, row);
}

static enum pag_err bad_exec(void *db, const char *sql)
{
    /* A way back that fails is the connection's end, not this fault. */
    return strncmp(sql, "ROLLBACK", 8) != 0 && due(FAULT_STATEMENT) ? PAG_E_IO
                                                                    : pag_store_sqlite()->exec(db, sql);
}

/* ---- files: a VFS around the default one ---- */

struct bad_file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
};
static sqlite3_vfs *real_vfs;
static sqlite3_vfs bad_vfs;
static sqlite3_io_methods bad_methods;

static sqlite3_file *real_of(sqlite3_file *f)
{
    return ((struct bad_file *)(void *)f)->real;
}

static int bad_close(sqlite3_file *f)
{
    return real_of(f)->pMethods->xClose(real_of(f));
}

static int bad_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real_of(f)->pMethods->xRead(real_of(f), p, n, at);
}

static int bad_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (due(FAULT_SPACE)) {
        return SQLITE_FULL;
    }
    if (due(FAULT_SHORT)) {
        (void)real_of(f)->pMethods->xWrite(real_of(f), p, n / 2, at);
        return SQLITE_IOERR_WRITE;
    }
    return real_of(f)->pMethods->xWrite(real_of(f), p, n, at);
}

static int bad_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return real_of(f)->pMethods->xTruncate(real_of(f), n);
}

static int bad_sync(sqlite3_file *f, int flags)
{
    return due(FAULT_SYNC) ? SQLITE_IOERR_FSYNC : real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int bad_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return real_of(f)->pMethods->xFileSize(real_of(f), n);
}

static int bad_lock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int bad_unlock(sqlite3_file *f, int level)
{
    return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int bad_reserved(sqlite3_file *f, int *out)
{
    return real_of(f)->pMethods->xCheckReservedLock(real_of(f), out);
}

static int bad_control(sqlite3_file *f, int op, void *arg)
{
    return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int bad_sector(sqlite3_file *f)
{
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int bad_traits(sqlite3_file *f)
{
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

static int bad_map(sqlite3_file *f, int page, int bytes, int extend, void volatile **out)
{
    return real_of(f)->pMethods->xShmMap(real_of(f), page, bytes, extend, out);
}

static int bad_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}

static void bad_barrier(sqlite3_file *f)
{
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}

static int bad_unmap(sqlite3_file *f, int gone)
{
    return real_of(f)->pMethods->xShmUnmap(real_of(f), gone);
}

static int bad_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
    struct bad_file *b = (struct bad_file *)(void *)f;
    (void)vfs;
    b->real = (sqlite3_file *)(void *)(b + 1);
    int rc = real_vfs->xOpen(real_vfs, name, b->real, flags, out);
    b->base.pMethods = rc == SQLITE_OK ? &bad_methods : NULL;
    return rc;
}

static void install_vfs(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    bad_vfs = *real_vfs;
    bad_vfs.zName = "bad";
    bad_vfs.pNext = NULL;
    bad_vfs.szOsFile = (int)sizeof(struct bad_file) + real_vfs->szOsFile;
    bad_vfs.xOpen = bad_open;
    bad_methods = (sqlite3_io_methods){ .iVersion = 2,
                                        .xClose = bad_close,
                                        .xRead = bad_read,
                                        .xWrite = bad_write,
                                        .xTruncate = bad_truncate,
                                        .xSync = bad_sync,
                                        .xFileSize = bad_size,
                                        .xLock = bad_lock,
                                        .xUnlock = bad_unlock,
                                        .xCheckReservedLock = bad_reserved,
                                        .xFileControl = bad_control,
                                        .xSectorSize = bad_sector,
                                        .xDeviceCharacteristics = bad_traits,
                                        .xShmMap = bad_map,
                                        .xShmLock = bad_shm_lock,
                                        .xShmBarrier = bad_barrier,
                                        .xShmUnmap = bad_unmap };
    assert_int_equal(sqlite3_vfs_register(&bad_vfs, 1), SQLITE_OK);
}

/* ---- a world with something to do in it ---- */

static struct pag_store_ops bad_ops;

struct world {
    struct fixture f;
    char release[PAG_ID_TEXT];
    uint32_t action;
    char claim[40];
    uint8_t csr[512], trust[PAG_TRUST_MAX];
    size_t csr_n, trust_n;
};
static const char mac[] = "aabbccddeeff";
static const char fresh[] = "aabbccddee00";

static void make_trust(struct world *w)
{
    static struct pag_trust_set t;
    uint8_t room[PAG_TRUST_MAX];
    uint8_t digest[32];
    struct pag_buf payload = { room, 0, sizeof room };
    struct pag_buf cose = { w->trust, 0, sizeof w->trust };
    struct pag_trust_signature sig;
    EVP_PKEY *key = pag_crypto_key_new();
    memset(&t, 0, sizeof t);
    t.version = 1;
    memcpy(t.product, w->f.product.id_bytes, sizeof t.product);
    t.root_threshold = t.release_threshold = t.root_n = t.release_n = 1;
    assert_int_equal(pag_crypto_key_id(key, t.root[0].id), PAG_OK);
    assert_int_equal(pag_crypto_point(key, t.root[0].point), PAG_OK);
    memcpy(t.release[0].id, t.root[0].id, sizeof t.release[0].id);
    memcpy(t.release[0].point, t.root[0].point, sizeof t.release[0].point);
    t.release[0].kinds = 1 << PAG_KIND_FIRMWARE;
    assert_int_equal(pag_trust_payload(&t, &payload, NULL), PAG_OK);
    memcpy(sig.key_id, t.root[0].id, sizeof sig.key_id);
    assert_int_equal(
        pag_trust_signing_digest(pag_crypto_openssl(), pag_buf_span(&payload), sig.key_id, digest), PAG_OK);
    assert_int_equal(pag_crypto_sign(key, digest, sig.sig), PAG_OK);
    assert_int_equal(pag_trust_envelope(pag_buf_span(&payload), &sig, 1, &cose), PAG_OK);
    w->trust_n = cose.n;
    EVP_PKEY_free(key);
}

static void make_request(struct world *w)
{
    struct pag_code_out out;
    const struct pag_code_in in = { .product = "meter", .uses = 1, .ttl_s = 86400 };
    EVP_PKEY *key = pag_crypto_key_new();
    struct pag_buf csr = { w->csr, 0, sizeof w->csr };
    assert_int_equal(pag_x509_csr_make(key, "x", &csr), PAG_OK);
    w->csr_n = csr.n;
    EVP_PKEY_free(key);
    pag_app_code_create(fixture_call(&w->f), &in, &out);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    memcpy(w->claim, out.text, sizeof w->claim);
}

static void make_action(struct world *w)
{
    struct pag_check_reply reply;
    struct pag_check_in in = { .protocol = PAG_PROTOCOL_HTTP_UPDATE,
                               .proof = PAG_PROOF_SAID,
                               .device = mac,
                               .product = "meter",
                               .mac = mac };
    pag_app_check_in(fixture_call(&w->f), &in, &reply);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    w->action = reply.action_id;
}

static int begin(void **state)
{
    static uint8_t file[FIXTURE_IMAGE_MAX];
    struct world *w = calloc(1, sizeof *w);
    struct pag_release_image image;
    w->f.touch_ms = 600000; /* no commit but those asked for */
    fixture_begin(&w->f);
    w->f.touch_ms = 600000;
    fixture_product(&w->f, PAG_LEGACY_NONE);
    fixture_release(&w->f, "1.0.0", 1, &image);
    make_action(w);
    make_trust(w);
    make_request(w);
    fixture_draft(&w->f, "2.0.0", w->release);
    size_t n = fixture_image(file, 4, 2);
    assert_int_equal(fixture_upload(&w->f, w->release, "firmware", pag_span_of(file, n), &image), PAG_OK);
    fixture_close(&w->f);
    bad_ops = *pag_store_sqlite();
    bad_ops.step = bad_step;
    bad_ops.exec = bad_exec;
    fixture_open(&w->f, &bad_ops);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    fixture_end(&w->f);
    free(w);
    return 0;
}

/* ---- intents: what is done, and whether it is there ---- */

static void do_publish(struct world *w)
{
    static struct pag_release_view view;
    pag_app_publish(fixture_call(&w->f), &(struct pag_publish_in){ .release = w->release }, &view);
}

static bool is_published(struct world *w)
{
    static struct pag_release_view view;
    assert_int_equal(pag_app_release(fixture_call(&w->f), w->release, &view), PAG_OK);
    return view.release.state == PAG_RELEASE_PUBLISHED;
}

static struct pag_device_row row_of(struct world *w)
{
    struct pag_device_row row;
    assert_int_equal(pag_app_device(fixture_call(&w->f), mac, &row), PAG_OK);
    return row;
}

static void do_report(struct world *w)
{
    static struct pag_report_in in;
    memset(&in, 0, sizeof in);
    in.device = mac;
    in.report.action_id = w->action;
    in.report.state = PAG_REPORT_FAILED;
    pag_app_report(fixture_call(&w->f), &in);
}

static bool is_reported(struct world *w)
{
    struct pag_device_row row = row_of(w);
    assert_int_equal(row.action.state == PAG_REPORT_FAILED, row.device.open_action == 0);
    return row.action.state == PAG_REPORT_FAILED;
}

static void do_command(struct world *w)
{
    static struct pag_command out;
    static const struct pag_command_in in = { .device = mac, .kind = "reboot", .ttl_s = 86400 };
    pag_app_command(fixture_call(&w->f), &in, &out);
}

static bool is_queued(struct world *w)
{
    struct pag_command *list = NULL;
    size_t n = 0;
    assert_int_equal(pag_app_commands(fixture_call(&w->f), &(struct pag_command_query){ .device = mac },
                                      &list, &n, &(uint64_t){ 0 }),
                     PAG_OK);
    assert_int_equal(row_of(w).device.commands_queued, n);
    return n > 0;
}

static void do_enroll(struct world *w)
{
    static struct pag_enroll_in in;
    static struct pag_enroll_out out;
    in = (struct pag_enroll_in){ .address = "127.0.0.1" };
    in.enroll.claim = pag_span_str(w->claim);
    in.enroll.csr = pag_span_of(w->csr, w->csr_n);
    in.enroll.mac = pag_span_str(fresh);
    pag_app_enroll(fixture_call(&w->f), &in, &out);
}

static bool is_enrolled(struct world *w)
{
    struct pag_device_row row;
    struct pag_claim_code *list = NULL;
    size_t n = 0;
    bool is = pag_app_device(fixture_call(&w->f), fresh, &row) == PAG_OK;
    assert_int_equal(pag_app_codes(fixture_call(&w->f), &list, &n), PAG_OK);
    assert_int_equal(n == 0 || list[0].uses_left == 0, is);
    return is;
}

static void do_revoke(struct world *w)
{
    pag_app_device_revoke(fixture_call(&w->f), mac, "lost");
}

static bool is_revoked(struct world *w)
{
    struct pag_device_row row = row_of(w);
    assert_int_equal(row.device.revoked_ms != 0, row.device.state == PAG_DEVICE_REVOKED);
    return row.device.revoked_ms != 0;
}

static void do_trust(struct world *w)
{
    pag_app_trust_put(fixture_call(&w->f), "meter", 1, pag_span_of(w->trust, w->trust_n));
}

static bool is_trusted(struct world *w)
{
    struct pag_span cose;
    struct pag_product p;
    bool is = pag_app_trust_get(fixture_call(&w->f), "meter", 1, &cose) == PAG_OK;
    assert_int_equal(pag_app_product(fixture_call(&w->f), "meter", &p), PAG_OK);
    assert_int_equal(p.trust_version, is ? 1 : 0);
    return is;
}

/* ---- the sweep ---- */

static void database_is_whole(struct world *w)
{
    struct pag_store_reader *r = NULL;
    char text[64] = "";
    int64_t seq = 0;
    assert_int_equal(pag_store_reader_new(w->f.store, &r, NULL), PAG_OK);
    struct pag_db *db = pag_store_reader_db(r);
    struct pag_q q = pag_q_of(db, "PRAGMA integrity_check");
    if (pag_q_row(&q)) {
        pag_q_get_text(&q, text, sizeof text);
    }
    assert_int_equal(pag_q_end(&q), PAG_OK);
    assert_string_equal(text, "ok");
    assert_int_equal(pag_store_audit_verify(db, &seq), PAG_OK);
    pag_store_reader_free(r);
}

static bool is_our_fault(enum pag_err err)
{
    return err == PAG_E_IO || err == PAG_E_SPACE || err == PAG_E_BUSY || err == PAG_E_INTERNAL;
}

/* True: it went through. */
static bool attempt(struct world *w, enum fault fault, int n, void (*act)(struct world *w),
                    bool (*is_done)(struct world *w))
{
    atomic_store(&kind, (int)fault);
    atomic_store(&left, n);
    act(w);
    enum pag_err err = fixture_wait(&w->f);
    atomic_store(&kind, FAULTS);
    bool fired = atomic_exchange(&left, -1) < 0;
    assert_true(err == PAG_OK || (fired && is_our_fault(err)));
    assert_int_equal(is_done(w), err == PAG_OK);
    fixture_close(&w->f);
    fixture_open(&w->f, &bad_ops);
    /* What an fsync has refused may be on the disk all the same: refused is not promised to be absent then.
     */
    bool there = is_done(w);
    assert_true(there == (err == PAG_OK) || (fault == FAULT_SYNC && there));
    database_is_whole(w);
    return there;
}

static void sweep(void **state, void (*act)(struct world *w), bool (*is_done)(struct world *w))
{
    for (int fault = 0; fault < FAULTS; fault++) {
        struct world *w = *state;
        int n = 0;
        while (!attempt(w, (enum fault)fault, n, act, is_done)) {
            n++;
            assert_in_range(n, 1, 300);
        }
        assert_true(n > 0); /* something has failed */
        print_message("fault %d: %d places\n", fault, n);
        (void)end(state);
        (void)begin(state);
    }
}

static void publish_survives_every_fault(void **state)
{
    sweep(state, do_publish, is_published);
}

static void report_survives_every_fault(void **state)
{
    sweep(state, do_report, is_reported);
}

static void command_survives_every_fault(void **state)
{
    sweep(state, do_command, is_queued);
}

static void redeemed_claim_survives_every_fault(void **state)
{
    sweep(state, do_enroll, is_enrolled);
}

static void revocation_survives_every_fault(void **state)
{
    sweep(state, do_revoke, is_revoked);
}

static void trust_set_survives_every_fault(void **state)
{
    sweep(state, do_trust, is_trusted);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(publish_survives_every_fault),    TEST(report_survives_every_fault),
        TEST(command_survives_every_fault),    TEST(redeemed_claim_survives_every_fault),
        TEST(revocation_survives_every_fault), TEST(trust_set_survives_every_fault),
    };
    install_vfs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
