#include <string.h>

#include "server/app/check_in.h"
#include "server/app/image_check.h"

static bool is_withdrawn(struct pag_call *call, const struct pag_action *a)
{
    const struct pag_catalog *c = pag_store_catalog(call->thread->reader, a->product);
    for (size_t i = 0; c != NULL && i < c->release_n; i++) {
        if (strcmp(c->release[i].release->id, a->release) == 0) {
            return c->release[i].release->state == PAG_RELEASE_WITHDRAWN;
        }
    }
    return true;
}

/* What its product has published for other boards, or for later, is nothing to a device. */
enum pag_err pag_blob_entitled(struct pag_call *call, const struct pag_device *d,
                               const uint8_t sha256[PAG_SHA256_BYTES])
{
    struct pag_action a;
    enum pag_err err = pag_action_last(call->thread->db, d->id, &a);
    if (d->revoked_ms != 0 || err != PAG_OK || memcmp(a.target, sha256, PAG_SHA256_BYTES) != 0) {
        return PAG_E_NOT_FOUND;
    }
    if (is_withdrawn(call, &a)) { /* and the offer is taken back already, or will be */
        return PAG_E_EXPIRED;
    }
    return a.id == d->open_action ? PAG_OK : PAG_E_NOT_FOUND;
}

enum pag_err pag_app_blob_open(struct pag_call *call, const char *device,
                               const uint8_t sha256[PAG_SHA256_BYTES], int *fd, uint64_t *bytes)
{
    struct pag_device d;
    enum pag_err err = pag_device_get(call->thread->db, NULL, device, &d);
    err = err == PAG_OK ? pag_blob_entitled(call, &d, sha256) : err;
    return err == PAG_OK ? pag_store_blob_open(call->thread->app->config.store, sha256, fd, bytes) : err;
}

enum pag_err pag_app_offer_open(struct pag_call *call, const struct pag_check_reply *offer, int *fd,
                                uint64_t *bytes)
{
    return offer->verdict == PAG_CHECK_OFFER
               ? pag_store_blob_open(call->thread->app->config.store, offer->sha256, fd, bytes)
               : PAG_E_NOT_FOUND;
}

enum pag_err pag_app_trust_get(struct pag_call *call, const char *product, uint32_t version,
                               struct pag_span *cose)
{
    struct pag_product p;
    struct pag_trust_record t;
    enum pag_err err = pag_find_product(call, call->thread->db, product, &p);
    if (err == PAG_OK) {
        err =
            version == 0 ? PAG_E_NOT_FOUND : pag_trust_row(call->thread->db, call->arena, p.id, version, &t);
    }
    if (err == PAG_OK) {
        *cose = t.cose;
    }
    return err;
}
