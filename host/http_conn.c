#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): accept4 and friends */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/http_priv.h"

static void on_event(struct pag_loop *loop, struct pag_watch *w, unsigned events);
static void on_timer(struct pag_loop *loop, struct pag_timer *t);

/* ---- time ---- */

void pag_http_deadline(struct pag_http_conn *c, uint64_t after_ms)
{
    c->deadline_ms = pag_loop_now_ms(c->l->loop) + after_ms;
    if (!c->timer.is_armed || c->timer.due_ms > c->deadline_ms) {
        pag_loop_timer(c->l->loop, &c->timer, after_ms);
    }
}

/* ---- input buffers ---- */

static uint8_t *in_take(struct pag_http_listener *l)
{
    uint8_t *p = l->idle_in;
    if (p == NULL) {
        return malloc(PAG_HTTP_IN_FIRST);
    }
    memcpy(&l->idle_in, p, sizeof(l->idle_in));
    l->idle_in_n--;
    return p;
}

static void in_give(struct pag_http_conn *c)
{
    struct pag_http_listener *l = c->l;
    if (c->in_cap != PAG_HTTP_IN_FIRST || l->idle_in_n >= 256) {
        free(c->in);
    } else if (c->in != NULL) {
        memcpy(c->in, &l->idle_in, sizeof(l->idle_in));
        l->idle_in = c->in;
        l->idle_in_n++;
    }
    c->in = NULL;
    c->in_cap = 0;
    c->in_n = 0;
    c->in_at = 0;
}

/* Moves what is left to the front and makes room for at least one byte more, up to cap bytes in all. */
static bool in_room(struct pag_http_conn *c, size_t cap)
{
    if (c->in == NULL) {
        c->in = in_take(c->l);
        c->in_cap = c->in == NULL ? 0 : PAG_HTTP_IN_FIRST;
        return c->in != NULL;
    }
    if (c->in_at > 0) {
        memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
        c->in_n -= c->in_at;
        c->in_at = 0;
    }
    if (c->in_n < c->in_cap) {
        return true;
    }
    if (c->in_cap >= cap) {
        return false;
    }
    size_t bigger = c->in_cap * 2 > cap ? cap : c->in_cap * 2;
    uint8_t *p = realloc(c->in, bigger);
    if (p == NULL) {
        return false;
    }
    c->in = p;
    c->in_cap = bigger;
    return true;
}

enum pag_err pag_http_recv(struct pag_http_conn *c, uint8_t *buf, size_t n, size_t *got)
{
    if (!c->readable) {
        return PAG_E_AGAIN;
    }
    if (c->tls != NULL) {
        enum pag_err err = pag_tls_read(c->tls, buf, n, got);
        c->readable = err == PAG_OK && pag_tls_has_input(c->tls);
        return err == PAG_E_TLS ? PAG_E_CLOSED : err;
    }
    ssize_t r = recv(c->watch.fd, buf, n, 0);
    if (r > 0) {
        c->readable = (size_t)r == n || c->ending; /* less: it is empty, the next event will tell */
        *got = (size_t)r;
        return PAG_OK;
    }
    if (r < 0 && (errno == EAGAIN || errno == EINTR)) {
        c->readable = errno == EINTR;
        return PAG_E_AGAIN;
    }
    return PAG_E_CLOSED;
}

/* ---- life ---- */

static void address_of(struct pag_http_conn *c, const struct sockaddr_storage *from, bool *is_loopback)
{
    *is_loopback = false;
    if (from->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, c->address, sizeof(c->address));
        memcpy(c->key + 12, &in.sin_addr, 4);
        *is_loopback = c->key[12] == 127;
        return;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, from, sizeof(in6));
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
        memcpy(c->key + 12, in6.sin6_addr.s6_addr + 12, 4);
        (void)inet_ntop(AF_INET, c->key + 12, c->address, sizeof(c->address));
        *is_loopback = c->key[12] == 127;
        return;
    }
    (void)inet_ntop(AF_INET6, &in6.sin6_addr, c->address, sizeof(c->address));
    memcpy(c->key, in6.sin6_addr.s6_addr, 8); /* a /64 is one customer */
    *is_loopback = IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
}

static void uncount(struct pag_http_conn *c)
{
    if (c->counted) {
        pag_http_addresses_remove(c->l->addresses, c->key);
        c->counted = false;
    }
}

void pag_http_conn_open(struct pag_http_listener *l, int fd, const struct sockaddr_storage *from)
{
    const struct pag_http_config *config = &l->http->config;
    struct pag_http_conn *c = calloc(1, sizeof(*c));
    /* Edge-triggered and never changed: no call per request. */
    const unsigned everything = PAG_LOOP_READ | PAG_LOOP_WRITE | PAG_LOOP_HANGUP | PAG_LOOP_EDGE;
    bool is_loopback = false;
    if (c == NULL) {
        (void)close(fd);
        return;
    }
    c->l = l;
    c->watch = (struct pag_watch){ .fd = fd, .on_event = on_event, .ctx = c };
    c->timer = (struct pag_timer){ .on_fire = on_timer, .ctx = c };
    address_of(c, from, &is_loopback);
    if (!is_loopback) {
        c->counted = pag_http_addresses_add(l->addresses, c->key, config->per_address_max);
    }
    if (!is_loopback && !c->counted) {
        pag_http_count(&l->n.refused_limit, 1);
        (void)close(fd);
        free(c);
        return;
    }
    c->tls = config->tls == NULL ? NULL : pag_tls_conn_new(config->tls, fd, &l->io);
    if ((config->tls != NULL && c->tls == NULL) || pag_loop_watch(l->loop, &c->watch, everything) != PAG_OK) {
        pag_tls_conn_free(c->tls);
        uncount(c);
        (void)close(fd);
        free(c);
        return;
    }
    c->next = l->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    l->conns = c;
    pag_http_count(&l->n.accepted, 1);
    pag_http_count(&l->n.open, 1);
    c->phase = c->tls != NULL ? PHASE_HANDSHAKE : PHASE_HEAD;
    pag_http_deadline(c, c->tls != NULL ? config->handshake_ms : config->header_ms);
}

static void close_socket(struct pag_http_conn *c)
{
    if (c->watch.fd < 0) {
        return;
    }
    pag_loop_timer_stop(c->l->loop, &c->timer);
    pag_loop_forget(c->l->loop, &c->watch);
    (void)close(c->watch.fd);
    c->watch.fd = -1;
    uncount(c);
    pag_http_count(&c->l->n.open, UINT64_MAX); /* minus one */
}

void pag_http_conn_free(struct pag_http_conn *c)
{
    struct pag_http_listener *l = c->l;
    close_socket(c);
    if (c->ex != NULL) {
        pag_http_exchange_end(c->ex);
    }
    pag_tls_conn_free(c->tls);
    in_give(c);
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        l->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    free(c);
}

void pag_http_conn_abort(struct pag_http_conn *c)
{
    close_socket(c);
    if (c->ex != NULL && c->phase == PHASE_HANDLER) {
        c->gone = true; /* freed when the reply comes */
    } else {
        c->phase = PHASE_CLOSED;
    }
}

/* ---- phases: each returns true when the next step can go on at once ---- */

static bool step_handshake(struct pag_http_conn *c)
{
    enum pag_err err = pag_tls_handshake(c->tls);
    if (err == PAG_E_AGAIN) {
        c->readable = false;
        return false;
    }
    if (err != PAG_OK) {
        (void)pag_tls_flush(c->tls); /* the alert, if it fits */
        pag_http_conn_abort(c);
        return false;
    }
    if (pag_tls_conn_peer(c->tls)->has_certificate) {
        uncount(c);
    }
    c->phase = PHASE_HEAD;
    c->readable = pag_tls_has_input(c->tls);
    pag_http_deadline(c, c->l->http->config.header_ms);
    return true;
}

static struct pag_http_exchange *exchange_new(struct pag_http_conn *c)
{
    struct pag_arena *arena = pag_arena_open(c->l->pool, PAG_HTTP_ARENA);
    struct pag_http_exchange *ex = arena == NULL ? NULL : pag_arena_raw(arena, sizeof(*ex));
    if (ex == NULL) {
        pag_arena_close(arena);
        pag_http_conn_abort(c);
        return NULL;
    }
    struct pag_http_request *req = &ex->req;
    const size_t after =
        offsetof(struct pag_http_exchange, req.header_n); /* header[] is valid up to header_n */
    memset(ex, 0, offsetof(struct pag_http_exchange, req.header));
    memset((uint8_t *)ex + after, 0, sizeof(*ex) - after);
    ex->conn = c;
    ex->out.fd = -1;
    req->method = PAG_HTTP_GET;
    req->body_fd = -1;
    req->arena = arena;
    req->loop = c->l->loop;
    req->thread_ctx = c->l->thread_ctx;
    req->listener_ctx = c->l->http->config.ctx;
    req->tls = c->tls != NULL;
    req->peer = c->tls != NULL ? pag_tls_conn_peer(c->tls) : NULL;
    memcpy(req->address, c->address, sizeof(req->address));
    c->ex = ex;
    c->used = true;
    c->in_head = false;
    c->phase = PHASE_HANDLER;
    return ex;
}

/* Bytes that never became a request. */
static void refuse_bytes(struct pag_http_conn *c, const struct pag_http_refusal *no)
{
    struct pag_http_exchange *ex = exchange_new(c);
    c->in_at = c->in_n;
    if (ex != NULL) {
        pag_http_refuse(ex, no->status, no->what, false);
    }
}

static void refuse_route(struct pag_http_exchange *ex, unsigned allow)
{
    static const struct {
        unsigned method;
        const char *name;
    } names[] = { { PAG_HTTP_GET, "GET" }, { PAG_HTTP_HEAD, "HEAD" },   { PAG_HTTP_POST, "POST" },
                  { PAG_HTTP_PUT, "PUT" }, { PAG_HTTP_PATCH, "PATCH" }, { PAG_HTTP_DELETE, "DELETE" } };
    bool keep = ex->meta.framing != PAG_FRAME_CHUNKED && ex->meta.content_length == 0;
    if (allow == 0) {
        pag_http_refuse(ex, 404, "no such path", keep);
        return;
    }
    char list[48];
    size_t n = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (allow & names[i].method) {
            size_t length = strlen(names[i].name);
            memcpy(list + n, n == 0 ? "" : ", ", n == 0 ? 0 : 2);
            n += n == 0 ? 0 : 2;
            memcpy(list + n, names[i].name, length);
            n += length;
        }
    }
    struct pag_http_header header = { pag_span_str("Allow"), pag_span_of(list, n) };
    pag_http_refuse_with(
        ex, &(struct pag_http_reply){ .status = 405, .header = &header, .header_n = 1, .close = !keep });
}

/* A whole head is there: parse, route, admission, then the body's limits. */
static void open_request(struct pag_http_conn *c, size_t head_n)
{
    struct pag_http_exchange *ex = exchange_new(c);
    if (ex == NULL) {
        return;
    }
    const struct pag_http_config *config = &c->l->http->config;
    struct pag_span head = { c->in + c->in_at, head_n };
    struct pag_http_refusal no;
    unsigned allow = 0;
    pag_http_count(&c->l->n.requests, 1);
    c->in_at += head_n;
    ex->started_us = config->answered != NULL ? pag_http_now_us() : 0;
    enum pag_err err = config->legacy_target ? pag_http_parse_head_spaced(head, &ex->req, &ex->meta, &no)
                                             : pag_http_parse_head(head, &ex->req, &ex->meta, &no);
    if (err != PAG_OK) {
        pag_http_refuse(ex, no.status, no.what, false);
        return;
    }
    bool has_body = ex->meta.framing == PAG_FRAME_CHUNKED || ex->meta.content_length > 0;
    if (pag_http_router_find(c->l->http->router, &ex->req, &allow) == NULL) {
        refuse_route(ex, allow);
        return;
    }
    unsigned status = config->admit == NULL ? 0 : config->admit(&ex->req);
    if (status != 0) { /* who is known and not allowed, a revoked device above all, is cut off */
        pag_http_refuse(ex, status, NULL, !has_body && status != 403);
        return;
    }
    if (!has_body) {
        ex->req.route->handle(&ex->req);
        return;
    }
    status = pag_http_body_begin(ex);
    if (status != 0) {
        pag_http_refuse(ex, status, status == 413 ? "body too large" : "body cannot be stored", false);
        return;
    }
    c->phase = PHASE_BODY;
    pag_http_deadline(c, PAG_HTTP_RATE_MS);
}

static enum pag_err head_scan(struct pag_http_conn *c, size_t *head_n, struct pag_http_refusal *no)
{
    struct pag_span bytes = { c->in + c->in_at, c->in_n - c->in_at };
    return bytes.n == 0 ? PAG_E_SHORT
                        : pag_http_scan_head(&c->scan, bytes, c->l->http->config.header_bytes, head_n, no);
}

static bool step_head(struct pag_http_conn *c)
{
    size_t head_n = 0;
    struct pag_http_refusal no = { 0 };
    enum pag_err err = head_scan(c, &head_n, &no);
    if (err == PAG_OK) {
        c->scan = (struct pag_http_scan){ 0 };
        open_request(c, head_n);
        return true;
    }
    if (err != PAG_E_SHORT) {
        refuse_bytes(c, &no);
        return true;
    }
    if (c->used && !c->in_head && c->in_n > c->in_at) {
        c->in_head = true; /* the first bytes of a further request: no longer idle */
        pag_http_deadline(c, c->l->http->config.header_ms);
    }
    size_t got = 0;
    if (c->readable && !in_room(c, c->l->http->config.header_bytes)) {
        pag_http_conn_abort(c);
        return false;
    }
    err = pag_http_recv(c, c->in + c->in_n, c->in_cap - c->in_n, &got);
    if (err == PAG_OK) {
        c->in_n += got;
        return true;
    }
    if (err == PAG_E_CLOSED) {
        pag_http_conn_abort(c);
    } else if (c->in_n == c->in_at) {
        in_give(c);
    }
    return false;
}

static bool step_body(struct pag_http_conn *c)
{
    unsigned status = 400;
    enum pag_err err = pag_http_body_step(c->ex, &status);
    if (err == PAG_E_AGAIN) {
        return false;
    }
    if (err == PAG_E_CLOSED) {
        pag_http_conn_abort(c);
        return false;
    }
    c->phase = PHASE_HANDLER;
    if (err != PAG_OK) {
        const char *why = status == 413 ? "body too large" : status == 507 ? "disk full" : "bad body";
        pag_http_refuse(c->ex, status, why, false);
    } else {
        c->ex->req.route->handle(&c->ex->req);
    }
    return true;
}

static void begin_linger(struct pag_http_conn *c)
{
    if (c->tls != NULL) {
        pag_tls_shutdown(c->tls);
    }
    c->phase = PHASE_LINGER;
    c->readable = true;
    pag_http_deadline(c, c->l->http->config.write_ms);
}

static bool closes(const struct pag_http_conn *c)
{
    return c->ex->out.close || c->l->detached;
}

/* After a reply whose fate is known, or that nobody asks after: the next request, or the end. */
static void end_exchange(struct pag_http_conn *c)
{
    bool last = closes(c);
    pag_http_exchange_end(c->ex);
    c->ex = NULL;
    if (last) {
        begin_linger(c);
        return;
    }
    c->phase = PHASE_HEAD;
    c->scan = (struct pag_http_scan){ 0 };
    if (c->in_at == c->in_n) {
        in_give(c);
    }
    pag_http_deadline(c, c->l->http->config.idle_ms);
}

static bool step_send(struct pag_http_conn *c)
{
    enum pag_err err = pag_http_send_step(c);
    if (err == PAG_E_AGAIN) {
        return false;
    }
    if (err != PAG_OK) {
        pag_http_conn_abort(c);
        return false;
    }
    if (c->ex->out.done == NULL) {
        end_exchange(c);
        return true;
    }
    c->unacknowledged = INT_MAX;
    c->moved_ms = pag_loop_now_ms(c->l->loop);
    if (closes(c) && c->tls == NULL) { /* our FIN is no data: it may go out before all has arrived */
        begin_linger(c);
        return true;
    }
    c->phase = PHASE_ARRIVE;
    c->arrive_ms = PAG_HTTP_ARRIVE_MS;
    pag_http_deadline(c, c->arrive_ms);
    return true;
}

/* Bytes that the peer has not acknowledged. Our FIN counts as one: it is no part of the reply. */
static int unacknowledged(const struct pag_http_conn *c)
{
    int n = 0;
    if (ioctl(c->watch.fd, SIOCOUTQ, &n) != 0) {
        return INT_MAX;
    }
    return c->shut && n > 0 ? n - 1 : n;
}

/* A slow peer has the time of write_ms for its next bytes. False: it is over. */
static bool still_moves(struct pag_http_conn *c)
{
    uint64_t now = pag_loop_now_ms(c->l->loop);
    int left = unacknowledged(c);
    if (left < c->unacknowledged) {
        c->unacknowledged = left;
        c->moved_ms = now;
    }
    return now - c->moved_ms <= c->l->http->config.write_ms;
}

/* A peer that has reset the connection leaves its bytes unacknowledged for ever, or is told by on_event. */
static bool step_arrive(struct pag_http_conn *c)
{
    if (unacknowledged(c) > 0) {
        return false;
    }
    pag_http_out_done(c->ex, true);
    end_exchange(c);
    return true;
}

/* True when nothing is left to be told, or now it was. */
static bool arrived(struct pag_http_conn *c)
{
    if (c->ex == NULL) {
        return true;
    }
    if (!c->shut || unacknowledged(c) > 0) {
        return false;
    }
    pag_http_out_done(c->ex, true);
    return true;
}

/* Reads until the peer's FIN, so that closing does not send RST and cut off our last bytes. */
static bool step_linger(struct pag_http_conn *c)
{
    if (!c->shut) {
        enum pag_err err = c->tls != NULL ? pag_tls_flush(c->tls) : PAG_OK;
        if (err == PAG_E_AGAIN) {
            return false;
        }
        c->shut = true;
        (void)shutdown(c->watch.fd, SHUT_WR);
        pag_http_deadline(c, PAG_HTTP_LINGER_MS);
    }
    for (;;) {
        ssize_t r = recv(c->watch.fd, c->l->scratch, PAG_HTTP_SCRATCH, 0);
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0 && errno == EAGAIN) {
            c->readable = false;
            return false;
        }
        if (r == 0 && !arrived(c)) { /* it has nothing more to say, but still reads */
            return false;
        }
        c->linger_bytes += r > 0 ? (size_t)r : 0;
        if (r <= 0 || c->linger_bytes > PAG_HTTP_LINGER_BYTES) {
            pag_http_conn_abort(c);
            return false;
        }
    }
}

static bool step(struct pag_http_conn *c)
{
    switch ((enum pag_http_phase)c->phase) {
    case PHASE_HANDSHAKE:
        return step_handshake(c);
    case PHASE_HEAD:
        return step_head(c);
    case PHASE_BODY:
        return step_body(c);
    case PHASE_SEND:
        return step_send(c);
    case PHASE_ARRIVE:
        return step_arrive(c);
    case PHASE_LINGER:
        return step_linger(c);
    case PHASE_HANDLER:
    case PHASE_CLOSED:
        break;
    }
    return false;
}

void pag_http_conn_run(struct pag_http_conn *c)
{
    if (c->running) {
        return; /* a handler replied inside its call: the loop below goes on */
    }
    c->running = true;
    while (step(c)) {
    }
    if (c->phase != PHASE_CLOSED && !c->gone && c->tls != NULL && pag_tls_flush(c->tls) == PAG_E_CLOSED) {
        pag_http_conn_abort(c);
    }
    c->running = false;
    if (c->phase == PHASE_CLOSED) {
        struct pag_http_listener *l = c->l;
        pag_http_conn_free(c);
        pag_http_conn_ended(l);
    }
}

static void on_event(struct pag_loop *loop, struct pag_watch *w, unsigned events)
{
    (void)loop;
    struct pag_http_conn *c = w->ctx;
    c->readable = c->readable || (events & (PAG_LOOP_READ | PAG_LOOP_HANGUP)) != 0;
    c->ending = c->ending || (events & PAG_LOOP_HANGUP) != 0;
    if (c->tls != NULL) {
        pag_tls_readable(c->tls, c->ending);
    }
    if ((events & PAG_LOOP_DEAD) != 0 && c->phase == PHASE_HANDLER) {
        pag_http_conn_abort(c); /* nobody is there for the reply; its request stays until then */
        return;
    }
    if ((events & PAG_LOOP_DEAD) != 0 && c->phase == PHASE_ARRIVE) {
        pag_http_conn_abort(c); /* reset before it had confirmed everything, or at once after: not complete */
    }
    pag_http_conn_run(c);
}

/* Looks again later. False: the peer has what it gets, or has stalled. */
static bool still_arriving(struct pag_http_conn *c)
{
    if (c->phase == PHASE_ARRIVE && unacknowledged(c) > 0 && still_moves(c)) {
        c->arrive_ms = c->arrive_ms >= PAG_HTTP_ARRIVE_MAX_MS ? c->arrive_ms : c->arrive_ms * 2;
        pag_http_deadline(c, c->arrive_ms);
        return true;
    }
    if (c->phase == PHASE_LINGER && c->shut && !arrived(c) && still_moves(c)) {
        pag_http_deadline(c, PAG_HTTP_LINGER_MS);
        return true;
    }
    return false;
}

static void on_timeout(struct pag_http_conn *c)
{
    const struct pag_http_config *config = &c->l->http->config;
    if (c->phase == PHASE_BODY &&
        c->ex->window_bytes >= (uint64_t)config->body_rate * PAG_HTTP_RATE_MS / 1000) {
        c->ex->window_bytes = 0;
        pag_http_deadline(c, PAG_HTTP_RATE_MS);
        return;
    }
    if (c->phase == PHASE_HANDLER || still_arriving(c)) {
        return;
    }
    if (c->phase == PHASE_ARRIVE && unacknowledged(c) == 0) {
        pag_http_conn_run(c);
        return;
    }
    c->running = true; /* a reply made here only starts to be sent by the run at the end */
    bool is_idle = c->phase == PHASE_HEAD && c->in_n == c->in_at;
    if (!is_idle && c->phase != PHASE_LINGER) {
        pag_http_count(&c->l->n.timeouts, 1);
    }
    if (c->phase == PHASE_BODY) {
        c->phase = PHASE_HANDLER;
        pag_http_refuse(c->ex, 408, "body too slow", false);
    } else if (c->phase == PHASE_HEAD && !is_idle) {
        refuse_bytes(c, &(struct pag_http_refusal){ 408, "head too slow" });
    } else if (is_idle) {
        begin_linger(c);
    } else {
        pag_http_conn_abort(c);
    }
    c->running = false;
    pag_http_conn_run(c);
}

static void on_timer(struct pag_loop *loop, struct pag_timer *t)
{
    struct pag_http_conn *c = t->ctx;
    uint64_t now = pag_loop_now_ms(loop);
    if (now < c->deadline_ms) {
        pag_loop_timer(loop, t, c->deadline_ms - now);
    } else {
        on_timeout(c);
    }
}
