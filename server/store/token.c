#include <string.h>

#include "core/bytes.h"
#include "server/store/rows.h"
#include "server/store/tx.h"

struct token_order {
    struct pag_intent intent;
    struct pag_access_token row;
    uint64_t ttl_s;
};

static enum pag_err insert(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct token_order *o = intent->ctx;
    o->row.created_ms = pag_store_tx_now(tx);
    o->row.expires_ms = o->ttl_s != 0 ? o->row.created_ms + (int64_t)o->ttl_s * 1000 : 0;
    enum pag_err err = pag_token_row_insert(pag_store_tx_db(tx), &o->row);
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_field field[] = { PAG_F_STR("name", o->row.name),
                                       PAG_F_STR("role", pag_role_word(o->row.role)) };
    const struct pag_event_in event = {
        .type = "token.created", .actor = "local", .field = field, .field_n = sizeof field / sizeof field[0]
    };
    return pag_store_audit_add(tx, &event, o->row.id);
}

enum pag_err pag_store_token_insert(struct pag_store *store, const char *name, const char *role,
                                    const char *id, const uint8_t sha256[PAG_SHA256_BYTES], uint64_t ttl_s)
{
    struct token_order order = { .intent = { .apply = insert }, .ttl_s = ttl_s };
    order.intent.ctx = &order;
    order.row.role = pag_role_by_word(pag_span_str(role));
    if (order.row.role == PAG_ROLE_NONE || ttl_s > INT64_MAX / 2000) {
        return PAG_E_RANGE;
    }
    enum pag_err err = pag_text_copy(order.row.name, sizeof order.row.name, pag_span_str(name));
    if (err == PAG_OK) {
        err = pag_text_copy(order.row.id, sizeof order.row.id, pag_span_str(id));
    }
    if (err != PAG_OK) {
        return err;
    }
    memcpy(order.row.sha256, sha256, sizeof order.row.sha256);
    return pag_store_apply(store, &order.intent);
}
