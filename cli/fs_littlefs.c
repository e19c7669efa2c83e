/* LittleFS, version 2.0 on disk: docs/spec/fs-image.md 2. */
#include <string.h>

#include "cli/fs_volume.h"
#include "core/bytes.h"

enum {
    TAG_FILE = 0x001,
    TAG_FOLDER = 0x002,
    TAG_SUPERBLOCK = 0x0FF,
    TAG_FOLDER_AT = 0x200,
    TAG_INLINE = 0x201,
    TAG_SKIP_LIST = 0x202,
    TAG_CRC = 0x500,
    TAG_SOFT_TAIL = 0x600,
    TAG_HARD_TAIL = 0x601,
    NO_ID = 0x3FF,
    /* What the ESP8266 core's cache holds; a longer inline file could not be read there. */
    INLINE_MAX = 64,
    ENTRIES_MAX = 128, /* of a pair; littlefs itself splits at 255 */
    SPARE_BLOCKS = 2
};

#define DISK_VERSION   0x00020000U
#define FILE_MAX       0x7FFFFFFFU
#define ATTRIBUTES_MAX 0x3FEU

/* A file or folder in its folder. */
struct node {
    const char *name;
    size_t name_n;
    const struct pag_fs_file *file; /* NULL: folder */
    size_t folder;                  /* where it is; of the root: none */
    size_t own;                     /* a folder's own number */
    uint32_t head;                  /* of the skip list: its last block */
};

/* Some entries of one folder, in two blocks of which the first is written. */
struct pair {
    size_t folder;
    size_t from, n; /* in order[] */
    uint32_t block[2];
};

struct volume {
    struct pag_fs_job *job;
    struct node *node;
    size_t node_n;
    size_t folders; /* root included: 0 */
    size_t *order;  /* nodes by folder and name */
    struct pair *pair;
    size_t pair_n;
    size_t *first_pair; /* of a folder */
    uint64_t blocks;    /* given out; what is past the end is only counted */
};

/* One block of metadata while it is written. */
struct commit {
    uint8_t *p;
    size_t at;
    uint32_t tag; /* last one: tags are stored as difference to it */
};

/* ---- names ---- */

/* As littlefs compares: by bytes, and of two of which one begins with the other the longer comes first. */
static int name_order(const struct node *a, const struct node *b)
{
    size_t n = a->name_n < b->name_n ? a->name_n : b->name_n;
    int diff = memcmp(a->name, b->name, n);
    return diff != 0 ? diff : (a->name_n < b->name_n) - (a->name_n > b->name_n);
}

/* The folder of that name, which is new when the last one in its place is another: paths come sorted. */
static size_t folder_of(struct volume *v, size_t parent, const char *name, size_t n)
{
    for (size_t i = v->node_n; i > 0; i--) {
        const struct node *have = &v->node[i - 1];
        if (have->file == NULL && have->folder == parent && have->name_n == n &&
            memcmp(have->name, name, n) == 0) {
            return have->own;
        }
    }
    v->node[v->node_n++] = (struct node){ name, n, NULL, parent, v->folders, 0 };
    return v->folders++;
}

static void nodes_of(struct volume *v)
{
    v->folders = 1;
    for (size_t i = 0; i < v->job->n; i++) {
        const char *at = v->job->file[i].path + 1;
        size_t folder = 0;
        size_t n = strcspn(at, "/");
        for (; at[n] == '/'; at += n + 1, n = strcspn(at, "/")) {
            folder = folder_of(v, folder, at, n);
        }
        v->node[v->node_n++] = (struct node){ at, n, &v->job->file[i], folder, 0, 0 };
    }
}

static bool comes_before(const struct node *a, const struct node *b)
{
    return a->folder < b->folder || (a->folder == b->folder && name_order(a, b) < 0);
}

/* By folder, then name: an insertion sort of at most a few thousand. */
static void sort_nodes(struct volume *v)
{
    for (size_t i = 0; i < v->node_n; i++) {
        size_t at = i;
        for (; at > 0 && !comes_before(&v->node[v->order[at - 1]], &v->node[i]); at--) {
            v->order[at] = v->order[at - 1];
        }
        v->order[at] = i;
    }
}

/* ---- places ---- */

static bool is_inline(const struct node *e)
{
    return e->file != NULL && e->file->bytes.n <= INLINE_MAX;
}

static size_t entry_bytes(const struct node *e)
{
    return 4 + e->name_n + 4 + (is_inline(e) ? e->file->bytes.n : 8);
}

static void pair_begin(struct volume *v, size_t folder, size_t from)
{
    struct pair *p = &v->pair[v->pair_n++];
    *p = (struct pair){ folder, from, 0, { (uint32_t)v->blocks, (uint32_t)v->blocks + 1 } };
    v->blocks += 2;
}

static size_t folder_pairs(struct volume *v, size_t folder, size_t at)
{
    size_t used = folder == 0 ? 64 : 24; /* revision, superblock, tail and CRC, rounded up */
    v->first_pair[folder] = v->pair_n;
    pair_begin(v, folder, at);
    for (; at < v->node_n && v->node[v->order[at]].folder == folder; at++) {
        size_t need = entry_bytes(&v->node[v->order[at]]);
        if (used + need > v->job->shape->block / 2 || v->pair[v->pair_n - 1].n == ENTRIES_MAX) {
            pair_begin(v, folder, at);
            used = 24;
        }
        v->pair[v->pair_n - 1].n++;
        used += need;
    }
    return at;
}

/* Entries of each folder to pairs that are at most half full, so that a device can add to them. */
static void pairs_of(struct volume *v)
{
    size_t at = 0;
    for (size_t folder = 0; folder < v->folders; folder++) {
        at = folder_pairs(v, folder, at);
    }
}

/* ---- skip lists ---- */

static unsigned trailing_zeros(uint32_t v)
{
    unsigned n = 0;
    for (; (v & 1U) == 0; v >>= 1) {
        n++;
    }
    return n;
}

static unsigned pointers_of(uint32_t i)
{
    return i == 0 ? 0 : trailing_zeros(i) + 1;
}

static void put_block(uint8_t *p, uint64_t first, uint32_t i, struct pag_span part)
{
    size_t pointers = pointers_of(i);
    for (size_t k = 0; k < pointers; k++) {
        pag_put_u32le(p + 4 * k, (uint32_t)(first + i - (1U << k)));
    }
    memcpy(p + 4 * pointers, part.p, part.n);
}

/* Block i of a file begins with pointers to blocks i - 1, i - 2, i - 4 … as often as i can be halved, and
 * one. */
static void put_blocks(struct volume *v, struct node *e)
{
    struct pag_span data = e->file->bytes;
    uint32_t block = v->job->shape->block;
    uint64_t first = v->blocks;
    size_t at = 0;
    for (uint32_t i = 0; at < data.n; i++, v->blocks++) {
        size_t room = block - (size_t)4 * pointers_of(i);
        size_t n = data.n - at < room ? data.n - at : room;
        if ((v->blocks + 1) * block <= v->job->shape->size) {
            put_block(v->job->image + v->blocks * block, first, i, pag_span_of(data.p + at, n));
        }
        at += n;
    }
    e->head = (uint32_t)(v->blocks - 1);
}

/* ---- metadata ---- */

static void put_tag(struct commit *c, uint32_t type, uint32_t id, uint32_t n)
{
    uint32_t tag = type << 20 | id << 10 | n;
    pag_put_u32be(c->p + c->at, tag ^ c->tag);
    c->at += 4;
    c->tag = tag;
}

static void put_bytes(struct commit *c, uint32_t type, uint32_t id, struct pag_span s)
{
    put_tag(c, type, id, (uint32_t)s.n);
    if (s.n > 0) {
        memcpy(c->p + c->at, s.p, s.n);
    }
    c->at += s.n;
}

static void put_two(struct commit *c, uint32_t type, uint32_t id, uint32_t a, uint32_t b)
{
    uint8_t raw[8];
    pag_put_u32le(raw, a);
    pag_put_u32le(raw + 4, b);
    put_bytes(c, type, id, pag_span_of(raw, sizeof raw));
}

static void put_superblock(struct commit *c, const struct pag_fs_shape *s)
{
    uint8_t raw[24];
    const uint32_t words[6] = { DISK_VERSION,       s->block, s->size / s->block,
                                s->esp32 ? 64 : 32, FILE_MAX, ATTRIBUTES_MAX };
    for (size_t i = 0; i < 6; i++) {
        pag_put_u32le(raw + 4 * i, words[i]);
    }
    put_bytes(c, TAG_SUPERBLOCK, 0, pag_span_str("littlefs"));
    put_bytes(c, TAG_INLINE, 0, pag_span_of(raw, sizeof raw));
}

static void put_entry(const struct volume *v, struct commit *c, uint32_t id, const struct node *e)
{
    put_bytes(c, e->file != NULL ? TAG_FILE : TAG_FOLDER, id, pag_span_of(e->name, e->name_n));
    if (e->file == NULL) {
        const struct pair *p = &v->pair[v->first_pair[e->own]];
        put_two(c, TAG_FOLDER_AT, id, p->block[0], p->block[1]);
    } else if (is_inline(e)) {
        put_bytes(c, TAG_INLINE, id, e->file->bytes);
    } else {
        put_two(c, TAG_SKIP_LIST, id, e->head, (uint32_t)e->file->bytes.n);
    }
}

/* Up to a whole number of pages, so that a device can append; the CRC is over all before it, its tag
 * included. */
static void put_crc(struct commit *c, uint32_t page)
{
    size_t end = (c->at + 8 + page - 1) / page * page;
    put_tag(c, TAG_CRC, NO_ID, (uint32_t)(end - c->at - 4));
    pag_put_u32le(c->p + c->at, ~pag_crc32(0, pag_span_of(c->p, c->at)));
}

static void put_pair(const struct volume *v, size_t number)
{
    const struct pair *p = &v->pair[number];
    struct commit c = { v->job->image + (size_t)p->block[0] * v->job->shape->block, 4, 0xFFFFFFFFU };
    uint32_t id = 0;
    pag_put_u32le(c.p, 1); /* revision */
    if (number == 0) {
        put_superblock(&c, v->job->shape);
        id = 1;
    }
    for (size_t i = 0; i < p->n; i++, id++) {
        put_entry(v, &c, id, &v->node[v->order[p->from + i]]);
    }
    if (number + 1 < v->pair_n) {
        const struct pair *next = &v->pair[number + 1];
        put_two(&c, next->folder == p->folder ? TAG_HARD_TAIL : TAG_SOFT_TAIL, NO_ID, next->block[0],
                next->block[1]);
    }
    put_crc(&c, v->job->shape->page);
}

/* ---- the whole ---- */

static bool open_volume(struct volume *v)
{
    size_t most = v->job->n + 1;
    for (size_t i = 0; i < v->job->n; i++) {
        for (const char *p = v->job->file[i].path + 1; *p != '\0'; p++) {
            most += *p == '/' ? 1U : 0U;
        }
    }
    v->node = pag_arena_alloc(v->job->arena, most * sizeof *v->node);
    v->order = pag_arena_alloc(v->job->arena, most * sizeof *v->order);
    v->pair = pag_arena_alloc(v->job->arena, 2 * most * sizeof *v->pair);
    v->first_pair = pag_arena_alloc(v->job->arena, most * sizeof *v->first_pair);
    return v->node != NULL && v->order != NULL && v->pair != NULL && v->first_pair != NULL;
}

enum pag_err pag_fs_littlefs(struct pag_fs_job *job)
{
    struct volume v = { .job = job };
    if (!open_volume(&v)) {
        return PAG_E_NO_MEMORY;
    }
    nodes_of(&v);
    sort_nodes(&v);
    pairs_of(&v);
    for (size_t i = 0; i < v.node_n; i++) {
        if (v.node[i].file != NULL && !is_inline(&v.node[i])) {
            put_blocks(&v, &v.node[i]);
        }
    }
    /* A file is changed by writing it anew and metadata by moving it: without room a device could change
     * nothing. */
    job->need = (v.blocks + SPARE_BLOCKS) * job->shape->block;
    if (job->need > job->shape->size) {
        return PAG_E_SPACE;
    }
    for (size_t i = 0; i < v.pair_n; i++) {
        put_pair(&v, i);
    }
    return PAG_OK;
}
