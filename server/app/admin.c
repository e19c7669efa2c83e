#include "server/app/admin.h"

#include <string.h>

#include "core/bytes.h"
#include "host/crypto.h"
#include "host/signing.h"
#include "host/token.h"
#include "server/app/image_check.h"
#include "server/app/op.h"

enum { ANSWER_MS = 86400000, EVENTS_MAX = 1000 };

/* ---- tokens ---- */

static enum pag_err create_token(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_token_in *in = op->in;
    struct pag_token_out *out = op->out;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    enum pag_err err = PAG_OK;
    if (in->product != NULL) {
        err = pag_find_product(op->call, db, in->product, &p);
        memcpy(out->row.product, p.id, err == PAG_OK ? sizeof out->row.product : 0);
    } else if (op->call->scope.product != NULL) { /* never wider than its maker */
        (void)pag_text_copy(out->row.product, sizeof out->row.product, pag_span_str(op->call->scope.product));
    }
    out->row.created_ms = pag_store_tx_now(tx);
    out->row.expires_ms = out->row.created_ms + (int64_t)in->ttl_s * 1000;
    err = err == PAG_OK ? pag_token_row_insert(db, &out->row) : err;
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_field field[] = { PAG_F_STR("name", in->name),
                                       PAG_F_STR("role", pag_role_word(in->role)),
                                       PAG_F_U64("ttl_s", in->ttl_s) };
    const struct pag_event_in event = { .type = "token.created",
                                        .product = out->row.product,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 3 };
    return pag_store_audit_add(tx, &event, out->row.id);
}

void pag_app_token_create(struct pag_call *call, const struct pag_token_in *in, struct pag_token_out *out)
{
    struct pag_api_token token;
    enum pag_err err = PAG_OK;
    memset(out, 0, sizeof *out);
    if (pag_span_str(in->name).n == 0 ||
        pag_text_copy(out->row.name, sizeof out->row.name, pag_span_str(in->name)) != PAG_OK ||
        !pag_utf8_ok(pag_span_str(in->name))) {
        err = pag_refuse_field(call, "/name", "1 to 64 bytes of UTF-8");
    }
    if (in->role == PAG_ROLE_NONE) {
        err = pag_refuse_field(call, "/role", "viewer, operator, releaser or admin");
    }
    if (in->ttl_s < 60 || in->ttl_s > 365ULL * 86400) {
        err = pag_refuse_field(call, "/ttl_s", "60 to 31536000");
    }
    if (err == PAG_OK && !pag_role_holds(call->scope.role, in->role)) {
        err = pag_refuse(call, PAG_E_DENIED, "forbidden", "A token cannot make one of a higher role.");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    pag_api_token_make(&token);
    memcpy(out->row.id, token.id, sizeof out->row.id);
    memcpy(out->row.sha256, token.sha256, sizeof out->row.sha256);
    out->row.role = in->role;
    (void)pag_text_copy(out->text, sizeof out->text, pag_span_str(token.text));
    memset(&token, 0, sizeof token);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        pag_op_submit(op, create_token);
    }
}

static enum pag_err delete_token(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_access_token row;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = pag_token_row_get(db, op->in, &row);
    if (err == PAG_OK && !pag_scope_sees(&op->call->scope, row.product)) {
        err = PAG_E_NOT_FOUND;
    }
    err = err == PAG_OK ? pag_token_row_revoke(db, op->in, pag_store_tx_now(tx)) : err;
    const struct pag_event_in event = { .type = "token.deleted", .actor = pag_actor_of(op->call) };
    return err == PAG_OK ? pag_store_audit_add(tx, &event, op->in) : err;
}

void pag_app_token_delete(struct pag_call *call, const char *id)
{
    struct pag_op *op = pag_op_new(call, id, NULL);
    if (op != NULL) {
        pag_op_submit(op, delete_token);
    }
}

enum pag_err pag_app_tokens(struct pag_call *call, struct pag_access_token **list, size_t *n)
{
    enum pag_err err = pag_token_row_list(call->thread->db, call->arena, list, n);
    size_t kept = 0;
    for (size_t i = 0; err == PAG_OK && i < *n; i++) {
        if (pag_scope_sees(&call->scope, (*list)[i].product)) {
            (*list)[kept++] = (*list)[i];
        }
    }
    *n = err == PAG_OK ? kept : *n;
    return err;
}

/* ---- public keys ---- */

static enum pag_err put_key(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_key_in *in = op->in;
    struct pag_public_key *out = op->out;
    struct pag_key_row row;
    memset(&row, 0, sizeof row);
    memcpy(row.id, out->id, sizeof row.id);
    memcpy(row.name, out->name, sizeof row.name);
    memcpy(row.use, out->use, sizeof row.use);
    memcpy(row.product, out->product, sizeof row.product);
    row.pem = out->pem;
    row.created_ms = pag_store_tx_now(tx);
    out->created_ms = row.created_ms;
    enum pag_err err = pag_key_row_put(pag_store_tx_db(tx), &row);
    const struct pag_field field[] = { PAG_F_STR("name", in->name), PAG_F_STR("use", in->use) };
    const struct pag_event_in event = {
        .type = "key.added", .actor = pag_actor_of(op->call), .field = field, .field_n = 2
    };
    return err == PAG_OK ? pag_store_audit_add(tx, &event, row.id) : err;
}

static bool says_private(struct pag_span pem)
{
    static const char word[] = "PRIVATE";
    for (size_t i = 0; i + sizeof word - 1 <= pem.n; i++) {
        if (memcmp(pem.p + i, word, sizeof word - 1) == 0) {
            return true;
        }
    }
    return false;
}

static enum pag_err check_key(struct pag_call *call, const struct pag_key_in *in)
{
    struct pag_span use = pag_span_str(in->use);
    if (says_private(in->pem)) {
        return pag_refuse(call, PAG_E_DENIED, "private-key",
                          "This is a private key. It was not stored; keep it where it is.");
    }
    if (pag_span_str(in->name).n == 0 || pag_span_str(in->name).n > PAG_NAME_MAX ||
        !pag_utf8_ok(pag_span_str(in->name))) {
        return pag_refuse_field(call, "/name", "1 to 64 bytes of UTF-8");
    }
    if (!pag_span_eq_str(use, "root") && !pag_span_eq_str(use, "release") &&
        !pag_span_eq_str(use, "arduino")) {
        return pag_refuse_field(call, "/use", "root, release or arduino");
    }
    return PAG_OK;
}

/* A key of use arduino is one that devices of the old world can check with. */
static enum pag_err check_image_key(struct pag_call *call, const struct pag_key_in *in)
{
    struct pag_public_info info;
    if (strcmp(in->use, "arduino") != 0 || pag_signing_read(in->pem, &info, NULL) == PAG_OK) {
        return PAG_OK;
    }
    return pag_refuse_field(call, "/pem", "RSA of 2048 to 4096 bits, or P-256, for keys that sign images");
}

static void key_kept(struct pag_op *op, enum pag_err err)
{
    const struct pag_public_key *out = op->out;
    if (err != PAG_OK || strcmp(out->use, "arduino") != 0) {
        op->call->done(op->call, err);
        return;
    }
    pag_images_reexamine(op, out->product);
}

void pag_app_key_put(struct pag_call *call, const struct pag_key_in *in, struct pag_public_key *out)
{
    uint8_t id[PAG_SHA256_BYTES];
    struct pag_product p;
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_refuse_scoped(call);
    err = err == PAG_OK ? check_key(call, in) : err;
    if (err == PAG_OK) {
        err = pag_public_key_id(in->pem, id);
        err = err != PAG_OK ? pag_refuse_field(call, "/pem", "a public key as SubjectPublicKeyInfo in PEM")
                            : check_image_key(call, in);
    }
    memset(&p, 0, sizeof p);
    if (err == PAG_OK && in->product != NULL) {
        err = pag_find_product(call, call->thread->db, in->product, &p);
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    struct pag_buf b = { (uint8_t *)out->id, 0, sizeof out->id };
    (void)pag_buf_put_hex(&b, pag_span_of(id, PAG_KEY_ID_BYTES));
    (void)pag_buf_put_u8(&b, 0);
    (void)pag_text_copy(out->name, sizeof out->name, pag_span_str(in->name));
    (void)pag_text_copy(out->use, sizeof out->use, pag_span_str(in->use));
    memcpy(out->product, p.id, sizeof out->product);
    out->pem = pag_arena_text(call->arena, in->pem);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        op->after = key_kept;
        pag_op_submit(op, put_key);
    }
}

enum pag_err pag_app_keys(struct pag_call *call, struct pag_public_key **list, size_t *n)
{
    struct pag_key_row *rows = NULL;
    enum pag_err err = pag_key_row_list(call->thread->db, call->arena, &rows, n);
    if (err != PAG_OK) {
        return err;
    }
    *list = pag_arena_alloc(call->arena, (*n + 1) * sizeof **list);
    for (size_t i = 0; *list != NULL && i < *n; i++) {
        struct pag_public_key *k = &(*list)[i];
        memcpy(k->id, rows[i].id, sizeof rows[i].id);
        memcpy(k->name, rows[i].name, sizeof k->name);
        memcpy(k->use, rows[i].use, sizeof k->use);
        memcpy(k->product, rows[i].product, sizeof k->product);
        k->pem = rows[i].pem;
        k->created_ms = rows[i].created_ms;
    }
    return *list != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

/* ---- events ---- */

enum pag_err pag_app_events(struct pag_call *call, int64_t after, uint32_t limit, struct pag_event **list,
                            size_t *n, int64_t *next)
{
    uint32_t most = limit >= 1 && limit <= EVENTS_MAX ? limit : 100;
    const char *product = call->scope.product != NULL ? call->scope.product : "";
    const struct pag_event_cursor from = { product, after, most };
    enum pag_err err = pag_event_after(call->thread->db, call->arena, &from, list, n);
    if (err == PAG_OK) {
        *next = *n > 0 ? (*list)[*n - 1].seq : after;
    }
    return err;
}

enum pag_err pag_app_events_tail(struct pag_call *call, uint32_t limit, int64_t *after)
{
    const char *product = call->scope.product != NULL ? call->scope.product : "";
    return pag_event_tail(call->thread->db, product, limit, after);
}

enum pag_err pag_app_events_newest(struct pag_call *call, int64_t *seq)
{
    return pag_event_newest(call->thread->db, seq);
}

static void deliver(struct pag_loop *loop, struct pag_task *task)
{
    struct pag_subscription *s =
        (struct pag_subscription *)(void *)((char *)task - offsetof(struct pag_subscription, task));
    (void)loop;
    __atomic_store_n(&s->pending, 0, __ATOMIC_SEQ_CST);
    s->wake(s);
}

static void woken(struct pag_store_watch *w)
{
    struct pag_subscription *s =
        (struct pag_subscription *)(void *)((char *)w - offsetof(struct pag_subscription, watch));
    if (s->loop == NULL) {
        s->wake(s);
        return;
    }
    if (__atomic_exchange_n(&s->pending, 1, __ATOMIC_SEQ_CST) == 0) {
        s->task.run = deliver;
        pag_loop_post(s->loop, &s->task);
    }
}

void pag_app_subscribe(struct pag_app *app, struct pag_subscription *s)
{
    s->pending = 0;
    s->watch.wake = woken;
    pag_store_watch_add(app->config.store, &s->watch);
}

void pag_app_unsubscribe(struct pag_app *app, struct pag_subscription *s)
{
    pag_store_watch_remove(app->config.store, &s->watch);
}

/* ---- the audit chain ---- */

static enum pag_err walk_chain(struct pag_op *op)
{
    struct pag_audit_state *out = op->out;
    struct pag_store_reader *reader = NULL;
    enum pag_err err = pag_store_reader_new(op->call->thread->app->config.store, &reader, NULL);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_store_audit_verify(pag_store_reader_db(reader), &out->seq);
    out->intact = err == PAG_OK;
    pag_store_reader_free(reader);
    return err == PAG_E_DIGEST ? PAG_OK : err;
}

static void walked(struct pag_op *op, enum pag_err err)
{
    op->call->done(op->call, err);
}

void pag_app_audit_verify(struct pag_call *call, struct pag_audit_state *out)
{
    enum pag_err err = pag_refuse_scoped(call);
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    struct pag_op *op = pag_op_new(call, out, out);
    if (op != NULL) {
        pag_op_work(op, walk_chain, walked);
    }
}

/* ---- the whole ---- */

enum pag_err pag_app_device_states(struct pag_call *call, const char *product, uint32_t by_state[16])
{
    uint32_t online = 0;
    return pag_device_counts(call->thread->db, product, pag_app_shown(call->thread->app), by_state, &online);
}

enum pag_err pag_app_summary(struct pag_call *call, struct pag_summary *out)
{
    struct pag_store *store = call->thread->app->config.store;
    struct pag_store_stats stats = pag_store_stats_get(store);
    struct pag_count_row *rows = NULL;
    const char *product = call->scope.product != NULL ? call->scope.product : "";
    memset(out, 0, sizeof *out);
    out->store_path = pag_store_path(store);
    out->store_bytes = stats.bytes;
    out->queue = stats.queue;
    out->last_commit_ms = stats.last_commit_ms;
    enum pag_err err = pag_device_counts(call->thread->db, product, pag_app_shown(call->thread->app),
                                         out->by_state, &out->online);
    for (size_t i = 0; i < 16; i++) {
        out->devices += out->by_state[i];
    }
    err = err == PAG_OK ? pag_device_versions(call->thread->db, call->arena, product, &rows, &out->version_n)
                        : err;
    if (err != PAG_OK) {
        return err;
    }
    out->version = pag_arena_alloc(call->arena, (out->version_n + 1) * sizeof *out->version);
    for (size_t i = 0; out->version != NULL && i < out->version_n; i++) {
        out->version[i] = (struct pag_version_count){ rows[i].product, rows[i].version, rows[i].count };
    }
    return out->version != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

struct pag_app_counters pag_app_counters_get(const struct pag_app *app)
{
    struct pag_store_stats stats = pag_store_stats_get(app->config.store);
    struct pag_app_counters c;
    const uint64_t *from = &app->counters.check_ins;
    uint64_t *to = &c.check_ins;
    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < offsetof(struct pag_app_counters, commits) / sizeof *from; i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    c.commits = stats.commits;
    c.intents = stats.intents;
    c.busy = stats.busy;
    c.commit_ms_max = stats.commit_ms_max;
    c.queue = stats.queue;
    return c;
}

enum pag_err pag_app_ready(struct pag_app *app)
{
    struct pag_store_stats stats = pag_store_stats_get(app->config.store);
    return stats.behind ? PAG_E_STALE : stats.queue < 1024 ? PAG_OK : PAG_E_BUSY;
}

/* ---- repeated POSTs ---- */

enum pag_err pag_app_idempotent_get(struct pag_call *call, struct pag_idempotent *io)
{
    struct pag_answer a = { .token = io->token, .route = io->route, .key = io->key };
    memcpy(a.body_sha256, io->body_sha256, sizeof a.body_sha256);
    enum pag_err err = pag_answer_get(call->thread->db, call->arena, &a);
    if ((err == PAG_OK || err == PAG_E_CONFLICT) && a.at_ms + ANSWER_MS < pag_app_now_ms(call->thread->app)) {
        return PAG_E_NOT_FOUND;
    }
    if (err == PAG_OK) {
        io->status = a.status;
        io->body = a.body;
    }
    return err;
}

static enum pag_err put_answer(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_idempotent *in = op->in;
    struct pag_answer a = { .token = in->token,
                            .route = in->route,
                            .key = in->key,
                            .status = in->status,
                            .body = in->body,
                            .at_ms = pag_store_tx_now(tx) };
    memcpy(a.body_sha256, in->body_sha256, sizeof a.body_sha256);
    enum pag_err err = pag_answer_sweep(pag_store_tx_db(tx), a.at_ms - ANSWER_MS);
    return err == PAG_OK ? pag_answer_put(pag_store_tx_db(tx), &a) : err;
}

void pag_app_idempotent_put(struct pag_call *call, const struct pag_idempotent *in)
{
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        pag_op_submit(op, put_answer);
    }
}
