#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): accept4 */
#include "host/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "host/http_priv.h"

enum { ACCEPTS_A_TURN = 64, BACKLOG = 4096, PAUSE_MS = 100, POOL_KEEP = 4 << 20 };

static void take_defaults(struct pag_http_config *c)
{
    const struct {
        uint32_t *value;
        uint32_t normal;
    } defaults[] = {
        { &c->header_bytes, 16384 }, { &c->header_ms, 10000 },       { &c->handshake_ms, 20000 },
        { &c->idle_ms, 75000 },      { &c->body_rate, 256 },         { &c->write_ms, 30000 },
        { &c->per_address_max, 64 }, { &c->connections_max, 20000 },
    };
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        if (*defaults[i].value == 0) {
            *defaults[i].value = defaults[i].normal;
        }
    }
}

enum pag_err pag_http_new(const struct pag_http_config *config, struct pag_http **out, struct pag_fail *why)
{
    struct pag_http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for a listener", 0);
    }
    http->config = *config;
    take_defaults(&http->config);
    enum pag_err err = pag_http_router_new(config->routes, config->route_n, &http->router, why);
    if (err != PAG_OK || pthread_mutex_init(&http->lock, NULL) != 0) {
        pag_http_router_free(http->router);
        free(http);
        return err != PAG_OK ? err : pag_fail_set(why, PAG_E_NO_MEMORY, "no mutex", 0);
    }
    (void)signal(SIGPIPE, SIG_IGN); /* sendfile has no MSG_NOSIGNAL */
    *out = http;
    return PAG_OK;
}

/* ---- listeners ---- */

static void add_stats(struct pag_http_stats *sum, const struct pag_http_listener *l)
{
    sum->accepted += atomic_load_explicit(&l->n.accepted, memory_order_relaxed);
    sum->open += atomic_load_explicit(&l->n.open, memory_order_relaxed);
    sum->requests += atomic_load_explicit(&l->n.requests, memory_order_relaxed);
    sum->bytes_sent += atomic_load_explicit(&l->n.bytes_sent, memory_order_relaxed);
    sum->refused_limit += atomic_load_explicit(&l->n.refused_limit, memory_order_relaxed);
    sum->timeouts += atomic_load_explicit(&l->n.timeouts, memory_order_relaxed);
    for (size_t i = 0; i < 6; i++) {
        sum->status_class[i] += atomic_load_explicit(&l->n.status_class[i], memory_order_relaxed);
    }
}

static void stop_accepting(struct pag_http_listener *l)
{
    if (l->watch.fd >= 0) {
        pag_loop_unwatch(l->loop, &l->watch);
        (void)close(l->watch.fd);
        l->watch.fd = -1;
    }
    pag_loop_timer_stop(l->loop, &l->timer);
}

static void listener_free(struct pag_http_listener *l)
{
    struct pag_http *http = l->http;
    stop_accepting(l);
    while (l->conns != NULL) {
        pag_http_conn_free(l->conns);
    }
    (void)pthread_mutex_lock(&http->lock);
    struct pag_http_listener **at = &http->listeners;
    while (*at != NULL && *at != l) {
        at = &(*at)->next;
    }
    if (*at == l) {
        *at = l->next;
        add_stats(&http->past, l);
    }
    (void)pthread_mutex_unlock(&http->lock);
    while (l->idle_in != NULL) {
        uint8_t *p = l->idle_in;
        memcpy(&l->idle_in, p, sizeof(l->idle_in));
        free(p);
    }
    pag_http_addresses_free(l->addresses);
    pag_arena_pool_free(l->pool);
    free(l);
}

void pag_http_free(struct pag_http *http)
{
    if (http == NULL) {
        return;
    }
    while (http->listeners != NULL) {
        listener_free(http->listeners);
    }
    pag_http_router_free(http->router);
    (void)pthread_mutex_destroy(&http->lock);
    free(http);
}

static void on_pause_over(struct pag_loop *loop, struct pag_timer *t)
{
    struct pag_http_listener *l = t->ctx;
    (void)pag_loop_watch(loop, &l->watch, PAG_LOOP_READ);
}

static void on_accept(struct pag_loop *loop, struct pag_watch *w, unsigned events)
{
    (void)events;
    struct pag_http_listener *l = w->ctx;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage from;
        socklen_t n = sizeof(from);
        int fd = accept4(w->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)) {
            return;
        }
        if (fd < 0) { /* out of descriptors or memory: let others finish first */
            pag_log_warn(l->http->config.log, "http.accept_paused", PAG_F_U64("errno", (uint64_t)errno));
            (void)pag_loop_watch(loop, &l->watch, 0);
            pag_loop_timer(loop, &l->timer, PAUSE_MS);
            return;
        }
        if (atomic_load_explicit(&l->n.open, memory_order_relaxed) >= l->http->config.connections_max) {
            pag_http_count(&l->n.refused_limit, 1);
            (void)close(fd);
        } else {
            pag_http_conn_open(l, fd, &from);
        }
    }
}

static socklen_t parse_address(const char *address, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    *out = (struct sockaddr_storage){ 0 };
    if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
        memcpy(out, &in, sizeof(in));
        return sizeof(in);
    }
    if (inet_pton(AF_INET6, address, &in6.sin6_addr) == 1) {
        memcpy(out, &in6, sizeof(in6));
        return sizeof(in6);
    }
    return 0;
}

static enum pag_err bind_socket(struct pag_http_listener *l, const char *address, uint16_t port,
                                struct pag_fail *why)
{
    const int one = 1;
    const int zero = 0;
    struct sockaddr_storage at;
    socklen_t n = parse_address(address, port, &at);
    if (n == 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "listen address is not an IP address", 0);
    }
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    l->watch.fd = fd;
    if (fd < 0) {
        return pag_fail_set(why, PAG_E_IO, "no socket", (uint64_t)errno);
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
    if (at.ss_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
        return pag_fail_set(why, PAG_E_IO, "cannot listen on the port", port);
    }
    struct sockaddr_in in; /* the port is at the same place in both families */
    memcpy(&in, &at, sizeof(in));
    l->port = ntohs(in.sin_port);
    return PAG_OK;
}

/* NOLINTNEXTLINE(readability-function-size): seven plain facts about a listener */
enum pag_err pag_http_attach(struct pag_http *http, struct pag_loop *loop, const char *address, uint16_t port,
                             void *thread_ctx, struct pag_http_listener **out, struct pag_fail *why)
{
    struct pag_http_listener *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for a listener", 0);
    }
    l->http = http;
    l->loop = loop;
    l->thread_ctx = thread_ctx;
    l->watch = (struct pag_watch){ .fd = -1, .on_event = on_accept, .ctx = l };
    l->timer = (struct pag_timer){ .on_fire = on_pause_over, .ctx = l };
    l->pool = pag_arena_pool_new(POOL_KEEP);
    l->addresses = pag_http_addresses_new();
    enum pag_err err = l->pool == NULL || l->addresses == NULL
                           ? pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for a listener", 0)
                           : bind_socket(l, address, port, why);
    if (err == PAG_OK && pag_loop_watch(loop, &l->watch, PAG_LOOP_READ) != PAG_OK) {
        err = pag_fail_set(why, PAG_E_IO, "cannot watch the socket", 0);
    }
    if (err != PAG_OK) {
        listener_free(l);
        return err;
    }
    (void)pthread_mutex_lock(&http->lock);
    l->next = http->listeners;
    http->listeners = l;
    (void)pthread_mutex_unlock(&http->lock);
    *out = l;
    return PAG_OK;
}

uint16_t pag_http_port(const struct pag_http_listener *l)
{
    return l->port;
}

static bool only_waits(const struct pag_http_conn *c)
{
    return (c->phase == PHASE_HEAD && c->in_n == c->in_at) || c->phase == PHASE_HANDSHAKE;
}

/* Closes connections that only wait for a request; with all, the others too. */
static void close_connections(struct pag_http_listener *l, bool all)
{
    struct pag_http_conn *next = NULL;
    for (struct pag_http_conn *c = l->conns; c != NULL; c = next) {
        next = c->next;
        if (c->running || c->gone || (!all && !only_waits(c))) {
            continue;
        }
        pag_http_conn_abort(c);
        if (c->phase == PHASE_CLOSED) {
            pag_http_conn_free(c);
        }
    }
}

static void on_finish_over(struct pag_loop *loop, struct pag_timer *t)
{
    (void)loop;
    struct pag_http_listener *l = t->ctx;
    close_connections(l, true);
    pag_http_conn_ended(l);
}

void pag_http_detach(struct pag_http_listener *l, uint32_t finish_ms)
{
    stop_accepting(l);
    l->detached = true;
    l->timer.on_fire = on_finish_over;
    pag_loop_timer(l->loop, &l->timer, finish_ms);
    close_connections(l, false);
}

void pag_http_conn_ended(struct pag_http_listener *l)
{
    if (l->detached && l->conns == NULL) {
        listener_free(l);
    }
}

/* ---- what all connections of a thread share ---- */

const char *pag_http_date(struct pag_http_listener *l, size_t *n)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    uint64_t key = pag_loop_now_ms(l->loop) / 250 + 1;
    if (key != l->date_key) {
        l->date_key = key;
        struct pag_clock clock = pag_clock_system();
        uint64_t unix_ms = clock.now_unix_ms(clock.ctx);
        char iso[25]; /* 2026-03-01T11:04:10.123Z */
        pag_time_text(unix_ms, iso);
        size_t day = (size_t)((unix_ms / 86400000 + 4) % 7);
        size_t month = (size_t)((iso[5] - '0') * 10 + (iso[6] - '0') - 1);
        char *p = l->date;
        static const char form[] = "Date: xxx, DD Mon YYYY HH:MM:SS GMT\r\n";
        memcpy(p, form, sizeof(form));
        memcpy(p + 6, days + day * 3, 3);
        memcpy(p + 11, iso + 8, 2);
        memcpy(p + 14, months + month * 3, 3);
        memcpy(p + 18, iso, 4);
        memcpy(p + 23, iso + 11, 8);
    }
    *n = 37;
    return l->date;
}

struct pag_http_stats pag_http_stats_get(const struct pag_http *http)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): drops const; only the mutex is written */
    struct pag_http *h = (struct pag_http *)(uintptr_t)http;
    (void)pthread_mutex_lock(&h->lock);
    struct pag_http_stats sum = h->past;
    sum.open = 0;
    for (const struct pag_http_listener *l = h->listeners; l != NULL; l = l->next) {
        add_stats(&sum, l);
    }
    (void)pthread_mutex_unlock(&h->lock);
    return sum;
}
