#ifndef PAG_SERVER_API_LEGACY_HTTP_MOUNT_H
#define PAG_SERVER_API_LEGACY_HTTP_MOUNT_H

#include "server/api/device.h"
#include "server/app/mounts.h"

/*
 * Which product a path of the device listeners belongs to, and who answers there: docs/spec/legacy-http.md 1.
 * Fixed routes come first; what none of them takes is looked up among the mounts, longest path first. Memory
 * only: nothing here waits for the database.
 *
 * A further kind registers its handler in the table of mount.c: one line, [PAG_MOUNT_X] = pag_x_handle. The
 * entry of secureESP8266 is pag_secureesp_handle of server/api/secureesp; as long as it is NULL such paths
 * are 404.
 */

struct pag_mount_at {
    const char *product; /* its name, in the request's arena */
    enum pag_mount_kind kind;
    bool has_auth; /* auth counts instead of the product's legacy_auth */
    enum pag_legacy_auth auth;
    unsigned flags;       /* PAG_MOUNT_NOT_MODIFIED … */
    const char *config;   /* JSON object of the kind's own options, "" : none; in the arena */
    struct pag_span base; /* path of the mount as it stands in the target, "/fw"; "" for "/" */
    struct pag_span rest; /* what follows, without the '/', as sent (not decoded); empty: the base itself.
                             ".md5" and such, beginning with a dot: kept beside a mount that is one file */
    bool plain; /* came without TLS: its owner allows that, but never a key, certificate or config */
};

/*
 * Looks a request up: params of the route (product, rest) for the default paths, else the mounts. False:
 * there is nothing, or its product is not served on this listener (plain HTTP not switched on).
 */
bool pag_mount_of(struct pag_http_request *req, struct pag_mount_at *out);

/* Answers a request below a mount, exactly once, now or later. at lives in req->arena. */
typedef void (*pag_mount_fn)(struct pag_http_request *req, const struct pag_mount_at *at);

/* Handlers of routes. */
void pag_mount_tag(struct pag_http_request *req);       /* /tag/{product}[/…] */
void pag_mount_files(struct pag_http_request *req);     /* /files/{product}/… */
void pag_mount_secureesp(struct pag_http_request *req); /* /secureesp8266/{product}/… */
void pag_mount_fallback(struct pag_http_request *req);  /* everything else */

#endif
