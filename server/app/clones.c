#include "server/app/clones.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"

/* One place a hash: a device that another has pushed out begins anew. */
static struct pag_clone_slot *slot_of(struct pag_app *app, const char *device, uint32_t *who)
{
    *who = pag_hash32(pag_span_str(device), 0x636C6F6EU);
    return &app->clone[*who % PAG_CLONE_SLOTS];
}

static enum pag_clone_sign look(struct pag_app *app, const struct pag_seen_in *in)
{
    uint32_t who = 0;
    struct pag_clone_slot *slot = slot_of(app, in->device, &who);
    const struct pag_clone_sight sight = {
        .certificate_until = in->certificate_until,
        .address = pag_hash32(pag_span_str(in->address), 0x77686572U),
        .has_counter = in->has_counter,
        .counter = in->counter,
        .now_ms = (int64_t)app->config.clock.now_ms(app->config.clock.ctx),
    };
    uint32_t hour = (uint32_t)(sight.now_ms / 3600000) + 1;
    while (__atomic_test_and_set(&app->clone_lock, __ATOMIC_ACQUIRE)) {
    }
    if (slot->device != who) {
        *slot = (struct pag_clone_slot){ .device = who };
    }
    enum pag_clone_sign sign = pag_clone_look(&slot->trace, &sight);
    if (sign != PAG_CLONE_NONE) {
        sign = slot->told == hour ? PAG_CLONE_NONE : sign;
        slot->told = hour;
    }
    __atomic_clear(&app->clone_lock, __ATOMIC_RELEASE);
    return sign;
}

struct told {
    struct pag_call call;
    enum pag_clone_sign sign;
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    char address[64];
};

static enum pag_err write_event(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct told *t = op->in;
    const struct pag_field field[] = { PAG_F_STR("sign", pag_clone_word(t->sign)),
                                       PAG_F_STR("address", t->address) };
    const struct pag_event_in event = { .type = "device.clone_suspected",
                                        .product = t->product,
                                        .device = t->device,
                                        .actor = "system",
                                        .field = field,
                                        .field_n = 2 };
    return pag_store_event_add(tx, &event);
}

static void written(struct pag_call *call, enum pag_err err)
{
    (void)err;
    pag_arena_close(call->arena);
}

void pag_app_seen(struct pag_app_thread *thread, const struct pag_seen_in *in)
{
    enum pag_clone_sign sign = look(thread->app, in);
    struct pag_arena *arena = sign != PAG_CLONE_NONE ? pag_arena_open(thread->pool, 1 << 14) : NULL;
    struct told *t = arena != NULL ? pag_arena_alloc(arena, sizeof *t) : NULL;
    if (t == NULL) {
        pag_arena_close(arena);
        return;
    }
    pag_log_warn(thread->app->config.log, "device.clone_suspected", PAG_F_STR("device", in->device),
                 PAG_F_STR("sign", pag_clone_word(sign)), PAG_F_STR("address", in->address));
    t->sign = sign;
    (void)pag_text_copy(t->device, sizeof t->device, pag_span_str(in->device));
    (void)pag_text_copy(t->product, sizeof t->product, pag_span_str(in->product));
    (void)pag_text_copy(t->address, sizeof t->address, pag_span_str(in->address));
    t->call = (struct pag_call){ .thread = thread, .arena = arena, .done = written };
    struct pag_op *op = pag_op_new(&t->call, t, NULL);
    if (op != NULL) {
        pag_op_submit(op, write_event);
    }
}

bool pag_app_superseded(struct pag_app_thread *thread, const struct pag_seen_in *in)
{
    uint32_t who = 0;
    struct pag_app *app = thread->app;
    const struct pag_clone_slot *slot = slot_of(app, in->device, &who);
    while (__atomic_test_and_set(&app->clone_lock, __ATOMIC_ACQUIRE)) {
    }
    bool later = slot->device == who && slot->trace.certificate_until > in->certificate_until;
    __atomic_clear(&app->clone_lock, __ATOMIC_RELEASE);
    return later;
}

enum pag_err pag_app_clone_at(struct pag_call *call, const char *device, int64_t *at_ms)
{
    return pag_clone_last(call->thread->db, device, at_ms);
}
