#include "host/http_parse.h"

#include <string.h>

/* Classes of a byte. */
enum {
    C_TOKEN = 1,  /* RFC 9110 5.6.2 */
    C_VALUE = 2,  /* field content: VCHAR, obs-text, SP, HTAB */
    C_TARGET = 4, /* anything but controls and SP: devices send quotes and the like unescaped */
    C_HOST = 8,   /* RFC 3986 reg-name, IP literal, port */
    C_DIGIT = 16,
};

static unsigned class_of(uint8_t c)
{
    bool alpha = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    bool digit = c >= '0' && c <= '9';
    unsigned is = 0;
    if (alpha || digit || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL)) {
        is |= C_TOKEN;
    }
    if (alpha || digit || (c != 0 && strchr("-._~!$&'()*+,;=:[]%", c) != NULL)) {
        is |= C_HOST;
    }
    if (c == '\t' || (c >= ' ' && c != 0x7f)) {
        is |= C_VALUE;
    }
    if (c > ' ' && c != 0x7f) {
        is |= C_TARGET;
    }
    return digit ? is | C_DIGIT : is;
}

/* The same as a table: this is the hot loop of every request. Checked against class_of by a unit test. */
#define T4(a, b, c, d) (a), (b), (c), (d)
#define X4(x)          T4(x, x, x, x)
#define X16(x)         X4(x), X4(x), X4(x), X4(x)
enum { NV = C_VALUE | C_TARGET, NT = NV | C_TOKEN, NH = NV | C_HOST, NA = NT | C_HOST, ND = NA | C_DIGIT };
static const uint8_t classes[256] = {
    X4(0),
    X4(0),
    T4(0, C_VALUE, 0, 0),
    X4(0),
    X16(0), /* controls, HTAB */
    T4(C_VALUE, NA, NV, NT),
    T4(NA, NA, NA, NA),
    T4(NH, NH, NA, NA),
    T4(NH, NA, NA, NV), /* SP ! " # … / */
    X4(ND),
    X4(ND),
    T4(ND, ND, NH, NH),
    T4(NV, NH, NV, NV), /* 0-9 : ; < = > ? */
    T4(NV, NA, NA, NA),
    X4(NA),
    X4(NA),
    X4(NA), /* @ A-O */
    X4(NA),
    X4(NA),
    T4(NA, NA, NA, NH),
    T4(NV, NH, NT, NA), /* P-Z [ \ ] ^ _ */
    T4(NT, NA, NA, NA),
    X4(NA),
    X4(NA),
    X4(NA), /* ` a-o */
    X4(NA),
    X4(NA),
    T4(NA, NA, NA, NV),
    T4(NT, NV, NA, 0), /* p-z { | } ~ DEL */
    X16(NV),
    X16(NV),
    X16(NV),
    X16(NV),
    X16(NV),
    X16(NV),
    X16(NV),
    X16(NV), /* obs-text */
};

unsigned pag_http_class_check(void);

/* For the unit test: the number of bytes whose row in the table is wrong. */
unsigned pag_http_class_check(void)
{
    unsigned wrong = 0;
    for (unsigned c = 0; c < 256; c++) {
        wrong += class_of((uint8_t)c) != classes[c];
    }
    return wrong;
}

static bool all_of(struct pag_span s, unsigned what)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((classes[s.p[i]] & what) == 0) {
            return false;
        }
    }
    return true;
}

bool pag_http_is_token(struct pag_span s)
{
    return s.n > 0 && all_of(s, C_TOKEN);
}

bool pag_http_is_value(struct pag_span s)
{
    return all_of(s, C_VALUE);
}

static enum pag_err refuse(struct pag_http_refusal *no, unsigned status, const char *what)
{
    *no = (struct pag_http_refusal){ status, what };
    return PAG_E_SYNTAX;
}

/* ---- the end of a head ---- */

static enum pag_err too_long(const struct pag_http_scan *scan, struct pag_http_refusal *no)
{
    return scan->lines == 0 ? refuse(no, 414, "request line too long")
                            : refuse(no, 431, "header line too long");
}

static enum pag_err line_ends(struct pag_http_scan *scan, struct pag_span in, size_t lf, size_t limit,
                              struct pag_http_refusal *no)
{
    if (lf - scan->line >= limit / 2) {
        return too_long(scan, no);
    }
    if (lf >= limit) {
        return refuse(no, 431, "head too large");
    }
    if (lf == scan->line || in.p[lf - 1] != '\r') {
        return refuse(no, 400, "line ends without CR");
    }
    return PAG_OK;
}

enum pag_err pag_http_scan_head(struct pag_http_scan *scan, struct pag_span in, size_t limit, size_t *head_n,
                                struct pag_http_refusal *no)
{
    if (in.n > 0 && (classes[in.p[0]] & C_TOKEN) == 0 && in.p[0] != '\r') {
        return refuse(no, 400, "not a request line"); /* TLS on the plain port, for one */
    }
    while (scan->at < in.n) {
        const uint8_t *lf = memchr(in.p + scan->at, '\n', in.n - scan->at);
        size_t end = lf == NULL ? in.n : (size_t)(lf - in.p);
        scan->at = end;
        if (lf == NULL) {
            break;
        }
        enum pag_err err = line_ends(scan, in, end, limit, no);
        if (err != PAG_OK) {
            return err;
        }
        bool is_empty = end - scan->line == 1;
        scan->at = end + 1;
        scan->line = end + 1;
        if (is_empty && scan->lines > 0) {
            *head_n = scan->at;
            return PAG_OK;
        }
        if (is_empty && end != 1) {
            return refuse(no, 400, "more than one empty line before the request");
        }
        scan->lines += is_empty ? 0 : 1;
    }
    if (scan->at - scan->line >= limit / 2) {
        return too_long(scan, no);
    }
    return scan->at >= limit ? refuse(no, 431, "head too large") : PAG_E_SHORT;
}

/* ---- request line ---- */

static bool is_text(struct pag_span s, const char *text, size_t n)
{
    return s.n == n && memcmp(s.p, text, n) == 0;
}

static bool is_nocase(struct pag_span s, const char *lower, size_t n)
{
    if (s.n != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t c = s.p[i];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)lower[i]) {
            return false;
        }
    }
    return true;
}

#define IS(s, literal)        is_text((s), literal, sizeof(literal) - 1)
#define IS_NOCASE(s, literal) is_nocase((s), literal, sizeof(literal) - 1)

static enum pag_err read_method(struct pag_span s, enum pag_http_method *out, struct pag_http_refusal *no)
{
    static const struct {
        char name[8];
        size_t n;
        enum pag_http_method method;
    } methods[] = {
        { "GET", 3, PAG_HTTP_GET }, { "HEAD", 4, PAG_HTTP_HEAD },   { "POST", 4, PAG_HTTP_POST },
        { "PUT", 3, PAG_HTTP_PUT }, { "PATCH", 5, PAG_HTTP_PATCH }, { "DELETE", 6, PAG_HTTP_DELETE },
    };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (is_text(s, methods[i].name, methods[i].n)) {
            *out = methods[i].method;
            return PAG_OK;
        }
    }
    return pag_http_is_token(s) ? refuse(no, 501, "method not known") : refuse(no, 400, "bad method");
}

static enum pag_err read_version(struct pag_span s, uint8_t *minor, struct pag_http_refusal *no)
{
    if (s.n != 8 || memcmp(s.p, "HTTP/", 5) != 0 || s.p[6] != '.' || (classes[s.p[5]] & C_DIGIT) == 0 ||
        (classes[s.p[7]] & C_DIGIT) == 0) {
        return refuse(no, 400, "bad request line");
    }
    if (s.p[5] != '1' || s.p[7] > '1') {
        return refuse(no, 505, "only HTTP/1.0 and HTTP/1.1");
    }
    *minor = (uint8_t)(s.p[7] - '0');
    return PAG_OK;
}

/* The part of an absolute-form target from its path on; target itself when it is in origin form. */
static struct pag_span origin_part(struct pag_span target)
{
    size_t skip = 0;
    if (target.n > 7 && is_nocase((struct pag_span){ target.p, 7 }, "http://", 7)) {
        skip = 7;
    } else if (target.n > 8 && is_nocase((struct pag_span){ target.p, 8 }, "https://", 8)) {
        skip = 8;
    }
    size_t at = skip;
    while (skip > 0 && at < target.n && (classes[target.p[at]] & C_HOST) != 0) {
        at++;
    }
    if (skip > 0 && at == skip) {
        return (struct pag_span){ NULL, 0 };
    }
    return (struct pag_span){ target.p + at, target.n - at };
}

/* Spaces in the query alone; what is before it is the path. */
static bool is_spaced_target(struct pag_span s)
{
    const uint8_t *mark = memchr(s.p, '?', s.n);
    size_t path_n = mark == NULL ? s.n : (size_t)(mark - s.p);
    struct pag_span query = { s.p + path_n, s.n - path_n };
    for (size_t i = 0; i < query.n; i++) {
        if (query.p[i] != ' ' && (classes[query.p[i]] & C_TARGET) == 0) {
            return false;
        }
    }
    return all_of((struct pag_span){ s.p, path_n }, C_TARGET);
}

static enum pag_err read_target(struct pag_span s, bool spaces, struct pag_http_request *req,
                                struct pag_http_refusal *no)
{
    static const uint8_t root[] = { '/' };
    if (s.n == 0 || !(spaces ? is_spaced_target(s) : all_of(s, C_TARGET))) {
        return refuse(no, 400, "bad request target");
    }
    req->target = s;
    struct pag_span from = origin_part(s);
    if (from.p != NULL && from.n == 0) {
        from = (struct pag_span){ root, 1 };
    }
    if (from.p == NULL || from.p[0] != '/') {
        return refuse(no, 400, "request target is not a path");
    }
    const uint8_t *mark = memchr(from.p, '?', from.n);
    size_t path_n = mark == NULL ? from.n : (size_t)(mark - from.p);
    req->path = (struct pag_span){ from.p, path_n };
    req->query =
        mark == NULL ? (struct pag_span){ NULL, 0 } : (struct pag_span){ mark + 1, from.n - path_n - 1 };
    return PAG_OK;
}

/* spaces: the target ends at the last one. Its length is no matter for framing: the line ends at CR LF. */
static enum pag_err read_request_line(struct pag_span line, bool spaces, struct pag_http_request *req,
                                      struct pag_http_refusal *no)
{
    const uint8_t *first = memchr(line.p, ' ', line.n);
    if (first == NULL) {
        return refuse(no, 400, "bad request line");
    }
    const uint8_t *end = line.p + line.n;
    const uint8_t *second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (second == NULL) { /* HTTP/0.9 has no version; it is not served */
        return refuse(no, 400, "bad request line");
    }
    for (const uint8_t *p = second; spaces && p < end; p++) {
        second = *p == ' ' ? p : second;
    }
    enum pag_err err =
        read_version((struct pag_span){ second + 1, (size_t)(end - second - 1) }, &req->minor, no);
    if (err == PAG_OK) {
        err = read_method((struct pag_span){ line.p, (size_t)(first - line.p) }, &req->method, no);
    }
    if (err == PAG_OK) {
        err = read_target((struct pag_span){ first + 1, (size_t)(second - first - 1) }, spaces, req, no);
    }
    return err;
}

/* ---- header fields ---- */

/* What the fields of one head said about framing; more than one of a kind is refused. */
struct seen {
    unsigned hosts, lengths, encodings;
    bool close;
};

static enum pag_err read_length(struct pag_span v, struct pag_http_meta *meta, struct seen *seen,
                                struct pag_http_refusal *no)
{
    if (seen->lengths++ > 0) {
        return refuse(no, 400, "two Content-Length");
    }
    if (v.n == 0 || v.n > 18 || !all_of(v, C_DIGIT)) {
        return refuse(no, 400, "bad Content-Length");
    }
    uint64_t length = 0;
    for (size_t i = 0; i < v.n; i++) {
        length = length * 10 + (uint64_t)(v.p[i] - '0');
    }
    meta->framing = PAG_FRAME_LENGTH;
    meta->content_length = length;
    return PAG_OK;
}

static void read_connection(struct pag_span v, struct seen *seen)
{
    size_t at = 0;
    while (at < v.n) {
        size_t end = at;
        while (end < v.n && v.p[end] != ',') {
            end++;
        }
        struct pag_span word = { v.p + at, end - at };
        while (word.n > 0 && (word.p[0] == ' ' || word.p[0] == '\t')) {
            word.p++;
            word.n--;
        }
        while (word.n > 0 && (word.p[word.n - 1] == ' ' || word.p[word.n - 1] == '\t')) {
            word.n--;
        }
        seen->close = seen->close || IS_NOCASE(word, "close");
        at = end + 1;
    }
}

static enum pag_err read_expect(struct pag_span v, struct pag_http_meta *meta, struct pag_http_refusal *no)
{
    meta->expect_continue = IS_NOCASE(v, "100-continue");
    return meta->expect_continue ? PAG_OK : refuse(no, 417, "expectation not known");
}

static enum pag_err read_host(struct pag_span v, struct seen *seen, struct pag_http_refusal *no)
{
    return seen->hosts++ > 0 || !all_of(v, C_HOST) ? refuse(no, 400, "bad Host") : PAG_OK;
}

static enum pag_err read_encoding(struct pag_span v, struct pag_http_meta *meta, struct seen *seen,
                                  struct pag_http_refusal *no)
{
    if (seen->encodings++ > 0 || !IS_NOCASE(v, "chunked")) {
        return refuse(no, 400, "bad Transfer-Encoding");
    }
    meta->framing = PAG_FRAME_CHUNKED;
    return PAG_OK;
}

/* The fields that the connection itself cares about; most names are sorted out by their length. */
static enum pag_err note_field(const struct pag_http_header *h, struct pag_http_meta *meta, struct seen *seen,
                               struct pag_http_refusal *no)
{
    switch (h->name.n) {
    case 4:
        return IS_NOCASE(h->name, "host") ? read_host(h->value, seen, no) : PAG_OK;
    case 6:
        return IS_NOCASE(h->name, "expect") ? read_expect(h->value, meta, no) : PAG_OK;
    case 10:
        if (IS_NOCASE(h->name, "connection")) {
            read_connection(h->value, seen);
        }
        return PAG_OK;
    case 14:
        return IS_NOCASE(h->name, "content-length") ? read_length(h->value, meta, seen, no) : PAG_OK;
    case 16:
        if (IS_NOCASE(h->name, "content-encoding") && !IS_NOCASE(h->value, "identity")) {
            return refuse(no, 415, "Content-Encoding not accepted");
        }
        return PAG_OK;
    case 17:
        return IS_NOCASE(h->name, "transfer-encoding") ? read_encoding(h->value, meta, seen, no) : PAG_OK;
    default:
        return PAG_OK;
    }
}

static enum pag_err read_field(struct pag_span line, struct pag_http_header *h, struct pag_http_refusal *no)
{
    if (line.p[0] == ' ' || line.p[0] == '\t') {
        return refuse(no, 400, "folded header line");
    }
    size_t colon = 0;
    while (colon < line.n && (classes[line.p[colon]] & C_TOKEN) != 0) {
        colon++;
    }
    if (colon == 0 || colon == line.n || line.p[colon] != ':') {
        return refuse(no, 400, "bad header name");
    }
    size_t from = colon + 1;
    size_t end = line.n;
    while (from < end && (line.p[from] == ' ' || line.p[from] == '\t')) {
        from++;
    }
    while (end > from && (line.p[end - 1] == ' ' || line.p[end - 1] == '\t')) {
        end--;
    }
    h->name = (struct pag_span){ line.p, colon };
    h->value = (struct pag_span){ line.p + from, end - from };
    return all_of(h->value, C_VALUE) ? PAG_OK : refuse(no, 400, "control byte in a header");
}

static enum pag_err check_framing(const struct pag_http_request *req, struct pag_http_meta *meta,
                                  const struct seen *seen, struct pag_http_refusal *no)
{
    if (seen->encodings > 0 && seen->lengths > 0) {
        return refuse(no, 400, "Content-Length and Transfer-Encoding");
    }
    if (req->minor == 0 && seen->encodings > 0) {
        return refuse(no, 400, "Transfer-Encoding in HTTP/1.0");
    }
    if (req->minor == 1 && seen->hosts == 0) {
        return refuse(no, 400, "no Host");
    }
    meta->keep_alive = req->minor == 1 && !seen->close;
    meta->expect_continue = meta->expect_continue && req->minor == 1;
    return PAG_OK;
}

/* The next line without its CR LF; *at moves behind it. The scanner has made sure that each line has both. */
static struct pag_span next_line(struct pag_span head, size_t *at)
{
    const uint8_t *from = head.p + *at;
    const uint8_t *lf = memchr(from, '\n', head.n - *at);
    size_t n = lf == NULL ? 0 : (size_t)(lf - from);
    *at += n + 1;
    return (struct pag_span){ from, n == 0 ? 0 : n - 1 };
}

static enum pag_err parse_head(struct pag_span head, bool spaces, struct pag_http_request *req,
                               struct pag_http_meta *meta, struct pag_http_refusal *no)
{
    struct seen seen = { 0 };
    *meta = (struct pag_http_meta){ .framing = PAG_FRAME_NONE };
    req->header_n = 0;
    size_t at =
        head.p[0] == '\r' && head.p[1] == '\n' ? 2 : 0; /* one empty line may come first (RFC 9112 2.2) */
    enum pag_err err = read_request_line(next_line(head, &at), spaces, req, no);
    while (err == PAG_OK) {
        struct pag_span line = next_line(head, &at);
        if (line.n == 0) {
            return check_framing(req, meta, &seen, no);
        }
        if (req->header_n == PAG_HTTP_HEADERS_MAX) {
            return refuse(no, 431, "too many headers");
        }
        struct pag_http_header *h = &req->header[req->header_n];
        err = read_field(line, h, no);
        if (err == PAG_OK) {
            err = note_field(h, meta, &seen, no);
            req->header_n++;
        }
    }
    return err;
}

enum pag_err pag_http_parse_head(struct pag_span head, struct pag_http_request *req,
                                 struct pag_http_meta *meta, struct pag_http_refusal *no)
{
    return parse_head(head, false, req, meta, no);
}

enum pag_err pag_http_parse_head_spaced(struct pag_span head, struct pag_http_request *req,
                                        struct pag_http_meta *meta, struct pag_http_refusal *no)
{
    enum pag_err err = parse_head(head, true, req, meta, no);
    if (err != PAG_OK || memchr(req->target.p, ' ', req->target.n) == NULL) {
        return err;
    }
    bool reads = req->method == PAG_HTTP_GET || req->method == PAG_HTTP_HEAD;
    if (!reads || meta->framing == PAG_FRAME_CHUNKED || meta->content_length > 0) {
        return refuse(no, 400, "bad request line");
    }
    meta->keep_alive = false; /* nobody may see another request behind it */
    return PAG_OK;
}
