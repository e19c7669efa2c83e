#include "sim/saved.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/cbor.h"
#include "host/fs.h"

static const char magic[] = "pagurus-sim devices 2";
static const char magic_1[] = "pagurus-sim devices 1"; /* without personalities */

enum {
    FILE_MAX_BYTES = 1 << 30,
    SECTORS_MAX = 1 << 18,
    DEVICES_MAX = 100000,
    SLOT_MAX_BYTES = 16 << 20,
    KEY_MAX = 4096, /* of a certificate or key, DER */
    HOST_MAX = 63,
    FIELDS_1 = 8, /* of a device, before its maps */
    FIELDS = FIELDS_1 + 2,
    NAME_MAX_BYTES = 32,
    ERASED = 0,
};

static uint32_t area_sectors(uint32_t slot_bytes, int area)
{
    return area == PAG_AREA_SLOT_A || area == PAG_AREA_SLOT_B ? slot_bytes / PAG_SIM_SECTOR : 2;
}

/* ---- reading ---- */

static enum pag_err get_fault(struct pag_cbor_reader *r, enum pag_sim_fault *out)
{
    struct pag_span word = { 0 };
    const enum pag_err err = pag_cbor_get_text(r, 1, 16, &word);
    for (int f = 0; err == PAG_OK && f < PAG_SIM_FAULT_COUNT; f++) {
        if (pag_span_eq_str(word, pag_sim_fault_word((enum pag_sim_fault)f))) {
            *out = (enum pag_sim_fault)f;
            return PAG_OK;
        }
    }
    return err != PAG_OK ? err : PAG_E_RANGE;
}

/* Whole, and pointing at sectors that the file holds. */
static enum pag_err get_map(struct pag_cbor_reader *r, const struct pag_sim_saved *s, uint32_t sectors,
                            struct pag_span *out)
{
    const enum pag_err err = pag_cbor_get_bytes(r, (size_t)sectors * 4, (size_t)sectors * 4, out);
    for (uint32_t i = 0; err == PAG_OK && i < sectors; i++) {
        if (pag_u32le(out->p + (size_t)i * 4) > s->sector_n) {
            return PAG_E_RANGE;
        }
    }
    return err;
}

static enum pag_err get_who(struct pag_cbor_reader *r, struct pag_sim_saved_device *d)
{
    struct pag_span name = { 0 };
    struct pag_span path = { 0 };
    enum pag_err err = pag_cbor_get_text(r, 1, NAME_MAX_BYTES, &name);
    err = err == PAG_OK ? pag_cbor_get_text(r, 0, PAG_SIM_SAVED_PATH_MAX, &path) : err;
    err = err == PAG_OK ? pag_text_copy(d->path, sizeof(d->path), path) : err;
    d->who = err == PAG_OK ? pag_sim_personality_find(name) : NULL;
    return err == PAG_OK && d->who == NULL ? PAG_E_RANGE : err;
}

static enum pag_err get_device(struct pag_cbor_reader *r, const struct pag_sim_saved *s,
                               struct pag_sim_saved_device *d)
{
    size_t fields = 0;
    uint64_t port = 0;
    const size_t want = (s->is_first ? FIELDS_1 : FIELDS) + PAG_AREA_COUNT;
    enum pag_err err = pag_cbor_get_array(r, want, &fields);
    err = err == PAG_OK && fields != want ? PAG_E_SYNTAX : err;
    err = err == PAG_OK && !s->is_first ? get_who(r, d) : err;
    err = err == PAG_OK ? get_fault(r, &d->fault) : err;
    err = err == PAG_OK ? pag_cbor_get_text(r, 12, 12, &d->mac) : err;
    err = err == PAG_OK ? pag_cbor_get_text(r, 1, PAG_DEVICE_ID_MAX, &d->id) : err;
    err = err == PAG_OK && !pag_device_id_ok(d->id) ? PAG_E_RANGE : err;
    err = err == PAG_OK ? pag_cbor_get_bytes(r, 0, PAG_SHA256_BYTES, &d->pin) : err;
    err = err == PAG_OK && d->pin.n != 0 && d->pin.n != PAG_SHA256_BYTES ? PAG_E_RANGE : err;
    err = err == PAG_OK ? pag_cbor_get_bytes(r, 0, KEY_MAX, &d->certificate) : err;
    err = err == PAG_OK ? pag_cbor_get_bytes(r, 0, KEY_MAX, &d->key) : err;
    err = err == PAG_OK ? pag_cbor_get_text(r, 0, HOST_MAX, &d->mqtt_host) : err;
    err = err == PAG_OK ? pag_cbor_get_uint(r, UINT16_MAX, &port) : err;
    d->mqtt_port = (uint16_t)port;
    for (int area = 0; err == PAG_OK && area < PAG_AREA_COUNT; area++) {
        err = get_map(r, s, area_sectors(s->slot_bytes, area), &d->map[area]);
    }
    return err;
}

static enum pag_err get_head(struct pag_cbor_reader *r, struct pag_sim_saved *s)
{
    size_t fields = 0;
    uint64_t slot = 0;
    struct pag_span text = { 0 };
    enum pag_err err = pag_cbor_get_array(r, 6, &fields);
    err = err == PAG_OK && fields != 6 ? PAG_E_SYNTAX : err;
    err = err == PAG_OK ? pag_cbor_get_text(r, 0, sizeof(magic), &text) : err;
    s->is_first = err == PAG_OK && pag_span_eq_str(text, magic_1);
    err = err == PAG_OK && !s->is_first && !pag_span_eq_str(text, magic) ? PAG_E_MAGIC : err;
    err = err == PAG_OK ? pag_cbor_get_uint(r, SLOT_MAX_BYTES, &slot) : err;
    err = err == PAG_OK && (slot < 2ULL * PAG_SIM_SECTOR || slot % PAG_SIM_SECTOR != 0) ? PAG_E_RANGE : err;
    err = err == PAG_OK ? pag_cbor_get_bytes(r, PAG_PRODUCT_ID_BYTES, PAG_PRODUCT_ID_BYTES, &text) : err;
    if (err == PAG_OK) {
        s->slot_bytes = (uint32_t)slot;
        memcpy(s->product_id, text.p, PAG_PRODUCT_ID_BYTES);
    }
    return err;
}

/* The head of an array of at most max, and memory for as many as the rest of the file can hold at
 * least_bytes each. */
static enum pag_err begin_array(struct pag_cbor_reader *r, size_t max, size_t least_bytes, size_t item_bytes,
                                void **out, uint32_t *n)
{
    size_t count = 0;
    const enum pag_err err = pag_cbor_get_array(r, max, &count);
    if (err != PAG_OK) {
        return err;
    }
    if (count > (r->in.n - r->at) / least_bytes) {
        return PAG_E_SHORT;
    }
    *out = calloc(count + 1, item_bytes);
    *n = (uint32_t)count;
    return *out != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

static enum pag_err get_sectors(struct pag_cbor_reader *r, struct pag_sim_saved *s)
{
    void *room = NULL;
    enum pag_err err = begin_array(r, SECTORS_MAX, PAG_SIM_SECTOR, sizeof(s->sector[0]), &room, &s->sector_n);
    s->sector = room;
    for (uint32_t i = 0; err == PAG_OK && i < s->sector_n; i++) {
        struct pag_span bytes = { 0 };
        err = pag_cbor_get_bytes(r, PAG_SIM_SECTOR, PAG_SIM_SECTOR, &bytes);
        s->sector[i] = bytes.p;
    }
    return err;
}

static enum pag_err get_devices(struct pag_cbor_reader *r, struct pag_sim_saved *s)
{
    void *room = NULL;
    enum pag_err err = begin_array(r, DEVICES_MAX, 32, sizeof(s->device[0]), &room, &s->device_n);
    s->device = room;
    for (uint32_t i = 0; err == PAG_OK && i < s->device_n; i++) {
        err = get_device(r, s, &s->device[i]);
    }
    return err;
}

/* The native ones come first; of those the first form says no more. */
static enum pag_err name_them(struct pag_sim_saved *s)
{
    const struct pag_sim_personality *native = pag_sim_personality_find(pag_span_str("native"));
    const struct pag_sim_personality *legacy = pag_sim_personality_find(pag_span_str("esp8266-3.0"));
    for (uint32_t i = 0; i < s->device_n; i++) {
        const bool is_native = i < s->device_n - s->legacy_n;
        if (s->is_first) {
            s->device[i].who = is_native ? native : legacy;
        }
        if ((s->device[i].who == native) != is_native) {
            return PAG_E_RANGE;
        }
    }
    return PAG_OK;
}

enum pag_err pag_sim_saved_parse(struct pag_span in, struct pag_sim_saved *out)
{
    struct pag_sim_saved s = { 0 };
    struct pag_cbor_reader r = pag_cbor_read(in);
    uint64_t legacy = 0;
    enum pag_err err = get_head(&r, &s);
    err = err == PAG_OK ? get_sectors(&r, &s) : err;
    err = err == PAG_OK ? get_devices(&r, &s) : err;
    err = err == PAG_OK ? pag_cbor_get_uint(&r, s.device_n, &legacy) : err;
    err = err == PAG_OK && (s.device_n == 0 || !pag_cbor_at_end(&r)) ? PAG_E_SYNTAX : err;
    s.legacy_n = (uint32_t)legacy;
    err = err == PAG_OK ? name_them(&s) : err;
    if (err != PAG_OK) {
        pag_sim_saved_free(&s);
        return err;
    }
    *out = s;
    return PAG_OK;
}

enum pag_err pag_sim_saved_read(const char *path, struct pag_sim_saved *out, struct pag_fail *why)
{
    struct pag_buf bytes = { 0 };
    enum pag_err err = pag_fs_read(path, FILE_MAX_BYTES, &bytes, why);
    if (err != PAG_OK) {
        return err;
    }
    const size_t n = bytes.n < 4 ? 0 : bytes.n - 4;
    const struct pag_span body = pag_span_of(bytes.p, n);
    err = n > 0 && pag_crc32(0, body) == pag_u32le(bytes.p + n) ? PAG_OK : PAG_E_CHECKSUM;
    err = err == PAG_OK ? pag_sim_saved_parse(body, out) : err;
    if (err != PAG_OK) {
        pag_fs_buf_free(&bytes);
        return pag_fail_set(why, err, "is damaged or of another program", 0);
    }
    out->bytes = bytes;
    return PAG_OK;
}

void pag_sim_saved_free(struct pag_sim_saved *saved)
{
    free(saved->sector);
    free(saved->device);
    pag_fs_buf_free(&saved->bytes);
    *saved = (struct pag_sim_saved){ 0 };
}

/* ---- into flash ---- */

static enum pag_err fill_area(const struct pag_sim_saved *saved, struct pag_span map,
                              struct pag_sim_sector **cache, struct pag_sim_flash *f, int area)
{
    for (uint32_t i = 0; i < f->area_sectors[area]; i++) {
        const uint32_t number = pag_u32le(map.p + (size_t)i * 4);
        if (number == ERASED) {
            continue;
        }
        struct pag_sim_sector **sector = &cache[number - 1];
        *sector = *sector != NULL ? *sector : pag_sim_pool_put(f->pool, saved->sector[number - 1]);
        if (*sector == NULL) {
            return PAG_E_NO_MEMORY;
        }
        (*sector)->refs++;
        f->map[area][i] = *sector;
    }
    return PAG_OK;
}

enum pag_err pag_sim_saved_flash(const struct pag_sim_saved *saved, const struct pag_sim_saved_device *from,
                                 struct pag_sim_sector **cache, struct pag_sim_flash *f)
{
    enum pag_err err = PAG_OK;
    for (int area = 0; area < PAG_AREA_COUNT && err == PAG_OK; area++) {
        err = fill_area(saved, from->map[area], cache, f, area);
    }
    return err;
}

void pag_sim_saved_forget(const struct pag_sim_saved *saved, struct pag_sim_sector **cache,
                          struct pag_sim_pool *pool)
{
    for (uint32_t i = 0; i < saved->sector_n; i++) {
        pag_sim_pool_release(pool, cache[i]);
        cache[i] = NULL;
    }
}

/* ---- writing ---- */

/* Numbers the sectors of the fleet from 1 on; with a writer, writes those numbered before in that order. */
struct numbering {
    uint32_t n;
    struct pag_cbor_writer *w;
};

static void number_one(void *ctx, struct pag_sim_sector *s)
{
    struct numbering *m = ctx;
    if (m->w == NULL && s->number == 0) {
        s->number = ++m->n;
    } else if (m->w != NULL && s->number == m->n + 1) {
        m->n++;
        pag_cbor_put_bytes(m->w, pag_span_of(s->bytes, PAG_SIM_SECTOR));
    }
}

static enum pag_err number_sectors(struct pag_sim_world *world, uint32_t worlds, struct numbering *m)
{
    enum pag_err err = PAG_OK;
    for (uint32_t k = 0; k < worlds; k++) {
        for (uint32_t i = 0; i < world[k].device_n && err == PAG_OK; i++) {
            err = pag_sim_flash_each(&world[k].device[i].flash, number_one, m);
        }
    }
    return err;
}

static void put_device(struct pag_cbor_writer *w, const struct pag_sim_device *d, uint8_t *map)
{
    struct pag_sim_saved_device s = { .fault = d->fault,
                                      .mac = pag_span_str(d->mac),
                                      .id = pag_span_str(d->id) };
    if (pag_sim_device_is_native(d)) {
        pag_sim_native_save(d, &s);
    } else {
        pag_sim_client_save(d, &s);
    }
    pag_cbor_put_array(w, FIELDS + PAG_AREA_COUNT);
    pag_cbor_put_text(w, pag_span_str(d->who->name));
    pag_cbor_put_text(w, pag_span_str(d->path != NULL ? d->path : ""));
    pag_cbor_put_text(w, pag_span_str(pag_sim_fault_word(s.fault)));
    pag_cbor_put_text(w, s.mac);
    pag_cbor_put_text(w, s.id);
    pag_cbor_put_bytes(w, s.pin);
    pag_cbor_put_bytes(w, s.certificate);
    pag_cbor_put_bytes(w, s.key);
    pag_cbor_put_text(w, s.mqtt_host);
    pag_cbor_put_uint(w, s.mqtt_port);
    for (int area = 0; area < PAG_AREA_COUNT; area++) {
        const uint32_t n = d->flash.area_sectors[area];
        for (uint32_t i = 0; i < n; i++) {
            const struct pag_sim_sector *sector = d->flash.map[area][i];
            pag_put_u32le(map + (size_t)i * 4, sector != NULL ? sector->number : ERASED);
        }
        pag_cbor_put_bytes(w, pag_span_of(map, (size_t)n * 4));
    }
}

static size_t room_for(const struct pag_sim_options *o, uint32_t sectors)
{
    enum { HEADS = 128, STRINGS = 2 * KEY_MAX + HOST_MAX + PAG_DEVICE_ID_MAX + PAG_SIM_SAVED_PATH_MAX + 512 };
    size_t maps = 0;
    for (int area = 0; area < PAG_AREA_COUNT; area++) {
        maps += (size_t)area_sectors(o->slot_bytes, area) * 4 + 5;
    }
    return HEADS + (size_t)sectors * (PAG_SIM_SECTOR + 5) + (size_t)o->devices * (STRINGS + maps);
}

static enum pag_err put_all(struct pag_buf *out, const struct pag_sim_options *o, struct pag_sim_world *world,
                            uint32_t sectors)
{
    uint8_t *map = malloc((size_t)o->slot_bytes / PAG_SIM_SECTOR * 4);
    if (map == NULL) {
        return PAG_E_NO_MEMORY;
    }
    struct pag_cbor_writer w = pag_cbor_write(out);
    pag_cbor_put_array(&w, 6);
    pag_cbor_put_text(&w, pag_span_str(magic));
    pag_cbor_put_uint(&w, o->slot_bytes);
    pag_cbor_put_bytes(&w, pag_span_of(o->product_id, sizeof(o->product_id)));
    pag_cbor_put_array(&w, sectors);
    struct numbering writing = { .w = &w };
    enum pag_err err = number_sectors(world, o->threads, &writing);
    pag_cbor_put_array(&w, o->devices);
    for (uint32_t k = 0; k < o->threads; k++) {
        for (uint32_t i = 0; i < world[k].device_n; i++) {
            put_device(&w, &world[k].device[i], map);
        }
    }
    pag_cbor_put_uint(&w, o->legacy);
    free(map);
    err = err == PAG_OK ? w.err : err;
    uint8_t crc[4];
    pag_put_u32le(crc, pag_crc32(0, pag_buf_span(out)));
    return err == PAG_OK ? pag_buf_put(out, pag_span_of(crc, sizeof(crc))) : err;
}

enum pag_err pag_sim_saved_write(const char *path, const struct pag_sim_options *o,
                                 struct pag_sim_world *world, struct pag_fail *why)
{
    struct numbering counted = { 0 };
    enum pag_err err = number_sectors(world, o->threads, &counted);
    struct pag_buf out = { 0 };
    if (err == PAG_OK) {
        out.cap = room_for(o, counted.n);
        out.p = malloc(out.cap);
        err = out.p != NULL ? put_all(&out, o, world, counted.n) : PAG_E_NO_MEMORY;
    }
    err = err == PAG_OK ? pag_fs_write(path, pag_buf_span(&out), 0600, why)
                        : pag_fail_set(why, err, "cannot be put together", 0);
    pag_fs_buf_free(&out);
    return err;
}
