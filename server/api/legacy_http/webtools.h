#ifndef PAG_SERVER_API_LEGACY_HTTP_WEBTOOLS_H
#define PAG_SERVER_API_LEGACY_HTTP_WEBTOOLS_H

#include "server/api/legacy_http/serve.h"

/* manifest.json of ESP Web Tools, which ESPHome's update entity reads too: docs/spec/legacy-http.md 7. */
void pag_webtools_serve(struct pag_serve *s);

/* The name that these clients know a chip by ("ESP32-C3"); NULL: none. */
const char *pag_webtools_family(enum pag_chip chip);

/* The document, in arena; NULL: no memory, no firmware, or a chip that it has no name for. */
const char *pag_webtools_text(struct pag_arena *arena, const struct pag_file_release *r);

#endif
