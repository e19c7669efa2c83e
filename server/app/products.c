#include <string.h>

#include "core/bytes.h"
#include "core/trust.h"
#include "host/rand.h"
#include "server/app/op.h"
#include "server/app/releases.h"

enum pag_err pag_app_products(struct pag_call *call, struct pag_product **list, size_t *n)
{
    enum pag_err err = pag_product_list(call->thread->db, call->arena, list, n);
    size_t kept = 0;
    for (size_t i = 0; err == PAG_OK && i < *n; i++) {
        if (pag_scope_sees(&call->scope, (*list)[i].id)) {
            (*list)[kept++] = (*list)[i];
        }
    }
    *n = err == PAG_OK ? kept : *n;
    return err;
}

enum pag_err pag_app_product(struct pag_call *call, const char *name, struct pag_product *out)
{
    return pag_find_product(call, call->thread->db, name, out);
}

static enum pag_err audit_product(struct pag_store_tx *tx, const struct pag_op *op,
                                  const struct pag_product *p, const char *type)
{
    const struct pag_field field[] = { PAG_F_STR("name", p->name),
                                       PAG_F_STR("chip", pag_chip_name(p->chip)),
                                       PAG_F_U64("poll_s", p->settings.poll_s),
                                       PAG_F_STR("legacy_auth",
                                                 pag_legacy_auth_word(p->settings.legacy_auth)),
                                       PAG_F_U64("plain_http", p->settings.plain_http),
                                       PAG_F_U64("max_serves", p->settings.max_serves) };
    const struct pag_event_in event = {
        .type = type, .product = p->id, .actor = pag_actor_of(op->call), .field = field, .field_n = 6
    };
    return pag_store_audit_add(tx, &event, p->name);
}

/* Called with the change in the table: what is too much is rolled back. */
static enum pag_err count_templates(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_product *list = NULL;
    const char *text[PAG_TEMPLATES_MAX];
    size_t n = 0;
    enum pag_err err = pag_product_list(pag_store_tx_db(tx), op->call->arena, &list, &n);
    if (err == PAG_OK && pag_product_templates(list, n, text, PAG_TEMPLATES_MAX) > PAG_TEMPLATES_MAX) {
        err = pag_refuse_field(op->call, "/settings/topics",
                               "all products together have 64 different templates already");
    }
    return err;
}

static enum pag_err create(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_product *p = op->out;
    *p = *(const struct pag_product *)op->in;
    pag_rand_bytes(p->id_bytes, sizeof p->id_bytes);
    struct pag_buf b = { (uint8_t *)p->id, 0, sizeof p->id };
    (void)pag_buf_put_hex(&b, pag_span_of(p->id_bytes, sizeof p->id_bytes));
    (void)pag_buf_put_u8(&b, 0);
    p->created_ms = pag_store_tx_now(tx);
    p->trust_version = 0;
    p->revision = 1;
    enum pag_err err = pag_product_insert(pag_store_tx_db(tx), p);
    if (err == PAG_E_EXISTS) {
        return pag_refuse(op->call, err, "product-exists", "A product of this name exists.");
    }
    err = err == PAG_OK ? count_templates(tx, op) : err;
    err = err == PAG_OK ? audit_product(tx, op, p, "product.created") : err;
    pag_store_tx_dirty(tx, p->id);
    return err;
}

static enum pag_err check_product(struct pag_call *call, const struct pag_product *p)
{
    struct pag_fail why = { 0 };
    enum pag_err err = pag_product_check(p, &why);
    return err == PAG_OK ? err : (pag_refuse_field(call, "", why.what), err);
}

void pag_app_product_create(struct pag_call *call, const struct pag_product *in, struct pag_product *out)
{
    enum pag_err err = pag_refuse_scoped(call);
    err = err == PAG_OK ? check_product(call, in) : err;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        pag_op_submit(op, create);
    }
}

struct settings_in {
    const char *name;
    const struct pag_settings_patch *settings;
};

static void patch_settings(struct pag_product_settings *s, const struct pag_settings_patch *patch)
{
    const struct pag_product_settings *to = &patch->to;
    const unsigned set = patch->set;
    s->poll_s = (set & PAG_SETTING_POLL) != 0 ? to->poll_s : s->poll_s;
    s->legacy_auth = (set & PAG_SETTING_LEGACY_AUTH) != 0 ? to->legacy_auth : s->legacy_auth;
    s->plain_http = (set & PAG_SETTING_PLAIN_HTTP) != 0 ? to->plain_http : s->plain_http;
    s->max_serves = (set & PAG_SETTING_MAX_SERVES) != 0 ? to->max_serves : s->max_serves;
    s->core = (set & PAG_SETTING_CORE) != 0 ? to->core : s->core;
    if ((set & PAG_SETTING_TOPIC_COMMAND) != 0) {
        memcpy(s->topic_command, to->topic_command, sizeof s->topic_command);
    }
    if ((set & PAG_SETTING_TOPIC_STATUS) != 0) {
        memcpy(s->topic_status, to->topic_status, sizeof s->topic_status);
    }
    if ((set & PAG_SETTING_TOPIC_WILL) != 0) {
        memcpy(s->topic_will, to->topic_will, sizeof s->topic_will);
    }
}

static enum pag_err change_settings(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct settings_in *in = op->in;
    struct pag_product *p = op->out;
    enum pag_err err = pag_find_product(op->call, pag_store_tx_db(tx), in->name, p);
    if (err != PAG_OK) {
        return err;
    }
    patch_settings(&p->settings, in->settings);
    err = check_product(op->call, p);
    err = err == PAG_OK ? pag_product_update(pag_store_tx_db(tx), p) : err;
    err = err == PAG_OK ? count_templates(tx, op) : err;
    p->revision++;
    err = err == PAG_OK ? audit_product(tx, op, p, "product.changed") : err;
    err = err == PAG_OK ? pag_rejudge_want(tx, p->id) : err;
    pag_store_tx_dirty(tx, p->id);
    return err;
}

void pag_app_product_settings(struct pag_call *call, const char *name,
                              const struct pag_settings_patch *settings, struct pag_product *out)
{
    struct settings_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        in->name = name;
        in->settings = settings;
        op->after = pag_rejudge_then_done;
        pag_op_submit(op, change_settings);
    }
}

/* ---- trust ---- */

struct trust_in {
    const char *product;
    uint32_t version;
    struct pag_span cose;
};

static enum pag_err refuse_trust(struct pag_call *call, enum pag_err err, const struct pag_fail *why)
{
    return pag_refuse(call, err, "trust-refused",
                      why->what != NULL ? why->what : "The trust set does not fit.");
}

static enum pag_err same_as_stored(struct pag_call *call, struct pag_db *db, const struct pag_product *p,
                                   const struct trust_in *in, bool *same)
{
    struct pag_trust_record have;
    enum pag_err err = pag_trust_row(db, call->arena, p->id, in->version, &have);
    *same = err == PAG_OK && pag_span_eq(have.cose, in->cose);
    if (err == PAG_OK && !*same) {
        return pag_refuse(call, PAG_E_EXISTS, "conflict",
                          "This version of the trust set exists with other bytes.");
    }
    return err == PAG_E_NOT_FOUND ? PAG_OK : err;
}

static enum pag_err accept(struct pag_op *op, struct pag_db *db, const struct pag_product *p,
                           struct pag_trust_set *set)
{
    const struct trust_in *in = op->in;
    const struct pag_crypto *crypto = op->call->thread->app->config.crypto;
    struct pag_fail why = { 0 };
    struct pag_trust_record old_row;
    enum pag_err err = PAG_OK;
    if (p->trust_version == 0) {
        err = pag_trust_accept_first(crypto, in->cose, NULL, set, &why);
        if (err == PAG_OK && in->version != 1) {
            err = pag_fail_set(&why, PAG_E_STALE, "the first trust set of a product has version 1",
                               in->version);
        }
    } else {
        struct pag_trust_set *old = pag_arena_alloc(op->call->arena, sizeof *old);
        err = old != NULL ? pag_trust_row(db, op->call->arena, p->id, p->trust_version, &old_row)
                          : PAG_E_NO_MEMORY;
        err = err == PAG_OK ? pag_trust_parse(old_row.cose, old, &why) : err;
        err = err == PAG_OK ? pag_trust_accept_next(crypto, old, old_row.digest, in->cose, set, &why) : err;
    }
    if (err == PAG_OK && set->version != in->version) {
        err = pag_fail_set(&why, PAG_E_CONFLICT, "the version in the set is not that of the address",
                           set->version);
    }
    if (err == PAG_OK && memcmp(set->product, p->id_bytes, sizeof set->product) != 0) {
        err = pag_fail_set(&why, PAG_E_PRODUCT, "the trust set is for another product", 0);
    }
    return err == PAG_OK ? err : refuse_trust(op->call, err, &why);
}

static enum pag_err put_trust(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct trust_in *in = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_product p;
    struct pag_trust_set *set = pag_arena_alloc(op->call->arena, sizeof *set);
    bool same = false;
    enum pag_err err = set != NULL ? pag_find_product(op->call, db, in->product, &p) : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? same_as_stored(op->call, db, &p, in, &same) : err;
    if (err != PAG_OK || same) {
        return err;
    }
    err = accept(op, db, &p, set);
    if (err != PAG_OK) {
        return err;
    }
    struct pag_trust_record row = { .version = in->version,
                                    .cose = in->cose,
                                    .expires_s = set->expires_at,
                                    .created_ms = pag_store_tx_now(tx) };
    pag_sha256_of(op->call->thread->app->config.crypto, in->cose, row.digest);
    p.trust_version = in->version;
    err = pag_trust_insert(db, p.id, &row);
    err = err == PAG_OK ? pag_product_update(db, &p) : err;
    pag_store_tx_dirty(tx, p.id);
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_field field[] = { PAG_F_U64("version", in->version),
                                       PAG_F_HEX("sha256", pag_span_of(row.digest, sizeof row.digest)) };
    const struct pag_event_in event = {
        .type = "trust.added", .product = p.id, .actor = pag_actor_of(op->call), .field = field, .field_n = 2
    };
    return pag_store_audit_add(tx, &event, p.name);
}

void pag_app_trust_put(struct pag_call *call, const char *product, uint32_t version, struct pag_span cose)
{
    struct trust_in *in = pag_arena_alloc(call->arena, sizeof *in);
    struct pag_op *op = pag_op_new(call, in, NULL);
    if (op != NULL) {
        *in = (struct trust_in){ product, version, cose };
        pag_op_submit(op, put_trust);
    }
}

enum pag_err pag_app_trust_list(struct pag_call *call, const char *product, struct pag_trust_row **list,
                                size_t *n)
{
    struct pag_product p;
    struct pag_trust_record *rows = NULL;
    enum pag_err err = pag_find_product(call, call->thread->db, product, &p);
    err = err == PAG_OK ? pag_trust_rows(call->thread->db, call->arena, p.id, &rows, n) : err;
    if (err != PAG_OK) {
        return err;
    }
    *list = pag_arena_alloc(call->arena, (*n + 1) * sizeof **list);
    for (size_t i = 0; *list != NULL && i < *n; i++) {
        struct pag_trust_row *t = &(*list)[i];
        t->version = rows[i].version;
        memcpy(t->digest, rows[i].digest, sizeof t->digest);
        t->created_ms = rows[i].created_ms;
        t->expires_at = rows[i].expires_s;
        t->cose = rows[i].cose;
    }
    return *list != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}
