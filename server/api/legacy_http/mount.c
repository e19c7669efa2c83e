#include "server/api/legacy_http/mount.h"

#include "core/bytes.h"
#include "server/api/legacy_http/files.h"
#include "server/api/legacy_http/legacy.h"
#include "server/api/legacy_http/tag.h"
#include "server/api/reply.h"
#include "server/api/secureesp/serve.h"

static const pag_mount_fn handlers[PAG_MOUNT_KINDS] = {
    [PAG_MOUNT_HTTPUPDATE] = pag_legacy_serve,
    [PAG_MOUNT_TAG_EMONESP] = pag_tag_serve,
    [PAG_MOUNT_TAG_SQUIX] = pag_tag_serve,
    [PAG_MOUNT_FILES] = pag_files_serve,
    [PAG_MOUNT_SECUREESP8266] = pag_secureesp_handle,
};

static bool take(const struct pag_http_request *req, const struct pag_mount_found *f,
                 struct pag_mount_at *out)
{
    if (!req->tls && !f->plain_http) {
        return false;
    }
    *out = (struct pag_mount_at){ .product = f->product,
                                  .kind = f->mount.kind,
                                  .has_auth = f->mount.has_auth,
                                  .auth = f->mount.auth,
                                  .flags = f->mount.flags,
                                  .config = f->mount.config,
                                  .rest = f->rest,
                                  .plain = !req->tls };
    size_t after = f->rest.n > 0 ? (size_t)(f->rest.p - req->path.p) : req->path.n;
    out->base = (struct pag_span){ req->path.p, after };
    while (out->base.n > 0 && out->base.p[out->base.n - 1] == '/') {
        out->base.n--;
    }
    return true;
}

bool pag_mount_of(struct pag_http_request *req, struct pag_mount_at *out)
{
    struct pag_mount_found found;
    return pag_app_mount_find(&pag_device_call_of(req)->call, req->path, &found) == PAG_OK &&
           take(req, &found, out);
}

/* These clients want the connection gone at once. */
static void nothing(struct pag_http_request *req)
{
    pag_api_status(req, 404, true);
}

static void handle(struct pag_http_request *req, const struct pag_mount_at *at)
{
    if (handlers[at->kind] == NULL) {
        nothing(req);
        return;
    }
    handlers[at->kind](req, at);
}

static void serve_default(struct pag_http_request *req, enum pag_mount_kind kind)
{
    struct pag_span product;
    struct pag_mount_found found = { .rest = req->param[1] };
    struct pag_mount_at *at = pag_arena_alloc(req->arena, sizeof *at);
    if (at == NULL || pag_http_decode(req, req->param[0], &product) != PAG_OK ||
        pag_app_mount_default(&pag_device_call_of(req)->call, product, kind, &found) != PAG_OK ||
        !take(req, &found, at)) {
        nothing(req);
        return;
    }
    handle(req, at);
}

void pag_legacy_update(struct pag_http_request *req)
{
    serve_default(req, PAG_MOUNT_HTTPUPDATE);
}

void pag_mount_tag(struct pag_http_request *req)
{
    serve_default(req, PAG_MOUNT_TAG_EMONESP);
}

void pag_mount_files(struct pag_http_request *req)
{
    serve_default(req, PAG_MOUNT_FILES);
}

void pag_mount_secureesp(struct pag_http_request *req)
{
    serve_default(req, PAG_MOUNT_SECUREESP8266);
}

void pag_mount_fallback(struct pag_http_request *req)
{
    struct pag_mount_at *at = pag_arena_alloc(req->arena, sizeof *at);
    if (at == NULL || !pag_mount_of(req, at)) {
        nothing(req);
        return;
    }
    handle(req, at);
}
