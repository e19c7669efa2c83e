#ifndef PAG_AGENT_TWIN_STORE_H
#define PAG_AGENT_TWIN_STORE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"

/*
 * One record in two sectors, the newest valid one wins; a cut while writing leaves the one before. Sector:
 * magic, seq, length, CRC-32 of seq, length and content (u32 LE each), content. The head is programmed last.
 */

enum { PAG_TWIN_HEAD_BYTES = 16 };

struct pag_twin {
    const struct pag_port *port;
    enum pag_area area;
    bool has;
    uint8_t sector; /* 0, 1: where the newest is */
    uint32_t seq;
    uint32_t n; /* bytes of content */
};

/* Finds the newest valid record. chunk: at least 64 bytes, used during the call. PAG_OK also when there is
 * none (t->has false), PAG_E_IO. */
enum pag_err pag_twin_open(struct pag_twin *t, const struct pag_port *port, enum pag_area area,
                           struct pag_buf chunk);
/* Appends the whole content to out. PAG_E_NOT_FOUND, PAG_E_SPACE, PAG_E_IO. */
enum pag_err pag_twin_read(const struct pag_twin *t, struct pag_buf *out);
/* Writes content as the newest (erase and program one sector). chunk: as above, apart from content.
 * PAG_E_SPACE, PAG_E_IO (also when reading back differs): the record before stays in force then. */
enum pag_err pag_twin_write(struct pag_twin *t, struct pag_span content, struct pag_buf chunk);

#endif
