#include "agent/slot.h"

#include "core/bytes.h"
#include "core/cbor.h"
#include "core/manifest.h"
#include "core/mem.h"

static const uint8_t factory_magic[8] = { 'P', 'G', 'F', 'A', 'C', 'T', '0', '1' };
enum { NOTE_MAGIC = 0x314E4750, CHUNK_MIN = 256 };

enum { STRUCT_AT = 512 }; /* in work: COSE bytes, then the parsed struct */
_Static_assert((int)STRUCT_AT == (int)PAG_MANIFEST_MAX, "work begins with the COSE bytes");
_Static_assert(STRUCT_AT + sizeof(struct pag_manifest) <= PAG_SLOT_WORK_BYTES, "agent/slot.h");

enum pag_area pag_slot_area(uint8_t slot)
{
    return slot == 0 ? PAG_AREA_SLOT_A : PAG_AREA_SLOT_B;
}

static uint32_t seal_at(const struct pag_port *port, uint8_t slot)
{
    return port->flash.area_bytes[pag_slot_area(slot)] - port->flash.sector_bytes;
}

uint32_t pag_slot_room(const struct pag_port *port, uint8_t slot)
{
    return seal_at(port, slot);
}

static enum pag_err read_factory(struct pag_span in, struct pag_slot *out)
{
    if (pag_crc32(0, pag_span_of(in.p, PAG_SLOT_FACTORY_BYTES - 4)) !=
        pag_u32le(in.p + PAG_SLOT_FACTORY_BYTES - 4)) {
        return PAG_E_NOT_FOUND;
    }
    out->factory = true;
    out->size = pag_u32le(in.p + 8);
    out->sequence = pag_u32le(in.p + 12);
    out->epoch = pag_u32le(in.p + 16);
    memcpy(out->digest, in.p + 20, sizeof out->digest);
    return PAG_OK;
}

static enum pag_err read_manifest(const struct pag_port *port, struct pag_span in, struct pag_manifest *m,
                                  struct pag_slot *out)
{
    struct pag_span cose = { 0 };
    struct pag_cbor_reader r = pag_cbor_read(in);
    if (pag_cbor_get_raw(&r, &cose) != PAG_OK || pag_manifest_parse(cose, m, NULL) != PAG_OK ||
        m->kind != PAG_KIND_FIRMWARE) {
        return PAG_E_NOT_FOUND;
    }
    out->size = m->size;
    out->sequence = m->sequence;
    out->epoch = m->epoch;
    memcpy(out->digest, m->digest, sizeof out->digest);
    memcpy(out->version, m->version, sizeof out->version);
    pag_sha256_of(port->crypto, cose, out->manifest_digest);
    return PAG_OK;
}

static enum pag_err read_note(const struct pag_port *port, uint8_t slot, uint32_t *action_id)
{
    uint8_t b[PAG_SLOT_NOTE_BYTES];
    enum pag_err err =
        port->flash.read(port->ctx, pag_slot_area(slot), seal_at(port, slot) + PAG_SLOT_NOTE_AT, b, sizeof b);
    if (err == PAG_OK && pag_u32le(b) == NOTE_MAGIC && pag_u32le(b + 8) == pag_crc32(0, pag_span_of(b, 8))) {
        *action_id = pag_u32le(b + 4);
    }
    return err;
}

enum pag_err pag_slot_read(const struct pag_port *port, uint8_t slot, struct pag_buf work,
                           struct pag_slot *out)
{
    memset(out, 0, sizeof *out);
    if (work.cap < PAG_SLOT_WORK_BYTES) {
        return PAG_E_SPACE;
    }
    struct pag_span in = pag_span_of(work.p, PAG_MANIFEST_MAX);
    struct pag_manifest *m = (struct pag_manifest *)(void *)(work.p + STRUCT_AT);
    enum pag_err err =
        port->flash.read(port->ctx, pag_slot_area(slot), seal_at(port, slot), work.p, PAG_MANIFEST_MAX);
    if (err == PAG_OK) {
        bool factory = memcmp(in.p, factory_magic, sizeof factory_magic) == 0;
        err = factory ? read_factory(in, out) : read_manifest(port, in, m, out);
    }
    if (err == PAG_OK && (out->size == 0 || out->size > seal_at(port, slot))) {
        err = PAG_E_NOT_FOUND;
    }
    if (err == PAG_OK) {
        err = read_note(port, slot, &out->action_id);
    }
    if (err != PAG_OK) {
        memset(out, 0, sizeof *out);
    }
    return err;
}

enum pag_err pag_slot_factory_put(const struct pag_slot *s, struct pag_buf *out)
{
    uint8_t b[PAG_SLOT_FACTORY_BYTES] = { 0 };
    memcpy(b, factory_magic, sizeof factory_magic);
    pag_put_u32le(b + 8, s->size);
    pag_put_u32le(b + 12, s->sequence);
    pag_put_u32le(b + 16, s->epoch);
    memcpy(b + 20, s->digest, sizeof s->digest);
    pag_put_u32le(b + PAG_SLOT_FACTORY_BYTES - 4, pag_crc32(0, pag_span_of(b, PAG_SLOT_FACTORY_BYTES - 4)));
    return pag_buf_put(out, pag_span_of(b, sizeof b));
}

static bool is_blank(const uint8_t *p, size_t n)
{
    while (n > 0 && p[n - 1] == 0xFF) {
        n--;
    }
    return n == 0;
}

/* Twice: a cell whose erase was cut may read blank once. */
static bool reads_blank(const struct pag_port *port, uint8_t slot)
{
    uint8_t chunk[64];
    uint32_t n = port->flash.sector_bytes;
    bool blank = true;
    for (uint32_t at = 0; at < 2 * n && blank; at += sizeof chunk) {
        uint32_t from = seal_at(port, slot) + at % n;
        blank = port->flash.read(port->ctx, pag_slot_area(slot), from, chunk, sizeof chunk) == PAG_OK &&
                is_blank(chunk, sizeof chunk);
    }
    return blank;
}

enum pag_err pag_slot_unseal(const struct pag_port *port, uint8_t slot)
{
    if (reads_blank(port, slot)) {
        return PAG_OK;
    }
    return port->flash.erase(port->ctx, pag_slot_area(slot), seal_at(port, slot), port->flash.sector_bytes);
}

/* Manifest, padded to whole words with what erased flash reads. */
static enum pag_err program_manifest(const struct pag_port *port, uint8_t slot, struct pag_span manifest,
                                     struct pag_buf work)
{
    size_t n = (manifest.n + 3) & ~(size_t)3;
    memset(work.p, 0xFF, n);
    memcpy(work.p, manifest.p, manifest.n);
    enum pag_area area = pag_slot_area(slot);
    uint32_t at = seal_at(port, slot);
    enum pag_err err = port->flash.program(port->ctx, area, at, pag_span_of(work.p, n));
    for (int i = 0; i < 2 && err == PAG_OK; i++) {
        err = port->flash.read(port->ctx, area, at, work.p, (uint32_t)n);
        if (err == PAG_OK && memcmp(work.p, manifest.p, manifest.n) != 0) {
            err = PAG_E_IO;
        }
    }
    return err;
}

enum pag_err pag_slot_seal(const struct pag_port *port, uint8_t slot, uint32_t action_id,
                           struct pag_span manifest, struct pag_buf work)
{
    if (manifest.n > PAG_MANIFEST_MAX || work.cap < PAG_MANIFEST_MAX) {
        return PAG_E_SPACE;
    }
    uint8_t note[PAG_SLOT_NOTE_BYTES];
    pag_put_u32le(note, NOTE_MAGIC);
    pag_put_u32le(note + 4, action_id);
    pag_put_u32le(note + 8, pag_crc32(0, pag_span_of(note, 8)));
    /* always erased: what is programmed now must stay */
    enum pag_err err =
        port->flash.erase(port->ctx, pag_slot_area(slot), seal_at(port, slot), port->flash.sector_bytes);
    if (err == PAG_OK) {
        err = port->flash.program(port->ctx, pag_slot_area(slot), seal_at(port, slot) + PAG_SLOT_NOTE_AT,
                                  pag_span_of(note, sizeof note));
    }
    return err == PAG_OK ? program_manifest(port, slot, manifest, work) : err;
}

enum pag_err pag_slot_hash_begin(struct pag_slot_hash *s, const struct pag_port *port, uint8_t slot,
                                 uint32_t size)
{
    if (size > seal_at(port, slot)) {
        return PAG_E_RANGE;
    }
    s->slot = slot;
    s->at = 0;
    s->size = size;
    port->crypto->sha256_begin(&s->h);
    return PAG_OK;
}

enum pag_err pag_slot_hash_step(struct pag_slot_hash *s, const struct pag_port *port, struct pag_buf chunk,
                                uint8_t digest[PAG_SHA256_BYTES])
{
    if (chunk.cap < CHUNK_MIN) {
        return PAG_E_SPACE;
    }
    uint32_t room =
        (uint32_t)chunk.cap < port->flash.sector_bytes ? (uint32_t)chunk.cap : port->flash.sector_bytes;
    uint32_t n = s->size - s->at < room ? s->size - s->at : room;
    enum pag_err err = port->flash.read(port->ctx, pag_slot_area(s->slot), s->at, chunk.p, n);
    if (err != PAG_OK) {
        return err;
    }
    port->crypto->sha256_add(&s->h, pag_span_of(chunk.p, n));
    s->at += n;
    if (s->at < s->size) {
        return PAG_E_AGAIN;
    }
    port->crypto->sha256_end(&s->h, digest);
    return PAG_OK;
}
