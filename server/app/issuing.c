#include "server/app/issuing.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/dialect.h"
#include "server/store/rows_relay.h"

/* Devices of the product may have RSA keys. */
static enum pag_err check_kind(struct pag_call *call, const struct pag_issuing *i)
{
    struct pag_dialect_settings of_product;
    enum pag_err err = i->rsa ? pag_app_dialect(call, i->product.id, NULL, &of_product, NULL) : PAG_OK;
    if (err == PAG_OK && i->rsa && of_product.key_kind != PAG_DEVICE_KEY_RSA2048) {
        return pag_refuse(call, PAG_E_UNSUPPORTED, NULL,
                          "This product's devices have keys of the curve P-256.");
    }
    return err;
}

enum pag_err pag_issuing_check(struct pag_call *call, const struct pag_issuing *i, const char *device,
                               struct pag_span csr)
{
    char cn[PAG_DEVICE_ID_MAX + 1];
    char mac[13];
    struct pag_fail why = { 0 };
    enum pag_err err = pag_x509_csr_cn(csr, cn, &why);
    bool same = cn[0] == '\0' || strcmp(cn, device) == 0 ||
                (pag_mac_text(pag_span_str(cn), mac) == PAG_OK && strcmp(mac, device) == 0);
    if (err == PAG_OK && !same) {
        err = pag_fail_set(&why, PAG_E_DENIED, "request is for another common name", 0);
    }
    err = err == PAG_OK ? pag_x509_csr_modest(csr, device, i->product.id_bytes, &why) : err;
    return err == PAG_OK ? PAG_OK : pag_refuse(call, PAG_E_RANGE, NULL, why.what);
}

enum pag_err pag_issuing_make(struct pag_call *call, struct pag_issuing *i, const char *device,
                              struct pag_span csr, uint64_t lifetime_s)
{
    const struct pag_ca *ca = pag_app_ca(call->thread->app);
    struct pag_fail why = { 0 };
    const struct pag_cert_order order = { .cn = device,
                                          .product = i->product.id_bytes,
                                          .now = (uint64_t)pag_app_now_ms(call->thread->app) / 1000,
                                          .lifetime_s = lifetime_s,
                                          .rsa = i->rsa };
    if (ca == NULL) {
        return PAG_E_UNSUPPORTED;
    }
    enum pag_err err = check_kind(call, i);
    if (err != PAG_OK) {
        return err;
    }
    err = i->own != NULL ? pag_ca_issue_device_key(ca, i->own, &order, &i->issued, &why)
                         : pag_ca_issue_client(ca, csr, &order, &i->issued, &why);
    if (err != PAG_OK) {
        return pag_refuse(call, err, NULL, why.what);
    }
    const struct pag_x509_info *info = &i->issued.info;
    memcpy(i->row.serial, info->serial, sizeof i->row.serial);
    i->row.serial_n = info->serial_n;
    (void)pag_text_copy(i->row.device, sizeof i->row.device, pag_span_str(device));
    memcpy(i->row.product, i->product.id, sizeof i->row.product);
    memcpy(i->row.key, info->key_sha256, sizeof i->row.key);
    memcpy(i->row.issuer, pag_ca_info(ca)->key_sha256, sizeof i->row.issuer);
    memcpy(i->row.fingerprint, info->fingerprint, sizeof i->row.fingerprint);
    i->row.der = pag_span_of(i->issued.der, i->issued.der_n);
    i->row.not_before_ms = (int64_t)info->not_before * 1000;
    i->row.not_after_ms = (int64_t)info->not_after * 1000;
    return PAG_OK;
}

enum { COMMANDS_MAX = 100 };

/* Nothing but its own word has ever stood for it. */
static bool is_stranger(const struct pag_device *d)
{
    return d->proof == PAG_PROOF_SAID && d->cert_serial_n == 0 && d->enrolled_ms == 0 && d->revoked_ms == 0;
}

/* By a code for just this MAC, or by who owns all products. */
static bool is_meant(const struct pag_op *op, const struct pag_issuing *i)
{
    const struct pag_scope *s = &op->call->scope;
    return i->code.mac[0] != '\0' ||
           (s->role == PAG_ROLE_ADMIN && (s->product == NULL || s->product[0] == '\0'));
}

/* Commands of its product are not for it any more. */
static enum pag_err end_commands(struct pag_store_tx *tx, struct pag_op *op, struct pag_device *d)
{
    const struct pag_command_filter f = { .device = d->id, .limit = COMMANDS_MAX };
    struct pag_command *list = NULL;
    size_t n = 0;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = pag_command_list(db, op->call->arena, &f, &list, &n);
    for (size_t k = 0; err == PAG_OK && k < n; k++) {
        const struct pag_native_result result = { .id = list[k].id,
                                                  .code = 1,
                                                  .text = pag_span_str("the device left the product") };
        err = pag_command_end(tx, op, d->id, &result);
    }
    return err == PAG_OK ? pag_device_get(db, NULL, d->id, d) : err;
}

/* Anybody can say a MAC where a product admits that. Who was meant by name comes before such a one: it leaves
 * its product and begins anew. */
static enum pag_err take_over(struct pag_store_tx *tx, struct pag_op *op, struct pag_issuing *i)
{
    struct pag_device *d = &i->device;
    struct pag_device fresh;
    struct pag_action a;
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = PAG_OK;
    if (d->open_action != 0 && pag_action_get(db, d->open_action, &a) == PAG_OK) {
        a.state = PAG_REPORT_CANCELLED;
        a.changed_ms = pag_store_tx_now(tx);
        err = pag_action_update(db, &a);
        err = err == PAG_OK ? pag_action_event(tx, &a) : err;
    }
    err = err == PAG_OK ? pag_device_image_clear(db, d->id) : err;
    err = err == PAG_OK ? pag_neighbour_remove(db, d->id) : err;
    err = err == PAG_OK ? end_commands(tx, op, d) : err;
    memset(&fresh, 0, sizeof fresh);
    memcpy(fresh.id, d->id, sizeof fresh.id);
    memcpy(fresh.product, i->product.id, sizeof fresh.product);
    memcpy(fresh.mac, i->mac, sizeof fresh.mac);
    memcpy(fresh.name, i->code.name, sizeof i->code.name);
    fresh.tags = i->code.tags;
    fresh.created_ms = d->created_ms;
    fresh.revision = d->revision;
    *d = fresh;
    return err;
}

enum pag_err pag_issuing_keep(struct pag_store_tx *tx, struct pag_op *op, struct pag_issuing *i)
{
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device *d = &i->device;
    int64_t now = pag_store_tx_now(tx);
    bool taken = false;
    enum pag_err err = pag_cert_key_taken(db, i->row.key, i->row.device, &taken);
    if (err != PAG_OK || taken) {
        return err != PAG_OK ? err : pag_refuse(op->call, PAG_E_DENIED, NULL, "Another device has this key.");
    }
    err = pag_device_get(db, NULL, i->row.device, d);
    i->is_new = err == PAG_E_NOT_FOUND;
    if (i->is_new) {
        memset(d, 0, sizeof *d);
        memcpy(d->id, i->row.device, sizeof d->id);
        memcpy(d->product, i->product.id, sizeof d->product);
        memcpy(d->mac, i->mac, sizeof d->mac);
        memcpy(d->name, i->code.name, sizeof i->code.name);
        d->tags = i->code.tags[0] != '\0' ? i->code.tags : NULL;
        d->created_ms = now;
        err = PAG_OK;
    }
    if (err != PAG_OK) {
        return err;
    }
    bool moves = strcmp(d->product, i->product.id) != 0 && is_stranger(d);
    if (moves && is_meant(op, i)) {
        err = take_over(tx, op, i);
    } else if (moves) {
        op->call->refusal.help =
            "Nothing but its word stands for it there: a code bound to its MAC brings it here.";
    }
    if (err != PAG_OK) {
        return err;
    }
    if (d->revoked_ms != 0 || strcmp(d->product, i->product.id) != 0) {
        return pag_refuse(op->call, PAG_E_DENIED, NULL,
                          "The device is revoked or belongs to another product.");
    }
    i->row.issued_ms = now;
    d->enrolled_ms = d->enrolled_ms != 0 ? d->enrolled_ms : now;
    d->cert_serial_n = i->row.serial_n;
    memcpy(d->cert_serial, i->row.serial, sizeof d->cert_serial);
    d->cert_not_after_ms = i->row.not_after_ms;
    err = i->is_new ? pag_device_insert(db, d) : pag_device_update(db, d);
    err = err == PAG_OK ? pag_cert_insert(db, &i->row) : err;
    char owner[PAG_DEVICE_ID_MAX + 1];
    if (err == PAG_OK && i->is_new && d->mac[0] != '\0' &&
        pag_device_mac_owner(db, d->mac, d->id, owner) == PAG_OK) {
        err = pag_suspect_event(tx, d, d->mac, owner);
    }
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_field field[] = { PAG_F_HEX("serial", pag_span_of(i->row.serial, i->row.serial_n)),
                                       PAG_F_U64("created", i->is_new),
                                       PAG_F_U64("not_after", (uint64_t)i->row.not_after_ms / 1000) };
    const struct pag_event_in event = { .type = "device.enrolled",
                                        .product = d->product,
                                        .device = d->id,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 3 };
    return pag_store_audit_add(tx, &event, d->id);
}

enum pag_err pag_issuing_answer(struct pag_call *call, const struct pag_issuing *i,
                                struct pag_native_enrolled *e)
{
    const struct pag_app_config *config = &call->thread->app->config;
    memset(e, 0, sizeof *e);
    e->device_id = pag_arena_copy(call->arena, pag_span_str(i->row.device));
    e->certificate = pag_arena_copy(call->arena, i->row.der);
    e->issuer = pag_ca_der(pag_app_ca(call->thread->app));
    e->product = pag_arena_copy(call->arena, pag_span_of(i->product.id_bytes, sizeof i->product.id_bytes));
    e->mqtt_host = pag_span_str(config->mqtt_host);
    e->mqtt_port = config->mqtt_port;
    e->trust_version = i->product.trust_version;
    return e->device_id.p != NULL && e->certificate.p != NULL && e->product.p != NULL ? PAG_OK
                                                                                      : PAG_E_NO_MEMORY;
}
