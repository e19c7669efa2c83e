#ifndef PAG_HOST_HTTP_PRIV_H
#define PAG_HOST_HTTP_PRIV_H

#include <netinet/in.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>

#include "host/http.h"
#include "host/http_parse.h"
#include "host/tls_priv.h"

/*
 * How a connection runs: HANDSHAKE (TLS) -> HEAD -> BODY -> HANDLER -> SEND -> (ARRIVE) -> HEAD … or LINGER
 * -> CLOSED.
 * http_conn.c holds the phases; each event, timer or reply calls pag_http_conn_run, which steps until a phase
 * waits for something.
 */
enum pag_http_phase {
    PHASE_HANDSHAKE,
    PHASE_HEAD,    /* between requests or inside a head */
    PHASE_BODY,    /* route is known, body arrives */
    PHASE_HANDLER, /* the handler has the request; nothing is read */
    PHASE_SEND,
    PHASE_ARRIVE, /* the kernel has the reply; whether the peer gets it is awaited, and nothing is read */
    PHASE_LINGER, /* our FIN is sent, the peer's is awaited */
    PHASE_CLOSED,
};

enum {
    PAG_HTTP_SCRATCH = 65536, /* a thread's buffer for whatever passes through */
    PAG_HTTP_IN_FIRST = 4096, /* first input buffer of a connection */
    PAG_HTTP_ARENA = 8 << 20, /* ceiling of a request's arena beside its body */
    PAG_HTTP_RATE_MS = 5000,  /* window of body_rate */
    PAG_HTTP_LINGER_MS = 3000,
    PAG_HTTP_ARRIVE_MS = 5, /* acknowledgements make no event: looked for after 5 ms, 10, 20 … */
    PAG_HTTP_ARRIVE_MAX_MS = 320,
    PAG_HTTP_LINGER_BYTES = 3 << 20, /* room for the rest of a refused image; its sender should see why */
};

/* What is being sent: two spans, then a part of a file. */
struct pag_http_out {
    struct pag_span part[2];
    uint64_t at;    /* bytes of everything already taken */
    uint64_t total; /* parts and file */
    int fd;         /* -1: none */
    uint64_t file_first;
    bool close;
    void (*done)(void *ctx, uint64_t first, uint64_t sent, bool complete);
    void *done_ctx;
};

struct pag_http_conn;

/* One request and everything that ends with it; lives in the request's arena. */
struct pag_http_exchange {
    struct pag_http_request req; /* first: a handler's pointer is the exchange's */
    struct pag_http_conn *conn;
    struct pag_http_meta meta;
    struct pag_http_chunks chunks;
    uint64_t body_left; /* PAG_FRAME_LENGTH */
    uint8_t *body;      /* PAG_BODY_MEMORY */
    size_t body_cap;
    EVP_MD_CTX *hash; /* PAG_BODY_FILE */
    uint8_t *held;    /* input buffer with this request's head, when the connection has got a new one */
    uint64_t window_bytes;
    uint64_t started_us; /* 0: nobody asked for it */
    struct pag_http_out out;
    bool replied;
};

struct pag_http_conn {
    struct pag_watch watch;
    struct pag_timer timer;
    uint64_t deadline_ms; /* the timer may fire earlier and is then armed again: requests do not touch it */
    struct pag_http_listener *l;
    struct pag_http_conn *prev, *next;
    struct pag_tls_conn *tls;
    struct pag_http_exchange *ex; /* NULL between requests */
    uint8_t *in;                  /* NULL while nothing is buffered */
    size_t in_cap;
    size_t in_n;  /* bytes received */
    size_t in_at; /* start of what is not used up */
    struct pag_http_scan scan;
    size_t linger_bytes;
    int unacknowledged; /* PHASE_ARRIVE, and PHASE_LINGER with an exchange: the least seen, since moved_ms */
    uint64_t moved_ms;
    uint32_t arrive_ms;
    uint8_t phase;
    bool readable; /* the socket may have more */
    bool ending;   /* the peer has sent its FIN: read to the end */
    bool running;
    bool gone;    /* socket closed, the handler still has the request */
    bool in_head; /* of a further request: header_ms runs */
    bool used;    /* a request has been answered */
    bool shut;    /* PHASE_LINGER: our FIN is sent */
    bool counted; /* in the listener's table of addresses */
    uint8_t key[16];
    char address[46];
};

struct pag_http_counters {
    _Atomic uint64_t accepted, open, requests, status_class[6], bytes_sent, refused_limit, timeouts;
};

struct pag_http_addresses;

struct pag_http_listener {
    struct pag_http *http;
    struct pag_loop *loop;
    void *thread_ctx;
    struct pag_watch watch;
    struct pag_timer timer; /* accepting again after a lack of descriptors; end of detach */
    uint16_t port;
    bool detached;
    struct pag_arena_pool *pool;
    struct pag_http_conn *conns;
    struct pag_http_addresses *addresses;
    uint8_t *idle_in; /* input buffers of PAG_HTTP_IN_FIRST bytes, linked through their first bytes */
    size_t idle_in_n;
    uint64_t date_key; /* quarter of a second that date was made in */
    char date[40];     /* "Date: …\r\n" */
    struct pag_http_counters n;
    struct pag_http_listener *next;
    struct pag_tls_io io;
    uint8_t scratch[PAG_HTTP_SCRATCH];
};

struct pag_http_router;

struct pag_http {
    struct pag_http_config config;
    struct pag_http_router *router;
    pthread_mutex_t lock; /* guards what follows */
    struct pag_http_listener *listeners;
    struct pag_http_stats past; /* of listeners that are gone */
};

static inline void pag_http_count(_Atomic uint64_t *counter, uint64_t n)
{
    /* Only the listener's thread writes: no locked instruction. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- http.c ---- */
const char *pag_http_date(struct pag_http_listener *l, size_t *n); /* the Date line */
void pag_http_conn_ended(struct pag_http_listener *l); /* after a connection has left l->conns; may free l */

/* ---- http_conn.c ---- */
void pag_http_conn_open(struct pag_http_listener *l, int fd, const struct sockaddr_storage *from);
void pag_http_conn_run(struct pag_http_conn *c);
void pag_http_conn_abort(
    struct pag_http_conn *c);                     /* closes now; the object lives on while a handler has it */
void pag_http_conn_free(struct pag_http_conn *c); /* listener is going: whatever the state */
void pag_http_deadline(struct pag_http_conn *c, uint64_t after_ms);
/* PAG_OK with *got > 0, PAG_E_AGAIN, PAG_E_CLOSED. */
enum pag_err pag_http_recv(struct pag_http_conn *c, uint8_t *buf, size_t n, size_t *got);

/* ---- http_body.c ---- */
/* Gets ready for the body that the head announced. 0, or the status to refuse with. */
unsigned pag_http_body_begin(struct pag_http_exchange *ex);
/* PAG_OK: complete. PAG_E_AGAIN. PAG_E_CLOSED. Else *status to refuse with. */
enum pag_err pag_http_body_step(struct pag_http_exchange *ex, unsigned *status);
void pag_http_exchange_end(
    struct pag_http_exchange *ex); /* releases everything of a request, also half-built */

/* ---- http_route.c ---- */
enum pag_err pag_http_router_new(const struct pag_http_route *routes, size_t n, struct pag_http_router **out,
                                 struct pag_fail *why);
void pag_http_router_free(struct pag_http_router *r);
/* Sets req->route and req->param. Else NULL with *allow: the methods some route of this path takes, 0: none.
 */
const struct pag_http_route *pag_http_router_find(const struct pag_http_router *r,
                                                  struct pag_http_request *req, unsigned *allow);

/* ---- http_reply.c ---- */
/* CLOCK_MONOTONIC; cached clocks are too coarse to measure an answer. */
uint64_t pag_http_now_us(void);
/* Sends a refusal by the core itself as the listener shows them. */
void pag_http_refuse_with(struct pag_http_exchange *ex, struct pag_http_reply *reply);
/* Refusal by the core itself: text/plain, or no body when what is NULL. Closes unless keep. */
void pag_http_refuse(struct pag_http_exchange *ex, unsigned status, const char *what, bool keep);
/* Head for a reply whose body has content_n bytes. extra: more fields or NULL. False: no memory or bad field.
 */
bool pag_http_head_build(struct pag_http_exchange *ex, const struct pag_http_reply *reply, uint64_t content_n,
                         const char *extra);
bool pag_http_replied(struct pag_http_exchange *ex);     /* a second reply is logged and dropped */
void pag_http_reply_begin(struct pag_http_exchange *ex); /* after ex->out is complete */

/* ---- http_send.c ---- */
void pag_http_out_done(struct pag_http_exchange *ex, bool complete); /* calls out.done once */
enum pag_err pag_http_send_step(struct pag_http_conn *c); /* PAG_OK: all taken; PAG_E_AGAIN; PAG_E_CLOSED */

/* ---- http_address.c: connections an address has open, by IPv4 address or IPv6 /64 ---- */
struct pag_http_addresses *pag_http_addresses_new(void);
void pag_http_addresses_free(struct pag_http_addresses *a);
/* False when the address already has most. */
bool pag_http_addresses_add(struct pag_http_addresses *a, const uint8_t key[16], uint32_t most);
void pag_http_addresses_remove(struct pag_http_addresses *a, const uint8_t key[16]);

#endif
