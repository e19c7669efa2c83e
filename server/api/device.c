#include "server/api/device.h"

#include <stdio.h>

#include "host/rand.h"
#include "server/api/est/est.h"
#include "server/api/legacy_http/legacy.h"
#include "server/api/legacy_http/mount.h"
#include "server/api/metrics/timing.h"
#include "server/api/native/native.h"
#include "server/app/clones.h"

enum { CBOR_BODY_MAX = 4096 };

#define ANY_METHOD                                                                                           \
    (PAG_HTTP_GET | PAG_HTTP_HEAD | PAG_HTTP_POST | PAG_HTTP_PUT | PAG_HTTP_PATCH | PAG_HTTP_DELETE)

/* What clients without our agent ask for; the paths of mounts come last. */
#define LEGACY_ROUTES                                                                                            \
    { PAG_HTTP_GET, "/update/{product}", PAG_NEEDS_BY_PRODUCT, PAG_BODY_NONE, 0, pag_legacy_update },            \
        { PAG_HTTP_GET,     "/update/{product}/{rest...}", PAG_NEEDS_BY_PRODUCT, PAG_BODY_NONE, 0,               \
          pag_legacy_update },                                                                                   \
        { PAG_HTTP_GET, "/tag/{product}", PAG_NEEDS_BY_PRODUCT, PAG_BODY_NONE, 0, pag_mount_tag },               \
        { PAG_HTTP_GET, "/tag/{product}/{rest...}", PAG_NEEDS_BY_PRODUCT, PAG_BODY_NONE, 0, pag_mount_tag },     \
        { PAG_HTTP_GET, "/files/{product}/{rest...}", PAG_NEEDS_BY_PRODUCT, PAG_BODY_NONE, 0, pag_mount_files }, \
        { PAG_HTTP_GET,       "/secureesp8266/{product}/{rest...}", PAG_NEEDS_BY_PRODUCT, PAG_BODY_NONE, 0,      \
          pag_mount_secureesp },                                                                                 \
        { ANY_METHOD, "/", PAG_NEEDS_MOUNT, PAG_BODY_NONE, 0, pag_mount_fallback },                              \
    {                                                                                                            \
        ANY_METHOD, "/{rest...}", PAG_NEEDS_MOUNT, PAG_BODY_NONE, 0, pag_mount_fallback                          \
    }

static void find_identity(struct pag_device_call *d, enum pag_err *err)
{
    *err = PAG_E_UNAUTHENTICATED;
    if (d->req->peer == NULL || !d->req->peer->has_certificate) {
        return;
    }
    if (!pag_app_admit(pag_api_of(d->req)->app, d->req->peer)) {
        *err = PAG_E_DENIED;
        return;
    }
    *err = pag_app_device_of(&d->call, d->req->peer, &d->identity);
    if (*err == PAG_OK) {
        d->has_identity = true;
        (void)snprintf(d->actor, sizeof d->actor, "device:%s", d->identity.device);
        d->call.scope.actor = d->actor;
        d->call.scope.product = d->identity.product;
        const struct pag_seen_in seen = { .device = d->identity.device,
                                          .product = d->identity.product,
                                          .address = d->req->address,
                                          .certificate_until = d->req->peer->not_after };
        pag_app_seen(d->call.thread, &seen);
    }
}

unsigned pag_device_admit(struct pag_http_request *req)
{
    enum pag_err err = PAG_OK;
    struct pag_device_call *d = pag_arena_alloc(req->arena, sizeof *d);
    if (d == NULL) {
        return 503;
    }
    pag_rand_hex(d->request_id, 8);
    d->req = req;
    d->call = pag_api_call(req);
    d->call.user = d;
    req->user = d;
    find_identity(d, &err);
    switch ((enum pag_device_needs)req->route->needs) {
    case PAG_NEEDS_CERTIFICATE:
        return err == PAG_OK ? 0 : err == PAG_E_DENIED ? 403 : 401;
    case PAG_NEEDS_CLAIM:
        return 0;
    case PAG_NEEDS_MOUNT:
        if ((req->method & (PAG_HTTP_GET | PAG_HTTP_HEAD)) == 0) {
            return 404;
        }
        return err == PAG_E_DENIED ? 403 : 0;
    case PAG_NEEDS_BY_PRODUCT:
        return err == PAG_E_DENIED ? 403 : 0;
    }
    return 401;
}

/* An EST operation, without and with a product's name as its label. */
#define EST_ROUTE(method, name, body, handler)                                                               \
    { method, "/.well-known/est/" name, PAG_NEEDS_CLAIM, body, PAG_EST_BODY_MAX, handler },                  \
    {                                                                                                        \
        method, "/.well-known/est/{label}/" name, PAG_NEEDS_CLAIM, body, PAG_EST_BODY_MAX, handler           \
    }

static const struct pag_http_route device_routes[] = {
    { PAG_HTTP_POST, "/v1/check", PAG_NEEDS_CERTIFICATE, PAG_BODY_MEMORY, CBOR_BODY_MAX, pag_native_check },
    { PAG_HTTP_GET, "/v1/blob/{sha256}", PAG_NEEDS_CERTIFICATE, PAG_BODY_NONE, 0, pag_native_blob },
    { PAG_HTTP_GET, "/v1/blob/{sha256}/sig", PAG_NEEDS_CERTIFICATE, PAG_BODY_NONE, 0, pag_native_signature },
    { PAG_HTTP_POST, "/v1/report", PAG_NEEDS_CERTIFICATE, PAG_BODY_MEMORY, CBOR_BODY_MAX, pag_native_report },
    { PAG_HTTP_POST, "/v1/enroll", PAG_NEEDS_CLAIM, PAG_BODY_MEMORY, CBOR_BODY_MAX, pag_native_enroll },
    { PAG_HTTP_GET, "/v1/trust/{version}", PAG_NEEDS_CERTIFICATE, PAG_BODY_NONE, 0, pag_native_trust },
    { PAG_HTTP_GET, "/v1/trust/{product}/{version}", PAG_NEEDS_CERTIFICATE, PAG_BODY_NONE, 0,
      pag_native_trust },
    EST_ROUTE(PAG_HTTP_GET, "cacerts", PAG_BODY_NONE, pag_est_cacerts),
    EST_ROUTE(PAG_HTTP_GET, "csrattrs", PAG_BODY_NONE, pag_est_csrattrs),
    EST_ROUTE(PAG_HTTP_POST, "simpleenroll", PAG_BODY_MEMORY, pag_est_simpleenroll),
    EST_ROUTE(PAG_HTTP_POST, "simplereenroll", PAG_BODY_MEMORY, pag_est_simplereenroll),
    LEGACY_ROUTES,
};

static const struct pag_http_route legacy_routes[] = { LEGACY_ROUTES };

void pag_api_device_listener(struct pag_api *api, struct pag_http_config *config)
{
    config->routes = device_routes;
    config->route_n = sizeof device_routes / sizeof device_routes[0];
    config->admit = pag_device_admit;
    config->answered = pag_timing_answered;
    if (api->timing[1] == NULL) {
        api->timing[1] = pag_timing_new("device", config->routes, config->route_n);
    }
    config->ctx = api;
    config->legacy_target = true;
}

void pag_api_legacy_listener(struct pag_api *api, struct pag_http_config *config)
{
    config->routes = legacy_routes;
    config->route_n = sizeof legacy_routes / sizeof legacy_routes[0];
    config->admit = pag_device_admit;
    config->answered = pag_timing_answered;
    if (api->timing[2] == NULL) {
        api->timing[2] = pag_timing_new("legacy", config->routes, config->route_n);
    }
    config->ctx = api;
    config->legacy_target = true;
    config->quirk_close_fast = true;
}
