#include "server/app/device_key.h"

#include <string.h>

#include "core/bytes.h"
#include "host/fs.h"
#include "host/seal.h"
#include "host/token.h"
#include "host/x509.h"
#include "server/app/dialect.h"
#include "server/app/enroll.h"
#include "server/app/op.h"
#include "server/store/rows_dialect.h"

enum { PEM_MAX = 4096 };

/* One key from making to keeping; in the call's arena. */
struct making {
    struct pag_op *op; /* the outer one: its after ends the call */
    struct pag_call *call;
    void (*done)(struct pag_call *call, enum pag_err err); /* the head's */
    void *user;
    const struct pag_device_file_in *in; /* NULL: by an operator */
    struct pag_span *out;
    struct pag_device_key_out *made;
    char device[PAG_DEVICE_ID_MAX + 1];
    struct pag_product product;
    bool rsa;
    EVP_PKEY *key;
    uint8_t pem[PEM_MAX];
    size_t pem_n;
    uint8_t claim[PAG_SHA256_BYTES];
    struct pag_sealed_key row;
    struct pag_enroll_in enroll;
    struct pag_enroll_out enrolled;
    struct pag_issue_in issue;
    struct pag_issue_out issued;
    struct pag_span der;
};

static void finish(struct making *m, enum pag_err err)
{
    struct pag_call *call = m->call;
    pag_x509_key_free(m->key);
    m->key = NULL;
    memset(m->pem, 0, sizeof m->pem);
    call->done = m->done;
    call->user = m->user;
    call->done(call, err);
}

static struct pag_span bound_of(struct pag_arena *arena, const char *device)
{
    return pag_span_str(pag_arena_printf(arena, "device-key/%s", device));
}

/* ---- keeping ---- */

static enum pag_err keep(struct pag_store_tx *tx, struct pag_op *op)
{
    struct making *m = op->data;
    struct pag_device d;
    m->row.made_ms = pag_store_tx_now(tx);
    enum pag_err err = pag_device_get(pag_store_tx_db(tx), NULL, m->device, &d);
    err = err == PAG_OK ? pag_sealed_key_put(pag_store_tx_db(tx), &m->row) : err;
    const struct pag_field field[] = { PAG_F_HEX("serial", pag_span_of(m->row.serial, m->row.serial_n)),
                                       PAG_F_U64("fetched", m->row.sealed.n == 0) };
    const struct pag_event_in event = { .type = "key.made",
                                        .product = d.product,
                                        .device = m->device,
                                        .actor = pag_actor_of(op->call),
                                        .field = field,
                                        .field_n = 2 };
    return err == PAG_OK ? pag_store_audit_add(tx, &event, m->device) : err;
}

/* A key that goes out with this very answer is never written down. */
static bool goes_out(const struct making *m)
{
    return m->in != NULL && m->in->file == PAG_DEVICE_FILE_KEY;
}

static void kept(struct pag_op *op, enum pag_err err)
{
    struct making *m = op->data;
    struct pag_span answer = goes_out(m) ? pag_span_of(m->pem, m->pem_n) : m->der;
    if (err == PAG_OK && m->out != NULL) {
        *m->out = pag_arena_copy(op->call->arena, answer);
        err = m->out->p != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    }
    finish(m, err);
}

static void keep_key(struct making *m)
{
    const struct pag_app_config *config = &m->call->thread->app->config;
    size_t n = m->pem_n + PAG_SEAL_EXTRA;
    struct pag_buf sealed = { pag_arena_alloc(m->call->arena, n), 0, n };
    enum pag_err err = sealed.p != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    if (err == PAG_OK && !goes_out(m)) {
        err = pag_seal(config->seal, bound_of(m->call->arena, m->device), pag_span_of(m->pem, m->pem_n),
                       &sealed);
    }
    memcpy(m->row.device, m->device, sizeof m->row.device);
    m->row.sealed = pag_buf_span(&sealed);
    m->row.claim = pag_span_of(m->claim, m->in != NULL ? sizeof m->claim : 0);
    struct pag_op *op = err == PAG_OK ? pag_arena_alloc(m->call->arena, sizeof *op) : NULL;
    if (op == NULL) {
        finish(m, err != PAG_OK ? err : PAG_E_NO_MEMORY);
        return;
    }
    *op = (struct pag_op){ .call = m->call, .in = m, .data = m, .after = kept };
    pag_op_submit(op, keep);
}

/* ---- certifying ---- */

static void enrolled(struct pag_call *call, enum pag_err err)
{
    struct making *m = call->user;
    struct pag_x509_info info;
    m->der = m->enrolled.enrolled.certificate;
    err = err == PAG_OK ? pag_x509_info(m->der, &info) : err;
    if (err != PAG_OK) {
        finish(m, err);
        return;
    }
    memcpy(m->row.serial, info.serial, sizeof m->row.serial);
    m->row.serial_n = info.serial_n;
    keep_key(m);
}

static void issued(struct pag_call *call, enum pag_err err)
{
    struct making *m = call->user;
    if (err != PAG_OK) {
        finish(m, err);
        return;
    }
    m->der = m->issued.der;
    memcpy(m->row.serial, m->issued.serial_bytes, sizeof m->row.serial);
    m->row.serial_n = m->issued.serial_n;
    memcpy(m->made->serial, m->issued.serial, sizeof m->made->serial);
    keep_key(m);
}

static void certify(struct pag_op *op, enum pag_err err)
{
    struct making *m = op->data;
    if (err != PAG_OK) {
        finish(m, err);
        return;
    }
    m->call->user = m;
    if (m->in == NULL) {
        m->issue = (struct pag_issue_in){ .device = m->device, .product = m->product.id, .key = m->key };
        m->call->done = issued;
        pag_app_issue(m->call, &m->issue, &m->issued);
        return;
    }
    m->enroll = (struct pag_enroll_in){ .enroll = { .claim = m->in->claim, .mac = pag_span_str(m->device) },
                                        .address = m->in->address,
                                        .proven = m->in->proven,
                                        .key = m->key };
    m->call->done = enrolled;
    pag_app_enroll(m->call, &m->enroll, &m->enrolled);
}

/* ---- making: on the worker, as RSA takes its time ---- */

static enum pag_err make_key(struct pag_op *op)
{
    struct making *m = op->data;
    struct pag_buf pem = { NULL, 0, 0 };
    m->key = pag_x509_key_new(m->rsa);
    enum pag_err err = m->key != NULL ? pag_x509_key_pem(m->key, NULL, &pem) : PAG_E_INTERNAL;
    if (err == PAG_OK && pem.n <= sizeof m->pem) {
        memcpy(m->pem, pem.p, pem.n);
        m->pem_n = pem.n;
    } else if (err == PAG_OK) {
        err = PAG_E_LIMIT;
    }
    pag_fs_buf_free(&pem);
    return err;
}

static void begin(struct pag_call *call, struct making *m)
{
    struct pag_dialect_settings of_product;
    struct pag_op *op = pag_op_new(call, m, NULL);
    if (op == NULL) {
        return;
    }
    m->op = op;
    m->call = call;
    m->done = call->done;
    m->user = call->user;
    op->data = m;
    enum pag_err err = call->thread->app->config.has_seal ? PAG_OK : PAG_E_UNSUPPORTED;
    err = err == PAG_OK ? pag_app_dialect(call, m->product.id, NULL, &of_product, NULL) : err;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    m->rsa = of_product.key_kind == PAG_DEVICE_KEY_RSA2048;
    pag_op_work(op, make_key, certify);
}

void pag_app_device_key_new(struct pag_call *call, const char *device, struct pag_device_key_out *out)
{
    struct making *m = pag_arena_alloc(call->arena, sizeof *m);
    struct pag_device d;
    enum pag_err err = m != NULL ? pag_find_device(call, call->thread->db, device, &d) : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? pag_product_get(call->thread->db, d.product, &m->product) : err;
    if (err == PAG_OK && d.revoked_ms != 0) {
        err = pag_refuse(call, PAG_E_CONFLICT, "conflict", "The device is revoked.");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    memcpy(m->device, d.id, sizeof m->device);
    m->made = out;
    begin(call, m);
}

/* ---- fetching ---- */

struct fetching {
    const struct pag_device_file_in *in;
    struct pag_sealed_key row;
    struct pag_span *out;
};

static enum pag_err erase(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct fetching *f = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_device d;
    enum pag_err err = pag_device_get(db, NULL, f->row.device, &d);
    err = err == PAG_OK ? pag_sealed_key_erase(db, &f->row) : err;
    const struct pag_field field[] = { PAG_F_STR("address", f->in->address) };
    const struct pag_event_in event = { .type = "key.fetched",
                                        .product = d.product,
                                        .device = f->row.device,
                                        .actor = "device",
                                        .field = field,
                                        .field_n = 1 };
    return err == PAG_OK ? pag_store_event_add(tx, &event) : err;
}

static void erased(struct pag_op *op, enum pag_err err)
{
    struct fetching *f = op->data;
    struct pag_arena *arena = op->call->arena;
    struct pag_buf pem = { pag_arena_alloc(arena, f->row.sealed.n), 0, f->row.sealed.n };
    if (err == PAG_OK) {
        err = pem.p != NULL ? pag_unseal(op->call->thread->app->config.seal, bound_of(arena, f->row.device),
                                         f->row.sealed, &pem)
                            : PAG_E_NO_MEMORY;
        *f->out = pag_buf_span(&pem);
    }
    op->call->done(op->call, err == PAG_E_CONFLICT ? PAG_E_EXPIRED : err);
}

static void fetch_key(struct pag_call *call, struct fetching *f)
{
    if (f->row.sealed.n == 0) {
        call->done(call,
                   pag_refuse(call, PAG_E_EXPIRED, NULL, "The key has been fetched: it is given once."));
        return;
    }
    struct pag_op *op = pag_op_new(call, f, f->out);
    if (op != NULL) {
        op->data = f;
        op->after = erased;
        pag_op_submit(op, erase);
    }
}

static enum pag_err fetch_cert(struct pag_call *call, const struct fetching *f, const uint8_t *serial,
                               size_t n)
{
    struct pag_cert_row cert;
    enum pag_err err = pag_cert_get(call->thread->db, call->arena, serial, n, &cert);
    if (err == PAG_OK && (cert.revoked_ms != 0 || strcmp(cert.device, f->in->device) != 0)) {
        err = PAG_E_NOT_FOUND;
    }
    *f->out = err == PAG_OK ? cert.der : *f->out;
    return err;
}

static void fetch_newest_cert(struct pag_call *call, const struct fetching *f)
{
    const struct pag_cert_filter mine = { .device = f->in->device, .product = "" };
    struct pag_cert_row *row = NULL;
    size_t n = 0;
    enum pag_err err = pag_cert_list(call->thread->db, call->arena, &mine, 16, &row, &n);
    size_t at = 0;
    while (at < n && row[at].revoked_ms != 0) {
        at++;
    }
    err = err == PAG_OK && at == n ? PAG_E_NOT_FOUND : err;
    call->done(call, err == PAG_OK ? fetch_cert(call, f, row[at].serial, row[at].serial_n) : err);
}

static void with_certificate(struct pag_call *call, struct fetching *f, enum pag_err held)
{
    if (strcmp(f->in->proven, f->in->device) != 0) {
        call->done(call, pag_refuse(call, PAG_E_DENIED, NULL,
                                    "A device is given its own files only: the certificate names another."));
    } else if (f->in->file == PAG_DEVICE_FILE_CERT) {
        fetch_newest_cert(call, f);
    } else if (held != PAG_OK) {
        call->done(call, held);
    } else {
        fetch_key(call, f);
    }
}

/* The claim that made what is held answers for the other file; else it is redeemed. */
static void with_claim(struct pag_call *call, struct fetching *f, enum pag_err held)
{
    struct pag_claim claim;
    enum pag_err err = held == PAG_OK || held == PAG_E_NOT_FOUND ? PAG_OK : held;
    struct making *m = err == PAG_OK ? pag_arena_alloc(call->arena, sizeof *m) : NULL;
    bool parsed = m != NULL && pag_claim_parse(f->in->claim, &claim) == PAG_OK;
    if (parsed && held == PAG_OK && f->row.claim.n == PAG_SHA256_BYTES &&
        pag_equal_ct(f->row.claim.p, claim.sha256, PAG_SHA256_BYTES)) {
        if (f->in->file == PAG_DEVICE_FILE_KEY) {
            fetch_key(call, f);
        } else {
            call->done(call, fetch_cert(call, f, f->row.serial, f->row.serial_n));
        }
        return;
    }
    err = m == NULL && err == PAG_OK ? PAG_E_NO_MEMORY : err;
    err = err == PAG_OK ? pag_app_claim_ready(call, f->in->claim, f->in->device, f->in->address) : err;
    err = err == PAG_OK ? pag_app_claim_product(call, claim.sha256, &m->product) : err;
    struct pag_product wanted;
    err = err == PAG_OK ? pag_find_product(call, call->thread->db, f->in->product, &wanted) : err;
    if (err == PAG_OK && strcmp(wanted.id, m->product.id) != 0) {
        err = pag_refuse(call, PAG_E_PRODUCT, NULL, "The claim is for another product.");
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    memcpy(m->claim, claim.sha256, sizeof m->claim);
    (void)pag_text_copy(m->device, sizeof m->device, pag_span_str(f->in->device));
    m->in = f->in;
    m->out = f->out;
    begin(call, m);
}

void pag_app_device_file(struct pag_call *call, const struct pag_device_file_in *in, struct pag_span *out)
{
    struct fetching *f = pag_arena_alloc(call->arena, sizeof *f);
    if (f == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    f->in = in;
    f->out = out;
    enum pag_err held = pag_sealed_key_get(call->thread->db, call->arena, in->device, &f->row);
    if (in->proven != NULL) {
        with_certificate(call, f, held);
    } else if (in->claim.n > 0) {
        with_claim(call, f, held);
    } else {
        call->done(call, PAG_E_UNAUTHENTICATED);
    }
}
