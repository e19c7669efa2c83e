#ifndef PAG_AGENT_HTTP_CLIENT_H
#define PAG_AGENT_HTTP_CLIENT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"

/*
 * The part of HTTP/1.1 (RFC 9112) a device needs: one request at a time over one port connection, replies
 * with Content-Length only. Strict: bare LF, folded lines, chunked, two lengths, over-long lines and too many
 * headers are PAG_E_SYNTAX or PAG_E_LIMIT and the connection is of no further use. No redirect is followed.
 */

enum {
    PAG_HTTPC_LINE_MAX = 192, /* bytes of a header that matters; longer ones are PAG_E_LIMIT */
    PAG_HTTPC_HEADERS_MAX = 32,
    PAG_HTTPC_HEAD_MAX = 4096,
    PAG_HTTPC_CHUNK = 128, /* bytes asked of the port while a head is read */
};

struct pag_httpc_reply {
    uint16_t status;        /* 200..599; 1xx are skipped */
    uint32_t length;        /* of the body; 0 for 204 and 304 */
    uint32_t retry_after_s; /* 0: none, or given as a date */
    bool has_range;         /* Content-Range: bytes from-to/total */
    uint32_t range_from, range_to, range_total;
    bool close; /* the server ends the connection after this reply */
};

/* Reply head, byte by byte. No I/O. */
struct pag_httpc_parser {
    uint8_t line[PAG_HTTPC_LINE_MAX];
    uint16_t line_n;
    uint16_t head_n;
    uint8_t header_n;
    bool after_cr, has_status, has_length, interim;
    struct pag_httpc_reply reply;
};
void pag_httpc_parser_begin(struct pag_httpc_parser *p);
/*
 * Feeds bytes; *used: how many belonged to the head. PAG_OK: the head is complete (the rest is body),
 * PAG_E_SHORT: all used, feed more. PAG_E_SYNTAX, PAG_E_LIMIT, PAG_E_UNSUPPORTED (transfer coding).
 */
enum pag_err pag_httpc_parser_feed(struct pag_httpc_parser *p, struct pag_span in, size_t *used);

struct pag_httpc_request {
    const char *method; /* "GET", "POST" */
    const char *path;   /* up to the query; already escaped */
    const char *host;
    uint16_t port;
    bool has_range;
    uint32_t range_from, range_to; /* bytes=from-to */
    struct pag_span body;          /* application/cbor; empty for GET */
};
/* Writes the request with its body. PAG_E_SPACE. body may not lie in out. */
enum pag_err pag_httpc_request_put(struct pag_buf *out, const struct pag_httpc_request *r);

/* One connection. */
struct pag_httpc {
    const struct pag_port *port;
    struct pag_conn conn;
    bool open, ready;
    bool used; /* a reply was read on it before */
    bool in_body;
    struct pag_httpc_parser parser;
    uint8_t rx[PAG_HTTPC_CHUNK]; /* read with the head, not yet handed out as body */
    uint8_t rx_at, rx_n;
    uint32_t body_left;
    uint32_t sent; /* of the request being written */
};
void pag_httpc_init(struct pag_httpc *h, const struct pag_port *port);
/* Starts connecting. trust as in struct pag_net. Errors of the port. */
enum pag_err pag_httpc_open(struct pag_httpc *h, const char *host, uint16_t port,
                            const struct pag_net_trust *trust);
/* PAG_OK, PAG_E_AGAIN, or the port's error. */
enum pag_err pag_httpc_ready(struct pag_httpc *h);
/* Writes on; the same request until PAG_OK. PAG_E_AGAIN. Forgets an earlier reply. */
enum pag_err pag_httpc_send(struct pag_httpc *h, struct pag_span request);
/* Reads on. PAG_OK: *out is the head. PAG_E_AGAIN, PAG_E_CLOSED, errors of the parser. */
enum pag_err pag_httpc_head(struct pag_httpc *h, struct pag_httpc_reply *out);
/* *n: in: room; out: bytes put, 0 only at the end of the body. PAG_E_AGAIN, PAG_E_CLOSED before the end. */
enum pag_err pag_httpc_body(struct pag_httpc *h, uint8_t *out, size_t *n);
/* May the connection carry another request: body read to its end, the server keeps it. */
bool pag_httpc_reusable(const struct pag_httpc *h);
void pag_httpc_close(struct pag_httpc *h);

#endif
