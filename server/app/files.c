#include "server/app/files.h"

#include <string.h>

#include "core/bytes.h"
#include "server/app/op.h"
#include "server/domain/file.h"

static enum pag_err product_of(struct pag_call *call, const struct pag_check_in *in,
                               const struct pag_catalog **out)
{
    const struct pag_catalog *c = pag_store_catalog(call->thread->reader, in->product);
    if (c == NULL || !pag_scope_sees(&call->scope, c->product.id)) {
        return PAG_E_NOT_FOUND;
    }
    enum pag_proof least = pag_proof_least(in->has_auth ? in->auth : c->product.settings.legacy_auth);
    *out = c;
    return in->proof >= least ? PAG_OK : PAG_E_UNAUTHENTICATED;
}

static enum pag_err fill(struct pag_call *call, const struct pag_release *r,
                         const struct pag_release_image *image, struct pag_check_reply *out)
{
    memset(out, 0, sizeof *out);
    out->verdict = PAG_CHECK_OFFER;
    out->version = pag_arena_text(call->arena, pag_span_str(r->version));
    out->image_name = pag_arena_text(call->arena, pag_span_str(image->name));
    out->why = "";
    memcpy(out->sha256, image->sha256, sizeof out->sha256);
    memcpy(out->md5, image->md5, sizeof out->md5);
    out->bytes = image->bytes;
    return out->version != NULL && out->image_name != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

enum pag_err pag_app_file_find(struct pag_call *call, const struct pag_check_in *in,
                               struct pag_check_reply *out)
{
    const struct pag_catalog *c = NULL;
    uint32_t release = 0;
    uint32_t image = 0;
    enum pag_err err = product_of(call, in, &c);
    if (err == PAG_OK && !pag_catalog_by_file(c, in->file, in->any_name, &release, &image)) {
        err = PAG_E_NOT_FOUND;
    }
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_release *r = c->release[release].release;
    return fill(call, r, &r->image[image], out);
}

bool pag_app_version_known(struct pag_call *call, const char *product, const char *version)
{
    const struct pag_catalog *c = pag_store_catalog(call->thread->reader, product);
    uint32_t release = 0;
    return c != NULL && pag_catalog_by_version(c, version, &release);
}

void pag_file_pin_of(const struct pag_check_reply *offer, struct pag_file_pin *out)
{
    out->action_id = offer->action_id;
    memcpy(out->sha256, offer->sha256, sizeof out->sha256);
}

enum pag_err pag_app_file_again(struct pag_call *call, const struct pag_check_in *in,
                                const struct pag_file_pin *pin, struct pag_check_reply *out)
{
    const struct pag_catalog *c = NULL;
    uint32_t release = 0;
    uint32_t image = 0;
    enum pag_err err = product_of(call, in, &c);
    if (err == PAG_OK && !pag_catalog_by_sha256(c, pin->sha256, &release, &image)) {
        err = PAG_E_NOT_FOUND;
    }
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_release *r = c->release[release].release;
    if (r->state != PAG_RELEASE_PUBLISHED) {
        return PAG_E_NOT_FOUND;
    }
    err = fill(call, r, &r->image[image], out);
    out->action_id = pin->action_id;
    return err;
}

static bool has_firmware(const struct pag_release *r)
{
    for (size_t k = 0; k < r->image_n; k++) {
        if (r->image[k].kind != PAG_IMAGE_FILESYSTEM && !pag_image_is_side(r->image[k].name)) {
            return true;
        }
    }
    return false;
}

static const struct pag_release *newest_firmware(const struct pag_catalog *c)
{
    for (size_t i = c->release_n; i-- > 0;) {
        const struct pag_release *r = c->release[i].release;
        if (r->state == PAG_RELEASE_PUBLISHED && has_firmware(r)) {
            return r;
        }
    }
    return NULL;
}

enum pag_err pag_app_file_release(struct pag_call *call, const struct pag_check_in *in,
                                  struct pag_file_release *out)
{
    const struct pag_catalog *c = NULL;
    enum pag_err err = product_of(call, in, &c);
    const struct pag_release *r = err == PAG_OK ? newest_firmware(c) : NULL;
    if (r == NULL) {
        return err == PAG_OK ? PAG_E_NOT_FOUND : err;
    }
    out->product = pag_arena_text(call->arena, pag_span_str(c->product.name));
    out->version = pag_arena_text(call->arena, pag_span_str(r->version));
    out->chip = c->product.chip;
    out->image_n = r->image_n;
    out->image = pag_arena_alloc(call->arena, r->image_n * sizeof *out->image);
    if (out->product == NULL || out->version == NULL || out->image == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memcpy(out->image, r->image, r->image_n * sizeof *out->image);
    return PAG_OK;
}
