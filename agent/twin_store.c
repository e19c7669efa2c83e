#include "agent/twin_store.h"

#include "core/bytes.h"
#include "core/mem.h"

enum { MAGIC = 0x31574750, CHUNK_MIN = 64, SECTORS = 2 };

struct head {
    uint32_t magic, seq, n, crc;
};

static uint32_t sector_bytes(const struct pag_twin *t)
{
    return t->port->flash.sector_bytes;
}

static uint32_t head_crc(uint32_t seq, uint32_t n)
{
    uint8_t b[8];
    pag_put_u32le(b, seq);
    pag_put_u32le(b + 4, n);
    return pag_crc32(0, pag_span_of(b, sizeof b));
}

static enum pag_err flash_read(const struct pag_twin *t, uint32_t off, uint8_t *out, uint32_t n)
{
    return t->port->flash.read(t->port->ctx, t->area, off, out, n);
}

static enum pag_err read_head(const struct pag_twin *t, uint8_t sector, struct head *h)
{
    uint8_t b[PAG_TWIN_HEAD_BYTES];
    enum pag_err err = flash_read(t, sector * sector_bytes(t), b, sizeof b);
    if (err == PAG_OK) {
        *h = (struct head){ pag_u32le(b), pag_u32le(b + 4), pag_u32le(b + 8), pag_u32le(b + 12) };
    }
    return err;
}

/* Does the sector hold a whole record? Read in chunks. */
static enum pag_err check_sector(const struct pag_twin *t, uint8_t sector, struct pag_buf chunk,
                                 struct head *h)
{
    enum pag_err err = read_head(t, sector, h);
    if (err != PAG_OK) {
        return err;
    }
    if (h->magic != MAGIC || h->n > sector_bytes(t) - PAG_TWIN_HEAD_BYTES) {
        return PAG_E_NOT_FOUND;
    }
    uint32_t crc = head_crc(h->seq, h->n);
    for (uint32_t at = 0; at < h->n;) {
        uint32_t n = h->n - at < chunk.cap ? h->n - at : (uint32_t)chunk.cap;
        err = flash_read(t, sector * sector_bytes(t) + PAG_TWIN_HEAD_BYTES + at, chunk.p, n);
        if (err != PAG_OK) {
            return err;
        }
        crc = pag_crc32(crc, pag_span_of(chunk.p, n));
        at += n;
    }
    return crc == h->crc ? PAG_OK : PAG_E_NOT_FOUND;
}

enum pag_err pag_twin_open(struct pag_twin *t, const struct pag_port *port, enum pag_area area,
                           struct pag_buf chunk)
{
    *t = (struct pag_twin){ .port = port, .area = area };
    if (chunk.cap < CHUNK_MIN || port->flash.area_bytes[area] < SECTORS * port->flash.sector_bytes) {
        return PAG_E_SPACE;
    }
    for (unsigned n = 0; n < SECTORS; n++) {
        uint8_t i = (uint8_t)n;
        struct head h;
        enum pag_err err = check_sector(t, i, chunk, &h);
        if (err != PAG_OK) { /* believed only when repeated: one wrong read must cost no identity */
            err = check_sector(t, i, chunk, &h);
        }
        if (err == PAG_OK && (!t->has || (int32_t)(h.seq - t->seq) > 0)) {
            t->has = true;
            t->sector = i;
            t->seq = h.seq;
            t->n = h.n;
        } else if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
            return err;
        }
    }
    return PAG_OK;
}

enum pag_err pag_twin_read(const struct pag_twin *t, struct pag_buf *out)
{
    if (!t->has) {
        return PAG_E_NOT_FOUND;
    }
    if (out->cap - out->n < t->n) {
        return PAG_E_SPACE;
    }
    enum pag_err err =
        flash_read(t, t->sector * sector_bytes(t) + PAG_TWIN_HEAD_BYTES, out->p + out->n, t->n);
    if (err == PAG_OK) {
        out->n += t->n;
    }
    return err;
}

/* Programs content behind the head, padded to whole words. */
static enum pag_err program_content(const struct pag_twin *t, uint32_t base, struct pag_span content)
{
    const struct pag_flash *f = &t->port->flash;
    uint32_t whole = (uint32_t)content.n & ~3U;
    enum pag_err err = PAG_OK;
    if (whole > 0) {
        err = f->program(t->port->ctx, t->area, base, pag_span_of(content.p, whole));
    }
    if (err == PAG_OK && whole < content.n) {
        uint8_t tail[4] = { 0xFF, 0xFF, 0xFF, 0xFF };
        memcpy(tail, content.p + whole, content.n - whole);
        err = f->program(t->port->ctx, t->area, base + whole, pag_span_of(tail, sizeof tail));
    }
    return err;
}

enum pag_err pag_twin_write(struct pag_twin *t, struct pag_span content, struct pag_buf chunk)
{
    if (chunk.cap < CHUNK_MIN || content.n > sector_bytes(t) - PAG_TWIN_HEAD_BYTES) {
        return PAG_E_SPACE;
    }
    uint8_t sector = t->has ? (uint8_t)(1 - t->sector) : 0;
    uint32_t base = sector * sector_bytes(t);
    uint32_t seq = t->has ? t->seq + 1 : 1;
    uint32_t n = (uint32_t)content.n;
    enum pag_err err = t->port->flash.erase(t->port->ctx, t->area, base, sector_bytes(t));
    if (err == PAG_OK) {
        err = program_content(t, base + PAG_TWIN_HEAD_BYTES, content);
    }
    if (err != PAG_OK) {
        return err;
    }
    uint8_t b[PAG_TWIN_HEAD_BYTES];
    pag_put_u32le(b, MAGIC);
    pag_put_u32le(b + 4, seq);
    pag_put_u32le(b + 8, n);
    pag_put_u32le(b + 12, pag_crc32(head_crc(seq, n), content));
    err = t->port->flash.program(t->port->ctx, t->area, base, pag_span_of(b, sizeof b));
    struct head h;
    /* Twice: a weak bit may read right once (facts of NOR parts). */
    for (int i = 0; i < 2 && err == PAG_OK; i++) {
        err = check_sector(t, sector, chunk, &h);
        err = err == PAG_E_NOT_FOUND ? PAG_E_IO : err;
    }
    if (err == PAG_OK) {
        t->has = true;
        t->sector = sector;
        t->seq = seq;
        t->n = n;
    }
    return err;
}
