#include "server/api/legacy_http/legacy.h"

#include "core/bytes.h"
#include "server/api/reply.h"

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

static void send_version(struct pag_serve *s)
{
    struct pag_http_header header = { pag_span_str("x-version"), pag_span_str(s->out.version) };
    struct pag_http_reply reply = { .status = 200, .header = &header, .header_n = 1, .close = true };
    pag_http_reply(s->req, &reply);
}

void pag_legacy_render(struct pag_serve *s)
{
    switch (s->out.verdict) {
    case PAG_CHECK_NONE:
        /* Who asks for the version alone takes 304 for a fault of the server. */
        pag_serve_status(s, s->in.mode == PAG_CHECK_VERSION ? 404 : 304);
        return;
    case PAG_CHECK_NO_IMAGE:
        pag_serve_status(s, 404);
        return;
    case PAG_CHECK_TEXT:
        send_version(s);
        return;
    case PAG_CHECK_OFFER:
        pag_serve_image(s);
        return;
    }
    pag_serve_status(s, 304);
}

enum pag_legacy_who pag_legacy_read(struct pag_http_request *req, struct pag_legacy_request *said)
{
    struct pag_fail why = { .code = PAG_OK };
    enum pag_err err = pag_legacy_headers_read(req->header, req->header_n, said, &why);
    if (err == PAG_OK) {
        return PAG_LEGACY_KNOWN;
    }
    if (err == PAG_E_NOT_FOUND) {
        return PAG_LEGACY_OTHER;
    }
    pag_log_info(pag_api_of(req)->log, "legacy.unreadable", PAG_F_STR("why", why.what),
                 PAG_F_STR("address", req->address));
    pag_api_status(req, err == PAG_E_SYNTAX ? 400 : 403, true);
    return PAG_LEGACY_REFUSED;
}

void pag_legacy_update_ask(struct pag_serve *s, const struct pag_legacy_request *said)
{
    if (!pag_serve_who(s, said->mac, false)) {
        return;
    }
    s->in.protocol = said->esp32 ? PAG_PROTOCOL_ESP32_UPDATE : PAG_PROTOCOL_HTTP_UPDATE;
    s->in.mode = check_mode(said->mode);
    s->in.no_gzip = said->esp32 || said->core != PAG_LEGACY_CORE_2_6;
    s->in.any_space = said->tasmota;
    pag_serve_facts(s, said);
    s->render = pag_legacy_render;
    pag_serve_ask(s);
}

void pag_legacy_serve(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_legacy_request said;
    enum pag_legacy_who who = pag_legacy_read(req, &said);
    if (who == PAG_LEGACY_OTHER) {
        pag_log_info(pag_api_of(req)->log, "legacy.unreadable",
                     PAG_F_STR("why", "no x-ESP8266 or x-ESP32 headers"), PAG_F_STR("address", req->address));
        pag_api_status(req, 403, true);
    }
    struct pag_serve *s = who == PAG_LEGACY_KNOWN ? pag_serve_new(req, at) : NULL;
    if (s != NULL) {
        pag_legacy_update_ask(s, &said);
    }
}
