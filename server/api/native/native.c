#include "server/api/native/native.h"

#include <string.h>

#include "core/bytes.h"
#include "core/native.h"
#include "server/api/device.h"
#include "server/api/limits.h"
#include "server/api/reply.h"
#include "server/api/report.h"
#include "server/api/transfer.h"
#include "server/app/check_in.h"
#include "server/app/clones.h"
#include "server/app/enroll.h"

/* ---- answers ---- */

static void refuse(struct pag_device_call *d, unsigned status)
{
    if (status != 429 && status != 503) {
        pag_api_status(d->req, status, false);
        return;
    }
    uint32_t seconds = d->call.refusal.retry_s > 0 ? d->call.refusal.retry_s : 10;
    struct pag_http_header header = {
        pag_span_str("Retry-After"),
        pag_span_str(pag_arena_printf(d->req->arena, "%u", seconds)),
    };
    struct pag_http_reply reply = { .status = status, .header = &header, .header_n = 1 };
    pag_http_reply(d->req, &reply);
}

static unsigned status_of(enum pag_err err)
{
    switch (err) {
    case PAG_E_NOT_FOUND:
    case PAG_E_PRODUCT:
        return 404;
    case PAG_E_UNAUTHENTICATED:
        return 401;
    case PAG_E_DENIED:
        return 403;
    case PAG_E_CONFLICT:
    case PAG_E_DIGEST:
    case PAG_E_EXISTS:
    case PAG_E_STALE:
        return 409;
    case PAG_E_EXPIRED:
        return 410;
    case PAG_E_LIMIT:
        return 429;
    case PAG_E_SHORT:
    case PAG_E_RANGE:
    case PAG_E_SYNTAX:
    case PAG_E_MAGIC:
    case PAG_E_CHECKSUM:
    case PAG_E_SIGNATURE:
    case PAG_E_UNSUPPORTED:
    case PAG_E_HARDWARE:
    case PAG_E_ROLLBACK:
    case PAG_E_BLOCKED:
    case PAG_E_CONDITION:
        return 400;
    case PAG_OK:
    case PAG_E_SPACE:
    case PAG_E_BUSY:
    case PAG_E_AGAIN:
    case PAG_E_CLOSED:
    case PAG_E_TIMEOUT:
    case PAG_E_IO:
    case PAG_E_NO_MEMORY:
    case PAG_E_TLS:
    case PAG_E_CONFIG:
    case PAG_E_INTERNAL:
        break;
    }
    return 503;
}

static void refuse_err(struct pag_device_call *d, const char *event, enum pag_err err)
{
    pag_log_info(pag_api_of(d->req)->log, event, PAG_F_STR("device", d->identity.device),
                 PAG_F_STR("error", pag_err_word(err)),
                 PAG_F_STR("detail", d->call.refusal.detail != NULL ? d->call.refusal.detail : ""));
    refuse(d, status_of(err));
}

static void send_cbor(struct pag_device_call *d, enum pag_err err, const struct pag_buf *buf)
{
    static const struct pag_http_header no_store = { { (const uint8_t *)"Cache-Control", 13 },
                                                     { (const uint8_t *)"no-store", 8 } };
    struct pag_http_header header = no_store;
    if (err != PAG_OK) {
        refuse_err(d, "native.reply_failed", err);
        return;
    }
    struct pag_http_reply reply = {
        .status = 200,
        .content_type = "application/cbor",
        .body = pag_buf_span(buf),
        .header = &header,
        .header_n = 1,
    };
    pag_http_reply(d->req, &reply);
}

static struct pag_buf reply_buf(struct pag_device_call *d)
{
    struct pag_buf buf = { pag_arena_alloc(d->req->arena, PAG_NATIVE_MAX), 0, PAG_NATIVE_MAX };
    if (buf.p == NULL) {
        buf.cap = 0;
    }
    return buf;
}

/* False: refused, because this device asks too often. */
static bool within_limits(struct pag_device_call *d)
{
    d->call.refusal.retry_s =
        pag_limits_request(pag_api_of(d->req), d->call.thread, d->identity.device, d->identity.device);
    if (d->call.refusal.retry_s == 0) {
        return true;
    }
    refuse(d, 429);
    return false;
}

/* ---- check ---- */

static struct pag_fact_u32 said(uint32_t v)
{
    return (struct pag_fact_u32){ PAG_SAID, v };
}

static void digest_fact(struct pag_span s, struct pag_fact_digest *f)
{
    if (s.n == sizeof f->value) {
        f->source = PAG_SAID;
        memcpy(f->value, s.p, s.n);
    }
}

static void text_fact(struct pag_span s, struct pag_fact_text *f)
{
    if (s.n > 0 && pag_text_copy(f->value, sizeof f->value, s) == PAG_OK) {
        f->source = PAG_SAID;
    }
}

static void facts_of(const struct pag_native_check *m, struct pag_facts *f)
{
    f->chip = said(m->chip);
    text_fact(m->hardware, &f->hardware);
    digest_fact(m->running_digest, &f->running);
    text_fact(m->version, &f->version);
    f->sequence = said(m->sequence);
    f->slot = said(m->slot);
    f->boot_state = said(m->boot_state);
    f->trust_version = said(m->trust_version);
    f->epoch = said(m->epoch);
    f->slot_bytes = said(m->slot_bytes);
    f->boot_count = said(m->boot_count);
    f->capabilities = said(m->capabilities);
    digest_fact(m->last_failed, &f->last_failed);
}

static struct pag_native_command command_of(const struct pag_command *c)
{
    return (struct pag_native_command){
        .kind = (uint8_t)c->kind,
        .id = c->id,
        .expires_at = c->expires_ms > 0 ? (uint64_t)c->expires_ms / 1000 : 0,
        .arg = c->arg,
        .order = c->order,
    };
}

/* Commands ride along with the answer; that they were handed over is written in its own time. */
static void checked(struct pag_call *call, enum pag_err err)
{
    struct pag_device_call *d = call->user;
    const struct pag_check_reply *out = d->out;
    if (err != PAG_OK) {
        refuse_err(d, "native.check_refused", err);
        return;
    }
    bool offer = out->verdict == PAG_CHECK_OFFER;
    if (!offer && out->token.n == 0 && out->command_n == 0) {
        pag_api_status(d->req, 204, false);
        return;
    }
    struct pag_native_offer m = {
        .has_manifest = offer,
        .action_id = offer ? out->action_id : 0,
        .manifest = offer ? out->manifest : (struct pag_span){ NULL, 0 },
        .poll_s = out->poll_s,
        .token = out->token,
        .trust_version = out->trust_version,
        .command_n = out->command_n,
        .permit = offer ? out->permit : (struct pag_span){ NULL, 0 },
    };
    for (size_t i = 0; i < out->command_n && i < PAG_NATIVE_COMMANDS_MAX; i++) {
        m.command[i] = command_of(&out->command[i]);
    }
    struct pag_buf buf = reply_buf(d);
    err = pag_native_offer_put(&buf, &m);
    send_cbor(d, err, &buf);
}

void pag_native_check(struct pag_http_request *req)
{
    struct pag_device_call *d = pag_device_call_of(req);
    struct pag_native_check m;
    struct pag_check_in *in = pag_arena_alloc(req->arena, sizeof *in);
    d->out = pag_arena_alloc(req->arena, sizeof(struct pag_check_reply));
    if (in == NULL || d->out == NULL) {
        refuse(d, 503);
        return;
    }
    if (!within_limits(d)) {
        return;
    }
    enum pag_err err = pag_native_check_get(req->body, &m);
    if (err != PAG_OK) {
        refuse_err(d, "native.check_unreadable", PAG_E_SYNTAX);
        return;
    }
    const struct pag_seen_in seen = { .device = d->identity.device,
                                      .product = d->identity.product,
                                      .address = req->address,
                                      .certificate_until = req->peer->not_after,
                                      .has_counter = true,
                                      .counter = m.boot_count };
    pag_app_seen(d->call.thread, &seen);
    in->protocol = PAG_PROTOCOL_NATIVE;
    in->proof = PAG_PROOF_CERTIFICATE;
    in->mode = PAG_CHECK_FIRMWARE;
    in->device = d->identity.device;
    facts_of(&m, &in->facts);
    in->has_nonce = m.has_nonce && m.nonce.n == sizeof in->nonce;
    if (in->has_nonce) {
        memcpy(in->nonce, m.nonce.p, sizeof in->nonce);
    }
    d->call.done = checked;
    pag_app_check_in(&d->call, in, d->out);
}

/* ---- blob ---- */

static void blob_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    struct pag_api *api = ctx;
    (void)first;
    (void)complete;
    atomic_fetch_sub(&api->transfers, 1);
    atomic_fetch_add(&api->download_bytes, sent);
}

void pag_native_blob(struct pag_http_request *req)
{
    struct pag_device_call *d = pag_device_call_of(req);
    uint8_t sha256[PAG_SHA256_BYTES];
    int fd = -1;
    uint64_t bytes = 0;
    if (pag_parse_hex(req->param[0], sha256, sizeof sha256) != PAG_OK) {
        refuse(d, 404);
        return;
    }
    struct pag_api *api = pag_api_of(req);
    if (pag_api_transfers_full(api)) {
        refuse(d, 503);
        return;
    }
    enum pag_err err = pag_app_blob_open(&d->call, d->identity.device, sha256, &fd, &bytes);
    if (err != PAG_OK) {
        refuse(d, status_of(err));
        return;
    }
    struct pag_buf hex = { (uint8_t[64]){ 0 }, 0, 64 };
    (void)pag_buf_put_hex(&hex, pag_span_of(sha256, sizeof sha256));
    struct pag_http_header header[] = { { pag_span_str("Cache-Control"), pag_span_str("no-store") } };
    struct pag_http_file file = {
        .fd = fd,
        .bytes = bytes,
        .content_type = "application/octet-stream",
        .etag = pag_arena_printf(req->arena, "\"%.64s\"", (const char *)hex.p),
        .header = header,
        .header_n = 1,
        .done = blob_done,
        .done_ctx = api,
    };
    atomic_fetch_add(&api->transfers, 1);
    pag_http_reply_file(req, &file);
}

/* What "openssl dgst -sha256 -sign" made over the blob, for devices that check that. */
void pag_native_signature(struct pag_http_request *req)
{
    struct pag_device_call *d = pag_device_call_of(req);
    uint8_t sha256[PAG_SHA256_BYTES];
    struct pag_span signature;
    if (pag_parse_hex(req->param[0], sha256, sizeof sha256) != PAG_OK) {
        refuse(d, 404);
        return;
    }
    enum pag_err err = pag_app_blob_signature(&d->call, d->identity.device, sha256, &signature);
    if (err != PAG_OK) {
        refuse(d, status_of(err));
        return;
    }
    struct pag_http_header header = { pag_span_str("Cache-Control"), pag_span_str("no-store") };
    struct pag_http_reply reply = {
        .status = 200,
        .content_type = "application/octet-stream",
        .body = signature,
        .header = &header,
        .header_n = 1,
    };
    pag_http_reply(req, &reply);
}

/* ---- report ---- */

static void reported(struct pag_call *call, enum pag_err err)
{
    struct pag_device_call *d = call->user;
    if (err != PAG_OK) {
        refuse_err(d, "native.report_refused", err);
        return;
    }
    pag_api_status(d->req, 204, false);
}

void pag_native_report(struct pag_http_request *req)
{
    struct pag_device_call *d = pag_device_call_of(req);
    struct pag_report_in *in = pag_arena_alloc(req->arena, sizeof *in);
    if (in == NULL) {
        refuse(d, 503);
        return;
    }
    if (!within_limits(d)) {
        return;
    }
    if (pag_native_report_get(req->body, &in->report) != PAG_OK) {
        refuse_err(d, "native.report_unreadable", PAG_E_SYNTAX);
        return;
    }
    in->device = d->identity.device;
    if (!pag_limits_text(pag_api_of(req), d->call.thread, in->device, pag_api_report_words(in))) {
        pag_api_report_silence(in);
    }
    d->call.done = reported;
    pag_api_report(&d->call, in);
}

/* ---- enroll ---- */

struct enrolling {
    struct pag_enroll_in in;
    struct pag_renew_in renew;
    struct pag_enroll_out out;
};

static void refuse_enroll(struct pag_device_call *d, const struct pag_enroll_in *in, enum pag_err err)
{
    const char *detail = d->call.refusal.detail;
    char mac[13] = "";
    (void)pag_mac_text(in->enroll.mac, mac);
    pag_log_info(pag_api_of(d->req)->log, "native.enroll_refused", PAG_F_STR("mac", mac),
                 PAG_F_STR("address", d->req->address), PAG_F_STR("error", pag_err_word(err)),
                 PAG_F_STR("detail", detail != NULL ? detail : ""));
    refuse(d, status_of(err));
}

static void enrolled(struct pag_call *call, enum pag_err err)
{
    struct pag_device_call *d = call->user;
    const struct enrolling *e = d->out;
    if (err != PAG_OK) {
        refuse_enroll(d, &e->in, err);
        return;
    }
    struct pag_buf buf = reply_buf(d);
    err = pag_native_enrolled_put(&buf, &e->out.enrolled);
    send_cbor(d, err, &buf);
}

/* Without a claim: the certificate shown speaks for it, and is followed by the next one. */
static void renew(struct pag_device_call *d, struct enrolling *e)
{
    if (!d->has_identity) {
        refuse_enroll(d, &e->in, PAG_E_UNAUTHENTICATED);
        return;
    }
    if (!within_limits(d)) {
        return;
    }
    e->renew = (struct pag_renew_in){ .device = d->identity, .peer = d->req->peer, .csr = e->in.enroll.csr };
    pag_app_renew(&d->call, &e->renew, &e->out);
}

void pag_native_enroll(struct pag_http_request *req)
{
    struct pag_device_call *d = pag_device_call_of(req);
    struct enrolling *e = pag_arena_alloc(req->arena, sizeof *e);
    if (e == NULL) {
        refuse(d, 503);
        return;
    }
    d->out = e;
    if (pag_native_enroll_get(req->body, &e->in.enroll) != PAG_OK) {
        refuse_enroll(d, &e->in, PAG_E_SYNTAX);
        return;
    }
    d->call.done = enrolled;
    if (e->in.enroll.claim.n == 0) {
        renew(d, e);
        return;
    }
    e->in.address = req->address;
    e->in.proven = d->has_identity ? d->identity.device : NULL;
    pag_app_enroll(&d->call, &e->in, &e->out);
}

/* ---- trust ---- */

void pag_native_trust(struct pag_http_request *req)
{
    struct pag_device_call *d = pag_device_call_of(req);
    bool named = req->param[1].n > 0;
    struct pag_span version_text = named ? req->param[1] : req->param[0];
    struct pag_span cose;
    uint32_t version = 0;
    if (pag_parse_u32(version_text, &version) != PAG_OK) {
        refuse(d, 404);
        return;
    }
    const char *product = d->identity.product;
    char *text = pag_arena_text(req->arena, req->param[0]);
    if (text == NULL) {
        refuse(d, 503);
        return;
    }
    if (named) {
        product = text;
    }
    enum pag_err err = pag_app_trust_get(&d->call, product, version, &cose);
    if (err != PAG_OK) {
        refuse(d, status_of(err));
        return;
    }
    struct pag_http_reply reply = { .status = 200, .content_type = "application/cose", .body = cose };
    pag_http_reply(req, &reply);
}
