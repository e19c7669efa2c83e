#include "server/app/serves.h"

#include "core/bytes.h"
#include "server/app/op.h"

static uint64_t hash_of(const char *device)
{
    return pag_hash32(pag_span_str(device), 0x73657276U);
}

static uint64_t key_of(const char *device, const uint8_t sha256[PAG_SHA256_BYTES])
{
    uint64_t who = hash_of(device);
    uint64_t what = pag_hash32(pag_span_of(sha256, PAG_SHA256_BYTES), (uint32_t)who);
    return who << 32 | what | 1;
}

/* One place a key: another device's image in it means that this one is not followed. */
static struct pag_serve_slot *lock(struct pag_app *app, uint64_t key)
{
    struct pag_serve_slot *slot = &app->serve[(key >> 1) % PAG_SERVE_SLOTS];
    while (__atomic_test_and_set(&app->serve_lock, __ATOMIC_ACQUIRE)) {
    }
    if (slot->open == 0 && pag_app_now_ms(app) - slot->last_ms > PAG_SERVE_LINGER_MS) {
        *slot = (struct pag_serve_slot){ .key = 0 };
    }
    return slot;
}

static void unlock(struct pag_app *app)
{
    __atomic_clear(&app->serve_lock, __ATOMIC_RELEASE);
}

bool pag_serve_begins(struct pag_app *app, const char *device, const uint8_t sha256[PAG_SHA256_BYTES],
                      uint32_t counted)
{
    uint64_t key = key_of(device, sha256);
    struct pag_serve_slot *slot = lock(app, key);
    bool mine = slot->key == key || slot->key == 0;
    if (mine) {
        slot->key = key;
        slot->total = (slot->total > counted ? slot->total : counted) + 1;
        slot->open++;
        slot->last_ms = pag_app_now_ms(app);
    }
    unlock(app);
    return mine;
}

void pag_serve_ended(struct pag_app *app, const char *device, const uint8_t sha256[PAG_SHA256_BYTES],
                     bool counts)
{
    uint64_t key = key_of(device, sha256);
    struct pag_serve_slot *slot = lock(app, key);
    if (slot->key == key && slot->open > 0) {
        slot->open--;
        slot->total -= counts ? 0 : 1;
        slot->last_ms = pag_app_now_ms(app);
    }
    unlock(app);
}

void pag_serve_forget(struct pag_app *app, const char *device)
{
    uint64_t who = hash_of(device);
    for (uint32_t i = 0; i < PAG_SERVE_SLOTS; i++) {
        struct pag_serve_slot *slot = lock(app, (uint64_t)i << 1);
        if (slot->key >> 32 == who) {
            slot->total = slot->open;
            slot->key = slot->open > 0 ? slot->key : 0;
        }
        unlock(app);
    }
}

uint32_t pag_serve_total(struct pag_app *app, const char *device, const uint8_t sha256[PAG_SHA256_BYTES],
                         uint32_t counted)
{
    uint64_t key = key_of(device, sha256);
    const struct pag_serve_slot *slot = lock(app, key);
    uint32_t total = slot->key == key && slot->total > counted ? slot->total : counted;
    unlock(app);
    return total;
}
