#include "server/domain/epochs.h"

#include <string.h>

#include "server/domain/file.h"

/* ---- what a release is to a device ---- */

/* A key or none: NULL is the key of an image without one. */
static bool same_key(const uint8_t *a, const uint8_t *b)
{
    return a == b || (a != NULL && b != NULL && memcmp(a, b, PAG_KEY_ID_BYTES) == 0);
}

static const uint8_t *embedded_of(const struct pag_release_image *i)
{
    return i->has_embedded_key ? i->embedded_key : NULL;
}

static const uint8_t *signer_of(const struct pag_release_image *i)
{
    return i->has_signed_by ? i->signed_by : NULL;
}

static const uint8_t *held(const struct pag_key_state *s)
{
    return s->known == PAG_KEY_HELD ? s->key : NULL;
}

/* The next form of the firmware for this board at or behind *at; NULL: no more. */
static const struct pag_release_image *form_of(const struct pag_epochs_in *in,
                                               const struct pag_plan_release *r, uint32_t *at)
{
    for (; *at < r->release->image_n; (*at)++) {
        if (pag_plan_fits_board(in->catalog, in->facts, r, *at)) {
            return &r->release->image[(*at)++];
        }
    }
    return NULL;
}

/* All forms of one release unpack to the same image, so any of them says which key is inside. */
static const uint8_t *brought_by(const struct pag_epochs_in *in, const struct pag_plan_release *r)
{
    uint32_t at = 0;
    const uint8_t *key = NULL;
    for (const struct pag_release_image *i = form_of(in, r, &at); i != NULL; i = form_of(in, r, &at)) {
        key = i->has_embedded_key ? i->embedded_key : key;
    }
    return key;
}

static bool takes(const struct pag_epochs_in *in, const struct pag_key_state *s,
                  const struct pag_plan_release *r)
{
    uint32_t at = 0;
    bool fine = false;
    for (const struct pag_release_image *i = form_of(in, r, &at); i != NULL && !fine;
         i = form_of(in, r, &at)) {
        fine = s->known != PAG_KEY_HELD || same_key(signer_of(i), s->key);
    }
    return fine;
}

/* The releases to be looked at: those of the catalog and, at its place, what counts beside them. */
struct list {
    const struct pag_epochs_in *in;
    size_t n;
    size_t extra_at; /* n: it is of the catalog, or there is none */
};

static struct list list_of(const struct pag_epochs_in *in)
{
    const struct pag_catalog *c = in->catalog;
    struct list l = { .in = in, .n = c->release_n, .extra_at = c->release_n };
    if (in->extra == NULL) {
        return l;
    }
    uint32_t sequence = in->extra->release->sequence;
    size_t below = c->release_n;
    while (below > 0 && c->release[below - 1].release->sequence > sequence) {
        below--;
    }
    if (below == 0 || c->release[below - 1].release->sequence < sequence) {
        l.extra_at = below;
        l.n++;
    } else {
        l.extra_at = l.n;
    }
    return l;
}

static const struct pag_plan_release *nth(const struct list *l, size_t i)
{
    if (i == l->extra_at) {
        return l->in->extra;
    }
    return &l->in->catalog->release[i < l->extra_at ? i : i - 1];
}

static bool counts(const struct pag_epochs_in *in, const struct pag_plan_release *r)
{
    const struct pag_release *rel = r->release;
    uint32_t at = 0;
    bool is_extra = in->extra != NULL && rel->sequence == in->extra->release->sequence;
    bool state = rel->state == PAG_RELEASE_PUBLISHED ||
                 (rel->state == PAG_RELEASE_WITHDRAWN && in->withdrawn) || is_extra;
    bool gone = in->without != NULL && strcmp(rel->id, in->without) == 0 && !in->withdrawn;
    return state && !gone && (in->upto == 0 || rel->sequence <= in->upto) && form_of(in, r, &at) != NULL;
}

/* ---- from the newest down ---- */

struct row {
    const uint8_t *key;
    const struct pag_plan_release *last;
};

/* For each key the newest release that a device with it comes to, by the releases seen so far. */
struct table {
    struct row row[PAG_EPOCHS_KEYS_MAX];
    size_t n;
    const struct pag_plan_release *any; /* of a device that checks nothing */
};

static bool is_newer(const struct pag_plan_release *a, const struct pag_plan_release *b)
{
    return b == NULL || (a != NULL && a->release->sequence > b->release->sequence);
}

static struct row *row_of(struct table *t, const uint8_t *key, bool make)
{
    for (size_t i = 0; i < t->n; i++) {
        if (same_key(t->row[i].key, key)) {
            return &t->row[i];
        }
    }
    if (!make || t->n == PAG_EPOCHS_KEYS_MAX) {
        return NULL;
    }
    t->row[t->n] = (struct row){ key, NULL };
    return &t->row[t->n++];
}

/* Where a device comes to that runs r; r itself when nothing leads on. */
static const struct pag_plan_release *end_of(struct table *t, const uint8_t *brought,
                                             const struct pag_plan_release *r)
{
    const struct row *row = brought != NULL ? row_of(t, brought, false) : NULL;
    const struct pag_plan_release *on = brought == NULL ? t->any : (row != NULL ? row->last : NULL);
    return on != NULL && is_newer(on, r) ? on : r;
}

static void enter(const struct pag_epochs_in *in, struct table *t, const struct pag_plan_release *r,
                  const struct pag_plan_release *end)
{
    uint32_t at = 0;
    for (const struct pag_release_image *i = form_of(in, r, &at); i != NULL; i = form_of(in, r, &at)) {
        struct row *row = i->has_signed_by ? row_of(t, i->signed_by, true) : NULL;
        if (row != NULL && is_newer(end, row->last)) {
            row->last = end;
        }
    }
    t->any = is_newer(end, t->any) ? end : t->any;
}

static void visit(const struct pag_epochs_in *in, struct table *t, const struct pag_key_state *from,
                  const struct pag_plan_release *r, struct pag_epochs_way *out)
{
    const uint8_t *brought = brought_by(in, r);
    const struct pag_plan_release *end = end_of(t, brought, r);
    if (takes(in, from, r)) {
        bool other = !same_key(brought, held(from));
        if (is_newer(end, out->last)) {
            out->last = end;
            out->next = other ? r : NULL;
        } else if (end == out->last && other) {
            out->next = r;
        }
    }
    enter(in, t, r, end);
}

void pag_epochs_walk(const struct pag_epochs_in *in, const struct pag_key_state *from,
                     struct pag_epochs_way *out)
{
    const struct list list = list_of(in);
    struct table t;
    t.n = 0;
    t.any = NULL;
    memset(out, 0, sizeof *out);
    for (size_t i = list.n; i-- > 0;) {
        const struct pag_plan_release *r = nth(&list, i);
        if (r->release->sequence <= from->sequence) {
            return;
        }
        if (counts(in, r)) {
            visit(in, &t, from, r, out);
        }
    }
}

int pag_epochs_place(const struct pag_epochs_way *way, const struct pag_key_state *from,
                     const struct pag_plan_release *candidate)
{
    const uint8_t *brought = NULL;
    for (uint32_t i = 0; i < candidate->release->image_n; i++) {
        const struct pag_release_image *image = &candidate->release->image[i];
        bool counts_here = image->has_embedded_key && !pag_image_is_side(image->name);
        brought = counts_here ? embedded_of(image) : brought;
    }
    uint32_t sequence = candidate->release->sequence;
    if (way->next != NULL && sequence >= way->next->release->sequence) {
        return sequence == way->next->release->sequence ? 0 : 1;
    }
    return same_key(brought, held(from)) ? 0 : -1;
}

/* ---- of one device ---- */

static const struct pag_release_image *firmware_of(const struct pag_release *r)
{
    for (uint32_t i = 0; i < r->image_n; i++) {
        if (r->image[i].kind != PAG_IMAGE_FILESYSTEM && !pag_image_is_side(r->image[i].name)) {
            return &r->image[i];
        }
    }
    return NULL;
}

static const struct pag_release_image *running_of(const struct pag_catalog *c, const struct pag_facts *f,
                                                  uint32_t *sequence)
{
    uint32_t release = 0;
    uint32_t image = 0;
    if (f->running.source != PAG_ABSENT) {
        if (!pag_catalog_by_sha256(c, f->running.value, &release, &image)) {
            return NULL;
        }
        *sequence = c->release[release].release->sequence;
        return &c->release[release].release->image[image];
    }
    if (f->version.source == PAG_ABSENT || !pag_catalog_by_version(c, f->version.value, &release)) {
        return NULL;
    }
    *sequence = c->release[release].release->sequence;
    return firmware_of(c->release[release].release);
}

void pag_epochs_state(const struct pag_plan_in *in, struct pag_key_state *out)
{
    const struct pag_device *d = in->device;
    const struct pag_release_image *running = NULL;
    memset(out, 0, sizeof *out);
    running = running_of(in->catalog, &d->facts, &out->sequence);
    const uint8_t *key = running != NULL ? embedded_of(running) : d->has_verify_key ? d->verify_key : NULL;
    out->known = key != NULL ? PAG_KEY_HELD : (running != NULL ? PAG_KEY_ANY : PAG_KEY_NOT_KNOWN);
    if (key != NULL) {
        memcpy(out->key, key, sizeof out->key);
    }
}

bool pag_epochs_learn(const struct pag_catalog *c, struct pag_device *d)
{
    uint32_t sequence = 0;
    const struct pag_release_image *running = running_of(c, &d->facts, &sequence);
    const uint8_t *key = running != NULL ? embedded_of(running) : NULL;
    if (running == NULL || d->protocol == PAG_PROTOCOL_NATIVE ||
        same_key(key, d->has_verify_key ? d->verify_key : NULL)) {
        return false;
    }
    d->has_verify_key = key != NULL;
    memset(d->verify_key, 0, sizeof d->verify_key);
    if (key != NULL) {
        memcpy(d->verify_key, key, sizeof d->verify_key);
    }
    return true;
}

static const struct pag_plan_release *newest_of(const struct pag_epochs_in *in)
{
    const struct list list = list_of(in);
    for (size_t i = list.n; i-- > 0;) {
        if (counts(in, nth(&list, i))) {
            return nth(&list, i);
        }
    }
    return NULL;
}

bool pag_epochs_open(const struct pag_plan_in *in, const struct pag_epochs_in *change)
{
    struct pag_epochs_in with = *change;
    struct pag_key_state state;
    struct pag_epochs_way way;
    with.catalog = in->catalog;
    with.facts = &in->device->facts;
    pag_epochs_state(in, &state);
    const struct pag_plan_release *newest = newest_of(&with);
    if (in->device->protocol == PAG_PROTOCOL_NATIVE || state.known == PAG_KEY_NOT_KNOWN || newest == NULL ||
        newest->release->sequence <= state.sequence) {
        return true;
    }
    pag_epochs_walk(&with, &state, &way);
    return way.last != NULL && way.last->release->sequence == newest->release->sequence;
}

/* ---- words ---- */

static void count_key(const uint8_t *key, const uint8_t *seen[PAG_EPOCHS_KEYS_MAX], uint32_t *n)
{
    for (uint32_t i = 0; i < *n; i++) {
        if (same_key(seen[i], key)) {
            return;
        }
    }
    if (key != NULL && *n < PAG_EPOCHS_KEYS_MAX) {
        seen[(*n)++] = key;
    }
}

uint32_t pag_epochs_number(const struct pag_catalog *c, const uint8_t key[PAG_KEY_ID_BYTES])
{
    const uint8_t *seen[PAG_EPOCHS_KEYS_MAX];
    uint32_t n = 0;
    for (size_t r = 0; r < c->release_n; r++) {
        const struct pag_release *rel = c->release[r].release;
        for (uint32_t i = 0; i < rel->image_n; i++) {
            count_key(signer_of(&rel->image[i]), seen, &n);
        }
        for (uint32_t i = 0; i < rel->image_n; i++) {
            count_key(embedded_of(&rel->image[i]), seen, &n);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (same_key(seen[i], key)) {
            return i + 1;
        }
    }
    return 0;
}

/* The first withdrawn release on the way to upto, were they all offered again; NULL: no such way. */
static const struct pag_plan_release *missing_on_way(struct pag_epochs_in *in, struct pag_key_state at)
{
    struct pag_epochs_way way;
    in->withdrawn = true;
    for (int hops = 0; hops < PAG_EPOCHS_KEYS_MAX; hops++) {
        pag_epochs_walk(in, &at, &way);
        if (way.last == NULL || way.last->release->sequence != in->upto || way.next == NULL) {
            return NULL;
        }
        if (way.next->release->state == PAG_RELEASE_WITHDRAWN) {
            return way.next;
        }
        const uint8_t *key = brought_by(in, way.next);
        at.known = key != NULL ? PAG_KEY_HELD : PAG_KEY_ANY;
        at.sequence = way.next->release->sequence;
        if (key != NULL) {
            memcpy(at.key, key, sizeof at.key);
        }
    }
    return NULL;
}

void pag_epochs_explain(const struct pag_plan_in *in, struct pag_plan *out)
{
    const struct pag_release_image *image = &out->release->release->image[out->image];
    struct pag_key_state state;
    struct pag_epochs_way way;
    struct pag_epochs_in with = { .catalog = in->catalog,
                                  .facts = &in->device->facts,
                                  .extra = out->release,
                                  .upto = out->release->release->sequence };
    pag_epochs_state(in, &state);
    out->have = state.known == PAG_KEY_HELD ? pag_epochs_number(in->catalog, state.key) : 0;
    out->need = image->has_signed_by ? pag_epochs_number(in->catalog, image->signed_by) : 0;
    if (image->kind == PAG_IMAGE_FILESYSTEM) {
        return;
    }
    if (out->reason == PAG_PLAN_KEY) {
        pag_epochs_walk(&with, &state, &way);
        bool leads = way.last != NULL && way.last->release->sequence == with.upto && way.next != NULL;
        out->reason = leads ? PAG_PLAN_KEY_STEP : PAG_PLAN_KEY;
        out->bridge = leads ? way.next : missing_on_way(&with, state);
    }
    const uint8_t *brought = out->reason == PAG_PLAN_KEY_END ? embedded_of(image) : NULL;
    if (out->bridge != NULL && out->reason != PAG_PLAN_KEY_END) {
        brought = brought_by(&with, out->bridge);
    }
    if (brought != NULL) {
        out->need = pag_epochs_number(in->catalog, brought);
    }
}
