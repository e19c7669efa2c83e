#include "core/version.h"

#include "core/bytes.h"
#include "core/mem.h"

enum { PARTS = 3, SEMVER_PARTS_MIN = 2 };

/* Spans into the text; all numbers are digit runs of any length, so nothing can overflow. */
struct parsed {
    enum pag_version_scheme scheme;
    struct pag_span name;        /* SECURE */
    struct pag_span part[PARTS]; /* missing: empty, counts as 0 */
    struct pag_span tail;        /* SEMVER: pre-release without '-'; SECURE: the letter */
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int sign_of(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

static struct pag_span from(struct pag_span s, size_t at)
{
    return (struct pag_span){ .p = s.p + at, .n = s.n - at };
}

static size_t digits_at(struct pag_span s, size_t at)
{
    size_t end = at;
    while (end < s.n && is_digit(s.p[end])) {
        end++;
    }
    return end - at;
}

static int compare_bytes(struct pag_span a, struct pag_span b)
{
    size_t common = a.n < b.n ? a.n : b.n;
    int order = common == 0 ? 0 : memcmp(a.p, b.p, common);
    if (order != 0) {
        return order < 0 ? -1 : 1;
    }
    return sign_of(a.n, b.n);
}

static struct pag_span without_zeros(struct pag_span s)
{
    while (s.n > 0 && *s.p == '0') {
        s = from(s, 1);
    }
    return s;
}

/* Digit runs as numbers; the empty run is 0. */
static int compare_numbers(struct pag_span a, struct pag_span b)
{
    a = without_zeros(a);
    b = without_zeros(b);
    return a.n != b.n ? sign_of(a.n, b.n) : compare_bytes(a, b);
}

/* Takes the next dot-separated piece off *rest; false when there is none. */
static bool next_piece(struct pag_span *rest, bool *more, struct pag_span *piece)
{
    if (!*more) {
        return false;
    }
    size_t dot = pag_span_find(*rest, 0, '.');
    *piece = (struct pag_span){ .p = rest->p, .n = dot };
    *more = dot < rest->n;
    *rest = from(*rest, *more ? dot + 1 : dot);
    return true;
}

static bool is_number(struct pag_span s)
{
    return s.n > 0 && digits_at(s, 0) == s.n;
}

static bool is_word(struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]) && !is_letter(s.p[i]) && s.p[i] != '-') {
            return false;
        }
    }
    return s.n > 0;
}

/* SemVer 9 and 10: [0-9A-Za-z-]+ pieces; numbers of a pre-release have no leading zero. */
static bool pieces_ok(struct pag_span s, bool prerelease)
{
    bool more = true;
    struct pag_span piece;
    while (next_piece(&s, &more, &piece)) {
        bool zero_led = is_number(piece) && piece.n > 1 && *piece.p == '0';
        if (!is_word(piece) || (prerelease && zero_led)) {
            return false;
        }
    }
    return true;
}

/* Two or three dotted numbers without leading zeros at the start of s; their length, 0 if it is not so. */
static size_t semver_core(struct pag_span s, struct pag_span part[PARTS])
{
    size_t at = 0;
    size_t n = 0;
    while (n < PARTS) {
        size_t run = digits_at(s, at);
        if (run == 0 || (run > 1 && s.p[at] == '0')) {
            return 0;
        }
        part[n++] = pag_span_of(s.p + at, run);
        at += run;
        if (n == PARTS || at == s.n || s.p[at] != '.') {
            break;
        }
        at++;
    }
    return n >= SEMVER_PARTS_MIN ? at : 0;
}

static bool parse_semver(struct pag_span s, struct parsed *out)
{
    struct parsed v = { .scheme = PAG_VERSION_SEMVER };
    if (s.n > 0 && (*s.p == 'v' || *s.p == 'V')) {
        s = from(s, 1);
    }
    size_t core = semver_core(s, v.part);
    if (core == 0) {
        return false;
    }
    s = from(s, core);
    size_t plus = pag_span_find(s, 0, '+');
    if (plus < s.n && !pieces_ok(from(s, plus + 1), false)) {
        return false;
    }
    s.n = plus;
    if (s.n > 0) {
        v.tail = from(s, 1);
        if (*s.p != '-' || !pieces_ok(v.tail, true)) {
            return false;
        }
    }
    *out = v;
    return true;
}

static bool parse_secure(struct pag_span s, struct parsed *out)
{
    struct parsed v = { .scheme = PAG_VERSION_SECURE };
    size_t dash = s.n;
    for (size_t i = 0; i < s.n; i++) {
        dash = s.p[i] == '-' ? i : dash;
    }
    if (dash == 0 || dash == s.n) {
        return false;
    }
    v.name = pag_span_of(s.p, dash);
    size_t at = dash + 1;
    for (size_t i = 0; i < PARTS; i++) {
        size_t run = digits_at(s, at);
        if (run == 0 || at + run >= s.n || s.p[at + run] != '.') {
            return false;
        }
        v.part[i] = pag_span_of(s.p + at, run);
        at += run + 1;
    }
    v.tail = from(s, at);
    if (v.tail.n != 1 || !is_letter(*v.tail.p)) {
        return false;
    }
    *out = v;
    return true;
}

static void parse(struct pag_span s, struct parsed *out)
{
    if (!parse_semver(s, out) && !parse_secure(s, out)) {
        *out = (struct parsed){ .scheme = PAG_VERSION_PLAIN };
    }
}

/* SemVer 11.4: numbers below words, numbers by value, words by ASCII. */
static int compare_piece(struct pag_span a, struct pag_span b)
{
    bool a_number = is_number(a);
    bool b_number = is_number(b);
    if (a_number && b_number) {
        return compare_numbers(a, b);
    }
    if (a_number != b_number) {
        return a_number ? -1 : 1;
    }
    return compare_bytes(a, b);
}

static int compare_prerelease(struct pag_span a, struct pag_span b)
{
    if (a.n == 0 || b.n == 0) {
        return sign_of(b.n == 0 ? 0 : 1, a.n == 0 ? 0 : 1); /* a release is above its pre-releases */
    }
    bool a_more = true;
    bool b_more = true;
    struct pag_span a_piece;
    struct pag_span b_piece;
    for (;;) {
        bool a_has = next_piece(&a, &a_more, &a_piece);
        bool b_has = next_piece(&b, &b_more, &b_piece);
        if (!a_has || !b_has) {
            return sign_of(a_has, b_has);
        }
        int order = compare_piece(a_piece, b_piece);
        if (order != 0) {
            return order;
        }
    }
}

/* Natural order; texts that differ only in leading zeros are ordered by their bytes, so only equal is 0. */
static int compare_plain(struct pag_span a, struct pag_span b)
{
    size_t i = 0;
    size_t j = 0;
    while (i < a.n && j < b.n) {
        size_t a_run = digits_at(a, i);
        size_t b_run = digits_at(b, j);
        int order = 0;
        if (a_run > 0 && b_run > 0) {
            order = compare_numbers(pag_span_of(a.p + i, a_run), pag_span_of(b.p + j, b_run));
        } else {
            order = sign_of(a.p[i], b.p[j]);
            a_run = 1;
            b_run = 1;
        }
        if (order != 0) {
            return order;
        }
        i += a_run;
        j += b_run;
    }
    int order = sign_of(a.n - i, b.n - j);
    return order != 0 ? order : compare_bytes(a, b);
}

enum pag_version_scheme pag_version_scheme_of(struct pag_span v)
{
    struct parsed p;
    parse(v, &p);
    return p.scheme;
}

enum pag_err pag_version_compare(struct pag_span a, struct pag_span b, int *order)
{
    struct parsed pa;
    struct parsed pb;
    parse(a, &pa);
    parse(b, &pb);
    if (pa.scheme != pb.scheme || !pag_span_eq(pa.name, pb.name)) {
        return PAG_E_CONFLICT;
    }
    if (pa.scheme == PAG_VERSION_PLAIN) {
        *order = compare_plain(a, b);
        return PAG_OK;
    }
    int result = 0;
    for (size_t i = 0; i < PARTS && result == 0; i++) {
        result = compare_numbers(pa.part[i], pb.part[i]);
    }
    if (result == 0) {
        result = pa.scheme == PAG_VERSION_SEMVER ? compare_prerelease(pa.tail, pb.tail)
                                                 : compare_bytes(pa.tail, pb.tail);
    }
    *order = result;
    return PAG_OK;
}

bool pag_version_ok(struct pag_span v)
{
    if (v.n == 0 || v.n > PAG_VERSION_MAX) {
        return false;
    }
    for (size_t i = 0; i < v.n; i++) {
        uint8_t c = v.p[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '\'' || c == '\\') {
            return false;
        }
    }
    return true;
}
