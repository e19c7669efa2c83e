#ifndef PAG_SERVER_API_LEGACY_HTTP_LEGACY_H
#define PAG_SERVER_API_LEGACY_HTTP_LEGACY_H

#include "host/http.h"

/* GET /update/{product}[/…]: ESP8266httpUpdate, docs/spec/httpupdate.md. */
void pag_legacy_update(struct pag_http_request *req);

#endif
