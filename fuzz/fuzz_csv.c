#include <stdint.h>
#include <stdlib.h>

#include "host/csv.h"

/* Tables to their end: lines rise, fields lie in what was lent, and it ends. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pag_csv_row row;
    struct pag_csv csv;
    uint32_t line = 0;
    size_t rows = 0;
    uint64_t sum = 0;
    pag_csv_open(&csv, (struct pag_span){ data, size });
    for (;;) {
        enum pag_err err = pag_csv_next(&csv, &row, NULL);
        if (err == PAG_E_NOT_FOUND) {
            break;
        }
        if (row.line <= line || rows++ > size || row.n > PAG_CSV_FIELDS_MAX) {
            abort();
        }
        line = row.line;
        for (size_t i = 0; err == PAG_OK && i < row.n; i++) {
            for (size_t k = 0; k < row.field[i].n; k++) {
                sum += row.field[i].p[k];
            }
        }
    }
    return sum == UINT64_MAX ? 1 : 0;
}
