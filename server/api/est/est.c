#include "server/api/est/est.h"

#include <string.h>

#include "core/base64.h"
#include "core/bytes.h"
#include "host/x509.h"
#include "server/api/basic.h"
#include "server/api/device.h"
#include "server/api/limits.h"
#include "server/app/ask.h"
#include "server/app/enroll.h"
#include "server/app/releases.h"

enum { DER_MAX = 6144, P7_MAX = 16384, P7_TEXT_MAX = 32768, RETRY_S = 10 };

#define CERTS_ONLY "application/pkcs7-mime; smime-type=certs-only"

struct visit {
    struct pag_device_call *d;
    struct pag_span user, password; /* of Basic; empty: none came */
    struct pag_enroll_in in;
    struct pag_renew_in renew;
    struct pag_ask_in ask;
    struct pag_enroll_out out;
    char cn[PAG_DEVICE_ID_MAX + 1];
};

static struct pag_http_header header_of(const char *name, const char *value)
{
    return (struct pag_http_header){ pag_span_str(name), pag_span_str(value) };
}

static void say(struct visit *v, unsigned status, const char *sentence, const struct pag_http_header *more)
{
    struct pag_http_header header[2] = { header_of("Cache-Control", "no-store") };
    struct pag_http_request *req = v->d->req;
    if (more != NULL) {
        header[1] = *more;
    }
    const char *text = pag_arena_printf(req->arena, "%s\n", sentence);
    struct pag_http_reply reply = {
        .status = status,
        .content_type = "text/plain; charset=utf-8",
        .body = pag_span_str(text != NULL ? text : ""),
        .header = header,
        .header_n = more != NULL ? 2 : 1,
    };
    pag_log_info(pag_api_of(req)->log, "est.refused", PAG_F_U64("status", status),
                 PAG_F_STR("device", v->d->has_identity ? v->d->identity.device : v->cn),
                 PAG_F_STR("address", req->address), PAG_F_STR("why", sentence));
    pag_http_reply(req, &reply);
}

static void challenge(struct visit *v, const char *sentence)
{
    struct pag_http_header header = header_of("WWW-Authenticate", "Basic realm=\"est\", charset=\"UTF-8\"");
    say(v, 401, sentence, &header);
}

static void later(struct visit *v, unsigned status, const char *sentence)
{
    uint32_t wait = v->d->call.refusal.retry_s > 0 ? v->d->call.refusal.retry_s : RETRY_S;
    const char *seconds = pag_arena_printf(v->d->req->arena, "%u", wait);
    struct pag_http_header header = header_of("Retry-After", seconds != NULL ? seconds : "10");
    say(v, status, sentence, &header);
}

static void refuse(struct visit *v, enum pag_err err)
{
    const struct pag_refusal *r = &v->d->call.refusal;
    const char *text = r->detail != NULL ? r->detail : "The request cannot be read.";
    if (r->detail != NULL && r->help != NULL) {
        text = pag_arena_printf(v->d->req->arena, "%s %s", r->detail, r->help);
        text = text != NULL ? text : r->detail;
    }
    switch ((int)err) {
    case PAG_E_EXPIRED:
        challenge(v, text);
        return;
    case PAG_E_UNAUTHENTICATED:
        challenge(v, "Give a one-time claim as password: pagurus enroll code create.");
        return;
    case PAG_E_AGAIN:
        later(v, 202, "The device waits for an operator: ask again with the same request.");
        return;
    case PAG_E_DENIED:
        say(v, 403, text, NULL);
        return;
    case PAG_E_LIMIT:
        if (r->retry_s > 0) {
            later(v, 429, text);
            return;
        }
        say(v, 400, text, NULL); /* of a length */
        return;
    case PAG_E_SYNTAX:
    case PAG_E_RANGE:
    case PAG_E_SIGNATURE:
        say(v, 400, text, NULL);
        return;
    case PAG_E_UNSUPPORTED:
        say(v, 400, r->detail != NULL ? text : "This server issues no device certificates.", NULL);
        return;
    default:
        later(v, 503, "Not now: try again.");
        return;
    }
}

/* In base64, as every body of EST. */
static void send_pkcs7(struct visit *v, const struct pag_span *in, size_t n)
{
    struct pag_http_request *req = v->d->req;
    struct pag_buf der = { pag_arena_alloc(req->arena, P7_MAX), 0, P7_MAX };
    struct pag_buf text = { pag_arena_alloc(req->arena, P7_TEXT_MAX), 0, P7_TEXT_MAX };
    struct pag_http_header header[] = { header_of("Content-Transfer-Encoding", "base64"),
                                        header_of("Cache-Control", "no-store") };
    if (der.p == NULL || text.p == NULL || pag_x509_certs_only(in, n, &der) != PAG_OK ||
        pag_base64_lines(pag_buf_span(&der), &text) != PAG_OK) {
        later(v, 503, "Not now: try again.");
        return;
    }
    struct pag_http_reply reply = { .status = 200,
                                    .content_type = CERTS_ONLY,
                                    .body = pag_buf_span(&text),
                                    .header = header,
                                    .header_n = 2 };
    pag_http_reply(req, &reply);
}

/* ---- who asks, within what ---- */

/* False: answered. */
static struct visit *begin(struct pag_http_request *req)
{
    struct visit *v = pag_arena_alloc(req->arena, sizeof *v);
    struct pag_device_call *d = pag_device_call_of(req);
    if (v == NULL) {
        struct pag_http_reply reply = { .status = 503 };
        pag_http_reply(req, &reply);
        return NULL;
    }
    v->d = d;
    d->out = v;
    if (!req->tls) { /* never reached by the listeners there are; certificates are not for plain ones */
        say(v, 403, "EST is spoken over TLS only.", NULL);
        return NULL;
    }
    const char *who = d->has_identity ? d->identity.device : req->address;
    d->call.refusal.retry_s =
        pag_limits_request(pag_api_of(req), d->call.thread, who, d->has_identity ? d->identity.device : NULL);
    if (d->call.refusal.retry_s > 0) {
        later(v, 429, "Too many requests.");
        return NULL;
    }
    return v;
}

/* The label in the path, if there is one, as text; "" : there is none. NULL: answered. */
static const char *label_of(struct visit *v)
{
    struct pag_span label;
    struct pag_http_request *req = v->d->req;
    if (req->param[0].n == 0) {
        return "";
    }
    struct pag_product p;
    const char *text =
        pag_http_decode(req, req->param[0], &label) == PAG_OK ? pag_arena_text(req->arena, label) : NULL;
    if (text == NULL || pag_app_product(&v->d->call, text, &p) != PAG_OK) {
        say(v, 404, "There is no such product: the label of an EST address is a product's name.", NULL);
        return NULL;
    }
    return text;
}

/* User and password of Basic. False: answered. */
static bool read_basic(struct visit *v)
{
    enum pag_err err = pag_api_basic(v->d->req, &v->user, &v->password);
    if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
        challenge(v, "The password could not be read: give the claim as password of Basic.");
        return false;
    }
    return true;
}

/* The request in the body, in DER. False: answered. */
static bool read_request(struct visit *v, struct pag_span *csr)
{
    struct pag_http_request *req = v->d->req;
    struct pag_span type = pag_http_header_get(req, "Content-Type");
    struct pag_span mime = { type.p, pag_span_find(type, 0, ';') };
    struct pag_buf der = { pag_arena_alloc(req->arena, DER_MAX), 0, DER_MAX };
    struct pag_fail why = { 0 };
    while (mime.n > 0 && mime.p[mime.n - 1] == ' ') {
        mime.n--;
    }
    if (mime.n > 0 && !pag_span_eq_nocase(mime, "application/pkcs10")) {
        say(v, 415, "Send a certificate request as application/pkcs10.", NULL);
        return false;
    }
    enum pag_err err = der.p == NULL ? PAG_E_NO_MEMORY : pag_base64_decode(req->body, &der);
    if (err == PAG_E_SYNTAX || err == PAG_E_SPACE) {
        say(v, 400, "The body is no base64 of a PKCS#10 request, or was cut off.", NULL);
        return false;
    }
    *csr = pag_buf_span(&der);
    err = err == PAG_OK ? pag_x509_csr_cn(*csr, v->cn, &why) : err;
    if (err != PAG_OK) {
        v->d->call.refusal.detail = why.what;
        refuse(v, err == PAG_E_DENIED ? PAG_E_RANGE : err);
        return false;
    }
    return true;
}

/* ---- enrolling ---- */

static void enrolled(struct pag_call *call, enum pag_err err)
{
    struct visit *v = ((struct pag_device_call *)call->user)->out;
    if (err != PAG_OK) {
        refuse(v, err);
        return;
    }
    send_pkcs7(v, &v->out.enrolled.certificate, 1);
}

/* A label that the device may see is its own product's. */
static void renew(struct visit *v, struct pag_span csr)
{
    v->renew = (struct pag_renew_in){ .device = v->d->identity, .peer = v->d->req->peer, .csr = csr };
    v->d->call.done = enrolled;
    pag_app_renew(&v->d->call, &v->renew, &v->out);
}

static void redeem(struct visit *v, const char *label, struct pag_span csr)
{
    v->in = (struct pag_enroll_in){
        .enroll = { .claim = v->password, .csr = csr, .mac = v->user.n > 0 ? v->user : pag_span_str(v->cn) },
        .address = v->d->req->address,
        .proven = v->d->has_identity ? v->d->identity.device : NULL,
        .product = label[0] != '\0' ? label : NULL,
        .strict = true,
    };
    char mac[13];
    if (pag_mac_text(v->in.enroll.mac, mac) != PAG_OK) {
        say(v, 400, "Name the device by its MAC, as Basic's user or as the request's common name.", NULL);
        return;
    }
    v->d->call.done = enrolled;
    pag_app_enroll(&v->d->call, &v->in, &v->out);
}

/* Without a claim, where the product's owner looks at each device. */
static void ask(struct visit *v, const char *label, struct pag_span csr)
{
    v->ask = (struct pag_ask_in){ .product = label,
                                  .mac = v->user.n > 0 ? v->user : pag_span_str(v->cn),
                                  .csr = csr,
                                  .address = v->d->req->address };
    v->d->call.done = enrolled;
    pag_app_ask(&v->d->call, &v->ask, &v->out);
}

void pag_est_simpleenroll(struct pag_http_request *req)
{
    struct pag_span csr;
    struct visit *v = begin(req);
    const char *label = v != NULL ? label_of(v) : NULL;
    if (label == NULL || !read_basic(v)) {
        return;
    }
    if (v->password.n == 0 && !v->d->has_identity && label[0] == '\0') {
        challenge(v, "Give a one-time claim as password: pagurus enroll code create.");
        return;
    }
    if (!read_request(v, &csr)) {
        return;
    }
    if (v->password.n > 0) {
        redeem(v, label, csr);
    } else if (v->d->has_identity) {
        renew(v, csr);
    } else {
        ask(v, label, csr);
    }
}

void pag_est_simplereenroll(struct pag_http_request *req)
{
    struct pag_span csr;
    struct visit *v = begin(req);
    if (v == NULL || label_of(v) == NULL) {
        return;
    }
    if (!v->d->has_identity) {
        say(v, 401,
            "Show the device's valid certificate. One that has expired or was revoked is renewed by nobody: "
            "enroll anew with a claim.",
            NULL);
        return;
    }
    if (read_request(v, &csr)) {
        renew(v, csr);
    }
}

/* ---- what everybody may know ---- */

void pag_est_cacerts(struct pag_http_request *req)
{
    static const enum pag_api_file files[] = { PAG_API_ROOT_PEM, PAG_API_DEVICE_BUNDLE, PAG_API_SERVER_PEM };
    struct pag_span pem[sizeof files / sizeof files[0]];
    struct pag_api *api = pag_api_of(req);
    struct visit *v = begin(req);
    enum pag_err err = PAG_OK;
    if (v == NULL || label_of(v) == NULL) {
        return;
    }
    for (size_t i = 0; err == PAG_OK && i < sizeof files / sizeof files[0]; i++) {
        err = api->process->file(api->process_ctx, files[i], req->arena, &pem[i]);
    }
    if (err != PAG_OK) {
        later(v, 503, "Not now: try again.");
        return;
    }
    send_pkcs7(v, pem, sizeof files / sizeof files[0]);
}

void pag_est_csrattrs(struct pag_http_request *req)
{
    /* SEQUENCE { { ecPublicKey, SET { prime256v1 } }, ecdsa-with-SHA256 } */
    static const uint8_t attrs[] = { 0x30, 0x21, 0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
                                     0x01, 0x31, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
                                     0x07, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
    struct visit *v = begin(req);
    struct pag_buf text = { (uint8_t[64]){ 0 }, 0, 64 };
    struct pag_http_header header = header_of("Content-Transfer-Encoding", "base64");
    if (v == NULL || label_of(v) == NULL ||
        pag_base64_lines(pag_span_of(attrs, sizeof attrs), &text) != PAG_OK) {
        return;
    }
    struct pag_http_reply reply = { .status = 200,
                                    .content_type = "application/csrattrs",
                                    .body = pag_arena_copy(req->arena, pag_buf_span(&text)),
                                    .header = &header,
                                    .header_n = 1 };
    pag_http_reply(req, &reply);
}
