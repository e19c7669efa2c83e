#include <stdlib.h>
#include <string.h>

#include "server/store/internal.h"

/* Serials are random (128 bits), so their first bytes are the hash. */
static size_t place(const struct pag_deny *d, const uint8_t *serial, size_t n)
{
    uint64_t h = 0;
    for (size_t i = 0; i < n; i++) {
        h = h * 0x100000001B3U + serial[i];
    }
    return (size_t)(h ^ (h >> 29U)) & (d->cap - 1);
}

static struct pag_serial *find(const struct pag_deny *d, const uint8_t *serial, size_t n)
{
    size_t at = place(d, serial, n);
    while (d->slot[at].n != 0 && (d->slot[at].n != n || memcmp(d->slot[at].b, serial, n) != 0)) {
        at = (at + 1) & (d->cap - 1);
    }
    return &d->slot[at];
}

enum pag_err pag_deny_init(struct pag_deny *d)
{
    d->cap = 1024;
    d->slot = calloc(d->cap, sizeof *d->slot);
    if (d->slot == NULL || pthread_rwlock_init(&d->lock, NULL) != 0) {
        return PAG_E_NO_MEMORY;
    }
    atomic_init(&d->epoch, 1);
    return PAG_OK;
}

void pag_deny_drop(struct pag_deny *d)
{
    if (d->slot != NULL) {
        (void)pthread_rwlock_destroy(&d->lock);
        free(d->slot);
        d->slot = NULL;
    }
}

static enum pag_err grow(struct pag_deny *d)
{
    struct pag_deny bigger = { .cap = d->cap * 2 };
    bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
    if (bigger.slot == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < d->cap; i++) {
        if (d->slot[i].n != 0) {
            *find(&bigger, d->slot[i].b, d->slot[i].n) = d->slot[i];
        }
    }
    free(d->slot);
    d->slot = bigger.slot;
    d->cap = bigger.cap;
    return PAG_OK;
}

enum pag_err pag_deny_add(struct pag_deny *d, const uint8_t *serial, size_t n)
{
    enum pag_err err = PAG_OK;
    if (n == 0 || n > PAG_SERIAL_MAX) {
        return PAG_E_RANGE;
    }
    (void)pthread_rwlock_wrlock(&d->lock);
    if ((d->n + 1) * 2 > d->cap) {
        err = grow(d);
    }
    struct pag_serial *s = find(d, serial, n);
    if (err == PAG_OK && s->n == 0) {
        s->n = (uint8_t)n;
        memcpy(s->b, serial, n);
        d->n++;
    }
    (void)pthread_rwlock_unlock(&d->lock);
    (void)atomic_fetch_add(&d->epoch, 1);
    return err;
}

bool pag_deny_has(struct pag_deny *d, const uint8_t *serial, size_t n)
{
    if (n == 0 || n > PAG_SERIAL_MAX) {
        return true; /* a certificate of ours has a serial */
    }
    (void)pthread_rwlock_rdlock(&d->lock);
    bool has = find(d, serial, n)->n != 0;
    (void)pthread_rwlock_unlock(&d->lock);
    return has;
}

enum pag_err pag_deny_load(struct pag_deny *d, struct pag_db *db)
{
    struct pag_q q = pag_q_of(db, "SELECT serial FROM certificate WHERE revoked_ms > 0");
    enum pag_err err = PAG_OK;
    while (err == PAG_OK && pag_q_row(&q)) {
        uint8_t serial[PAG_SERIAL_MAX];
        uint8_t n = pag_q_get_bytes(&q, serial, sizeof serial);
        err = pag_deny_add(d, serial, n);
    }
    enum pag_err read = pag_q_end(&q);
    return err != PAG_OK ? err : read;
}

void pag_store_tx_deny(struct pag_store_tx *tx, const uint8_t *serial, size_t n)
{
    if (tx->deny_n == PAG_TX_DENY_MAX || n > PAG_SERIAL_MAX) {
        tx->deny_all = true;
        return;
    }
    tx->deny[tx->deny_n].n = (uint8_t)n;
    memcpy(tx->deny[tx->deny_n].b, serial, n);
    tx->deny_n++;
}

bool pag_store_denied(struct pag_store *store, const uint8_t *serial, size_t n)
{
    return pag_deny_has(&store->deny, serial, n);
}

uint64_t pag_store_deny_epoch(struct pag_store *store)
{
    return atomic_load(&store->deny.epoch);
}
