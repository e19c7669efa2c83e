#include "server/app/relay.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/image_check.h"
#include "server/app/op.h"
#include "server/app/report.h"
#include "server/store/rows_relay.h"

enum { HOUR_MS = 3600000 };

static bool is_push(enum pag_protocol p)
{
    return p >= PAG_PROTOCOL_PUSH_ESPOTA && p <= PAG_PROTOCOL_PUSH_WLED;
}

/* ---- seen ---- */

struct sighted {
    const struct pag_sighting *in;
    struct pag_check_in check;
    struct pag_neighbour before, now;
    bool is_pushed; /* an image is on its way: another text may be its */
    void (*done)(struct pag_call *call, enum pag_err err);
    void *user;
};

static const struct pag_release_image *firmware_of(const struct pag_release *r)
{
    for (size_t i = 0; i < r->image_n; i++) {
        if (r->image[i].kind != PAG_IMAGE_FILESYSTEM) {
            return &r->image[i];
        }
    }
    return NULL;
}

static void keep_what_is_known(const struct pag_device *d, struct pag_facts *f)
{
    f->running = d->facts.running;
    f->version = d->facts.version;
}

/*
 * What a version text means. One of a release of ours: that release. Another: it says nothing of what we
 * have pushed, unless it changes without us. None: what was pushed last still runs.
 */
static void read_version(const struct pag_catalog *c, const struct pag_device *d, const struct sighted *s,
                         struct pag_facts *f)
{
    const char *said = s->now.said;
    uint32_t release = 0;
    uint32_t image = 0;
    if (said[0] == '\0') {
        keep_what_is_known(d, f);
        return;
    }
    f->version.source = PAG_SAID;
    (void)pag_text_copy(f->version.value, sizeof f->version.value, pag_span_str(said));
    if (pag_catalog_by_version(c, said, &release)) {
        const struct pag_release *r = c->release[release].release;
        uint32_t held = 0;
        bool same = d->facts.running.source != PAG_ABSENT &&
                    pag_catalog_by_sha256(c, d->facts.running.value, &held, &image) && held == release;
        const struct pag_release_image *fw = firmware_of(r);
        if (same) {
            f->running = d->facts.running;
        } else if (fw != NULL) {
            f->running.source = PAG_LEARNED;
            memcpy(f->running.value, fw->sha256, sizeof f->running.value);
        }
        return;
    }
    if (s->is_pushed || strcmp(said, s->before.said) == 0) {
        keep_what_is_known(d, f);
    }
}

static enum pag_err put_neighbour(struct pag_store_tx *tx, struct pag_op *op)
{
    const struct sighted *s = op->in;
    return pag_neighbour_put(pag_store_tx_db(tx), &s->now);
}

static void recorded(struct pag_op *op, enum pag_err err)
{
    const struct sighted *s = op->in;
    op->call->done = s->done;
    op->call->user = s->user;
    op->call->done(op->call, err);
}

static bool has_news(const struct sighted *s)
{
    const struct pag_neighbour *a = &s->before;
    const struct pag_neighbour *b = &s->now;
    return strcmp(a->address, b->address) != 0 || strcmp(a->said, b->said) != 0 ||
           strcmp(a->name, b->name) != 0 || strcmp(a->relay, b->relay) != 0 ||
           strcmp(a->product, b->product) != 0 || b->seen_ms - a->seen_ms > HOUR_MS;
}

/* The device is there now: its row is what the address hangs on. */
static void checked(struct pag_call *call, enum pag_err err)
{
    struct sighted *s = call->user;
    struct pag_op *op = NULL;
    call->done = s->done;
    call->user = s->user;
    if (err == PAG_E_UNAUTHENTICATED) {
        err =
            pag_refuse(call, PAG_E_CONFLICT, NULL,
                       "The product admits certificates only, or the device has one; a relay proves devices "
                       "by its token: set legacy_auth to token.");
    }
    if (err == PAG_E_PRODUCT) {
        err = pag_refuse(call, PAG_E_CONFLICT, NULL, "The device belongs to another product.");
    }
    if (err != PAG_OK || !has_news(s)) {
        call->done(call, err);
        return;
    }
    op = pag_op_new(call, s, NULL);
    if (op != NULL) {
        op->after = recorded;
        pag_op_submit(op, put_neighbour);
    }
}

static enum pag_err fill(struct pag_call *call, struct sighted *s)
{
    const struct pag_sighting *in = s->in;
    struct pag_db *db = call->thread->db;
    struct pag_product p;
    struct pag_device d = { .protocol = PAG_PROTOCOL_UNKNOWN };
    enum pag_err err = pag_find_product(call, db, in->product, &p);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_neighbour_get(db, in->device, &s->before);
    if (err == PAG_OK || err == PAG_E_NOT_FOUND) {
        err = pag_device_get(db, NULL, in->device, &d);
    }
    if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
        return err;
    }
    struct pag_neighbour *n = &s->now;
    n->seen_ms = pag_app_now_ms(call->thread->app);
    if (pag_text_copy(n->device, sizeof n->device, pag_span_str(in->device)) != PAG_OK ||
        pag_text_copy(n->product, sizeof n->product, pag_span_str(p.id)) != PAG_OK ||
        pag_text_copy(n->address, sizeof n->address, pag_span_str(in->address)) != PAG_OK ||
        pag_text_copy(n->said, sizeof n->said, pag_span_str(in->version)) != PAG_OK ||
        pag_text_copy(n->name, sizeof n->name, pag_span_str(in->name)) != PAG_OK ||
        pag_text_copy(n->relay, sizeof n->relay, pag_span_str(pag_actor_of(call))) != PAG_OK) {
        return PAG_E_RANGE;
    }
    struct pag_action a;
    s->is_pushed = d.open_action != 0 && pag_action_get(db, d.open_action, &a) == PAG_OK &&
                   a.state != PAG_REPORT_OFFERED && a.state != PAG_REPORT_DEFERRED;
    const struct pag_catalog *c = pag_store_catalog(call->thread->reader, p.id);
    if (c != NULL) {
        read_version(c, &d, s, &s->check.facts);
    }
    return PAG_OK;
}

void pag_app_relay_seen(struct pag_call *call, const struct pag_sighting *in, struct pag_check_reply *out)
{
    struct sighted *s = pag_arena_alloc(call->arena, sizeof *s);
    if (s == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    memset(s, 0, sizeof *s);
    s->in = in;
    s->check = (struct pag_check_in){ .protocol = in->protocol,
                                      .proof = PAG_PROOF_TOKEN,
                                      .mode = PAG_CHECK_FIRMWARE,
                                      .device = in->device,
                                      .product = in->product,
                                      .mac = in->mac };
    if (in->chip != PAG_CHIP_UNKNOWN) {
        s->check.facts.chip = (struct pag_fact_u32){ PAG_SAID, in->chip };
    }
    enum pag_err err = is_push(in->protocol) ? fill(call, s) : PAG_E_RANGE;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    s->done = call->done;
    s->user = call->user;
    call->done = checked;
    call->user = s;
    pag_app_check_in(call, &s->check, out);
}

/* ---- reports ---- */

/* A device that a relay saw and may speak for. */
static enum pag_err find_pushed(struct pag_call *call, const char *device, struct pag_device *d,
                                struct pag_neighbour *n)
{
    enum pag_err err = pag_find_device(call, call->thread->db, device, d);
    if (err == PAG_OK && !is_push(d->protocol)) {
        return PAG_E_NOT_FOUND;
    }
    return err == PAG_OK ? pag_neighbour_get(call->thread->db, device, n) : err;
}

struct told {
    struct pag_report_in report;
    struct pag_action action;
    struct sighted s; /* now: the neighbour with its new text */
};

static void told_text(struct pag_op *op, enum pag_err err)
{
    struct pag_call *call = op->call;
    struct told *t = op->data;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    pag_app_report(call, &t->report);
}

static void fill_report(struct told *t, const struct pag_relay_report_in *in)
{
    struct pag_native_report *r = &t->report.report;
    t->report.device = in->device;
    r->action_id = in->action_id;
    r->state = (uint8_t)in->state;
    r->progress_pct = in->progress_pct;
    r->code = in->code;
    r->text = in->text;
    if (in->state ==
        PAG_REPORT_CONFIRMED) { /* the relay's word: it has pushed these bytes and looked after */
        r->running_digest = pag_span_of(t->action.target, sizeof t->action.target);
    }
}

void pag_app_relay_report(struct pag_call *call, const struct pag_relay_report_in *in)
{
    struct pag_device d;
    struct told *t = pag_arena_alloc(call->arena, sizeof *t);
    if (t == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    memset(t, 0, sizeof *t);
    enum pag_err err = find_pushed(call, in->device, &d, &t->s.now);
    err = err == PAG_OK ? pag_action_get(call->thread->db, in->action_id, &t->action) : err;
    bool other = err == PAG_OK && in->said != NULL && strcmp(in->said, t->s.now.said) != 0;
    if (other) {
        err = pag_text_copy(t->s.now.said, sizeof t->s.now.said, pag_span_str(in->said));
    }
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    fill_report(t, in);
    struct pag_op *op = other ? pag_op_new(call, &t->s, NULL) : NULL;
    if (!other) {
        pag_app_report(call, &t->report);
    } else if (op != NULL) {
        op->data = t;
        op->after = told_text;
        pag_op_submit(op, put_neighbour);
    }
}

/* ---- work ---- */

static enum pag_err fill_item(struct pag_call *call, const struct pag_catalog *c, struct pag_relay_item *item)
{
    uint32_t release = 0;
    uint32_t image = 0;
    enum pag_err err = pag_device_get(call->thread->db, NULL, item->neighbour.device, &item->device);
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_fact_digest *running = &item->device.facts.running;
    if (running->source != PAG_ABSENT && pag_catalog_by_sha256(c, running->value, &release, &image)) {
        item->running = pag_arena_text(call->arena, pag_span_str(c->release[release].release->version));
    }
    if (item->device.open_action == 0 || item->device.revoked_ms != 0 || !is_push(item->device.protocol) ||
        pag_action_get(call->thread->db, item->device.open_action, &item->action) != PAG_OK ||
        pag_action_final(item->action.state) ||
        !pag_catalog_by_sha256(c, item->action.target, &release, &image) ||
        c->release[release].release->state != PAG_RELEASE_PUBLISHED) {
        return PAG_OK;
    }
    const struct pag_release *r = c->release[release].release;
    item->has_action = true;
    item->image_name = pag_arena_text(call->arena, pag_span_str(r->image[image].name));
    item->bytes = r->image[image].bytes;
    item->manifest = pag_arena_copy(call->arena, r->manifest[image]);
    return item->image_name != NULL && (item->manifest.n == 0 || item->manifest.p != NULL) ? PAG_OK
                                                                                           : PAG_E_NO_MEMORY;
}

enum pag_err pag_app_relay_work(struct pag_call *call, const char *product, const char *after, uint32_t limit,
                                struct pag_relay_work *out)
{
    struct pag_product p;
    struct pag_neighbour *list = NULL;
    size_t n = limit;
    memset(out, 0, sizeof *out);
    enum pag_err err = pag_find_product(call, call->thread->db, product, &p);
    if (err == PAG_OK) {
        err = pag_neighbour_list(call->thread->db, call->arena, p.id, after != NULL ? after : "", &list, &n);
    }
    const struct pag_catalog *c = err == PAG_OK ? pag_store_catalog(call->thread->reader, p.id) : NULL;
    n = err == PAG_OK ? n : 0;
    if (err == PAG_OK) {
        out->product = pag_arena_text(call->arena, pag_span_str(p.name));
        out->item = pag_arena_alloc(call->arena, (n + 1) * sizeof *out->item);
        err = c == NULL || out->item == NULL || out->product == NULL ? PAG_E_NO_MEMORY : PAG_OK;
    }
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        struct pag_relay_item *item = &out->item[out->n++];
        memset(item, 0, sizeof *item);
        item->neighbour = list[i];
        err = fill_item(call, c, item);
    }
    if (err == PAG_OK && n == limit) {
        out->next = list[n - 1].device;
    }
    return err;
}

enum pag_err pag_app_relay_image(struct pag_call *call, const char *device, int *fd, uint64_t *bytes)
{
    struct pag_device d;
    struct pag_action a;
    struct pag_neighbour n;
    enum pag_err err = find_pushed(call, device, &d, &n);
    err = err == PAG_OK ? pag_action_last(call->thread->db, device, &a) : err;
    err = err == PAG_OK ? pag_blob_entitled(call, &d, a.target) : err;
    return err == PAG_OK ? pag_store_blob_open(call->thread->app->config.store, a.target, fd, bytes) : err;
}
