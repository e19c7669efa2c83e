#include <string.h>

#include "server/app/check_in.h"
#include "server/app/op.h"

/* What its product has published for other boards, or for later, is nothing to a device. */
static bool is_entitled(struct pag_call *call, const struct pag_device *d,
                        const uint8_t sha256[PAG_SHA256_BYTES])
{
    struct pag_action a;
    return d->open_action != 0 && pag_action_get(call->thread->db, d->open_action, &a) == PAG_OK &&
           memcmp(a.target, sha256, PAG_SHA256_BYTES) == 0;
}

enum pag_err pag_app_blob_open(struct pag_call *call, const char *device,
                               const uint8_t sha256[PAG_SHA256_BYTES], int *fd, uint64_t *bytes)
{
    struct pag_device d;
    enum pag_err err = pag_device_get(call->thread->db, NULL, device, &d);
    if (err != PAG_OK) {
        return err;
    }
    if (d.revoked_ms != 0 || !is_entitled(call, &d, sha256)) {
        return PAG_E_NOT_FOUND;
    }
    return pag_store_blob_open(call->thread->app->config.store, sha256, fd, bytes);
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
