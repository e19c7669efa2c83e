#include "server/api/legacy_http/filename.h"

#include <string.h>

#include "core/bytes.h"
#include "server/api/legacy_http/headers.h"

enum { DEPTH_MAX = 8, RAW_MAX = PAG_FILE_NAME_MAX + 8 };

static bool cut(struct pag_span *s, const char *tail)
{
    size_t n = strlen(tail);
    if (s->n < n || memcmp(s->p + s->n - n, tail, n) != 0) {
        return false;
    }
    s->n -= n;
    return true;
}

static enum pag_err decode(struct pag_span in, char out[RAW_MAX + 1])
{
    size_t n = 0;
    for (size_t at = 0; at < in.n; n++) {
        uint8_t c = in.p[at];
        bool escape =
            c == '%' && in.n - at >= 3 && pag_parse_hex(pag_span_of(in.p + at + 1, 2), &c, 1) == PAG_OK;
        if (n == RAW_MAX || c == '\0' || c == '/') {
            return PAG_E_SYNTAX;
        }
        out[n] = (char)c;
        at += escape ? 3 : 1;
    }
    out[n] = '\0';
    return PAG_OK;
}

static void mac_of_query(struct pag_span query, char mac[13])
{
    for (size_t at = 0; at < query.n;) {
        size_t end = pag_span_find(query, at, '&');
        struct pag_span pair = { query.p + at, end - at };
        size_t skip = pag_span_starts(pair, "mac=") ? 4 : pag_span_starts(pair, "id=") ? 3 : 0;
        if (skip > 0 && mac[0] == '\0') {
            (void)pag_legacy_mac((struct pag_span){ pair.p + skip, pair.n - skip }, mac);
        }
        at = end + 1;
    }
}

/* A mount of files hands out images. What is secret is not one, even if somebody names a file like it. */
static bool is_secret(struct pag_span name)
{
    static const char *const tails[] = { ".key", ".crt", ".pem", ".der", ".conf", ".ini" };
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        struct pag_span s = name;
        if (cut(&s, tails[i])) {
            return true;
        }
    }
    return pag_span_eq_str(name, "config.json");
}

enum pag_err pag_file_request_read(struct pag_span rest, bool beside, struct pag_span query,
                                   struct pag_file_request *out)
{
    struct pag_file_request r = { .what = PAG_FILE_IMAGE };
    char text[RAW_MAX + 1] = "";
    size_t depth = 0;
    for (size_t at = 0; at <= rest.n && rest.n > 0; depth++) {
        size_t end = pag_span_find(rest, at, '/');
        if (depth == DEPTH_MAX || decode((struct pag_span){ rest.p + at, end - at }, text) != PAG_OK) {
            return PAG_E_SYNTAX;
        }
        if (end < rest.n) {
            (void)pag_legacy_mac(pag_span_str(text), r.mac);
        }
        at = end + 1;
    }
    if (r.mac[0] == '\0') {
        mac_of_query(query, r.mac);
    }
    struct pag_span name = pag_span_str(text);
    if (is_secret(name)) {
        return PAG_E_NOT_FOUND;
    }
    if (pag_span_eq_str(name, "manifest.json")) {
        r.what = PAG_FILE_MANIFEST;
    } else if (cut(&name, ".md5")) {
        r.what = PAG_FILE_MD5;
    } else if (cut(&name, ".sig")) {
        r.what = PAG_FILE_SIG;
    }
    bool own = rest.n == 0 || (beside && (name.n == 0 || pag_span_eq_str(name, ".gz")));
    if (!own && !pag_file_name_ok(name)) {
        return PAG_E_SYNTAX;
    }
    memcpy(r.name, name.p, name.n);
    *out = r;
    return PAG_OK;
}
