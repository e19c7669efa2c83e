#include "host/csv.h"

#include "core/bytes.h"

void pag_csv_open(struct pag_csv *csv, struct pag_span text)
{
    static const uint8_t mark[] = { 0xEF, 0xBB, 0xBF };
    bool marked = text.n >= 3 && text.p[0] == mark[0] && text.p[1] == mark[1] && text.p[2] == mark[2];
    *csv = (struct pag_csv){ .text = text, .at = marked ? 3 : 0, .line = 1, .separator = ',' };
    for (size_t i = csv->at; i < text.n && text.p[i] != '\n'; i++) {
        if (text.p[i] == ',' || text.p[i] == ';' || text.p[i] == '\t') {
            csv->separator = text.p[i];
            return;
        }
    }
}

static bool ends_line(const struct pag_csv *csv)
{
    const struct pag_span *t = &csv->text;
    return csv->at >= t->n || t->p[csv->at] == '\n' ||
           (t->p[csv->at] == '\r' && (csv->at + 1 == t->n || t->p[csv->at + 1] == '\n'));
}

/* Over the end of the line; after a failure from anywhere in it. */
static void next_line(struct pag_csv *csv)
{
    while (csv->at < csv->text.n && csv->text.p[csv->at] != '\n') {
        csv->at++;
    }
    csv->at += csv->at < csv->text.n ? 1 : 0;
    csv->line++;
}

static void skip_blanks(struct pag_csv *csv)
{
    while (csv->at < csv->text.n && csv->text.p[csv->at] != csv->separator &&
           (csv->text.p[csv->at] == ' ' || csv->text.p[csv->at] == '\t')) {
        csv->at++;
    }
}

static enum pag_err plain(struct pag_csv *csv, struct pag_span *out, struct pag_fail *why)
{
    size_t from = csv->at;
    size_t end = from;
    for (; !ends_line(csv) && csv->text.p[csv->at] != csv->separator; csv->at++) {
        uint8_t c = csv->text.p[csv->at];
        if (c == '"' || c == '\0') {
            return pag_fail_set(why, PAG_E_SYNTAX, "a quote inside a field that has none around it", 0);
        }
        end = c != ' ' && c != '\t' ? csv->at + 1 : end;
    }
    *out = pag_span_of(csv->text.p + from, end - from);
    return PAG_OK;
}

/* Quotes are taken off and doubled ones made single, in space. */
static enum pag_err quoted(struct pag_csv *csv, struct pag_buf *space, struct pag_span *out,
                           struct pag_fail *why)
{
    size_t from = space->n;
    for (csv->at++; csv->at < csv->text.n; csv->at++) {
        uint8_t c = csv->text.p[csv->at];
        bool doubled = c == '"' && csv->at + 1 < csv->text.n && csv->text.p[csv->at + 1] == '"';
        if (c == '"' && !doubled) {
            csv->at++;
            skip_blanks(csv);
            *out = pag_span_of(space->p + from, space->n - from);
            return ends_line(csv) || csv->text.p[csv->at] == csv->separator
                       ? PAG_OK
                       : pag_fail_set(why, PAG_E_SYNTAX, "text after a closing quote", 0);
        }
        csv->at += doubled ? 1 : 0;
        csv->line += c == '\n' ? 1 : 0;
        if (c == '\0' || pag_buf_put_u8(space, c) != PAG_OK) {
            return pag_fail_set(why, c == '\0' ? PAG_E_SYNTAX : PAG_E_LIMIT, "a field that cannot be read",
                                0);
        }
    }
    return pag_fail_set(why, PAG_E_SYNTAX, "a quote that is never closed", 0);
}

static enum pag_err field(struct pag_csv *csv, struct pag_csv_row *row, struct pag_buf *space,
                          struct pag_fail *why)
{
    if (row->n == PAG_CSV_FIELDS_MAX) {
        return pag_fail_set(why, PAG_E_LIMIT, "more than 16 columns", 0);
    }
    skip_blanks(csv);
    struct pag_span *out = &row->field[row->n++];
    bool quote = csv->at < csv->text.n && csv->text.p[csv->at] == '"';
    return quote ? quoted(csv, space, out, why) : plain(csv, out, why);
}

enum pag_err pag_csv_next(struct pag_csv *csv, struct pag_csv_row *row, struct pag_fail *why)
{
    struct pag_buf space = { row->space, 0, sizeof row->space };
    enum pag_err err = PAG_OK;
    for (;;) {
        skip_blanks(csv);
        if (csv->at >= csv->text.n || !ends_line(csv)) {
            break;
        }
        next_line(csv);
    }
    row->n = 0;
    row->line = csv->line;
    if (csv->at >= csv->text.n) {
        return PAG_E_NOT_FOUND;
    }
    for (bool more = true; more && err == PAG_OK;) {
        err = field(csv, row, &space, why);
        more = err == PAG_OK && !ends_line(csv);
        csv->at += more ? 1 : 0; /* the separator */
    }
    next_line(csv);
    return err;
}
