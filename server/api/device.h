#ifndef PAG_SERVER_API_DEVICE_H
#define PAG_SERVER_API_DEVICE_H

#include "server/api/api.h"

/*
 * What the device listeners (8444, 8080) share: which proof a route needs, and who came. admit answers for
 * every request, on kept and resumed connections too, so that a revocation counts at once.
 */

enum pag_device_needs {
    PAG_NEEDS_CERTIFICATE = 1, /* a valid device certificate of a known, not revoked device; else 401 */
    PAG_NEEDS_CLAIM = 2,       /* nothing yet; the body carries a claim */
    PAG_NEEDS_BY_PRODUCT = 3,  /* what the product's legacy_auth says; judged by the use-case */
    PAG_NEEDS_MOUNT = 4,       /* the same for every path that is nobody else's: GET and HEAD, else 404 */
};

struct pag_device_call { /* req->user of device listeners */
    char request_id[17]; /* first: pag_api_request_id */
    struct pag_http_request *req;
    bool has_identity;
    struct pag_device_identity identity; /* from the certificate alone */
    struct pag_call call;                /* actor: the device */
    char actor[PAG_ACTOR_MAX + 1];
    void *out;
};

static inline struct pag_device_call *pag_device_call_of(const struct pag_http_request *req)
{
    return req->user;
}

/* pag_http_config.admit of device listeners. */
unsigned pag_device_admit(struct pag_http_request *req);

#endif
