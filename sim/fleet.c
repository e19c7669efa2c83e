#include "sim/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/saved.h"

static const char *const outcome_words[PAG_SIM_OUTCOME_COUNT] = {
    [PAG_SIM_WAITING] = "waiting", [PAG_SIM_CONFIRMED] = "confirmed", [PAG_SIM_REVERTED] = "reverted",
    [PAG_SIM_REFUSED] = "refused", [PAG_SIM_DENIED] = "denied",       [PAG_SIM_DEAD] = "dead",
};

enum { SUMMARY_MS = 500, SETTLED_READINGS = 2, SETTLED_DENIALS = 2, SETTLED_ROUNDS = 2 };

const char *pag_sim_outcome_word(enum pag_sim_outcome outcome)
{
    return outcome_words[outcome];
}

/* xorshift32 (Marsaglia 2003): for faults and jitter only. */
uint32_t pag_sim_random(struct pag_sim_world *world, uint32_t below)
{
    uint32_t x = world->random;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    world->random = x;
    return below > 0 ? x % below : 0;
}

/* ---- one device ---- */

bool pag_sim_device_is_native(const struct pag_sim_device *d)
{
    return d->who->family == PAG_SIM_F_NATIVE;
}

void pag_sim_device_trail(struct pag_sim_device *d)
{
    d->readings_now = 0;
    if (d->trail_n < PAG_SIM_TRAIL_MAX) {
        memcpy(d->trail[d->trail_n++], d->now.version, sizeof(d->now.version));
    }
}

void pag_sim_device_reading(struct pag_sim_device *d)
{
    d->readings_now++;
    if (d->outcome == PAG_SIM_WAITING) {
        d->readings_before++;
    } else {
        d->readings_after++;
    }
}

void pag_sim_device_outcome(struct pag_sim_device *d, enum pag_sim_outcome outcome)
{
    if (d->outcome == PAG_SIM_WAITING || outcome == PAG_SIM_CONFIRMED) {
        d->outcome = outcome;
    }
}

void pag_sim_device_error(struct pag_sim_device *d, enum pag_err err, const char *what)
{
    d->last_error = err;
    (void)snprintf(d->last_what, sizeof(d->last_what), "%s", what != NULL ? what : "");
}

void pag_sim_device_say(const struct pag_sim_device *d, char *text, size_t cap)
{
    (void)snprintf(text, cap, "%s at %s, in state %s: %s%s%s%s%s%s", d->id,
                   d->last_where[0] != '\0' ? d->last_where : "no address", d->state,
                   pag_err_word(d->last_error), d->last_what[0] != '\0' ? ", " : "", d->last_what,
                   d->last_why[0] != '\0' ? " (" : "", d->last_why, d->last_why[0] != '\0' ? ")" : "");
}

enum pag_sim_outcome pag_sim_expected(enum pag_sim_fault fault)
{
    switch (fault) {
    case PAG_SIM_FAULT_NONE:
    case PAG_SIM_POWER_CUT:
    case PAG_SIM_CORRUPT:
    case PAG_SIM_CLOCK:
    case PAG_SIM_LINK_LOSS:
        return PAG_SIM_CONFIRMED;
    case PAG_SIM_CRASH:
    case PAG_SIM_LOOP:
        return PAG_SIM_REVERTED;
    case PAG_SIM_FOREIGN:
        return PAG_SIM_DENIED;
    case PAG_SIM_FLIP:
    case PAG_SIM_UNTRUSTED:
    case PAG_SIM_WRONG_CHIP:
        return PAG_SIM_REFUSED;
    case PAG_SIM_EBOOT_CUT:
        return PAG_SIM_DEAD;
    case PAG_SIM_FULL:
    case PAG_SIM_AHEAD: /* a server that knows its sequence does not even offer */
    case PAG_SIM_FAULT_COUNT:
        break;
    }
    return PAG_SIM_WAITING;
}

bool pag_sim_device_settled(const struct pag_sim_device *d)
{
    if (d->fault == PAG_SIM_AHEAD) {
        return (d->outcome == PAG_SIM_WAITING || d->outcome == PAG_SIM_REFUSED) &&
               d->readings_before + d->readings_after >= SETTLED_READINGS;
    }
    if (d->fault == PAG_SIM_FULL) { /* the server knows the room, and does not offer */
        return (d->outcome == PAG_SIM_WAITING || d->outcome == PAG_SIM_REFUSED) &&
               d->rounds >= SETTLED_ROUNDS;
    }
    const char *target = d->world->options->target;
    if (d->outcome != pag_sim_expected(d->fault) ||
        (d->outcome == PAG_SIM_CONFIRMED && target != NULL && strcmp(d->now.version, target) != 0)) {
        return false;
    }
    if (d->outcome == PAG_SIM_DENIED) {
        return d->denials >= SETTLED_DENIALS;
    }
    /* The last of several images must be heard of too. */
    const uint32_t heard = target != NULL ? d->readings_now : d->readings_after;
    return d->silent || d->outcome == PAG_SIM_DEAD ||
           (d->readings_after >= SETTLED_READINGS && heard >= SETTLED_READINGS);
}

/* The image that a new device is flashed with: those for its chip in turn. */
static const struct pag_sim_flashed *image_of(const struct pag_sim_device *d)
{
    const struct pag_sim_options *o = d->world->options;
    uint32_t fitting = 0;
    for (uint32_t i = 0; i < o->image_n; i++) {
        fitting += o->image[i].sketch.esp32 == d->who->esp32 ? 1 : 0;
    }
    uint32_t left = fitting > 0 ? d->index % fitting : 0;
    for (uint32_t i = 0; i < o->image_n; i++) {
        if (o->image[i].sketch.esp32 == d->who->esp32 && left-- == 0) {
            return &o->image[i];
        }
    }
    return NULL; /* pag_sim_options_parse has seen to that */
}

/* What was kept, or what the factory writes. */
static enum pag_err fill_flash(struct pag_sim_world *world, struct pag_sim_device *d,
                               struct pag_sim_sector **cache)
{
    const struct pag_sim_options *o = world->options;
    if (d->saved != NULL) {
        return pag_sim_saved_flash(o->saved, d->saved, cache, &d->flash);
    }
    const struct pag_sim_flashed *image = image_of(d);
    if (image == NULL) {
        return PAG_E_CONFIG;
    }
    for (struct pag_sim_device *other = world->device; other < d; other++) {
        if (image_of(other) == image) {
            return pag_sim_flash_share(&d->flash, &other->flash, PAG_AREA_SLOT_A);
        }
    }
    return pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_A, pag_span_of(image->bytes.p, image->bytes.n));
}

static void be_somebody(struct pag_sim_device *d)
{
    const struct pag_sim_options *o = d->world->options;
    const uint32_t natives = o->devices - o->legacy;
    if (o->saved != NULL) {
        d->saved = &o->saved->device[d->index];
        d->who = d->saved->who;
        d->path = d->saved->path[0] != '\0' ? d->saved->path : NULL;
        return;
    }
    if (d->index < natives) {
        d->who = pag_sim_personality_find(pag_span_str("native"));
        return;
    }
    const struct pag_sim_group *group = pag_sim_group_of(o, d->index - natives);
    d->who = group->who;
    d->path = group->path;
}

static void name_device(struct pag_sim_device *d)
{
    const struct pag_sim_options *o = d->world->options;
    const uint32_t natives = o->devices - o->legacy;
    if (o->saved != NULL) {
        d->fault = d->saved->fault;
        (void)pag_text_copy(d->mac, sizeof(d->mac), d->saved->mac);
        (void)pag_text_copy(d->id, sizeof(d->id), d->saved->id);
        for (uint32_t i = 0; i < o->mqtt_user_n; i++) {
            d->user = strcmp(o->mqtt_user[i].mac, d->mac) == 0 ? &o->mqtt_user[i] : d->user;
        }
        return;
    }
    d->fault = pag_sim_device_is_native(d) ? pag_sim_fault_of(o->fault, d->index)
                                           : (enum pag_sim_fault)o->client_fault[d->index - natives];
    /* Espressif's prefix; the rest is the seed's and the device's. */
    (void)snprintf(d->mac, sizeof(d->mac), "5ccf7f%06x",
                   (unsigned)((o->seed * 65536U + d->index) & 0xFFFFFF));
    d->user = pag_sim_device_is_native(d) ? NULL : pag_sim_user_of(o, d->index - natives);
    if (d->user != NULL) {
        memcpy(d->mac, d->user->mac, sizeof(d->mac));
    }
    memcpy(d->id, d->mac, sizeof(d->mac));
}

static enum pag_err device_init(struct pag_sim_world *world, struct pag_sim_device *d, uint32_t index,
                                struct pag_sim_sector **cache)
{
    const struct pag_sim_options *o = world->options;
    *d = (struct pag_sim_device){ .world = world, .index = index, .state = "off" };
    be_somebody(d);
    name_device(d);
    const struct pag_sim_flashed *image = image_of(d);
    if (image != NULL) { /* else it was saved */
        d->before = d->now = image->sketch;
    }
    const uint32_t areas[PAG_AREA_COUNT] = {
        [PAG_AREA_JOURNAL] = 2 * PAG_SIM_SECTOR, [PAG_AREA_TRUST] = 2 * PAG_SIM_SECTOR,
        [PAG_AREA_CONFIG] = 2 * PAG_SIM_SECTOR,  [PAG_AREA_SLOT_A] = o->slot_bytes,
        [PAG_AREA_SLOT_B] = o->slot_bytes,
    };
    enum pag_err err = pag_sim_flash_init(&d->flash, world->pool, areas);
    err = err == PAG_OK ? fill_flash(world, d, cache) : err;
    if (err == PAG_OK) {
        err = pag_sim_device_is_native(d) ? pag_sim_native_init(d) : pag_sim_client_init(d);
    }
    d->saved = NULL;
    return err;
}

static void device_free(struct pag_sim_device *d)
{
    pag_loop_timer_stop(d->world->loop, &d->timer);
    if (d->who == NULL) {
        return; /* not made */
    }
    if (pag_sim_device_is_native(d)) {
        pag_sim_native_free(d);
    } else {
        pag_sim_client_free(d);
    }
    pag_sim_flash_free(&d->flash);
}

/* ---- counting ---- */

static void row_add(struct pag_sim_row *rows, uint32_t *n, const char *text, uint32_t count)
{
    for (uint32_t i = 0; i < *n; i++) {
        if (strcmp(rows[i].text, text) == 0) {
            rows[i].n += count;
            return;
        }
    }
    if (*n < PAG_SIM_ROWS_MAX) {
        (void)snprintf(rows[*n].text, sizeof(rows[*n].text), "%s", text);
        rows[*n].n = count;
        (*n)++;
    }
}

static void summary_device(struct pag_sim_summary *s, const struct pag_sim_device *d)
{
    s->devices++;
    s->outcome[d->outcome]++;
    s->reached += d->reached || d->outcome != PAG_SIM_WAITING ? 1 : 0;
    s->settled += pag_sim_device_settled(d) ? 1 : 0;
    s->readings += (uint64_t)d->readings_before + d->readings_after;
    s->resets += d->resets;
    row_add(s->version, &s->version_n, d->now.version, 1);
    row_add(s->state, &s->state_n, d->state, 1);
    row_add(s->who, &s->who_n, d->who->name, pag_sim_device_settled(d) ? 1 : 0);
}

void pag_sim_summary_add(struct pag_sim_summary *sum, const struct pag_sim_summary *part)
{
    sum->devices += part->devices;
    sum->settled += part->settled;
    sum->reached += part->reached;
    sum->readings += part->readings;
    sum->resets += part->resets;
    sum->sectors += part->sectors;
    sum->net.opened += part->net.opened;
    sum->net.handshakes += part->net.handshakes;
    sum->net.resumed += part->net.resumed;
    sum->net.refused += part->net.refused;
    sum->net.read_bytes += part->net.read_bytes;
    sum->net.written_bytes += part->net.written_bytes;
    for (int i = 0; i < PAG_SIM_OUTCOME_COUNT; i++) {
        sum->outcome[i] += part->outcome[i];
    }
    for (uint32_t i = 0; i < part->version_n; i++) {
        row_add(sum->version, &sum->version_n, part->version[i].text, part->version[i].n);
    }
    for (uint32_t i = 0; i < part->state_n; i++) {
        row_add(sum->state, &sum->state_n, part->state[i].text, part->state[i].n);
    }
    for (uint32_t i = 0; i < part->who_n; i++) {
        row_add(sum->who, &sum->who_n, part->who[i].text, part->who[i].n);
    }
}

static void summarise(struct pag_sim_world *world)
{
    struct pag_sim_summary s = { .net = world->net.stats, .sectors = pag_sim_pool_count(world->pool) };
    for (uint32_t i = 0; i < world->device_n; i++) {
        summary_device(&s, &world->device[i]);
    }
    pthread_mutex_lock(&world->lock);
    world->summary = s;
    pthread_mutex_unlock(&world->lock);
}

static void on_tick(struct pag_loop *loop, struct pag_timer *t)
{
    summarise(t->ctx);
    pag_loop_timer(loop, t, SUMMARY_MS);
}

/* ---- a world ---- */

static enum pag_err devices_init(struct pag_sim_world *world, uint32_t first, uint32_t n)
{
    const struct pag_sim_saved *saved = world->options->saved;
    struct pag_sim_sector **cache =
        calloc((saved != NULL ? saved->sector_n : 0) + 1U, sizeof(struct pag_sim_sector *));
    enum pag_err err = cache != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    for (uint32_t i = 0; i < n && err == PAG_OK; i++) {
        world->device_n++; /* also a device that failed half way is freed */
        err = device_init(world, &world->device[i], first + i, cache);
    }
    if (cache != NULL && saved != NULL) {
        pag_sim_saved_forget(saved, cache, world->pool);
    }
    free(cache);
    return err;
}

enum pag_err pag_sim_world_init(struct pag_sim_world *world, const struct pag_sim_options *options,
                                uint32_t first, uint32_t n)
{
    *world = (struct pag_sim_world){ .options = options, .random = options->seed * 2654435761U + first + 1 };
    world->random = world->random != 0 ? world->random : 1; /* zero would stay zero */
    pthread_mutex_init(&world->lock, NULL);
    world->loop = pag_loop_new(pag_clock_system());
    world->pool = pag_sim_pool_new();
    world->device = calloc(n, sizeof(world->device[0]));
    if (world->loop == NULL || world->pool == NULL || world->device == NULL) {
        return PAG_E_NO_MEMORY;
    }
    pag_sim_net_init(&world->net, world->loop);
    const enum pag_err err = devices_init(world, first, n);
    if (err != PAG_OK) {
        return err;
    }
    world->tick = (struct pag_timer){ .on_fire = on_tick, .ctx = world };
    pag_loop_timer(world->loop, &world->tick, 0);
    return PAG_OK;
}

void pag_sim_world_free(struct pag_sim_world *world)
{
    if (world->loop == NULL) {
        return;
    }
    for (uint32_t i = 0; i < world->device_n; i++) {
        device_free(&world->device[i]);
    }
    pag_loop_timer_stop(world->loop, &world->tick);
    pag_sim_net_done(&world->net);
    pag_sim_pool_free(world->pool);
    pag_loop_free(world->loop);
    pthread_mutex_destroy(&world->lock);
    free(world->device);
}

static void *run(void *arg)
{
    struct pag_sim_world *world = arg;
    (void)pag_loop_run(world->loop);
    summarise(world);
    return NULL;
}

enum pag_err pag_sim_world_start(struct pag_sim_world *world)
{
    world->is_started = pthread_create(&world->thread, NULL, run, world) == 0;
    return world->is_started ? PAG_OK : PAG_E_NO_MEMORY;
}

void pag_sim_world_stop(struct pag_sim_world *world)
{
    if (world->is_started) {
        pag_loop_stop(world->loop);
        pthread_join(world->thread, NULL);
        world->is_started = false;
    }
}
