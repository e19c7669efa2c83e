#ifndef PAG_SERVER_API_REST_REST_H
#define PAG_SERVER_API_REST_REST_H

#include <jansson.h>

#include "server/api/api.h"
#include "server/api/json.h"
#include "server/api/rest/fields.h"
#include "server/api/rest/problem.h"
#include "server/app/admin.h"

/*
 * One REST request from admit to reply (docs/spec/rest.md). A handler reads what it needs, calls one
 * use-case, and replies: at once, or in finish after a write. Everything lives in the request's arena except
 * body.
 */
struct pag_rest {
    char request_id[17]; /* first: pag_api_request_id */
    struct pag_api *api;
    struct pag_http_request *req;
    const struct pag_rest_route *route;
    struct pag_actor actor;
    enum pag_err auth; /* PAG_OK: actor is set */
    struct pag_call call;
    json_t *body;                       /* JSON routes: the parsed body, released with the reply */
    void *out;                          /* what the use-case fills */
    const char *text;                   /* the handler's own */
    void (*finish)(struct pag_rest *r); /* after a write that succeeded */
    bool keep;                          /* the answer is kept for the Idempotency-Key */
    struct pag_idempotent idempotent;
};

enum pag_rest_body { PAG_REST_NONE, PAG_REST_JSON, PAG_REST_COSE, PAG_REST_FILE, PAG_REST_BYTES };

struct pag_rest_route {
    unsigned method;
    enum pag_role role;  /* NONE: no token */
    const char *pattern; /* below /api/v1, or the whole path when it starts with "!" */
    void (*handle)(struct pag_rest *r);
    enum pag_rest_body body;
    bool secret; /* the answer shows a secret once: never kept */
};

/* ---- reading ---- */

/* Path parameter i, decoded, as text; replies 404 and returns NULL when it is not well-formed. */
const char *pag_rest_param(struct pag_rest *r, size_t i);
/* Parameter 0 of "{id}:verb" in its two parts; *verb is "" when there is none. Replies as above. */
const char *pag_rest_param_verb(struct pag_rest *r, const char **verb);
/* Query parameter as text, NULL when absent or not text. */
const char *pag_rest_query(struct pag_rest *r, const char *name);
/* limit=; replies 422 and returns 0 when it is not 1 to 1000. */
uint32_t pag_rest_limit(struct pag_rest *r, uint32_t absent);
/* cursor= of this query; *after is NULL without one. Replies 400 and returns false when it is another's.
 * query: what the cursor is bound to besides the path. */
bool pag_rest_cursor(struct pag_rest *r, const char *query, const char **after);
const char *pag_rest_cursor_next(struct pag_rest *r, const char *query, const char *position);
/*
 * For lists that are read whole: begin, ask takes for each item in order of position (a text of the arena
 * that sorts as the list does; falling: newest first), then next for next_cursor.
 */
struct pag_rest_page {
    const char *after, *last;
    uint32_t room;
    bool falling, more;
};
/* limit= and cursor=; replies and returns false when they are wrong. */
bool pag_rest_page_begin(struct pag_rest *r, bool falling, struct pag_rest_page *page);
bool pag_rest_page_takes(struct pag_rest_page *page, const char *position);
const char *pag_rest_page_next(struct pag_rest *r, const struct pag_rest_page *page);
/* A position by time, then id. */
const char *pag_rest_position(struct pag_rest *r, int64_t ms, const char *id);
/* Members of the body; replies 422 and returns false. */
bool pag_rest_fields(struct pag_rest *r, const struct pag_json_field *field, size_t n);
/* A text member in the arena, NULL when absent or null. */
const char *pag_rest_text(struct pag_rest *r, const json_t *v);
/* ["a","b"] as "a,b"; NULL and a reply when a member is not a text without a comma. */
const char *pag_rest_tags(struct pag_rest *r, const json_t *tags);
int64_t pag_rest_now_ms(const struct pag_rest *r);
/* Memory for out; replies 503 and returns NULL. */
void *pag_rest_alloc(struct pag_rest *r, size_t n);

/* ---- writing: call a use-case with &r->call after this; finish replies ---- */
void pag_rest_finish_with(struct pag_rest *r, void *out, void (*finish)(struct pag_rest *r));

/* ---- replying: exactly once ---- */
void pag_rest_json(struct pag_rest *r, unsigned status, json_t *value); /* takes value */
void pag_rest_empty(struct pag_rest *r, unsigned status);
void pag_rest_bytes(struct pag_rest *r, const char *content_type, struct pag_span body);
void pag_rest_problem(struct pag_rest *r, enum pag_problem_code code, const char *detail);
/* The problem that fits a use-case's error and refusal. */
void pag_rest_refuse(struct pag_rest *r, enum pag_err err);

/* Route tables of the files in this folder. */
extern const struct pag_rest_route pag_rest_server_routes[];
extern const struct pag_rest_route pag_rest_product_routes[];
extern const struct pag_rest_route pag_rest_mount_routes[];
extern const struct pag_rest_route pag_rest_broker_routes[];
extern const size_t pag_rest_broker_route_n;
extern const struct pag_rest_route pag_rest_release_routes[];
extern const struct pag_rest_route pag_rest_signature_routes[];
extern const size_t pag_rest_signature_route_n;
extern const struct pag_rest_route pag_rest_device_routes[];
extern const struct pag_rest_route pag_rest_dialect_routes[];
extern const size_t pag_rest_dialect_route_n;
extern const struct pag_rest_route pag_rest_enrollment_routes[];
extern const struct pag_rest_route pag_rest_admin_routes[];
extern const struct pag_rest_route pag_rest_relay_routes[];
extern const size_t pag_rest_relay_route_n;
extern const size_t pag_rest_server_route_n, pag_rest_mount_route_n, pag_rest_product_route_n,
    pag_rest_release_route_n, pag_rest_device_route_n, pag_rest_enrollment_route_n, pag_rest_admin_route_n;

/* dialect.c: adds what a device says of itself (secureESP8266) to its row. */
void pag_rest_said(struct pag_rest *r, const char *device, json_t *o);

#endif
