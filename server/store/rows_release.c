#include <string.h>

#include "core/bytes.h"
#include "server/store/rows.h"

#define RELEASE_COLUMNS                                                                                      \
    "id, product_id, version, channel, state, sequence, epoch, notes, created_ms, published_ms, "            \
    "withdrawn_ms"

static void release_read(struct pag_q *q, struct pag_arena *arena, struct pag_release *r)
{
    memset(r, 0, sizeof *r);
    pag_q_get_text(q, r->id, sizeof r->id);
    pag_q_get_text(q, r->product, sizeof r->product);
    pag_q_get_text(q, r->version, sizeof r->version);
    pag_q_get_text(q, r->channel, sizeof r->channel);
    r->state = (enum pag_release_state)pag_q_get_int(q);
    r->sequence = (uint32_t)pag_q_get_int(q);
    r->epoch = (uint32_t)pag_q_get_int(q);
    r->notes = pag_q_get_str(q, arena);
    r->created_ms = pag_q_get_int(q);
    r->published_ms = pag_q_get_int(q);
    r->withdrawn_ms = pag_q_get_int(q);
}

enum pag_err pag_release_insert(struct pag_db *db, const struct pag_release *r)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO release (" RELEASE_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, r->id);
    pag_q_text(&q, r->product);
    pag_q_text(&q, r->version);
    pag_q_text(&q, r->channel);
    pag_q_int(&q, r->state);
    pag_q_int(&q, r->sequence);
    pag_q_int(&q, r->epoch);
    pag_q_text(&q, r->notes);
    pag_q_int(&q, r->created_ms);
    pag_q_int(&q, r->published_ms);
    pag_q_int(&q, r->withdrawn_ms);
    return pag_q_run(&q, NULL);
}

enum { TRAILER_NONE = 0, TRAILER_STANDARD = 1, TRAILER_LEGACY = 2 };

static void image_read(struct pag_q *q, struct pag_release_image *i)
{
    memset(i, 0, sizeof *i);
    pag_q_get_text(q, i->id, sizeof i->id);
    pag_q_get_text(q, i->release, sizeof i->release);
    pag_q_get_text(q, i->name, sizeof i->name);
    i->kind = (enum pag_image_kind)pag_q_get_int(q);
    i->chip = (enum pag_chip)pag_q_get_int(q);
    i->bytes = (uint64_t)pag_q_get_int(q);
    pag_q_get_blob(q, i->sha256, sizeof i->sha256);
    pag_q_get_blob(q, i->md5, sizeof i->md5);
    i->payload_bytes = (uint32_t)pag_q_get_int(q);
    pag_q_get_text(q, i->project, sizeof i->project);
    pag_q_get_text(q, i->version, sizeof i->version);
    pag_q_get_text(q, i->hardware, sizeof i->hardware);
    i->identity_epoch = (uint32_t)pag_q_get_int(q);
    i->flash_size_bytes = (uint32_t)pag_q_get_int(q);
    i->flash_mode = (uint8_t)pag_q_get_int(q);
    i->gzip = pag_q_get_int(q) != 0;
    int64_t trailer = pag_q_get_int(q);
    i->trailer = trailer != TRAILER_NONE;
    i->trailer_legacy = trailer == TRAILER_LEGACY;
    i->has_signed_by = pag_q_get_bytes(q, i->signed_by, sizeof i->signed_by) == sizeof i->signed_by;
    i->has_embedded_key =
        pag_q_get_bytes(q, i->embedded_key, sizeof i->embedded_key) == sizeof i->embedded_key;
    i->core = (uint32_t)pag_q_get_int(q);
    pag_q_get_text(q, i->file, sizeof i->file);
    i->flash_offset = pag_q_get_int(q);
    i->unpacked_bytes = (uint32_t)pag_q_get_int(q);
    pag_q_get_blob(q, i->payload_md5, sizeof i->payload_md5);
    i->created_ms = pag_q_get_int(q);
    i->detached_n = (uint8_t)pag_q_get_int(q);
}

#define IMAGE_COLUMNS                                                                                        \
    "id, release_id, name, kind, chip, bytes, sha256, md5, payload_bytes, project, version, hardware, "      \
    "identity_epoch, flash_size_bytes, flash_mode, gzip, trailer, signed_by, embedded_key, core, file, "     \
    "flash_offset, unpacked_bytes, payload_md5, created_ms"

enum pag_err pag_image_insert(struct pag_db *db, const char *product, const struct pag_release_image *i)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO image (product_id, " IMAGE_COLUMNS
                                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                                  "?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, product);
    pag_q_text(&q, i->id);
    pag_q_text(&q, i->release);
    pag_q_text(&q, i->name);
    pag_q_int(&q, i->kind);
    pag_q_int(&q, i->chip);
    pag_q_int(&q, (int64_t)i->bytes);
    pag_q_blob(&q, i->sha256, sizeof i->sha256);
    pag_q_blob(&q, i->md5, sizeof i->md5);
    pag_q_int(&q, i->payload_bytes);
    pag_q_text(&q, i->project);
    pag_q_text(&q, i->version);
    pag_q_text(&q, i->hardware);
    pag_q_int(&q, i->identity_epoch);
    pag_q_int(&q, i->flash_size_bytes);
    pag_q_int(&q, i->flash_mode);
    pag_q_int(&q, i->gzip);
    pag_q_int(&q, !i->trailer ? TRAILER_NONE : (i->trailer_legacy ? TRAILER_LEGACY : TRAILER_STANDARD));
    pag_q_blob(&q, i->signed_by, i->has_signed_by ? sizeof i->signed_by : 0);
    pag_q_blob(&q, i->embedded_key, i->has_embedded_key ? sizeof i->embedded_key : 0);
    pag_q_int(&q, i->core);
    pag_q_text(&q, i->file);
    pag_q_int(&q, i->flash_offset);
    pag_q_int(&q, i->unpacked_bytes);
    pag_q_blob(&q, i->payload_md5, sizeof i->payload_md5);
    pag_q_int(&q, i->created_ms);
    return pag_q_run(&q, NULL);
}

static enum pag_err images_of(struct pag_db *db, struct pag_release *r)
{
    struct pag_q q =
        pag_q_of(db, "SELECT " IMAGE_COLUMNS ", (SELECT COUNT(*) FROM image_detached d WHERE d.image_id = "
                     "image.id) FROM image WHERE release_id = ? ORDER BY name");
    pag_q_text(&q, r->id);
    while (r->image_n < PAG_RELEASE_IMAGES_MAX && pag_q_row(&q)) {
        image_read(&q, &r->image[r->image_n++]);
    }
    return pag_q_end(&q);
}

static size_t place_of(const struct pag_release *r, const char *image)
{
    size_t n = r->image_n < PAG_RELEASE_IMAGES_MAX ? r->image_n : PAG_RELEASE_IMAGES_MAX;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(r->image[i].name, image) == 0) {
            return i;
        }
    }
    return PAG_RELEASE_IMAGES_MAX;
}

static enum pag_err manifests_of(struct pag_db *db, struct pag_arena *arena, struct pag_release *r)
{
    struct pag_q q = pag_q_of(db, "SELECT image_name, digest, cose FROM manifest WHERE release_id = ?");
    pag_q_text(&q, r->id);
    while (pag_q_row(&q)) {
        char name[PAG_IMAGE_NAME_MAX + 1];
        pag_q_get_text(&q, name, sizeof name);
        size_t at = place_of(r, name);
        if (at < PAG_RELEASE_IMAGES_MAX) {
            pag_q_get_blob(&q, r->manifest_digest[at], sizeof r->manifest_digest[at]);
            r->manifest[at] = pag_q_get_span(&q, arena);
        }
    }
    return pag_q_end(&q);
}

enum pag_err pag_release_get(struct pag_db *db, struct pag_arena *arena, const char *id,
                             struct pag_release *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " RELEASE_COLUMNS " FROM release WHERE id = ?");
    pag_q_text(&q, id);
    if (pag_q_row(&q)) {
        release_read(&q, arena, out);
    }
    enum pag_err err = pag_q_end(&q);
    if (err != PAG_OK || !q.any) {
        return err != PAG_OK ? err : PAG_E_NOT_FOUND;
    }
    err = images_of(db, out);
    return err == PAG_OK ? manifests_of(db, arena, out) : err;
}

enum pag_err pag_release_next_sequence(struct pag_db *db, const char *product, uint32_t *out)
{
    struct pag_q q = pag_q_of(db, "SELECT COALESCE(MAX(sequence), 0) + 1 FROM release WHERE product_id = ?");
    pag_q_text(&q, product);
    int64_t next = pag_q_row(&q) ? pag_q_get_int(&q) : 0;
    enum pag_err err = pag_q_end(&q);
    if (err == PAG_OK && next > UINT32_MAX) {
        return PAG_E_RANGE;
    }
    *out = (uint32_t)next;
    return err;
}

enum pag_err pag_release_update(struct pag_db *db, const struct pag_release *r)
{
    struct pag_q q = pag_q_of(
        db, "UPDATE release SET state = ?, epoch = ?, published_ms = ?, withdrawn_ms = ? WHERE id = ?");
    pag_q_int(&q, r->state);
    pag_q_int(&q, r->epoch);
    pag_q_int(&q, r->published_ms);
    pag_q_int(&q, r->withdrawn_ms);
    pag_q_text(&q, r->id);
    return pag_q_run_one(&q);
}

static void bind_filter(struct pag_q *q, const struct pag_release_filter *f)
{
    pag_q_text(q, f->product);
    pag_q_text(q, f->product);
    pag_q_int(q, f->state);
    pag_q_int(q, f->state);
}

enum pag_err pag_release_list(struct pag_db *db, struct pag_arena *arena, const struct pag_release_filter *f,
                              struct pag_release **list, size_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT " RELEASE_COLUMNS " FROM release WHERE (? = '' OR product_id = ?) "
                     "AND (? < 0 OR state = ?) AND (created_ms < ? OR (created_ms = ? AND id < ?)) "
                     "ORDER BY created_ms DESC, id DESC LIMIT ?");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    bind_filter(&q, f);
    pag_q_int(&q, f->before_ms);
    pag_q_int(&q, f->before_ms);
    pag_q_text(&q, f->before_id);
    pag_q_int(&q, f->limit);
    while (pag_q_row(&q)) {
        struct pag_release *r = pag_list_grow(arena, &items, n, &cap, sizeof *r);
        if (r == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        release_read(&q, arena, r);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_release_total(struct pag_db *db, const struct pag_release_filter *f, uint64_t *total)
{
    struct pag_q q = pag_q_of(
        db, "SELECT COUNT(*) FROM release WHERE (? = '' OR product_id = ?) AND (? < 0 OR state = ?)");
    bind_filter(&q, f);
    *total = pag_q_row(&q) ? (uint64_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

static void count_state(struct pag_release_counts *c, enum pag_report_state state, uint32_t n)
{
    switch (state) {
    case PAG_REPORT_OFFERED:
    case PAG_REPORT_DEFERRED:
        c->offered += n;
        break;
    case PAG_REPORT_DOWNLOADING:
        c->downloading += n;
        break;
    case PAG_REPORT_DOWNLOADED:
    case PAG_REPORT_INSTALLING:
    case PAG_REPORT_REBOOTING:
        c->installing += n;
        break;
    case PAG_REPORT_CONFIRMED:
        c->confirmed += n;
        break;
    case PAG_REPORT_FAILED:
    case PAG_REPORT_REJECTED:
        c->failed += n;
        break;
    case PAG_REPORT_REVERTED:
        c->reverted += n;
        break;
    case PAG_REPORT_CANCELLED:
        break;
    }
}

enum pag_err pag_release_count(struct pag_db *db, const char *id, struct pag_release_counts *out)
{
    _Static_assert(PAG_REPORT_CANCELLED == 10, "the number in this statement");
    struct pag_q q = pag_q_of(
        db,
        "SELECT state, COUNT(*) FROM (SELECT state, ROW_NUMBER() OVER (PARTITION BY device_id ORDER BY "
        "created_ms DESC, changed_ms DESC) AS nth FROM action WHERE release_id = ? AND state <> 10) AS last "
        "WHERE nth = 1 GROUP BY state");
    memset(out, 0, sizeof *out);
    pag_q_text(&q, id);
    while (pag_q_row(&q)) {
        enum pag_report_state state = (enum pag_report_state)pag_q_get_int(&q);
        count_state(out, state, (uint32_t)pag_q_get_int(&q));
    }
    return pag_q_end(&q);
}

/* ---- what hangs on a release ---- */

enum pag_err pag_blob_insert(struct pag_db *db, const uint8_t sha256[PAG_SHA256_BYTES], uint64_t bytes,
                             int64_t now_ms)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO blob (sha256, bytes, created_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
    pag_q_blob(&q, sha256, PAG_SHA256_BYTES);
    pag_q_int(&q, (int64_t)bytes);
    pag_q_int(&q, now_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_image_md5_insert(struct pag_db *db, const char *product, const char *image,
                                  const struct pag_md5_form *form)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO image_identity_md5 (product_id, md5, image_id, flash_mode) "
                                  "VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING");
    pag_q_text(&q, product);
    pag_q_blob(&q, form->md5, sizeof form->md5);
    pag_q_text(&q, image);
    pag_q_int(&q, form->flash_mode);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_image_signature_insert(struct pag_db *db, const char *image,
                                        const uint8_t key[PAG_KEY_ID_BYTES])
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO image_signature (image_id, key_id) VALUES (?, ?) ON CONFLICT DO NOTHING");
    pag_q_text(&q, image);
    pag_q_blob(&q, key, PAG_KEY_ID_BYTES);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_manifest_insert(struct pag_db *db, const char *release, const char *image,
                                 const uint8_t digest[PAG_SHA256_BYTES], struct pag_span cose, int64_t now_ms)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO manifest (release_id, image_name, digest, cose, created_ms) "
                     "VALUES (?, ?, ?, ?, ?) ON CONFLICT (release_id, image_name) DO UPDATE SET "
                     "digest = excluded.digest, cose = excluded.cose, created_ms = excluded.created_ms");
    pag_q_text(&q, release);
    pag_q_text(&q, image);
    pag_q_blob(&q, digest, PAG_SHA256_BYTES);
    pag_q_span(&q, cose);
    pag_q_int(&q, now_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_permit_put(struct pag_db *db, const char *product, const struct pag_plan_permit *p,
                            int64_t now_ms)
{
    struct pag_q q = pag_q_of(
        db, "INSERT INTO permit (product_id, from_sequence, to_sequence, expires_s, cose, created_ms) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (product_id, from_sequence, to_sequence) "
            "DO UPDATE SET expires_s = excluded.expires_s, cose = excluded.cose");
    pag_q_text(&q, product);
    pag_q_int(&q, p->from_sequence);
    pag_q_int(&q, p->to_sequence);
    pag_q_int(&q, (int64_t)p->expires_at);
    pag_q_span(&q, p->cose);
    pag_q_int(&q, now_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_release_of_image(struct pag_db *db, const char *product,
                                  const uint8_t sha256[PAG_SHA256_BYTES], char version[PAG_VERSION_MAX + 1],
                                  uint32_t *sequence)
{
    struct pag_q q = pag_q_of(db, "SELECT r.version, r.sequence FROM image i JOIN release r "
                                  "ON r.id = i.release_id WHERE i.sha256 = ? AND i.product_id = ? "
                                  "ORDER BY r.sequence DESC LIMIT 1");
    pag_q_blob(&q, sha256, PAG_SHA256_BYTES);
    pag_q_text(&q, product);
    if (pag_q_row(&q)) {
        pag_q_get_text(&q, version, PAG_VERSION_MAX + 1);
        *sequence = (uint32_t)pag_q_get_int(&q);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}
