#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"

/* What looks like guessing or like a copy: said to operators, in numbers that a stranger cannot drive up. */

enum { REFUSALS_A_MINUTE = 30 };

/* ---- refused enrolments ---- */

struct refusal {
    struct pag_call call;
    char mac[13];
    char address[64];
    char why[PAG_WHY_MAX + 1];
};

/* One more event of this minute? */
static bool may_tell(struct pag_app *app)
{
    uint32_t minute = (uint32_t)(app->config.clock.now_ms(app->config.clock.ctx) / 60000) + 1;
    if (__atomic_exchange_n(&app->refusals.minute, minute, __ATOMIC_RELAXED) != minute) {
        __atomic_store_n(&app->refusals.told, 0, __ATOMIC_RELAXED);
    }
    return __atomic_fetch_add(&app->refusals.told, 1, __ATOMIC_RELAXED) < REFUSALS_A_MINUTE;
}

static enum pag_err write_refusal(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct refusal *r = op->in;
    const struct pag_field field[] = { PAG_F_STR("mac", r->mac), PAG_F_STR("address", r->address),
                                       PAG_F_STR("why", r->why) };
    const struct pag_event_in event = {
        .type = "enrollment.refused", .actor = "device", .field = field, .field_n = 3
    };
    return pag_store_event_add(tx, &event);
}

static void refusal_done(struct pag_call *call, enum pag_err err)
{
    (void)err;
    pag_arena_close(call->arena);
}

void pag_suspect_enrollment(struct pag_app_thread *thread, const char *mac, const char *address,
                            const char *why)
{
    struct pag_arena *arena = may_tell(thread->app) ? pag_arena_open(thread->pool, 1 << 14) : NULL;
    struct refusal *r = arena != NULL ? pag_arena_alloc(arena, sizeof *r) : NULL;
    if (r == NULL) {
        pag_arena_close(arena);
        return;
    }
    (void)pag_text_copy(r->mac, sizeof r->mac, pag_span_str(mac));
    (void)pag_text_copy(r->address, sizeof r->address, pag_span_str(address));
    (void)pag_text_copy(r->why, sizeof r->why, pag_span_str(why));
    r->call = (struct pag_call){ .thread = thread, .arena = arena, .done = refusal_done };
    struct pag_op *op = pag_op_new(&r->call, r, NULL);
    if (op != NULL) {
        pag_op_submit(op, write_refusal);
    }
}

/* ---- two devices with one MAC ---- */

bool pag_suspect_due(struct pag_app *app, const char *device)
{
    uint32_t hash = pag_hash32(pag_span_str(device), 0x636F7079U);
    uint64_t now =
        ((uint64_t)hash << 32U) | (uint32_t)(app->config.clock.now_ms(app->config.clock.ctx) / 3600000 + 1);
    return __atomic_exchange_n(&app->suspects[hash % PAG_FULL_SLOTS], now, __ATOMIC_RELAXED) != now;
}

enum pag_err pag_suspect_event(struct pag_store_tx *tx, const struct pag_device *d, const char *mac,
                               const char *owner)
{
    const struct pag_field field[] = { PAG_F_STR("mac", mac), PAG_F_STR("owner", owner) };
    const struct pag_event_in event = { .type = "device.suspect",
                                        .product = d->product,
                                        .device = d->id,
                                        .actor = "system",
                                        .field = field,
                                        .field_n = 2 };
    return pag_store_event_add(tx, &event);
}

enum { TURNS_MAX = 4 };

bool pag_suspect_twin(struct pag_app *app, const char *device, const char *address)
{
    uint32_t who = pag_hash32(pag_span_str(device), 0x7477696EU);
    uint32_t from = pag_hash32(pag_span_str(address), 0x77686572U);
    uint32_t hour = (uint32_t)(app->config.clock.now_ms(app->config.clock.ctx) / 3600000);
    struct pag_twin *t = &app->twin[who % PAG_TWINS];
    bool tell = false;
    while (__atomic_test_and_set(&app->twin_lock, __ATOMIC_ACQUIRE)) {
    }
    if (t->device != who || t->hour != hour) {
        *t = (struct pag_twin){ .device = who, .last = from, .hour = hour };
    } else if (from != t->last) {
        t->turns += from == t->before ? 1 : 0;
        t->before = t->last;
        t->last = from;
        tell = t->turns == TURNS_MAX;
    }
    __atomic_clear(&app->twin_lock, __ATOMIC_RELEASE);
    return tell;
}

enum pag_err pag_twin_event(struct pag_store_tx *tx, const struct pag_device *d, const char *address)
{
    const struct pag_field field[] = { PAG_F_STR("address", address) };
    const struct pag_event_in event = { .type = "device.twin",
                                        .product = d->product,
                                        .device = d->id,
                                        .actor = "system",
                                        .field = field,
                                        .field_n = 1 };
    return pag_store_event_add(tx, &event);
}
