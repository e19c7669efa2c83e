#include "server/app/enroll.h"

#include <string.h>

#include "core/bytes.h"
#include "host/token.h"
#include "host/x509.h"
#include "server/app/issuing.h"

/* ---- claims ---- */

/* Failed attempts of an address in this minute; shared by the addresses that fall into one bucket. */
static struct pag_claim_bucket *bucket_of(struct pag_app *app, const char *address)
{
    uint32_t at = pag_hash32(pag_span_str(address), 0x636C616DU) % PAG_CLAIM_BUCKETS;
    uint32_t minute = (uint32_t)(app->config.clock.now_ms(app->config.clock.ctx) / 60000) + 1;
    if (__atomic_exchange_n(&app->claims[at].minute, minute, __ATOMIC_RELAXED) != minute) {
        __atomic_store_n(&app->claims[at].failed, 0, __ATOMIC_RELAXED);
    }
    return &app->claims[at];
}

/* What the server could not do is not counted against who asked. */
static bool is_a_guess(enum pag_err err)
{
    return err == PAG_E_DENIED || err == PAG_E_EXPIRED || err == PAG_E_SYNTAX || err == PAG_E_SIGNATURE ||
           err == PAG_E_RANGE;
}

/* One answer for all that will not be taken later either: the device need not ask again. */
static enum pag_err refuse_claim(struct pag_call *call)
{
    return pag_refuse(call, PAG_E_EXPIRED, "claim-refused",
                      "The claim is unknown, used, expired or of another device.");
}

/* A code in many hands must not be a key to devices that are in service. */
static enum pag_err check_takeover(struct pag_call *call, struct pag_db *db, const struct pag_issuing *i,
                                   int64_t now_ms)
{
    bool live = false;
    bool same_key = false;
    if (i->code.mac[0] != '\0' || (i->proven != NULL && strcmp(i->proven, i->id) == 0)) {
        return PAG_OK;
    }
    enum pag_err err = pag_cert_live(db, i->id, i->key, now_ms, &live, &same_key);
    if (err != PAG_OK || !live || same_key) {
        return err;
    }
    call->refusal.help = "Make a code bound to its MAC, or let it ask with the certificate it has.";
    return pag_refuse(call, PAG_E_DENIED, "claim-refused", "The device is in service with another key.");
}

/* PAG_OK with repeated: the same key was answered a moment ago. */
static enum pag_err look_up(struct pag_call *call, struct pag_db *db, struct pag_issuing *i, int64_t now_ms)
{
    struct pag_redeemed before;
    struct pag_cert_row cert;
    enum pag_err err = pag_code_by_sha256(db, i->claim, &i->code);
    if (err != PAG_OK) {
        return err == PAG_E_NOT_FOUND ? refuse_claim(call) : err;
    }
    err = pag_redeemed_get(db, i->claim, i->key, &before);
    if (err == PAG_OK && now_ms - before.at_ms <= PAG_CLAIM_REPEAT_MS) {
        err = pag_cert_get(db, call->arena, before.serial, before.serial_n, &cert);
        if (err == PAG_OK && cert.revoked_ms == 0) {
            i->row = cert;
            i->repeated = true;
            return PAG_OK;
        }
    }
    if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
        return err;
    }
    return pag_claim_check(&i->code, i->mac, now_ms) == PAG_OK ? check_takeover(call, db, i, now_ms)
                                                               : refuse_claim(call);
}

static enum pag_err redeem(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_issuing *i = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    int64_t now = pag_store_tx_now(tx);
    struct pag_redeemed r;
    memset(&r, 0, sizeof r);
    enum pag_err err = look_up(op->call, db, i, now);
    if (err != PAG_OK || i->repeated) {
        return err;
    }
    err = pag_code_redeem(db, i->code.id, now);
    if (err == PAG_E_CONFLICT) {
        return refuse_claim(op->call);
    }
    err = err == PAG_OK ? pag_issuing_keep(tx, op, i) : err;
    memcpy(r.code, i->claim, sizeof r.code);
    memcpy(r.key, i->key, sizeof r.key);
    memcpy(r.device, i->row.device, sizeof r.device);
    memcpy(r.serial, i->row.serial, sizeof r.serial);
    r.serial_n = i->row.serial_n;
    r.at_ms = now;
    return err == PAG_OK ? pag_redeemed_put(db, &r) : err;
}

static enum pag_err answer(struct pag_call *call, const struct pag_issuing *i, struct pag_enroll_out *out)
{
    return pag_issuing_answer(call, i, &out->enrolled);
}

static void count_guess(struct pag_call *call, const struct pag_issuing *i, enum pag_err err)
{
    if (is_a_guess(err)) {
        pag_suspect_enrollment(call->thread, i->mac, i->address,
                               call->refusal.detail != NULL ? call->refusal.detail : pag_err_word(err));
        (void)__atomic_add_fetch(&bucket_of(call->thread->app, i->address)->failed, 1, __ATOMIC_RELAXED);
    }
}

static void redeemed(struct pag_op *op, enum pag_err err)
{
    count_guess(op->call, op->data, err);
    if (err == PAG_OK) {
        PAG_COUNT(op->call->thread->app, enrolled);
        err = answer(op->call, op->data, op->out);
    }
    op->call->done(op->call, err);
}

/* The request's key, before anything is asked of the database. */
static enum pag_err read_key(struct pag_call *call, const struct pag_enroll_in *in, struct pag_issuing *i)
{
    struct pag_fail why = { 0 };
    enum pag_err err = i->own != NULL ? pag_x509_key_sha256(i->own, i->key)
                                      : pag_x509_csr_key(in->enroll.csr, true, i->key, &i->rsa, &why);
    return err == PAG_OK ? PAG_OK : pag_refuse(call, err, NULL, why.what);
}

static enum pag_err certify(struct pag_call *call, const struct pag_enroll_in *in, struct pag_issuing *i)
{
    if (in->product != NULL) {
        struct pag_product wanted;
        enum pag_err err = pag_find_product(call, call->thread->db, in->product, &wanted);
        if (err != PAG_OK || strcmp(wanted.id, i->product.id) != 0) {
            return pag_refuse(call, PAG_E_DENIED, "claim-refused", "The claim is for another product.");
        }
    }
    enum pag_err err = in->strict ? pag_issuing_check(call, i, i->id, in->enroll.csr) : PAG_OK;
    if (err != PAG_OK || i->repeated) {
        return err;
    }
    return pag_issuing_make(call, i, i->id, in->enroll.csr, call->thread->app->config.device_lifetime_s);
}

static enum pag_err prepare(struct pag_call *call, const struct pag_enroll_in *in, struct pag_issuing *i)
{
    struct pag_claim claim;
    enum pag_err err = pag_claim_device_id(in->enroll.mac, i->id);
    err = err == PAG_OK ? pag_mac_text(in->enroll.mac, i->mac) : err;
    err = err == PAG_OK ? read_key(call, in, i) : err;
    if (err != PAG_OK) {
        return err;
    }
    if (pag_claim_parse(in->enroll.claim, &claim) != PAG_OK) {
        return refuse_claim(call);
    }
    memcpy(i->claim, claim.sha256, sizeof i->claim);
    memset(&claim, 0, sizeof claim);
    err = look_up(call, call->thread->db, i, pag_app_now_ms(call->thread->app));
    err = err == PAG_OK ? pag_product_get(call->thread->db, i->code.product, &i->product) : err;
    return err == PAG_OK ? certify(call, in, i) : err;
}

static enum pag_err check_rate(struct pag_call *call, const char *address)
{
    if (__atomic_load_n(&bucket_of(call->thread->app, address)->failed, __ATOMIC_RELAXED) <
        __atomic_load_n(&call->thread->app->config.claims_per_minute, __ATOMIC_RELAXED)) {
        return PAG_OK;
    }
    call->refusal.retry_s = 60;
    return pag_refuse(call, PAG_E_LIMIT, "rate-limited", "Too many claims from this address were refused.");
}

enum pag_err pag_app_claim_ready(struct pag_call *call, struct pag_span claim, const char *mac,
                                 const char *address)
{
    struct pag_issuing *i = pag_arena_alloc(call->arena, sizeof *i);
    struct pag_claim code;
    enum pag_err err = i != NULL ? check_rate(call, address) : PAG_E_NO_MEMORY;
    if (err != PAG_OK) {
        return err;
    }
    i->address = address;
    err = pag_claim_device_id(pag_span_str(mac), i->id);
    err = err == PAG_OK ? pag_mac_text(pag_span_str(mac), i->mac) : err;
    if (err == PAG_OK && pag_claim_parse(claim, &code) != PAG_OK) {
        err = refuse_claim(call);
    }
    if (err == PAG_OK) {
        memcpy(i->claim, code.sha256, sizeof i->claim);
        memset(&code, 0, sizeof code);
        err = look_up(call, call->thread->db, i, pag_app_now_ms(call->thread->app));
    }
    count_guess(call, i, err);
    return err;
}

enum pag_err pag_app_claim_product(struct pag_call *call, const uint8_t sha256[PAG_SHA256_BYTES],
                                   struct pag_product *out)
{
    struct pag_claim_code code;
    enum pag_err err = pag_code_by_sha256(call->thread->db, sha256, &code);
    return err == PAG_OK ? pag_product_get(call->thread->db, code.product, out) : err;
}

void pag_app_enroll(struct pag_call *call, const struct pag_enroll_in *in, struct pag_enroll_out *out)
{
    struct pag_issuing *i = pag_arena_alloc(call->arena, sizeof *i);
    struct pag_op *op = pag_op_new(call, i, out);
    if (op == NULL) {
        return;
    }
    op->data = i;
    i->address = in->address;
    i->proven = in->proven;
    i->own = in->key;
    enum pag_err err = check_rate(call, in->address);
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    err = prepare(call, in, i);
    count_guess(call, i, err);
    if (err != PAG_OK || i->repeated) {
        err = err == PAG_OK ? answer(call, i, out) : err;
        call->done(call, err);
        return;
    }
    op->after = redeemed;
    pag_op_submit(op, redeem);
}

/* ---- codes ---- */

static enum pag_err create_code(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_code_in *in = op->in;
    struct pag_code_out *out = op->out;
    struct pag_product p;
    enum pag_err err = pag_find_product(op->call, pag_store_tx_db(tx), in->product, &p);
    if (err != PAG_OK) {
        return err;
    }
    memcpy(out->code.product, p.id, sizeof out->code.product);
    out->code.created_ms = pag_store_tx_now(tx);
    out->code.expires_ms = out->code.created_ms + (int64_t)in->ttl_s * 1000;
    err = pag_code_insert(pag_store_tx_db(tx), &out->code);
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_field field[] = { PAG_F_U64("uses", in->uses), PAG_F_U64("ttl_s", in->ttl_s),
                                       PAG_F_STR("mac", out->code.mac) };
    const struct pag_event_in event = {
        .type = "code.created", .product = p.id, .actor = pag_actor_of(op->call), .field = field, .field_n = 3
    };
    return pag_store_audit_add(tx, &event, out->code.id);
}

static void group_claim(const char *text, char out[40])
{
    size_t n = 0;
    for (size_t i = 0; text[i] != '\0' && n < 38; i++) {
        if (i > 0 && i % 4 == 0) {
            out[n++] = '-';
        }
        out[n++] = text[i];
    }
    out[n] = '\0';
}

/* What the device will be called and tagged. */
static enum pag_err take_words(struct pag_call *call, const char *name, const char *tags,
                               struct pag_claim_code *code)
{
    enum pag_err err = PAG_OK;
    if (name != NULL && (!pag_device_name_ok(pag_span_str(name)) ||
                         pag_text_copy(code->name, sizeof code->name, pag_span_str(name)) != PAG_OK)) {
        err = pag_refuse_field(call, "/name", "at most 64 bytes of text");
    }
    if (tags != NULL && (!pag_device_tags_ok(pag_span_str(tags)) ||
                         pag_text_copy(code->tags, sizeof code->tags, pag_span_str(tags)) != PAG_OK)) {
        err = pag_refuse_field(call, "/tags", "each 1 to 32 of a-z, 0-9 and -_.:, 255 together");
    }
    return err;
}

/* Such a code could bring it here: only for who owns both products. */
static bool names_anothers(const struct pag_call *call, const char *mac)
{
    struct pag_device d;
    return mac[0] != '\0' && pag_device_get(call->thread->db, NULL, mac, &d) == PAG_OK &&
           !pag_scope_sees(&call->scope, d.product);
}

void pag_app_code_create(struct pag_call *call, const struct pag_code_in *in, struct pag_code_out *out)
{
    struct pag_claim claim;
    memset(out, 0, sizeof *out);
    enum pag_err err = PAG_OK;
    if (in->uses < 1 || in->uses > 100000) {
        err = pag_refuse_field(call, "/uses", "1 to 100000");
    }
    if (in->ttl_s < 60 || in->ttl_s > 366ULL * 86400) {
        err = pag_refuse_field(call, "/ttl_s", "60 to 31622400");
    }
    if (in->mac != NULL && pag_mac_text(pag_span_str(in->mac), out->code.mac) != PAG_OK) {
        err = pag_refuse_field(call, "/mac", "twelve hex digits");
    }
    err = take_words(call, in->name, in->tags, &out->code) == PAG_OK ? err : PAG_E_RANGE;
    if (in->mac == NULL && (out->code.name[0] != '\0' || out->code.tags[0] != '\0')) {
        err = pag_refuse_field(call, "/mac", "name and tags are of one device: give its MAC");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    if (names_anothers(call, out->code.mac)) {
        call->done(call, pag_refuse_field(call, "/mac", "is of a device of another product"));
        return;
    }
    pag_claim_make(&claim);
    pag_make_id(out->code.id, "code_", 8);
    memcpy(out->code.sha256, claim.sha256, sizeof out->code.sha256);
    out->code.uses = in->uses;
    out->code.uses_left = in->uses;
    (void)pag_text_copy(out->code.actor, sizeof out->code.actor, pag_span_str(pag_actor_of(call)));
    group_claim(claim.text, out->text);
    memset(&claim, 0, sizeof claim);
    struct pag_op *op = pag_op_new(call, in, out);
    if (op != NULL) {
        pag_op_submit(op, create_code);
    }
}

static enum pag_err delete_code(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct pag_event_in event = { .type = "code.deleted", .actor = pag_actor_of(op->call) };
    struct pag_claim_code *list = NULL;
    size_t n = 0;
    struct pag_db *db = pag_store_tx_db(tx);
    const char *product = op->call->scope.product != NULL ? op->call->scope.product : "";
    enum pag_err err = pag_code_list(db, op->call->arena, product, &list, &n);
    bool mine = false;
    for (size_t i = 0; i < n; i++) {
        mine = mine || strcmp(list[i].id, op->in) == 0;
    }
    err = err == PAG_OK && !mine ? PAG_E_NOT_FOUND : err;
    err = err == PAG_OK ? pag_code_remove(db, op->in) : err;
    return err == PAG_OK ? pag_store_audit_add(tx, &event, op->in) : err;
}

void pag_app_code_delete(struct pag_call *call, const char *id)
{
    struct pag_op *op = pag_op_new(call, id, NULL);
    if (op != NULL) {
        pag_op_submit(op, delete_code);
    }
}

enum pag_err pag_app_codes(struct pag_call *call, struct pag_claim_code **list, size_t *n)
{
    return pag_code_list(call->thread->db, call->arena,
                         call->scope.product != NULL ? call->scope.product : "", list, n);
}

/* ---- by an administrator ---- */

static enum pag_err issue(struct pag_store_tx *tx, struct pag_op *op)
{
    return pag_issuing_keep(tx, op, op->data);
}

void pag_app_issue(struct pag_call *call, const struct pag_issue_in *in, struct pag_issue_out *out)
{
    struct pag_issuing *i = pag_arena_alloc(call->arena, sizeof *i);
    struct pag_op *op = pag_op_new(call, i, out);
    if (op == NULL) {
        return;
    }
    uint64_t lifetime =
        in->days != 0 ? (uint64_t)in->days * 86400 : call->thread->app->config.device_lifetime_s;
    enum pag_err err = pag_find_product(call, call->thread->db, in->product, &i->product);
    if (err == PAG_OK && !pag_device_id_ok(pag_span_str(in->device))) {
        err = pag_refuse_field(call, "/device_id", "1 to 64 of 0-9, a-z and -");
    }
    i->own = in->key;
    err = err == PAG_OK ? take_words(call, in->name, in->tags, &i->code) : err;
    if (err == PAG_OK && in->key == NULL) {
        struct pag_fail why = { 0 };
        err = pag_x509_csr_key(in->csr, true, i->key, &i->rsa, &why);
        err = err == PAG_OK ? PAG_OK : pag_refuse(call, err, NULL, why.what);
    }
    err = err == PAG_OK ? pag_issuing_make(call, i, in->device, in->csr, lifetime) : err;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    (void)pag_mac_text(pag_span_str(in->device), i->mac);
    struct pag_buf b = { (uint8_t *)out->serial, 0, sizeof out->serial };
    (void)pag_buf_put_hex(&b, pag_span_of(i->row.serial, i->row.serial_n));
    (void)pag_buf_put_u8(&b, 0);
    memcpy(out->serial_bytes, i->row.serial, sizeof out->serial_bytes);
    out->serial_n = i->row.serial_n;
    out->der = i->row.der; /* in the arena with the rest of i */
    op->data = i;
    pag_op_submit(op, issue);
}

/* ---- certificates ---- */

static enum pag_err show(struct pag_call *call, const struct pag_cert_row *rows, size_t n,
                         struct pag_certificate **list, size_t *kept)
{
    *kept = 0;
    *list = pag_arena_alloc(call->arena, (n + 1) * sizeof **list);
    if (*list == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        struct pag_certificate *c = &(*list)[*kept];
        if (!pag_scope_sees(&call->scope, rows[i].product)) {
            continue;
        }
        memcpy(c->serial, rows[i].serial, sizeof c->serial);
        c->serial_n = rows[i].serial_n;
        memcpy(c->device, rows[i].device, sizeof c->device);
        memcpy(c->product, rows[i].product, sizeof c->product);
        memcpy(c->fingerprint, rows[i].fingerprint, sizeof c->fingerprint);
        c->not_before_ms = rows[i].not_before_ms;
        c->not_after_ms = rows[i].not_after_ms;
        c->issued_ms = rows[i].issued_ms;
        c->revoked_ms = rows[i].revoked_ms;
        (*kept)++;
    }
    return PAG_OK;
}

enum pag_err pag_app_certificates(struct pag_call *call, const struct pag_certificate_query *q,
                                  struct pag_certificate_list *out)
{
    struct pag_cert_row *rows = NULL;
    uint8_t after[20];
    size_t found = 0;
    uint32_t most = q->limit >= 1 && q->limit <= 1000 ? q->limit : 100;
    struct pag_db *db = call->thread->db;
    struct pag_cert_filter f = { .device = q->device != NULL ? q->device : "",
                                 .product = call->scope.product != NULL ? call->scope.product : "" };
    struct pag_span hex = pag_span_str(q->after);
    if (q->after != NULL) {
        f.after = after;
        f.after_n = hex.n / 2;
        if (f.after_n > sizeof after || pag_parse_hex(hex, after, f.after_n) != PAG_OK) {
            return PAG_E_RANGE;
        }
    }
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_cert_list(db, call->arena, &f, most, &rows, &found);
    err = err == PAG_OK ? pag_cert_total(db, &f, &out->total) : err;
    err = err == PAG_OK ? show(call, rows, found, &out->item, &out->n) : err;
    if (err == PAG_OK && found == most) {
        const struct pag_cert_row *last = &rows[found - 1];
        struct pag_buf text = { pag_arena_alloc(call->arena, 41), 0, 40 };
        if (text.p == NULL) {
            return PAG_E_NO_MEMORY;
        }
        (void)pag_buf_put_hex(&text, pag_span_of(last->serial, last->serial_n));
        out->next = (const char *)text.p;
    }
    return err;
}

enum pag_err pag_app_denials(struct pag_call *call, struct pag_denials *out)
{
    struct pag_cert_row *rows = NULL;
    struct pag_certificate *list = NULL;
    size_t n = 0;
    struct pag_db *db = call->thread->db;
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_cert_revoked(db, call->arena, pag_app_now_ms(call->thread->app), &rows, &n);
    err = err == PAG_OK ? show(call, rows, n, &list, &out->revoked_n) : err;
    const char **device = pag_arena_alloc(call->arena, (n + 1) * sizeof *device);
    if (err != PAG_OK || device == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    for (size_t i = 0; i < out->revoked_n; i++) {
        struct pag_device d;
        bool gone = pag_device_get(db, NULL, list[i].device, &d) == PAG_OK && d.revoked_ms != 0;
        for (size_t k = 0; k < out->device_n; k++) {
            gone = gone && strcmp(device[k], list[i].device) != 0;
        }
        if (gone) {
            device[out->device_n++] = list[i].device;
        }
    }
    out->revoked = list;
    out->device = device;
    return PAG_OK;
}
