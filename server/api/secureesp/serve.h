#ifndef PAG_SERVER_API_SECUREESP_SERVE_H
#define PAG_SERVER_API_SECUREESP_SERVE_H

#include "server/api/legacy_http/mount.h"

/* GET below a mount of the kind secureesp8266: docs/spec/secureesp8266.md 2. */
void pag_secureesp_handle(struct pag_http_request *req, const struct pag_mount_at *at);

#endif
