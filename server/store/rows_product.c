#include <string.h>

#include "core/bytes.h"
#include "server/store/rows.h"

void *pag_list_grow(struct pag_arena *arena, void **list, size_t *n, size_t *cap, size_t size)
{
    if (*n == *cap) {
        size_t bigger = *cap == 0 ? 8 : *cap * 2;
        void *room = pag_arena_alloc(arena, bigger * size);
        if (room == NULL) {
            return NULL;
        }
        if (*n > 0) {
            memcpy(room, *list, *n * size);
        }
        *list = room;
        *cap = bigger;
    }
    return (uint8_t *)*list + (*n)++ * size;
}

#define PRODUCT_COLUMNS                                                                                      \
    "id, name, chip, hardware, flash_bytes, slot_bytes, poll_s, legacy_auth, plain_http, max_serves, "       \
    "topic_command, "                                                                                        \
    "topic_status, topic_will, core, trust_version, created_ms, revision"

static void hardware_join(const struct pag_product *p, char *out, size_t cap)
{
    struct pag_buf b = { (uint8_t *)out, 0, cap - 1 };
    for (size_t i = 0; i < p->hardware_n; i++) {
        if (i > 0) {
            (void)pag_buf_put_u8(&b, ',');
        }
        (void)pag_buf_put_str(&b, p->hardware[i]);
    }
    out[b.n] = '\0';
}

static void hardware_split(const char *text, struct pag_product *p)
{
    struct pag_span s = pag_span_str(text);
    for (size_t at = 0; at < s.n && p->hardware_n < PAG_PRODUCT_HARDWARE_MAX;) {
        size_t end = pag_span_find(s, at, ',');
        if (pag_text_copy(p->hardware[p->hardware_n], sizeof p->hardware[0],
                          pag_span_of(s.p + at, end - at)) == PAG_OK) {
            p->hardware_n++;
        }
        at = end + 1;
    }
}

static void product_read(struct pag_q *q, struct pag_product *p)
{
    char hardware[PAG_PRODUCT_HARDWARE_MAX * (PAG_HARDWARE_ID_MAX + 1) + 1];
    memset(p, 0, sizeof *p);
    pag_q_get_text(q, p->id, sizeof p->id);
    (void)pag_parse_hex(pag_span_str(p->id), p->id_bytes, sizeof p->id_bytes);
    pag_q_get_text(q, p->name, sizeof p->name);
    p->chip = (enum pag_chip)pag_q_get_int(q);
    pag_q_get_text(q, hardware, sizeof hardware);
    hardware_split(hardware, p);
    p->flash_bytes = (uint32_t)pag_q_get_int(q);
    p->slot_bytes = (uint32_t)pag_q_get_int(q);
    p->settings.poll_s = (uint32_t)pag_q_get_int(q);
    p->settings.legacy_auth = (enum pag_legacy_auth)pag_q_get_int(q);
    p->settings.plain_http = pag_q_get_int(q) != 0;
    p->settings.max_serves = (uint32_t)pag_q_get_int(q);
    pag_q_get_text(q, p->settings.topic_command, sizeof p->settings.topic_command);
    pag_q_get_text(q, p->settings.topic_status, sizeof p->settings.topic_status);
    pag_q_get_text(q, p->settings.topic_will, sizeof p->settings.topic_will);
    p->settings.core = (uint32_t)pag_q_get_int(q);
    p->trust_version = (uint32_t)pag_q_get_int(q);
    p->created_ms = pag_q_get_int(q);
    p->revision = (uint32_t)pag_q_get_int(q);
}

static void bind_settings(struct pag_q *q, const struct pag_product_settings *s)
{
    pag_q_int(q, s->poll_s);
    pag_q_int(q, s->legacy_auth);
    pag_q_int(q, s->plain_http);
    pag_q_int(q, s->max_serves);
    pag_q_text(q, s->topic_command);
    pag_q_text(q, s->topic_status);
    pag_q_text(q, s->topic_will);
    pag_q_int(q, s->core);
}

enum pag_err pag_product_insert(struct pag_db *db, const struct pag_product *p)
{
    char hardware[PAG_PRODUCT_HARDWARE_MAX * (PAG_HARDWARE_ID_MAX + 1) + 1];
    struct pag_q q = pag_q_of(db, "INSERT INTO product (" PRODUCT_COLUMNS
                                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    hardware_join(p, hardware, sizeof hardware);
    pag_q_text(&q, p->id);
    pag_q_text(&q, p->name);
    pag_q_int(&q, p->chip);
    pag_q_text(&q, hardware);
    pag_q_int(&q, p->flash_bytes);
    pag_q_int(&q, p->slot_bytes);
    bind_settings(&q, &p->settings);
    pag_q_int(&q, p->trust_version);
    pag_q_int(&q, p->created_ms);
    pag_q_int(&q, 1);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_product_update(struct pag_db *db, const struct pag_product *p)
{
    struct pag_q q =
        pag_q_of(db, "UPDATE product SET poll_s = ?, legacy_auth = ?, plain_http = ?, max_serves = ?, "
                     "topic_command = ?, topic_status = ?, topic_will = ?, core = ?, trust_version = ?, "
                     "revision = revision + 1 WHERE id = ? AND revision = ?");
    bind_settings(&q, &p->settings);
    pag_q_int(&q, p->trust_version);
    pag_q_text(&q, p->id);
    pag_q_int(&q, p->revision);
    return pag_q_run_one(&q);
}

enum pag_err pag_product_get(struct pag_db *db, const char *name_or_id, struct pag_product *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " PRODUCT_COLUMNS " FROM product WHERE id = ? OR name = ?");
    pag_q_text(&q, name_or_id);
    pag_q_text(&q, name_or_id);
    if (pag_q_row(&q)) {
        product_read(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_product_list(struct pag_db *db, struct pag_arena *arena, struct pag_product **list,
                              size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT " PRODUCT_COLUMNS " FROM product ORDER BY name");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    while (pag_q_row(&q)) {
        struct pag_product *p = pag_list_grow(arena, &items, n, &cap, sizeof *p);
        if (p == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        product_read(&q, p);
    }
    *list = items;
    return pag_q_end(&q);
}

/* ---- trust sets ---- */

static void trust_read(struct pag_q *q, struct pag_arena *arena, struct pag_trust_record *t)
{
    t->version = (uint32_t)pag_q_get_int(q);
    pag_q_get_blob(q, t->digest, sizeof t->digest);
    t->cose = pag_q_get_span(q, arena);
    t->expires_s = (uint64_t)pag_q_get_int(q);
    t->created_ms = pag_q_get_int(q);
}

enum pag_err pag_trust_insert(struct pag_db *db, const char *product, const struct pag_trust_record *t)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO trust_set (product_id, version, digest, cose, expires_s, created_ms) "
                     "VALUES (?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, product);
    pag_q_int(&q, t->version);
    pag_q_blob(&q, t->digest, sizeof t->digest);
    pag_q_span(&q, t->cose);
    pag_q_int(&q, (int64_t)t->expires_s);
    pag_q_int(&q, t->created_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_trust_row(struct pag_db *db, struct pag_arena *arena, const char *product, uint32_t version,
                           struct pag_trust_record *out)
{
    struct pag_q q =
        version == 0
            ? pag_q_of(
                  db,
                  "SELECT version, digest, cose, expires_s, created_ms FROM trust_set WHERE product_id = ? "
                  "ORDER BY version DESC LIMIT 1")
            : pag_q_of(
                  db,
                  "SELECT version, digest, cose, expires_s, created_ms FROM trust_set WHERE product_id = ? "
                  "AND version = ?");
    pag_q_text(&q, product);
    if (version != 0) {
        pag_q_int(&q, version);
    }
    if (pag_q_row(&q)) {
        trust_read(&q, arena, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_trust_rows(struct pag_db *db, struct pag_arena *arena, const char *product,
                            struct pag_trust_record **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT version, digest, cose, expires_s, created_ms FROM trust_set WHERE "
                                  "product_id = ? ORDER BY version");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, product);
    while (pag_q_row(&q)) {
        struct pag_trust_record *t = pag_list_grow(arena, &items, n, &cap, sizeof *t);
        if (t == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        trust_read(&q, arena, t);
    }
    *list = items;
    return pag_q_end(&q);
}
