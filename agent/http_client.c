#include "agent/http_client.h"

#include "core/bytes.h"
#include "core/mem.h"

/* ---- reply head ---- */

void pag_httpc_parser_begin(struct pag_httpc_parser *p)
{
    memset(p, 0, sizeof *p);
}

static bool is_token(uint8_t c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        return true;
    }
    for (size_t i = 0; i + 1 < sizeof others; i++) {
        if ((uint8_t)others[i] == c) {
            return true;
        }
    }
    return false;
}

static bool is_field_byte(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7F);
}

static struct pag_span trimmed(struct pag_span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

static enum pag_err read_status(struct pag_httpc_parser *p, struct pag_span line)
{
    if (line.n < 12 || !pag_span_starts(line, "HTTP/1.") || (line.p[7] != '0' && line.p[7] != '1') ||
        line.p[8] != ' ' || (line.n > 12 && line.p[12] != ' ')) {
        return PAG_E_SYNTAX;
    }
    uint32_t status = 0;
    enum pag_err err = pag_parse_u32(pag_span_of(line.p + 9, 3), &status);
    if (err != PAG_OK || status < 100 || status > 599) {
        return PAG_E_SYNTAX;
    }
    memset(&p->reply, 0, sizeof p->reply);
    p->reply.status = (uint16_t)status;
    p->reply.close = line.p[7] == '0';
    p->interim = status < 200;
    p->has_status = true;
    p->has_length = false;
    return status == 101 ? PAG_E_UNSUPPORTED : PAG_OK;
}

/* "bytes 100-199/200" */
static enum pag_err read_range(struct pag_httpc_reply *r, struct pag_span v)
{
    if (!pag_span_starts(v, "bytes ")) {
        return PAG_E_SYNTAX;
    }
    struct pag_span rest = pag_span_of(v.p + 6, v.n - 6);
    size_t slash = pag_span_find(rest, 0, '/');
    size_t dash = pag_span_find(rest, 0, '-');
    if (slash >= rest.n) {
        return PAG_E_SYNTAX;
    }
    if (pag_span_starts(rest, "*/")) { /* of a 416: says only how long the thing is */
        return pag_parse_u32(pag_span_of(rest.p + 2, rest.n - 2), &r->range_total);
    }
    if (dash >= slash) {
        return PAG_E_SYNTAX;
    }
    enum pag_err err = pag_parse_u32(pag_span_of(rest.p, dash), &r->range_from);
    if (err == PAG_OK) {
        err = pag_parse_u32(pag_span_of(rest.p + dash + 1, slash - dash - 1), &r->range_to);
    }
    if (err == PAG_OK) {
        err = pag_parse_u32(pag_span_of(rest.p + slash + 1, rest.n - slash - 1), &r->range_total);
    }
    if (err == PAG_OK && (r->range_from > r->range_to || r->range_to >= r->range_total)) {
        err = PAG_E_SYNTAX;
    }
    r->has_range = err == PAG_OK;
    return err;
}

static enum pag_err read_field(struct pag_httpc_parser *p, struct pag_span name, struct pag_span value)
{
    uint32_t v = 0;
    if (pag_span_eq_nocase(name, "content-length")) {
        if (p->has_length || pag_parse_u32(value, &v) != PAG_OK) {
            return PAG_E_SYNTAX;
        }
        p->has_length = true;
        p->reply.length = v;
    } else if (pag_span_eq_nocase(name, "transfer-encoding") ||
               pag_span_eq_nocase(name, "content-encoding")) {
        return PAG_E_UNSUPPORTED;
    } else if (pag_span_eq_nocase(name, "content-range")) {
        return read_range(&p->reply, value);
    } else if (pag_span_eq_nocase(name, "retry-after")) {
        if (pag_parse_u32(value, &v) == PAG_OK) {
            p->reply.retry_after_s = v;
        }
    } else if (pag_span_eq_nocase(name, "connection")) {
        p->reply.close = p->reply.close || pag_span_eq_nocase(value, "close");
    }
    return PAG_OK;
}

static enum pag_err read_header(struct pag_httpc_parser *p, struct pag_span line)
{
    size_t colon = pag_span_find(line, 0, ':');
    if (colon == 0 || colon >= line.n) {
        return PAG_E_SYNTAX;
    }
    for (size_t i = 0; i < line.n; i++) {
        if (i < colon ? !is_token(line.p[i]) : !is_field_byte(line.p[i])) {
            return PAG_E_SYNTAX;
        }
    }
    if (++p->header_n > PAG_HTTPC_HEADERS_MAX) {
        return PAG_E_LIMIT;
    }
    return read_field(p, pag_span_of(line.p, colon),
                      trimmed(pag_span_of(line.p + colon + 1, line.n - colon - 1)));
}

/* PAG_OK: that was the empty line of a final reply. */
static enum pag_err end_of_head(struct pag_httpc_parser *p)
{
    if (!p->has_status) {
        return PAG_E_SYNTAX;
    }
    if (p->interim) {
        p->has_status = false;
        return PAG_E_SHORT;
    }
    if (p->reply.status == 204 || p->reply.status == 304) {
        return p->has_length && p->reply.status == 204 && p->reply.length != 0
                   ? PAG_E_SYNTAX
                   : (p->reply.length = 0, PAG_OK);
    }
    return p->has_length ? PAG_OK : PAG_E_SYNTAX;
}

static enum pag_err take_line(struct pag_httpc_parser *p)
{
    struct pag_span line = pag_span_of(p->line, p->line_n);
    p->line_n = 0;
    if (line.n == 0) {
        return end_of_head(p);
    }
    enum pag_err err = p->has_status ? read_header(p, line) : read_status(p, line);
    return err == PAG_OK ? PAG_E_SHORT : err;
}

static enum pag_err take_byte(struct pag_httpc_parser *p, uint8_t c)
{
    if (++p->head_n > PAG_HTTPC_HEAD_MAX) {
        return PAG_E_LIMIT;
    }
    if (p->after_cr) {
        p->after_cr = false;
        return c == '\n' ? take_line(p) : PAG_E_SYNTAX;
    }
    if (c == '\r') {
        p->after_cr = true;
        return PAG_E_SHORT;
    }
    if (c == '\n' || c == 0) {
        return PAG_E_SYNTAX;
    }
    if (p->line_n == sizeof p->line) {
        return PAG_E_LIMIT;
    }
    p->line[p->line_n++] = c;
    return PAG_E_SHORT;
}

enum pag_err pag_httpc_parser_feed(struct pag_httpc_parser *p, struct pag_span in, size_t *used)
{
    enum pag_err err = PAG_E_SHORT;
    size_t i = 0;
    while (i < in.n && err == PAG_E_SHORT) {
        err = take_byte(p, in.p[i++]);
    }
    *used = i;
    return err;
}

/* ---- request ---- */

enum pag_err pag_httpc_request_put(struct pag_buf *out, const struct pag_httpc_request *r)
{
    size_t start = out->n;
    enum pag_err err = pag_buf_put_str(out, r->method);
    err = err == PAG_OK ? pag_buf_put_str(out, " ") : err;
    err = err == PAG_OK ? pag_buf_put_str(out, r->path) : err;
    err = err == PAG_OK ? pag_buf_put_str(out, " HTTP/1.1\r\nHost: ") : err;
    err = err == PAG_OK ? pag_buf_put_str(out, r->host) : err;
    err = err == PAG_OK ? pag_buf_put_str(out, ":") : err;
    err = err == PAG_OK ? pag_buf_put_dec(out, r->port) : err;
    if (err == PAG_OK && r->has_range) {
        err = pag_buf_put_str(out, "\r\nRange: bytes=");
        err = err == PAG_OK ? pag_buf_put_dec(out, r->range_from) : err;
        err = err == PAG_OK ? pag_buf_put_str(out, "-") : err;
        err = err == PAG_OK ? pag_buf_put_dec(out, r->range_to) : err;
    }
    if (err == PAG_OK && r->body.n > 0) {
        err = pag_buf_put_str(out, "\r\nContent-Type: application/cbor\r\nContent-Length: ");
        err = err == PAG_OK ? pag_buf_put_dec(out, r->body.n) : err;
    }
    err = err == PAG_OK ? pag_buf_put_str(out, "\r\nUser-Agent: pagurus-agent/1\r\n\r\n") : err;
    err = err == PAG_OK ? pag_buf_put(out, r->body) : err;
    if (err != PAG_OK) {
        out->n = start;
    }
    return err;
}

/* ---- connection ---- */

void pag_httpc_init(struct pag_httpc *h, const struct pag_port *port)
{
    memset(h, 0, sizeof *h);
    h->port = port;
}

enum pag_err pag_httpc_open(struct pag_httpc *h, const char *host, uint16_t port,
                            const struct pag_net_trust *trust)
{
    pag_httpc_close(h);
    enum pag_err err = h->port->net.open(h->port->ctx, host, port, trust, &h->conn);
    h->open = err == PAG_OK;
    return err;
}

enum pag_err pag_httpc_ready(struct pag_httpc *h)
{
    if (!h->open) {
        return PAG_E_CLOSED;
    }
    if (h->ready) {
        return PAG_OK;
    }
    enum pag_err err = h->port->net.ready(h->port->ctx, &h->conn);
    h->ready = err == PAG_OK;
    return err;
}

enum pag_err pag_httpc_send(struct pag_httpc *h, struct pag_span request)
{
    if (h->sent == 0) {
        pag_httpc_parser_begin(&h->parser);
        h->in_body = false;
        h->rx_at = 0;
        h->rx_n = 0;
    }
    while (h->sent < request.n) {
        size_t n = request.n - h->sent;
        enum pag_err err = h->port->net.write(h->port->ctx, &h->conn, request.p + h->sent, &n);
        if (err != PAG_OK) {
            return err;
        }
        if (n == 0 || n > request.n - h->sent) {
            return PAG_E_INTERNAL;
        }
        h->sent += (uint32_t)n;
    }
    return PAG_OK;
}

enum pag_err pag_httpc_head(struct pag_httpc *h, struct pag_httpc_reply *out)
{
    size_t n = sizeof h->rx;
    enum pag_err err = h->port->net.read(h->port->ctx, &h->conn, h->rx, &n);
    if (err != PAG_OK) {
        return err;
    }
    if (n == 0 || n > sizeof h->rx) {
        return PAG_E_INTERNAL;
    }
    size_t used = 0;
    err = pag_httpc_parser_feed(&h->parser, pag_span_of(h->rx, n), &used);
    if (err == PAG_E_SHORT) {
        return PAG_E_AGAIN;
    }
    if (err != PAG_OK) {
        return err;
    }
    h->rx_at = (uint8_t)used;
    h->rx_n = (uint8_t)n;
    h->body_left = h->parser.reply.length;
    h->in_body = true;
    h->used = true;
    h->sent = 0;
    *out = h->parser.reply;
    return PAG_OK;
}

enum pag_err pag_httpc_body(struct pag_httpc *h, uint8_t *out, size_t *n)
{
    size_t want = *n < h->body_left ? *n : h->body_left;
    if (want == 0) {
        *n = 0;
        return PAG_OK;
    }
    size_t held = (size_t)(h->rx_n - h->rx_at);
    if (held > 0) {
        want = want < held ? want : held;
        memcpy(out, h->rx + h->rx_at, want);
        h->rx_at = (uint8_t)(h->rx_at + want);
    } else {
        size_t room = want;
        enum pag_err err = h->port->net.read(h->port->ctx, &h->conn, out, &want);
        if (err != PAG_OK) {
            return err;
        }
        if (want == 0 || want > room) {
            return PAG_E_INTERNAL;
        }
    }
    h->body_left -= (uint32_t)want;
    *n = want;
    return PAG_OK;
}

bool pag_httpc_reusable(const struct pag_httpc *h)
{
    /* Bytes after the body that nobody asked for make the connection useless (response splitting). */
    return h->open && h->ready && h->in_body && h->body_left == 0 && h->rx_at == h->rx_n &&
           !h->parser.reply.close;
}

void pag_httpc_close(struct pag_httpc *h)
{
    const struct pag_port *port = h->port;
    if (h->open) {
        port->net.close(port->ctx, &h->conn);
    }
    pag_httpc_init(h, port);
}
