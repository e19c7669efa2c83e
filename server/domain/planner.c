#include "server/domain/planner.h"

#include <string.h>

#include "server/domain/epochs.h"
#include "server/domain/file.h"
#include "server/domain/words.h"

/* ---- finding what runs ---- */

const struct pag_plan_md5 *pag_catalog_form(const struct pag_catalog *c, const uint8_t md5[16])
{
    size_t low = 0;
    size_t high = c->md5_n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (memcmp(c->md5[mid].md5, md5, 16) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < c->md5_n && memcmp(c->md5[low].md5, md5, 16) == 0 ? &c->md5[low] : NULL;
}

bool pag_catalog_by_md5(const struct pag_catalog *c, const uint8_t md5[16], uint32_t *release,
                        uint32_t *image)
{
    const struct pag_plan_md5 *form = pag_catalog_form(c, md5);
    if (form != NULL) {
        *release = form->release;
        *image = form->image;
    }
    return form != NULL;
}

static bool answering(const struct pag_release *r, const char *file, bool any, uint32_t *image)
{
    for (uint32_t i = 0; i < r->image_n; i++) {
        if (pag_image_answers(&r->image[i], file, any)) {
            *image = i;
            return true;
        }
    }
    return false;
}

bool pag_catalog_by_file(const struct pag_catalog *c, const char *file, bool any, uint32_t *release,
                         uint32_t *image)
{
    for (size_t r = c->release_n; r-- > 0;) {
        const struct pag_release *rel = c->release[r].release;
        if (rel->state == PAG_RELEASE_PUBLISHED && answering(rel, file, any, image)) {
            *release = (uint32_t)r;
            return true;
        }
    }
    return false;
}

static bool image_of(const struct pag_release *r, const uint8_t sha256[PAG_SHA256_BYTES], uint32_t *image)
{
    for (uint32_t i = 0; i < r->image_n; i++) {
        if (memcmp(r->image[i].sha256, sha256, PAG_SHA256_BYTES) == 0) {
            *image = i;
            return true;
        }
    }
    return false;
}

bool pag_catalog_by_sha256(const struct pag_catalog *c, const uint8_t sha256[PAG_SHA256_BYTES],
                           uint32_t *release, uint32_t *image)
{
    for (size_t r = c->release_n; r-- > 0;) {
        if (image_of(c->release[r].release, sha256, image)) {
            *release = (uint32_t)r;
            return true;
        }
    }
    return false;
}

bool pag_catalog_by_version(const struct pag_catalog *c, const char *version, uint32_t *release)
{
    for (size_t r = c->release_n; r-- > 0;) {
        if (strcmp(c->release[r].release->version, version) == 0) {
            *release = (uint32_t)r;
            return true;
        }
    }
    return false;
}

/* ---- judging one release ---- */

struct judge {
    const struct pag_plan_in *in;
    const struct pag_facts *facts;
    const struct pag_plan_release *candidate;
    const struct pag_release_image *image;
    const struct pag_manifest *manifest;
    struct pag_plan *plan;
    bool native;
    const struct pag_release *running;             /* NULL: not one of ours */
    uint32_t running_sequence;                     /* 0: not known */
    const struct pag_release_image *running_image; /* NULL: not known by its bytes */
    /* not native: */
    struct pag_key_state key;
    struct pag_epochs_way way;
};

static void find_running(struct judge *j)
{
    const struct pag_catalog *c = j->in->catalog;
    uint32_t release = 0;
    uint32_t image = 0;
    bool known = j->facts->running.source != PAG_ABSENT &&
                 pag_catalog_by_sha256(c, j->facts->running.value, &release, &image);
    j->running_image = known ? &c->release[release].release->image[image] : NULL;
    if (!known && j->facts->running.source == PAG_ABSENT && j->facts->version.source != PAG_ABSENT) {
        known = pag_catalog_by_version(c, j->facts->version.value, &release);
    }
    if (known) {
        j->running = c->release[release].release;
        j->running_sequence = j->running->sequence;
    }
    if (j->facts->sequence.source != PAG_ABSENT && j->facts->sequence.value != 0) {
        j->running_sequence = j->facts->sequence.value;
    }
}

static enum pag_plan_reason no(struct judge *j, enum pag_plan_reason reason, uint64_t have, uint64_t need)
{
    j->plan->have = have;
    j->plan->need = need;
    return reason;
}

static bool is_wanted(const struct judge *j, const struct pag_release_image *image, bool firmware)
{
    if (j->in->file != NULL) {
        return pag_image_answers(image, j->in->file, j->in->any_name);
    }
    return !pag_image_is_side(image->name) && (image->kind != PAG_IMAGE_FILESYSTEM) == firmware;
}

/* Images of a release that are wanted: those of the kind, the one of that very name first. */
static size_t find_forms(const struct judge *j, uint32_t form[PAG_RELEASE_IMAGES_MAX])
{
    const struct pag_release *r = j->candidate->release;
    bool firmware = strcmp(j->in->slot, "firmware") == 0;
    size_t n = 0;
    const uint32_t all = r->image_n;
    for (uint32_t k = 0; k < 2 * all && n < PAG_RELEASE_IMAGES_MAX; k++) {
        uint32_t i = k < all ? k : k - all;
        bool named = strcmp(r->image[i].name, j->in->slot) == 0;
        if (is_wanted(j, &r->image[i], firmware) && named == (k < all)) {
            form[n++] = i;
        }
    }
    return n;
}

static void take_form(struct judge *j, uint32_t form)
{
    j->image = &j->candidate->release->image[form];
    j->manifest = j->candidate->manifest[form];
    j->plan->image = form;
}

static bool runs_stand_in(const struct judge *j)
{
    return j->running_image != NULL && pag_image_is_side(j->running_image->name);
}

/* In whichever form it came. */
static bool is_running(const struct judge *j)
{
    uint32_t form = 0;
    if (j->facts->running.source != PAG_ABSENT) {
        return image_of(j->candidate->release, j->facts->running.value, &form) &&
               !pag_image_is_side(j->candidate->release->image[form].name);
    }
    return j->facts->version.source != PAG_ABSENT &&
           strcmp(j->facts->version.value, j->candidate->release->version) == 0;
}

static const struct pag_plan_permit *permit_for(const struct judge *j)
{
    const struct pag_catalog *c = j->in->catalog;
    for (size_t i = 0; i < c->permit_n; i++) {
        const struct pag_plan_permit *p = &c->permit[i];
        if (p->from_sequence == j->running_sequence && p->to_sequence == j->candidate->release->sequence &&
            (p->expires_at == 0 || p->expires_at > j->in->now_unix_s)) {
            return p;
        }
    }
    return NULL;
}

/* Forward is always fine; back only to a pin, or out of a withdrawn release with the permit for it. */
static enum pag_plan_reason judge_direction(struct judge *j)
{
    bool pinned = j->in->device->pin[0] != '\0';
    uint32_t to = j->candidate->release->sequence;
    if (to > j->running_sequence || j->running_sequence == 0) {
        return PAG_PLAN_OFFER;
    }
    if (to == j->running_sequence && runs_stand_in(j)) {
        return PAG_PLAN_OFFER; /* it is on its way */
    }
    bool left = j->running != NULL && j->running->state == PAG_RELEASE_WITHDRAWN;
    if (!j->native) {
        return pinned ? PAG_PLAN_OFFER : PAG_PLAN_UP_TO_DATE;
    }
    if (!pinned && !left) {
        return PAG_PLAN_UP_TO_DATE;
    }
    j->plan->permit = permit_for(j);
    if (j->plan->permit != NULL) {
        return PAG_PLAN_OFFER;
    }
    return pinned ? no(j, PAG_PLAN_PINNED, j->running_sequence, to) : PAG_PLAN_UP_TO_DATE;
}

static bool manifest_has_hardware(const struct pag_manifest *m, const char *hardware)
{
    struct pag_span h = pag_span_str(hardware);
    for (size_t i = 0; i < m->hardware_n; i++) {
        if (pag_span_eq(h, pag_span_of(m->hardware[i].id, m->hardware[i].n))) {
            return true;
        }
    }
    return false;
}

static uint32_t chip_of(const struct pag_catalog *c, const struct pag_facts *f)
{
    return f->chip.source != PAG_ABSENT ? f->chip.value : (uint32_t)c->product.chip;
}

static bool fits_hardware(const struct pag_facts *f, const struct pag_release_image *image,
                          const struct pag_manifest *m)
{
    if (f->hardware.source == PAG_ABSENT) {
        return true;
    }
    return m != NULL ? manifest_has_hardware(m, f->hardware.value)
                     : image->hardware[0] == '\0' || strcmp(image->hardware, f->hardware.value) == 0;
}

bool pag_plan_fits_board(const struct pag_catalog *c, const struct pag_facts *f,
                         const struct pag_plan_release *r, uint32_t image)
{
    const struct pag_release_image *i = &r->release->image[image];
    return i->kind != PAG_IMAGE_FILESYSTEM && !pag_image_is_side(i->name) &&
           chip_of(c, f) == (uint32_t)i->chip && fits_hardware(f, i, r->manifest[image]);
}

static enum pag_plan_reason judge_fit(struct judge *j)
{
    const struct pag_facts *f = j->facts;
    bool firmware = j->image->kind != PAG_IMAGE_FILESYSTEM;
    uint32_t chip = chip_of(j->in->catalog, f);
    if (firmware && chip != (uint32_t)j->image->chip) {
        return no(j, PAG_PLAN_WRONG_CHIP, chip, j->image->chip);
    }
    if (!fits_hardware(f, j->image, j->manifest)) {
        return PAG_PLAN_WRONG_HARDWARE;
    }
    if (j->in->any_space) {
        return PAG_PLAN_OFFER;
    }
    if (f->flash_bytes.source != PAG_ABSENT && firmware &&
        j->image->flash_size_bytes > f->flash_bytes.value) {
        return no(j, PAG_PLAN_FLASH_SIZE, f->flash_bytes.value, j->image->flash_size_bytes);
    }
    if (f->slot_bytes.source == PAG_ABSENT) {
        return PAG_PLAN_OFFER;
    }
    if (j->native) {
        return j->image->bytes > f->slot_bytes.value
                   ? no(j, PAG_PLAN_SLOT, f->slot_bytes.value, j->image->bytes)
                   : PAG_PLAN_OFFER;
    }
    /* Free space is of the sketch area; a file system has its own partition. */
    uint64_t sectors = (j->image->bytes + 4095) / 4096 * 4096;
    return firmware && sectors > f->slot_bytes.value
               ? no(j, PAG_PLAN_FREE_SPACE, f->slot_bytes.value, sectors)
               : PAG_PLAN_OFFER;
}

static enum pag_plan_reason judge_native(struct judge *j)
{
    const struct pag_manifest *m = j->manifest;
    const struct pag_facts *f = j->facts;
    if (m == NULL) {
        return PAG_PLAN_NO_MANIFEST;
    }
    if (m->expires_at != 0 && m->expires_at <= j->in->now_unix_s) {
        return no(j, PAG_PLAN_EXPIRED, j->in->now_unix_s, m->expires_at);
    }
    if (m->trust_version_min > f->trust_version.value) {
        return no(j, PAG_PLAN_TRUST_VERSION, f->trust_version.value, m->trust_version_min);
    }
    if (m->epoch < f->epoch.value) {
        return no(j, PAG_PLAN_EPOCH, f->epoch.value, m->epoch);
    }
    if (m->has_stone && (j->running_sequence < m->stone_sequence || f->epoch.value < m->stone_epoch)) {
        return no(j, PAG_PLAN_STONE, j->running_sequence, m->stone_sequence);
    }
    if (j->running_sequence != 0 && m->sequence > j->running_sequence &&
        m->sequence - j->running_sequence > PAG_SEQUENCE_STEP_MAX) {
        return no(j, PAG_PLAN_FAST_FORWARD, j->running_sequence, m->sequence);
    }
    return PAG_PLAN_OFFER;
}

/* The running image checks the next one with the key inside it: docs/spec/legacy-signatures.md 5. */
static enum pag_plan_reason judge_key(const struct judge *j)
{
    bool firmware = j->image->kind != PAG_IMAGE_FILESYSTEM;
    if (j->key.known == PAG_KEY_HELD &&
        (!j->image->has_signed_by || memcmp(j->image->signed_by, j->key.key, sizeof j->key.key) != 0)) {
        return PAG_PLAN_KEY;
    }
    if (j->key.known == PAG_KEY_NOT_KNOWN || !firmware || j->in->device->pin[0] != '\0') {
        return PAG_PLAN_OFFER;
    }
    int place = pag_epochs_place(&j->way, &j->key, j->candidate);
    j->plan->bridge = place > 0 ? j->way.next : (place < 0 ? j->way.last : NULL);
    return place > 0 ? PAG_PLAN_KEY_STEP : (place < 0 ? PAG_PLAN_KEY_END : PAG_PLAN_OFFER);
}

static uint64_t whole_sectors(uint64_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

/*
 * The boot loader unpacks upward from the start of flash while the packed bytes lie right below the file
 * system; nothing there looks whether the two meet. docs/spec/legacy-http.md 2.
 */
static enum pag_plan_reason judge_room_to_unpack(struct judge *j)
{
    const struct pag_facts *f = j->facts;
    if (f->slot_bytes.source == PAG_ABSENT || f->sketch_bytes.source == PAG_ABSENT) {
        return PAG_PLAN_GZIP;
    }
    uint64_t end = (uint64_t)f->slot_bytes.value + whole_sectors(f->sketch_bytes.value);
    uint64_t packed = whole_sectors(j->image->bytes);
    uint64_t room = end > packed ? end - packed : 0;
    uint64_t need = whole_sectors(j->image->unpacked_bytes);
    return j->image->unpacked_bytes == 0 || need > room ? no(j, PAG_PLAN_UNPACK, room, need) : PAG_PLAN_OFFER;
}

/* Whether what runs on the device unpacks, which no request says: only what is on record counts. */
static enum pag_plan_reason judge_packed(struct judge *j)
{
    if (!j->image->gzip || j->image->kind == PAG_IMAGE_FILESYSTEM) {
        return PAG_PLAN_OFFER;
    }
    uint32_t core = j->running_image != NULL ? j->running_image->core : 0;
    core = j->running_image != NULL && core == 0 ? j->in->catalog->product.settings.core : core;
    bool by_name = j->in->file != NULL; /* who asks for a packed file by its name takes it */
    if (j->in->no_gzip || (core < PAG_CORE(2, 7, 0) && (!by_name || core != 0))) {
        return PAG_PLAN_GZIP;
    }
    if (j->image->trailer && core < PAG_CORE(3, 0, 0)) {
        return PAG_PLAN_GZIP_SIGNED;
    }
    const struct pag_plan_md5 *form = j->facts->running_md5.source != PAG_ABSENT
                                          ? pag_catalog_form(j->in->catalog, j->facts->running_md5.value)
                                          : NULL;
    bool known = form != NULL && form->flash_mode != PAG_FLASH_MODE_UNKNOWN;
    if (known ? form->flash_mode != j->image->flash_mode : !by_name) {
        return known ? no(j, PAG_PLAN_FLASH_MODE, form->flash_mode, j->image->flash_mode) : PAG_PLAN_GZIP;
    }
    return judge_room_to_unpack(j);
}

/* Core 2.5 checks a form of its own, and no other does. Whose core is not on record may have either. */
static enum pag_plan_reason judge_signature_form(const struct judge *j)
{
    uint32_t core = j->running_image != NULL ? j->running_image->core : 0;
    core = core == 0 ? j->in->catalog->product.settings.core : core;
    bool old = core >= PAG_CORE(2, 5, 0) && core < PAG_CORE(2, 6, 0);
    bool matters = j->key.known == PAG_KEY_HELD && j->image->trailer && core != 0;
    return matters && j->image->trailer_legacy != old ? PAG_PLAN_SIGNATURE_FORM : PAG_PLAN_OFFER;
}

static enum pag_plan_reason judge_legacy(struct judge *j)
{
    enum pag_plan_reason r = judge_key(j);
    r = r == PAG_PLAN_OFFER ? judge_signature_form(j) : r;
    return r == PAG_PLAN_OFFER ? judge_packed(j) : r;
}

static enum pag_plan_reason judge_history(struct judge *j)
{
    const struct pag_facts *f = j->facts;
    for (size_t i = 0; i < j->in->image_n; i++) {
        const struct pag_device_image *h = &j->in->image[i];
        if (memcmp(h->sha256, j->image->sha256, sizeof h->sha256) != 0) {
            continue;
        }
        if (h->blocked) {
            j->plan->history = h;
            return no(j, PAG_PLAN_BLACKLISTED, h->failures, 0);
        }
        uint32_t most = j->in->catalog->product.settings.max_serves;
        if (!j->native && pag_history_looping(h, most)) {
            j->plan->history = h;
            return no(j, PAG_PLAN_LOOP, h->serves, most);
        }
    }
    if (f->last_failed.source != PAG_ABSENT &&
        memcmp(f->last_failed.value, j->image->sha256, sizeof j->image->sha256) == 0) {
        return PAG_PLAN_BLACKLISTED;
    }
    return PAG_PLAN_OFFER;
}

/* The file system it was sent last and had when it asked again; nothing else tells. */
static bool holds_filesystem(const struct judge *j)
{
    const struct pag_device_image *last = NULL;
    for (size_t i = 0; i < j->in->image_n; i++) {
        const struct pag_device_image *h = &j->in->image[i];
        if (h->held_ms != 0 && (last == NULL || h->held_ms > last->held_ms)) {
            last = h;
        }
    }
    return last != NULL && memcmp(last->sha256, j->image->sha256, sizeof last->sha256) == 0;
}

static enum pag_plan_reason judge_form(struct judge *j)
{
    bool firmware = j->image->kind != PAG_IMAGE_FILESYSTEM;
    bool side = j->in->side;
    if (!side && (firmware ? is_running(j) : holds_filesystem(j))) {
        return PAG_PLAN_UP_TO_DATE;
    }
    enum pag_plan_reason r = firmware && !side ? judge_direction(j) : PAG_PLAN_OFFER;
    r = r == PAG_PLAN_OFFER ? judge_fit(j) : r;
    r = r == PAG_PLAN_OFFER ? (j->native ? judge_native(j) : judge_legacy(j)) : r;
    return r == PAG_PLAN_OFFER ? judge_history(j) : r;
}

/* The first form that can be offered; else the verdict on the first that is for this board, or on the first.
 */
static enum pag_plan_reason judge_candidate(struct judge *j)
{
    const struct pag_device *d = j->in->device;
    const struct pag_plan clean = *j->plan;
    struct pag_plan first = *j->plan;
    enum pag_plan_reason verdict = PAG_PLAN_NO_IMAGE;
    uint32_t form[PAG_RELEASE_IMAGES_MAX];
    size_t n = find_forms(j, form);
    if (n > 0 && d->pin[0] != '\0' && strcmp(d->pin, j->candidate->release->version) != 0) {
        return PAG_PLAN_PINNED;
    }
    for (size_t i = 0; i < n; i++) {
        *j->plan = clean;
        take_form(j, form[i]);
        enum pag_plan_reason r = judge_form(j);
        if (r == PAG_PLAN_OFFER || r == PAG_PLAN_UP_TO_DATE) {
            return r;
        }
        bool other_board = verdict == PAG_PLAN_WRONG_CHIP || verdict == PAG_PLAN_WRONG_HARDWARE;
        if (i == 0 || other_board) {
            verdict = r;
            first = *j->plan;
        }
    }
    *j->plan = first;
    return verdict;
}

/* extra: judged as if published; NULL: only what is. */
static struct judge judge_of(const struct pag_plan_in *in, const struct pag_plan_release *extra)
{
    struct judge j = { .in = in,
                       .facts = &in->device->facts,
                       .native = in->device->protocol == PAG_PROTOCOL_NATIVE };
    find_running(&j);
    if (!j.native) {
        const struct pag_epochs_in epochs = { .catalog = in->catalog, .facts = j.facts, .extra = extra };
        pag_epochs_state(in, &j.key);
        pag_epochs_walk(&epochs, &j.key, &j.way);
    }
    return j;
}

static enum pag_plan_reason judge_one(const struct judge *common, const struct pag_plan_release *candidate,
                                      struct pag_plan *out)
{
    struct judge j = *common;
    memset(out, 0, sizeof *out);
    out->release = candidate;
    j.candidate = candidate;
    j.plan = out;
    out->reason = j.in->device->revoked_ms != 0 ? PAG_PLAN_REVOKED : judge_candidate(&j);
    return out->reason;
}

static bool is_of_keys(enum pag_plan_reason r)
{
    return r == PAG_PLAN_KEY || r == PAG_PLAN_KEY_STEP || r == PAG_PLAN_KEY_END;
}

enum pag_plan_reason pag_plan_judge(const struct pag_plan_in *in, const struct pag_plan_release *candidate,
                                    struct pag_plan *out)
{
    struct judge common = judge_of(in, candidate);
    (void)judge_one(&common, candidate, out);
    if (is_of_keys(out->reason)) {
        pag_epochs_explain(in, out);
    }
    return out->reason;
}

/* An older file system is never a way out: only the newest that fits counts. */
static bool ends_search(const struct pag_plan_in *in, enum pag_plan_reason r)
{
    bool filesystem = strcmp(in->slot, "filesystem") == 0;
    return r == PAG_PLAN_OFFER || r == PAG_PLAN_REVOKED ||
           (filesystem &&
            (r == PAG_PLAN_UP_TO_DATE || r == PAG_PLAN_LOOP || r == PAG_PLAN_BLACKLISTED || is_of_keys(r)));
}

static void find_next(const struct judge *common, struct pag_plan *out)
{
    const struct pag_plan_in *in = common->in;
    const struct pag_catalog *c = in->catalog;
    bool pinned = in->device->pin[0] != '\0';
    bool stays = !pinned && (common->running == NULL || common->running->state == PAG_RELEASE_PUBLISHED) &&
                 strcmp(in->slot, "firmware") == 0 && !in->side;
    bool any = false;
    for (size_t r = c->release_n; r-- > 0;) {
        const struct pag_release *rel = c->release[r].release;
        struct pag_plan one;
        if (rel->state != PAG_RELEASE_PUBLISHED) {
            continue;
        }
        if (any && stays && rel->sequence <= common->running_sequence) {
            return; /* from here on it would only be back */
        }
        enum pag_plan_reason reason = judge_one(common, &c->release[r], &one);
        bool other_pin = pinned && strcmp(in->device->pin, rel->version) != 0;
        if (!any || reason == PAG_PLAN_OFFER) {
            *out = one;
        }
        /* The pinned release decides, whatever is newer. */
        any = !other_pin;
        if (ends_search(in, reason)) {
            *out = one;
            return;
        }
    }
}

void pag_plan_next(const struct pag_plan_in *in, struct pag_plan *out)
{
    struct judge common = judge_of(in, NULL);
    memset(out, 0, sizeof *out);
    out->reason = PAG_PLAN_NOTHING_PUBLISHED;
    find_next(&common, out);
    if (!is_of_keys(out->reason)) {
        return;
    }
    pag_epochs_explain(in, out);
    if (out->reason == PAG_PLAN_KEY_STEP && in->device->pin[0] == '\0') {
        (void)judge_one(&common, out->bridge, out); /* what comes first is not offered: that is the reason */
    }
}

/* ---- words ---- */

static const char *const reasons[PAG_PLAN_REASONS] = { "offer",       "up-to-date",  "nothing-published",
                                                       "no-image",    "wrong-chip",  "wrong-hardware",
                                                       "no-manifest", "flash-size",  "free-space",
                                                       "slot",        "trust",       "stepping-stone",
                                                       "epoch",       "key",         "gzip",
                                                       "loop",        "blacklisted", "pinned",
                                                       "expired",     "revoked",     "fast-forward",
                                                       "key-step",    "key-end",     "gzip-signed",
                                                       "flash-mode",  "unpack",      "signature-form" };

const char *pag_plan_reason_word(enum pag_plan_reason r)
{
    return r < PAG_PLAN_REASONS ? reasons[r] : "offer";
}

/* %v version, %h have, %n need, %b version of the bridge */
static const char *const sentences[PAG_PLAN_REASONS] = {
    "%v is to be installed.",
    "%v runs and is the newest that this device can have.",
    "No release is published.",
    "%v has no image of this kind.",
    "%v is for another chip than this device has.",
    "%v is not for this board.",
    "%v has no signed manifest, and this device asks for one.",
    "%v was built for %n bytes of flash; this device has %h.",
    "%v takes %n bytes; this device has %h free.",
    "%v has %n bytes; the slot of this device holds %h.",
    "%v needs trust set %n; this device has %h.",
    "%v wants release %n to be installed first; this device is at %h.",
    "%v is of security epoch %n; this device is at %h and never goes back.",
    "%v is signed with signing key %n; what runs checks with key %h, and none leads on: a cable is needed.",
    "%v is packed with gzip, and it is not known that this device can unpack.",
    "%v was served %h times and the device still asks with another image; not offered again until retry.",
    "%v failed on this device; not offered again until retry.",
    "This device is held at another version than %v, or no signed permit leads there.",
    "The manifest of %v has expired.",
    "Its certificate was revoked.",
    "%v is release %n, too far above %h for one step.",
    "%v needs %b first, which brings signing key %n.",
    "%v brings signing key %n, from which no release leads on; %b comes instead.",
    ("%v is packed and signed, and what runs is not known to be of core 3.0 or newer: before that it would "
     "overwrite the boot loader."),
    "%v is packed with flash mode %n, and this device runs with %h; only an unpacked image is adapted.",
    "%v takes %n bytes unpacked; this device unpacks into %h at most before it overwrites what it reads.",
    "%v is signed in another form than what runs checks: core 2.5 has a form of its own.",
};

static const char *template_of(const struct pag_plan *plan)
{
    if (plan->reason != PAG_PLAN_KEY) {
        return sentences[plan->reason];
    }
    if (plan->bridge != NULL) {
        return "%v needs %b first, which brings signing key %n; %b is withdrawn.";
    }
    const struct pag_release_image *image =
        plan->release != NULL ? &plan->release->release->image[plan->image] : NULL;
    if (image != NULL && !image->has_signed_by) {
        return image->trailer
                   ? "%v is signed with a key that this server does not know; the running image checks with "
                     "signing key %h."
                   : "%v is not signed, and the running image checks with signing key %h.";
    }
    return sentences[PAG_PLAN_KEY];
}

void pag_plan_sentence(const struct pag_plan *plan, char out[PAG_WHY_MAX + 1])
{
    struct pag_words w = pag_words_into(out, PAG_WHY_MAX + 1);
    const char *version = plan->release != NULL ? plan->release->release->version : "The release";
    for (const char *p = template_of(plan); *p != '\0'; p++) {
        char one[2] = { *p, '\0' };
        if (*p != '%') {
            pag_words_put(&w, one);
            continue;
        }
        p++;
        if (*p == 'v') {
            pag_words_put(&w, version);
        } else if (*p == 'b') {
            pag_words_put(&w, plan->bridge != NULL ? plan->bridge->release->version : "another release");
        } else {
            pag_words_num(&w, *p == 'h' ? plan->have : plan->need);
        }
    }
}
