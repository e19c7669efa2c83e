#include "server/api/reply.h"

#include <stdatomic.h>

#include "core/bytes.h"

/* No inline script or style, nothing from elsewhere, no frames (security.md 2.7 H8, H10). */
static const char csp[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'";

void pag_api_header(struct pag_api_headers *headers, const char *name, const char *value)
{
    if (value != NULL && headers->n < PAG_API_HEADERS_MAX) {
        headers->h[headers->n++] =
            (struct pag_http_header){ .name = pag_span_str(name), .value = pag_span_str(value) };
    }
}

static bool has(const struct pag_api_headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->n; i++) {
        if (pag_span_eq_nocase(headers->h[i].name, name)) {
            return true;
        }
    }
    return false;
}

void pag_api_reply(struct pag_http_request *req, unsigned status, const char *content_type,
                   struct pag_span body, const struct pag_api_headers *extra)
{
    struct pag_api_headers headers = { .n = 0 };
    if (extra != NULL) {
        headers = *extra;
    }
    pag_api_header(&headers, "X-Request-Id", pag_api_request_id(req));
    if (!has(&headers, "Cache-Control")) {
        pag_api_header(&headers, "Cache-Control", "no-store");
    }
    pag_api_header(&headers, "X-Content-Type-Options", "nosniff");
    pag_api_header(&headers, "Content-Security-Policy", csp);
    pag_api_header(&headers, "X-Frame-Options", "DENY");
    pag_api_header(&headers, "Referrer-Policy", "no-referrer");
    struct pag_http_reply reply = {
        .status = status,
        .content_type = content_type,
        .body = body,
        .header = headers.h,
        .header_n = headers.n,
    };
    pag_http_reply(req, &reply);
}

void pag_api_status(struct pag_http_request *req, unsigned status, bool close)
{
    struct pag_http_reply reply = { .status = status, .close = close };
    pag_http_reply(req, &reply);
}
/* Whatever admit left begins with the request's id. */
const char *pag_api_request_id(struct pag_http_request *req)
{
    return req->user != NULL ? req->user : "";
}
