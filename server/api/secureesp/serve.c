#include "server/api/secureesp/serve.h"

#include <string.h>

#include "core/bytes.h"
#include "server/api/limits.h"
#include "server/api/reply.h"
#include "server/api/secureesp/config.h"
#include "server/api/secureesp/visit.h"
#include "server/app/releases.h"

/* ---- answering ---- */

void pag_secureesp_release(struct pag_secureesp_visit *v)
{
    json_decref(v->settings);
    v->settings = NULL;
}

void pag_secureesp_answer(struct pag_secureesp_visit *v, unsigned status, const char *type,
                          struct pag_span body)
{
    struct pag_http_header header = { pag_span_str("Cache-Control"), pag_span_str("no-store") };
    struct pag_http_reply reply = {
        .status = status, .content_type = type, .body = body, .header = &header, .header_n = 1, .close = true
    };
    pag_secureesp_release(v);
    if (status >= 400) {
        pag_log_info(pag_api_of(v->d->req)->log, "secureesp.refused",
                     PAG_F_STR("device", v->d->has_identity ? v->d->identity.device : ""),
                     PAG_F_U64("status", status), PAG_F_STR("address", v->d->req->address));
    }
    pag_http_reply(v->d->req, &reply);
}

void pag_secureesp_refuse(struct pag_secureesp_visit *v, unsigned status, const char *sentence)
{
    pag_secureesp_answer(v, status, "text/plain; charset=utf-8", pag_span_str(sentence));
}

void pag_secureesp_fetched(const struct pag_secureesp_visit *v, int32_t code)
{
    if (v->d->has_identity) {
        pag_app_secureesp_fetched(v->d->call.thread, v->d->identity.device, v->kind, code);
    }
}

void pag_secureesp_not_modified(struct pag_secureesp_visit *v, int32_t code)
{
    struct pag_span none = { NULL, 0 };
    pag_secureesp_fetched(v, code);
    pag_secureesp_answer(v, 304, NULL, none);
}

unsigned pag_secureesp_code(enum pag_err err)
{
    switch ((int)err) {
    case PAG_E_UNAUTHENTICATED:
        return 401;
    case PAG_E_DENIED:
    case PAG_E_PRODUCT:
        return 403;
    case PAG_E_NOT_FOUND:
        return 404;
    case PAG_E_EXPIRED:
        return 410;
    case PAG_E_LIMIT:
        return 429;
    case PAG_E_SYNTAX:
        return 400;
    case PAG_E_UNSUPPORTED:
        return 501;
    default:
        return 503;
    }
}

bool pag_secureesp_identity(struct pag_secureesp_visit *v)
{
    if (v->d->has_identity) {
        return true;
    }
    pag_secureesp_refuse(
        v, 401,
        "This file is for a device that shows its own certificate. Put <id>.crt and <id>.key into the "
        "device's data folder, or fetch them with ?claim= and a code of: pagurus enroll code create.\n");
    return false;
}

/* ---- which file ---- */

static bool ends(struct pag_span s, const char *tail, struct pag_span *before)
{
    struct pag_span t = pag_span_str(tail);
    if (s.n <= t.n || memcmp(s.p + s.n - t.n, t.p, t.n) != 0) {
        return false;
    }
    *before = (struct pag_span){ s.p, s.n - t.n };
    return true;
}

static void choose(struct pag_secureesp_visit *v)
{
    struct pag_span file = v->at->rest;
    struct pag_span id;
    bool url = pag_span_starts(file, "download/"); /* 00.00.08.f asks there */
    if (url) {
        file = pag_span_of(file.p + 9, file.n - 9);
    }
    if (ends(file, ".der", &id)) { /* some forks load and fetch these names */
        v->der = true;
        file = id;
    }
    if (pag_span_eq_str(file, "firmware.bin")) {
        pag_secureesp_send_firmware(v);
    } else if (v->d->req->method == PAG_HTTP_HEAD) { /* a key is given once: not to be asked for idly */
        pag_secureesp_refuse(v, 405, "GET only.\n");
    } else if (pag_span_eq_str(file, "config.json")) {
        pag_secureesp_send_config(v, url);
    } else if (pag_span_eq_str(file, "ca.crt") || pag_span_eq_str(file, "ca")) {
        pag_secureesp_send_ca(v);
    } else if (ends(file, ".crt", &id)) {
        pag_secureesp_send_own(v, id, PAG_DEVICE_FILE_CERT);
    } else if (ends(file, ".key", &id)) {
        pag_secureesp_send_own(v, id, PAG_DEVICE_FILE_KEY);
    } else {
        pag_secureesp_refuse(v, 404, "Here are config.json, ca.crt, firmware.bin, <id>.crt and <id>.key.\n");
    }
}

static bool admit(struct pag_secureesp_visit *v)
{
    struct pag_device_call *d = v->d;
    struct pag_api *api = pag_api_of(d->req);
    struct pag_product p;
    struct pag_dialect_settings settings;
    const char *who = d->has_identity ? d->identity.device : d->req->address;
    if (v->at->plain) {
        pag_secureesp_refuse(v, 403, "secureESP8266 is served over HTTPS only.\n");
        return false;
    }
    if (pag_limits_request(api, d->call.thread, who, d->has_identity ? d->identity.device : NULL) != 0) {
        pag_secureesp_refuse(v, 429, "Too many requests: wait a minute.\n");
        return false;
    }
    enum pag_err err = pag_app_product(&d->call, v->at->product, &p);
    if (err == PAG_OK && d->has_identity && strcmp(p.id, d->identity.product) != 0) {
        err = PAG_E_NOT_FOUND;
    }
    if (err != PAG_OK) {
        pag_secureesp_refuse(v, 403, "The certificate is of another product's device.\n");
        return false;
    }
    err = pag_app_dialect(&d->call, p.id, NULL, &settings, NULL);
    if (err != PAG_OK || settings.dialect != PAG_DIALECT_SECUREESP) {
        pag_secureesp_refuse(v, err != PAG_OK ? 503 : 404,
                             "The product does not speak secureESP8266 yet: pagurus product dialect <name> "
                             "secureesp8266.\n");
        return false;
    }
    v->settings = pag_secureesp_config_load(settings.config);
    v->der = pag_secureesp_config_der(v->settings);
    return true;
}

void pag_secureesp_handle(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_secureesp_visit *v = pag_arena_alloc(req->arena, sizeof *v);
    if (v == NULL) {
        pag_api_status(req, 503, true);
        return;
    }
    v->d = pag_device_call_of(req);
    v->at = at;
    v->d->out = v;
    if (admit(v)) {
        if (v->d->has_identity) {
            pag_app_secureesp_shown(v->d->call.thread, v->d->identity.device,
                                    pag_span_of(req->peer->serial, req->peer->serial_n));
        }
        choose(v);
    }
}
