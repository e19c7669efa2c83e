#include "server/api/rest/rest.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "host/rand.h"
#include "server/api/console/console.h"
#include "server/api/metrics/timing.h"
#include "server/api/reply.h"
#include "server/api/rest/query.h"

enum { COSE_MAX = 4096, JSON_DEPTH = 32, ROUTES_MAX = 96, IDEMPOTENCY_KEY_MAX = 64 };

/* ---- reading ---- */

const char *pag_rest_param(struct pag_rest *r, size_t i)
{
    struct pag_span s;
    char *text = NULL;
    if (pag_http_decode(r->req, r->req->param[i], &s) == PAG_OK && s.n <= 200) {
        text = pag_arena_text(r->req->arena, s);
    }
    if (text == NULL) {
        pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "The path names nothing that could exist.");
    }
    return text;
}

const char *pag_rest_param_verb(struct pag_rest *r, const char **verb)
{
    struct pag_span s = pag_span_str(pag_rest_param(r, 0));
    if (s.p == NULL) {
        return NULL;
    }
    size_t colon = pag_span_find(s, 0, ':');
    *verb = colon < s.n ? (const char *)s.p + colon + 1 : "";
    return pag_arena_text(r->req->arena, (struct pag_span){ s.p, colon });
}

const char *pag_rest_query(struct pag_rest *r, const char *name)
{
    struct pag_span s;
    if (!pag_http_query_get(r->req, name, &s) || s.n == 0 || memchr(s.p, '\0', s.n) != NULL) {
        return NULL;
    }
    return pag_arena_text(r->req->arena, s);
}

uint32_t pag_rest_limit(struct pag_rest *r, uint32_t absent)
{
    uint32_t limit = 0;
    if (pag_limit_read(pag_span_str(pag_rest_query(r, "limit")), absent, &limit) != PAG_OK) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "limit must be a whole number from 1 to 1000.");
        return 0;
    }
    return limit;
}

static struct pag_span bound_query(struct pag_rest *r, const char *query)
{
    return pag_span_str(pag_arena_printf(r->req->arena, "%.*s?%s#%s", (int)r->req->path.n,
                                         (const char *)r->req->path.p, query, r->actor.product));
}

bool pag_rest_cursor(struct pag_rest *r, const char *query, const char **after)
{
    const char *text = pag_rest_query(r, "cursor");
    struct pag_span place;
    *after = NULL;
    if (text == NULL) {
        return true;
    }
    if (pag_cursor_read(r->req->arena, r->api->cursor_key, bound_query(r, query), pag_span_str(text),
                        &place) != PAG_OK) {
        pag_rest_problem(r, PAG_PROBLEM_BAD_REQUEST, "The cursor does not belong to this query.");
        return false;
    }
    *after = pag_arena_text(r->req->arena, place);
    return true;
}

const char *pag_rest_cursor_next(struct pag_rest *r, const char *query, const char *position)
{
    return position == NULL ? NULL
                            : pag_cursor_make(r->req->arena, r->api->cursor_key, bound_query(r, query),
                                              pag_span_str(position));
}

bool pag_rest_page_begin(struct pag_rest *r, bool falling, struct pag_rest_page *page)
{
    *page = (struct pag_rest_page){ .falling = falling, .room = pag_rest_limit(r, 100) };
    return page->room > 0 && pag_rest_cursor(r, "", &page->after);
}

bool pag_rest_page_takes(struct pag_rest_page *page, const char *position)
{
    int order = page->after == NULL ? 1 : strcmp(position != NULL ? position : "", page->after);
    if (page->after != NULL && (page->falling ? order >= 0 : order <= 0)) {
        return false;
    }
    page->more = page->room == 0;
    if (page->more) {
        return false;
    }
    page->room--;
    page->last = position;
    return true;
}

const char *pag_rest_page_next(struct pag_rest *r, const struct pag_rest_page *page)
{
    return page->more ? pag_rest_cursor_next(r, "", page->last) : NULL;
}

const char *pag_rest_position(struct pag_rest *r, int64_t ms, const char *id)
{
    return pag_arena_printf(r->req->arena, "%020lld %s", (long long)ms, id);
}

bool pag_rest_fields(struct pag_rest *r, const struct pag_json_field *field, size_t n)
{
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    if (pag_fields_read(r->req->arena, r->body, "", field, n, &problem)) {
        return true;
    }
    json_decref(r->body);
    r->body = NULL;
    pag_problem_reply(r->req, &problem);
    return false;
}

const char *pag_rest_text(struct pag_rest *r, const json_t *v)
{
    return json_is_string(v) ? pag_arena_text(r->req->arena, pag_field_text(v)) : NULL;
}

int64_t pag_rest_now_ms(const struct pag_rest *r)
{
    return (int64_t)r->api->clock.now_unix_ms(r->api->clock.ctx);
}

void *pag_rest_alloc(struct pag_rest *r, size_t n)
{
    void *p = pag_arena_alloc(r->req->arena, n);
    if (p == NULL) {
        pag_rest_problem(r, PAG_PROBLEM_BUSY, "The answer needs more memory than one request may use.");
    }
    return p;
}

/* ---- replying ---- */

static void release_body(struct pag_rest *r)
{
    json_decref(r->body);
    r->body = NULL;
}

static void send_kept(struct pag_rest *r)
{
    pag_api_reply(r->req, r->idempotent.status, "application/json", r->idempotent.body, NULL);
}

static void on_kept(struct pag_call *call, enum pag_err err)
{
    struct pag_rest *r = call->user;
    if (err != PAG_OK) {
        pag_log_warn(r->api->log, "rest.answer_not_kept", PAG_F_STR("error", pag_err_word(err)));
    }
    send_kept(r);
}

void pag_rest_json(struct pag_rest *r, unsigned status, json_t *value)
{
    struct pag_span body = pag_json_dump(r->req->arena, value);
    release_body(r);
    if (body.p == NULL) {
        pag_rest_problem(r, PAG_PROBLEM_BUSY, "The answer needs more memory than one request may use.");
        return;
    }
    if (r->keep && status < 300) {
        r->keep = false;
        r->call.once = NULL;
        r->idempotent.status = status;
        r->idempotent.body = body;
        r->call.done = on_kept;
        pag_app_idempotent_put(&r->call, &r->idempotent);
        return;
    }
    pag_api_reply(r->req, status, "application/json", body, NULL);
}

void pag_rest_empty(struct pag_rest *r, unsigned status)
{
    release_body(r);
    pag_api_reply(r->req, status, NULL, (struct pag_span){ NULL, 0 }, NULL);
}

void pag_rest_bytes(struct pag_rest *r, const char *content_type, struct pag_span body)
{
    release_body(r);
    pag_api_reply(r->req, 200, content_type, body, NULL);
}

void pag_rest_problem(struct pag_rest *r, enum pag_problem_code code, const char *detail)
{
    release_body(r);
    pag_problem_send(r->req, code, detail);
}

static enum pag_problem_code code_by_word(const char *word, enum pag_problem_code other)
{
    for (int i = 0; word != NULL && i < PAG_PROBLEM_COUNT; i++) {
        if (strcmp(pag_problem_row((enum pag_problem_code)i)->code, word) == 0) {
            return (enum pag_problem_code)i;
        }
    }
    return other;
}

void pag_rest_refuse(struct pag_rest *r, enum pag_err err)
{
    const struct pag_refusal *f = &r->call.refusal;
    struct pag_problem p = {
        .code = code_by_word(f->code, pag_problem_of(err)),
        .detail = f->detail,
        .help = f->help,
        .retry_s = f->retry_s,
    };
    for (size_t i = 0; i < f->error_n && i < PAG_REFUSAL_ERRORS_MAX; i++) {
        pag_problem_add(&p, f->error[i].pointer, f->error[i].code, f->error[i].detail);
    }
    if (p.code == PAG_PROBLEM_INTERNAL) {
        pag_log_error(r->api->log, "rest.failed", PAG_F_STR("request", r->request_id),
                      PAG_F_STR("error", pag_err_word(err)), PAG_F_SPAN("path", r->req->path));
    }
    release_body(r);
    pag_problem_reply(r->req, &p);
}

/* ---- writing ---- */

static void on_done(struct pag_call *call, enum pag_err err)
{
    struct pag_rest *r = call->user;
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    r->finish(r);
}

void pag_rest_finish_with(struct pag_rest *r, void *out, void (*finish)(struct pag_rest *r))
{
    r->out = out;
    r->finish = finish;
    r->call.done = on_done;
}

/* ---- from the route to the handler ---- */

static struct pag_span bearer(const struct pag_http_request *req)
{
    struct pag_span v = pag_http_header_get(req, "Authorization");
    struct pag_span scheme;
    if (pag_span_sub(v, 0, 7, &scheme) != PAG_OK || !pag_span_eq_nocase(scheme, "Bearer ")) {
        return (struct pag_span){ NULL, 0 };
    }
    return (struct pag_span){ v.p + 7, v.n - 7 };
}

static void authenticate(struct pag_rest *r)
{
    struct pag_span token = bearer(r->req);
    r->auth = token.n > 0 ? pag_app_token_of(&r->call, token, &r->actor) : PAG_E_UNAUTHENTICATED;
    if (r->auth != PAG_OK) {
        return;
    }
    r->call.scope.actor = r->actor.actor;
    r->call.scope.role = r->actor.role;
    r->call.scope.product = r->actor.product;
}

/* True when the request may go on; else the refusal has been sent. */
static bool permitted(struct pag_rest *r)
{
    if (r->route->role == PAG_ROLE_NONE) {
        return true;
    }
    if (r->auth == PAG_E_EXPIRED) {
        pag_rest_problem(r, PAG_PROBLEM_UNAUTHENTICATED, "The token has expired.");
        return false;
    }
    if (r->auth != PAG_OK) {
        pag_rest_problem(r, PAG_PROBLEM_UNAUTHENTICATED, NULL);
        return false;
    }
    if (!pag_role_holds(r->actor.role, r->route->role)) {
        pag_rest_problem(r, PAG_PROBLEM_FORBIDDEN,
                         pag_arena_printf(r->req->arena, "This needs the role %s; the token has %s.",
                                          pag_role_word(r->route->role), pag_role_word(r->actor.role)));
        return false;
    }
    return true;
}

static bool media_is(const struct pag_http_request *req, const char *type)
{
    struct pag_span v = pag_http_header_get(req, "Content-Type");
    size_t end = pag_span_find(v, 0, ';');
    while (end > 0 && v.p[end - 1] == ' ') {
        end--;
    }
    return pag_span_eq_nocase((struct pag_span){ v.p, end }, type);
}

static bool read_body(struct pag_rest *r)
{
    const struct pag_json_limits limits = { r->api->body_max, JSON_DEPTH };
    struct pag_fail why = { .code = PAG_OK };
    switch (r->route->body) {
    case PAG_REST_NONE:
    case PAG_REST_FILE:
        return true;
    case PAG_REST_COSE:
        if (!media_is(r->req, "application/cose")) {
            pag_rest_problem(r, PAG_PROBLEM_UNSUPPORTED_TYPE, "This takes application/cose.");
            return false;
        }
        return true;
    case PAG_REST_BYTES:
        if (!media_is(r->req, "application/octet-stream")) {
            pag_rest_problem(r, PAG_PROBLEM_UNSUPPORTED_TYPE, "This takes application/octet-stream.");
            return false;
        }
        return true;
    case PAG_REST_JSON:
        break;
    }
    if (r->req->body.n == 0) {
        r->body = json_object();
        return true;
    }
    if (!media_is(r->req, "application/json") && !media_is(r->req, "application/merge-patch+json")) {
        pag_rest_problem(r, PAG_PROBLEM_UNSUPPORTED_TYPE, "This takes application/json.");
        return false;
    }
    enum pag_err err = pag_json_parse(r->req->body, limits, &r->body, &why);
    if (err != PAG_OK) {
        pag_rest_problem(
            r, PAG_PROBLEM_BAD_REQUEST,
            pag_arena_printf(r->req->arena, "%s at byte %llu.", why.what, (unsigned long long)why.detail));
        return false;
    }
    return true;
}

/* True: go on with the handler. False: answered from what is kept, or refused. */
static bool check_repeat(struct pag_rest *r)
{
    struct pag_span key = pag_http_header_get(r->req, "Idempotency-Key");
    struct pag_idempotent *io = &r->idempotent;
    if (key.p == NULL || r->route->method != PAG_HTTP_POST || r->auth != PAG_OK) {
        return true;
    }
    if (key.n == 0 || key.n > IDEMPOTENCY_KEY_MAX) {
        pag_rest_problem(r, PAG_PROBLEM_BAD_REQUEST, "Idempotency-Key must be 1 to 64 bytes long.");
        return false;
    }
    io->token = r->actor.id;
    io->route = pag_arena_text(r->req->arena, r->req->path);
    io->key = pag_arena_text(r->req->arena, key);
    if (io->route == NULL || io->key == NULL ||
        EVP_Digest(r->req->body.n > 0 ? (const void *)r->req->body.p : "", r->req->body.n, io->body_sha256,
                   NULL, EVP_sha256(), NULL) != 1) {
        pag_rest_problem(r, PAG_PROBLEM_BUSY, NULL);
        return false;
    }
    enum pag_err err = pag_app_idempotent_get(&r->call, io);
    if (err == PAG_OK && io->status == 0) {
        pag_rest_problem(r, PAG_PROBLEM_CONFLICT,
                         r->route->secret
                             ? "A call with this Idempotency-Key was carried out. What it showed is "
                               "shown once only: delete that and make another."
                             : "A call with this Idempotency-Key is being carried out, or its "
                               "answer was lost: see what is there.");
    } else if (err == PAG_OK) {
        release_body(r);
        send_kept(r);
    } else if (err == PAG_E_CONFLICT) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD,
                         "This Idempotency-Key was used before with another body.");
    } else if (err != PAG_E_NOT_FOUND) {
        pag_rest_refuse(r, err);
    }
    r->keep = err == PAG_E_NOT_FOUND && !r->route->secret;
    r->call.once = err == PAG_E_NOT_FOUND ? io : NULL;
    return err == PAG_E_NOT_FOUND;
}

static void entry(struct pag_http_request *req)
{
    struct pag_rest *r = req->user;
    if (permitted(r) && read_body(r) && check_repeat(r)) {
        r->route->handle(r);
    }
}

/* ---- the listener ---- */

struct pag_rest_table {
    const struct pag_rest_route *route[ROUTES_MAX];
    struct pag_http_route http[ROUTES_MAX];
    char pattern[ROUTES_MAX][80];
    size_t n;
};

static void no_such_path(struct pag_rest *r)
{
    pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "There is no such path in the API.");
}

static void console_page(struct pag_rest *r)
{
    pag_console_page(r->req);
}

static void console_script(struct pag_rest *r)
{
    pag_console_script(r->req);
}

static void console_style(struct pag_rest *r)
{
    pag_console_style(r->req);
}

static const struct pag_rest_route other_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_NONE, "!/", console_page, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "!/console.js", console_script, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "!/console.css", console_style, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/{rest...}", no_such_path, PAG_REST_NONE, false },
    { PAG_HTTP_POST | PAG_HTTP_PUT | PAG_HTTP_PATCH | PAG_HTTP_DELETE, PAG_ROLE_NONE, "/{rest...}",
      no_such_path, PAG_REST_COSE, false },
};

static void add(struct pag_rest_table *t, struct pag_api *api, const struct pag_rest_route *route, size_t n)
{
    for (size_t i = 0; i < n && t->n < ROUTES_MAX; i++) {
        static const char base[] = "/api/v1";
        struct pag_buf text = { (uint8_t *)t->pattern[t->n], 0, sizeof t->pattern[0] - 1 };
        const char *pattern = route[i].pattern;
        if (pattern[0] == '!') {
            pattern++;
        } else {
            (void)pag_buf_put_str(&text, base);
        }
        (void)pag_buf_put_str(&text, pattern);
        t->pattern[t->n][text.n] = '\0';
        t->route[t->n] = &route[i];
        t->http[t->n] = (struct pag_http_route){
            .methods = route[i].method,
            .pattern = t->pattern[t->n],
            .needs = (unsigned)t->n,
            .body = route[i].body == PAG_REST_FILE   ? PAG_BODY_FILE
                    : route[i].body == PAG_REST_NONE ? PAG_BODY_NONE
                                                     : PAG_BODY_MEMORY,
            .body_max = route[i].body == PAG_REST_FILE                                      ? api->image_max
                        : route[i].body == PAG_REST_COSE || route[i].body == PAG_REST_BYTES ? COSE_MAX
                                                                                            : api->body_max,
            .handle = entry,
        };
        t->n++;
    }
}

static bool sends_body(const struct pag_http_request *req)
{
    struct pag_span length = pag_http_header_get(req, "Content-Length");
    return pag_http_header_get(req, "Transfer-Encoding").p != NULL ||
           (length.p != NULL && !pag_span_eq_str(length, "0"));
}

/* Nobody unknown makes us read a body; other refusals, which say more, are sent by entry. */
static unsigned admit(struct pag_http_request *req)
{
    struct pag_rest *r = pag_arena_alloc(req->arena, sizeof *r);
    if (r == NULL) {
        return 503;
    }
    pag_rand_hex(r->request_id, 8);
    r->api = pag_api_of(req);
    r->req = req;
    r->route = r->api->rest->route[req->route->needs];
    r->call = pag_api_call(req);
    r->call.user = r;
    req->user = r;
    authenticate(r);
    if (r->route->role != PAG_ROLE_NONE && r->auth != PAG_OK && sends_body(req)) {
        return 401;
    }
    if (r->route->body == PAG_REST_FILE) {
        return r->auth != PAG_OK ? 401 : pag_role_holds(r->actor.role, r->route->role) ? 0 : 403;
    }
    return 0;
}

enum pag_err pag_api_console_listener(struct pag_api *api, struct pag_http_config *config)
{
    if (api->rest == NULL) {
        api->rest = calloc(1, sizeof *api->rest);
        if (api->rest == NULL) {
            return PAG_E_NO_MEMORY;
        }
        add(api->rest, api, pag_rest_server_routes, pag_rest_server_route_n);
        add(api->rest, api, pag_rest_product_routes, pag_rest_product_route_n);
        add(api->rest, api, pag_rest_mount_routes, pag_rest_mount_route_n);
        add(api->rest, api, pag_rest_broker_routes, pag_rest_broker_route_n);
        add(api->rest, api, pag_rest_release_routes, pag_rest_release_route_n);
        add(api->rest, api, pag_rest_signature_routes, pag_rest_signature_route_n);
        add(api->rest, api, pag_rest_device_routes, pag_rest_device_route_n);
        add(api->rest, api, pag_rest_dialect_routes, pag_rest_dialect_route_n);
        add(api->rest, api, pag_rest_enrollment_routes, pag_rest_enrollment_route_n);
        add(api->rest, api, pag_rest_relay_routes, pag_rest_relay_route_n);
        add(api->rest, api, pag_rest_admin_routes, pag_rest_admin_route_n);
        add(api->rest, api, other_routes, sizeof other_routes / sizeof other_routes[0]);
    }
    config->routes = api->rest->http;
    config->route_n = api->rest->n;
    config->admit = admit;
    config->refusal = pag_problem_refusal;
    config->answered = pag_timing_answered;
    if (api->timing[0] == NULL) {
        api->timing[0] = pag_timing_new("console", config->routes, config->route_n);
    }
    config->ctx = api;
    return PAG_OK;
}

void pag_api_close(struct pag_api *api)
{
    for (size_t i = 0; i < PAG_API_TIMINGS; i++) {
        pag_timing_free(api->timing[i]);
        api->timing[i] = NULL;
    }
    free(api->rest);
    api->rest = NULL;
}
