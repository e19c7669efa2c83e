#include <stdlib.h>
#include <string.h>

#include "core/manifest.h"
#include "server/store/internal.h"
#include "server/store/rows_mount.h"

enum { CATALOG_BYTES = 256 << 20 };

/* ---- one snapshot ---- */

void pag_snapshot_unref(struct pag_snapshot *s)
{
    if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1) {
        pag_arena_close(s->arena);
        pag_arena_pool_free(s->pool);
        free(s);
    }
}

static struct pag_snapshot *snapshot_new(void)
{
    struct pag_snapshot *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->pool = pag_arena_pool_new(0);
    s->arena = s->pool != NULL ? pag_arena_open(s->pool, CATALOG_BYTES) : NULL;
    if (s->arena == NULL) {
        pag_snapshot_unref(s);
        return NULL;
    }
    return s;
}

static enum pag_err parse_manifests(struct pag_arena *arena, struct pag_plan_release *p)
{
    for (size_t i = 0; i < p->release->image_n; i++) {
        if (p->release->manifest[i].n == 0) {
            continue;
        }
        struct pag_manifest *m = pag_arena_alloc(arena, sizeof *m);
        if (m == NULL) {
            return PAG_E_NO_MEMORY;
        }
        if (pag_manifest_parse(p->release->manifest[i], m, NULL) == PAG_OK) {
            p->manifest[i] = m;
        }
    }
    return PAG_OK;
}

static enum pag_err load_releases(struct pag_db *db, struct pag_snapshot *s)
{
    struct pag_q q =
        pag_q_of(db, "SELECT id FROM release WHERE product_id = ? AND state > 0 ORDER BY sequence");
    void *items = NULL;
    size_t n = 0;
    size_t cap = 0;
    enum pag_err err = PAG_OK;
    pag_q_text(&q, s->catalog.product.id);
    while (err == PAG_OK && pag_q_row(&q)) {
        char id[PAG_ID_TEXT];
        struct pag_release *r = pag_arena_alloc(s->arena, sizeof *r);
        struct pag_plan_release *p = pag_list_grow(s->arena, &items, &n, &cap, sizeof *p);
        pag_q_get_text(&q, id, sizeof id);
        if (r == NULL || p == NULL) {
            err = PAG_E_NO_MEMORY;
            break;
        }
        err = pag_release_get(db, s->arena, id, r);
        p->release = r;
        if (err == PAG_OK) {
            err = parse_manifests(s->arena, p);
        }
    }
    enum pag_err read = pag_q_end(&q);
    s->catalog.release = items;
    s->catalog.release_n = n;
    return err != PAG_OK ? err : read;
}

static bool image_place(const struct pag_release *r, const char *image, uint32_t *at)
{
    for (uint32_t i = 0; i < r->image_n; i++) {
        if (strcmp(r->image[i].id, image) == 0) {
            *at = i;
            return true;
        }
    }
    return false;
}

static bool place_of(const struct pag_catalog *c, const char *image, struct pag_plan_md5 *out)
{
    for (size_t r = 0; r < c->release_n; r++) {
        if (image_place(c->release[r].release, image, &out->image)) {
            out->release = (uint32_t)r;
            return true;
        }
    }
    return false;
}

static enum pag_err load_md5(struct pag_db *db, struct pag_snapshot *s)
{
    struct pag_q q = pag_q_of(db, "SELECT md5, image_id, flash_mode FROM image_identity_md5 "
                                  "WHERE product_id = ? ORDER BY md5, image_id");
    void *items = NULL;
    size_t n = 0;
    size_t cap = 0;
    pag_q_text(&q, s->catalog.product.id);
    while (pag_q_row(&q)) {
        char image[PAG_ID_TEXT];
        struct pag_plan_md5 m;
        pag_q_get_blob(&q, m.md5, sizeof m.md5);
        pag_q_get_text(&q, image, sizeof image);
        m.flash_mode = (uint8_t)pag_q_get_int(&q);
        if (!place_of(&s->catalog, image, &m)) {
            continue; /* of a draft */
        }
        struct pag_plan_md5 *slot = pag_list_grow(s->arena, &items, &n, &cap, sizeof *slot);
        if (slot == NULL) {
            q.err = PAG_E_NO_MEMORY;
            break;
        }
        *slot = m;
    }
    s->catalog.md5 = items;
    s->catalog.md5_n = n;
    return pag_q_end(&q);
}

static enum pag_err load_permits(struct pag_db *db, struct pag_snapshot *s)
{
    struct pag_q q =
        pag_q_of(db, "SELECT from_sequence, to_sequence, expires_s, cose FROM permit WHERE product_id = ?");
    void *items = NULL;
    size_t n = 0;
    size_t cap = 0;
    pag_q_text(&q, s->catalog.product.id);
    while (pag_q_row(&q)) {
        struct pag_plan_permit *p = pag_list_grow(s->arena, &items, &n, &cap, sizeof *p);
        if (p == NULL) {
            q.err = PAG_E_NO_MEMORY;
            break;
        }
        p->from_sequence = (uint32_t)pag_q_get_int(&q);
        p->to_sequence = (uint32_t)pag_q_get_int(&q);
        p->expires_at = (uint64_t)pag_q_get_int(&q);
        p->cose = pag_q_get_span(&q, s->arena);
    }
    s->catalog.permit = items;
    s->catalog.permit_n = n;
    return pag_q_end(&q);
}

static enum pag_err snapshot_build(struct pag_db *db, const char *id, struct pag_snapshot **out)
{
    struct pag_snapshot *s = snapshot_new();
    if (s == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = pag_product_get(db, id, &s->catalog.product);
    if (err == PAG_OK) {
        err = load_releases(db, s);
    }
    if (err == PAG_OK) {
        err = load_md5(db, s);
    }
    if (err == PAG_OK) {
        err = load_permits(db, s);
    }
    if (err == PAG_OK) {
        struct pag_mount *mount = NULL;
        err = pag_mount_list(db, s->arena, id, &mount, &s->catalog.mount_n);
        s->catalog.mount = mount;
    }
    if (err != PAG_OK) {
        pag_snapshot_unref(s);
        return err;
    }
    *out = s;
    return PAG_OK;
}

/* ---- all of them ---- */

enum pag_err pag_catalogs_init(struct pag_catalogs *c)
{
    atomic_init(&c->generation, 1);
    return pthread_mutex_init(&c->lock, NULL) == 0 ? PAG_OK : PAG_E_NO_MEMORY;
}

void pag_catalogs_drop(struct pag_catalogs *c)
{
    for (size_t i = 0; i < c->n; i++) {
        pag_snapshot_unref(c->item[i]);
    }
    free(c->item);
    if (atomic_load(&c->generation) != 0) {
        (void)pthread_mutex_destroy(&c->lock);
    }
}

static enum pag_err put_in(struct pag_catalogs *c, struct pag_snapshot *s)
{
    struct pag_snapshot *old = NULL;
    enum pag_err err = PAG_OK;
    pthread_mutex_lock(&c->lock);
    size_t at = 0;
    while (at < c->n && strcmp(c->item[at]->catalog.product.id, s->catalog.product.id) != 0) {
        at++;
    }
    if (at == c->cap) {
        size_t cap = c->cap == 0 ? 16 : c->cap * 2;
        struct pag_snapshot **item = realloc(c->item, cap * sizeof(struct pag_snapshot *));
        err = item != NULL ? PAG_OK : PAG_E_NO_MEMORY;
        if (item != NULL) {
            c->item = item;
            c->cap = cap;
        }
    }
    if (err == PAG_OK) {
        old = at < c->n ? c->item[at] : NULL;
        c->n = at < c->n ? c->n : c->n + 1;
        s->catalog.generation = atomic_fetch_add(&c->generation, 1) + 1;
        c->item[at] = s;
    }
    pthread_mutex_unlock(&c->lock);
    pag_snapshot_unref(err == PAG_OK ? old : s);
    return err;
}

enum pag_err pag_catalogs_rebuild(struct pag_catalogs *c, struct pag_db *db, const char *id)
{
    struct pag_snapshot *s = NULL;
    enum pag_err err = snapshot_build(db, id, &s);
    return err == PAG_OK ? put_in(c, s) : err;
}

enum pag_err pag_catalogs_load(struct pag_catalogs *c, struct pag_db *db)
{
    struct pag_q q = pag_q_of(db, "SELECT id FROM product ORDER BY id");
    enum pag_err err = PAG_OK;
    while (pag_q_row(&q)) {
        char id[PAG_PRODUCT_HEX];
        pag_q_get_text(&q, id, sizeof id);
        enum pag_err one = pag_catalogs_rebuild(c, db, id);
        err = one != PAG_OK ? one : err;
    }
    enum pag_err read = pag_q_end(&q);
    return err != PAG_OK ? err : read;
}

void pag_store_tx_dirty(struct pag_store_tx *tx, const char *product)
{
    for (size_t i = 0; i < tx->dirty_n; i++) {
        if (strcmp(tx->dirty[i], product) == 0) {
            return;
        }
    }
    if (tx->dirty_n == PAG_TX_DIRTY_MAX) {
        tx->all_dirty = true;
        return;
    }
    memcpy(tx->dirty[tx->dirty_n], product, strnlen(product, PAG_PRODUCT_HEX - 1));
    tx->dirty[tx->dirty_n][strnlen(product, PAG_PRODUCT_HEX - 1)] = '\0';
    tx->dirty_n++;
}

/* Snapshots are replaced by the writer alone, after its commits: none goes away while an intent is applied.
 */
enum pag_err pag_store_tx_catalog(struct pag_store_tx *tx, const char *id, const struct pag_catalog **out)
{
    struct pag_catalogs *c = &tx->store->catalogs;
    bool moved = tx->all_dirty;
    for (size_t i = 0; i < tx->dirty_n; i++) {
        moved = moved || strcmp(tx->dirty[i], id) == 0;
    }
    if (moved) {
        return PAG_E_BUSY;
    }
    enum pag_err err = PAG_E_NOT_FOUND;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->n; i++) {
        if (strcmp(c->item[i]->catalog.product.id, id) == 0) {
            *out = &c->item[i]->catalog;
            err = PAG_OK;
        }
    }
    pthread_mutex_unlock(&c->lock);
    return err;
}

/* ---- a thread's own references ---- */

static void refresh(struct pag_store_reader *r)
{
    struct pag_catalogs *c = &r->store->catalogs;
    struct pag_snapshot **held = NULL;
    pthread_mutex_lock(&c->lock);
    size_t n = c->n;
    uint64_t generation = atomic_load(&c->generation);
    held = n > 0 ? malloc(n * sizeof(struct pag_snapshot *)) : NULL;
    for (size_t i = 0; held != NULL && i < n; i++) {
        held[i] = c->item[i];
        (void)atomic_fetch_add(&held[i]->refs, 1);
    }
    pthread_mutex_unlock(&c->lock);
    if (held == NULL && n > 0) {
        return; /* no memory: the old snapshots still stand */
    }
    for (size_t i = 0; i < r->held_n; i++) {
        pag_snapshot_unref(r->held[i]);
    }
    free(r->held);
    r->held = held;
    r->held_n = n;
    r->generation = generation;
}

static void refresh_if_old(struct pag_store_reader *r)
{
    if (atomic_load_explicit(&r->store->catalogs.generation, memory_order_acquire) != r->generation) {
        refresh(r);
    }
}

const struct pag_catalog *pag_store_catalog(struct pag_store_reader *r, const char *product)
{
    refresh_if_old(r);
    for (size_t i = 0; i < r->held_n; i++) {
        const struct pag_catalog *c = &r->held[i]->catalog;
        if (strcmp(c->product.id, product) == 0 || strcmp(c->product.name, product) == 0) {
            return c;
        }
    }
    return NULL;
}

/* The one of c's mounts that takes more of path than longest. NULL: none. */
static const struct pag_mount *longer_mount(const struct pag_catalog *c, struct pag_span path,
                                            size_t *longest, struct pag_span *rest)
{
    const struct pag_mount *found = NULL;
    for (size_t k = 0; k < c->mount_n; k++) {
        struct pag_span left;
        size_t n = strlen(c->mount[k].path);
        if (n > *longest && pag_mount_takes(&c->mount[k], path, &left)) {
            *longest = n;
            *rest = left;
            found = &c->mount[k];
        }
    }
    return found;
}

const struct pag_catalog *pag_store_mount(struct pag_store_reader *r, struct pag_span path,
                                          const struct pag_mount **mount, struct pag_span *rest)
{
    const struct pag_catalog *found = NULL;
    size_t longest = 0;
    refresh_if_old(r);
    for (size_t i = 0; i < r->held_n; i++) {
        const struct pag_mount *m = longer_mount(&r->held[i]->catalog, path, &longest, rest);
        if (m != NULL) {
            found = &r->held[i]->catalog;
            *mount = m;
        }
    }
    return found;
}
