#ifndef PAG_SERVER_API_LEGACY_HTTP_PINS_H
#define PAG_SERVER_API_LEGACY_HTTP_PINS_H

#include "server/api/legacy_http/serve.h"

/*
 * Downloads in pieces: which bytes the last piece was of, so that a release that is published in between
 * changes nothing for who has begun. In memory; forgotten ten minutes after the last piece. One a process.
 */
struct pag_pins;
struct pag_pins *pag_pins_new(void);    /* NULL: no memory */
void pag_pins_free(struct pag_pins *p); /* NULL is fine */

/* Remembers s->out for who asked here. */
void pag_pins_put(const struct pag_serve *s);
/* Fills s->out when a piece that is not the first is asked for, and who asked here has begun. */
bool pag_pins_get(struct pag_serve *s);

#endif
