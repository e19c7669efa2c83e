#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): environ */
#include "host/ini.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "host/fs.h"

enum { LINE_MAX_CHARS = 1150, KEYS_MAX = 256, FILE_MAX = 1 << 20 };

static enum pag_err complain(struct pag_ini_error *error, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static enum pag_err complain(struct pag_ini_error *error, unsigned line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    error->line = line;
    return PAG_E_CONFIG;
}

/* ---- values ---- */

static const char *bad_number(const struct pag_ini_key *key, uint64_t value, uint64_t type_max)
{
    uint64_t max = key->max == 0 ? type_max : key->max;
    return value < key->min || value > max ? "is out of range" : NULL;
}

/* Digits and an optional one-letter suffix out of units ("smhd"), worth factor[]. NULL or why not. */
static const char *scaled(const char *text, const char *units, const uint64_t *factor, uint64_t *out)
{
    char *end = NULL;
    if (!isdigit((unsigned char)text[0])) {
        return "is not a number";
    }
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0) {
        return "is out of range";
    }
    uint64_t times = 1;
    if (*end != '\0') {
        const char *unit = strchr(units, *end);
        if (unit == NULL || end[1] != '\0') {
            return "is not a number with a known unit";
        }
        times = factor[unit - units];
    }
    if (n > UINT64_MAX / times) {
        return "is out of range";
    }
    *out = n * times;
    return NULL;
}

static const uint64_t duration_factor[] = { 1, 60, 3600, 86400 };
static const uint64_t bytes_factor[] = { 1ULL << 10, 1ULL << 20, 1ULL << 30,
                                         1ULL << 10, 1ULL << 20, 1ULL << 30 };

static const char *parse_bool(const char *value, bool *out)
{
    static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *out = (i & 1) != 0;
            return NULL;
        }
    }
    return "is neither yes nor no";
}

static const char *parse_choice(const struct pag_ini_key *key, const char *value, uint32_t *out)
{
    for (uint32_t i = 0; key->words[i] != NULL; i++) {
        if (strcmp(value, key->words[i]) == 0) {
            *out = i;
            return NULL;
        }
    }
    return "is not one of the choices";
}

static const char *parse_text(const struct pag_ini_key *key, const char *value, char *out)
{
    size_t n = strlen(value);
    if (n >= key->size) {
        return "is too long";
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
            return "holds a control character";
        }
        if (value[i] == ';' && (i == 0 || value[i - 1] == ' ')) {
            return "holds a ; where a file begins a comment";
        }
    }
    memset(out, 0, key->size); /* n is less than it: a zero follows */
    memcpy(out, value, n);     /* NOLINT(bugprone-not-null-terminated-result) */
    return NULL;
}

static const char *parse_number(const struct pag_ini_key *key, const char *value, void *field)
{
    uint64_t n = 0;
    const char *bad = NULL;
    if (key->type == PAG_INI_BYTES) {
        bad = scaled(value, "KMGkmg", bytes_factor, &n);
    } else {
        bad = scaled(value, key->type == PAG_INI_DURATION ? "smhd" : "", duration_factor, &n);
    }
    uint64_t type_max = key->type == PAG_INI_PORT ? UINT16_MAX : UINT32_MAX;
    bad = bad != NULL ? bad : bad_number(key, n, key->type == PAG_INI_BYTES ? UINT64_MAX : type_max);
    if (bad != NULL) {
        return bad;
    }
    if (key->type == PAG_INI_BYTES) {
        memcpy(field, &n, sizeof n);
    } else if (key->type == PAG_INI_PORT) {
        memcpy(field, &(uint16_t){ (uint16_t)n }, sizeof(uint16_t));
    } else {
        memcpy(field, &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
    }
    return NULL;
}

/* NULL when the field was set, else why not. */
static const char *parse_value(const struct pag_ini_key *key, const char *value, void *settings)
{
    void *field = (char *)settings + key->offset;
    const char *bad = key->check != NULL ? key->check(value) : NULL;
    if (bad != NULL) {
        return bad;
    }
    switch (key->type) {
    case PAG_INI_TEXT:
        return parse_text(key, value, field);
    case PAG_INI_BOOL:
        return parse_bool(value, field);
    case PAG_INI_CHOICE:
        return parse_choice(key, value, field);
    case PAG_INI_NUMBER:
    case PAG_INI_PORT:
    case PAG_INI_BYTES:
    case PAG_INI_DURATION:
        return parse_number(key, value, field);
    }
    return "has no known type";
}

/* What may be written, for messages and the manual. */
static void expected(const struct pag_ini_key *key, char *out, size_t cap)
{
    out[0] = '\0';
    size_t n = 0;
    uint64_t max = key->max;
    switch (key->type) {
    case PAG_INI_TEXT:
        (void)snprintf(out, cap, "text up to %zu bytes", key->size - 1);
        break;
    case PAG_INI_BOOL:
        (void)snprintf(out, cap, "yes or no");
        break;
    case PAG_INI_PORT:
        (void)snprintf(out, cap, "0 to 65535");
        break;
    case PAG_INI_CHOICE:
        for (uint32_t i = 0; key->words[i] != NULL && n < cap; i++) {
            int put = snprintf(out + n, cap - n, "%s%s", i == 0 ? "" : ", ", key->words[i]);
            n += put > 0 ? (size_t)put : 0;
        }
        break;
    case PAG_INI_NUMBER:
    case PAG_INI_DURATION:
        max = max == 0 ? UINT32_MAX : max;
        (void)snprintf(out, cap, "%llu to %llu%s", (unsigned long long)key->min, (unsigned long long)max,
                       key->type == PAG_INI_DURATION ? " seconds; units s m h d" : "");
        break;
    case PAG_INI_BYTES:
        max = max == 0 ? UINT64_MAX : max;
        (void)snprintf(out, cap, "%llu to %llu bytes; units K M G", (unsigned long long)key->min,
                       (unsigned long long)max);
        break;
    }
}

/* ---- names ---- */

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein distance of two names, cut at 31 characters. */
static size_t distance(const char *a, const char *b)
{
    size_t row[32] = { 0 };
    size_t an = strnlen(a, 31);
    size_t bn = strnlen(b, 31);
    for (size_t j = 0; j <= bn; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= an; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= bn; j++) {
            size_t above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
            diagonal = above;
        }
    }
    return row[bn];
}

static bool near_enough(size_t d, const char *name)
{
    return d <= 1 + strlen(name) / 3;
}

static const struct pag_ini_key *find(const struct pag_ini_table *table, const char *section, const char *key)
{
    for (size_t i = 0; i < table->n; i++) {
        if (strcmp(table->keys[i].section, section) == 0 && strcmp(table->keys[i].key, key) == 0) {
            return &table->keys[i];
        }
    }
    return NULL;
}

static bool section_known(const struct pag_ini_table *table, const char *section)
{
    for (size_t i = 0; i < table->n; i++) {
        if (strcmp(table->keys[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

static enum pag_err unknown_section(const struct pag_ini_table *table, const char *what, unsigned line,
                                    const char *section, struct pag_ini_error *error)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < table->n; i++) {
        size_t d = distance(section, table->keys[i].section);
        if (d < least) {
            least = d;
            best = table->keys[i].section;
        }
    }
    if (best != NULL && near_enough(least, section)) {
        return complain(error, line, "%s: unknown section [%.64s]; did you mean [%s]?", what, section, best);
    }
    return complain(error, line, "%s: unknown section [%.64s]", what, section);
}

static enum pag_err unknown_key(const struct pag_ini_table *table, const char *what, unsigned line,
                                const char *const name[2], struct pag_ini_error *error)
{
    const struct pag_ini_key *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < table->n; i++) {
        const struct pag_ini_key *k = &table->keys[i];
        /* the same section is nearer than another */
        size_t d = 2 * distance(name[1], k->key) + (strcmp(k->section, name[0]) == 0 ? 0 : 1);
        if (d < least) {
            least = d;
            best = k;
        }
    }
    if (best != NULL && near_enough(least / 2, name[1])) {
        return complain(error, line, "%s: unknown key \"%.64s\" in [%s]; did you mean \"%s\" in [%s]?", what,
                        name[1], name[0], best->key, best->section);
    }
    return complain(error, line, "%s: unknown key \"%.64s\" in [%s]", what, name[1], name[0]);
}

static enum pag_err set_key(const struct pag_ini_key *key, const char *value, const char *what, unsigned line,
                            void *settings, struct pag_ini_error *error)
{
    const char *bad = parse_value(key, value, settings);
    if (bad == NULL) {
        return PAG_OK;
    }
    char want[160];
    expected(key, want, sizeof want);
    return complain(error, line, "%s: %s = %.64s %s (expected: %s)", what, key->key, value, bad, want);
}

enum pag_err pag_ini_set(const struct pag_ini_table *table, const char *name, const char *value,
                         const char *what, void *settings, struct pag_ini_error *error)
{
    char section[65];
    size_t n = strcspn(name, ".");
    if (name[n] == '\0' || n >= sizeof section) {
        return complain(error, 0, "%s: \"%.64s\" is not section.key", what, name);
    }
    (void)snprintf(section, sizeof section, "%.*s", (int)n, name);
    const char *const both[2] = { section, name + n + 1 };
    const struct pag_ini_key *k = find(table, both[0], both[1]);
    if (k != NULL) {
        return set_key(k, value, what, 0, settings, error);
    }
    return section_known(table, section) ? unknown_key(table, what, 0, both, error)
                                         : unknown_section(table, what, 0, section, error);
}

enum pag_err pag_ini_presets(const struct pag_ini_table *table, void *settings, struct pag_ini_error *error)
{
    for (size_t i = 0; i < table->n; i++) {
        if (set_key(&table->keys[i], table->keys[i].preset, "default", 0, settings, error) != PAG_OK) {
            return PAG_E_INTERNAL;
        }
    }
    return PAG_OK;
}

/* ---- files ---- */

struct reading {
    const struct pag_ini_table *table;
    const char *name;
    const char *at; /* rest of the text */
    unsigned line;
    void *settings;
    struct pag_ini_error *error;
    enum pag_err err; /* the first */
    bool seen[KEYS_MAX];
};

static void where(const struct reading *r, char out[300])
{
    (void)snprintf(out, 300, "%.256s:%u", r->name, r->line);
}

/* Sections without keys reach no handler, so their names are checked where the line is read. */
static void check_section_line(struct reading *r, const char *line)
{
    while (isspace((unsigned char)*line)) {
        line++;
    }
    const char *end = strchr(line, ']');
    if (*line != '[' || end == NULL || r->err != PAG_OK) {
        return;
    }
    char section[65];
    size_t n = (size_t)(end - line) - 1;
    n = n < sizeof section - 1 ? n : sizeof section - 1;
    memcpy(section, line + 1, n);
    section[n] = '\0';
    if (!section_known(r->table, section)) {
        char what[300];
        where(r, what);
        r->err = unknown_section(r->table, what, r->line, section, r->error);
    }
}

/* fgets over the text: one line a call, so that the line number is known in the handler. */
static char *next_line(char *out, int cap, void *stream)
{
    struct reading *r = stream;
    if (*r->at == '\0' || r->err != PAG_OK || cap < 2) {
        return NULL;
    }
    size_t n = strcspn(r->at, "\n");
    size_t with_end = n + (r->at[n] == '\n' ? 1 : 0);
    r->line++;
    if (with_end > (size_t)cap - 1 || n > LINE_MAX_CHARS) {
        r->err = complain(r->error, r->line, "%.256s:%u: line is too long", r->name, r->line);
        return NULL;
    }
    memcpy(out, r->at, with_end);
    out[with_end] = '\0';
    r->at += with_end;
    check_section_line(r, out);
    return out;
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    char what[300];
    if (r->err != PAG_OK) {
        return 0;
    }
    where(r, what);
    const struct pag_ini_key *key = find(r->table, section, name);
    if (key == NULL) {
        if (section[0] == '\0') {
            r->err =
                complain(r->error, r->line, "%s: \"%.64s\" stands before the first [section]", what, name);
        } else if (section_known(r->table, section)) {
            r->err = unknown_key(r->table, what, r->line, (const char *const[2]){ section, name }, r->error);
        } else {
            r->err = unknown_section(r->table, what, r->line, section, r->error);
        }
        return 0;
    }
    size_t index = (size_t)(key - r->table->keys);
    if (index < KEYS_MAX && r->seen[index]) {
        r->err =
            complain(r->error, r->line,
                     "%s: \"%s\" is set a second time (or its value goes on in a second line)", what, name);
        return 0;
    }
    if (index < KEYS_MAX) {
        r->seen[index] = true;
    }
    r->err = set_key(key, value == NULL ? "" : value, what, r->line, r->settings, r->error);
    return r->err == PAG_OK;
}

/* The library's own limit of 200 bytes a line would cut a list of names in two without a word. */
static void widen_lines(void)
{
    ini_use_stack = false;
    ini_initial_alloc = LINE_MAX_CHARS + 4;
    ini_max_line = LINE_MAX_CHARS + 4;
}

enum pag_err pag_ini_read_text(const struct pag_ini_table *table, const char *name, const char *text,
                               void *settings, struct pag_ini_error *error)
{
    struct reading r = { .table = table, .name = name, .at = text, .settings = settings, .error = error };
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, widen_lines);
    int bad = ini_parse_stream(next_line, &r, on_key, &r);
    if (r.err != PAG_OK) {
        return r.err;
    }
    if (bad > 0) {
        return complain(error, (unsigned)bad, "%.256s:%d: neither a [section] nor key = value", name, bad);
    }
    return bad == 0 ? PAG_OK : PAG_E_NO_MEMORY;
}

enum pag_err pag_ini_read_file(const struct pag_ini_table *table, const char *path, void *settings,
                               struct pag_ini_error *error)
{
    struct pag_buf text = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    enum pag_err err = pag_fs_read(path, FILE_MAX, &text, &why);
    if (err != PAG_OK) {
        (void)complain(error, 0, "%.256s: %s", path, why.what);
        return err;
    }
    if (strlen((const char *)text.p) != text.n) {
        err = complain(error, 0, "%.256s: holds a zero byte", path);
    } else {
        err = pag_ini_read_text(table, path, (const char *)text.p, settings, error);
    }
    pag_fs_buf_free(&text);
    return err;
}

/* ---- environment ---- */

/* After PREFIX_: NULL when no section of the table, else the rest behind SECTION_. */
static const char *env_section(const struct pag_ini_table *table, const char *name, const char **section)
{
    for (size_t i = 0; i < table->n; i++) {
        size_t n = strlen(table->keys[i].section);
        if (strncasecmp(name, table->keys[i].section, n) == 0 && name[n] == '_') {
            *section = table->keys[i].section;
            return name + n + 1;
        }
    }
    return NULL;
}

static enum pag_err read_variable(const struct pag_ini_table *table, const char *variable, size_t skip,
                                  void *settings, struct pag_ini_error *error)
{
    char what[80];
    char name[140];
    const char *section = NULL;
    const char *equals = strchr(variable, '=');
    const char *rest = env_section(table, variable + skip, &section);
    if (equals == NULL || rest == NULL || rest > equals) {
        return PAG_OK;
    }
    (void)snprintf(what, sizeof what, "%.*s", (int)(equals - variable), variable);
    int n = snprintf(name, sizeof name, "%s.%.*s", section, (int)(equals - rest), rest);
    for (int i = 0; i < n && name[i] != '\0'; i++) {
        name[i] = (char)tolower((unsigned char)name[i]);
    }
    return pag_ini_set(table, name, equals + 1, what, settings, error);
}

enum pag_err pag_ini_read_env(const struct pag_ini_table *table, const char *prefix, void *settings,
                              struct pag_ini_error *error)
{
    size_t n = strlen(prefix);
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, prefix, n) != 0 || (*at)[n] != '_') {
            continue;
        }
        enum pag_err err = read_variable(table, *at, n + 1, settings, error);
        if (err != PAG_OK) {
            return err;
        }
    }
    return PAG_OK;
}

/* ---- printing ---- */

static void print_scaled(uint64_t n, const char *units, const uint64_t *factor, int kinds, FILE *out)
{
    for (int i = kinds - 1; i >= 0; i--) {
        if (n != 0 && n % factor[i] == 0 && factor[i] > 1) {
            (void)fprintf(out, "%llu%c", (unsigned long long)(n / factor[i]), units[i]);
            return;
        }
    }
    (void)fprintf(out, "%llu", (unsigned long long)n);
}

static void print_value(const struct pag_ini_key *key, const void *settings, FILE *out)
{
    const void *field = (const char *)settings + key->offset;
    uint64_t wide = 0;
    uint32_t number = 0;
    uint16_t port = 0;
    switch (key->type) {
    case PAG_INI_TEXT:
        (void)fputs(field, out);
        break;
    case PAG_INI_BOOL:
        (void)fputs(*(const bool *)field ? "yes" : "no", out);
        break;
    case PAG_INI_NUMBER:
        memcpy(&number, field, sizeof number);
        (void)fprintf(out, "%u", (unsigned)number);
        break;
    case PAG_INI_PORT:
        memcpy(&port, field, sizeof port);
        (void)fprintf(out, "%u", (unsigned)port);
        break;
    case PAG_INI_BYTES:
        memcpy(&wide, field, sizeof wide);
        print_scaled(wide, "KMG", bytes_factor, 3, out);
        break;
    case PAG_INI_DURATION:
        memcpy(&number, field, sizeof number);
        print_scaled(number, "smhd", duration_factor, 4, out);
        break;
    case PAG_INI_CHOICE:
        memcpy(&number, field, sizeof number);
        (void)fputs(key->words[number], out);
        break;
    }
}

static bool first_of_section(const struct pag_ini_table *table, size_t i)
{
    return i == 0 || strcmp(table->keys[i].section, table->keys[i - 1].section) != 0;
}

void pag_ini_print(const struct pag_ini_table *table, const void *settings, bool docs, FILE *out)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct pag_ini_key *key = &table->keys[i];
        if (first_of_section(table, i)) {
            (void)fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", key->section);
        }
        if (docs) {
            char want[160];
            expected(key, want, sizeof want);
            (void)fprintf(out, "; %s (%s; default: %s)\n", key->doc, want, key->preset);
        }
        (void)fprintf(out, "%s = ", key->key);
        print_value(key, settings, out);
        (void)fputc('\n', out);
    }
}

static const char *section_text(const struct pag_ini_table *table, const char *section)
{
    for (size_t i = 0; table->sections != NULL && table->sections[i] != NULL; i += 2) {
        if (strcmp(table->sections[i], section) == 0) {
            return table->sections[i + 1];
        }
    }
    return "";
}

void pag_ini_print_markdown(const struct pag_ini_table *table, FILE *out)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct pag_ini_key *key = &table->keys[i];
        char want[160];
        expected(key, want, sizeof want);
        if (first_of_section(table, i)) {
            (void)fprintf(out, "%s## [%s]\n%s\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n",
                          i == 0 ? "" : "\n", key->section, section_text(table, key->section));
        }
        const char *tick = key->preset[0] == '\0' ? "" : "`";
        (void)fprintf(out, "| `%s` | %s%s%s | %s | %s |\n", key->key, tick, key->preset, tick, want,
                      key->doc);
    }
}
