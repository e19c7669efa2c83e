#ifndef PAG_HOST_HTTP_H
#define PAG_HOST_HTTP_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"
#include "host/log.h"
#include "host/loop.h"
#include "host/tls.h"

/*
 * HTTP/1.1 server core (RFC 9110, 9112), also for HTTP/1.0 clients. It knows routes, limits, conditional and
 * range requests; it knows nothing of devices. One pag_http (an immutable description of a listener) is
 * shared by all network threads; each thread attaches it to its own loop (SO_REUSEPORT). A request lives on
 * one thread from parse to reply.
 */

enum pag_http_method {
    PAG_HTTP_GET = 1 << 0,
    PAG_HTTP_HEAD = 1 << 1,
    PAG_HTTP_POST = 1 << 2,
    PAG_HTTP_PUT = 1 << 3,
    PAG_HTTP_PATCH = 1 << 4,
    PAG_HTTP_DELETE = 1 << 5,
};

struct pag_http_header {
    struct pag_span name;
    struct pag_span value; /* blanks around it removed */
};

enum { PAG_HTTP_HEADERS_MAX = 64, PAG_HTTP_PARAMS_MAX = 4 };

struct pag_http_route;

struct pag_http_request {
    enum pag_http_method method;
    uint8_t minor;                              /* HTTP/1.<minor> */
    struct pag_span target;                     /* as sent */
    struct pag_span path;                       /* before '?', as sent (not decoded) */
    struct pag_span query;                      /* after the first '?', as sent */
    struct pag_span param[PAG_HTTP_PARAMS_MAX]; /* what the {…} of the route matched, not decoded */
    struct pag_http_header header[PAG_HTTP_HEADERS_MAX];
    size_t header_n;
    struct pag_span body; /* PAG_BODY_MEMORY; complete */
    int body_fd; /* PAG_BODY_FILE: unlinked or temp file positioned at 0, else -1; the core closes it */
    uint64_t body_bytes;
    uint8_t body_sha256[PAG_SHA256_BYTES]; /* PAG_BODY_FILE */
    const struct pag_http_route *route;
    const struct pag_tls_peer *peer; /* NULL on a plain listener */
    char address[46];                /* peer IP as text */
    bool tls;
    struct pag_arena *arena; /* until the reply has been sent */
    struct pag_loop *loop;   /* the thread's loop */
    void *thread_ctx;        /* what pag_http_attach was given */
    void *listener_ctx;      /* pag_http_config.ctx */
    void *user;              /* NULL at first; what admit leaves for handle (in the arena) */
};

enum pag_http_body {
    PAG_BODY_NONE,   /* a body is 413 (Content-Length: 0 on GET is fine) */
    PAG_BODY_MEMORY, /* up to body_max, in the arena */
    PAG_BODY_FILE,   /* spooled to a temp file in spool_dir and hashed while it arrives */
};

struct pag_http_route {
    unsigned methods;
    const char *pattern; /* "/v1/blob/{sha256}"; {x} is one non-empty segment; a last {x...} takes the rest */
    unsigned needs;      /* meaning is the listener's; passed to admit */
    enum pag_http_body body;
    size_t body_max;
    void (*handle)(struct pag_http_request *req); /* replies now or later, exactly once, on this thread */
};

struct pag_http_reply;

struct pag_http_config {
    const struct pag_http_route *routes;
    size_t route_n;
    /*
     * Called after the head is parsed, before the body is read (and before 100 Continue). Returns 0 to go on
     * or the status to refuse with (401 and so on; sent without a body). Every request passes here, also on
     * kept connections.
     */
    unsigned (*admit)(struct pag_http_request *req);
    /*
     * Shows a refusal by the core itself (no such path or method, limits, bytes that are no request) in the
     * listener's own way: may set content_type, body, etag and header, keeping what header holds already.
     * body comes as a sentence, or empty for a refusal by admit. No route, and no user, when it did not come
     * so far. NULL: plain text.
     */
    void (*refusal)(struct pag_http_request *req, struct pag_http_reply *reply);
    /* Called when a reply begins, with its status and the microseconds since the head was complete. May be
     * NULL. */
    void (*answered)(const struct pag_http_request *req, unsigned status, uint64_t us);
    void *ctx;
    struct pag_tls *tls;   /* NULL: plain */
    const char *spool_dir; /* for PAG_BODY_FILE */
    struct pag_log *log;
    /* limits; 0 takes the default in brackets */
    uint32_t header_bytes;    /* whole head [16384]; a line is at most half of it */
    uint32_t header_ms;       /* from accept or first byte to complete head [10000] */
    uint32_t handshake_ms;    /* [20000]: small devices sign slowly */
    uint32_t idle_ms;         /* kept connection without a request [75000] */
    uint32_t body_rate;       /* least bytes a second of a body over 5 s [256] */
    uint32_t write_ms;        /* no progress in sending [30000] */
    uint32_t connections_max; /* a thread [20000] */
    uint32_t per_address_max; /* connections of one address a thread without a certificate [64]; loopback is
                                 exempt */
    bool legacy_target;       /* spaces in a query as they are: pag_http_parse_head_spaced */
    bool quirk_close_fast; /* FIN right after the last byte was accepted by the kernel even if kept alive */
};

struct pag_http; /* immutable after new, shared */
struct pag_http_listener;

enum pag_err pag_http_new(const struct pag_http_config *config, struct pag_http **out, struct pag_fail *why);
/* NULL is fine. Closes what is still attached: call it when the loops do not run any more, before they are
 * freed. Nothing may reply afterwards. SIGPIPE is ignored in the process from pag_http_new on. */
void pag_http_free(struct pag_http *http);

/* Binds address:port (SO_REUSEPORT) on this loop. port 0: the kernel picks; read it back, other threads use
 * it. */
enum pag_err pag_http_attach(struct pag_http *http, struct pag_loop *loop, const char *address, uint16_t port,
                             void *thread_ctx, struct pag_http_listener **out, struct pag_fail *why);
uint16_t pag_http_port(const struct pag_http_listener *l);
/* Stops accepting and closes idle connections; finish_ms later closes the rest. On the loop's thread. *l
 * frees itself with its last connection: do not use it again. */
void pag_http_detach(struct pag_http_listener *l, uint32_t finish_ms);

/* ---- reading a request ---- */
struct pag_span pag_http_header_get(const struct pag_http_request *req,
                                    const char *name); /* first; {NULL,0} absent */
/* Value of a query parameter, percent-decoded into the arena ('+' kept as '+'). False when absent. */
bool pag_http_query_get(struct pag_http_request *req, const char *name, struct pag_span *value);
/* Percent-decodes a path parameter. PAG_E_SYNTAX for %00, '/' or bad escapes. */
enum pag_err pag_http_decode(struct pag_http_request *req, struct pag_span in, struct pag_span *out);

/*
 * What If-Match and If-None-Match say about the present state (etag: quoted strong tag, NULL: there is none):
 * 0 to go on, 304 or 412 to reply. pag_http_reply and pag_http_reply_file ask it themselves for GET and HEAD;
 * a handler that changes something asks before it does.
 */
unsigned pag_http_precondition(const struct pag_http_request *req, const char *etag);

/* ---- replying: exactly one of these per request, on the request's thread ---- */
struct pag_http_reply {
    unsigned status;
    const char *content_type; /* NULL: none */
    struct pag_span body;     /* copied only if not in the arena: it must live in the arena or be static */
    struct pag_http_header
        *header; /* extra headers; names and values are checked for CR, LF and control bytes */
    size_t header_n;
    const char *etag; /* quoted strong tag or NULL: answers If-None-Match with 304, If-Match with 412 */
    bool close;       /* close after this reply */
    bool expects;     /* the same request follows on this connection: quirk_close_fast does not count */
};
void pag_http_reply(struct pag_http_request *req, const struct pag_http_reply *reply);

/* Sends bytes [0, bytes) of an open file by sendfile (TLS: in records). Range, If-Range, HEAD, 206 and 416
 * are done here. */
struct pag_http_file {
    int fd; /* taken over: closed by the core */
    uint64_t bytes;
    const char *content_type;
    const char *etag;
    struct pag_http_header *header;
    size_t header_n;
    bool no_range; /* Range is ignored, as for HTTP/1.0 */
    bool close;    /* close after this reply */
    /*
     * Called on this thread when the fate of the reply is known: sent = body bytes accepted by the kernel.
     * complete: the peer's system has acknowledged all of them, and has not reset the connection before this
     * was seen. A next request on the connection waits until then; a peer that acknowledges nothing for
     * write_ms is cut off. Without TLS, on a connection that closes with this reply, it is called after the
     * close. May be NULL.
     */
    void (*done)(void *ctx, uint64_t first, uint64_t sent, bool complete);
    void *done_ctx;
};
void pag_http_reply_file(struct pag_http_request *req, const struct pag_http_file *file);

/* ---- counters for /metrics ---- */
struct pag_http_stats {
    uint64_t accepted, open, requests, status_class[6], bytes_sent, refused_limit, timeouts;
};
/* Sum over all attached threads; relaxed reads, any thread. */
struct pag_http_stats pag_http_stats_get(const struct pag_http *http);

#endif
