#ifndef PAG_HOST_CSV_H
#define PAG_HOST_CSV_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Tables as spreadsheets write them (RFC 4180, and a little more): fields in quotes with doubled quotes
 * inside, lines ended by LF or CR LF, a byte order mark before the first, empty lines passed over. The
 * separator is the first of , ; and tab that stands in the first line.
 */

enum { PAG_CSV_FIELDS_MAX = 16, PAG_CSV_LINE_MAX = 4096 };

struct pag_csv {
    struct pag_span text; /* borrowed; at most 2^31 bytes */
    size_t at;
    uint32_t line; /* of what comes next, from 1 */
    uint8_t separator;
};

struct pag_csv_row {
    uint32_t line; /* where it begins */
    size_t n;
    struct pag_span field[PAG_CSV_FIELDS_MAX]; /* blanks around unquoted ones removed; in text or space */
    uint8_t space[PAG_CSV_LINE_MAX];           /* of fields with quotes in them */
};

void pag_csv_open(struct pag_csv *csv, struct pag_span text);
/*
 * PAG_E_NOT_FOUND: the end. PAG_E_SYNTAX (text after a closing quote, no closing quote, NUL), PAG_E_LIMIT
 * (too many fields, too long); row->line says where, and the row is passed over.
 */
enum pag_err pag_csv_next(struct pag_csv *csv, struct pag_csv_row *row, struct pag_fail *why);

#endif
