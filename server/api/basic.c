#include "server/api/basic.h"

#include "core/base64.h"
#include "core/bytes.h"

enum { PAIR_MAX = 256, SCHEME_BYTES = 6 };

enum pag_err pag_api_basic(struct pag_http_request *req, struct pag_span *user, struct pag_span *password)
{
    struct pag_span value = pag_http_header_get(req, "Authorization");
    struct pag_span scheme;
    if (value.p == NULL) {
        return PAG_E_NOT_FOUND;
    }
    if (pag_span_sub(value, 0, SCHEME_BYTES, &scheme) != PAG_OK || !pag_span_eq_nocase(scheme, "Basic ")) {
        return PAG_E_SYNTAX;
    }
    struct pag_span text = { value.p + SCHEME_BYTES, value.n - SCHEME_BYTES };
    struct pag_buf pair = { pag_arena_alloc(req->arena, PAIR_MAX), 0, PAIR_MAX };
    if (pair.p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    if (pag_base64_decode(text, &pair) != PAG_OK) {
        return PAG_E_SYNTAX;
    }
    size_t colon = pag_span_find(pag_buf_span(&pair), 0, ':');
    if (colon >= pair.n) {
        return PAG_E_SYNTAX;
    }
    *user = pag_span_of(pair.p, colon);
    *password = pag_span_of(pair.p + colon + 1, pair.n - colon - 1);
    return PAG_OK;
}
