#include "server/app/strand.h"

#include <string.h>

#include "core/bytes.h"
#include "server/domain/epochs.h"

enum { CACHE = 256 /* different devices, as far as keys and boards go */, NAMES_IN_DETAIL = 10 };

enum pag_err pag_release_candidate(struct pag_arena *arena, const struct pag_release *r,
                                   struct pag_plan_release *p)
{
    memset(p, 0, sizeof *p);
    p->release = r;
    for (size_t i = 0; i < r->image_n; i++) {
        struct pag_manifest *m = r->manifest[i].n > 0 ? pag_arena_alloc(arena, sizeof *m) : NULL;
        if (r->manifest[i].n > 0 && m == NULL) {
            return PAG_E_NO_MEMORY;
        }
        if (m != NULL && pag_manifest_parse(r->manifest[i], m, NULL) == PAG_OK) {
            p->manifest[i] = m;
        }
    }
    return PAG_OK;
}

/* ---- one device ---- */

/* What the answer hangs on; devices with the same have the same answer. */
struct sort {
    bool used, stranded;
    struct pag_key_state state;
    uint32_t chip;
    char hardware[PAG_HARDWARE_ID_MAX + 1];
};

struct search {
    struct pag_call *call;
    const struct pag_catalog *catalog;
    struct pag_epochs_in after;
    struct pag_strand *out;
    struct sort cache[CACHE];
};

static bool same_sort(const struct sort *a, const struct sort *b)
{
    return a->state.known == b->state.known && a->state.sequence == b->state.sequence &&
           memcmp(a->state.key, b->state.key, sizeof a->state.key) == 0 && a->chip == b->chip &&
           strcmp(a->hardware, b->hardware) == 0;
}

static bool is_stranded(struct search *s, const struct pag_device *d)
{
    const struct pag_plan_in in = { .catalog = s->catalog, .device = d, .slot = "firmware" };
    const struct pag_epochs_in before = { .upto = 0 };
    struct sort sort = { .chip = d->facts.chip.source != PAG_ABSENT ? d->facts.chip.value : UINT32_MAX };
    bool known =
        pag_text_copy(sort.hardware, sizeof sort.hardware, pag_span_str(d->facts.hardware.value)) == PAG_OK;
    pag_epochs_state(&in, &sort.state);
    uint32_t at = (sort.state.sequence * 31U + sort.state.key[0] + sort.chip) % CACHE;
    struct sort *kept = &s->cache[at];
    if (known && kept->used && same_sort(kept, &sort)) {
        return kept->stranded;
    }
    sort.stranded = pag_epochs_open(&in, &before) && !pag_epochs_open(&in, &s->after);
    sort.used = known;
    *kept = sort;
    return sort.stranded;
}

static bool look(void *ctx, const struct pag_device *d)
{
    struct search *s = ctx;
    struct pag_strand *out = s->out;
    if (d->revoked_ms != 0 || d->protocol == PAG_PROTOCOL_NATIVE || !is_stranded(s, d)) {
        return true;
    }
    if (out->n < PAG_STRAND_MAX) {
        struct pag_strand_device *one = &out->device[out->n++];
        memcpy(one->id, d->id, sizeof one->id);
        memcpy(one->name, d->name, sizeof one->name);
        (void)pag_text_copy(one->version, sizeof one->version, pag_span_str(d->facts.version.value));
        one->last_seen_ms = d->last_seen_ms;
    }
    out->total++;
    return true;
}

/* ---- all of them ---- */

static bool has_keys(const struct pag_release *r)
{
    for (size_t i = 0; i < r->image_n; i++) {
        if (r->image[i].has_embedded_key) {
            return true;
        }
    }
    return false;
}

static bool any_keys(const struct pag_catalog *c, const struct pag_release *r)
{
    bool any = has_keys(r);
    for (size_t i = 0; i < c->release_n && !any; i++) {
        any = has_keys(c->release[i].release);
    }
    return any;
}

enum pag_err pag_strand_find(struct pag_call *call, const struct pag_release *r, bool publish,
                             struct pag_strand *out, uint64_t *generation)
{
    struct search *s = pag_arena_alloc(call->arena, sizeof *s);
    struct pag_plan_release candidate;
    memset(out, 0, sizeof *out);
    if (s == NULL) {
        return PAG_E_NO_MEMORY;
    }
    s->call = call;
    s->out = out;
    s->catalog = pag_store_catalog(call->thread->reader, r->product);
    if (s->catalog == NULL) {
        return PAG_E_NOT_FOUND;
    }
    *generation = s->catalog->generation;
    enum pag_err err = pag_release_candidate(call->arena, r, &candidate);
    if (err != PAG_OK || !any_keys(s->catalog, r)) {
        return err;
    }
    out->device = pag_arena_alloc(call->arena, PAG_STRAND_MAX * sizeof *out->device);
    if (out->device == NULL) {
        return PAG_E_NO_MEMORY;
    }
    s->after.extra = publish ? &candidate : NULL;
    s->after.without = publish ? NULL : r->id;
    return pag_device_walk(call->thread->db, r->product, look, s);
}

enum pag_err pag_app_strand(struct pag_call *call, const char *release, bool publish, struct pag_strand *out)
{
    struct pag_release *r = pag_arena_alloc(call->arena, sizeof *r);
    uint64_t generation = 0;
    enum pag_err err = r != NULL ? pag_find_release(call, call->thread->db, release, r) : PAG_E_NO_MEMORY;
    return err == PAG_OK ? pag_strand_find(call, r, publish, out, &generation) : err;
}

/* ---- the refusal ---- */

static const char *name_of(const struct pag_strand_device *d)
{
    return d->name[0] != '\0' ? d->name : d->id;
}

enum pag_err pag_strand_refuse(struct pag_call *call, const struct pag_release *r, bool publish,
                               const struct pag_strand *s)
{
    struct pag_refusal *to = &call->refusal;
    const char *names = "";
    for (size_t i = 0; i < s->n && i < NAMES_IN_DETAIL && names != NULL; i++) {
        names = pag_arena_printf(call->arena, "%s%s%s", names, i > 0 ? ", " : "", name_of(&s->device[i]));
    }
    for (size_t i = 0; i < s->n && to->error_n < PAG_REFUSAL_ERRORS_MAX; i++) {
        const struct pag_strand_device *d = &s->device[i];
        const char *text =
            pag_arena_printf(call->arena, "%s runs %s.", name_of(d),
                             d->version[0] != '\0' ? d->version : "an image that is not known");
        to->error[to->error_n].pointer = pag_arena_printf(call->arena, "/devices/%s", d->id);
        to->error[to->error_n].code = "stranded";
        to->error[to->error_n].detail = text;
        to->error_n += text != NULL && to->error[to->error_n].pointer != NULL;
    }
    const char *detail =
        names == NULL ? NULL
                      : pag_arena_printf(call->arena,
                                         "%s %s would leave %u %s without a way to the newest release, as no "
                                         "release is signed for the key they check with: %s%s.",
                                         publish ? "Publishing" : "Withdrawing", r->version, s->total,
                                         s->total == 1 ? "device" : "devices", names,
                                         s->total > NAMES_IN_DETAIL ? ", …" : "");
    return detail != NULL ? pag_refuse(call, PAG_E_CONDITION, "release-strands", detail) : PAG_E_NO_MEMORY;
}
