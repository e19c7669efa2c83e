#include "server/api/legacy_http/serve.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "server/api/legacy_http/pins.h"
#include "server/api/limits.h"
#include "server/api/reply.h"

enum { BASIC_MAX = 256 };

/* These clients want the connection gone at once: a second one would exhaust their memory. */
void pag_serve_status(struct pag_serve *s, unsigned status)
{
    pag_api_status(s->req, status, true);
}

struct pag_serve *pag_serve_new(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_api *api = pag_api_of(req);
    struct pag_serve *s = pag_arena_alloc(req->arena, sizeof *s);
    if (s == NULL || atomic_load(&api->transfers) >= atomic_load(&api->limits.transfers)) {
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

/* "Basic <base64 of user:password>": the password is the token. */
static bool basic_token(const struct pag_http_request *req, uint8_t room[BASIC_MAX], struct pag_span *token)
{
    struct pag_span v = pag_http_header_get(req, "Authorization");
    struct pag_span scheme;
    if (pag_span_sub(v, 0, 6, &scheme) != PAG_OK || !pag_span_eq_nocase(scheme, "Basic ")) {
        return false;
    }
    struct pag_span text = { v.p + 6, v.n - 6 };
    if (text.n == 0 || text.n % 4 != 0 || text.n > BASIC_MAX) {
        return false;
    }
    int n = EVP_DecodeBlock(room, text.p, (int)text.n);
    if (n < 0) {
        return false;
    }
    size_t used = (size_t)n - (text.p[text.n - 1] == '=' ? 1U : 0U) - (text.p[text.n - 2] == '=' ? 1U : 0U);
    struct pag_span pair = { room, used };
    size_t colon = pag_span_find(pair, 0, ':');
    if (colon == pair.n) {
        return false;
    }
    *token = (struct pag_span){ pair.p + colon + 1, pair.n - colon - 1 };
    return true;
}

/*
 * 0, or the status to refuse with. A token that is not valid is 401 even where none is needed: somebody has
 * made a mistake and should see it.
 */
static unsigned identify(struct pag_serve *s, const char *mac, bool anonymous_ok)
{
    struct pag_device_call *d = s->d;
    uint8_t room[BASIC_MAX];
    struct pag_span token;
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
    if (pag_http_header_get(d->req, "Authorization").p == NULL) {
        return 0;
    }
    struct pag_actor *actor = pag_arena_alloc(d->req->arena, sizeof *actor);
    if (actor == NULL || !basic_token(d->req, room, &token) ||
        pag_app_token_of(&d->call, token, actor) != PAG_OK) {
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

/* ---- the transfer: these clients report nothing, so what was sent is all there is to know ---- */

struct transfer {
    struct pag_api *api;
    struct pag_app_thread *thread;
    bool head; /* HEAD: nothing was to be sent */
    bool anonymous;
    bool looks;               /* its client reads the header and goes when it has that version */
    uint64_t bytes;           /* of the whole image */
    struct pag_transfer what; /* its texts are below */
    char device[PAG_DEVICE_ID_MAX + 1];
    char version[PAG_VERSION_MAX + 1];
};

static void transfer_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    struct transfer *t = ctx;
    atomic_fetch_sub(&t->api->transfers, 1);
    atomic_fetch_add(&t->api->download_bytes, sent);
    if (!t->head && !t->anonymous) {
        /* In pieces it is whole with the last one. */
        t->what.complete = complete && first + sent == t->bytes;
        t->what.looked = t->looks && !complete;
        pag_app_transfer(t->thread, &t->what);
    }
    free(t);
}

static struct transfer *transfer_new(struct pag_serve *s)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->api = pag_api_of(s->req);
    t->thread = s->d->call.thread;
    t->bytes = s->out.bytes;
    t->anonymous = s->anonymous;
    t->looks = s->ranges;
    t->what =
        (struct pag_transfer){ .device = t->device, .action_id = s->out.action_id, .version = t->version };
    memcpy(t->what.sha256, s->out.sha256, sizeof t->what.sha256);
    t->head = s->req->method == PAG_HTTP_HEAD;
    if (pag_text_copy(t->device, sizeof t->device, pag_span_str(s->anonymous ? "" : s->in.device)) !=
            PAG_OK ||
        pag_text_copy(t->version, sizeof t->version, pag_span_str(s->out.version)) != PAG_OK) {
        free(t);
        return NULL;
    }
    atomic_fetch_add(&t->api->transfers, 1);
    return t;
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
    struct transfer *t = ok ? transfer_new(s) : NULL;
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
        .done = transfer_done,
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
