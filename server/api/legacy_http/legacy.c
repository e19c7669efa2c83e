#include "server/api/legacy_http/legacy.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "server/api/device.h"
#include "server/api/legacy_http/headers.h"
#include "server/api/limits.h"
#include "server/api/reply.h"
#include "server/app/check_in.h"

enum { BASIC_MAX = 256 };

/* These clients want the connection gone at once: a second one would exhaust their memory. */
static void answer(struct pag_device_call *d, unsigned status)
{
    pag_api_status(d->req, status, true);
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
 * The certificate when there is one, else a token, else what the headers say. 0, or the status to refuse
 * with. A token that is not valid is 401 even where none is needed: somebody has made a mistake and should
 * see it.
 */
static unsigned identify(struct pag_device_call *d, const struct pag_legacy_request *said,
                         struct pag_check_in *in)
{
    uint8_t room[BASIC_MAX];
    struct pag_span token;
    in->device =
        d->has_identity ? d->identity.device : pag_arena_text(d->req->arena, pag_span_str(said->mac));
    if (d->has_identity) {
        in->proof = PAG_PROOF_CERTIFICATE;
        return 0;
    }
    if (said->mac[0] == '\0') {
        return 401;
    }
    in->proof = PAG_PROOF_SAID;
    if (pag_http_header_get(d->req, "Authorization").p == NULL) {
        return 0;
    }
    struct pag_actor *actor = pag_arena_alloc(d->req->arena, sizeof *actor);
    if (actor == NULL || !basic_token(d->req, room, &token) ||
        pag_app_token_of(&d->call, token, actor) != PAG_OK) {
        return 401;
    }
    in->proof = PAG_PROOF_TOKEN;
    d->call.scope.product = actor->product;
    return 0;
}

/* ---- what ---- */

static struct pag_fact_u32 number(uint32_t v)
{
    return (struct pag_fact_u32){ v > 0 ? PAG_SAID : PAG_ABSENT, v };
}

static void facts_of(const struct pag_legacy_request *said, struct pag_facts *f)
{
    f->chip = (struct pag_fact_u32){ PAG_ASSUMED, PAG_CHIP_ESP8266 };
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

static enum pag_check_mode check_mode(enum pag_legacy_mode mode)
{
    switch (mode) {
    case PAG_LEGACY_SKETCH:
        return PAG_CHECK_FIRMWARE;
    case PAG_LEGACY_FILESYSTEM:
        return PAG_CHECK_FILESYSTEM;
    case PAG_LEGACY_VERSION:
        return PAG_CHECK_VERSION;
    }
    return PAG_CHECK_FIRMWARE;
}

/* ---- the transfer: these clients report nothing, so what was sent is all there is to know ---- */

struct transfer {
    struct pag_api *api;
    struct pag_app_thread *thread;
    bool head;                /* HEAD: nothing was to be sent */
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
    if (!t->head) {
        t->what.complete = complete;
        pag_app_transfer(t->thread, &t->what);
    }
    free(t);
}

static struct transfer *transfer_new(struct pag_device_call *d, const struct pag_check_reply *out,
                                     const char *device)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->api = pag_api_of(d->req);
    t->thread = d->call.thread;
    t->what =
        (struct pag_transfer){ .device = t->device, .action_id = out->action_id, .version = t->version };
    memcpy(t->what.sha256, out->sha256, sizeof t->what.sha256);
    t->head = d->req->method == PAG_HTTP_HEAD;
    if (pag_text_copy(t->device, sizeof t->device, pag_span_str(device)) != PAG_OK ||
        pag_text_copy(t->version, sizeof t->version, pag_span_str(out->version)) != PAG_OK) {
        free(t);
        return NULL;
    }
    atomic_fetch_add(&t->api->transfers, 1);
    return t;
}

/* ---- the answer ---- */

struct pending {
    struct pag_check_in in;
    struct pag_check_reply out;
};

static void send_image(struct pag_device_call *d, const struct pending *p)
{
    int fd = -1;
    uint64_t bytes = 0;
    char *md5 = pag_arena_alloc(d->req->arena, 33);
    enum pag_err err = md5 == NULL ? PAG_E_NO_MEMORY : pag_app_offer_open(&d->call, &p->out, &fd, &bytes);
    struct transfer *t = err == PAG_OK ? transfer_new(d, &p->out, p->in.device) : NULL;
    if (t == NULL) {
        pag_log_warn(pag_api_of(d->req)->log, "legacy.image_not_sent", PAG_F_STR("device", p->in.device),
                     PAG_F_STR("error", pag_err_word(err)));
        if (fd >= 0) {
            close(fd);
        }
        answer(d, 304);
        return;
    }
    struct pag_buf hex = { (uint8_t *)md5, 0, 32 };
    (void)pag_buf_put_hex(&hex, pag_span_of(p->out.md5, sizeof p->out.md5));
    struct pag_http_header header[] = {
        { pag_span_str("x-MD5"), pag_span_of(md5, 32) },
        { pag_span_str("Cache-Control"), pag_span_str("no-store") },
    };
    struct pag_http_file file = {
        .fd = fd,
        .bytes = bytes,
        .content_type = "application/octet-stream",
        .header = header,
        .header_n = 2,
        .no_range = true,
        .close = true,
        .done = transfer_done,
        .done_ctx = t,
    };
    pag_http_reply_file(d->req, &file);
}

static void send_version(struct pag_device_call *d, const char *version)
{
    struct pag_http_header header = { pag_span_str("x-version"), pag_span_str(version) };
    struct pag_http_reply reply = { .status = 200, .header = &header, .header_n = 1, .close = true };
    pag_http_reply(d->req, &reply);
}

/* What is not the client's fault is "nothing new": any other status would count as a failed update there. */
static unsigned status_of(enum pag_err err)
{
    if (err == PAG_E_UNAUTHENTICATED) {
        return 401;
    }
    if (err == PAG_E_DENIED) {
        return 403;
    }
    return err == PAG_E_NOT_FOUND || err == PAG_E_PRODUCT ? 404 : 304;
}

static void checked(struct pag_call *call, enum pag_err err)
{
    struct pag_device_call *d = call->user;
    struct pending *p = d->out;
    if (err != PAG_OK) {
        pag_log_info(pag_api_of(d->req)->log, "legacy.refused", PAG_F_STR("device", p->in.device),
                     PAG_F_STR("error", pag_err_word(err)));
        answer(d, status_of(err));
        return;
    }
    switch (p->out.verdict) {
    case PAG_CHECK_NONE:
        answer(d, 304);
        return;
    case PAG_CHECK_NO_IMAGE:
        answer(d, 404);
        return;
    case PAG_CHECK_TEXT:
        send_version(d, p->out.version);
        return;
    case PAG_CHECK_OFFER:
        send_image(d, p);
        return;
    }
    answer(d, 304);
}

static unsigned read_status(enum pag_err err)
{
    return err == PAG_E_SYNTAX ? 400 : 403;
}

void pag_legacy_serve(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_device_call *d = pag_device_call_of(req);
    struct pag_api *api = pag_api_of(req);
    struct pag_legacy_request said;
    struct pag_fail why = { .code = PAG_OK };
    struct pending *p = pag_arena_alloc(req->arena, sizeof *p);
    enum pag_err err = pag_legacy_headers_read(req->header, req->header_n, &said, &why);
    if (err != PAG_OK) {
        pag_log_info(api->log, "legacy.unreadable", PAG_F_STR("why", why.what),
                     PAG_F_STR("address", req->address));
        answer(d, read_status(err));
        return;
    }
    if (p == NULL || atomic_load(&api->transfers) >= atomic_load(&api->limits.transfers)) {
        answer(d, 304);
        return;
    }
    unsigned status = identify(d, &said, &p->in);
    if (status != 0) {
        answer(d, status);
        return;
    }
    /* Who only says a name may not use up another's share: the address counts too. */
    const char *key =
        d->has_identity ? p->in.device : pag_arena_printf(req->arena, "%s@%s", p->in.device, req->address);
    if (key == NULL || pag_limits_request(api, d->call.thread, key, p->in.device) != 0) {
        answer(d, 304);
        return;
    }
    p->in.protocol = PAG_PROTOCOL_HTTP_UPDATE;
    p->in.mode = check_mode(said.mode);
    p->in.only_look = req->method == PAG_HTTP_HEAD;
    p->in.product = at->product;
    p->in.has_auth = at->has_auth;
    p->in.auth = at->auth;
    p->in.mac = said.mac[0] != '\0' ? pag_arena_text(req->arena, pag_span_str(said.mac)) : NULL;
    facts_of(&said, &p->in.facts);
    d->out = p;
    d->call.done = checked;
    pag_app_check_in(&d->call, &p->in, &p->out);
}
