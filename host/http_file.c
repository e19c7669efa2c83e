#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/http_priv.h"

/* One range of a file, RFC 9110 14. Several ranges, and whatever does not parse, mean the whole file. */

enum verdict { WHOLE, PART, BEYOND };

struct range {
    uint64_t first;
    uint64_t n;
};

static bool digits_to(struct pag_span s, uint64_t *out)
{
    /* More than 18 digits is beyond any file; the value is then only compared. */
    uint64_t value = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        value = value > UINT64_MAX / 10 - 9 ? UINT64_MAX / 10 - 9 : value * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = value;
    return s.n > 0;
}

static enum verdict read_range(struct pag_span v, uint64_t size, struct range *out)
{
    static const char unit[] = "bytes=";
    size_t skip = sizeof(unit) - 1;
    uint64_t first = 0;
    uint64_t last = 0;
    if (v.n <= skip || !pag_span_eq_nocase((struct pag_span){ v.p, skip }, unit)) {
        return WHOLE;
    }
    v = (struct pag_span){ v.p + skip, v.n - skip };
    size_t dash = pag_span_find(v, 0, '-');
    if (dash == v.n) {
        return WHOLE;
    }
    struct pag_span from = { v.p, dash };
    struct pag_span to = { v.p + dash + 1, v.n - dash - 1 };
    if (from.n == 0) { /* the last bytes */
        if (!digits_to(to, &last)) {
            return WHOLE;
        }
        out->n = last < size ? last : size;
        out->first = size - out->n;
        return out->n == 0 ? BEYOND : PART;
    }
    bool open_ended = to.n == 0;
    if (!digits_to(from, &first) || (!open_ended && !digits_to(to, &last)) || (!open_ended && last < first)) {
        return WHOLE;
    }
    if (first >= size) {
        return BEYOND;
    }
    if (open_ended || last >= size) {
        last = size - 1;
    }
    *out = (struct range){ first, last - first + 1 };
    return PART;
}

static enum verdict wanted(const struct pag_http_request *req, const struct pag_http_file *file,
                           struct range *out)
{
    struct pag_span range = pag_http_header_get(req, "range");
    bool reads = req->method == PAG_HTTP_GET || req->method == PAG_HTTP_HEAD;
    if (range.p == NULL || file->no_range || req->minor == 0 || !reads) {
        return WHOLE;
    }
    size_t fields = 0;
    for (size_t i = 0; i < req->header_n; i++) {
        fields += pag_span_eq_nocase(req->header[i].name, "range") ? 1 : 0;
    }
    struct pag_span condition = pag_http_header_get(req, "if-range");
    bool stale = condition.p != NULL && (file->etag == NULL || !pag_span_eq_str(condition, file->etag));
    return fields > 1 || stale ? WHOLE : read_range(range, file->bytes, out);
}

void pag_http_reply_file(struct pag_http_request *req, const struct pag_http_file *file)
{
    struct pag_http_exchange *ex = (struct pag_http_exchange *)(void *)req;
    if (pag_http_replied(ex)) {
        (void)close(file->fd);
        return;
    }
    struct pag_http_reply reply = { .status = 200,
                                    .content_type = file->content_type,
                                    .etag = file->etag,
                                    .header = file->header,
                                    .header_n = file->header_n,
                                    .close = file->close };
    struct range part = { 0, file->bytes };
    const char *extra = file->no_range || req->minor == 0 ? NULL : "Accept-Ranges: bytes\r\n";
    unsigned status = file->etag != NULL ? pag_http_precondition(req, file->etag) : 0;
    enum verdict verdict = status == 0 ? wanted(req, file, &part) : WHOLE;
    if (status != 0) {
        reply.status = status;
        part = (struct range){ 0, 0 };
    } else if (verdict == BEYOND) {
        reply.status = 416;
        reply.content_type = NULL;
        part = (struct range){ 0, 0 };
        extra =
            pag_arena_printf(req->arena, "Content-Range: bytes */%llu\r\n", (unsigned long long)file->bytes);
    } else if (verdict == PART) {
        reply.status = 206;
        extra =
            pag_arena_printf(req->arena, "Content-Range: bytes %llu-%llu/%llu\r\nAccept-Ranges: bytes\r\n",
                             (unsigned long long)part.first, (unsigned long long)(part.first + part.n - 1),
                             (unsigned long long)file->bytes);
    }
    ex->out.fd = file->fd;
    ex->out.file_first = part.first;
    ex->out.done = file->done;
    ex->out.done_ctx = file->done_ctx;
    if (pag_http_head_build(ex, &reply, part.n, extra)) {
        ex->out.total = req->method == PAG_HTTP_HEAD ? 0 : part.n;
    }
    pag_http_reply_begin(ex);
}
