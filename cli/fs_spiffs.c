/* SPIFFS: docs/spec/fs-image.md 3. */
#include <string.h>

#include "cli/fs_volume.h"
#include "core/bytes.h"

enum {
    HEAD = 5,         /* object id, span index, flags */
    HEAD_ALIGNED = 8, /* of an index page */
    NAME = 32,
    FLAGS_INDEX = 0xF8,
    FLAGS_DATA = 0xFC,
    TYPE_FILE = 1,
    ID_INDEX = 0x8000,
    META_32 = 4, /* ESP-IDF keeps a time there */
    SPARE_BLOCKS = 2
};

struct geometry {
    uint32_t page, block;
    uint32_t pages;  /* a block */
    uint32_t lookup; /* pages of them */
    uint32_t blocks;
    uint32_t first_head, next_head; /* bytes before the table of the first and later index pages */
};

struct writer {
    struct pag_fs_job *job;
    struct geometry g;
    uint64_t taken; /* pages, lookup pages not counted; what is past the partition is only counted */
    uint8_t *index; /* index page being filled; NULL past the end */
    uint32_t slot;  /* next free in its table */
    uint32_t slots;
    uint16_t index_n; /* index pages of the file so far */
    uint16_t id;
};

static struct geometry geometry_of(const struct pag_fs_shape *s)
{
    struct geometry g = {
        .page = s->page, .block = s->block, .pages = s->block / s->page, .blocks = s->size / s->block
    };
    g.lookup = (g.pages * 2 + g.page - 1) / g.page;
    /* The ESP8266 core has no metadata and aligns its tables to two bytes; ESP-IDF has four bytes and does
     * not. */
    g.first_head = HEAD_ALIGNED + 4 + 1 + NAME + (s->esp32 ? META_32 : 1);
    g.next_head = HEAD_ALIGNED;
    return g;
}

/* Number of the next free page, which goes into the lookup table of its block as id. */
static uint8_t *take(struct writer *w, uint16_t id, uint32_t *number)
{
    uint32_t usable = w->g.pages - w->g.lookup;
    uint64_t block = w->taken / usable;
    uint32_t nth = (uint32_t)(w->taken % usable);
    w->taken++;
    if (block >= w->g.blocks) {
        return NULL;
    }
    pag_put_u16le(w->job->image + block * w->g.block + (size_t)nth * 2, id);
    *number = (uint32_t)block * w->g.pages + w->g.lookup + nth;
    return w->job->image + (size_t)*number * w->g.page;
}

static void head(uint8_t *p, uint16_t id, uint16_t span, uint8_t flags)
{
    pag_put_u16le(p, id);
    pag_put_u16le(p + 2, span);
    p[4] = flags;
}

static void index_begin(struct writer *w, const struct pag_fs_file *f)
{
    uint32_t number = 0;
    uint8_t *p = take(w, w->id | ID_INDEX, &number);
    uint32_t at = w->index_n == 0 ? w->g.first_head : w->g.next_head;
    w->index = p;
    w->slot = 0;
    w->slots = (w->g.page - at) / 2;
    if (p != NULL) {
        head(p, w->id | ID_INDEX, w->index_n, FLAGS_INDEX);
    }
    if (p != NULL && w->index_n == 0) {
        pag_put_u32le(p + HEAD_ALIGNED, (uint32_t)f->bytes.n);
        p[HEAD_ALIGNED + 4] = TYPE_FILE;
        memset(p + HEAD_ALIGNED + 5, 0, w->g.first_head - HEAD_ALIGNED - 5);
        memcpy(p + HEAD_ALIGNED + 5, f->path, strlen(f->path));
    }
    w->index_n++;
}

static void put_file(struct writer *w, const struct pag_fs_file *f)
{
    size_t room = w->g.page - HEAD;
    uint16_t span = 0;
    w->index_n = 0;
    w->id++;
    index_begin(w, f);
    for (size_t at = 0; at < f->bytes.n; at += room, span++) {
        uint32_t number = 0;
        size_t n = f->bytes.n - at < room ? f->bytes.n - at : room;
        if (w->slot == w->slots) {
            index_begin(w, f);
        }
        uint8_t *index = w->index;
        uint8_t *p = take(w, w->id, &number);
        if (p != NULL && index != NULL) {
            head(p, w->id, span, FLAGS_DATA);
            memcpy(p + HEAD, f->bytes.p + at, n);
            uint32_t table = w->index_n == 1 ? w->g.first_head : w->g.next_head;
            pag_put_u16le(index + table + (size_t)w->slot * 2, (uint16_t)number);
        }
        w->slot++;
    }
}

/* Before the last word of a block's lookup pages; that one counts erasures. */
static void magics(const struct writer *w)
{
    for (uint32_t b = 0; b < w->g.blocks; b++) {
        uint32_t magic = 0x20140529U ^ w->g.page;
        if (w->job->shape->esp32) {
            magic ^= w->g.blocks - b;
        }
        size_t at = (size_t)b * w->g.block + (size_t)w->g.lookup * w->g.page - 4;
        pag_put_u16le(w->job->image + at, (uint16_t)(magic & 0xFFFFU));
    }
}

enum pag_err pag_fs_spiffs(struct pag_fs_job *job)
{
    struct writer w = { .job = job, .g = geometry_of(job->shape) };
    if ((uint64_t)w.g.blocks * w.g.pages > UINT16_MAX) {
        job->fault->what = "SPIFFS counts at most 65535 pages: take a larger page";
        return PAG_E_RANGE;
    }
    for (size_t i = 0; i < job->n; i++) {
        put_file(&w, &job->file[i]);
    }
    magics(&w);
    /* Two blocks stay free for its garbage collection, as it would itself keep them. */
    uint32_t usable = w.g.pages - w.g.lookup;
    uint64_t full = (w.taken + usable - 1) / usable;
    job->need = (full + SPARE_BLOCKS) * w.g.block;
    return job->need <= job->shape->size ? PAG_OK : PAG_E_SPACE;
}
