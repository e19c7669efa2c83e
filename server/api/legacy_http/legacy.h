#ifndef PAG_SERVER_API_LEGACY_HTTP_LEGACY_H
#define PAG_SERVER_API_LEGACY_HTTP_LEGACY_H

#include "server/api/legacy_http/mount.h"

/* GET /update/{product}[/…]: ESP8266httpUpdate, docs/spec/httpupdate.md. */
void pag_legacy_update(struct pag_http_request *req);

/* The same below a mount. */
void pag_legacy_serve(struct pag_http_request *req, const struct pag_mount_at *at);

#endif
