#ifndef PAG_CORE_CBOR_H
#define PAG_CORE_CBOR_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Deterministic CBOR (RFC 8949 4.2.1), the subset that every Pagurus format uses: unsigned, negative, byte
 * string, text string (UTF-8 checked), array, map, tag, true/false/null. The reader refuses (PAG_E_SYNTAX)
 * anything else: indefinite lengths, floats, long-form integers, unsorted or duplicate map keys, depth over
 * PAG_CBOR_DEPTH. Zero-copy: strings are spans into the input. No recursion, no allocation.
 */

enum { PAG_CBOR_DEPTH = 8 };

enum pag_cbor_type {
    PAG_CBOR_UINT,
    PAG_CBOR_NEGINT,
    PAG_CBOR_BYTES,
    PAG_CBOR_TEXT,
    PAG_CBOR_ARRAY,
    PAG_CBOR_MAP,
    PAG_CBOR_TAG,
    PAG_CBOR_BOOL,
    PAG_CBOR_NULL,
};

struct pag_cbor_reader {
    struct pag_span in;
    size_t at;
};

struct pag_cbor_item {
    enum pag_cbor_type type;
    uint64_t value; /* UINT; TAG number; count of ARRAY elements or MAP pairs; BOOL 0/1; NEGINT n of -1-n */
    struct pag_span bytes; /* BYTES, TEXT */
};

struct pag_cbor_reader pag_cbor_read(struct pag_span in);

/* Next item head (of a container: only its head). PAG_E_SHORT at the end of input. */
enum pag_err pag_cbor_next(struct pag_cbor_reader *r, struct pag_cbor_item *out);

/* Typed shorthands; PAG_E_SYNTAX if the next item is of another type. */
enum pag_err pag_cbor_get_uint(struct pag_cbor_reader *r, uint64_t max,
                               uint64_t *out); /* PAG_E_RANGE over max */
enum pag_err pag_cbor_get_int(struct pag_cbor_reader *r, int64_t *out);
enum pag_err pag_cbor_get_bool(struct pag_cbor_reader *r, bool *out);
enum pag_err pag_cbor_get_bytes(struct pag_cbor_reader *r, size_t min, size_t max, struct pag_span *out);
enum pag_err pag_cbor_get_text(struct pag_cbor_reader *r, size_t min, size_t max, struct pag_span *out);
enum pag_err pag_cbor_get_array(struct pag_cbor_reader *r, size_t max, size_t *count);
enum pag_err pag_cbor_get_map(struct pag_cbor_reader *r, size_t max, size_t *count);
enum pag_err pag_cbor_get_tag(struct pag_cbor_reader *r, uint64_t tag);

/* Skips one whole item with all it holds. Checks it as deeply as the reader would. */
enum pag_err pag_cbor_skip(struct pag_cbor_reader *r);

/* The encoded bytes of the next item, which is skipped. */
enum pag_err pag_cbor_get_raw(struct pag_cbor_reader *r, struct pag_span *out);

bool pag_cbor_at_end(const struct pag_cbor_reader *r);

/* PAG_OK iff in is exactly one well-formed deterministic item of the subset. */
enum pag_err pag_cbor_check(struct pag_span in);

/*
 * Walks a map of unsigned integer keys in ascending order:
 *     pag_cbor_map_begin(&r, &m); while (pag_cbor_map_next(&m, &key)) { …read exactly one value from &r… }
 *     err = m.err;
 */
struct pag_cbor_map {
    struct pag_cbor_reader *r;
    size_t left;
    uint64_t last;
    bool any;
    enum pag_err err;
};
enum pag_err pag_cbor_map_begin(struct pag_cbor_reader *r, size_t max_pairs, struct pag_cbor_map *m);
bool pag_cbor_map_next(struct pag_cbor_map *m, uint64_t *key);

/* ---- writer: appends to a lent buffer; the first PAG_E_SPACE is kept and all later puts do nothing ---- */
struct pag_cbor_writer {
    struct pag_buf *out;
    enum pag_err err;
};
struct pag_cbor_writer pag_cbor_write(struct pag_buf *out);
void pag_cbor_put_uint(struct pag_cbor_writer *w, uint64_t v);
void pag_cbor_put_int(struct pag_cbor_writer *w, int64_t v);
void pag_cbor_put_bool(struct pag_cbor_writer *w, bool v);
void pag_cbor_put_null(struct pag_cbor_writer *w);
void pag_cbor_put_bytes(struct pag_cbor_writer *w, struct pag_span s);
void pag_cbor_put_text(struct pag_cbor_writer *w, struct pag_span s);
void pag_cbor_put_array(struct pag_cbor_writer *w, size_t count);
void pag_cbor_put_map(struct pag_cbor_writer *w,
                      size_t pairs); /* the caller writes keys in ascending order */
void pag_cbor_put_tag(struct pag_cbor_writer *w, uint64_t tag);
void pag_cbor_put_raw(struct pag_cbor_writer *w, struct pag_span encoded);

#endif
