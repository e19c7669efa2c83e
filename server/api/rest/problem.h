#ifndef PAG_SERVER_API_REST_PROBLEM_H
#define PAG_SERVER_API_REST_PROBLEM_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/http.h"

/* Problem answers of the REST head (RFC 9457); the codes of docs/spec/rest.md, in its order. */

enum pag_problem_code {
    PAG_PROBLEM_BAD_REQUEST,
    PAG_PROBLEM_UNAUTHENTICATED,
    PAG_PROBLEM_FORBIDDEN,
    PAG_PROBLEM_NOT_FOUND,
    PAG_PROBLEM_METHOD_NOT_ALLOWED,
    PAG_PROBLEM_CONFLICT,
    PAG_PROBLEM_PRODUCT_EXISTS,
    PAG_PROBLEM_MOUNT_EXISTS,
    PAG_PROBLEM_VERSION_EXISTS,
    PAG_PROBLEM_IMAGE_DIFFERS,
    PAG_PROBLEM_IMAGE_REFUSED,
    PAG_PROBLEM_MANIFEST_REFUSED,
    PAG_PROBLEM_RELEASE_REFUSED,
    PAG_PROBLEM_RELEASE_STRANDS,
    PAG_PROBLEM_SIGNATURE_REFUSED,
    PAG_PROBLEM_TRUST_REFUSED,
    PAG_PROBLEM_CLAIM_REFUSED,
    PAG_PROBLEM_PRIVATE_KEY,
    PAG_PROBLEM_INVALID_FIELD,
    PAG_PROBLEM_UNKNOWN_FIELD,
    PAG_PROBLEM_TOO_LARGE,
    PAG_PROBLEM_UNSUPPORTED_TYPE,
    PAG_PROBLEM_STALE,
    PAG_PROBLEM_RATE_LIMITED,
    PAG_PROBLEM_BUSY,
    PAG_PROBLEM_DISK_FULL,
    PAG_PROBLEM_INTERNAL,
    PAG_PROBLEM_COUNT,
};

struct pag_problem_row {
    const char *code; /* "not-found" */
    unsigned status;
    const char *title;
    const char *help; /* what to do next */
};
const struct pag_problem_row *pag_problem_row(enum pag_problem_code code);

enum { PAG_PROBLEM_ERRORS_MAX = 16 };

/* One member of "errors". All texts are borrowed until the answer is rendered. */
struct pag_problem_error {
    const char *pointer; /* JSON pointer, "/version" */
    const char *code;
    const char *detail;
};

struct pag_problem {
    enum pag_problem_code code;
    const char *detail; /* NULL: the title again */
    const char *help;   /* NULL: the code's own */
    struct pag_problem_error error[PAG_PROBLEM_ERRORS_MAX];
    size_t error_n;
    unsigned status;  /* when it is not the code's own; 0: it is */
    uint32_t retry_s; /* Retry-After for rate-limited and busy; 0: 5 s */
};

/* Adds an error; silently keeps only the first PAG_PROBLEM_ERRORS_MAX. */
void pag_problem_add(struct pag_problem *p, const char *pointer, const char *code, const char *detail);

/* Body of the answer in the arena, {NULL,0} without memory. request_id: text shown to the caller and logged.
 */
struct pag_span pag_problem_render(struct pag_arena *arena, const struct pag_problem *p,
                                   const char *request_id);

/* Replies with it, security headers included. */
void pag_problem_reply(struct pag_http_request *req, const struct pag_problem *p);
/* The same with only a code and a sentence. detail is copied. */
void pag_problem_send(struct pag_http_request *req, enum pag_problem_code code, const char *detail);

/* pag_http_config.refusal of the REST listener: the HTTP core's own refusals as problems. */
void pag_problem_refusal(struct pag_http_request *req, struct pag_http_reply *reply);

/* Code that fits an error of a use-case that has no better one. */
enum pag_problem_code pag_problem_of(enum pag_err err);

#endif
