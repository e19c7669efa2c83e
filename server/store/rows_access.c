#include <string.h>

#include "server/store/rows.h"

/* ---- claims ---- */

static void code_read(struct pag_q *q, struct pag_claim_code *c)
{
    pag_q_get_text(q, c->id, sizeof c->id);
    pag_q_get_text(q, c->product, sizeof c->product);
    pag_q_get_blob(q, c->sha256, sizeof c->sha256);
    c->uses = (uint32_t)pag_q_get_int(q);
    c->uses_left = (uint32_t)pag_q_get_int(q);
    pag_q_get_text(q, c->mac, sizeof c->mac);
    c->created_ms = pag_q_get_int(q);
    c->expires_ms = pag_q_get_int(q);
    pag_q_get_text(q, c->actor, sizeof c->actor);
    pag_q_get_text(q, c->name, sizeof c->name);
    pag_q_get_text(q, c->tags, sizeof c->tags);
}

#define CODE_COLUMNS "id, product_id, sha256, uses, uses_left, mac, created_ms, expires_ms, actor, name, tags"

enum pag_err pag_code_insert(struct pag_db *db, const struct pag_claim_code *c)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO enrollment_code (" CODE_COLUMNS
                                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, c->id);
    pag_q_text(&q, c->product);
    pag_q_blob(&q, c->sha256, sizeof c->sha256);
    pag_q_int(&q, c->uses);
    pag_q_int(&q, c->uses_left);
    pag_q_text(&q, c->mac);
    pag_q_int(&q, c->created_ms);
    pag_q_int(&q, c->expires_ms);
    pag_q_text(&q, c->actor);
    pag_q_text(&q, c->name);
    pag_q_text(&q, c->tags);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_code_by_sha256(struct pag_db *db, const uint8_t sha256[PAG_SHA256_BYTES],
                                struct pag_claim_code *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " CODE_COLUMNS " FROM enrollment_code WHERE sha256 = ?");
    pag_q_blob(&q, sha256, PAG_SHA256_BYTES);
    if (pag_q_row(&q)) {
        code_read(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_code_redeem(struct pag_db *db, const char *id, int64_t now_ms)
{
    struct pag_q q = pag_q_of(db, "UPDATE enrollment_code SET uses_left = uses_left - 1 "
                                  "WHERE id = ? AND uses_left > 0 AND expires_ms > ?");
    pag_q_text(&q, id);
    pag_q_int(&q, now_ms);
    return pag_q_run_one(&q);
}

enum pag_err pag_code_remove(struct pag_db *db, const char *id)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM enrollment_code WHERE id = ?");
    pag_q_text(&q, id);
    enum pag_err err = pag_q_run_one(&q);
    return err == PAG_E_CONFLICT ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_code_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                           struct pag_claim_code **list, size_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT " CODE_COLUMNS " FROM enrollment_code WHERE (? = '' OR product_id = ?) "
                     "ORDER BY created_ms DESC, id DESC LIMIT 10000");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    while (pag_q_row(&q)) {
        struct pag_claim_code *c = pag_list_grow(arena, &items, n, &cap, sizeof *c);
        if (c == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        code_read(&q, c);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_redeemed_put(struct pag_db *db, const struct pag_redeemed *r)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO enrollment (code_sha256, key_sha256, device_id, serial, at_ms) "
                     "VALUES (?, ?, ?, ?, ?) ON CONFLICT (code_sha256, key_sha256) DO UPDATE SET "
                     "device_id = excluded.device_id, serial = excluded.serial, at_ms = excluded.at_ms");
    pag_q_blob(&q, r->code, sizeof r->code);
    pag_q_blob(&q, r->key, sizeof r->key);
    pag_q_text(&q, r->device);
    pag_q_blob(&q, r->serial, r->serial_n);
    pag_q_int(&q, r->at_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_redeemed_get(struct pag_db *db, const uint8_t code[PAG_SHA256_BYTES],
                              const uint8_t key[PAG_SHA256_BYTES], struct pag_redeemed *out)
{
    struct pag_q q = pag_q_of(
        db, "SELECT device_id, serial, at_ms FROM enrollment WHERE code_sha256 = ? AND key_sha256 = ?");
    pag_q_blob(&q, code, PAG_SHA256_BYTES);
    pag_q_blob(&q, key, PAG_SHA256_BYTES);
    if (pag_q_row(&q)) {
        memcpy(out->code, code, PAG_SHA256_BYTES);
        memcpy(out->key, key, PAG_SHA256_BYTES);
        pag_q_get_text(&q, out->device, sizeof out->device);
        out->serial_n = pag_q_get_bytes(&q, out->serial, sizeof out->serial);
        out->at_ms = pag_q_get_int(&q);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

/* ---- certificates ---- */

#define CERT_COLUMNS                                                                                         \
    "serial, device_id, product_id, key_sha256, fingerprint, not_before_ms, not_after_ms, issued_ms, "       \
    "revoked_ms"

static void cert_read(struct pag_q *q, struct pag_cert_row *c)
{
    memset(c, 0, sizeof *c);
    c->serial_n = pag_q_get_bytes(q, c->serial, sizeof c->serial);
    pag_q_get_text(q, c->device, sizeof c->device);
    pag_q_get_text(q, c->product, sizeof c->product);
    pag_q_get_blob(q, c->key, sizeof c->key);
    pag_q_get_blob(q, c->fingerprint, sizeof c->fingerprint);
    c->not_before_ms = pag_q_get_int(q);
    c->not_after_ms = pag_q_get_int(q);
    c->issued_ms = pag_q_get_int(q);
    c->revoked_ms = pag_q_get_int(q);
}

enum pag_err pag_cert_insert(struct pag_db *db, const struct pag_cert_row *c)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO certificate (" CERT_COLUMNS ", der, issuer) "
                                  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_blob(&q, c->serial, c->serial_n);
    pag_q_text(&q, c->device);
    pag_q_text(&q, c->product);
    pag_q_blob(&q, c->key, sizeof c->key);
    pag_q_blob(&q, c->fingerprint, sizeof c->fingerprint);
    pag_q_int(&q, c->not_before_ms);
    pag_q_int(&q, c->not_after_ms);
    pag_q_int(&q, c->issued_ms);
    pag_q_int(&q, c->revoked_ms);
    pag_q_span(&q, c->der);
    pag_q_blob(&q, c->issuer, sizeof c->issuer);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_cert_of_others(struct pag_db *db, const uint8_t issuer[PAG_ISSUER_BYTES], int64_t now_ms,
                                uint64_t *n)
{
    struct pag_q q = pag_q_of(
        db, "SELECT COUNT(*) FROM device JOIN certificate ON certificate.serial = device.cert_serial "
            "WHERE device.revoked_ms = 0 AND certificate.revoked_ms = 0 AND not_after_ms > ? "
            "AND issuer <> ?");
    pag_q_int(&q, now_ms);
    pag_q_blob(&q, issuer, PAG_ISSUER_BYTES);
    if (pag_q_row(&q)) {
        *n = (uint64_t)pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}

enum pag_err pag_clone_last(struct pag_db *db, const char *device, int64_t *at_ms)
{
    struct pag_q q = pag_q_of(db, "SELECT COALESCE(MAX(at_ms), 0) FROM event WHERE device_id = ? "
                                  "AND type = 'device.clone_suspected'");
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        *at_ms = pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}

enum pag_err pag_clone_count(struct pag_db *db, const char *product, int64_t since_ms, uint64_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(DISTINCT device_id) FROM event "
                                  "WHERE type = 'device.clone_suspected' AND at_ms > ? "
                                  "AND (? = '' OR product_id = ?)");
    pag_q_int(&q, since_ms);
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    if (pag_q_row(&q)) {
        *n = (uint64_t)pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}

enum pag_err pag_cert_ending(struct pag_db *db, const char *product, int64_t now_ms, int64_t within_ms,
                             struct pag_cert_ending *out)
{
    struct pag_q q = pag_q_of(
        db, "SELECT COALESCE(SUM(not_after_ms > ?), 0), COALESCE(SUM(not_after_ms <= ?), 0) FROM certificate "
            "JOIN device ON device.cert_serial = certificate.serial WHERE certificate.revoked_ms = 0 "
            "AND device.revoked_ms = 0 AND not_after_ms < ? AND (? = '' OR certificate.product_id = ?) "
            "AND (not_after_ms - ?) * 3 <= not_after_ms - not_before_ms");
    pag_q_int(&q, now_ms);
    pag_q_int(&q, now_ms);
    pag_q_int(&q, now_ms + within_ms);
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    pag_q_int(&q, now_ms);
    if (pag_q_row(&q)) {
        out->due = (uint64_t)pag_q_get_int(&q);
        out->expired = (uint64_t)pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}

enum pag_err pag_cert_get(struct pag_db *db, struct pag_arena *arena, const uint8_t *serial, size_t n,
                          struct pag_cert_row *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " CERT_COLUMNS ", der FROM certificate WHERE serial = ?");
    pag_q_blob(&q, serial, n);
    if (pag_q_row(&q)) {
        cert_read(&q, out);
        out->der = pag_q_get_span(&q, arena);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_cert_key_taken(struct pag_db *db, const uint8_t key[PAG_SHA256_BYTES], const char *device,
                                bool *taken)
{
    struct pag_q q =
        pag_q_of(db, "SELECT 1 FROM certificate WHERE key_sha256 = ? AND device_id <> ? LIMIT 1");
    pag_q_blob(&q, key, PAG_SHA256_BYTES);
    pag_q_text(&q, device);
    *taken = pag_q_row(&q);
    return pag_q_end(&q);
}

enum pag_err pag_cert_live(struct pag_db *db, const char *device, const uint8_t key[PAG_SHA256_BYTES],
                           int64_t now_ms, bool *live, bool *same_key)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(*), COALESCE(SUM(key_sha256 = ?), 0) FROM certificate "
                                  "WHERE device_id = ? AND revoked_ms = 0 AND not_after_ms > ?");
    pag_q_blob(&q, key, PAG_SHA256_BYTES);
    pag_q_text(&q, device);
    pag_q_int(&q, now_ms);
    if (pag_q_row(&q)) {
        *live = pag_q_get_int(&q) > 0;
        *same_key = pag_q_get_int(&q) > 0;
    }
    return pag_q_end(&q);
}

static enum pag_err cert_rows(struct pag_q *q, struct pag_arena *arena, struct pag_cert_row **list, size_t *n)
{
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    while (pag_q_row(q)) {
        struct pag_cert_row *c = pag_list_grow(arena, &items, n, &cap, sizeof *c);
        if (c == NULL) {
            q->err = PAG_E_LIMIT;
            break;
        }
        cert_read(q, c);
    }
    *list = items;
    return pag_q_end(q);
}

/* Which index serves depends on whether a device is named. */
static struct pag_q of_filter(struct pag_db *db, const struct pag_cert_filter *f, const char *of_device,
                              const char *of_all)
{
    bool one = f->device[0] != '\0';
    struct pag_q q = pag_q_of(db, one ? of_device : of_all);
    if (one) {
        pag_q_text(&q, f->device);
    }
    pag_q_text(&q, f->product);
    pag_q_text(&q, f->product);
    return q;
}

#define CERT_OF_DEVICE " FROM certificate WHERE device_id = ? AND (? = '' OR product_id = ?)"
#define CERT_OF_ALL    " FROM certificate WHERE (? = '' OR product_id = ?)"
#define CERT_PAGE                                                                                            \
    " AND (? = 0 OR (issued_ms, serial) < (SELECT c.issued_ms, c.serial FROM certificate c "                 \
    "WHERE c.serial = ?)) ORDER BY issued_ms DESC, serial DESC LIMIT ?"

enum pag_err pag_cert_list(struct pag_db *db, struct pag_arena *arena, const struct pag_cert_filter *f,
                           uint32_t limit, struct pag_cert_row **list, size_t *n)
{
    struct pag_q q = of_filter(db, f, "SELECT " CERT_COLUMNS CERT_OF_DEVICE CERT_PAGE,
                               "SELECT " CERT_COLUMNS CERT_OF_ALL CERT_PAGE);
    pag_q_int(&q, f->after != NULL);
    pag_q_blob(&q, f->after, f->after_n);
    pag_q_int(&q, limit);
    return cert_rows(&q, arena, list, n);
}

enum pag_err pag_cert_total(struct pag_db *db, const struct pag_cert_filter *f, uint64_t *total)
{
    struct pag_q q = of_filter(db, f, "SELECT COUNT(*)" CERT_OF_DEVICE, "SELECT COUNT(*)" CERT_OF_ALL);
    *total = pag_q_row(&q) ? (uint64_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_cert_revoked(struct pag_db *db, struct pag_arena *arena, int64_t now_ms,
                              struct pag_cert_row **list, size_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT " CERT_COLUMNS " FROM certificate WHERE revoked_ms > 0 AND not_after_ms > ? "
                     "ORDER BY revoked_ms");
    pag_q_int(&q, now_ms);
    return cert_rows(&q, arena, list, n);
}

enum pag_err pag_cert_revoke(struct pag_db *db, const char *device, int64_t now_ms)
{
    struct pag_q q =
        pag_q_of(db, "UPDATE certificate SET revoked_ms = ? WHERE device_id = ? AND revoked_ms = 0");
    pag_q_int(&q, now_ms);
    pag_q_text(&q, device);
    return pag_q_run(&q, NULL);
}

/* ---- tokens ---- */

#define TOKEN_COLUMNS "id, name, role, product_id, sha256, created_ms, expires_ms, last_used_ms, revoked_ms"

static void token_read(struct pag_q *q, struct pag_access_token *t)
{
    memset(t, 0, sizeof *t);
    pag_q_get_text(q, t->id, sizeof t->id);
    pag_q_get_text(q, t->name, sizeof t->name);
    t->role = (enum pag_role)pag_q_get_int(q);
    pag_q_get_text(q, t->product, sizeof t->product);
    pag_q_get_blob(q, t->sha256, sizeof t->sha256);
    t->created_ms = pag_q_get_int(q);
    t->expires_ms = pag_q_get_int(q);
    t->last_used_ms = pag_q_get_int(q);
    t->revoked_ms = pag_q_get_int(q);
}

enum pag_err pag_token_row_insert(struct pag_db *db, const struct pag_access_token *t)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO token (" TOKEN_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, t->id);
    pag_q_text(&q, t->name);
    pag_q_int(&q, t->role);
    pag_q_text(&q, t->product);
    pag_q_blob(&q, t->sha256, sizeof t->sha256);
    pag_q_int(&q, t->created_ms);
    pag_q_int(&q, t->expires_ms);
    pag_q_int(&q, t->last_used_ms);
    pag_q_int(&q, t->revoked_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_token_row_get(struct pag_db *db, const char *id, struct pag_access_token *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " TOKEN_COLUMNS " FROM token WHERE id = ?");
    pag_q_text(&q, id);
    if (pag_q_row(&q)) {
        token_read(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_token_row_revoke(struct pag_db *db, const char *id, int64_t now_ms)
{
    struct pag_q q = pag_q_of(db, "UPDATE token SET revoked_ms = ? WHERE id = ? AND revoked_ms = 0");
    pag_q_int(&q, now_ms);
    pag_q_text(&q, id);
    enum pag_err err = pag_q_run_one(&q);
    return err == PAG_E_CONFLICT ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_token_row_list(struct pag_db *db, struct pag_arena *arena, struct pag_access_token **list,
                                size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT " TOKEN_COLUMNS
                                  " FROM token WHERE revoked_ms = 0 ORDER BY created_ms, id LIMIT 10000");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    while (pag_q_row(&q)) {
        struct pag_access_token *t = pag_list_grow(arena, &items, n, &cap, sizeof *t);
        if (t == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        token_read(&q, t);
    }
    *list = items;
    return pag_q_end(&q);
}

/* ---- public keys ---- */

enum pag_err pag_key_row_put(struct pag_db *db, const struct pag_key_row *k)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO public_key (id, name, purpose, pem, created_ms, product_id) "
                     "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, "
                     "purpose = excluded.purpose, product_id = excluded.product_id");
    pag_q_text(&q, k->id);
    pag_q_text(&q, k->name);
    pag_q_text(&q, k->use);
    pag_q_text(&q, k->pem);
    pag_q_int(&q, k->created_ms);
    pag_q_text(&q, k->product);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_key_row_list(struct pag_db *db, struct pag_arena *arena, struct pag_key_row **list,
                              size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT id, name, purpose, pem, created_ms, product_id FROM public_key "
                                  "ORDER BY created_ms, id");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    while (pag_q_row(&q)) {
        struct pag_key_row *k = pag_list_grow(arena, &items, n, &cap, sizeof *k);
        if (k == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        pag_q_get_text(&q, k->id, sizeof k->id);
        pag_q_get_text(&q, k->name, sizeof k->name);
        pag_q_get_text(&q, k->use, sizeof k->use);
        k->pem = pag_q_get_str(&q, arena);
        k->created_ms = pag_q_get_int(&q);
        pag_q_get_text(&q, k->product, sizeof k->product);
    }
    *list = items;
    return pag_q_end(&q);
}

/* ---- repeated POSTs ---- */

static enum pag_err answer_write(struct pag_db *db, const char *sql, const struct pag_answer *a)
{
    struct pag_q q = pag_q_of(db, sql);
    pag_q_text(&q, a->token);
    pag_q_text(&q, a->route);
    pag_q_text(&q, a->key);
    pag_q_blob(&q, a->body_sha256, sizeof a->body_sha256);
    pag_q_int(&q, a->status);
    pag_q_span(&q, a->body);
    pag_q_int(&q, a->at_ms);
    return pag_q_run(&q, NULL);
}

#define ANSWER_INSERT                                                                                        \
    "INSERT INTO idempotency (token_id, route, key, body_sha256, status, body, at_ms) "                      \
    "VALUES (?, ?, ?, ?, ?, ?, ?)"

enum pag_err pag_answer_take(struct pag_db *db, const struct pag_answer *a)
{
    return answer_write(db, ANSWER_INSERT, a);
}

enum pag_err pag_answer_put(struct pag_db *db, const struct pag_answer *a)
{
    return answer_write(db,
                        ANSWER_INSERT " ON CONFLICT (token_id, route, key) DO UPDATE SET "
                                      "status = excluded.status, body = excluded.body",
                        a);
}

enum pag_err pag_answer_get(struct pag_db *db, struct pag_arena *arena, struct pag_answer *io)
{
    struct pag_q q = pag_q_of(db, "SELECT body_sha256, status, body, at_ms FROM idempotency "
                                  "WHERE token_id = ? AND route = ? AND key = ?");
    uint8_t wanted[PAG_SHA256_BYTES];
    memcpy(wanted, io->body_sha256, sizeof wanted);
    pag_q_text(&q, io->token);
    pag_q_text(&q, io->route);
    pag_q_text(&q, io->key);
    if (pag_q_row(&q)) {
        pag_q_get_blob(&q, io->body_sha256, sizeof io->body_sha256);
        io->status = (uint32_t)pag_q_get_int(&q);
        io->body = pag_q_get_span(&q, arena);
        io->at_ms = pag_q_get_int(&q);
    }
    enum pag_err err = pag_q_end(&q);
    if (err == PAG_OK && q.any && memcmp(wanted, io->body_sha256, sizeof wanted) != 0) {
        err = PAG_E_CONFLICT;
    }
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_answer_sweep(struct pag_db *db, int64_t before_ms)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM idempotency WHERE at_ms < ?");
    pag_q_int(&q, before_ms);
    return pag_q_run(&q, NULL);
}

/* ---- events ---- */

static enum pag_err event_rows(struct pag_q *q, struct pag_arena *arena, struct pag_event **list, size_t *n)
{
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    while (pag_q_row(q)) {
        struct pag_event *e = pag_list_grow(arena, &items, n, &cap, sizeof *e);
        if (e == NULL) {
            q->err = PAG_E_LIMIT;
            break;
        }
        e->seq = pag_q_get_int(q);
        e->at_ms = pag_q_get_int(q);
        e->type = pag_q_get_str(q, arena);
        pag_q_get_text(q, e->product, sizeof e->product);
        pag_q_get_text(q, e->device, sizeof e->device);
        pag_q_get_text(q, e->actor, sizeof e->actor);
        e->data = pag_q_get_span(q, arena);
    }
    *list = items;
    return pag_q_end(q);
}

#define EVENT_COLUMNS "SELECT seq, at_ms, type, product_id, device_id, actor, data FROM event "

enum pag_err pag_event_after(struct pag_db *db, struct pag_arena *arena, const struct pag_event_cursor *from,
                             struct pag_event **list, size_t *n)
{
    bool one = from->product[0] != '\0';
    struct pag_q q = pag_q_of(db, one ? EVENT_COLUMNS "WHERE product_id = ? AND seq > ? ORDER BY seq LIMIT ?"
                                      : EVENT_COLUMNS "WHERE ? = '' AND seq > ? ORDER BY seq LIMIT ?");
    pag_q_text(&q, from->product);
    pag_q_int(&q, from->after);
    pag_q_int(&q, from->limit);
    return event_rows(&q, arena, list, n);
}

enum pag_err pag_event_of_device(struct pag_db *db, struct pag_arena *arena,
                                 const struct pag_event_page *page, struct pag_event **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, EVENT_COLUMNS "WHERE device_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?");
    pag_q_text(&q, page->device);
    pag_q_int(&q, page->before > 0 ? page->before : INT64_MAX);
    pag_q_int(&q, page->limit);
    return event_rows(&q, arena, list, n);
}

enum pag_err pag_event_total_of_device(struct pag_db *db, const char *device, uint64_t *total)
{
    struct pag_q q = pag_q_of(db, "SELECT COUNT(*) FROM event WHERE device_id = ?");
    pag_q_text(&q, device);
    *total = pag_q_row(&q) ? (uint64_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_event_tail(struct pag_db *db, const char *product, uint32_t limit, int64_t *after)
{
    bool one = product[0] != '\0';
    struct pag_q q = pag_q_of(
        db, one ? "SELECT COALESCE(MIN(seq) - 1, 0) FROM (SELECT seq FROM event WHERE product_id = ? "
                  "ORDER BY seq DESC LIMIT ?) AS newest"
                : "SELECT COALESCE(MIN(seq) - 1, 0) FROM (SELECT seq FROM event WHERE ? = '' "
                  "ORDER BY seq DESC LIMIT ?) AS newest");
    pag_q_text(&q, product);
    pag_q_int(&q, limit);
    *after = pag_q_row(&q) ? pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_event_newest(struct pag_db *db, int64_t *seq)
{
    struct pag_q q = pag_q_of(db, "SELECT COALESCE(MAX(seq), 0) FROM event");
    *seq = pag_q_row(&q) ? pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}
