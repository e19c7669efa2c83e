#define _DEFAULT_SOURCE  /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): struct winsize \
                          */
#include "cli/out.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/text.h"

enum { COLUMNS_MAX = 48, CELL_MAX = 4096 };

json_t *pag_out_at(const json_t *v, const char *path)
{
    json_t *at = NULL;
    while (v != NULL) {
        char name[64];
        size_t n = strcspn(path, ".");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, path);
        at = json_object_get(v, name);
        if (path[n] == 0) {
            return at;
        }
        v = at;
        path += n + 1;
    }
    return NULL;
}

const char *pag_out_text(const json_t *v, const char *path)
{
    const char *text = json_string_value(pag_out_at(v, path));
    return text != NULL ? text : "";
}

uint64_t pag_out_number(const json_t *v, const char *path)
{
    json_int_t n = json_integer_value(pag_out_at(v, path));
    return n > 0 ? (uint64_t)n : 0;
}

size_t pag_out_width(void)
{
    struct winsize w;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20) {
        return w.ws_col;
    }
    return 80;
}

bool pag_out_json(const struct pag_cli *cli, const json_t *v)
{
    if (!cli->json && !cli->jsonl) {
        return false;
    }
    size_t flags = cli->jsonl ? JSON_COMPACT : JSON_INDENT(2);
    (void)json_dumpf(v, stdout, flags | JSON_ENCODE_ANY);
    (void)fputc('\n', stdout);
    if (cli->jsonl) {
        (void)fflush(stdout);
    }
    return true;
}

/* ---- cells ---- */

/* The shortest decimal text that is the same number again. */
static void real_cell(double x, char out[CELL_MAX])
{
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(out, CELL_MAX, "%.*g", digits, x);
        if (strtod(out, NULL) == x) {
            return;
        }
    }
}

/* Arrays and objects as JSON; "…" shows that a cell's room ended it. */
static void nested_cell(const json_t *v, char out[CELL_MAX])
{
    static const char cut[] = "\xe2\x80\xa6";
    char *text = json_dumps(v, JSON_COMPACT | JSON_REAL_PRECISION(17));
    size_t n = text != NULL ? strlen(text) : 0;
    (void)pag_text_clean(text != NULL ? text : "", out, CELL_MAX);
    if (n >= CELL_MAX) {
        size_t end = strlen(out) < CELL_MAX - sizeof cut ? strlen(out) : CELL_MAX - sizeof cut;
        while (end > 0 && ((unsigned char)out[end] & 0xc0) == 0x80) {
            end--; /* not inside a character */
        }
        memcpy(out + end, cut, sizeof cut);
    }
    free(text); /* json_dumps allocates with malloc */
}

static void plain_cell(const json_t *v, char out[CELL_MAX])
{
    if (json_is_string(v)) {
        (void)pag_text_clean(json_string_value(v), out, CELL_MAX);
    } else if (json_is_integer(v)) {
        (void)snprintf(out, CELL_MAX, "%lld", (long long)json_integer_value(v));
    } else if (json_is_boolean(v)) {
        (void)snprintf(out, CELL_MAX, "%s", json_is_true(v) ? "yes" : "no");
    } else if (json_is_array(v) || json_is_object(v)) {
        nested_cell(v, out);
    } else if (json_is_real(v)) {
        real_cell(json_real_value(v), out);
    } else {
        (void)snprintf(out, CELL_MAX, "-");
    }
    if (out[0] == 0) {
        (void)snprintf(out, CELL_MAX, "-");
    }
}

static void render(const struct pag_cli *cli, const json_t *row, const struct pag_column *c,
                   char out[CELL_MAX])
{
    const json_t *v = pag_out_at(row, c->path);
    char small[40];
    switch (c->cell) {
    case PAG_CELL_TIME:
        if (cli->out_tty && json_is_string(v)) {
            pag_text_local(json_string_value(v), small);
            (void)snprintf(out, CELL_MAX, "%s", small);
            return;
        }
        break;
    case PAG_CELL_BYTES:
        if (cli->out_tty && json_is_integer(v)) {
            pag_text_bytes((uint64_t)json_integer_value(v), small);
            (void)snprintf(out, CELL_MAX, "%s", small);
            return;
        }
        break;
    case PAG_CELL_COUNT:
        (void)snprintf(out, CELL_MAX, "%zu", json_is_object(v) ? json_object_size(v) : json_array_size(v));
        return;
    case PAG_CELL_SHORT:
        plain_cell(v, out);
        if (cli->out_tty && strlen(out) > 12) {
            out[12] = 0;
        }
        return;
    case PAG_CELL_TEXT:
    case PAG_CELL_STATE:
        break;
    }
    plain_cell(v, out);
}

static const char *state_color(const char *word)
{
    static const char *const good[] = { "up_to_date", "published", "done", "ok", "confirmed", "running" };
    static const char *const bad[] = { "failed",    "reverted", "blocked", "revoked",
                                       "withdrawn", "down",     "expired" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (strcmp(word, good[i]) == 0) {
            return "\033[32m";
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (strcmp(word, bad[i]) == 0) {
            return "\033[31m";
        }
    }
    return "\033[33m";
}

/* ---- columns ---- */

static const struct pag_column *named(const struct pag_column *columns, const char *name)
{
    for (const struct pag_column *c = columns; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0 || strcmp(c->path, name) == 0) {
            return c;
        }
    }
    return NULL;
}

/* --columns a,b: headings of the list, or any path of the object. */
static size_t pick(struct pag_cli *cli, const struct pag_column *columns, struct pag_column out[COLUMNS_MAX])
{
    const char *want = pag_opt(cli, "columns");
    size_t n = 0;
    if (want == NULL) {
        for (; columns[n].name != NULL && n < COLUMNS_MAX; n++) {
            out[n] = columns[n];
        }
        return n;
    }
    while (*want != 0 && n < COLUMNS_MAX) {
        size_t len = strcspn(want, ",");
        char *name = pag_cli_text(cli, "%.*s", (int)len, want);
        const struct pag_column *c = named(columns, name);
        out[n++] = c != NULL ? *c : (struct pag_column){ name, name, PAG_CELL_TEXT };
        want += len + (want[len] == ',');
    }
    return n;
}

struct table {
    struct pag_cli *cli;
    struct pag_column column[COLUMNS_MAX];
    size_t n;
    size_t width[COLUMNS_MAX];
    size_t screen;
};

/* Bytes of the first n characters of text. */
static size_t bytes_of(const char *text, size_t n)
{
    size_t at = 0;
    for (; text[at] != 0; at++) {
        bool begins = ((unsigned char)text[at] & 0xc0) != 0x80;
        if (begins && n-- == 0) {
            break;
        }
    }
    return at;
}

/* Prints at most room (>= 1) columns of text; "…" shows that it was cut. Returns the columns. */
static size_t put_cut(const char *text, size_t room)
{
    size_t all = pag_text_columns(text);
    if (all <= room) {
        (void)fputs(text, stdout);
        return all;
    }
    (void)printf("%.*s\xe2\x80\xa6", (int)bytes_of(text, room - 1), text);
    return room;
}

static void put_row(const struct table *t, const char (*cells)[CELL_MAX], bool head)
{
    size_t used = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (!t->cli->out_tty) {
            (void)printf("%s%s", i > 0 ? "\t" : "", cells[i]);
            continue;
        }
        size_t room = t->screen > used ? t->screen - used : 0;
        bool color = t->cli->color_out && (head || t->column[i].cell == PAG_CELL_STATE);
        if (room == 0) {
            break;
        }
        if (color) {
            (void)fputs(head ? "\033[1m" : state_color(cells[i]), stdout);
        }
        size_t shown = put_cut(cells[i], room);
        if (color) {
            (void)fputs("\033[0m", stdout);
        }
        size_t pad = i + 1 < t->n ? t->width[i] + 2 - shown : 0;
        used += shown + pad;
        for (; pad > 0 && used <= t->screen; pad--) {
            (void)fputc(' ', stdout);
        }
    }
    (void)fputc('\n', stdout);
}

static void measure(struct table *t, const json_t *items, char (*cells)[CELL_MAX])
{
    size_t row = 0;
    const json_t *item = NULL;
    for (size_t i = 0; i < t->n; i++) {
        t->width[i] = pag_opt_on(t->cli, "no-header") ? 0 : strlen(t->column[i].name);
    }
    json_array_foreach(items, row, item)
    {
        for (size_t i = 0; i < t->n; i++) {
            render(t->cli, item, &t->column[i], cells[i]);
            size_t w = pag_text_columns(cells[i]);
            t->width[i] = w > t->width[i] ? w : t->width[i];
        }
    }
}

static void put_table(struct pag_cli *cli, const json_t *items, const struct pag_column *columns)
{
    struct table t = { .cli = cli, .screen = pag_out_width() };
    char(*cells)[CELL_MAX] = pag_cli_alloc(cli, sizeof(char[COLUMNS_MAX][CELL_MAX]));
    size_t row = 0;
    const json_t *item = NULL;
    t.n = pick(cli, columns, t.column);
    if (cli->out_tty) {
        measure(&t, items, cells);
    }
    if (!pag_opt_on(cli, "no-header")) {
        for (size_t i = 0; i < t.n; i++) {
            (void)snprintf(cells[i], CELL_MAX, "%s", t.column[i].name);
        }
        put_row(&t, (const char(*)[CELL_MAX])cells, true);
    }
    json_array_foreach(items, row, item)
    {
        for (size_t i = 0; i < t.n; i++) {
            render(cli, item, &t.column[i], cells[i]);
        }
        put_row(&t, (const char(*)[CELL_MAX])cells, false);
    }
}

int pag_out_items(struct pag_cli *cli, json_t *items, const struct pag_column *columns)
{
    size_t row = 0;
    const json_t *item = NULL;
    if (cli->jsonl) {
        json_array_foreach(items, row, item)
        {
            (void)pag_out_json(cli, item);
        }
    } else if (cli->json) {
        json_t *doc = pag_cli_keep(cli, json_pack("{s:O}", "items", items));
        (void)pag_out_json(cli, doc);
    } else {
        put_table(cli, items, columns);
    }
    return PAG_EXIT_OK;
}

/* ---- lists of the API ---- */

static int next_page(struct pag_cli *cli, const char *path, const char *cursor, uint64_t want, json_t **page)
{
    const char *join = strchr(path, '?') != NULL ? "&" : "?";
    const char *url = pag_cli_text(cli, "%s%slimit=%u", path, join, (unsigned)(want < 1000 ? want : 1000));
    if (cursor != NULL) {
        url = pag_cli_text(cli, "%s&cursor=%s", url, pag_client_escape(cli, cursor));
    }
    return pag_client_get(cli, url, page);
}

int pag_out_api_list(struct pag_cli *cli, const char *path, const struct pag_column *columns)
{
    uint64_t limit = 0;
    int rc = pag_opt_number(cli, "limit", 100, &limit);
    json_t *all = pag_cli_keep(cli, json_array());
    const char *cursor = NULL;
    json_t *total = NULL;
    if (pag_opt_on(cli, "all")) {
        limit = UINT64_MAX;
    }
    while (rc == PAG_EXIT_OK && json_array_size(all) < limit) {
        json_t *page = NULL;
        rc = next_page(cli, path, cursor, limit - json_array_size(all), &page);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        const char *next = json_string_value(json_object_get(page, "next_cursor"));
        (void)json_array_extend(all, json_object_get(page, "items"));
        total = json_object_get(page, "total");
        if (next == NULL || (cursor != NULL && strcmp(next, cursor) == 0)) {
            cursor = NULL;
            break;
        }
        cursor = next;
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (cli->json) {
        json_t *doc = pag_cli_keep(
            cli, json_pack("{s:O, s:s?, s:O*}", "items", all, "next_cursor", cursor, "total", total));
        (void)pag_out_json(cli, doc);
        return PAG_EXIT_OK;
    }
    rc = pag_out_items(cli, all, columns);
    if (cursor != NULL && !cli->jsonl && cli->err_tty) {
        pag_cli_say(cli, "%zu of %llu shown; --all or --limit N shows more\n", json_array_size(all),
                    (unsigned long long)pag_out_number(total, "value"));
    }
    return rc;
}

int pag_out_object(struct pag_cli *cli, const json_t *object, const struct pag_column *lines)
{
    char cell[CELL_MAX];
    struct pag_column column[COLUMNS_MAX];
    size_t widest = 0;
    if (pag_out_json(cli, object)) {
        return PAG_EXIT_OK;
    }
    size_t n = pick(cli, lines, column);
    for (size_t i = 0; i < n; i++) {
        size_t w = strlen(column[i].name);
        widest = w > widest ? w : widest;
    }
    for (size_t i = 0; i < n; i++) {
        bool color = cli->color_out && column[i].cell == PAG_CELL_STATE;
        render(cli, object, &column[i], cell);
        if (cli->out_tty) {
            (void)printf("%-*s  %s%s%s\n", (int)widest, column[i].name, color ? state_color(cell) : "", cell,
                         color ? "\033[0m" : "");
        } else {
            (void)printf("%s\t%s\n", column[i].name, cell);
        }
    }
    return PAG_EXIT_OK;
}
