#include "server/app/app.h"

#include <string.h>

#include "core/bytes.h"
#include "host/token.h"
#include "server/app/op.h"

static const char *copy_text(struct pag_arena *arena, const char *s)
{
    return s != NULL ? pag_arena_text(arena, pag_span_str(s)) : "";
}

enum pag_err pag_app_new(const struct pag_app_config *config, struct pag_app **out, struct pag_fail *why)
{
    struct pag_arena_pool *pool = pag_arena_pool_new(0);
    struct pag_arena *arena = pool != NULL ? pag_arena_open(pool, 1 << 20) : NULL;
    struct pag_app *app = arena != NULL ? pag_arena_alloc(arena, sizeof *app) : NULL;
    if (app == NULL) {
        pag_arena_close(arena);
        pag_arena_pool_free(pool);
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory", 0);
    }
    app->config = *config;
    app->config.mqtt_host = copy_text(arena, config->mqtt_host);
    pag_app_change(app, config->poll_s, config->claims_per_minute, config->unproven_devices);
    app->pool = pool;
    app->arena = arena;
    *out = app;
    return PAG_OK;
}

void pag_app_ca_set(struct pag_app *app, const struct pag_ca *ca)
{
    __atomic_store_n(&app->config.device_ca, ca, __ATOMIC_RELEASE);
}

const struct pag_ca *pag_app_ca(const struct pag_app *app)
{
    return __atomic_load_n(&app->config.device_ca, __ATOMIC_ACQUIRE);
}

void pag_app_free(struct pag_app *app)
{
    if (app != NULL) {
        struct pag_arena_pool *pool = app->pool;
        pag_arena_close(app->arena);
        pag_arena_pool_free(pool);
    }
}

void pag_app_mqtt_port(struct pag_app *app, uint16_t port)
{
    app->config.mqtt_port = port;
}

const char *pag_app_mqtt_place(const struct pag_app *app, uint32_t *port)
{
    *port = app->config.mqtt_port;
    return app->config.mqtt_host;
}

enum pag_err pag_app_thread_new(struct pag_app *app, struct pag_loop *loop, struct pag_app_thread **out,
                                struct pag_fail *why)
{
    struct pag_arena_pool *pool = pag_arena_pool_new(0);
    struct pag_arena *arena = pool != NULL ? pag_arena_open(pool, 1 << 16) : NULL;
    struct pag_app_thread *t = arena != NULL ? pag_arena_alloc(arena, sizeof *t) : NULL;
    enum pag_err err = t != NULL ? pag_store_reader_new(app->config.store, &t->reader, why)
                                 : pag_fail_set(why, PAG_E_NO_MEMORY, "no memory", 0);
    if (err != PAG_OK || t == NULL) {
        pag_arena_close(arena);
        pag_arena_pool_free(pool);
        return err;
    }
    t->app = app;
    t->loop = loop;
    t->db = pag_store_reader_db(t->reader);
    t->pool = pool;
    t->arena = arena;
    *out = t;
    return PAG_OK;
}

void pag_app_thread_free(struct pag_app_thread *thread)
{
    if (thread != NULL) {
        struct pag_arena_pool *pool = thread->pool;
        pag_store_reader_free(thread->reader);
        pag_arena_close(thread->arena);
        pag_arena_pool_free(pool);
    }
}

struct pag_app *pag_app_of(const struct pag_app_thread *thread)
{
    return thread->app;
}

/* ---- who is there ---- */

bool pag_app_admit(void *app, const struct pag_tls_peer *peer)
{
    const struct pag_app *a = app;
    return !peer->has_certificate || !pag_store_denied(a->config.store, peer->serial, peer->serial_n);
}

uint64_t pag_app_deny_epoch(const struct pag_app *app)
{
    return pag_store_deny_epoch(app->config.store);
}

enum pag_err pag_app_device_of(struct pag_call *call, const struct pag_tls_peer *peer,
                               struct pag_device_identity *out)
{
    struct pag_device d;
    if (peer == NULL || !peer->has_certificate || peer->cn[0] == '\0') {
        return PAG_E_UNAUTHENTICATED;
    }
    if (!pag_app_admit(call->thread->app, peer)) {
        return PAG_E_DENIED;
    }
    enum pag_err err = pag_device_get(call->thread->db, NULL, peer->cn, &d);
    if (err != PAG_OK) {
        return err;
    }
    if (d.revoked_ms != 0) {
        return PAG_E_DENIED;
    }
    if (peer->product[0] != '\0' && strcmp(peer->product, d.product) != 0) {
        return PAG_E_DENIED; /* a certificate of another product's device of that name */
    }
    memcpy(out->device, d.id, sizeof out->device);
    memcpy(out->product, d.product, sizeof out->product);
    return PAG_OK;
}

enum pag_err pag_app_token_of(struct pag_call *call, struct pag_span text, struct pag_actor *out)
{
    struct pag_api_token token;
    struct pag_access_token row;
    if (pag_api_token_parse(text, &token) != PAG_OK) {
        return PAG_E_UNAUTHENTICATED;
    }
    enum pag_err err = pag_token_row_get(call->thread->db, token.id, &row);
    bool same = err == PAG_OK && pag_equal_ct(row.sha256, token.sha256, sizeof row.sha256);
    memset(token.text, 0, sizeof token.text);
    if (!same) {
        return err == PAG_OK || err == PAG_E_NOT_FOUND ? PAG_E_UNAUTHENTICATED : err;
    }
    int64_t now = pag_app_now_ms(call->thread->app);
    err = pag_access_token_check(&row, now);
    if (err != PAG_OK) {
        return err == PAG_E_EXPIRED ? err : PAG_E_UNAUTHENTICATED;
    }
    memset(out, 0, sizeof *out);
    memcpy(out->id, row.id, sizeof out->id);
    memcpy(out->name, row.name, sizeof out->name);
    struct pag_buf b = { (uint8_t *)out->actor, 0, sizeof out->actor - 1 };
    (void)pag_buf_put_str(&b, "token:");
    (void)pag_buf_put_str(&b, row.name);
    out->role = row.role;
    memcpy(out->product, row.product, sizeof out->product);
    out->expires_ms = row.expires_ms;
    pag_store_touch_token(call->thread->reader, row.id, now);
    return PAG_OK;
}

void pag_app_change(struct pag_app *app, uint32_t poll_s, uint32_t claims_per_minute,
                    uint32_t unproven_devices)
{
    __atomic_store_n(&app->config.poll_s, poll_s != 0 ? poll_s : 300, __ATOMIC_RELAXED);
    __atomic_store_n(&app->config.claims_per_minute, claims_per_minute != 0 ? claims_per_minute : 10,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&app->config.unproven_devices, unproven_devices != 0 ? unproven_devices : 10000,
                     __ATOMIC_RELAXED);
}
