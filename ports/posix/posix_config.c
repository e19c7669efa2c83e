#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): GNU functions */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/config.h"
#include "core/bytes.h"
#include "ports/posix/posix_port.h"

/* device.conf of a posix device, and what is said about one that is wrong. */

enum { WORDS_MAX = 128, SHOWN_MAX = 64 };

static const char remedy[] =
    "  fix: pagurus enroll device-config --product P --mac MAC -o %s writes a whole one;\n"
    "       docs/spec/device-config.md lists the keys\n";

/* Line number line_no (1 is the first) without blanks around it. */
static struct pag_span line_of(struct pag_span text, uint64_t line_no)
{
    size_t at = 0;
    for (uint64_t i = 1; i < line_no && at < text.n; i++) {
        at = pag_span_find(text, at, '\n') + 1;
    }
    if (at >= text.n) {
        return pag_span_of(text.p, 0);
    }
    struct pag_span line = pag_span_of(text.p + at, pag_span_find(text, at, '\n') - at);
    while (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t')) {
        line.p++;
        line.n--;
    }
    while (line.n > 0 &&
           (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t' || line.p[line.n - 1] == '\r')) {
        line.n--;
    }
    return line;
}

/* Cut, and nothing that could drive a terminal. */
static void put_shown(struct pag_span s)
{
    for (size_t i = 0; i < s.n && i < SHOWN_MAX; i++) {
        (void)fputc(s.p[i] >= 0x20 && s.p[i] < 0x7F ? s.p[i] : '?', stderr);
    }
}

/* A line key=value whose key, value or place is wrong. */
static void say_line(struct pag_span line, const char *what)
{
    size_t eq = pag_span_find(line, 0, '=');
    struct pag_span key = pag_span_of(line.p, eq);
    while (key.n > 0 && (key.p[key.n - 1] == ' ' || key.p[key.n - 1] == '\t')) {
        key.n--;
    }
    uint8_t words[WORDS_MAX];
    struct pag_buf wants = { words, 0, sizeof words };
    enum pag_err err = pag_settings_wants(key, &wants);
    put_shown(key);
    if (err == PAG_E_NOT_FOUND) {
        (void)fputs(": there is no such key\n", stderr);
        return;
    }
    if (strstr(what, "twice") != NULL) {
        (void)fputs(": given twice; leave one line\n", stderr);
        return;
    }
    if (!pag_span_eq_str(key, "claim")) { /* a secret until it is used */
        put_shown(pag_span_of(line.p + eq, line.n - eq));
    }
    (void)fprintf(stderr, ": not possible; it takes %.*s\n", (int)wants.n, (const char *)words);
}

static void say(const char *path, struct pag_span text, const struct pag_fail *why)
{
    static const char prefix[] = "configuration: ";
    const char *what = why->what != NULL ? why->what : pag_err_word(why->code);
    what += strncmp(what, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
    (void)fprintf(stderr, "%s:", path);
    if (why->detail > 0) {
        (void)fprintf(stderr, "%llu:", (unsigned long long)why->detail);
    }
    (void)fputc(' ', stderr);
    struct pag_span line = line_of(text, why->detail);
    bool pair =
        why->detail > 0 && strstr(what, "certificate") == NULL && pag_span_find(line, 0, '=') < line.n;
    if (pair) {
        say_line(line, what);
    } else {
        (void)fprintf(stderr, "%s\n", what); /* a line that is no pair may hold a key: it is not shown */
    }
    (void)fprintf(stderr, remedy, path);
}

enum pag_err pag_posix_config(const char *dir, struct pag_buf *text, struct pag_settings *s)
{
    char path[PAG_POSIX_PATH + 16];
    struct pag_fail why = { 0 };
    (void)snprintf(path, sizeof path, "%s/device.conf", dir);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerrordesc_np(errno));
        (void)fprintf(stderr, remedy, path);
        return PAG_E_CONFIG;
    }
    text->n = fread(text->p, 1, text->cap, f);
    bool whole = text->n < text->cap && ferror(f) == 0;
    (void)fclose(f);
    pag_settings_default(s);
    enum pag_err err = whole ? pag_settings_parse(pag_buf_span(text), s, &why)
                             : pag_fail_set(&why, PAG_E_CONFIG, "too long, or cannot be read", 0);
    if (err != PAG_OK) {
        say(path, pag_buf_span(text), &why);
    }
    return err;
}
