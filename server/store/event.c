#include <openssl/evp.h>
#include <string.h>

#include "core/bytes.h"
#include "server/store/internal.h"

enum { EVENT_JSON_MAX = 6144 };

/* ---- fields as one JSON object ---- */

static enum pag_err put_escaped(struct pag_buf *b, struct pag_span s)
{
    static const char hex[] = "0123456789abcdef";
    enum pag_err err = pag_buf_put_u8(b, '"');
    bool utf8 = pag_utf8_ok(s);
    for (size_t i = 0; i < s.n && err == PAG_OK; i++) {
        uint8_t c = s.p[i];
        if (c == '"' || c == '\\') {
            err = pag_buf_put_u8(b, '\\');
            err = err == PAG_OK ? pag_buf_put_u8(b, c) : err;
        } else if (c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8)) {
            err = pag_buf_put_str(b, "\\u00");
            err = err == PAG_OK ? pag_buf_put_u8(b, (uint8_t)hex[c >> 4U]) : err;
            err = err == PAG_OK ? pag_buf_put_u8(b, (uint8_t)hex[c & 15U]) : err;
        } else {
            err = pag_buf_put_u8(b, c);
        }
    }
    return err == PAG_OK ? pag_buf_put_u8(b, '"') : err;
}

static enum pag_err put_i64(struct pag_buf *b, int64_t v)
{
    if (v >= 0) {
        return pag_buf_put_dec(b, (uint64_t)v);
    }
    enum pag_err err = pag_buf_put_u8(b, '-');
    return err == PAG_OK ? pag_buf_put_dec(b, (uint64_t)0 - (uint64_t)v) : err;
}

static enum pag_err put_value(struct pag_buf *b, const struct pag_field *f)
{
    enum pag_err err = PAG_OK;
    switch (f->type) {
    case PAG_FIELD_STR:
        return f->str != NULL ? put_escaped(b, pag_span_str(f->str)) : pag_buf_put_str(b, "null");
    case PAG_FIELD_U64:
        return pag_buf_put_dec(b, f->u64);
    case PAG_FIELD_I64:
        return put_i64(b, f->i64);
    case PAG_FIELD_SPAN:
        return put_escaped(b, f->span);
    case PAG_FIELD_HEX:
        err = pag_buf_put_u8(b, '"');
        err = err == PAG_OK ? pag_buf_put_hex(b, f->span) : err;
        return err == PAG_OK ? pag_buf_put_u8(b, '"') : err;
    }
    return PAG_E_INTERNAL;
}

static enum pag_err fields_json(struct pag_buf *b, const struct pag_field *field, size_t n)
{
    enum pag_err err = pag_buf_put_u8(b, '{');
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        err = i > 0 ? pag_buf_put_u8(b, ',') : PAG_OK;
        err = err == PAG_OK ? put_escaped(b, pag_span_str(field[i].key)) : err;
        err = err == PAG_OK ? pag_buf_put_u8(b, ':') : err;
        err = err == PAG_OK ? put_value(b, &field[i]) : err;
    }
    return err == PAG_OK ? pag_buf_put_u8(b, '}') : err;
}

static enum pag_err event_put(struct pag_store_tx *tx, const struct pag_event_in *in, struct pag_span data)
{
    struct pag_q q =
        pag_q_of(&tx->db, "INSERT INTO event (seq, at_ms, type, product_id, device_id, actor, data) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?)");
    /* One writer commits in this order, so a cursor over seq never misses a late commit. */
    pag_q_int(&q, ++tx->event_seq);
    pag_q_int(&q, tx->now_ms);
    pag_q_text(&q, in->type);
    pag_q_text(&q, in->product);
    pag_q_text(&q, in->device);
    pag_q_text(&q, in->actor);
    pag_q_span_text(&q, data);
    tx->events = true;
    return pag_q_run(&q, NULL);
}

enum pag_err pag_store_event_add(struct pag_store_tx *tx, const struct pag_event_in *in)
{
    uint8_t room[EVENT_JSON_MAX];
    struct pag_buf b = { room, 0, sizeof room };
    enum pag_err err = fields_json(&b, in->field, in->field_n);
    return err == PAG_OK ? event_put(tx, in, pag_buf_span(&b)) : err;
}

/* ---- audit ---- */

struct audit_row {
    int64_t seq, at_ms;
    struct pag_span actor, action, object, data;
    uint8_t previous[PAG_SHA256_BYTES];
};

static void hash_text(EVP_MD_CTX *ctx, struct pag_span s)
{
    uint8_t len[4];
    pag_put_u32be(len, (uint32_t)s.n);
    (void)EVP_DigestUpdate(ctx, len, sizeof len);
    (void)EVP_DigestUpdate(ctx, s.p, s.n);
}

static void hash_int(EVP_MD_CTX *ctx, int64_t v)
{
    uint8_t b[8];
    pag_put_u32be(b, (uint32_t)((uint64_t)v >> 32U));
    pag_put_u32be(b + 4, (uint32_t)(uint64_t)v);
    (void)EVP_DigestUpdate(ctx, b, sizeof b);
}

/* docs/operating/storage.md, "Audit chain" */
static enum pag_err audit_hash(const struct audit_row *r, uint8_t out[PAG_SHA256_BYTES])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return PAG_E_NO_MEMORY;
    }
    (void)EVP_DigestUpdate(ctx, r->previous, sizeof r->previous);
    hash_int(ctx, r->seq);
    hash_int(ctx, r->at_ms);
    hash_text(ctx, r->actor);
    hash_text(ctx, r->action);
    hash_text(ctx, r->object);
    hash_text(ctx, r->data);
    enum pag_err err = EVP_DigestFinal_ex(ctx, out, NULL) == 1 ? PAG_OK : PAG_E_INTERNAL;
    EVP_MD_CTX_free(ctx);
    return err;
}

static enum pag_err audit_head(struct pag_db *db, int64_t *seq, uint8_t hash[PAG_SHA256_BYTES])
{
    struct pag_q q = pag_q_of(db, "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1");
    *seq = 0;
    memset(hash, 0, PAG_SHA256_BYTES);
    if (pag_q_row(&q)) {
        *seq = pag_q_get_int(&q);
        pag_q_get_blob(&q, hash, PAG_SHA256_BYTES);
    }
    return pag_q_end(&q);
}

static enum pag_err audit_put(struct pag_store_tx *tx, const struct audit_row *r)
{
    uint8_t hash[PAG_SHA256_BYTES];
    enum pag_err err = audit_hash(r, hash);
    if (err != PAG_OK) {
        return err;
    }
    struct pag_q q =
        pag_q_of(&tx->db, "INSERT INTO audit (seq, at_ms, actor, action, object, data, previous, hash) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_int(&q, r->seq);
    pag_q_int(&q, r->at_ms);
    pag_q_span_text(&q, r->actor);
    pag_q_span_text(&q, r->action);
    pag_q_span_text(&q, r->object);
    pag_q_span_text(&q, r->data);
    pag_q_blob(&q, r->previous, sizeof r->previous);
    pag_q_blob(&q, hash, sizeof hash);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_store_audit_add(struct pag_store_tx *tx, const struct pag_event_in *in, const char *object)
{
    uint8_t room[EVENT_JSON_MAX];
    struct pag_buf b = { room, 0, sizeof room };
    struct audit_row row = { .at_ms = tx->now_ms };
    enum pag_err err = fields_json(&b, in->field, in->field_n);
    if (err == PAG_OK) {
        err = audit_head(&tx->db, &row.seq, row.previous);
    }
    if (err != PAG_OK) {
        return err;
    }
    row.seq++;
    row.actor = pag_span_str(in->actor);
    row.action = pag_span_str(in->type);
    row.object = pag_span_str(object);
    row.data = pag_buf_span(&b);
    err = audit_put(tx, &row);
    return err == PAG_OK ? event_put(tx, in, row.data) : err;
}

enum pag_err pag_store_audit_verify(struct pag_db *db, int64_t *seq)
{
    struct pag_arena_pool *pool = pag_arena_pool_new(65536);
    struct pag_q q = pag_q_of(db, "SELECT seq, at_ms, actor, action, object, data, previous, hash FROM audit "
                                  "ORDER BY seq");
    uint8_t previous[PAG_SHA256_BYTES] = { 0 };
    enum pag_err err = pool != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    *seq = 0;
    while (err == PAG_OK && pag_q_row(&q)) {
        struct pag_arena *arena = pag_arena_open(pool, 65536);
        struct audit_row r = { .seq = pag_q_get_int(&q) };
        uint8_t stored[PAG_SHA256_BYTES];
        uint8_t hash[PAG_SHA256_BYTES];
        int64_t wanted = *seq + 1;
        r.at_ms = pag_q_get_int(&q);
        r.actor = pag_q_get_span(&q, arena);
        r.action = pag_q_get_span(&q, arena);
        r.object = pag_q_get_span(&q, arena);
        r.data = pag_q_get_span(&q, arena);
        pag_q_get_blob(&q, r.previous, sizeof r.previous);
        pag_q_get_blob(&q, stored, sizeof stored);
        err = audit_hash(&r, hash);
        *seq = r.seq;
        if (err == PAG_OK && (r.seq != wanted || memcmp(r.previous, previous, sizeof previous) != 0 ||
                              memcmp(hash, stored, sizeof hash) != 0)) {
            err = PAG_E_DIGEST;
        }
        memcpy(previous, stored, sizeof previous);
        pag_arena_close(arena);
    }
    enum pag_err read = pag_q_end(&q);
    pag_arena_pool_free(pool);
    return err != PAG_OK ? err : read;
}
