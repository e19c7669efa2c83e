#include <string.h>
#include <time.h>

#include "core/bytes.h"
#include "host/http_priv.h"

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 303, "See Other" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 411, "Length Required" },
        { 412, "Precondition Failed" },
        { 413, "Content Too Large" },
        { 414, "URI Too Long" },
        { 415, "Unsupported Media Type" },
        { 416, "Range Not Satisfiable" },
        { 417, "Expectation Failed" },
        { 422, "Unprocessable Content" },
        { 428, "Precondition Required" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
        { 507, "Insufficient Storage" },
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Status";
}

/* ---- conditional requests (RFC 9110 13) ---- */

static bool tag_equals(struct pag_span tag, struct pag_span etag, bool weak)
{
    if (tag.n >= 2 && tag.p[0] == 'W' && tag.p[1] == '/') {
        if (!weak) {
            return false;
        }
        tag.p += 2;
        tag.n -= 2;
    }
    return pag_span_eq(tag, etag);
}

/* Whether one of the listed tags, or "*", is etag. */
static bool list_has(struct pag_span list, const char *etag, bool weak)
{
    struct pag_span want = pag_span_str(etag);
    if (pag_span_eq_str(list, "*")) {
        return true;
    }
    size_t at = 0;
    while (at < list.n) {
        while (at < list.n && (list.p[at] == ' ' || list.p[at] == '\t' || list.p[at] == ',')) {
            at++;
        }
        size_t from = at;
        size_t open = pag_span_find(list, from, '"');
        size_t end = open == list.n ? list.n : pag_span_find(list, open + 1, '"');
        at = end == list.n ? list.n : end + 1;
        if (at > from && tag_equals((struct pag_span){ list.p + from, at - from }, want, weak)) {
            return true;
        }
    }
    return false;
}

static bool any_field_has(const struct pag_http_request *req, const char *name, const char *etag, bool weak,
                          bool *present)
{
    bool has = false;
    *present = false;
    for (size_t i = 0; i < req->header_n; i++) {
        if (pag_span_eq_nocase(req->header[i].name, name)) {
            *present = true;
            has = has || (etag != NULL && list_has(req->header[i].value, etag, weak));
        }
    }
    return has;
}

unsigned pag_http_precondition(const struct pag_http_request *req, const char *etag)
{
    bool present = false;
    bool has = any_field_has(req, "if-match", etag, false, &present);
    if (present && !has) {
        return 412;
    }
    has = any_field_has(req, "if-none-match", etag, true, &present);
    if (present && has) {
        return req->method == PAG_HTTP_GET || req->method == PAG_HTTP_HEAD ? 304 : 412;
    }
    return 0;
}

/* ---- the head ---- */

static bool put(struct pag_buf *b, const char *text)
{
    return pag_buf_put_str(b, text) == PAG_OK;
}

static bool put_fields(struct pag_buf *b, const struct pag_http_reply *reply)
{
    for (size_t i = 0; i < reply->header_n; i++) {
        const struct pag_http_header *h = &reply->header[i];
        if (!pag_http_is_token(h->name) || !pag_http_is_value(h->value) ||
            pag_buf_put(b, h->name) != PAG_OK || !put(b, ": ") || pag_buf_put(b, h->value) != PAG_OK ||
            !put(b, "\r\n")) {
            return false;
        }
    }
    return true;
}

static bool put_text_field(struct pag_buf *b, const char *name, const char *value)
{
    if (value == NULL) {
        return true;
    }
    return pag_http_is_value(pag_span_str(value)) && put(b, name) && put(b, value) && put(b, "\r\n");
}

static bool put_status(struct pag_buf *b, unsigned status)
{
    return put(b, "HTTP/1.1 ") && pag_buf_put_dec(b, status) == PAG_OK && put(b, " ") &&
           put(b, reason_of(status)) && put(b, "\r\n");
}

static size_t head_room(const struct pag_http_reply *reply, const char *extra)
{
    size_t room = 384 + (extra == NULL ? 0 : strlen(extra));
    room += reply->content_type == NULL ? 0 : strlen(reply->content_type);
    room += reply->etag == NULL ? 0 : strlen(reply->etag);
    for (size_t i = 0; i < reply->header_n; i++) {
        room += reply->header[i].name.n + reply->header[i].value.n + 4;
    }
    return room;
}

bool pag_http_head_build(struct pag_http_exchange *ex, const struct pag_http_reply *reply, uint64_t content_n,
                         const char *extra)
{
    struct pag_http_listener *l = ex->conn->l;
    size_t room = head_room(reply, extra);
    struct pag_buf b = { pag_arena_raw(ex->req.arena, room), 0, room };
    size_t date_n = 0;
    const char *date = pag_http_date(l, &date_n);
    bool fast = l->http->config.quirk_close_fast && !reply->expects;
    ex->out.close = reply->close || !ex->meta.keep_alive || l->detached || fast;
    bool no_content = reply->status == 204 || reply->status == 304 || reply->status < 200;
    bool ok =
        b.p != NULL && put_status(&b, reply->status) && pag_buf_put(&b, pag_span_of(date, date_n)) == PAG_OK;
    if (ok && !no_content) {
        ok = put(&b, "Content-Length: ") && pag_buf_put_dec(&b, content_n) == PAG_OK && put(&b, "\r\n") &&
             put_text_field(&b, "Content-Type: ", reply->content_type);
    }
    ok = ok && put_text_field(&b, "ETag: ", reply->etag) && put_fields(&b, reply);
    ok = ok && (extra == NULL || put(&b, extra));
    ok = ok && put(&b, ex->out.close ? "Connection: close\r\n\r\n" : "\r\n");
    if (ok) {
        ex->out.part[0] = pag_buf_span(&b);
    }
    return ok;
}

static void build_broken(struct pag_http_exchange *ex)
{
    static const char text[] =
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    ex->out.part[0] = pag_span_of(text, sizeof(text) - 1);
    ex->out.part[1] = pag_span_of(NULL, 0);
    ex->out.close = true;
    pag_log_error(ex->conn->l->http->config.log, "http.reply_broken", PAG_F_SPAN("path", ex->req.path));
}

uint64_t pag_http_now_us(void)
{
    struct timespec now = { 0, 0 };
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The status is read from what is sent, because a condition may have changed it on the way. */
static void tell_answered(const struct pag_http_exchange *ex)
{
    const struct pag_http_config *config = &ex->conn->l->http->config;
    if (config->answered != NULL && ex->started_us != 0) {
        const uint8_t *digit = ex->out.part[0].p + sizeof("HTTP/1.1 ") - 1;
        unsigned status =
            (unsigned)(digit[0] - '0') * 100 + (unsigned)(digit[1] - '0') * 10 + (unsigned)(digit[2] - '0');
        config->answered(&ex->req, status, pag_http_now_us() - ex->started_us);
    }
}

void pag_http_reply_begin(struct pag_http_exchange *ex)
{
    struct pag_http_conn *c = ex->conn;
    struct pag_http_out *out = &ex->out;
    ex->replied = true;
    if (out->part[0].n == 0) {
        build_broken(ex);
        out->total = 0;
    }
    uint8_t digit = out->part[0].p[sizeof("HTTP/1.1 ") - 1];
    pag_http_count(&c->l->n.status_class[digit - '0'], 1);
    tell_answered(ex);
    out->total += out->part[0].n + out->part[1].n;
    c->phase = c->gone ? PHASE_CLOSED : PHASE_SEND;
    if (!c->gone) {
        pag_http_deadline(c, c->l->http->config.write_ms);
    }
    pag_http_conn_run(c);
}

bool pag_http_replied(struct pag_http_exchange *ex)
{
    if (ex->replied) { /* a handler's mistake must not reach another request */
        pag_log_error(ex->conn->l->http->config.log, "http.replied_twice", PAG_F_SPAN("path", ex->req.path));
    }
    return ex->replied;
}

void pag_http_reply(struct pag_http_request *req, const struct pag_http_reply *reply)
{
    struct pag_http_exchange *ex = (struct pag_http_exchange *)(void *)req;
    if (pag_http_replied(ex)) {
        return;
    }
    struct pag_http_reply r = *reply;
    bool is_read = req->method == PAG_HTTP_GET || req->method == PAG_HTTP_HEAD;
    unsigned status = r.status == 200 && is_read && r.etag != NULL ? pag_http_precondition(req, r.etag) : 0;
    if (status != 0) {
        r.status = status;
        r.body = pag_span_of(NULL, 0);
    }
    bool has_content = r.status != 204 && r.status != 304;
    if (pag_http_head_build(ex, &r, r.body.n, NULL) && req->method != PAG_HTTP_HEAD && has_content) {
        ex->out.part[1] = r.body;
    }
    pag_http_reply_begin(ex);
}

void pag_http_refuse(struct pag_http_exchange *ex, unsigned status, const char *what, bool keep)
{
    struct pag_http_reply reply = { .status = status, .close = !keep };
    if (what != NULL) {
        const char *text = pag_arena_printf(ex->req.arena, "%s\n", what);
        reply.body = pag_span_str(text);
        reply.content_type = "text/plain";
    }
    pag_http_refuse_with(ex, &reply);
}

void pag_http_refuse_with(struct pag_http_exchange *ex, struct pag_http_reply *reply)
{
    const struct pag_http_config *config = &ex->conn->l->http->config;
    if (config->refusal != NULL) {
        config->refusal(&ex->req, reply);
    }
    pag_http_reply(&ex->req, reply);
}
