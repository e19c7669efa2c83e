#ifndef PAG_SERVER_API_REPLY_H
#define PAG_SERVER_API_REPLY_H

#include <pagurus/types.h>

#include "host/http.h"

/* How all heads answer: headers that protect browsers, no caching, a request id for the log. */

enum { PAG_API_HEADERS_MAX = 12 };

struct pag_api_headers {
    struct pag_http_header h[PAG_API_HEADERS_MAX];
    size_t n;
};

/* Adds one; name and value must live until the reply. Beyond the room, or with a NULL value, it is left out.
 */
void pag_api_header(struct pag_api_headers *headers, const char *name, const char *value);

/*
 * Replies with body (arena or static) and X-Request-Id, Cache-Control: no-store, X-Content-Type-Options,
 * Content-Security-Policy, X-Frame-Options, Referrer-Policy added. extra may be NULL.
 */
void pag_api_reply(struct pag_http_request *req, unsigned status, const char *content_type,
                   struct pag_span body, const struct pag_api_headers *extra);

/* Status alone, for devices: no body, no headers beyond the core's. close: end the connection. */
void pag_api_status(struct pag_http_request *req, unsigned status, bool close);

/* Text that names this request in answers and in the log; unique in this process. Lives in the arena. */
const char *pag_api_request_id(struct pag_http_request *req);

#endif
