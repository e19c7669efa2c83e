#include "server/app/releases.h"

#include <string.h>

#include "core/bytes.h"
#include "core/version.h"
#include "server/app/op.h"
#include "server/app/release_view.h"

enum pag_err pag_release_show(struct pag_call *call, struct pag_db *db, const char *id,
                              struct pag_release_view *out)
{
    struct pag_product p;
    enum pag_err err = pag_find_release(call, db, id, &out->release);
    err = err == PAG_OK ? pag_release_count(db, id, &out->release.counts) : err;
    err = err == PAG_OK ? pag_product_get(db, out->release.product, &p) : err;
    if (err == PAG_OK) {
        out->product_name = pag_arena_text(call->arena, pag_span_str(p.name));
        err = out->product_name != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    }
    return err;
}

enum pag_err pag_release_audit(struct pag_store_tx *tx, const struct pag_op *op, const struct pag_release *r,
                               const char *type)
{
    const struct pag_field field[] = { PAG_F_STR("release", r->id), PAG_F_STR("version", r->version),
                                       PAG_F_U64("sequence", r->sequence), PAG_F_U64("epoch", r->epoch) };
    const struct pag_event_in event = {
        .type = type, .product = r->product, .actor = pag_actor_of(op->call), .field = field, .field_n = 4
    };
    return pag_store_audit_add(tx, &event, r->id);
}

enum pag_err pag_app_release(struct pag_call *call, const char *id, struct pag_release_view *out)
{
    return pag_release_show(call, call->thread->db, id, out);
}

static enum pag_err make_filter(struct pag_call *call, const struct pag_release_query *q,
                                struct pag_release_filter *f, struct pag_product *p)
{
    struct pag_db *db = call->thread->db;
    *f = (struct pag_release_filter){ .product = call->scope.product != NULL ? call->scope.product : "",
                                      .state = -1,
                                      .before_ms = INT64_MAX,
                                      .before_id = "",
                                      .limit = q->limit >= 1 && q->limit <= 1000 ? q->limit : 100 };
    enum pag_err err = PAG_OK;
    if (q->product != NULL) {
        err = pag_find_product(call, db, q->product, p);
        f->product = p->id;
    }
    if (err == PAG_OK && q->state != NULL) {
        enum pag_release_state state = PAG_RELEASE_DRAFT;
        err = pag_release_state_by_word(pag_span_str(q->state), &state);
        f->state = (int)state;
    }
    if (err == PAG_OK && q->after != NULL) {
        struct pag_release last;
        err = pag_find_release(call, db, q->after, &last);
        f->before_ms = last.created_ms;
        f->before_id = q->after;
    }
    return err;
}

enum pag_err pag_app_releases(struct pag_call *call, const struct pag_release_query *q,
                              struct pag_release_list *out)
{
    struct pag_db *db = call->thread->db;
    struct pag_release_filter f;
    struct pag_product p;
    struct pag_release *rows = NULL;
    memset(out, 0, sizeof *out);
    enum pag_err err = make_filter(call, q, &f, &p);
    err = err == PAG_OK ? pag_release_list(db, call->arena, &f, &rows, &out->n) : err;
    err = err == PAG_OK ? pag_release_total(db, &f, &out->total) : err;
    if (err != PAG_OK) {
        return err;
    }
    out->item = pag_arena_alloc(call->arena, (out->n + 1) * sizeof *out->item);
    for (size_t i = 0; i < out->n && err == PAG_OK; i++) {
        err = out->item != NULL ? pag_release_show(call, db, rows[i].id, &out->item[i]) : PAG_E_NO_MEMORY;
    }
    if (err == PAG_OK && out->n == f.limit && out->n > 0) {
        out->next = out->item[out->n - 1].release.id;
    }
    return err;
}

/* ---- drafts ---- */

static enum pag_err create(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_release_in *in = op->in;
    struct pag_release_view *out = op->out;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    struct pag_release *r = &out->release;
    memset(r, 0, sizeof *r);
    enum pag_err err = pag_find_product(op->call, db, in->product, &p);
    if (err != PAG_OK) {
        return err;
    }
    pag_make_id(r->id, "rel_", 8);
    memcpy(r->product, p.id, sizeof r->product);
    (void)pag_text_copy(r->version, sizeof r->version, pag_span_str(in->version));
    (void)pag_text_copy(r->channel, sizeof r->channel,
                        pag_span_str(in->channel != NULL ? in->channel : "stable"));
    r->notes = in->notes != NULL ? in->notes : "";
    r->created_ms = pag_store_tx_now(tx);
    err = pag_release_next_sequence(db, p.id, &r->sequence);
    err = err == PAG_OK ? pag_release_insert(db, r) : err;
    if (err == PAG_E_EXISTS) {
        return pag_refuse(op->call, err, "version-exists", "A release of this version exists.");
    }
    err = err == PAG_OK ? pag_release_audit(tx, op, r, "release.created") : err;
    out->product_name = pag_arena_text(op->call->arena, pag_span_str(p.name));
    return err;
}

void pag_app_release_create(struct pag_call *call, const struct pag_release_in *in,
                            struct pag_release_view *out)
{
    enum pag_err err = PAG_OK;
    if (!pag_version_ok(pag_span_str(in->version))) {
        err = pag_refuse_field(call, "/version", "1 to 32 printable characters without blanks and quotes");
    }
    if (in->channel != NULL && !pag_product_name_ok(pag_span_str(in->channel))) {
        err = pag_refuse_field(call, "/channel", "1 to 32 of a-z, 0-9 and -");
    }
    if (in->notes != NULL && (pag_span_str(in->notes).n > 4096 || !pag_utf8_ok(pag_span_str(in->notes)))) {
        err = pag_refuse_field(call, "/notes", "at most 4096 bytes of UTF-8");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        pag_op_submit(op, create);
    }
}

/* ---- manifests and permits ---- */

struct cose_in {
    const char *release;
    struct pag_span cose;
};

static enum pag_err refuse_manifest(struct pag_call *call, enum pag_err err, const struct pag_fail *why)
{
    return pag_refuse(call, err, "manifest-refused",
                      why->what != NULL ? why->what : "The manifest does not verify.");
}

static enum pag_err verify(struct pag_op *op, struct pag_db *db, const struct pag_product *p,
                           struct pag_manifest *m)
{
    const struct cose_in *in = op->in;
    struct pag_fail why = { 0 };
    struct pag_trust_record row;
    struct pag_trust_set *set = pag_arena_alloc(op->call->arena, sizeof *set);
    enum pag_err err = set != NULL ? pag_trust_row(db, op->call->arena, p->id, 0, &row) : PAG_E_NO_MEMORY;
    if (err == PAG_E_NOT_FOUND) {
        return pag_refuse(op->call, PAG_E_STALE, "manifest-refused", "The product has no trust set yet.");
    }
    err = err == PAG_OK ? pag_trust_parse(row.cose, set, &why) : err;
    err = err == PAG_OK ? pag_manifest_verify(op->call->thread->app->config.crypto, in->cose, set, m, &why)
                        : err;
    return err == PAG_OK ? err : refuse_manifest(op->call, err, &why);
}

static enum pag_err put_manifest(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct cose_in *in = op->in;
    struct pag_release_view *out = op->out;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    struct pag_fail why = { 0 };
    struct pag_manifest *m = pag_arena_alloc(op->call->arena, sizeof *m);
    enum pag_err err =
        m != NULL ? pag_find_release(op->call, db, in->release, &out->release) : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? pag_product_get(db, out->release.product, &p) : err;
    if (err != PAG_OK) {
        return err;
    }
    for (size_t i = 0; i < out->release.image_n; i++) {
        if (pag_span_eq(out->release.manifest[i], in->cose)) {
            return pag_release_show(op->call, db, in->release, out);
        }
    }
    if (out->release.state != PAG_RELEASE_DRAFT) {
        return pag_refuse(op->call, PAG_E_CONFLICT, "conflict", "The release is no draft any more.");
    }
    err = verify(op, db, &p, m);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_release_manifest_fits(&p, &out->release, m, (uint64_t)pag_store_tx_now(tx) / 1000, &why);
    if (err != PAG_OK) {
        return refuse_manifest(op->call, err, &why);
    }
    uint8_t digest[PAG_SHA256_BYTES];
    pag_sha256_of(op->call->thread->app->config.crypto, in->cose, digest);
    out->release.epoch = m->epoch > out->release.epoch ? m->epoch : out->release.epoch;
    err = pag_manifest_insert(db, out->release.id, m->image, digest, in->cose, pag_store_tx_now(tx));
    err = err == PAG_OK ? pag_release_update(db, &out->release) : err;
    err = err == PAG_OK ? pag_release_audit(tx, op, &out->release, "release.signed") : err;
    return err == PAG_OK ? pag_release_show(op->call, db, in->release, out) : err;
}

void pag_app_manifest_put(struct pag_call *call, const char *release, struct pag_span cose,
                          struct pag_release_view *out)
{
    struct cose_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        in->release = release;
        in->cose = cose;
        pag_op_submit(op, put_manifest);
    }
}

/* A permit is a manifest of kind 6 whose field 10 is where it leads; where it leads from is the release it is
 * uploaded to. docs/spec/manifest.md. */
static enum pag_err put_permit(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct cose_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    struct pag_release from;
    struct pag_manifest *m = pag_arena_alloc(op->call->arena, sizeof *m);
    enum pag_err err = m != NULL ? pag_find_release(op->call, db, in->release, &from) : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? pag_product_get(db, from.product, &p) : err;
    err = err == PAG_OK ? verify(op, db, &p, m) : err;
    if (err != PAG_OK) {
        return err;
    }
    struct pag_fail why = { 0 };
    if (m->kind != PAG_KIND_ROLLBACK_PERMIT || memcmp(m->product, p.id_bytes, sizeof m->product) != 0 ||
        m->sequence >= from.sequence) {
        (void)pag_fail_set(&why, PAG_E_CONFLICT, "not a permit of this product to an older release",
                           m->sequence);
        return refuse_manifest(op->call, why.code, &why);
    }
    const struct pag_plan_permit permit = { .from_sequence = from.sequence,
                                            .to_sequence = m->sequence,
                                            .expires_at = m->expires_at,
                                            .cose = in->cose };
    err = pag_permit_put(db, p.id, &permit, pag_store_tx_now(tx));
    pag_store_tx_dirty(tx, p.id);
    err = err == PAG_OK ? pag_rejudge_want(tx, p.id) : err;
    return err == PAG_OK ? pag_release_audit(tx, op, &from, "release.permit") : err;
}

void pag_app_permit_put(struct pag_call *call, const char *release, struct pag_span cose)
{
    struct cose_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        in->release = release;
        in->cose = cose;
        op->after = pag_rejudge_then_done;
        pag_op_submit(op, put_permit);
    }
}
