#include "server/app/check_in.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/app/visit.h"
#include "server/domain/epochs.h"
#include "server/domain/file.h"

enum { MINUTE_MS = 60000, DRAWS_MAX = 8, TRIES_MAX = 4 };

static void start(struct pag_visit *v);

/* ---- who and what ---- */

static enum pag_err check_proof(const struct pag_visit *v)
{
    const struct pag_check_in *in = v->in;
    if (in->protocol == PAG_PROTOCOL_NATIVE) {
        return in->proof == PAG_PROOF_CERTIFICATE ? PAG_OK : PAG_E_UNAUTHENTICATED;
    }
    enum pag_proof least =
        pag_proof_least(in->has_auth ? in->auth : v->catalog->product.settings.legacy_auth);
    /* Who has a certificate is not spoken for by a bare MAC. */
    if (v->device.cert_serial_n > 0) {
        least = PAG_PROOF_CERTIFICATE;
    }
    return in->proof >= least ? PAG_OK : PAG_E_UNAUTHENTICATED;
}

static enum pag_err find_device(struct pag_visit *v)
{
    struct pag_app_thread *t = v->call->thread;
    const struct pag_check_in *in = v->in;
    enum pag_err err = pag_device_get(t->db, NULL, in->device, &v->device);
    v->is_new = err == PAG_E_NOT_FOUND;
    if (err != PAG_OK && (!v->is_new || in->product == NULL || in->protocol == PAG_PROTOCOL_NATIVE)) {
        return err;
    }
    v->catalog = pag_store_catalog(t->reader, in->product != NULL ? in->product : v->device.product);
    if (v->catalog == NULL || !pag_scope_sees(&v->call->scope, v->catalog->product.id)) {
        return PAG_E_NOT_FOUND; /* a proof for one product is none for another */
    }
    if (v->is_new && in->proof == PAG_PROOF_SAID && pag_strangers_refused(t->app, v->catalog->product.id)) {
        return PAG_E_NOT_FOUND;
    }
    v->generation = v->catalog->generation;
    if (v->is_new) {
        memset(&v->device, 0, sizeof v->device);
        err = pag_text_copy(v->device.id, sizeof v->device.id, pag_span_str(in->device));
        memcpy(v->device.product, v->catalog->product.id, sizeof v->device.product);
        v->device.created_ms = v->now_ms;
        if (err != PAG_OK || !pag_device_id_ok(pag_span_str(in->device))) {
            return PAG_E_SYNTAX;
        }
        return PAG_OK;
    }
    if (strcmp(v->catalog->product.id, v->device.product) != 0) {
        return PAG_E_PRODUCT;
    }
    return v->device.revoked_ms != 0 ? PAG_E_DENIED : PAG_OK;
}

static enum pag_err load_history(struct pag_visit *v)
{
    struct pag_db *db = v->call->thread->db;
    enum pag_err err = PAG_OK;
    v->has_action = false;
    v->image_n = 0;
    if (v->device.open_action != 0) {
        err = pag_action_get(db, v->device.open_action, &v->action);
        v->has_action = err == PAG_OK;
    }
    if (err == PAG_OK && v->device.images_held > 0) {
        err = pag_device_image_list(db, v->call->arena, v->device.id, &v->image, &v->image_n);
    }
    return err;
}

/* ---- legacy: which of our images is it? ---- */

static bool same_md5(const struct pag_fact_md5 *a, const struct pag_fact_md5 *b)
{
    return a->source != PAG_ABSENT && b->source != PAG_ABSENT &&
           memcmp(a->value, b->value, sizeof a->value) == 0;
}

static bool learned_md5(const struct pag_visit *v, const struct pag_facts *said)
{
    return v->has_action && v->action.state == PAG_REPORT_INSTALLING && said->version.source != PAG_ABSENT &&
           strcmp(said->version.value, v->action.version) == 0 &&
           !same_md5(&said->running_md5, &v->device.facts.running_md5);
}

/* The same firmware, packed and not. */
static bool same_payload(const struct pag_catalog *c, const uint8_t a[PAG_SHA256_BYTES],
                         const struct pag_release_image *b)
{
    static const uint8_t none[16];
    uint32_t release = 0;
    uint32_t image = 0;
    if (!pag_catalog_by_sha256(c, a, &release, &image)) {
        return false;
    }
    const struct pag_release_image *i = &c->release[release].release->image[image];
    return memcmp(i->payload_md5, none, sizeof none) != 0 &&
           memcmp(i->payload_md5, b->payload_md5, sizeof none) == 0 && strcmp(i->release, b->release) == 0;
}

/* Which of the forms of what runs: the one it was given last, or was known to run. */
static const uint8_t *form_of(const struct pag_visit *v, const struct pag_release_image *found)
{
    if (v->has_action && same_payload(v->catalog, v->action.target, found)) {
        return v->action.target;
    }
    const struct pag_fact_digest *was = &v->device.facts.running;
    return was->source != PAG_ABSENT && same_payload(v->catalog, was->value, found) ? was->value
                                                                                    : found->sha256;
}

static void resolve_legacy(struct pag_visit *v, struct pag_facts *said)
{
    struct pag_fact_digest *running = &said->running;
    uint32_t release = 0;
    uint32_t image = 0;
    if (running->source != PAG_ABSENT || v->in->protocol == PAG_PROTOCOL_NATIVE) {
        return;
    }
    if (said->running_md5.source != PAG_ABSENT) {
        if (pag_catalog_by_md5(v->catalog, said->running_md5.value, &release, &image)) {
            running->source = PAG_LEARNED;
            memcpy(running->value, form_of(v, &v->catalog->release[release].release->image[image]),
                   sizeof running->value);
        } else if (learned_md5(v, said)) {
            running->source = PAG_LEARNED;
            memcpy(running->value, v->action.target, sizeof running->value);
        } else if (same_md5(&said->running_md5, &v->device.facts.running_md5)) {
            *running = v->device.facts.running; /* what was learned of this MD5 before */
        }
    }
    bool says = v->in->protocol != PAG_PROTOCOL_FILES || said->version.source != PAG_ABSENT;
    if (running->source == PAG_ABSENT && says && v->device.facts.running.source != PAG_ABSENT) {
        memset(&v->device.facts.running, 0, sizeof v->device.facts.running);
        v->learned = true;
    }
}

/* ---- what follows from it ---- */

static struct pag_device_image *history_of(struct pag_visit *v, const uint8_t sha256[PAG_SHA256_BYTES],
                                           const char *version)
{
    struct pag_device_image *h = NULL;
    for (size_t i = 0; i < v->image_n; i++) {
        if (memcmp(v->image[i].sha256, sha256, PAG_SHA256_BYTES) == 0) {
            h = &v->image[i];
        }
    }
    if (h == NULL) {
        struct pag_device_image *bigger = pag_arena_alloc(v->call->arena, (v->image_n + 1) * sizeof *bigger);
        if (bigger == NULL) {
            return NULL;
        }
        if (v->image_n > 0) {
            memcpy(bigger, v->image, v->image_n * sizeof *bigger);
        }
        for (size_t i = 0; i < v->dirty_n; i++) { /* the list has moved */
            v->dirty[i] = bigger + (v->dirty[i] - v->image);
        }
        v->image = bigger;
        h = &v->image[v->image_n++];
        memcpy(h->device, v->device.id, sizeof h->device);
        memcpy(h->sha256, sha256, PAG_SHA256_BYTES);
        (void)pag_text_copy(h->version, sizeof h->version, pag_span_str(version));
        v->device.images_held++;
    }
    for (size_t i = 0; i < v->dirty_n; i++) {
        if (v->dirty[i] == h) {
            return h;
        }
    }
    if (v->dirty_n < PAG_VISIT_DIRTY_MAX) {
        v->dirty[v->dirty_n++] = h;
    }
    return h;
}

/* Of the action at hand. */
static bool is_filesystem(const struct pag_visit *v)
{
    uint32_t release = 0;
    uint32_t image = 0;
    return pag_catalog_by_sha256(v->catalog, v->action.target, &release, &image) &&
           v->catalog->release[release].release->image[image].kind == PAG_IMAGE_FILESYSTEM;
}

static void close_action(struct pag_visit *v, enum pag_report_state state, const char *text)
{
    v->action.state = state;
    v->action.changed_ms = v->now_ms;
    v->action.progress_pct = state == PAG_REPORT_CONFIRMED ? 100 : v->action.progress_pct;
    (void)pag_text_copy(v->action.text, sizeof v->action.text, pag_span_str(text));
    v->action_changed = true;
    v->device.open_action = 0;
    struct pag_device_image *h = NULL;
    if (state != PAG_REPORT_CANCELLED) {
        h = history_of(v, v->action.target, v->action.version);
    }
    if (h != NULL) {
        pag_history_outcome(h, &v->action, v->in->protocol == PAG_PROTOCOL_NATIVE, v->now_ms);
        h->held_ms = state == PAG_REPORT_CONFIRMED && is_filesystem(v) ? v->now_ms : h->held_ms;
    }
}

/* docs/spec/httpupdate.md 5: whole and asking again, or its own word. */
static void see_filesystem(struct pag_visit *v)
{
    const struct pag_fact_text *said = &v->in->facts.version;
    bool named = v->in->mode == PAG_CHECK_FILESYSTEM && said->source != PAG_ABSENT &&
                 strcmp(said->value, v->action.version) == 0;
    if (v->action.state == PAG_REPORT_INSTALLING || named) {
        close_action(v, PAG_REPORT_CONFIRMED,
                     named ? "says that it has it" : "sent whole, and the device asked again");
    }
}

static void see_action(struct pag_visit *v)
{
    if (!v->has_action) {
        return;
    }
    if (is_filesystem(v)) {
        see_filesystem(v);
        return;
    }
    enum pag_report_state seen = pag_action_seen(&v->action, &v->device);
    /* A request for a file system shows success only: its version text is not the sketch's. */
    if (seen == v->action.state || (v->in->mode == PAG_CHECK_FILESYSTEM && seen != PAG_REPORT_CONFIRMED)) {
        return;
    }
    if (!pag_action_final(seen)) {
        v->action.state = seen;
        v->action.changed_ms = v->now_ms;
        v->action_changed = true;
        return;
    }
    const char *text = seen == PAG_REPORT_CONFIRMED  ? "seen running it"
                       : seen == PAG_REPORT_REVERTED ? "came back from the trial on the old image"
                                                     : "came back on another image after the whole download";
    close_action(v, seen, text);
}

static uint32_t sequence_of(const struct pag_catalog *c, const struct pag_fact_digest *running,
                            const char **version)
{
    uint32_t release = 0;
    uint32_t image = 0;
    if (running->source == PAG_ABSENT || !pag_catalog_by_sha256(c, running->value, &release, &image)) {
        return 0;
    }
    *version = c->release[release].release->version;
    return c->release[release].release->sequence;
}

/* ESP32 style: seen on the new image once, then on the old one again. */
static void see_regress(struct pag_visit *v)
{
    const char *version = "";
    const char *old = "";
    if (v->is_new || v->has_action || v->device.pin[0] != '\0') {
        return;
    }
    uint32_t was = sequence_of(v->catalog, &v->before.facts.running, &version);
    uint32_t is = sequence_of(v->catalog, &v->device.facts.running, &old);
    if (was == 0 || is == 0 || is >= was) {
        return;
    }
    struct pag_device_image *h = history_of(v, v->before.facts.running.value, version);
    if (h != NULL) {
        pag_history_regressed(h, v->now_ms);
    }
}

/* A file that is no update of the sketch: a stand-in for it, or data. */
static bool is_of_stand_in(const struct pag_visit *v)
{
    uint32_t release = 0;
    uint32_t at = 0;
    if (v->in->file == NULL ||
        !pag_catalog_by_file(v->catalog, v->in->file, v->in->any_name, &release, &at)) {
        return false;
    }
    const struct pag_release_image *image = &v->catalog->release[release].release->image[at];
    return pag_image_is_side(image->name) ||
           (image->kind == PAG_IMAGE_FILESYSTEM && v->in->mode == PAG_CHECK_FIRMWARE);
}

static void make_plan(struct pag_visit *v)
{
    const struct pag_plan_in in = { .catalog = v->catalog,
                                    .device = &v->device,
                                    .image = v->image,
                                    .image_n = v->image_n,
                                    .slot = v->in->mode == PAG_CHECK_FILESYSTEM ? "filesystem" : "firmware",
                                    .file = v->in->file,
                                    .any_name = v->in->any_name,
                                    .side = v->side,
                                    .any_space = v->in->any_space,
                                    .no_gzip = v->in->no_gzip,
                                    .now_unix_s = (uint64_t)v->now_ms / 1000 };
    pag_plan_next(&in, &v->plan);
}

/* Offered often enough, when those on their way arrive; the row of the last one may be a moment away. */
static bool is_crowded(struct pag_visit *v)
{
    bool serves = v->plan.reason == PAG_PLAN_OFFER && v->in->mode != PAG_CHECK_VERSION;
    if (!serves || v->in->protocol == PAG_PROTOCOL_NATIVE) {
        return false;
    }
    const uint8_t *sha256 = pag_visit_image(v)->sha256;
    uint32_t most = v->catalog->product.settings.max_serves;
    v->serves = 0;
    for (size_t i = 0; i < v->image_n; i++) {
        bool mine = memcmp(v->image[i].sha256, sha256, PAG_SHA256_BYTES) == 0;
        v->serves = mine ? v->image[i].serves : v->serves;
    }
    v->plan.have = pag_serve_total(v->call->thread->app, v->device.id, sha256, v->serves);
    v->plan.need = most;
    return v->plan.have >= most;
}

static const uint8_t *planned_digest(const struct pag_visit *v)
{
    const struct pag_release *r = v->plan.release->release;
    return r->manifest[v->plan.image].n > 0 && v->in->protocol == PAG_PROTOCOL_NATIVE
               ? r->manifest_digest[v->plan.image]
               : pag_visit_image(v)->sha256;
}

static void new_action(struct pag_visit *v)
{
    const struct pag_release *r = v->plan.release->release;
    const struct pag_release_image *image = pag_visit_image(v);
    struct pag_action *a = &v->fresh;
    memset(a, 0, sizeof *a);
    struct pag_action taken;
    a->id = pag_make_id31();
    for (int i = 0; i < DRAWS_MAX && pag_action_get(v->call->thread->db, a->id, &taken) == PAG_OK; i++) {
        a->id = pag_make_id31();
    }
    memcpy(a->device, v->device.id, sizeof a->device);
    memcpy(a->product, v->device.product, sizeof a->product);
    memcpy(a->release, r->id, sizeof a->release);
    memcpy(a->image, image->id, sizeof a->image);
    memcpy(a->version, r->version, sizeof a->version);
    memcpy(a->manifest_digest, planned_digest(v), sizeof a->manifest_digest);
    memcpy(a->target, image->sha256, sizeof a->target);
    memcpy(a->from, v->device.facts.running.value, sizeof a->from);
    a->state = PAG_REPORT_OFFERED;
    a->created_ms = v->now_ms;
    a->changed_ms = v->now_ms;
    v->has_fresh = true;
    v->device.open_action = a->id;
}

static bool is_under_way(enum pag_report_state s)
{
    return s == PAG_REPORT_DOWNLOADED || s == PAG_REPORT_INSTALLING || s == PAG_REPORT_REBOOTING;
}

/* Which action this offer belongs to; another open one is given up. False: one after the other, not now. */
static bool settle_action(struct pag_visit *v)
{
    bool open = v->has_action && !pag_action_final(v->action.state);
    bool offer = v->plan.reason == PAG_PLAN_OFFER;
    bool same = open && offer && memcmp(v->action.manifest_digest, planned_digest(v), PAG_SHA256_BYTES) == 0;
    bool other_kind = open && is_filesystem(v) != (v->in->mode == PAG_CHECK_FILESYSTEM);
    bool under_way = open && is_under_way(v->action.state);
    if (other_kind && under_way) {
        return !offer;
    }
    if (under_way && v->plan.reason == PAG_PLAN_LOOP) { /* of who never says what it runs */
        close_action(v, PAG_REPORT_FAILED, "fetched whole again and again");
        return true;
    }
    if (open && !same && (offer || (!under_way && !other_kind))) {
        close_action(v, PAG_REPORT_CANCELLED, "no longer offered");
        open = false;
    }
    if (offer && !open) {
        new_action(v);
    }
    return true;
}

static void judge(struct pag_visit *v, const char *plan_why)
{
    bool open = v->device.open_action != 0;
    const struct pag_action *action = v->has_fresh ? &v->fresh : (v->has_action ? &v->action : NULL);
    struct pag_action last;
    if (action == NULL && v->plan.reason != PAG_PLAN_UP_TO_DATE && !v->is_new &&
        pag_action_last(v->call->thread->db, v->device.id, &last) == PAG_OK) {
        action = &last;
    }
    bool quiet = pag_plan_is_quiet(v->plan.reason);
    const struct pag_device_view view = { .device = &v->device,
                                          .action = open || !quiet ? action : NULL,
                                          .blocked = v->plan.history,
                                          .plan_why = plan_why,
                                          .up_to_date = quiet };
    v->device.state = pag_device_judge(&view, v->device.why);
}

/* ---- writing ---- */

static enum pag_err write_commands(struct pag_store_tx *tx, struct pag_visit *v)
{
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = PAG_OK;
    for (size_t i = 0; i < v->out->command_n && err == PAG_OK; i++) {
        struct pag_command c; /* a result may have come meanwhile */
        err = pag_command_get(db, v->call->arena, v->out->command[i].id, &c);
        err = err == PAG_OK ? pag_command_handed_over(tx, &c) : err;
    }
    return err;
}

static enum pag_err write_actions(struct pag_store_tx *tx, const struct pag_visit *v)
{
    struct pag_db *db = pag_store_tx_db(tx);
    enum pag_err err = PAG_OK;
    if (v->action_changed) {
        err = pag_action_update(db, &v->action);
        err = err == PAG_OK ? pag_action_event(tx, &v->action) : err;
    }
    if (err == PAG_OK && v->has_fresh) {
        err = pag_action_insert(db, &v->fresh);
        err = err == PAG_OK ? pag_action_event(tx, &v->fresh) : err;
    }
    for (size_t i = 0; i < v->dirty_n && err == PAG_OK; i++) {
        err = pag_device_image_put(db, v->dirty[i]);
    }
    return err;
}

static enum pag_err write_events(struct pag_store_tx *tx, const struct pag_visit *v)
{
    enum pag_err err = PAG_OK;
    if (v->is_new) {
        err = pag_device_event(tx, &v->device, "device.created", "device");
    }
    /* at most one a minute: each change moves running_since on */
    if (err == PAG_OK && v->device.running_since_ms / MINUTE_MS != v->before.running_since_ms / MINUTE_MS) {
        err = pag_device_event(tx, &v->device, "device.running", "device");
    }
    if (err == PAG_OK && v->device.state != v->before.state) {
        err = pag_device_event(tx, &v->device, "device.state", "device");
    }
    if (err == PAG_OK && v->tell_twin) {
        err = pag_twin_event(tx, &v->device, v->in->address);
    }
    if (err == PAG_OK && v->tell_owner && v->mac_owner[0] != '\0') {
        err = pag_suspect_event(tx, &v->device, v->in->mac, v->mac_owner);
    }
    return err;
}

/* Somebody may have got it since it was decided; who comes later has not got it. */
static enum pag_err keep_mac(struct pag_db *db, struct pag_visit *v)
{
    char owner[PAG_DEVICE_ID_MAX + 1];
    if (strcmp(v->device.mac, v->before.mac) == 0) {
        return PAG_OK;
    }
    enum pag_err err = pag_device_mac_owner(db, v->device.mac, v->device.id, owner);
    if (err == PAG_OK) {
        memcpy(v->device.mac, v->before.mac, sizeof v->device.mac);
    }
    return err == PAG_E_NOT_FOUND ? PAG_OK : err;
}

static bool is_stranger(const struct pag_visit *v)
{
    return v->is_new && v->in->proof == PAG_PROOF_SAID;
}

static enum pag_err write_visit(struct pag_store_tx *tx, struct pag_op *op)
{
    struct pag_visit *v = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    const struct pag_catalog *now = NULL;
    /* Decided on what was published then: once more when that has changed. */
    enum pag_err err = pag_store_tx_catalog(tx, v->device.product, &now);
    if (err != PAG_OK || now->generation != v->generation) {
        return err == PAG_OK || err == PAG_E_BUSY ? PAG_E_CONFLICT : err;
    }
    if (is_stranger(v)) {
        err = pag_strangers_admit(tx, v->call->thread->app, v->device.product, &v->admitted);
        if (err != PAG_OK || !v->admitted) {
            return err;
        }
    }
    if (v->out->command_n > 0) {
        err = write_commands(tx, v);
    }
    err = err == PAG_OK ? keep_mac(db, v) : err;
    if (err == PAG_OK) {
        err = v->is_new ? pag_device_insert(db, &v->device) : pag_device_update(db, &v->device);
    }
    err = err == PAG_OK ? write_actions(tx, v) : err;
    return err == PAG_OK ? write_events(tx, v) : err;
}

static void count(const struct pag_visit *v)
{
    struct pag_app *app = v->call->thread->app;
    if (v->out->verdict == PAG_CHECK_OFFER) {
        PAG_COUNT(app, offers);
    }
    if (v->action_changed && v->action.state == PAG_REPORT_CONFIRMED) {
        PAG_COUNT(app, confirmed);
    }
    if (v->action_changed && v->action.state == PAG_REPORT_FAILED) {
        PAG_COUNT(app, failed);
    }
    if (v->action_changed && v->action.state == PAG_REPORT_REVERTED) {
        PAG_COUNT(app, reverted);
    }
    if (v->device.state == PAG_DEVICE_BLOCKED && v->before.state != PAG_DEVICE_BLOCKED) {
        PAG_COUNT(app, blocked);
    }
}

static void written(struct pag_op *op, enum pag_err err)
{
    struct pag_visit *v = op->data;
    /* Somebody else has changed this device meanwhile: look again. */
    bool moved = err == PAG_E_CONFLICT || (err == PAG_E_EXISTS && v->is_new);
    if (moved && ++v->tries < TRIES_MAX) {
        start(v);
        return;
    }
    if (err == PAG_OK && is_stranger(v) && !v->admitted) {
        err = PAG_E_NOT_FOUND;
    }
    if (err == PAG_OK) {
        count(v);
    }
    v->call->done(v->call, moved ? PAG_E_BUSY : err);
}

static bool has_news(const struct pag_visit *v)
{
    return v->is_new || v->learned || v->tell_owner || v->tell_twin || v->has_fresh || v->action_changed ||
           v->dirty_n > 0 || v->device.state != v->before.state ||
           strcmp(v->device.why, v->before.why) != 0 || v->out->command_n > 0;
}

/* A MAC that belongs to another device is not taken: one of the two may be a copy. */
static enum pag_err take_mac(struct pag_visit *v)
{
    const char *mac = v->in->mac;
    v->mac_owner[0] = '\0';
    if (mac == NULL || strcmp(v->device.mac, mac) == 0) {
        return PAG_OK;
    }
    enum pag_err err = pag_device_mac_owner(v->call->thread->db, mac, v->device.id, v->mac_owner);
    if (err == PAG_E_NOT_FOUND) {
        v->learned |= pag_text_copy(v->device.mac, sizeof v->device.mac, pag_span_str(mac)) == PAG_OK;
        return PAG_OK;
    }
    if (err == PAG_OK && !v->in->only_look && !v->tell_owner &&
        pag_suspect_due(v->call->thread->app, v->device.id)) {
        v->tell_owner = true;
        pag_log_warn(v->call->thread->app->config.log, "device.suspect", PAG_F_STR("device", v->device.id),
                     PAG_F_STR("mac", mac), PAG_F_STR("owner", v->mac_owner));
    }
    return err;
}

static enum pag_err decide(struct pag_visit *v)
{
    struct pag_facts said = v->in->facts;
    char why[PAG_WHY_MAX + 1];
    enum pag_err err = load_history(v);
    if (err != PAG_OK) {
        return err;
    }
    resolve_legacy(v, &said);
    if (v->in->mode == PAG_CHECK_FILESYSTEM) { /* of the file system, not of what runs */
        memset(&said.version, 0, sizeof said.version);
    }
    v->side = is_of_stand_in(v);
    if (v->in->address != NULL && v->in->proof == PAG_PROOF_SAID && !v->in->only_look && v->tries == 0 &&
        pag_suspect_twin(v->call->thread->app, v->device.id, v->in->address)) {
        v->tell_twin = true;
        pag_log_warn(v->call->thread->app->config.log, "device.twin", PAG_F_STR("device", v->device.id),
                     PAG_F_STR("address", v->in->address));
    }
    v->learned |= pag_device_learn(&v->device, &said, v->now_ms);
    if (v->device.protocol != v->in->protocol || v->device.proof != v->in->proof) {
        v->device.protocol = v->in->protocol;
        v->device.proof = v->in->proof;
        v->learned = true;
    }
    v->learned |= pag_epochs_learn(v->catalog, &v->device);
    err = take_mac(v);
    if (err != PAG_OK) {
        return err;
    }
    bool acts = v->in->mode != PAG_CHECK_VERSION && !v->side;
    if (acts) {
        see_action(v);
    }
    if (v->in->mode == PAG_CHECK_FIRMWARE && !v->side) {
        see_regress(v);
    }
    make_plan(v);
    pag_plan_sentence(&v->plan, why);
    bool crowded = is_crowded(v);
    bool later = crowded || (acts && !settle_action(v));
    /* What a file system check finds is shown when it begins or ends something. */
    if ((v->in->mode == PAG_CHECK_FIRMWARE && (!v->side || v->plan.reason == PAG_PLAN_LOOP)) ||
        (v->in->mode == PAG_CHECK_FILESYSTEM && (v->has_fresh || v->action_changed))) {
        judge(v, v->plan.reason == PAG_PLAN_OFFER ? "" : why);
    }
    if (later) { /* crowded: what becomes of those on their way decides */
        v->plan.reason = crowded ? PAG_PLAN_LOOP : PAG_PLAN_UP_TO_DATE;
    }
    return pag_visit_answer(v, why);
}

static void start(struct pag_visit *v)
{
    struct pag_app_thread *t = v->call->thread;
    v->now_ms = pag_app_now_ms(t->app);
    v->learned = v->has_action = v->action_changed = v->has_fresh = false;
    v->dirty_n = 0;
    v->image_n = 0;
    enum pag_err err = find_device(v);
    v->before = v->device;
    if (err == PAG_OK) {
        err = check_proof(v);
    }
    if (err == PAG_OK) {
        err = decide(v);
    }
    if (err != PAG_OK) {
        v->call->done(v->call, err);
        return;
    }
    if (v->in->only_look) {
        v->call->done(v->call, PAG_OK);
        return;
    }
    if (!has_news(v)) {
        pag_store_touch(t->reader, v->device.id, v->now_ms, true);
        v->call->done(v->call, PAG_OK);
        return;
    }
    if (v->is_new) {
        v->device.last_seen_ms = v->now_ms;
        v->device.last_poll_ms = v->now_ms;
    }
    pag_store_touch(t->reader, v->device.id, v->now_ms, true);
    v->op->after = written;
    pag_op_submit(v->op, write_visit);
}

void pag_app_check_in(struct pag_call *call, const struct pag_check_in *in, struct pag_check_reply *out)
{
    struct pag_op *op = pag_op_new(call, in, out);
    if (op == NULL) {
        return;
    }
    struct pag_visit *v = pag_arena_alloc(call->arena, sizeof *v);
    if (v == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    PAG_COUNT(call->thread->app, check_ins);
    op->data = v;
    v->op = op;
    v->call = call;
    v->in = in;
    v->out = out;
    start(v);
}
