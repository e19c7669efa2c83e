#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"

/*
 * Where a MAC is enough (legacy_auth none), anybody can make devices up. Their number is bounded. That a
 * product is full is remembered for some seconds, so that a flood costs no database.
 */
enum { FULL_S = 5 };

static uint32_t hash_of(const char *product)
{
    return pag_hash32(pag_span_str(product), 0x66756C6CU);
}

static uint32_t seconds(const struct pag_app *app)
{
    return (uint32_t)(app->config.clock.now_ms(app->config.clock.ctx) / 1000);
}

bool pag_strangers_refused(struct pag_app *app, const char *product)
{
    uint32_t hash = hash_of(product);
    uint64_t full = __atomic_load_n(&app->full[hash % PAG_FULL_SLOTS], __ATOMIC_RELAXED);
    return (uint32_t)(full >> 32U) == hash && (uint32_t)full > seconds(app);
}

/* May change while serving. */
static uint32_t limit_of(const struct pag_app *app)
{
    return __atomic_load_n(&app->config.unproven_devices, __ATOMIC_RELAXED);
}

static enum pag_err tell(struct pag_store_tx *tx, struct pag_app *app, const char *product)
{
    uint32_t hour = seconds(app) / 3600 + 1;
    uint32_t *told = &app->told[hash_of(product) % PAG_FULL_SLOTS];
    if (__atomic_exchange_n(told, hour, __ATOMIC_RELAXED) == hour) {
        return PAG_OK;
    }
    const struct pag_field field[] = { PAG_F_U64("limit", limit_of(app)) };
    const struct pag_event_in event = {
        .type = "product.full", .product = product, .actor = "system", .field = field, .field_n = 1
    };
    return pag_store_event_add(tx, &event);
}

enum pag_err pag_strangers_admit(struct pag_store_tx *tx, struct pag_app *app, const char *product,
                                 bool *admitted)
{
    bool full = false;
    enum pag_err err = pag_device_unproven(pag_store_tx_db(tx), product, limit_of(app), &full);
    *admitted = !full;
    if (err != PAG_OK || !full) {
        return err;
    }
    uint32_t hash = hash_of(product);
    __atomic_store_n(&app->full[hash % PAG_FULL_SLOTS], ((uint64_t)hash << 32U) | (seconds(app) + FULL_S),
                     __ATOMIC_RELAXED);
    return tell(tx, app, product);
}
