#include "core/cbor.h"

#include "core/bytes.h"
#include "core/mem.h"

/* Major types and simple values (RFC 8949 3.1, 3.3). */
enum {
    MAJOR_UINT = 0,
    MAJOR_NEGINT = 1,
    MAJOR_BYTES = 2,
    MAJOR_TEXT = 3,
    MAJOR_ARRAY = 4,
    MAJOR_MAP = 5,
    MAJOR_TAG = 6,
    MAJOR_SIMPLE = 7,
    SIMPLE_FALSE = 20,
    SIMPLE_TRUE = 21,
    SIMPLE_NULL = 22,
    INFO_ONE_BYTE = 24,
    INFO_EIGHT_BYTES = 27,
};

struct pag_cbor_reader pag_cbor_read(struct pag_span in)
{
    return (struct pag_cbor_reader){ .in = in, .at = 0 };
}

static size_t bytes_left(const struct pag_cbor_reader *r)
{
    return r->in.n - r->at;
}

/* Argument of the head at r->at; the shortest form only. */
static enum pag_err read_argument(struct pag_cbor_reader *r, uint8_t info, uint64_t *out)
{
    if (info < INFO_ONE_BYTE) {
        *out = info;
        return PAG_OK;
    }
    if (info > INFO_EIGHT_BYTES) {
        return PAG_E_SYNTAX; /* reserved, or indefinite length */
    }
    size_t width = (size_t)1 << (info - INFO_ONE_BYTE);
    if (bytes_left(r) < width) {
        return PAG_E_SHORT;
    }
    const uint8_t *p = r->in.p + r->at;
    uint64_t v = 0;
    for (size_t i = 0; i < width; i++) {
        v = v << 8 | p[i];
    }
    uint64_t least = width == 1 ? 24 : (uint64_t)1 << (width * 4);
    if (v < least) {
        return PAG_E_SYNTAX;
    }
    r->at += width;
    *out = v;
    return PAG_OK;
}

static enum pag_err read_string(struct pag_cbor_reader *r, struct pag_cbor_item *item)
{
    if (item->value > bytes_left(r)) {
        return PAG_E_SHORT;
    }
    item->bytes = pag_span_of(r->in.p + r->at, (size_t)item->value);
    r->at += item->bytes.n;
    if (item->type == PAG_CBOR_TEXT && !pag_utf8_ok(item->bytes)) {
        return PAG_E_SYNTAX;
    }
    return PAG_OK;
}

static enum pag_err read_simple(uint8_t info, struct pag_cbor_item *item)
{
    if (info == SIMPLE_NULL) {
        item->type = PAG_CBOR_NULL;
        item->value = 0;
        return PAG_OK;
    }
    if (info != SIMPLE_FALSE && info != SIMPLE_TRUE) {
        return PAG_E_SYNTAX; /* floats, undefined, break, unassigned */
    }
    item->type = PAG_CBOR_BOOL;
    item->value = info == SIMPLE_TRUE;
    return PAG_OK;
}

static enum pag_err next_item(struct pag_cbor_reader *r, struct pag_cbor_item *item)
{
    if (bytes_left(r) == 0) {
        return PAG_E_SHORT;
    }
    uint8_t major = r->in.p[r->at] >> 5;
    uint8_t info = r->in.p[r->at] & 31U;
    r->at++;
    if (major == MAJOR_SIMPLE) {
        return read_simple(info, item);
    }
    static const enum pag_cbor_type types[] = {
        [MAJOR_UINT] = PAG_CBOR_UINT, [MAJOR_NEGINT] = PAG_CBOR_NEGINT, [MAJOR_BYTES] = PAG_CBOR_BYTES,
        [MAJOR_TEXT] = PAG_CBOR_TEXT, [MAJOR_ARRAY] = PAG_CBOR_ARRAY,   [MAJOR_MAP] = PAG_CBOR_MAP,
        [MAJOR_TAG] = PAG_CBOR_TAG,
    };
    item->type = types[major];
    enum pag_err err = read_argument(r, info, &item->value);
    if (err != PAG_OK) {
        return err;
    }
    if (major == MAJOR_BYTES || major == MAJOR_TEXT) {
        return read_string(r, item);
    }
    /* Each element takes a byte at least: a count that cannot be there is cut short, and stays a size_t. */
    size_t room = major == MAJOR_MAP ? bytes_left(r) / 2 : bytes_left(r);
    if ((major == MAJOR_ARRAY || major == MAJOR_MAP) && item->value > room) {
        return PAG_E_SHORT;
    }
    return PAG_OK;
}

enum pag_err pag_cbor_next(struct pag_cbor_reader *r, struct pag_cbor_item *out)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item = { .type = PAG_CBOR_NULL };
    enum pag_err err = next_item(&trial, &item);
    if (err != PAG_OK) {
        return err;
    }
    *r = trial;
    *out = item;
    return PAG_OK;
}

/* ---- typed shorthands: the reader moves only on success ---- */

static enum pag_err take(struct pag_cbor_reader *r, enum pag_cbor_type type, struct pag_cbor_item *out)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item;
    enum pag_err err = pag_cbor_next(&trial, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (item.type != type) {
        return PAG_E_SYNTAX;
    }
    *r = trial;
    *out = item;
    return PAG_OK;
}

enum pag_err pag_cbor_get_uint(struct pag_cbor_reader *r, uint64_t max, uint64_t *out)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item;
    enum pag_err err = take(&trial, PAG_CBOR_UINT, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (item.value > max) {
        return PAG_E_RANGE;
    }
    *r = trial;
    *out = item.value;
    return PAG_OK;
}

enum pag_err pag_cbor_get_int(struct pag_cbor_reader *r, int64_t *out)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item;
    enum pag_err err = pag_cbor_next(&trial, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (item.type != PAG_CBOR_UINT && item.type != PAG_CBOR_NEGINT) {
        return PAG_E_SYNTAX;
    }
    if (item.value > INT64_MAX) {
        return PAG_E_RANGE;
    }
    *r = trial;
    *out = item.type == PAG_CBOR_UINT ? (int64_t)item.value : -1 - (int64_t)item.value;
    return PAG_OK;
}

enum pag_err pag_cbor_get_bool(struct pag_cbor_reader *r, bool *out)
{
    struct pag_cbor_item item;
    enum pag_err err = take(r, PAG_CBOR_BOOL, &item);
    if (err == PAG_OK) {
        *out = item.value != 0;
    }
    return err;
}

static enum pag_err take_string(struct pag_cbor_reader *r, enum pag_cbor_type type, size_t min, size_t max,
                                struct pag_span *out)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item;
    enum pag_err err = take(&trial, type, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (item.bytes.n < min || item.bytes.n > max) {
        return PAG_E_RANGE;
    }
    *r = trial;
    *out = item.bytes;
    return PAG_OK;
}

enum pag_err pag_cbor_get_bytes(struct pag_cbor_reader *r, size_t min, size_t max, struct pag_span *out)
{
    return take_string(r, PAG_CBOR_BYTES, min, max, out);
}

enum pag_err pag_cbor_get_text(struct pag_cbor_reader *r, size_t min, size_t max, struct pag_span *out)
{
    return take_string(r, PAG_CBOR_TEXT, min, max, out);
}

static enum pag_err take_count(struct pag_cbor_reader *r, enum pag_cbor_type type, size_t max, size_t *count)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item;
    enum pag_err err = take(&trial, type, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (item.value > max) {
        return PAG_E_RANGE;
    }
    *r = trial;
    *count = (size_t)item.value;
    return PAG_OK;
}

enum pag_err pag_cbor_get_array(struct pag_cbor_reader *r, size_t max, size_t *count)
{
    return take_count(r, PAG_CBOR_ARRAY, max, count);
}

enum pag_err pag_cbor_get_map(struct pag_cbor_reader *r, size_t max, size_t *count)
{
    return take_count(r, PAG_CBOR_MAP, max, count);
}

enum pag_err pag_cbor_get_tag(struct pag_cbor_reader *r, uint64_t tag)
{
    struct pag_cbor_reader trial = *r;
    struct pag_cbor_item item;
    enum pag_err err = take(&trial, PAG_CBOR_TAG, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (item.value != tag) {
        return PAG_E_SYNTAX;
    }
    *r = trial;
    return PAG_OK;
}

/* ---- whole items ---- */

/* An open container of the walk. left: items still to come, keys and values of a map counted apart. */
struct frame {
    size_t left;
    bool map;
    uint32_t key_at; /* encoded key read last */
    uint32_t key_n;  /* 0: none yet */
};

/* Keys are compared as encoded bytes (RFC 8949 4.2.1) and must be numbers or strings. */
static enum pag_err check_key(struct frame *f, struct pag_span in, size_t at, size_t end,
                              enum pag_cbor_type type)
{
    if (type != PAG_CBOR_UINT && type != PAG_CBOR_NEGINT && type != PAG_CBOR_BYTES && type != PAG_CBOR_TEXT) {
        return PAG_E_SYNTAX;
    }
    size_t n = end - at;
    if (f->key_n != 0) {
        size_t common = f->key_n < n ? f->key_n : n;
        int order = memcmp(in.p + f->key_at, in.p + at, common);
        if (order > 0 || (order == 0 && f->key_n >= n)) {
            return PAG_E_SYNTAX;
        }
    }
    f->key_at = (uint32_t)at;
    f->key_n = (uint32_t)n;
    return PAG_OK;
}

/* One item of the walk: checks a map key, opens a container. */
static enum pag_err walk_step(struct pag_cbor_reader *r, struct frame *stack, size_t *depth)
{
    size_t at = r->at;
    struct pag_cbor_item item;
    enum pag_err err = pag_cbor_next(r, &item);
    if (err != PAG_OK) {
        return err;
    }
    if (*depth > 0) {
        struct frame *top = &stack[*depth - 1];
        if (top->map && top->left % 2 == 0) {
            err = check_key(top, r->in, at, r->at, item.type);
        }
        top->left--;
    }
    if (err != PAG_OK) {
        return err;
    }
    if (item.type != PAG_CBOR_ARRAY && item.type != PAG_CBOR_MAP && item.type != PAG_CBOR_TAG) {
        return PAG_OK;
    }
    if (*depth == PAG_CBOR_DEPTH) {
        return PAG_E_SYNTAX;
    }
    size_t count = item.type == PAG_CBOR_TAG ? 1 : (size_t)item.value;
    bool map = item.type == PAG_CBOR_MAP;
    stack[(*depth)++] = (struct frame){ .left = map ? 2 * count : count, .map = map };
    return PAG_OK;
}

enum pag_err pag_cbor_skip(struct pag_cbor_reader *r)
{
    struct pag_cbor_reader trial = *r;
    struct frame stack[PAG_CBOR_DEPTH];
    size_t depth = 0;
    if (r->in.n > UINT32_MAX) {
        return PAG_E_RANGE;
    }
    do {
        enum pag_err err = walk_step(&trial, stack, &depth);
        if (err != PAG_OK) {
            return err;
        }
        while (depth > 0 && stack[depth - 1].left == 0) {
            depth--;
        }
    } while (depth > 0);
    *r = trial;
    return PAG_OK;
}

enum pag_err pag_cbor_get_raw(struct pag_cbor_reader *r, struct pag_span *out)
{
    size_t start = r->at;
    enum pag_err err = pag_cbor_skip(r);
    if (err == PAG_OK) {
        *out = pag_span_of(r->in.p + start, r->at - start);
    }
    return err;
}

bool pag_cbor_at_end(const struct pag_cbor_reader *r)
{
    return r->at == r->in.n;
}

enum pag_err pag_cbor_check(struct pag_span in)
{
    struct pag_cbor_reader r = pag_cbor_read(in);
    enum pag_err err = pag_cbor_skip(&r);
    if (err == PAG_OK && !pag_cbor_at_end(&r)) {
        err = PAG_E_SYNTAX;
    }
    return err;
}

enum pag_err pag_cbor_map_begin(struct pag_cbor_reader *r, size_t max_pairs, struct pag_cbor_map *m)
{
    *m = (struct pag_cbor_map){ .r = r };
    m->err = pag_cbor_get_map(r, max_pairs, &m->left);
    return m->err;
}

bool pag_cbor_map_next(struct pag_cbor_map *m, uint64_t *key)
{
    if (m->err != PAG_OK || m->left == 0) {
        return false;
    }
    uint64_t k = 0;
    m->err = pag_cbor_get_uint(m->r, UINT64_MAX, &k);
    if (m->err == PAG_OK && m->any && k <= m->last) {
        m->err = PAG_E_SYNTAX;
    }
    if (m->err != PAG_OK) {
        return false;
    }
    m->left--;
    m->any = true;
    m->last = k;
    *key = k;
    return true;
}

/* ---- writer ---- */

struct pag_cbor_writer pag_cbor_write(struct pag_buf *out)
{
    return (struct pag_cbor_writer){ .out = out, .err = PAG_OK };
}

void pag_cbor_put_raw(struct pag_cbor_writer *w, struct pag_span encoded)
{
    if (w->err == PAG_OK) {
        w->err = pag_buf_put(w->out, encoded);
    }
}

static void put_head(struct pag_cbor_writer *w, uint8_t major, uint64_t v)
{
    uint8_t head[9];
    size_t width = 0; /* bytes after the first */
    if (v >= INFO_ONE_BYTE) {
        width = v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
    }
    uint8_t info = (uint8_t)v;
    if (width != 0) {
        info = width == 1 ? 24 : width == 2 ? 25 : width == 4 ? 26 : 27;
    }
    head[0] = (uint8_t)(major << 5 | info);
    for (size_t i = width; i > 0; i--) {
        head[i] = (uint8_t)v;
        v >>= 8;
    }
    pag_cbor_put_raw(w, pag_span_of(head, width + 1));
}

void pag_cbor_put_uint(struct pag_cbor_writer *w, uint64_t v)
{
    put_head(w, MAJOR_UINT, v);
}

void pag_cbor_put_int(struct pag_cbor_writer *w, int64_t v)
{
    if (v < 0) {
        put_head(w, MAJOR_NEGINT, (uint64_t)(-1 - v));
    } else {
        put_head(w, MAJOR_UINT, (uint64_t)v);
    }
}

void pag_cbor_put_bool(struct pag_cbor_writer *w, bool v)
{
    put_head(w, MAJOR_SIMPLE, v ? SIMPLE_TRUE : SIMPLE_FALSE);
}

void pag_cbor_put_null(struct pag_cbor_writer *w)
{
    put_head(w, MAJOR_SIMPLE, SIMPLE_NULL);
}

void pag_cbor_put_bytes(struct pag_cbor_writer *w, struct pag_span s)
{
    put_head(w, MAJOR_BYTES, s.n);
    pag_cbor_put_raw(w, s);
}

void pag_cbor_put_text(struct pag_cbor_writer *w, struct pag_span s)
{
    put_head(w, MAJOR_TEXT, s.n);
    pag_cbor_put_raw(w, s);
}

void pag_cbor_put_array(struct pag_cbor_writer *w, size_t count)
{
    put_head(w, MAJOR_ARRAY, count);
}

void pag_cbor_put_map(struct pag_cbor_writer *w, size_t pairs)
{
    put_head(w, MAJOR_MAP, pairs);
}

void pag_cbor_put_tag(struct pag_cbor_writer *w, uint64_t tag)
{
    put_head(w, MAJOR_TAG, tag);
}
