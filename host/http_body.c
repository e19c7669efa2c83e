#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): O_TMPFILE */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/http_priv.h"

static bool spool_open(struct pag_http_exchange *ex)
{
    const char *dir = ex->conn->l->http->config.spool_dir;
    if (dir == NULL) {
        return false;
    }
    ex->req.body_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (ex->req.body_fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        char *path = pag_arena_printf(ex->req.arena, "%s/body-XXXXXX", dir);
        ex->req.body_fd = path == NULL ? -1 : mkostemp(path, O_CLOEXEC);
        if (ex->req.body_fd >= 0) {
            (void)unlink(path);
        }
    }
    ex->hash = EVP_MD_CTX_new();
    return ex->req.body_fd >= 0 && ex->hash != NULL && EVP_DigestInit_ex(ex->hash, EVP_sha256(), NULL) == 1;
}

static void send_continue(struct pag_http_exchange *ex)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct pag_http_conn *c = ex->conn;
    size_t done = 0;
    if (c->in_n > c->in_at) {
        return; /* the client did not wait */
    }
    /* 25 bytes into an empty socket buffer: if they do not fit, the client goes on by its own timer. */
    if (c->tls != NULL) {
        (void)pag_tls_write(c->tls, (const uint8_t *)text, sizeof(text) - 1, &done);
    } else {
        (void)send(c->watch.fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
    }
}

unsigned pag_http_body_begin(struct pag_http_exchange *ex)
{
    const struct pag_http_route *route = ex->req.route;
    bool is_chunked = ex->meta.framing == PAG_FRAME_CHUNKED;
    if (route->body == PAG_BODY_NONE || (!is_chunked && ex->meta.content_length > route->body_max)) {
        return 413;
    }
    ex->body_left = ex->meta.content_length;
    if (route->body == PAG_BODY_FILE && !spool_open(ex)) {
        return 500;
    }
    if (route->body == PAG_BODY_MEMORY) {
        size_t first = is_chunked ? 4096 : (size_t)ex->meta.content_length;
        /* A chunked body grows by doubling: all its buffers together stay below twice the largest. */
        pag_arena_raise(ex->req.arena, is_chunked ? route->body_max * 4 + 16384 : first + 16);
        ex->body = pag_arena_raw(ex->req.arena, first);
        ex->body_cap = first;
        if (ex->body == NULL) {
            return 500;
        }
    }
    if (ex->meta.expect_continue) {
        send_continue(ex);
    }
    return 0;
}

static unsigned store_file(struct pag_http_exchange *ex, struct pag_span data)
{
    if (EVP_DigestUpdate(ex->hash, data.p, data.n) != 1) {
        return 500;
    }
    while (data.n > 0) {
        ssize_t r = write(ex->req.body_fd, data.p, data.n);
        if (r < 0 && errno != EINTR) {
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? 507 : 500;
        }
        data.p += r > 0 ? r : 0;
        data.n -= r > 0 ? (size_t)r : 0;
    }
    return 0;
}

static unsigned store_memory(struct pag_http_exchange *ex, struct pag_span data)
{
    size_t used = (size_t)ex->req.body_bytes;
    if (data.n > ex->body_cap - used) {
        size_t cap = ex->body_cap;
        while (cap - used < data.n) {
            cap *= 2;
        }
        uint8_t *bigger = pag_arena_raw(ex->req.arena, cap);
        if (bigger == NULL) {
            return 413;
        }
        memcpy(bigger, ex->body, used);
        ex->body = bigger;
        ex->body_cap = cap;
    }
    if (data.n > 0 && ex->body + used != data.p) { /* equal: received in place */
        memcpy(ex->body + used, data.p, data.n);
    }
    return 0;
}

/* Content bytes of the body. 0, or the status to refuse with. */
static unsigned store(struct pag_http_exchange *ex, struct pag_span data)
{
    const struct pag_http_route *route = ex->req.route;
    if (data.n > route->body_max - ex->req.body_bytes) {
        return 413;
    }
    unsigned status = route->body == PAG_BODY_FILE ? store_file(ex, data) : store_memory(ex, data);
    ex->req.body_bytes += data.n;
    return status;
}

/* Keeps bytes behind a chunked body for the next request, without moving the head under the handler. */
static bool keep_rest(struct pag_http_exchange *ex, struct pag_span rest)
{
    struct pag_http_conn *c = ex->conn;
    if (rest.n == 0) {
        return true;
    }
    if (c->in_cap - c->in_n < rest.n) {
        uint8_t *fresh = malloc(rest.n);
        if (fresh == NULL) {
            return false;
        }
        ex->held = c->in;
        c->in = fresh;
        c->in_cap = rest.n;
        c->in_n = 0;
        c->in_at = 0;
    }
    memcpy(c->in + c->in_n, rest.p, rest.n);
    c->in_n += rest.n;
    return true;
}

/* Decodes from *in as far as it goes. PAG_OK: the body has ended. */
static enum pag_err take_chunks(struct pag_http_exchange *ex, struct pag_span *in, unsigned *status)
{
    enum pag_err err = PAG_E_SHORT;
    struct pag_span data = { NULL, 1 };
    while (err == PAG_E_SHORT && (in->n > 0 || data.n > 0)) {
        err = pag_http_chunks_next(&ex->chunks, in, &data);
        unsigned no = err == PAG_E_SYNTAX ? 400 : store(ex, data);
        if (no != 0) {
            *status = no;
            return PAG_E_SYNTAX;
        }
    }
    return err;
}

static enum pag_err step_chunked(struct pag_http_exchange *ex, unsigned *status)
{
    struct pag_http_conn *c = ex->conn;
    struct pag_span in = { c->in + c->in_at, c->in_n - c->in_at };
    enum pag_err err = take_chunks(ex, &in, status);
    c->in_at = c->in_n - in.n;
    while (err == PAG_E_SHORT) {
        size_t got = 0;
        enum pag_err io = pag_http_recv(c, c->l->scratch, 16384, &got);
        if (io != PAG_OK) {
            return io;
        }
        ex->window_bytes += got;
        in = (struct pag_span){ c->l->scratch, got };
        err = take_chunks(ex, &in, status);
        if (err == PAG_OK && !keep_rest(ex, in)) {
            return PAG_E_CLOSED;
        }
    }
    return err;
}

static enum pag_err step_length(struct pag_http_exchange *ex, unsigned *status)
{
    struct pag_http_conn *c = ex->conn;
    size_t here = c->in_n - c->in_at;
    struct pag_span data = { c->in + c->in_at, here < ex->body_left ? here : (size_t)ex->body_left };
    c->in_at += data.n;
    for (;;) {
        *status = store(ex, data);
        if (*status != 0) {
            return PAG_E_SYNTAX;
        }
        ex->body_left -= data.n;
        if (ex->body_left == 0) {
            return PAG_OK;
        }
        bool in_place = ex->req.route->body == PAG_BODY_MEMORY;
        uint8_t *to = in_place ? ex->body + ex->req.body_bytes : c->l->scratch;
        size_t room = in_place || ex->body_left < PAG_HTTP_SCRATCH ? (size_t)ex->body_left : PAG_HTTP_SCRATCH;
        size_t got = 0;
        enum pag_err err = pag_http_recv(c, to, room, &got);
        if (err != PAG_OK) {
            return err;
        }
        ex->window_bytes += got;
        data = (struct pag_span){ to, got };
    }
}

enum pag_err pag_http_body_step(struct pag_http_exchange *ex, unsigned *status)
{
    bool is_chunked = ex->meta.framing == PAG_FRAME_CHUNKED;
    enum pag_err err = is_chunked ? step_chunked(ex, status) : step_length(ex, status);
    if (err != PAG_OK) {
        return err;
    }
    if (ex->req.route->body == PAG_BODY_MEMORY) {
        ex->req.body = (struct pag_span){ ex->body, (size_t)ex->req.body_bytes };
    } else if (EVP_DigestFinal_ex(ex->hash, ex->req.body_sha256, NULL) != 1 ||
               lseek(ex->req.body_fd, 0, SEEK_SET) != 0) {
        *status = 500;
        return PAG_E_IO;
    }
    return PAG_OK;
}

void pag_http_exchange_end(struct pag_http_exchange *ex)
{
    struct pag_http_out *out = &ex->out;
    if (out->done != NULL) { /* the reply was not sent whole */
        pag_http_out_done(ex, false);
    }
    if (out->fd >= 0) {
        (void)close(out->fd);
    }
    if (ex->req.body_fd >= 0) {
        (void)close(ex->req.body_fd);
    }
    EVP_MD_CTX_free(ex->hash);
    free(ex->held);
    pag_arena_close(ex->req.arena);
}
