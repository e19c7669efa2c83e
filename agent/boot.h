#ifndef PAG_AGENT_BOOT_H
#define PAG_AGENT_BOOT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"
#include "agent/slot.h"
#include "core/journal.h"

/*
 * What a loader of an A/B device does between reset and jump (docs/spec/journal.md). Uses flash, crypto,
 * feed_watchdog (may be NULL) and log (may be NULL) of the port, nothing else.
 */

enum {
    PAG_BOOT_TRIES = 3,
    PAG_BOOT_WORK_BYTES = 4096,
    /* aux of REVERTED, CONFIRM b and EPOCH: reason in the low byte, above it the number of the report owed */
    PAG_BOOT_REASON_MASK = 0xFF,
    PAG_BOOT_OUTCOME_SHIFT = 8,
};

struct pag_boot {
    uint8_t slot; /* jump there: 0 = A */
    bool trial;
    uint8_t try_n; /* 1..3 on trial */
    struct pag_slot image;
};

/*
 * Decides, writes what must be written before the jump (TRY n, REVERT, REVERTED, CONFIRM b; a plain boot
 * writes nothing), and has verified the whole image when it returns PAG_OK. work: PAG_BOOT_WORK_BYTES,
 * aligned to 8. PAG_E_NOT_FOUND: no slot may be booted; stay in the loader's rescue. PAG_E_IO.
 */
enum pag_err pag_boot_decide(const struct pag_port *port, struct pag_buf work, struct pag_boot *out);

/* The journal of a port; f is filled and must outlive j. */
enum pag_err pag_boot_journal(const struct pag_port *port, struct pag_journal_flash *f,
                              struct pag_journal *j);

/* Slot of the image that is in force according to the journal; j->any must hold. */
uint8_t pag_boot_active(const struct pag_journal *j);

#endif
