#include "server/domain/mount.h"

#include <string.h>

#include "core/bytes.h"

static const char *const kinds[PAG_MOUNT_KINDS] = { "httpupdate", "tag-emonesp", "tag-squix", "files",
                                                    "secureesp8266" };

const char *pag_mount_kind_word(enum pag_mount_kind k)
{
    return k < PAG_MOUNT_KINDS ? kinds[k] : "files";
}

enum pag_err pag_mount_kind_by_word(struct pag_span word, enum pag_mount_kind *out)
{
    for (int i = 0; i < PAG_MOUNT_KINDS; i++) {
        if (pag_span_eq_str(word, kinds[i])) {
            *out = (enum pag_mount_kind)i;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

static bool segment_ok(struct pag_span s)
{
    if (s.n == 0 || pag_span_eq_str(s, ".") || pag_span_eq_str(s, "..")) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c <= 0x20 || c >= 0x7F || c == '?' || c == '#' || c == '%' || c == '"' || c == '\\') {
            return false;
        }
    }
    return true;
}

static bool is_ours(struct pag_span first)
{
    static const char *const ours[] = { "v1", "update", "tag", "files", "secureesp8266", ".well-known" };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (pag_span_eq_str(first, ours[i])) {
            return true;
        }
    }
    return false;
}

enum pag_err pag_mount_path_check(struct pag_span path, struct pag_fail *why)
{
    if (path.n == 0 || path.n > PAG_MOUNT_PATH_MAX || path.p[0] != '/') {
        return pag_fail_set(why, PAG_E_SYNTAX, "must begin with / and have at most 128 bytes", path.n);
    }
    if (path.n == 1) {
        return PAG_OK;
    }
    for (size_t at = 1; at <= path.n;) {
        size_t end = pag_span_find(path, at, '/');
        struct pag_span segment = { path.p + at, end - at };
        if (!segment_ok(segment)) {
            return pag_fail_set(why, PAG_E_SYNTAX,
                                "must be segments of printable characters, without a / at the end", at);
        }
        if (at == 1 && is_ours(segment)) {
            return pag_fail_set(why, PAG_E_CONFLICT, "is a path that the server answers already", 0);
        }
        at = end + 1;
    }
    return PAG_OK;
}

static bool is_beside(struct pag_span ending)
{
    static const char *const beside[] = { ".md5", ".sig", ".gz", ".gz.md5", ".gz.sig" };
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        if (pag_span_eq_str(ending, beside[i])) {
            return true;
        }
    }
    return false;
}

bool pag_mount_takes(const struct pag_mount *m, struct pag_span path, struct pag_span *rest)
{
    struct pag_span own = pag_span_str(m->path);
    if (path.n < own.n || memcmp(path.p, own.p, own.n) != 0) {
        return false;
    }
    struct pag_span left = { path.p + own.n, path.n - own.n };
    if (own.n > 1 && left.n > 0 && left.p[0] != '/') {
        *rest = left;
        return m->kind == PAG_MOUNT_FILES && is_beside(left);
    }
    if (own.n > 1 && left.n > 0) {
        left = (struct pag_span){ left.p + 1, left.n - 1 };
    }
    *rest = left;
    return true;
}
