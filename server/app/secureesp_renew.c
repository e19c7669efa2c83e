#include <string.h>

#include "core/bytes.h"
#include "server/app/issuing.h"
#include "server/app/op.h"
#include "server/app/secureesp.h"
#include "server/store/rows_dialect.h"

/*
 * The sketch asks for nothing by itself: at two thirds of a certificate's life the server makes the next one,
 * for the same key, and has it fetched. The device's row goes on naming the one before until the next has
 * been shown.
 */

enum { DAY_MS = 86400000, LOOK_BACK = 16, COMMANDS_MAX = 100 };

enum step { STEP_NONE, STEP_ISSUE, STEP_FETCH, STEP_BOOT, STEP_LOOK };

struct renewal {
    char id[PAG_DEVICE_ID_MAX + 1];
    enum step step;
    struct pag_device d;
    struct pag_cert_row held; /* the one that it uses */
    struct pag_cert_row next; /* made for the same key, not shown yet; serial_n 0: none */
    struct pag_issuing issuing;
};

static bool is_due(const struct pag_cert_row *c, int64_t now_ms)
{
    return c->revoked_ms == 0 && now_ms < c->not_after_ms &&
           (c->not_after_ms - now_ms) * 3 <= c->not_after_ms - c->not_before_ms;
}

/* The newest for its key after the one in use. *rests: a renewal was made within a day. */
static enum pag_err find_next(struct pag_db *db, struct pag_arena *arena, int64_t now_ms, struct renewal *r,
                              bool *rests)
{
    const struct pag_cert_filter mine = { .device = r->id, .product = "" };
    struct pag_cert_row *row = NULL;
    size_t n = 0;
    size_t same = 0;
    int64_t newest = 0;
    enum pag_err err = pag_cert_list(db, arena, &mine, LOOK_BACK, &row, &n);
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        if (row[i].revoked_ms != 0 || memcmp(row[i].key, r->held.key, sizeof row[i].key) != 0) {
            continue;
        }
        newest = same == 0 ? row[i].issued_ms : newest;
        if (same == 0 && row[i].issued_ms > r->held.issued_ms) {
            r->next = row[i];
        }
        same++;
    }
    *rests = same > 1 && now_ms - newest < DAY_MS;
    return err;
}

/* Newest first: the newest of a kind since then, or NULL. */
static const struct pag_command *last_of(const struct pag_command *list, size_t n, int kind, int64_t since_ms)
{
    for (size_t i = 0; i < n; i++) {
        if ((int)list[i].kind == kind && list[i].created_ms >= since_ms) {
            return &list[i];
        }
    }
    return NULL;
}

/* Fetch, boot and look, each when the one before is done. What has failed rests for a day. */
static enum step hand_over(const struct pag_command *list, size_t n, int64_t since_ms, int64_t now_ms)
{
    static const struct {
        int kind;
        enum step step;
    } stage[] = { { PAG_WORD_CERT, STEP_FETCH },
                  { PAG_COMMAND_REBOOT, STEP_BOOT },
                  { PAG_COMMAND_CHECK, STEP_LOOK } };
    for (size_t i = 0; i < sizeof stage / sizeof stage[0]; i++) {
        const struct pag_command *c = last_of(list, n, stage[i].kind, since_ms);
        if (c == NULL) {
            return stage[i].step;
        }
        if (c->state != PAG_COMMAND_DONE) {
            return now_ms - c->created_ms >= DAY_MS ? stage[i].step : STEP_NONE;
        }
        since_ms = c->created_ms;
    }
    return STEP_NONE;
}

static enum pag_err decide(struct pag_db *db, struct pag_arena *arena, int64_t now_ms, struct renewal *r)
{
    const struct pag_command_filter f = { .device = r->id, .limit = COMMANDS_MAX };
    struct pag_dialect_row dialect;
    struct pag_command *list = NULL;
    size_t n = 0;
    bool rests = false;
    r->step = STEP_NONE;
    r->next.serial_n = 0;
    enum pag_err err = pag_device_get(db, NULL, r->id, &r->d);
    if (err != PAG_OK || r->d.revoked_ms != 0 || r->d.open_action != 0 || r->d.cert_serial_n == 0) {
        return err;
    }
    err = pag_cert_get(db, arena, r->d.cert_serial, r->d.cert_serial_n, &r->held);
    if (err != PAG_OK || !is_due(&r->held, now_ms)) {
        return err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    err = pag_dialect_of(db, r->d.product, &dialect);
    if (err != PAG_OK || dialect.dialect != PAG_DIALECT_SECUREESP) {
        return err;
    }
    err = find_next(db, arena, now_ms, r, &rests);
    err = err == PAG_OK ? pag_command_list(db, arena, &f, &list, &n) : err;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        enum pag_command_state s = pag_command_state_at(&list[i], now_ms);
        if (s == PAG_COMMAND_QUEUED || s == PAG_COMMAND_SENT) {
            return PAG_OK; /* one after the other */
        }
    }
    if (err == PAG_OK && r->next.serial_n > 0 && (rests || !is_due(&r->next, now_ms))) {
        r->step = hand_over(list, n, r->next.issued_ms, now_ms);
    } else if (err == PAG_OK && !rests) {
        r->step = STEP_ISSUE;
    }
    return err;
}

static enum pag_err tell(struct pag_store_tx *tx, const struct pag_device *d, const struct pag_cert_row *c,
                         const char *type)
{
    const struct pag_field field[] = { PAG_F_HEX("serial", pag_span_of(c->serial, c->serial_n)),
                                       PAG_F_U64("not_after", (uint64_t)c->not_after_ms / 1000) };
    const struct pag_event_in event = {
        .type = type, .product = d->product, .device = d->id, .actor = "system", .field = field, .field_n = 2
    };
    return pag_store_event_add(tx, &event);
}

static enum pag_err take_step(struct pag_store_tx *tx, struct renewal *r)
{
    enum pag_err err = PAG_OK;
    switch (r->step) {
    case STEP_NONE:
        return PAG_OK;
    case STEP_ISSUE:
        r->issuing.row.issued_ms = pag_store_tx_now(tx);
        err = pag_cert_insert(pag_store_tx_db(tx), &r->issuing.row);
        err = err == PAG_OK ? tell(tx, &r->d, &r->issuing.row, "certificate.renewed") : err;
        return err == PAG_OK ? pag_secureesp_queue(tx, &r->d, (enum pag_command_kind)PAG_WORD_CERT) : err;
    case STEP_FETCH:
        return pag_secureesp_queue(tx, &r->d, (enum pag_command_kind)PAG_WORD_CERT);
    case STEP_BOOT:
        return pag_secureesp_queue(tx, &r->d, PAG_COMMAND_REBOOT);
    case STEP_LOOK:
        return pag_secureesp_queue(tx, &r->d, PAG_COMMAND_CHECK);
    }
    return PAG_OK;
}

/* Again, as something may have come between: then with the next status. */
static enum pag_err apply_step(struct pag_store_tx *tx, struct pag_op *op)
{
    struct renewal *r = op->data;
    enum step wanted = r->step;
    enum pag_err err = decide(pag_store_tx_db(tx), op->call->arena, pag_store_tx_now(tx), r);
    bool same = r->step == wanted &&
                (wanted != STEP_ISSUE || memcmp(r->held.key, r->issuing.row.key, sizeof r->held.key) == 0);
    return err == PAG_OK && same ? take_step(tx, r) : err;
}

static enum pag_err make_next(struct pag_call *call, struct renewal *r)
{
    EVP_PKEY *key = NULL;
    struct pag_span none = { NULL, 0 };
    enum pag_err err = pag_product_get(call->thread->db, r->d.product, &r->issuing.product);
    err = err == PAG_OK ? pag_x509_key_of_cert(r->held.der, &key) : err;
    r->issuing.own = key;
    if (err == PAG_OK) {
        err = pag_issuing_make(call, &r->issuing, r->id, none, call->thread->app->config.device_lifetime_s);
    }
    r->issuing.own = NULL;
    pag_x509_key_free(key);
    return err;
}

void pag_secureesp_renew(struct pag_call *call, const char *device)
{
    struct renewal *r = pag_arena_alloc(call->arena, sizeof *r);
    struct pag_op *op = pag_op_new(call, r, NULL);
    if (op == NULL) {
        return;
    }
    op->data = r;
    (void)pag_text_copy(r->id, sizeof r->id, pag_span_str(device));
    enum pag_err err = decide(call->thread->db, call->arena, pag_app_now_ms(call->thread->app), r);
    if (err == PAG_OK && r->step == STEP_ISSUE) {
        err = pag_app_ca(call->thread->app) != NULL ? make_next(call, r) : PAG_OK;
        r->step = pag_app_ca(call->thread->app) != NULL ? r->step : STEP_NONE;
    }
    if (err != PAG_OK || r->step == STEP_NONE) {
        call->done(call, err);
        return;
    }
    pag_op_submit(op, apply_step);
}

/* ---- in use ---- */

struct shown {
    struct pag_call call;
    char device[PAG_DEVICE_ID_MAX + 1];
    uint8_t serial[20];
    size_t serial_n;
};

static bool is_other(const struct pag_device *d, struct pag_span serial)
{
    return d->cert_serial_n > 0 && d->revoked_ms == 0 &&
           (d->cert_serial_n != serial.n || memcmp(d->cert_serial, serial.p, serial.n) != 0);
}

/* A later one for the same key: a device with two keys keeps the row that its administrator has made. */
static enum pag_err follows(struct pag_db *db, struct pag_arena *arena, const struct pag_device *d,
                            struct pag_span serial, struct pag_cert_row *out, bool *yes)
{
    struct pag_cert_row held;
    enum pag_err err = pag_cert_get(db, arena, d->cert_serial, d->cert_serial_n, &held);
    err = err == PAG_OK ? pag_cert_get(db, arena, serial.p, serial.n, out) : err;
    *yes = err == PAG_OK && out->revoked_ms == 0 && strcmp(out->device, d->id) == 0 &&
           memcmp(out->key, held.key, sizeof held.key) == 0 && out->issued_ms > held.issued_ms;
    return err == PAG_E_NOT_FOUND ? PAG_OK : err;
}

static enum pag_err apply_shown(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct shown *s = op->in;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_span serial = pag_span_of(s->serial, s->serial_n);
    struct pag_cert_row c;
    struct pag_device d;
    bool yes = false;
    enum pag_err err = pag_device_get(db, NULL, s->device, &d);
    if (err != PAG_OK || !is_other(&d, serial)) {
        return err;
    }
    err = follows(db, op->call->arena, &d, serial, &c, &yes);
    if (err != PAG_OK || !yes) {
        return err;
    }
    memcpy(d.cert_serial, c.serial, sizeof d.cert_serial);
    d.cert_serial_n = c.serial_n;
    d.cert_not_after_ms = c.not_after_ms;
    err = pag_device_update(db, &d);
    return err == PAG_OK ? tell(tx, &d, &c, "certificate.taken") : err;
}

static void shown_done(struct pag_call *call, enum pag_err err)
{
    const struct shown *s = call->user;
    if (err != PAG_OK) {
        pag_log_warn(call->thread->app->config.log, "secureesp.certificate_not_kept",
                     PAG_F_STR("device", s->device), PAG_F_STR("error", pag_err_word(err)));
    }
    pag_arena_close(call->arena);
}

void pag_app_secureesp_shown(struct pag_app_thread *thread, const char *device, struct pag_span serial)
{
    struct pag_device d;
    if (serial.n > sizeof((struct shown *)NULL)->serial ||
        pag_device_get(thread->db, NULL, device, &d) != PAG_OK || !is_other(&d, serial)) {
        return;
    }
    struct pag_arena *arena = pag_arena_open(thread->pool, 1 << 20);
    struct shown *s = arena != NULL ? pag_arena_alloc(arena, sizeof *s) : NULL;
    if (s == NULL || pag_text_copy(s->device, sizeof s->device, pag_span_str(device)) != PAG_OK) {
        pag_arena_close(arena);
        return;
    }
    memcpy(s->serial, serial.p, serial.n);
    s->serial_n = serial.n;
    s->call = (struct pag_call){ .thread = thread, .arena = arena, .done = shown_done, .user = s };
    struct pag_op *op = pag_op_new(&s->call, s, NULL);
    if (op != NULL) {
        pag_op_submit(op, apply_shown);
    }
}
