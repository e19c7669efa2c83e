#include <string.h>

#include "core/bytes.h"
#include "host/x509.h"
#include "server/api/basic.h"
#include "server/api/secureesp/config.h"
#include "server/api/secureesp/visit.h"

enum { FILE_MAX = 8192 };

/* ---- ca.crt, certificates and keys ---- */

static void send_block(struct pag_secureesp_visit *v, struct pag_span der)
{
    struct pag_buf pem = { pag_arena_alloc(v->d->req->arena, FILE_MAX), 0, FILE_MAX };
    if (!v->der && (pem.p == NULL || pag_x509_pem_of_der(v->label, der, &pem) != PAG_OK)) {
        pag_secureesp_refuse(v, 503, "Not now: try again.\n");
        return;
    }
    pag_secureesp_fetched(v, PAG_FETCH_OK);
    pag_secureesp_answer(v, 200, v->der ? "application/pkix-cert" : "application/x-pem-file",
                         v->der ? der : pag_buf_span(&pem));
}

void pag_secureesp_send_ca(struct pag_secureesp_visit *v)
{
    struct pag_api *api = pag_api_of(v->d->req);
    struct pag_buf der = { pag_arena_alloc(v->d->req->arena, FILE_MAX), 0, FILE_MAX };
    struct pag_span pem;
    v->label = "CERTIFICATE";
    v->kind = (enum pag_command_kind)PAG_WORD_CA;
    if (der.p == NULL ||
        api->process->file(api->process_ctx, PAG_API_ROOT_PEM, v->d->req->arena, &pem) != PAG_OK ||
        pag_x509_der_of_pem("CERTIFICATE", pem, &der) != PAG_OK) {
        pag_secureesp_refuse(v, 503, "Not now: try again.\n");
        return;
    }
    send_block(v, pag_buf_span(&der));
}

static void file_done(struct pag_call *call, enum pag_err err)
{
    struct pag_secureesp_visit *v = ((struct pag_device_call *)call->user)->out;
    struct pag_buf der = { pag_arena_alloc(call->arena, FILE_MAX), 0, FILE_MAX };
    if (err == PAG_E_UNAUTHENTICATED) {
        (void)pag_secureesp_identity(v);
        return;
    }
    if (err != PAG_OK || der.p == NULL) {
        const char *detail = call->refusal.detail != NULL
                                 ? pag_arena_printf(call->arena, "%s %s\n", call->refusal.detail,
                                                    call->refusal.help != NULL ? call->refusal.help : "")
                             : err == PAG_E_NOT_FOUND
                                 ? "Nothing is waiting here: an administrator makes a new key with: pagurus "
                                   "device key <id>.\n"
                                 : "Not now.\n";
        pag_secureesp_refuse(v, pag_secureesp_code(err), detail != NULL ? detail : "Not now.\n");
        return;
    }
    if (v->file_in.file == PAG_DEVICE_FILE_CERT) {
        send_block(v, v->file_out);
        return;
    }
    pag_secureesp_fetched(v, PAG_FETCH_OK);
    if (v->der && pag_x509_der_of_pem("PRIVATE KEY", v->file_out, &der) == PAG_OK) {
        pag_secureesp_answer(v, 200, "application/pkcs8", pag_buf_span(&der));
    } else {
        pag_secureesp_answer(v, 200, "application/x-pem-file", v->file_out);
    }
}

/* "?claim=", or the password of Basic. */
static struct pag_span claim_of(struct pag_http_request *req)
{
    struct pag_span claim = { NULL, 0 };
    struct pag_span user;
    if (!pag_http_query_get(req, "claim", &claim)) {
        (void)pag_api_basic(req, &user, &claim);
    }
    return claim;
}

void pag_secureesp_send_own(struct pag_secureesp_visit *v, struct pag_span id, enum pag_device_file file)
{
    struct pag_http_request *req = v->d->req;
    char mac[13];
    v->label = "CERTIFICATE";
    v->kind = (enum pag_command_kind)(file == PAG_DEVICE_FILE_CERT ? PAG_WORD_CERT : PAG_WORD_KEY);
    bool by_claim = !v->d->has_identity;
    if (!pag_device_id_ok(id) || (by_claim && (id.n != 12 || pag_mac_text(id, mac) != PAG_OK))) {
        pag_secureesp_refuse(v, 404,
                             "Files are named by the device's id: its MAC as 12 lower-case hex digits.\n");
        return;
    }
    v->file_in = (struct pag_device_file_in){ .file = file,
                                              .product = v->at->product,
                                              .device = pag_arena_text(req->arena, id),
                                              .proven = by_claim ? NULL : v->d->identity.device,
                                              .address = req->address };
    if (by_claim) {
        v->file_in.claim = claim_of(req);
    }
    v->d->call.done = file_done;
    pag_app_device_file(&v->d->call, &v->file_in, &v->file_out);
}

/* ---- config.json ---- */

/* The name and port by which the device came here: it can be reached by them. */
static void place_of(struct pag_secureesp_visit *v, bool url, struct pag_secureesp_place *p)
{
    struct pag_http_request *req = v->d->req;
    struct pag_span host = pag_http_header_get(req, "Host");
    size_t colon = pag_span_find(host, 0, ':');
    *p = (struct pag_secureesp_place){ .port = 443, .path = v->at->base, .url = url };
    if (colon < host.n) {
        (void)pag_parse_u32(pag_span_of(host.p + colon + 1, host.n - colon - 1), &p->port);
    }
    p->server = pag_arena_text(req->arena, pag_span_of(host.p, colon));
    p->server = p->server != NULL ? p->server : "";
    p->mqtt_server = pag_app_mqtt_place(pag_api_of(req)->app, &p->mqtt_port);
}

void pag_secureesp_send_config(struct pag_secureesp_visit *v, bool url)
{
    struct pag_dialect_settings product;
    struct pag_dialect_settings device;
    struct pag_secureesp_place place;
    struct pag_span body = { NULL, 0 };
    v->kind = PAG_COMMAND_CONFIG;
    if (!pag_secureesp_identity(v)) {
        return;
    }
    enum pag_err err = pag_app_dialect(&v->d->call, v->at->product, v->d->identity.device, &product, &device);
    place_of(v, url, &place);
    json_t *over = pag_secureesp_config_load(err == PAG_OK ? device.config : (struct pag_span){ NULL, 0 });
    err =
        err == PAG_OK ? pag_secureesp_config_render(v->d->req->arena, v->settings, over, &place, &body) : err;
    json_decref(over);
    if (err == PAG_E_LIMIT) {
        pag_log_warn(pag_api_of(v->d->req)->log, "secureesp.config_too_long",
                     PAG_F_STR("device", v->d->identity.device), PAG_F_U64("bytes", body.n));
        pag_secureesp_refuse(
            v, 507,
            "config.json would be longer than the sketch can read (699 bytes): shorten names or "
            "wifi of the product or device.\n");
        return;
    }
    if (err != PAG_OK || place.mqtt_port == 0) {
        pag_secureesp_refuse(v, 503, "Not now: the server does not know its broker's port yet. Try again.\n");
        return;
    }
    pag_secureesp_fetched(v, PAG_FETCH_OK);
    pag_secureesp_answer(v, 200, "application/json", body);
}
