#include "server/api/legacy_http/serve.h"

#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "server/api/basic.h"
#include "server/api/legacy_http/pins.h"
#include "server/api/limits.h"
#include "server/api/reply.h"
#include "server/api/transfer.h"

/*
 * These clients want the connection gone at once: a second one would exhaust their memory. But ESP-IDF's
 * client and wget have a user in their address and say it only when a 401 names Basic, and esp_https_ota says
 * it on the same connection or never: that one stays open until a user was said.
 */
void pag_serve_status(struct pag_serve *s, unsigned status)
{
    bool asks = status == 401;
    bool said = pag_http_header_get(s->req, "Authorization").p != NULL;
    struct pag_http_header ask = { pag_span_str("WWW-Authenticate"),
                                   pag_span_str("Basic realm=\"pagurus\"") };
    struct pag_http_reply reply = {
        .status = status,
        .header = &ask,
        .header_n = asks ? 1 : 0,
        .close = !asks || said,
        .expects = asks && !said,
    };
    pag_http_reply(s->req, &reply);
}

struct pag_serve *pag_serve_new(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_api *api = pag_api_of(req);
    struct pag_serve *s = pag_arena_alloc(req->arena, sizeof *s);
    if (s == NULL || pag_api_transfers_full(api)) {
        pag_api_status(req, 304, true);
        return NULL;
    }
    s->req = req;
    s->d = pag_device_call_of(req);
    s->at = at;
    s->in.protocol = PAG_PROTOCOL_HTTP_UPDATE;
    s->in.product = at->product;
    s->in.has_auth = at->has_auth;
    s->in.auth = at->auth;
    s->in.only_look = req->method == PAG_HTTP_HEAD;
    return s;
}

/* ---- who ---- */

/*
 * 0, or the status to refuse with. A token that is not valid is 401 even where none is needed: somebody has
 * made a mistake and should see it.
 */
static unsigned identify(struct pag_serve *s, const char *mac, bool anonymous_ok)
{
    struct pag_device_call *d = s->d;
    struct pag_span user;
    struct pag_span token; /* the password of Basic */
    if (d->has_identity) {
        s->in.device = d->identity.device;
        s->in.proof = PAG_PROOF_CERTIFICATE;
        return 0;
    }
    s->anonymous = mac[0] == '\0';
    if (s->anonymous && !anonymous_ok) {
        return 401;
    }
    s->in.device = s->anonymous ? NULL : pag_arena_text(d->req->arena, pag_span_str(mac));
    s->in.proof = PAG_PROOF_SAID;
    enum pag_err err = pag_api_basic(d->req, &user, &token);
    if (err == PAG_E_NOT_FOUND) {
        return 0;
    }
    struct pag_actor *actor = pag_arena_alloc(d->req->arena, sizeof *actor);
    if (actor == NULL || err != PAG_OK || pag_app_token_of(&d->call, token, actor) != PAG_OK) {
        return 401;
    }
    s->in.proof = PAG_PROOF_TOKEN;
    d->call.scope.product = actor->product;
    return 0;
}

bool pag_serve_who(struct pag_serve *s, const char *mac, bool anonymous_ok)
{
    struct pag_api *api = pag_api_of(s->req);
    struct pag_device_call *d = s->d;
    unsigned status = identify(s, mac, anonymous_ok);
    if (status != 0) {
        pag_serve_status(s, status);
        return false;
    }
    /* Who only says a name may not use up another's share: the address counts too. */
    const char *key = d->has_identity
                          ? s->in.device
                          : pag_arena_printf(s->req->arena, "%s@%s",
                                             s->anonymous ? s->at->product : s->in.device, s->req->address);
    if (key == NULL || pag_limits_request(api, d->call.thread, key, s->in.device) != 0) {
        pag_serve_status(s, 304);
        return false;
    }
    s->in.address = s->req->address;
    s->in.mac = mac[0] != '\0' ? pag_arena_text(s->req->arena, pag_span_str(mac)) : NULL;
    return true;
}

/* ---- what ---- */

static struct pag_fact_u32 number(uint32_t v)
{
    return (struct pag_fact_u32){ v > 0 ? PAG_SAID : PAG_ABSENT, v };
}

void pag_serve_facts(struct pag_serve *s, const struct pag_legacy_request *said)
{
    struct pag_facts *f = &s->in.facts;
    if (!said->esp32) {
        f->chip = (struct pag_fact_u32){ PAG_ASSUMED, PAG_CHIP_ESP8266 };
    }
    if (said->has_md5) {
        f->running_md5.source = PAG_SAID;
        memcpy(f->running_md5.value, said->md5, sizeof said->md5);
    }
    if (said->version.n > 0 &&
        pag_text_copy(f->version.value, sizeof f->version.value, said->version) == PAG_OK) {
        f->version.source = PAG_SAID;
    }
    f->slot_bytes = number(said->free_bytes);
    f->flash_bytes = number(said->flash_bytes);
    f->sketch_bytes = number(said->sketch_bytes);
}

/* ---- replies ---- */

void pag_serve_text(struct pag_serve *s, const char *content_type, const char *text)
{
    struct pag_http_header header = { pag_span_str("Cache-Control"), pag_span_str("no-store") };
    struct pag_http_reply reply = { .status = 200,
                                    .content_type = content_type,
                                    .body = pag_span_str(text),
                                    .header = &header,
                                    .header_n = 1,
                                    .close = true };
    pag_http_reply(s->req, &reply);
}

static bool hex_text(struct pag_arena *arena, const uint8_t *p, size_t n, const char *around,
                     const char **out)
{
    char text[2 * PAG_SHA256_BYTES + 1];
    struct pag_buf hex = { (uint8_t *)text, 0, sizeof text - 1 };
    (void)pag_buf_put_hex(&hex, pag_span_of(p, n));
    text[hex.n] = '\0';
    *out = pag_arena_printf(arena, "%s%s%s", around, text, around);
    return *out != NULL;
}

void pag_serve_image(struct pag_serve *s)
{
    int fd = -1;
    uint64_t bytes = 0;
    const char *md5 = NULL;
    const char *etag = NULL;
    enum pag_err err = pag_app_offer_open(&s->d->call, &s->out, &fd, &bytes);
    bool ok = err == PAG_OK && hex_text(s->req->arena, s->out.md5, sizeof s->out.md5, "", &md5) &&
              hex_text(s->req->arena, s->out.sha256, sizeof s->out.sha256, "\"", &etag);
    struct pag_api_transfer *t =
        ok ? pag_api_transfer_new(s->req, s->d->call.thread, s->anonymous ? NULL : s->in.device, &s->out)
           : NULL;
    if (t == NULL) {
        pag_log_warn(pag_api_of(s->req)->log, "legacy.image_not_sent",
                     PAG_F_STR("device", s->anonymous ? "" : s->in.device),
                     PAG_F_STR("error", pag_err_word(err)));
        if (fd >= 0) {
            close(fd);
        }
        pag_serve_status(s, s->ranges ? 403 : 304);
        return;
    }
    struct pag_http_header header[] = {
        { pag_span_str("x-MD5"), pag_span_str(md5) },
        { pag_span_str("Cache-Control"), pag_span_str("no-store") },
    };
    t->looks = s->ranges;
    t->what.followed = !s->ranges && !t->head && !s->anonymous &&
                       pag_app_transfer_begins(s->d->call.thread, &t->what, s->out.serves);
    if (s->ranges) {
        pag_pins_put(s);
    }
    struct pag_http_file file = {
        .fd = fd,
        .bytes = bytes,
        .content_type = "application/octet-stream",
        .etag = s->ranges ? etag : NULL,
        .header = header,
        .header_n = 2,
        .no_range = !s->ranges,
        .close = true,
        .done = pag_api_transfer_done,
        .done_ctx = t,
    };
    pag_http_reply_file(s->req, &file);
}

/* What is not the client's fault is "nothing new": any other status would count as a failed update there. */
static unsigned status_of(enum pag_err err, bool reads_304)
{
    if (err == PAG_E_UNAUTHENTICATED) {
        return 401;
    }
    if (err == PAG_E_DENIED) {
        return 403;
    }
    return err == PAG_E_NOT_FOUND || err == PAG_E_PRODUCT ? 404 : (reads_304 ? 304 : 403);
}

static void answered(struct pag_call *call, enum pag_err err)
{
    struct pag_device_call *d = call->user;
    struct pag_serve *s = d->out;
    s->err = err;
    if (err == PAG_OK) {
        s->render(s);
        return;
    }
    pag_log_info(pag_api_of(s->req)->log, "legacy.refused",
                 PAG_F_STR("device", s->anonymous ? s->req->address : s->in.device),
                 PAG_F_STR("error", pag_err_word(err)));
    pag_serve_status(s, status_of(err, !s->ranges));
}

void pag_serve_ask(struct pag_serve *s)
{
    s->d->out = s;
    s->d->call.done = answered;
    if (s->anonymous) {
        answered(&s->d->call, pag_app_file_find(&s->d->call, &s->in, &s->out));
        return;
    }
    pag_app_check_in(&s->d->call, &s->in, &s->out);
}
