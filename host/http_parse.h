#ifndef PAG_HOST_HTTP_PARSE_H
#define PAG_HOST_HTTP_PARSE_H

#include "host/http.h"

/*
 * Request heads and chunked bodies, RFC 9112, read strictly: what two servers could read in two ways is
 * refused (docs/spec/http.md). Pure functions over bytes; spans in the result point into the input.
 */

enum pag_http_framing { PAG_FRAME_NONE, PAG_FRAME_LENGTH, PAG_FRAME_CHUNKED };

/* What of a head concerns the connection and not the handler. */
struct pag_http_meta {
    enum pag_http_framing framing;
    uint64_t content_length; /* PAG_FRAME_LENGTH */
    bool keep_alive;         /* HTTP/1.1 without "close"; never for HTTP/1.0 */
    bool expect_continue;
};

/* Why a message is refused; the connection is closed after the reply. */
struct pag_http_refusal {
    unsigned status;  /* 400, 414, 415, 417, 431, 501, 505 */
    const char *what; /* literal */
};

/* Looks for the end of a head, going on where the last call stopped. All zeros to start with. */
struct pag_http_scan {
    size_t at;    /* bytes looked at */
    size_t line;  /* start of the line being looked at */
    size_t lines; /* complete lines so far */
};

/*
 * in: the bytes so far, always from the same start. limit: most bytes of a head; a line is at most half of
 * it. PAG_OK: *head_n is the length with the empty line. PAG_E_SHORT: feed more. Else *no says why. The
 * answer does not depend on how the bytes were cut into calls.
 */
enum pag_err pag_http_scan_head(struct pag_http_scan *scan, struct pag_span in, size_t limit, size_t *head_n,
                                struct pag_http_refusal *no);

/*
 * head: exactly what pag_http_scan_head delimited. Fills method, minor, target, path, query and headers of
 * req and nothing else. PAG_OK or PAG_E_SYNTAX with *no.
 */
enum pag_err pag_http_parse_head(struct pag_span head, struct pag_http_request *req,
                                 struct pag_http_meta *meta, struct pag_http_refusal *no);

/*
 * The same for clients that put spaces into a query as they are ("GET /tag/x?tag=My build HTTP/1.0"): the
 * target goes up to the last space of the line. Only for GET and HEAD without a body, and the connection ends
 * with the reply.
 */
enum pag_err pag_http_parse_head_spaced(struct pag_span head, struct pag_http_request *req,
                                        struct pag_http_meta *meta, struct pag_http_refusal *no);

/* Running state of a chunked body. All zeros to start with. */
struct pag_http_chunks {
    uint64_t left; /* data bytes of this chunk still to come */
    unsigned state;
    unsigned digits;
    size_t trailer_n; /* bytes of chunk extensions or trailers so far */
};

/*
 * Eats from *in and sets *data to the next piece of content (a part of the input, maybe empty). PAG_OK: the
 * body has ended, *in begins with the next message. PAG_E_SHORT: take *data; when it is empty, feed more.
 * PAG_E_SYNTAX: refuse. Extensions and trailer fields are read and dropped; at most 4096 bytes of each.
 */
enum pag_err pag_http_chunks_next(struct pag_http_chunks *c, struct pag_span *in, struct pag_span *data);

/* RFC 9110 token bytes. */
bool pag_http_is_token(struct pag_span s);

/* Visible ASCII, blanks and obs-text; no control bytes. */
bool pag_http_is_value(struct pag_span s);

#endif
