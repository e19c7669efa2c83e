#ifndef PAG_PORTS_TEMPLATE_TEMPLATE_PORT_H
#define PAG_PORTS_TEMPLATE_TEMPLATE_PORT_H

#include "agent/port.h"

/*
 * A port that compiles and can do nothing: everything that may fail is PAG_E_UNSUPPORTED. Copy this folder to
 * ports/<board>/, rename, and fill one function after the other in the order of docs/porting/README.md.
 */

/* What the board needs between calls. */
struct pag_template {
    uint32_t ms; /* a clock that stands still until somebody moves it */
};

/* Fills port for a board with 4 MB of flash. board is kept and must outlive the port. */
void pag_template_port(struct pag_port *port, struct pag_template *board);

#endif
