#include "server/api/secureesp/serve.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/x509.h"
#include "server/api/json.h"
#include "server/api/limits.h"
#include "server/api/reply.h"
#include "server/api/secureesp/config.h"
#include "server/app/check_in.h"
#include "server/app/device_key.h"
#include "server/app/releases.h"
#include "server/app/secureesp.h"

enum { BASIC_MAX = 256, FILE_MAX = 8192 };

struct visit {
    struct pag_device_call *d;
    const struct pag_mount_at *at;
    json_t *settings; /* of the product; released by finish */
    bool der;
    const char *label; /* of the PEM block */
    enum pag_command_kind kind;
    struct pag_check_in in;
    struct pag_check_reply out;
    struct pag_device_file_in file_in;
    struct pag_span file_out;
};

/* ---- answering: the sketch shows nothing but the status, people who look read the sentence ---- */

static void answer(struct visit *v, unsigned status, const char *type, struct pag_span body)
{
    struct pag_http_header header = { pag_span_str("Cache-Control"), pag_span_str("no-store") };
    struct pag_http_reply reply = {
        .status = status, .content_type = type, .body = body, .header = &header, .header_n = 1, .close = true
    };
    json_decref(v->settings);
    v->settings = NULL;
    if (status >= 400) {
        pag_log_info(pag_api_of(v->d->req)->log, "secureesp.refused",
                     PAG_F_STR("device", v->d->has_identity ? v->d->identity.device : ""),
                     PAG_F_U64("status", status), PAG_F_STR("address", v->d->req->address));
    }
    pag_http_reply(v->d->req, &reply);
}

static void refuse(struct visit *v, unsigned status, const char *sentence)
{
    answer(v, status, "text/plain; charset=utf-8", pag_span_str(sentence));
}

static void fetched(const struct visit *v, int32_t code)
{
    if (v->d->has_identity) {
        pag_app_secureesp_fetched(v->d->call.thread, v->d->identity.device, v->kind, code);
    }
}

static void not_modified(struct visit *v, int32_t code)
{
    struct pag_span none = { NULL, 0 };
    fetched(v, code);
    answer(v, 304, NULL, none);
}

static unsigned status_of(enum pag_err err)
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

/* ---- who ---- */

/* "?claim=", or the password of Basic. */
static struct pag_span claim_of(struct pag_http_request *req)
{
    struct pag_span none = { NULL, 0 };
    struct pag_span claim;
    struct pag_span v = pag_http_header_get(req, "Authorization");
    if (pag_http_query_get(req, "claim", &claim)) {
        return claim;
    }
    if (v.n <= 6 || v.n - 6 > BASIC_MAX || (v.n - 6) % 4 != 0 ||
        !pag_span_eq_nocase(pag_span_of(v.p, 6), "Basic ")) {
        return none;
    }
    struct pag_span text = { v.p + 6, v.n - 6 };
    uint8_t *room = pag_arena_alloc(req->arena, BASIC_MAX);
    int n = room != NULL ? EVP_DecodeBlock(room, text.p, (int)text.n) : -1;
    if (n < 2) {
        return none;
    }
    size_t used = (size_t)n - (text.p[text.n - 1] == '=' ? 1U : 0U) - (text.p[text.n - 2] == '=' ? 1U : 0U);
    struct pag_span pair = { room, used };
    size_t colon = pag_span_find(pair, 0, ':');
    return colon < pair.n ? pag_span_of(pair.p + colon + 1, pair.n - colon - 1) : none;
}

static bool needs_identity(struct visit *v)
{
    if (v->d->has_identity) {
        return true;
    }
    refuse(v, 401,
           "This file is for a device that shows its own certificate. Put <id>.crt and <id>.key into the "
           "device's data folder, or fetch them with ?claim= and a code of: pagurus enroll code create.\n");
    return false;
}

/* ---- ca.crt, certificates and keys ---- */

static void send_block(struct visit *v, struct pag_span der)
{
    struct pag_buf pem = { pag_arena_alloc(v->d->req->arena, FILE_MAX), 0, FILE_MAX };
    if (!v->der && (pem.p == NULL || pag_x509_pem_of_der(v->label, der, &pem) != PAG_OK)) {
        refuse(v, 503, "Not now: try again.\n");
        return;
    }
    fetched(v, PAG_FETCH_OK);
    answer(v, 200, v->der ? "application/pkix-cert" : "application/x-pem-file",
           v->der ? der : pag_buf_span(&pem));
}

static void send_ca(struct visit *v)
{
    struct pag_api *api = pag_api_of(v->d->req);
    struct pag_buf der = { pag_arena_alloc(v->d->req->arena, FILE_MAX), 0, FILE_MAX };
    struct pag_span pem;
    v->label = "CERTIFICATE";
    v->kind = (enum pag_command_kind)PAG_WORD_CA;
    if (der.p == NULL ||
        api->process->file(api->process_ctx, PAG_API_ROOT_PEM, v->d->req->arena, &pem) != PAG_OK ||
        pag_x509_der_of_pem("CERTIFICATE", pem, &der) != PAG_OK) {
        refuse(v, 503, "Not now: try again.\n");
        return;
    }
    send_block(v, pag_buf_span(&der));
}

static void file_done(struct pag_call *call, enum pag_err err)
{
    struct visit *v = ((struct pag_device_call *)call->user)->out;
    struct pag_buf der = { pag_arena_alloc(call->arena, FILE_MAX), 0, FILE_MAX };
    if (err == PAG_E_UNAUTHENTICATED) {
        (void)needs_identity(v);
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
        refuse(v, status_of(err), detail != NULL ? detail : "Not now.\n");
        return;
    }
    if (v->file_in.file == PAG_DEVICE_FILE_CERT) {
        send_block(v, v->file_out);
        return;
    }
    fetched(v, PAG_FETCH_OK);
    if (v->der && pag_x509_der_of_pem("PRIVATE KEY", v->file_out, &der) == PAG_OK) {
        answer(v, 200, "application/pkcs8", pag_buf_span(&der));
    } else {
        answer(v, 200, "application/x-pem-file", v->file_out);
    }
}

static void send_own(struct visit *v, struct pag_span id, enum pag_device_file file)
{
    struct pag_http_request *req = v->d->req;
    char mac[13];
    v->label = "CERTIFICATE";
    v->kind = (enum pag_command_kind)(file == PAG_DEVICE_FILE_CERT ? PAG_WORD_CERT : PAG_WORD_KEY);
    bool by_claim = !v->d->has_identity;
    if (!pag_device_id_ok(id) || (by_claim && (id.n != 12 || pag_mac_text(id, mac) != PAG_OK))) {
        refuse(v, 404, "Files are named by the device's id: its MAC as 12 lower-case hex digits.\n");
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
static void place_of(struct visit *v, bool url, struct pag_secureesp_place *p)
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

static void send_config(struct visit *v, bool url)
{
    struct pag_dialect_settings product;
    struct pag_dialect_settings device;
    struct pag_secureesp_place place;
    struct pag_span body = { NULL, 0 };
    v->kind = PAG_COMMAND_CONFIG;
    if (!needs_identity(v)) {
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
        refuse(v, 507,
               "config.json would be longer than the sketch can read (699 bytes): shorten names or "
               "wifi of the product or device.\n");
        return;
    }
    if (err != PAG_OK || place.mqtt_port == 0) {
        refuse(v, 503, "Not now: the server does not know its broker's port yet. Try again.\n");
        return;
    }
    fetched(v, PAG_FETCH_OK);
    answer(v, 200, "application/json", body);
}

/* ---- firmware.bin ---- */

struct transfer {
    struct pag_api *api;
    struct pag_app_thread *thread;
    struct pag_transfer what; /* its texts are below */
    char device[PAG_DEVICE_ID_MAX + 1];
    char version[PAG_VERSION_MAX + 1];
};

static void transfer_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    struct transfer *t = ctx;
    (void)first;
    atomic_fetch_sub(&t->api->transfers, 1);
    atomic_fetch_add(&t->api->download_bytes, sent);
    t->what.complete = complete;
    pag_app_transfer(t->thread, &t->what);
    pag_app_secureesp_fetched(t->thread, t->device, (enum pag_command_kind)PAG_WORD_FIRMWARE,
                              complete ? PAG_FETCH_OK : PAG_FETCH_SHORT);
    free(t);
}

static struct transfer *transfer_new(const struct visit *v)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->api = pag_api_of(v->d->req);
    t->thread = v->d->call.thread;
    t->what =
        (struct pag_transfer){ .device = t->device, .action_id = v->out.action_id, .version = t->version };
    memcpy(t->what.sha256, v->out.sha256, sizeof t->what.sha256);
    if (pag_text_copy(t->device, sizeof t->device, pag_span_str(v->in.device)) != PAG_OK ||
        pag_text_copy(t->version, sizeof t->version, pag_span_str(v->out.version)) != PAG_OK) {
        free(t);
        return NULL;
    }
    atomic_fetch_add(&t->api->transfers, 1);
    return t;
}

static void send_image(struct visit *v)
{
    int fd = -1;
    uint64_t bytes = 0;
    enum pag_err err = pag_app_offer_open(&v->d->call, &v->out, &fd, &bytes);
    bool look = v->in.only_look; /* HEAD: no byte is sent */
    struct transfer *t = err == PAG_OK && !look ? transfer_new(v) : NULL;
    if (t == NULL && !(look && err == PAG_OK)) {
        if (fd >= 0) {
            close(fd);
        }
        not_modified(v, PAG_FETCH_BUSY);
        return;
    }
    struct pag_http_header header = { pag_span_str("Cache-Control"), pag_span_str("no-store") };
    struct pag_http_file file = { .fd = fd,
                                  .bytes = bytes,
                                  .content_type = "application/octet-stream",
                                  .header = &header,
                                  .header_n = 1,
                                  .no_range = true,
                                  .close = true,
                                  .done = t != NULL ? transfer_done : NULL,
                                  .done_ctx = t };
    json_decref(v->settings);
    v->settings = NULL;
    pag_http_reply_file(v->d->req, &file);
}

static void checked(struct pag_call *call, enum pag_err err)
{
    struct visit *v = ((struct pag_device_call *)call->user)->out;
    if (err != PAG_OK) {
        refuse(v, status_of(err),
               err == PAG_E_BUSY ? "Not now: try again.\n"
                                 : "The device is not of this product, or its certificate was revoked.\n");
        return;
    }
    switch (v->out.verdict) {
    case PAG_CHECK_OFFER:
        send_image(v);
        return;
    case PAG_CHECK_NO_IMAGE:
        refuse(v, 404, "The product has no firmware for this device yet: pagurus release push.\n");
        return;
    case PAG_CHECK_NONE:
    case PAG_CHECK_TEXT:
        break;
    }
    not_modified(v, PAG_FETCH_CURRENT);
}

static bool read_image(struct visit *v)
{
    struct pag_span id;
    struct pag_span name;
    struct pag_span version;
    struct pag_fact_text *f = &v->in.facts.version;
    if (!pag_http_query_get(v->d->req, "curimage", &id) || id.n == 0) {
        refuse(v, 400, "Say what runs: firmware.bin?curimage=BOARD-00.00.08.g\n");
        return false;
    }
    pag_secureesp_image(id, &name, &version);
    if (version.n == 0 || pag_text_copy(f->value, sizeof f->value, version) != PAG_OK) {
        refuse(v, 400,
               "curimage is BOARD-VERSION: what follows its last - is the version, at most 64 "
               "characters.\n");
        return false;
    }
    f->source = PAG_SAID;
    const char *board = pag_secureesp_config_board(v->settings);
    if (board[0] != '\0' && !pag_span_eq_str(name, board)) {
        const char *text = pag_arena_printf(v->d->req->arena,
                                            "This product is for boards %s. Move the device to a product of "
                                            "its own, or change the setting board.\n",
                                            board);
        refuse(v, 409, text != NULL ? text : "another board\n");
        return false;
    }
    return true;
}

static void send_firmware(struct visit *v)
{
    struct pag_api *api = pag_api_of(v->d->req);
    v->kind = (enum pag_command_kind)PAG_WORD_FIRMWARE;
    if (!needs_identity(v) || !read_image(v)) {
        return;
    }
    if (atomic_load(&api->transfers) >= atomic_load(&api->limits.transfers)) {
        not_modified(v, PAG_FETCH_BUSY);
        return;
    }
    char mac[13];
    const char *id = v->d->identity.device;
    v->in.protocol = PAG_PROTOCOL_SECUREESP;
    v->in.proof = PAG_PROOF_CERTIFICATE;
    v->in.mode = PAG_CHECK_FIRMWARE;
    v->in.device = id;
    v->in.product = v->at->product;
    v->in.mac = pag_mac_text(pag_span_str(id), mac) == PAG_OK ? id : NULL;
    v->in.facts.chip = (struct pag_fact_u32){ PAG_ASSUMED, PAG_CHIP_ESP8266 };
    v->in.only_look = v->d->req->method == PAG_HTTP_HEAD;
    v->d->call.done = checked;
    pag_app_check_in(&v->d->call, &v->in, &v->out);
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

static void choose(struct visit *v)
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
        send_firmware(v);
    } else if (v->d->req->method == PAG_HTTP_HEAD) { /* a key is given once: not to be asked for idly */
        refuse(v, 405, "GET only.\n");
    } else if (pag_span_eq_str(file, "config.json")) {
        send_config(v, url);
    } else if (pag_span_eq_str(file, "ca.crt") || pag_span_eq_str(file, "ca")) {
        send_ca(v);
    } else if (ends(file, ".crt", &id)) {
        send_own(v, id, PAG_DEVICE_FILE_CERT);
    } else if (ends(file, ".key", &id)) {
        send_own(v, id, PAG_DEVICE_FILE_KEY);
    } else {
        refuse(v, 404, "Here are config.json, ca.crt, firmware.bin, <id>.crt and <id>.key.\n");
    }
}

static bool admit(struct visit *v)
{
    struct pag_device_call *d = v->d;
    struct pag_api *api = pag_api_of(d->req);
    struct pag_product p;
    struct pag_dialect_settings settings;
    const char *who = d->has_identity ? d->identity.device : d->req->address;
    if (v->at->plain) {
        refuse(v, 403, "secureESP8266 is served over HTTPS only.\n");
        return false;
    }
    if (pag_limits_request(api, d->call.thread, who, d->has_identity ? d->identity.device : NULL) != 0) {
        refuse(v, 429, "Too many requests: wait a minute.\n");
        return false;
    }
    enum pag_err err = pag_app_product(&d->call, v->at->product, &p);
    if (err == PAG_OK && d->has_identity && strcmp(p.id, d->identity.product) != 0) {
        err = PAG_E_NOT_FOUND;
    }
    if (err != PAG_OK) {
        refuse(v, 403, "The certificate is of another product's device.\n");
        return false;
    }
    err = pag_app_dialect(&d->call, p.id, NULL, &settings, NULL);
    if (err != PAG_OK || settings.dialect != PAG_DIALECT_SECUREESP) {
        refuse(v, err != PAG_OK ? 503 : 404,
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
    struct visit *v = pag_arena_alloc(req->arena, sizeof *v);
    if (v == NULL) {
        pag_api_status(req, 503, true);
        return;
    }
    v->d = pag_device_call_of(req);
    v->at = at;
    v->d->out = v;
    if (admit(v)) {
        choose(v);
    }
}
