#include "server/domain/file.h"

#include <string.h>

#include "core/bytes.h"

static bool ends_with(struct pag_span s, const char *tail)
{
    size_t n = strlen(tail);
    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

static struct pag_span without(struct pag_span s, const char *tail)
{
    return ends_with(s, tail) ? (struct pag_span){ s.p, s.n - strlen(tail) } : s;
}

static bool one_of(struct pag_span name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (pag_span_eq_str(name, list[i])) {
            return true;
        }
    }
    return false;
}

static const char *const stand_ins[] = { "minimal", "safeboot" };
static const char *const parts[] = { "bootloader", "partitions", "boot-app0" };

bool pag_image_is_raw(const char *name)
{
    return one_of(pag_span_str(name), parts, sizeof parts / sizeof parts[0]);
}

bool pag_image_is_side(const char *name)
{
    struct pag_span base = without(pag_span_str(name), "-gz");
    return one_of(base, stand_ins, sizeof stand_ins / sizeof stand_ins[0]) || pag_image_is_raw(name);
}

/* "…-minimal", and "…-minimal.ino": Tasmota puts the word before the first dot of the name that it has. */
static bool is_stand_in(struct pag_span stem, struct pag_span base)
{
    size_t n = base.n;
    if (!one_of(base, stand_ins, sizeof stand_ins / sizeof stand_ins[0])) {
        return false;
    }
    for (size_t at = pag_span_find(stem, 0, '-'); stem.n - at > n; at = pag_span_find(stem, at + 1, '-')) {
        size_t end = at + 1 + n;
        if (memcmp(stem.p + at + 1, base.p, n) == 0 && (end == stem.n || stem.p[end] == '.')) {
            return true;
        }
    }
    return false;
}

bool pag_image_answers(const struct pag_release_image *image, const char *file, bool any)
{
    struct pag_span name = pag_span_str(file);
    struct pag_span base =
        image->gzip ? without(pag_span_str(image->name), "-gz") : pag_span_str(image->name);
    const char *ending = image->gzip ? ".bin.gz" : ".bin";
    if (image->file[0] != '\0' && pag_span_eq_str(name, image->file)) {
        return true;
    }
    if (name.n == 0 || pag_span_eq_str(name, ".gz")) { /* a mount that is one file, and what is beside it */
        return any && image->gzip == (name.n > 0) && pag_span_eq_str(base, "firmware");
    }
    struct pag_span stem = without(name, ending);
    if (stem.n == name.n) {
        return false;
    }
    if (pag_span_eq(stem, base) || is_stand_in(stem, base)) {
        return true;
    }
    bool of_stand_in = false;
    for (size_t i = 0; i < sizeof stand_ins / sizeof stand_ins[0]; i++) {
        of_stand_in |= is_stand_in(stem, pag_span_str(stand_ins[i]));
    }
    return any && !of_stand_in && pag_span_eq_str(base, "firmware");
}

bool pag_file_name_ok(struct pag_span name)
{
    if (name.n == 0 || name.n > PAG_FILE_NAME_MAX || name.p[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                  c == '_' || c == '+' || c == '-';
        if (!ok) {
            return false;
        }
    }
    return true;
}
