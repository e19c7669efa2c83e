#ifndef PAG_SERVER_API_LEGACY_HTTP_LEGACY_H
#define PAG_SERVER_API_LEGACY_HTTP_LEGACY_H

#include "server/api/legacy_http/mount.h"
#include "server/api/legacy_http/serve.h"

/* GET /update/{product}[/…]: ESP8266httpUpdate and ESP32 HTTPUpdate, docs/spec/httpupdate.md. */
void pag_legacy_update(struct pag_http_request *req);

/* The same below a mount. */
void pag_legacy_serve(struct pag_http_request *req, const struct pag_mount_at *at);

/* ---- for heads that such clients come to as well ---- */
enum pag_legacy_who {
    PAG_LEGACY_KNOWN,   /* *said is filled */
    PAG_LEGACY_OTHER,   /* not a client of this kind */
    PAG_LEGACY_REFUSED, /* it says what cannot be; replied */
};
enum pag_legacy_who pag_legacy_read(struct pag_http_request *req, struct pag_legacy_request *said);
/* Asks for such a client: 304 when nothing is to be done, else the image. s->in.file may be set. */
void pag_legacy_update_ask(struct pag_serve *s, const struct pag_legacy_request *said);
/* pag_serve.render of such clients. */
void pag_legacy_render(struct pag_serve *s);

#endif
