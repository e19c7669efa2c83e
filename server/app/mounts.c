#include "server/app/mounts.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/store/rows_mount.h"

enum pag_err pag_app_mounts(struct pag_call *call, const char *product, struct pag_mount **list, size_t *n)
{
    struct pag_product p;
    enum pag_err err = pag_find_product(call, call->thread->db, product, &p);
    return err == PAG_OK ? pag_mount_list(call->thread->db, call->arena, p.id, list, n) : err;
}

static enum pag_err audit_mount(struct pag_store_tx *tx, const struct pag_op *op, const struct pag_mount *m,
                                const char *type)
{
    const struct pag_field field[] = { PAG_F_STR("path", m->path),
                                       PAG_F_STR("kind", pag_mount_kind_word(m->kind)),
                                       PAG_F_STR("auth", m->has_auth ? pag_legacy_auth_word(m->auth) : "") };
    const struct pag_event_in event = {
        .type = type, .product = m->product, .actor = pag_actor_of(op->call), .field = field, .field_n = 3
    };
    return pag_store_audit_add(tx, &event, m->path);
}

static bool same_mount(const struct pag_mount *a, const struct pag_mount *b)
{
    return strcmp(a->path, b->path) == 0 && a->kind == b->kind && a->has_auth == b->has_auth &&
           a->auth == b->auth && a->flags == b->flags && strcmp(a->config, b->config) == 0;
}

/* Who owns one product only takes no requests away from another. */
static enum pag_err check_owner(const struct pag_op *op, struct pag_db *db, const struct pag_mount_in *in)
{
    char owner[PAG_PRODUCT_HEX] = "";
    enum pag_err err = pag_mount_owner(db, in->mount.path, owner);
    if (err != PAG_OK) {
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    return pag_scope_sees(&op->call->scope, owner)
               ? PAG_OK
               : pag_refuse(op->call, PAG_E_EXISTS, "mount-exists",
                            "This path lies below one of another product: only who owns both may mount it.");
}

static enum pag_err add(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_mount_in *in = op->in;
    struct pag_mount *m = op->out;
    struct pag_mount *list = NULL;
    struct pag_product p;
    size_t n = 0;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = pag_find_product(op->call, db, in->product, &p);
    err = err == PAG_OK ? pag_mount_list(db, op->call->arena, p.id, &list, &n) : err;
    if (err != PAG_OK) {
        return err;
    }
    for (size_t i = 0; i < n; i++) {
        if (same_mount(&list[i], &in->mount)) {
            *m = list[i];
            return PAG_OK;
        }
    }
    if (n >= PAG_MOUNTS_MAX) {
        return pag_refuse(op->call, PAG_E_LIMIT, "conflict", "A product has at most 32 mounts.");
    }
    err = check_owner(op, db, in);
    if (err != PAG_OK) {
        return err;
    }
    *m = in->mount;
    memcpy(m->product, p.id, sizeof m->product);
    m->created_ms = pag_store_tx_now(tx);
    err = pag_mount_insert(db, m);
    if (err == PAG_E_EXISTS) {
        return pag_refuse(op->call, err, "mount-exists", "This path belongs to a product already.");
    }
    pag_store_tx_dirty(tx, p.id);
    return err == PAG_OK ? audit_mount(tx, op, m, "mount.added") : err;
}

void pag_app_mount_add(struct pag_call *call, const struct pag_mount_in *in, struct pag_mount *out)
{
    struct pag_fail why = { 0 };
    enum pag_err err = pag_mount_path_check(pag_span_str(in->mount.path), &why);
    if (err != PAG_OK) {
        call->done(call, pag_refuse_field(call, "/path", why.what));
        return;
    }
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        pag_op_submit(op, add);
    }
}

struct removal {
    const char *product, *path;
};

static enum pag_err remove_one(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct removal *in = op->in;
    struct pag_product p;
    struct pag_mount m = { .kind = PAG_MOUNT_FILES };
    struct pag_mount *list = NULL;
    size_t n = 0;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = pag_find_product(op->call, db, in->product, &p);
    err = err == PAG_OK ? pag_mount_list(db, op->call->arena, p.id, &list, &n) : err;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        m = strcmp(list[i].path, in->path) == 0 ? list[i] : m;
    }
    if (err == PAG_OK && m.path[0] == '\0') {
        return pag_refuse(op->call, PAG_E_NOT_FOUND, "not-found", "The product has no such path.");
    }
    err = err == PAG_OK ? pag_mount_delete(db, p.id, in->path) : err;
    pag_store_tx_dirty(tx, p.id);
    return err == PAG_OK ? audit_mount(tx, op, &m, "mount.removed") : err;
}

void pag_app_mount_remove(struct pag_call *call, const char *product, const char *path)
{
    struct removal *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        *in = (struct removal){ product, path };
        pag_op_submit(op, remove_one);
    }
}

/* ---- on a network thread ---- */

static enum pag_err fill(struct pag_call *call, const struct pag_product *p, struct pag_mount_found *out)
{
    out->product = pag_arena_text(call->arena, pag_span_str(p->name));
    out->plain_http = p->settings.plain_http;
    return out->product != NULL && out->mount.config != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

enum pag_err pag_app_mount_find(struct pag_call *call, struct pag_span path, struct pag_mount_found *out)
{
    const struct pag_mount *m = NULL;
    struct pag_span rest;
    const struct pag_catalog *c = pag_store_mount(call->thread->reader, path, &m, &rest);
    if (c == NULL) {
        return PAG_E_NOT_FOUND;
    }
    out->mount = *m;
    out->mount.config = pag_arena_text(call->arena, pag_span_str(m->config));
    out->rest = rest;
    return fill(call, &c->product, out);
}

enum pag_err pag_app_mount_default(struct pag_call *call, struct pag_span product, enum pag_mount_kind kind,
                                   struct pag_mount_found *out)
{
    const char *name = pag_arena_text(call->arena, product);
    const struct pag_catalog *c = name != NULL ? pag_store_catalog(call->thread->reader, name) : NULL;
    if (c == NULL) {
        return PAG_E_NOT_FOUND;
    }
    memset(&out->mount, 0, sizeof out->mount);
    memcpy(out->mount.product, c->product.id, sizeof out->mount.product);
    out->mount.kind = kind;
    out->mount.config = "";
    return fill(call, &c->product, out);
}
