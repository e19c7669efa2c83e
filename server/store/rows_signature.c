#include "server/store/rows_signature.h"

#include <string.h>

#include "core/bytes.h"
#include "host/signing.h"
#include "server/store/rows.h"

static void detached_read(struct pag_q *q, struct pag_arena *arena, struct pag_detached *d)
{
    pag_q_get_blob(q, d->key, sizeof d->key);
    d->signature = pag_q_get_span(q, arena);
    d->created_ms = pag_q_get_int(q);
}

enum pag_err pag_detached_put(struct pag_db *db, const char *image, const struct pag_detached *d)
{
    struct pag_q q = pag_q_of(
        db, "INSERT INTO image_detached (image_id, key_id, signature, created_ms) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (image_id, key_id) DO UPDATE SET signature = excluded.signature, "
            "created_ms = excluded.created_ms");
    pag_q_text(&q, image);
    pag_q_blob(&q, d->key, sizeof d->key);
    pag_q_span(&q, d->signature);
    pag_q_int(&q, d->created_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_detached_list(struct pag_db *db, struct pag_arena *arena, const char *image,
                               struct pag_detached **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT key_id, signature, created_ms FROM image_detached "
                                  "WHERE image_id = ? ORDER BY created_ms DESC, key_id");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, image);
    while (pag_q_row(&q)) {
        struct pag_detached *d = pag_list_grow(arena, &items, n, &cap, sizeof *d);
        if (d == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        detached_read(&q, arena, d);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_detached_of_file(struct pag_db *db, struct pag_arena *arena, const char *product,
                                  const uint8_t sha256[PAG_SHA256_BYTES], const uint8_t *key,
                                  struct pag_detached *out)
{
    struct pag_q q = pag_q_of(
        db, "SELECT d.key_id, d.signature, d.created_ms FROM image i JOIN image_detached d "
            "ON d.image_id = i.id WHERE i.sha256 = ? AND i.product_id = ? AND (? = 0 OR d.key_id = ?) "
            "ORDER BY d.created_ms DESC, d.key_id LIMIT 1");
    pag_q_blob(&q, sha256, PAG_SHA256_BYTES);
    pag_q_text(&q, product);
    pag_q_int(&q, key != NULL);
    pag_q_blob(&q, key, key != NULL ? PAG_KEY_ID_BYTES : 0);
    if (pag_q_row(&q)) {
        detached_read(&q, arena, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_image_key_insert(struct pag_db *db, const char *product, const char *image,
                                  const uint8_t id[PAG_KEY_ID_BYTES], struct pag_span spki)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO image_key (image_id, product_id, key_id, spki) "
                                  "VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING");
    pag_q_text(&q, image);
    pag_q_text(&q, product);
    pag_q_blob(&q, id, PAG_KEY_ID_BYTES);
    pag_q_span(&q, spki);
    return pag_q_run(&q, NULL);
}

enum { TRAILER_NONE = 0, TRAILER_STANDARD = 1, TRAILER_LEGACY = 2 }; /* as rows_release.c */

struct keys {
    struct pag_arena *arena;
    void *items;
    size_t n, cap;
};

static enum pag_err add_registered(struct keys *k, const char *name, struct pag_span pem)
{
    struct pag_public_info info;
    uint8_t room[PAG_SPKI_MAX];
    struct pag_buf spki = { room, 0, sizeof room };
    if (pag_signing_read(pem, &info, &spki) != PAG_OK) {
        return PAG_OK; /* of a kind that signs no images */
    }
    struct pag_verify_key *v = pag_list_grow(k->arena, &k->items, &k->n, &k->cap, sizeof *v);
    if (v == NULL) {
        return PAG_E_LIMIT;
    }
    memset(v, 0, sizeof *v);
    memcpy(v->id, info.id, sizeof v->id);
    (void)pag_text_copy(v->name, sizeof v->name, pag_span_str(name));
    v->registered = true;
    v->spki = pag_arena_copy(k->arena, pag_buf_span(&spki));
    return v->spki.p != NULL ? PAG_OK : PAG_E_LIMIT;
}

static enum pag_err registered(struct pag_db *db, struct keys *k, const char *product)
{
    struct pag_q q = pag_q_of(db, "SELECT name, pem FROM public_key WHERE purpose = 'arduino' AND "
                                  "(product_id = '' OR product_id = ?) ORDER BY created_ms, id LIMIT ?");
    enum pag_err err = PAG_OK;
    pag_q_text(&q, product);
    pag_q_int(&q, PAG_VERIFY_KEYS_MAX);
    while (err == PAG_OK && pag_q_row(&q)) {
        char name[PAG_NAME_MAX + 1];
        pag_q_get_text(&q, name, sizeof name);
        err = add_registered(k, name, pag_q_get_span(&q, k->arena));
    }
    enum pag_err read = pag_q_end(&q);
    return err != PAG_OK ? err : read;
}

static bool has_key(const struct keys *k, const uint8_t id[PAG_KEY_ID_BYTES])
{
    const struct pag_verify_key *list = k->items;
    for (size_t i = 0; i < k->n; i++) {
        if (memcmp(list[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static enum pag_err carried(struct pag_db *db, struct keys *k, const char *product)
{
    struct pag_q q = pag_q_of(db, "SELECT DISTINCT k.key_id, k.spki FROM image_key k JOIN image i "
                                  "ON i.id = k.image_id AND i.embedded_key = k.key_id "
                                  "WHERE k.product_id = ? ORDER BY k.key_id LIMIT ?");
    pag_q_text(&q, product);
    pag_q_int(&q, PAG_VERIFY_KEYS_MAX);
    while (k->n < PAG_VERIFY_KEYS_MAX && pag_q_row(&q)) {
        uint8_t id[PAG_KEY_ID_BYTES];
        pag_q_get_blob(&q, id, sizeof id);
        if (has_key(k, id)) {
            continue;
        }
        struct pag_verify_key *v = pag_list_grow(k->arena, &k->items, &k->n, &k->cap, sizeof *v);
        if (v == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        memset(v, 0, sizeof *v);
        memcpy(v->id, id, sizeof v->id);
        v->spki = pag_q_get_span(&q, k->arena);
    }
    return pag_q_end(&q);
}

enum pag_err pag_verify_keys(struct pag_db *db, struct pag_arena *arena, const char *product,
                             struct pag_verify_key **list, size_t *n)
{
    struct keys k = { .arena = arena };
    enum pag_err err = registered(db, &k, product);
    err = err == PAG_OK ? carried(db, &k, product) : err;
    *list = k.items;
    *n = k.n;
    return err;
}

/* ---- images that came before a key ---- */

enum pag_err pag_images_unread(struct pag_db *db, struct pag_arena *arena, const char *product,
                               struct pag_image_unread **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT product_id, id, sha256, bytes, kind, trailer, signed_by, "
                                  "embedded_key FROM image WHERE (? = '' OR product_id = ?) AND kind NOT IN "
                                  "(?, ?) AND ((trailer <> 0 AND coalesce(length(signed_by), 0) = 0) OR "
                                  "coalesce(length(embedded_key), 0) = 0) "
                                  "ORDER BY product_id, created_ms DESC, id LIMIT ?");
    struct keys k = { .arena = arena };
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    pag_q_int(&q, PAG_IMAGE_FILESYSTEM);
    pag_q_int(&q, PAG_IMAGE_ELF);
    pag_q_int(&q, PAG_IMAGES_UNREAD_MAX);
    while (pag_q_row(&q)) {
        struct pag_image_unread *u = pag_list_grow(arena, &k.items, &k.n, &k.cap, sizeof *u);
        if (u == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        memset(u, 0, sizeof *u);
        pag_q_get_text(&q, u->product, sizeof u->product);
        pag_q_get_text(&q, u->image.id, sizeof u->image.id);
        pag_q_get_blob(&q, u->image.sha256, sizeof u->image.sha256);
        u->image.bytes = (uint64_t)pag_q_get_int(&q);
        u->image.kind = (enum pag_image_kind)pag_q_get_int(&q);
        int64_t trailer = pag_q_get_int(&q);
        u->image.trailer = trailer != 0;
        u->image.trailer_legacy = trailer == TRAILER_LEGACY;
        u->image.has_signed_by = pag_q_get_bytes(&q, u->image.signed_by, sizeof u->image.signed_by) > 0;
        u->image.has_embedded_key =
            pag_q_get_bytes(&q, u->image.embedded_key, sizeof u->image.embedded_key) > 0;
    }
    *list = k.items;
    *n = k.n;
    return pag_q_end(&q);
}

enum pag_err pag_image_read_again(struct pag_db *db, const struct pag_release_image *i)
{
    struct pag_q q = pag_q_of(db, "UPDATE image SET trailer = ?, signed_by = ?, embedded_key = ? "
                                  "WHERE id = ?");
    pag_q_int(&q, !i->trailer ? TRAILER_NONE : (i->trailer_legacy ? TRAILER_LEGACY : TRAILER_STANDARD));
    pag_q_blob(&q, i->signed_by, i->has_signed_by ? sizeof i->signed_by : 0);
    pag_q_blob(&q, i->embedded_key, i->has_embedded_key ? sizeof i->embedded_key : 0);
    pag_q_text(&q, i->id);
    return pag_q_run(&q, NULL);
}
