#ifndef PAG_TESTS_SUPPORT_APP_FIXTURE_H
#define PAG_TESTS_SUPPORT_APP_FIXTURE_H

/* A store and an app in a folder of their own, with a clock that only moves when told. Header only. */
#include <fcntl.h>
#include <ftw.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "host/crypto.h"
#include "host/x509.h"
#include "server/app/admin.h"
#include "server/app/check_in.h"
#include "server/app/devices.h"
#include "server/app/enroll.h"
#include "server/app/releases.h"
#include "server/app/report.h"
#include "server/store/backend.h"
#include "server/store/rows.h"
#include "server/store/store.h"
#include "server/store/tx.h"

struct fixture {
    char dir[64];
    uint64_t now_ms; /* atomic: the writer reads it */
    uint32_t unproven_devices;
    uint32_t touch_ms; /* 0: 20 */
    struct pag_store *store;
    struct pag_app *app;
    struct pag_app_thread *thread;
    struct pag_arena_pool *pool;
    struct pag_arena *arena;
    struct pag_call call;
    sem_t done;
    enum pag_err err;
    struct pag_product product;
    struct pag_ca *root, *ca;
};

static inline uint64_t fixture_now(void *ctx)
{
    struct fixture *f = ctx;
    return __atomic_load_n(&f->now_ms, __ATOMIC_SEQ_CST);
}

static inline void fixture_pass(struct fixture *f, uint64_t ms)
{
    (void)__atomic_fetch_add(&f->now_ms, ms, __ATOMIC_SEQ_CST);
}

static inline struct pag_clock fixture_clock(struct fixture *f)
{
    return (struct pag_clock){ fixture_now, fixture_now, f };
}

static inline void fixture_done(struct pag_call *call, enum pag_err err)
{
    struct fixture *f = call->user;
    f->err = err;
    (void)sem_post(&f->done);
}

static inline enum pag_err fixture_wait(struct fixture *f)
{
    (void)sem_wait(&f->done);
    return f->err;
}

/* A call with nothing said yet; the arena is new each time. */
static inline struct pag_call *fixture_call(struct fixture *f)
{
    pag_arena_close(f->arena);
    f->arena = pag_arena_open(f->pool, 4 << 20);
    f->call = (struct pag_call){
        .thread = f->thread,
        .arena = f->arena,
        .scope = { .actor = "token:test", .role = PAG_ROLE_ADMIN },
        .done = fixture_done,
        .user = f,
    };
    return &f->call;
}

static inline void fixture_open(struct fixture *f, const struct pag_store_ops *ops)
{
    char path[96];
    char blobs[96];
    (void)snprintf(path, sizeof path, "%s/pagurus.db", f->dir);
    (void)snprintf(blobs, sizeof blobs, "%s/blobs", f->dir);
    const struct pag_store_config store = { .path = path,
                                            .blobs_dir = blobs,
                                            .clock = fixture_clock(f),
                                            .touch_ms = f->touch_ms != 0 ? f->touch_ms : 20,
                                            .ops = ops };
    assert_int_equal(pag_store_open(&store, &f->store, NULL), PAG_OK);
    const struct pag_app_config app = { .store = f->store,
                                        .clock = fixture_clock(f),
                                        .crypto = pag_crypto_openssl(),
                                        .device_ca = f->ca,
                                        .device_lifetime_s = 86400ULL * 730,
                                        .unproven_devices = f->unproven_devices,
                                        .mqtt_host = "localhost",
                                        .mqtt_port = 8883 };
    assert_int_equal(pag_app_new(&app, &f->app, NULL), PAG_OK);
    assert_int_equal(pag_app_thread_new(f->app, NULL, &f->thread, NULL), PAG_OK);
}

static inline enum pag_err fixture_nothing(struct pag_store_tx *tx, struct pag_intent *intent)
{
    (void)tx;
    (void)intent;
    return PAG_OK;
}

static inline void fixture_close(struct fixture *f)
{
    struct pag_intent last = { .apply = fixture_nothing }; /* what is queued needs the thread's memory */
    (void)pag_store_apply(f->store, &last);
    pag_arena_close(f->arena);
    f->arena = NULL;
    pag_app_thread_free(f->thread);
    pag_app_free(f->app);
    pag_store_close(f->store);
}

static inline void fixture_begin(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/pag-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->now_ms = 1790000000000ULL;
    f->pool = pag_arena_pool_new(1 << 20);
    (void)sem_init(&f->done, 0, 0);
    assert_int_equal(pag_ca_root_new("Test", f->now_ms / 1000, &f->root, NULL), PAG_OK);
    assert_int_equal(pag_ca_issuing_new(f->root, PAG_CA_DEVICE, f->now_ms / 1000, &f->ca, NULL), PAG_OK);
    fixture_open(f, NULL);
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void fixture_end(struct fixture *f)
{
    fixture_close(f);
    pag_arena_pool_free(f->pool);
    pag_ca_free(f->ca);
    pag_ca_free(f->root);
    (void)sem_destroy(&f->done);
    (void)nftw(f->dir, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- things ---- */

static inline void fixture_product(struct fixture *f, enum pag_legacy_auth auth)
{
    struct pag_product in;
    memset(&in, 0, sizeof in);
    (void)snprintf(in.name, sizeof in.name, "meter");
    in.chip = PAG_CHIP_ESP8266;
    in.hardware_n = 1;
    (void)snprintf(in.hardware[0], sizeof in.hardware[0], "d1mini");
    in.flash_bytes = 4 << 20;
    in.slot_bytes = 1 << 20;
    pag_product_settings_default(&in.settings);
    in.settings.legacy_auth = auth;
    pag_app_product_create(fixture_call(f), &in, &f->product);
    assert_int_equal(fixture_wait(f), PAG_OK);
}

static inline size_t fixture_part(uint8_t *p, uint8_t size_id, uint8_t fill, uint32_t n)
{
    uint8_t sum = 0xEF;
    memset(p, 0, 8);
    p[0] = 0xE9;
    p[1] = 1;
    p[2] = 2;
    p[3] = (uint8_t)(size_id << 4);
    pag_put_u32le(p + 4, 0x40100000);
    pag_put_u32le(p + 8, 0x40100000);
    pag_put_u32le(p + 12, n);
    for (uint32_t i = 0; i < n; i++) {
        p[16 + i] = (uint8_t)(fill + i * 7);
        sum ^= p[16 + i];
    }
    size_t end = (16 + n + 16) & ~(size_t)15;
    memset(p + 16 + n, 0, end - 16 - n);
    p[end - 1] = sum;
    return end;
}

enum { FIXTURE_IMAGE_MAX = 0x1600 };

/* An Arduino file: boot part, then an application. */
static inline size_t fixture_image(uint8_t out[FIXTURE_IMAGE_MAX], uint8_t size_id, uint8_t fill)
{
    memset(out, 0xAA, FIXTURE_IMAGE_MAX);
    (void)fixture_part(out, size_id, 1, 64);
    return 0x1000 + fixture_part(out + 0x1000, size_id, fill, 0x400);
}

static inline enum pag_err fixture_upload(struct fixture *f, const char *release, const char *name,
                                          struct pag_span file, struct pag_release_image *image)
{
    char path[96];
    struct pag_image_in in = { .release = release, .name = name, .bytes = file.n };
    (void)snprintf(path, sizeof path, "%s/upload", f->dir);
    in.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(in.fd >= 0);
    assert_int_equal(write(in.fd, file.p, file.n), (ssize_t)file.n);
    pag_sha256_of(pag_crypto_openssl(), file, in.sha256);
    pag_app_image_put(fixture_call(f), &in, image);
    enum pag_err err = fixture_wait(f);
    (void)close(in.fd);
    return err;
}

static inline void fixture_draft(struct fixture *f, const char *version, char id[PAG_ID_TEXT])
{
    struct pag_release_view view;
    const struct pag_release_in in = { .product = "meter", .version = version };
    pag_app_release_create(fixture_call(f), &in, &view);
    assert_int_equal(fixture_wait(f), PAG_OK);
    memcpy(id, view.release.id, PAG_ID_TEXT);
}

static inline enum pag_err fixture_publish(struct fixture *f, const char *id)
{
    struct pag_release_view view;
    pag_app_publish(fixture_call(f), &(struct pag_publish_in){ .release = id }, &view);
    return fixture_wait(f);
}

/* Published release of one image made from fill. */
static inline void fixture_release(struct fixture *f, const char *version, uint8_t fill,
                                   struct pag_release_image *image)
{
    static uint8_t file[FIXTURE_IMAGE_MAX];
    char id[PAG_ID_TEXT];
    fixture_draft(f, version, id);
    size_t n = fixture_image(file, 4, fill);
    assert_int_equal(fixture_upload(f, id, "firmware", pag_span_of(file, n), image), PAG_OK);
    assert_int_equal(fixture_publish(f, id), PAG_OK);
}

/* For cmocka: a fixture with the product "meter", whose devices need no certificate. */
static inline int fixture_set_up(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fixture_begin(f);
    fixture_product(f, PAG_LEGACY_NONE);
    *state = f;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    fixture_end(*state);
    free(*state);
    return 0;
}

#endif
