#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): sendfile */
#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host/http_priv.h"

/* After so many bytes another connection has its turn. */
enum { TURN_BYTES = 2 << 20, SHARED_BYTES = 16384 };

static void took(struct pag_http_conn *c, size_t n)
{
    c->ex->out.at += n;
    pag_http_count(&c->l->n.bytes_sent, n);
    pag_http_deadline(c, c->l->http->config.write_ms);
}

void pag_http_out_done(struct pag_http_exchange *ex, bool complete)
{
    struct pag_http_out *out = &ex->out;
    uint64_t head = out->part[0].n + out->part[1].n;
    uint64_t sent = out->at > head ? out->at - head : 0;
    size_t backlog = ex->conn->tls != NULL ? pag_tls_backlog(ex->conn->tls) : 0;
    if (!complete && backlog > 0) { /* encrypted but still here: not accepted by the kernel */
        sent -= sent < backlog ? sent : backlog;
    }
    if (out->done != NULL) {
        void (*done)(void *, uint64_t, uint64_t, bool) = out->done;
        out->done = NULL;
        done(out->done_ctx, out->file_first, sent, complete);
    }
}

/* ---- plain ---- */

static enum pag_err plain_result(ssize_t r)
{
    if (r >= 0 || errno == EINTR) {
        return PAG_OK;
    }
    return errno == EAGAIN ? PAG_E_AGAIN : PAG_E_CLOSED;
}

static enum pag_err plain_parts(struct pag_http_conn *c)
{
    struct pag_http_out *out = &c->ex->out;
    struct iovec iov[2];
    size_t n = 0;
    uint64_t skip = out->at;
    for (size_t i = 0; i < 2; i++) {
        struct pag_span p = out->part[i];
        if (skip < p.n) {
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): iovec has no const; sendmsg only reads */
            iov[n].iov_base = (void *)(uintptr_t)(p.p + skip);
            iov[n].iov_len = p.n - (size_t)skip;
            n++;
        }
        skip -= skip < p.n ? skip : p.n;
    }
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
    /* A short file shares a segment with its head. A long one does not: its pages would lie across segments.
     */
    uint64_t head = out->part[0].n + out->part[1].n;
    bool more = out->total > head && out->total < SHARED_BYTES;
    int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    /* A reply of one part, every 304 and 204 among them, is spared what the kernel does for a vector. */
    ssize_t r = n == 1 ? send(c->watch.fd, iov[0].iov_base, iov[0].iov_len, flags)
                       : sendmsg(c->watch.fd, &msg, flags);
    if (r > 0) {
        took(c, (size_t)r);
    }
    return plain_result(r);
}

static enum pag_err plain_file(struct pag_http_conn *c, uint64_t head)
{
    struct pag_http_out *out = &c->ex->out;
    off_t at = (off_t)(out->file_first + (out->at - head));
    uint64_t left = out->total - out->at;
    size_t want = left < TURN_BYTES ? (size_t)left : TURN_BYTES;
    ssize_t r = sendfile(c->watch.fd, out->fd, &at, want);
    if (r == 0) {
        return PAG_E_CLOSED; /* the file has shrunk: what was promised cannot be sent */
    }
    if (r > 0) {
        took(c, (size_t)r);
    }
    /* Less than asked for: the socket is full, and will tell when it is not. */
    return r > 0 && (size_t)r < want ? PAG_E_AGAIN : plain_result(r);
}

/* ---- TLS ---- */

/* The next n bytes of the reply, or as many as there are. The same at each call: nothing is taken yet. */
static bool gather(const struct pag_http_out *out, uint8_t *to, size_t n, size_t *got)
{
    uint64_t skip = out->at;
    *got = 0;
    for (size_t i = 0; i < 2; i++) {
        struct pag_span p = out->part[i];
        if (skip < p.n && *got < n) {
            size_t here = p.n - (size_t)skip;
            here = here < n - *got ? here : n - *got;
            memcpy(to + *got, p.p + skip, here);
            *got += here;
        }
        skip -= skip < p.n ? skip : p.n;
    }
    uint64_t head = out->part[0].n + out->part[1].n;
    uint64_t left = out->total - out->at - *got;
    size_t want = left < n - *got ? (size_t)left : n - *got;
    off_t at = (off_t)(out->file_first + (out->at + *got < head ? 0 : out->at + *got - head));
    while (want > 0) {
        ssize_t r = pread(out->fd, to + *got, want, at);
        if (r <= 0 && !(r < 0 && errno == EINTR)) {
            return false;
        }
        *got += r > 0 ? (size_t)r : 0;
        at += r > 0 ? r : 0;
        want -= r > 0 ? (size_t)r : 0;
    }
    return true;
}

static enum pag_err tls_record(struct pag_http_conn *c)
{
    struct pag_http_out *out = &c->ex->out;
    size_t n = pag_tls_record_bytes(c->tls);
    size_t got = 0;
    size_t done = 0;
    if (!gather(out, c->l->scratch, n < PAG_HTTP_SCRATCH ? n : PAG_HTTP_SCRATCH, &got)) {
        return PAG_E_CLOSED;
    }
    enum pag_err err = pag_tls_write(c->tls, c->l->scratch, got, &done);
    if (err == PAG_OK) {
        took(c, done);
    }
    return err == PAG_E_TLS ? PAG_E_CLOSED : err;
}

enum pag_err pag_http_send_step(struct pag_http_conn *c)
{
    struct pag_http_out *out = &c->ex->out;
    uint64_t head = out->part[0].n + out->part[1].n;
    uint64_t turn_ends = out->at + TURN_BYTES;
    while (out->at < out->total) {
        enum pag_err err = c->tls != NULL   ? tls_record(c)
                           : out->at < head ? plain_parts(c)
                                            : plain_file(c, head);
        if (err != PAG_OK) {
            return err;
        }
        if (out->at >= turn_ends && out->at < out->total) {
            pag_loop_again(c->l->loop, &c->watch);
            return PAG_E_AGAIN;
        }
    }
    if (c->tls != NULL && out->done != NULL) { /* complete means that the kernel has it */
        enum pag_err err = pag_tls_flush(c->tls);
        if (err != PAG_OK) {
            return err;
        }
    }
    return PAG_OK;
}
