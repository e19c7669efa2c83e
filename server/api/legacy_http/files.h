#ifndef PAG_SERVER_API_LEGACY_HTTP_FILES_H
#define PAG_SERVER_API_LEGACY_HTTP_FILES_H

#include "server/api/legacy_http/mount.h"

/* Named files for esp_https_ota, Tasmota, ESPHome and web installers: docs/spec/legacy-http.md 4 to 7. */
void pag_files_serve(struct pag_http_request *req, const struct pag_mount_at *at);

#endif
