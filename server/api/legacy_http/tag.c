#include "server/api/legacy_http/tag.h"

#include <string.h>

#include "core/bytes.h"
#include "server/api/legacy_http/legacy.h"

bool pag_tag_of(struct pag_span query, struct pag_span *tag)
{
    static const char name[] = "tag=";
    for (size_t at = 0; at < query.n;) {
        size_t end = at;
        while (end < query.n && query.p[end] != '&' && query.p[end] != '?') {
            end++; /* a second '?' begins a parameter too: some applications write it */
        }
        struct pag_span pair = { query.p + at, end - at };
        if (pag_span_starts(pair, name) && pair.n > strlen(name)) {
            *tag = (struct pag_span){ pair.p + strlen(name), pair.n - strlen(name) };
            return true;
        }
        at = end + 1;
    }
    return false;
}

bool pag_tag_read(struct pag_span tag, enum pag_tag_form form, char out[PAG_DEVICE_ID_MAX + 1])
{
    size_t n = 0;
    for (size_t at = 0; at < tag.n; n++) {
        uint8_t c = tag.p[at];
        bool escape = form != PAG_TAG_RAW && c == '%' && tag.n - at >= 3 &&
                      pag_parse_hex(pag_span_of(tag.p + at + 1, 2), &c, 1) == PAG_OK;
        c = form == PAG_TAG_PLUS && !escape && c == '+' ? ' ' : c;
        if (n == PAG_DEVICE_ID_MAX || c < 0x20 || c > 0x7E) {
            return false;
        }
        out[n] = (char)c;
        at += escape ? 3 : 1;
    }
    out[n] = '\0';
    return true;
}

void pag_tag_take(struct pag_serve *s, struct pag_span tag)
{
    struct pag_fact_text *version = &s->in.facts.version;
    char text[PAG_DEVICE_ID_MAX + 1];
    if (tag.n == 0) {
        return;
    }
    for (int form = PAG_TAG_FORMS; form-- > 0;) { /* as it was sent comes last: it stands */
        bool read = pag_tag_read(tag, (enum pag_tag_form)form, text);
        if (read && (form == PAG_TAG_RAW || pag_app_version_known(&s->d->call, s->in.product, text)) &&
            (version->source == PAG_ABSENT || pag_app_version_known(&s->d->call, s->in.product, text))) {
            version->source = PAG_SAID;
            memcpy(version->value, text, sizeof version->value);
        }
    }
}

static void render_text(struct pag_serve *s)
{
    if (s->out.version == NULL) {
        pag_serve_status(s, 304);
        return;
    }
    pag_serve_text(s, "text/plain", s->out.version); /* no newline: it lands in JSON as it is */
}

/* Nobody in particular: a person, or a page that looks what is new. */
static void render_anybody(struct pag_serve *s)
{
    const struct pag_fact_text *tag = &s->in.facts.version;
    if (tag->source != PAG_ABSENT && strcmp(tag->value, s->out.version) == 0) {
        pag_serve_status(s, 304);
        return;
    }
    pag_serve_image(s);
}

static void serve_other(struct pag_serve *s, struct pag_span tag)
{
    bool text = s->at->kind == PAG_MOUNT_TAG_EMONESP && tag.n == 0;
    if (!pag_serve_who(s, "", true)) {
        return;
    }
    pag_tag_take(s, tag);
    if (s->anonymous) {
        s->in.file = "";
        s->in.any_name = true;
        s->render = text ? render_text : render_anybody;
    } else { /* its certificate says who it is */
        s->in.protocol = PAG_PROTOCOL_FILES;
        s->in.mode = text ? PAG_CHECK_VERSION : PAG_CHECK_FIRMWARE;
        s->render = text ? render_text : pag_legacy_render;
    }
    pag_serve_ask(s);
}

void pag_tag_serve(struct pag_http_request *req, const struct pag_mount_at *at)
{
    struct pag_legacy_request said;
    struct pag_span tag = { NULL, 0 };
    (void)pag_tag_of(req->query, &tag);
    enum pag_legacy_who who = pag_legacy_read(req, &said);
    struct pag_serve *s = who != PAG_LEGACY_REFUSED ? pag_serve_new(req, at) : NULL;
    if (s == NULL) {
        return;
    }
    if (who == PAG_LEGACY_OTHER) {
        serve_other(s, tag);
        return;
    }
    pag_tag_take(s, tag);
    pag_legacy_update_ask(s, &said);
}
