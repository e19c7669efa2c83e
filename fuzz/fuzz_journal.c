/* Any content of the two sectors opens; an append on top of it is there when it is opened again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { AREA = PAG_JOURNAL_SECTORS * PAG_JOURNAL_SECTOR_BYTES };

static uint8_t flash[AREA];

static enum pag_err flash_read(void *ctx, uint32_t off, uint8_t *out, uint32_t n)
{
    (void)ctx;
    memcpy(out, flash + off, n);
    return PAG_OK;
}

static enum pag_err flash_program(void *ctx, uint32_t off, struct pag_span data)
{
    (void)ctx;
    for (size_t i = 0; i < data.n; i++) {
        flash[off + i] &= data.p[i];
    }
    return PAG_OK;
}

static enum pag_err flash_erase(void *ctx, uint32_t off, uint32_t n)
{
    (void)ctx;
    memset(flash + off, 0xFF, n);
    return PAG_OK;
}

/* Input: 34-byte strips of cell number, how many bits are broken, and 32 bytes; a CRC is made unless broken.
 */
static void fill(const uint8_t *data, size_t n)
{
    memset(flash, 0xFF, sizeof flash);
    for (; n >= 34; data += 34, n -= 34) {
        struct pag_journal_record r = { .type = (enum pag_journal_type)(0x10 + data[1] % 16),
                                        .seq = data[2],
                                        .epoch = data[3] };
        uint8_t *cell = flash + data[0] * (size_t)PAG_JOURNAL_CELL_BYTES;
        if ((data[1] & 0x80) != 0) {
            memcpy(cell, data + 2, PAG_JOURNAL_CELL_BYTES);
        } else {
            pag_journal_cell_put(&r, cell);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct pag_journal_flash ops = { NULL, flash_read, flash_program, flash_erase };
    struct pag_journal j;
    struct pag_journal_record r = { .type = PAG_JOURNAL_CHECKPOINT, .sequence = 5 };
    fill(data, n);
    if (pag_journal_open(&j, &ops) != PAG_OK || pag_journal_append(&j, &r) != PAG_OK) {
        abort();
    }
    uint32_t seq = j.last.seq;
    if (pag_journal_open(&j, &ops) != PAG_OK || !j.any || j.last.seq != seq || j.last.sequence != 5) {
        abort();
    }
    return 0;
}
