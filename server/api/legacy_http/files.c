#include "server/api/legacy_http/files.h"

#include "core/bytes.h"
#include "server/api/legacy_http/filename.h"
#include "server/api/legacy_http/legacy.h"
#include "server/api/legacy_http/pins.h"
#include "server/api/legacy_http/tag.h"
#include "server/api/legacy_http/webtools.h"
#include "server/api/reply.h"

/* It reads the answer only as an image: 304 where it is known to understand that, else what is current. */
static void render_file(struct pag_serve *s)
{
    switch (s->out.verdict) {
    case PAG_CHECK_NO_IMAGE:
        pag_serve_status(s, 404);
        return;
    case PAG_CHECK_OFFER:
        pag_serve_image(s);
        return;
    case PAG_CHECK_NONE:
    case PAG_CHECK_TEXT:
        break;
    }
    bool quiet = pag_plan_is_quiet(s->out.reason) && (s->at->flags & PAG_MOUNT_NOT_MODIFIED) != 0;
    pag_serve_status(s, quiet ? 304 : 403);
}

/* 32 digits first, in lower case, and all of it with the head in one piece: its client reads once. */
static void render_md5(struct pag_serve *s)
{
    char *text = pag_arena_alloc(s->req->arena, 2 * sizeof s->out.md5 + 2);
    if (s->out.verdict != PAG_CHECK_OFFER || text == NULL) {
        pag_serve_status(s, 404);
        return;
    }
    struct pag_buf hex = { (uint8_t *)text, 0, 2 * sizeof s->out.md5 + 1 };
    (void)pag_buf_put_hex(&hex, pag_span_of(s->out.md5, sizeof s->out.md5));
    (void)pag_buf_put_u8(&hex, '\n');
    text[hex.n] = '\0';
    pag_serve_text(s, "text/plain", text);
}

/* As "openssl dgst -sha256 -verify -signature" takes it: docs/spec/legacy-signatures.md 2. */
static void render_sig(struct pag_serve *s)
{
    struct pag_span signature = { NULL, 0 };
    bool found =
        s->out.verdict == PAG_CHECK_OFFER &&
        pag_app_file_signature(&s->d->call, s->in.device, s->in.product, s->out.sha256, &signature) == PAG_OK;
    if (!found) {
        pag_serve_status(s, 404);
        return;
    }
    struct pag_http_reply reply = {
        .status = 200, .content_type = "application/octet-stream", .body = signature, .close = true
    };
    pag_http_reply(s->req, &reply);
}

static void ask_file(struct pag_serve *s, const struct pag_file_request *file)
{
    struct pag_span tag;
    if (!pag_serve_who(s, file->mac, true)) {
        return;
    }
    if (pag_tag_of(s->req->query, &tag)) {
        pag_tag_take(s, tag);
    }
    s->in.protocol = PAG_PROTOCOL_FILES;
    s->in.always = (s->at->flags & PAG_MOUNT_NOT_MODIFIED) == 0;
    s->in.only_look |= file->what != PAG_FILE_IMAGE;
    s->ranges = file->what == PAG_FILE_IMAGE;
    s->render = file->what == PAG_FILE_MD5   ? render_md5
                : file->what == PAG_FILE_SIG ? render_sig
                                             : render_file;
    if (s->ranges && pag_pins_get(s)) {
        pag_serve_image(s);
        return;
    }
    pag_serve_ask(s);
}

void pag_files_serve(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_file_request *file = pag_arena_alloc(req->arena, sizeof *file);
    struct pag_legacy_request said;
    bool beside = at->rest.n > 0 && at->rest.p > req->path.p && at->rest.p[-1] != '/';
    enum pag_err err =
        file != NULL ? pag_file_request_read(at->rest, beside, req->query, file) : PAG_E_NO_MEMORY;
    if (err != PAG_OK) {
        pag_api_status(req, 404, true);
        return;
    }
    enum pag_legacy_who who = pag_legacy_read(req, &said);
    struct pag_serve *s = who != PAG_LEGACY_REFUSED ? pag_serve_new(req, at) : NULL;
    if (s == NULL) {
        return;
    }
    s->in.file = file->name;
    s->in.any_name =
        (at->flags & PAG_MOUNT_PLAIN_NAMES) != 0 || file->name[0] == '\0' || file->name[0] == '.';
    if (file->what == PAG_FILE_MANIFEST) {
        pag_webtools_serve(s);
    } else if (who == PAG_LEGACY_KNOWN && file->what == PAG_FILE_IMAGE) {
        pag_legacy_update_ask(s, &said);
    } else {
        ask_file(s, file);
    }
}
