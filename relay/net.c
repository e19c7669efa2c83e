#include "relay/net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/clock.h"

enum { SLICE_MS = 100, BACKLOG = 4 };

uint64_t pag_net_now_ms(void)
{
    struct pag_clock c = pag_clock_system();
    return c.now_ms(c.ctx);
}

struct pag_wait pag_wait_for(uint32_t ms, const atomic_bool *stop)
{
    return (struct pag_wait){ pag_net_now_ms() + ms, stop };
}

static bool stopped(const atomic_bool *stop)
{
    return stop != NULL && atomic_load(stop);
}

bool pag_wait_pause(uint32_t ms, const atomic_bool *stop)
{
    uint64_t end = pag_net_now_ms() + ms;
    for (uint64_t now = pag_net_now_ms(); now < end && !stopped(stop); now = pag_net_now_ms()) {
        uint64_t left = end - now < SLICE_MS ? end - now : SLICE_MS;
        struct timespec t = { 0, (long)left * 1000000L };
        (void)nanosleep(&t, NULL);
    }
    return !stopped(stop);
}

/* Waits for one of up to two descriptors in short slices, so that stop is seen. */
static enum pag_err wait_any(struct pollfd *p, nfds_t n, struct pag_wait wait)
{
    for (;;) {
        uint64_t now = pag_net_now_ms();
        uint64_t left = now < wait.end_ms ? wait.end_ms - now : 0;
        if (stopped(wait.stop)) {
            return PAG_E_CONDITION;
        }
        int got = poll(p, n, (int)(left < SLICE_MS ? left : SLICE_MS));
        if (got > 0) {
            return PAG_OK;
        }
        if (got < 0 && errno != EINTR) {
            return PAG_E_IO;
        }
        if (left == 0) {
            return PAG_E_TIMEOUT;
        }
    }
}

enum pag_err pag_net_readable(int fd, int also, struct pag_wait wait, int *which)
{
    struct pollfd p[2] = { { fd, POLLIN, 0 }, { also, POLLIN, 0 } };
    enum pag_err err = wait_any(p, also < 0 ? 1 : 2, wait);
    if (err == PAG_OK && which != NULL) {
        *which = p[0].revents != 0 ? 0 : 1;
    }
    return err;
}

/* ---- addresses ---- */

static enum pag_err number_of(struct pag_net_address *a)
{
    return getnameinfo((const struct sockaddr *)&a->at, a->n, a->text, sizeof a->text, NULL, 0,
                       NI_NUMERICHOST) == 0
               ? PAG_OK
               : PAG_E_IO;
}

enum pag_err pag_net_resolve(const char *host, uint16_t port, struct pag_net_address *out)
{
    struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    struct pag_net_address a = { .n = 0 };
    char service[6];
    struct pag_buf text = { (uint8_t *)service, 0, sizeof service - 1 };
    (void)pag_buf_put_dec(&text, port);
    service[text.n] = '\0';
    int rc = getaddrinfo(host, service, &want, &list);
    if (rc != 0 || list == NULL) {
        return PAG_E_NOT_FOUND;
    }
    /* These devices speak IPv4 first. */
    const struct addrinfo *best = list;
    for (const struct addrinfo *i = list; i != NULL && best->ai_family != AF_INET; i = i->ai_next) {
        best = i->ai_family == AF_INET ? i : best;
    }
    memcpy(&a.at, best->ai_addr, best->ai_addrlen);
    a.n = best->ai_addrlen;
    freeaddrinfo(list);
    enum pag_err err = number_of(&a);
    if (err == PAG_OK) {
        *out = a;
    }
    return err;
}

/* ---- opening ---- */

static enum pag_err of_errno(int number)
{
    switch (number) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return PAG_E_CLOSED;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return PAG_E_TIMEOUT;
    default:
        return PAG_E_IO;
    }
}

static int open_socket(int family, int type)
{
    return socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void no_delay(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

enum pag_err pag_net_connect(const struct pag_net_address *to, struct pag_wait wait, int *fd)
{
    int s = open_socket(to->at.ss_family, SOCK_STREAM);
    struct pollfd p = { s, POLLOUT, 0 };
    int failed = 0;
    socklen_t n = sizeof failed;
    enum pag_err err = PAG_OK;
    if (s < 0) {
        return PAG_E_IO;
    }
    no_delay(s);
    if (connect(s, (const struct sockaddr *)&to->at, to->n) != 0) {
        err = errno == EINPROGRESS ? wait_any(&p, 1, wait) : of_errno(errno);
    }
    if (err == PAG_OK && (getsockopt(s, SOL_SOCKET, SO_ERROR, &failed, &n) != 0 || failed != 0)) {
        err = of_errno(failed);
    }
    if (err != PAG_OK) {
        (void)close(s);
        return err;
    }
    *fd = s;
    return PAG_OK;
}

static uint16_t port_of(const struct sockaddr_storage *at)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (at->ss_family == AF_INET6) {
        memcpy(&v6, at, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    memcpy(&v4, at, sizeof v4);
    return ntohs(v4.sin_port);
}

enum pag_err pag_net_listen(int family, uint16_t port, int *fd, uint16_t *bound)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    struct sockaddr_storage at;
    socklen_t n = family == AF_INET6 ? sizeof v6 : sizeof v4;
    int on = 1;
    int s = open_socket(family, SOCK_STREAM);
    memset(&at, 0, sizeof at);
    memcpy(&at, family == AF_INET6 ? (const void *)&v6 : (const void *)&v4, n);
    if (s < 0) {
        return PAG_E_IO;
    }
    (void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s, (const struct sockaddr *)&at, n) != 0 || listen(s, BACKLOG) != 0 ||
        getsockname(s, (struct sockaddr *)&at, &n) != 0) {
        (void)close(s);
        return PAG_E_IO;
    }
    *bound = port_of(&at);
    *fd = s;
    return PAG_OK;
}

enum pag_err pag_net_accept(int listener, const struct pag_net_address *from, struct pag_wait wait, int *fd)
{
    for (;;) {
        struct pag_net_address peer = { .n = sizeof peer.at };
        enum pag_err err = pag_net_readable(listener, -1, wait, NULL);
        if (err != PAG_OK) {
            return err;
        }
        int s = accept(listener, (struct sockaddr *)&peer.at, &peer.n);
        if (s < 0) {
            continue;
        }
        if (number_of(&peer) == PAG_OK && strcmp(peer.text, from->text) == 0) {
            *fd = s;
            no_delay(s);
            return PAG_OK;
        }
        (void)close(s); /* firmware is not for whoever calls first */
    }
}

enum pag_err pag_net_udp(const struct pag_net_address *to, int *fd)
{
    int s = open_socket(to->at.ss_family, SOCK_DGRAM);
    if (s < 0) {
        return PAG_E_IO;
    }
    if (connect(s, (const struct sockaddr *)&to->at, to->n) != 0) {
        enum pag_err err = of_errno(errno);
        (void)close(s);
        return err;
    }
    *fd = s;
    return PAG_OK;
}

/* ---- bytes ---- */

enum pag_err pag_net_send(int fd, struct pag_span data, struct pag_wait wait)
{
    size_t at = 0;
    while (at < data.n) {
        ssize_t n = send(fd, data.p + at, data.n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            at += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return of_errno(errno);
        }
        struct pollfd p = { fd, POLLOUT, 0 };
        enum pag_err err = wait_any(&p, 1, wait);
        if (err != PAG_OK) {
            return err;
        }
    }
    return PAG_OK;
}

enum pag_err pag_net_recv(int fd, void *out, size_t cap, struct pag_wait wait, size_t *n)
{
    for (;;) {
        ssize_t got = recv(fd, out, cap, MSG_DONTWAIT);
        if (got > 0) {
            *n = (size_t)got;
            return PAG_OK;
        }
        if (got == 0) {
            return PAG_E_CLOSED;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return of_errno(errno);
        }
        struct pollfd p = { fd, POLLIN, 0 };
        enum pag_err err = wait_any(&p, 1, wait);
        if (err != PAG_OK) {
            return err;
        }
    }
}

enum pag_err pag_net_recv_all(int fd, void *out, size_t n, struct pag_wait wait)
{
    size_t at = 0;
    while (at < n) {
        size_t got = 0;
        enum pag_err err = pag_net_recv(fd, (uint8_t *)out + at, n - at, wait, &got);
        if (err != PAG_OK) {
            return err;
        }
        at += got;
    }
    return PAG_OK;
}
