/* Non-volatile storage of ESP-IDF, version 2: docs/spec/fs-image.md 4. */
#include <string.h>

#include "cli/fs_volume.h"
#include "core/bytes.h"

enum {
    ENTRY = 32,
    FIRST = 64,
    ENTRIES = 126,
    VERSION_2 = 0xFE,
    U8 = 0x01,
    BLOB_DATA = 0x42,
    BLOB_INDEX = 0x48,
    NO_CHUNK = 0xFF,
    CHUNK_MAX = ENTRY * (ENTRIES - 1),
    CHUNKS_MAX = 127,
    SPACES_MAX = 254
};

#define STATE_ACTIVE 0xFFFFFFFEU
#define STATE_FULL   0xFFFFFFFCU

struct writer {
    struct pag_fs_job *job;
    uint32_t pages; /* begun; what is past the partition is only counted */
    uint32_t used;  /* entries of the last one */
    uint32_t spaces;
    struct pag_span space; /* name of the namespace last written */
    uint8_t sink[PAG_FS_NVS_PAGE];
};

static uint8_t *page(struct writer *w)
{
    uint64_t at = (uint64_t)(w->pages - 1) * PAG_FS_NVS_PAGE;
    return at + PAG_FS_NVS_PAGE <= w->job->shape->size ? w->job->image + at : w->sink;
}

/* CRC as the ROM's function makes it: 0xFFFFFFFF as the value to go on from. */
static uint32_t crc(const uint8_t *p, size_t n)
{
    return pag_crc32(0xFFFFFFFFU, pag_span_of(p, n));
}

static void page_begin(struct writer *w)
{
    if (w->pages > 0) {
        pag_put_u32le(page(w), STATE_FULL);
    }
    w->pages++;
    w->used = 0;
    uint8_t *p = page(w);
    memset(p, 0xFF, PAG_FS_NVS_PAGE);
    pag_put_u32le(p, STATE_ACTIVE);
    pag_put_u32le(p + 4, w->pages - 1);
    p[8] = VERSION_2;
    pag_put_u32le(p + 28, crc(p + 4, 24));
}

/* Marks entries as written (two bits each, 10) and gives the place of the first. */
static uint8_t *take(struct writer *w, uint32_t entries)
{
    uint8_t *p = page(w);
    uint8_t *at = p + FIRST + (size_t)w->used * ENTRY;
    for (uint32_t i = 0; i < entries; i++, w->used++) {
        p[32 + w->used / 4] &= (uint8_t) ~(1U << (w->used % 4 * 2));
    }
    return at;
}

static uint8_t *entry(struct writer *w, uint8_t type, uint8_t span, uint8_t chunk, struct pag_span key)
{
    uint8_t *e = take(w, 1);
    e[0] = (uint8_t)w->spaces;
    e[1] = type;
    e[2] = span;
    e[3] = chunk;
    memset(e + 8, 0, 16);
    memcpy(e + 8, key.p, key.n);
    return e;
}

/* Over the entry without its own CRC. */
static void seal(uint8_t *e)
{
    pag_put_u32le(e + 4, pag_crc32(crc(e, 4), pag_span_of(e + 8, 24)));
}

static void space_begin(struct writer *w, struct pag_span name)
{
    if (w->spaces > 0 && pag_span_eq(w->space, name)) {
        return;
    }
    if (w->used >= ENTRIES) {
        page_begin(w);
    }
    uint32_t number = w->spaces + 1;
    w->spaces = 0; /* namespaces are themselves in namespace 0 */
    uint8_t *e = entry(w, U8, 1, NO_CHUNK, name);
    e[24] = (uint8_t)number;
    seal(e);
    w->spaces = number;
    w->space = name;
}

static void chunk(struct writer *w, struct pag_span key, uint8_t number, struct pag_span data)
{
    uint32_t rows = (uint32_t)(data.n + ENTRY - 1) / ENTRY;
    uint8_t *e = entry(w, BLOB_DATA, (uint8_t)(rows + 1), number, key);
    pag_put_u16le(e + 24, (uint16_t)data.n);
    pag_put_u32le(e + 28, crc(data.p, data.n));
    seal(e);
    uint8_t *to = take(w, rows);
    if (data.n > 0) {
        memcpy(to, data.p, data.n);
    }
}

static void blob(struct writer *w, struct pag_span key, struct pag_span data)
{
    uint8_t chunks = 0;
    size_t at = 0;
    do {
        /* A head alone at the end of a page would be a chunk of nothing. */
        if (w->used + (data.n > at ? 2U : 1U) > ENTRIES) {
            page_begin(w);
        }
        size_t room = (size_t)(ENTRIES - 1 - w->used) * ENTRY;
        size_t n = data.n - at < room ? data.n - at : room;
        chunk(w, key, chunks++, pag_span_of(data.p + at, n));
        at += n;
    } while (at < data.n);
    if (w->used >= ENTRIES) {
        page_begin(w);
    }
    uint8_t *e = entry(w, BLOB_INDEX, 1, NO_CHUNK, key);
    pag_put_u32le(e + 24, (uint32_t)data.n);
    e[28] = chunks;
    e[29] = 0; /* first chunk */
    seal(e);
}

static bool split(const struct pag_fs_job *job, const char *path, struct pag_span *space,
                  struct pag_span *key)
{
    const char *slash = strchr(path + 1, '/');
    *space = slash != NULL ? pag_span_of(path + 1, (size_t)(slash - path - 1))
                           : pag_span_str(job->shape->nvs_namespace);
    *key = pag_span_str(slash != NULL ? slash + 1 : path + 1);
    return slash != NULL;
}

static enum pag_err fault(struct pag_fs_job *job, enum pag_err err, const char *what, const char *path)
{
    job->fault->what = what;
    job->fault->path = path;
    return err;
}

static enum pag_err check(struct pag_fs_job *job)
{
    size_t spaces = 1;
    struct pag_span own = pag_span_str(job->shape->nvs_namespace);
    struct pag_span last = own;
    if (own.n == 0 || own.n > PAG_FS_NVS_KEY_MAX) {
        return fault(job, PAG_E_LIMIT, "a namespace of NVS has 1 to 15 bytes", NULL);
    }
    for (size_t i = 0; i < job->n; i++) {
        struct pag_span space;
        struct pag_span key;
        if (job->file[i].bytes.n > (size_t)CHUNKS_MAX * CHUNK_MAX) {
            return fault(job, PAG_E_RANGE, "a value of NVS has at most 508000 bytes", job->file[i].path);
        }
        if (split(job, job->file[i].path, &space, &key) && pag_span_eq(space, own)) {
            return fault(job, PAG_E_EXISTS, "its folder is the namespace of the files without one",
                         job->file[i].path);
        }
        spaces += pag_span_eq(space, last) ? 0 : 1;
        last = space;
    }
    return spaces <= SPACES_MAX ? PAG_OK : fault(job, PAG_E_LIMIT, "NVS has at most 254 namespaces", NULL);
}

static void put_level(struct writer *w, bool in_folders)
{
    for (size_t i = 0; i < w->job->n; i++) {
        const struct pag_fs_file *f = &w->job->file[i];
        struct pag_span space;
        struct pag_span key;
        if (split(w->job, f->path, &space, &key) == in_folders) {
            space_begin(w, space);
            blob(w, key, f->bytes);
        }
    }
}

enum pag_err pag_fs_nvs(struct pag_fs_job *job)
{
    enum pag_err err = check(job);
    struct writer *w = err == PAG_OK ? pag_arena_alloc(job->arena, sizeof *w) : NULL;
    if (w == NULL) {
        return err != PAG_OK ? err : PAG_E_NO_MEMORY;
    }
    w->job = job;
    page_begin(w);
    put_level(w, false);
    put_level(w, true);
    /* One page must stay free: without it nothing can be changed. */
    job->need = (uint64_t)(w->pages + 1) * PAG_FS_NVS_PAGE;
    return job->need <= job->shape->size ? PAG_OK : PAG_E_SPACE;
}
