#include "host/gzip.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "host/unconst.h"

enum { PIECE = 32768, RATIO_FREE = 65536, RATIO_DEFAULT = 20 };

struct pag_gunzip {
    struct pag_gunzip_config config;
    z_stream z;
    uint64_t in_bytes, out_bytes;
    bool begun, done;
    enum pag_err failed; /* once wrong, always the same answer */
    uint8_t piece[PIECE];
};

bool pag_gzip_is(struct pag_span head)
{
    static const uint8_t magic[3] = { 0x1f, 0x8b, 8 };
    return head.n >= sizeof magic && memcmp(head.p, magic, sizeof magic) == 0;
}

struct pag_gunzip *pag_gunzip_new(const struct pag_gunzip_config *config)
{
    struct pag_gunzip *z = calloc(1, sizeof *z);
    if (z == NULL) {
        return NULL;
    }
    z->config = *config;
    if (z->config.ratio_max == 0) {
        z->config.ratio_max = RATIO_DEFAULT;
    }
    if (inflateInit2(&z->z, 15 + 16) != Z_OK) { /* +16: gzip and nothing else */
        free(z);
        return NULL;
    }
    return z;
}

void pag_gunzip_free(struct pag_gunzip *z)
{
    if (z != NULL) {
        (void)inflateEnd(&z->z);
        free(z);
    }
}

static enum pag_err err_of_zlib(const struct pag_gunzip *z, int code)
{
    if (code == Z_MEM_ERROR) {
        return PAG_E_NO_MEMORY;
    }
    if (z->z.msg != NULL && strstr(z->z.msg, "incorrect header check") != NULL) {
        return PAG_E_MAGIC;
    }
    if (z->z.msg != NULL &&
        (strstr(z->z.msg, "data check") != NULL || strstr(z->z.msg, "length check") != NULL)) {
        return PAG_E_CHECKSUM;
    }
    return PAG_E_SYNTAX;
}

static enum pag_err deliver(struct pag_gunzip *z, size_t n, uint64_t in_bytes)
{
    z->out_bytes += n;
    if (z->out_bytes > z->config.out_max) {
        return PAG_E_LIMIT;
    }
    if (z->out_bytes > RATIO_FREE && z->out_bytes / z->config.ratio_max > in_bytes) {
        return PAG_E_LIMIT;
    }
    return n == 0 ? PAG_OK : z->config.sink(z->config.ctx, (struct pag_span){ z->piece, n });
}

static enum pag_err feed(struct pag_gunzip *z, struct pag_span in)
{
    z->z.next_in = pag_unconst(in.p);
    z->z.avail_in = (uInt)in.n;
    while (!z->done) {
        z->z.next_out = z->piece;
        z->z.avail_out = PIECE;
        int code = inflate(&z->z, Z_NO_FLUSH);
        if (code == Z_BUF_ERROR) {
            return PAG_OK; /* wants more input */
        }
        if (code != Z_OK && code != Z_STREAM_END) {
            return err_of_zlib(z, code);
        }
        z->done = code == Z_STREAM_END;
        enum pag_err err = deliver(z, PIECE - z->z.avail_out, z->in_bytes + in.n - z->z.avail_in);
        if (err != PAG_OK) {
            return err;
        }
    }
    return z->z.avail_in == 0 ? PAG_OK : PAG_E_SYNTAX; /* bytes after the end */
}

enum pag_err pag_gunzip_feed(struct pag_gunzip *z, struct pag_span in)
{
    while (z->failed == PAG_OK && in.n > 0) {
        struct pag_span part = { in.p, in.n < (1U << 30) ? in.n : (1U << 30) };
        z->failed = feed(z, part);
        z->in_bytes += part.n;
        in.p += part.n;
        in.n -= part.n;
    }
    return z->failed;
}

enum pag_err pag_gunzip_finish(const struct pag_gunzip *z)
{
    if (z->failed != PAG_OK) {
        return z->failed;
    }
    return z->done ? PAG_OK : PAG_E_SHORT;
}

uint64_t pag_gunzip_out_bytes(const struct pag_gunzip *z)
{
    return z->out_bytes;
}

static enum pag_err append(void *ctx, struct pag_span piece)
{
    struct pag_buf *out = ctx;
    if (out->cap - out->n < piece.n) {
        size_t cap = out->cap * 2 > out->n + piece.n ? out->cap * 2 : out->n + piece.n + PIECE;
        uint8_t *p = realloc(out->p, cap);
        if (p == NULL) {
            return PAG_E_NO_MEMORY;
        }
        out->p = p;
        out->cap = cap;
    }
    memcpy(out->p + out->n, piece.p, piece.n);
    out->n += piece.n;
    return PAG_OK;
}

enum pag_err pag_gunzip_all(struct pag_span in, uint64_t out_max, uint32_t ratio_max, struct pag_buf *out)
{
    struct pag_buf got = { NULL, 0, 0 };
    const struct pag_gunzip_config config = { out_max, ratio_max, append, &got };
    struct pag_gunzip *z = pag_gunzip_new(&config);
    if (z == NULL) {
        return PAG_E_NO_MEMORY;
    }
    enum pag_err err = pag_gunzip_feed(z, in);
    if (err == PAG_OK) {
        err = pag_gunzip_finish(z);
    }
    pag_gunzip_free(z);
    if (err != PAG_OK) {
        free(got.p);
        return err;
    }
    *out = got;
    return PAG_OK;
}

enum pag_err pag_gzip_pack(struct pag_span in, struct pag_buf *out)
{
    z_stream z = { 0 };
    if (in.n > (1U << 30)) {
        return PAG_E_LIMIT;
    }
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return PAG_E_NO_MEMORY;
    }
    struct pag_buf got = { NULL, 0, deflateBound(&z, in.n) };
    got.p = malloc(got.cap);
    int code = Z_MEM_ERROR;
    if (got.p != NULL) {
        z.next_in = pag_unconst(in.p);
        z.avail_in = (uInt)in.n;
        z.next_out = got.p;
        z.avail_out = (uInt)got.cap;
        code = deflate(&z, Z_FINISH);
    }
    got.n = got.cap - z.avail_out;
    (void)deflateEnd(&z);
    if (code != Z_STREAM_END) {
        free(got.p);
        return got.p == NULL ? PAG_E_NO_MEMORY : PAG_E_INTERNAL;
    }
    *out = got;
    return PAG_OK;
}
