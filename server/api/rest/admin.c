/* Public keys and access tokens. */
#include <string.h>

#include "core/bytes.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/releases.h"

static const char *product_name(struct pag_rest *r, const char *hex)
{
    struct pag_product p;
    if (hex[0] == '\0' || pag_app_product(&r->call, hex, &p) != PAG_OK) {
        return NULL;
    }
    return pag_arena_text(r->req->arena, pag_span_str(p.name));
}

static json_t *render_key(const struct pag_public_key *k, const char *product)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "id", pag_json_str(k->id));
    (void)json_object_set_new(o, "name", pag_json_str(k->name));
    (void)json_object_set_new(o, "use", pag_json_str(k->use));
    (void)json_object_set_new(o, "product", product != NULL ? pag_json_str(product) : json_null());
    (void)json_object_set_new(o, "pem", pag_json_str(k->pem));
    (void)json_object_set_new(o, "created_at", pag_json_time((uint64_t)k->created_ms));
    return o;
}

static void keys(struct pag_rest *r)
{
    struct pag_public_key *key = NULL;
    struct pag_rest_page page;
    size_t n = 0;
    if (!pag_rest_page_begin(r, false, &page)) {
        return;
    }
    enum pag_err err = pag_app_keys(&r->call, &key, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (pag_rest_page_takes(&page, pag_rest_position(r, key[i].created_ms, key[i].id))) {
            (void)json_array_append_new(items, render_key(&key[i], product_name(r, key[i].product)));
        }
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static void finish_key(struct pag_rest *r)
{
    const struct pag_public_key *k = r->out;
    pag_rest_json(r, 201, render_key(k, product_name(r, k->product)));
}

static void key_post(struct pag_rest *r)
{
    json_t *name = NULL;
    json_t *pem = NULL;
    json_t *use = NULL;
    json_t *product = NULL;
    const struct pag_json_field fields[] = {
        { .name = "name",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_NAME_MAX,
          .out = &name },
        { .name = "pem", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 8192, .out = &pem },
        { .name = "use", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 11, .out = &use },
        { .name = "product", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 40, .out = &product },
    };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_key_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_public_key *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->name = pag_rest_text(r, name);
    in->use = pag_rest_text(r, use);
    in->product = pag_rest_text(r, product);
    in->pem = pag_arena_copy(r->req->arena, pag_field_text(pem));
    pag_rest_finish_with(r, out, finish_key);
    pag_app_key_put(&r->call, in, out);
}

/* ---- tokens ---- */

static void tokens(struct pag_rest *r)
{
    struct pag_access_token *token = NULL;
    struct pag_rest_page page;
    size_t n = 0;
    if (!pag_rest_page_begin(r, false, &page)) {
        return;
    }
    enum pag_err err = pag_app_tokens(&r->call, &token, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (pag_rest_page_takes(&page, pag_rest_position(r, token[i].created_ms, token[i].id))) {
            (void)json_array_append_new(
                items, pag_render_access_token(&token[i], product_name(r, token[i].product), NULL));
        }
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static void finish_token(struct pag_rest *r)
{
    struct pag_token_out *out = r->out;
    json_t *o = pag_render_access_token(&out->row, product_name(r, out->row.product), out->text);
    memset(out->text, 0, sizeof out->text);
    pag_rest_json(r, 201, o);
}

static void token_post(struct pag_rest *r)
{
    json_t *name = NULL;
    json_t *role = NULL;
    json_t *product = NULL;
    json_t *ttl = NULL;
    const struct pag_json_field fields[] = {
        { .name = "name",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_NAME_MAX,
          .out = &name },
        { .name = "role", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 16, .out = &role },
        { .name = "product", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 40, .out = &product },
        { .name = "ttl_s", .type = PAG_JSON_UINT, .min = 60, .max = 31536000, .out = &ttl },
    };
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_token_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_token_out *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->name = pag_rest_text(r, name);
    in->role = pag_role_by_word(pag_field_text(role));
    in->product = pag_rest_text(r, product);
    in->ttl_s = pag_field_uint(ttl, 2592000);
    if (in->role == PAG_ROLE_NONE) {
        json_decref(r->body);
        r->body = NULL;
        pag_problem_add(&problem, "/role", "invalid-field", "must be viewer, operator, releaser or admin");
        pag_problem_reply(r->req, &problem);
        return;
    }
    pag_rest_finish_with(r, out, finish_token);
    pag_app_token_create(&r->call, in, out);
}

static void finish_empty(struct pag_rest *r)
{
    pag_rest_empty(r, 204);
}

static void token_delete(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    if (id != NULL) {
        pag_rest_finish_with(r, NULL, finish_empty);
        pag_app_token_delete(&r->call, strncmp(id, "tok_", 4) == 0 ? id + 4 : id);
    }
}

/* ---- the audit chain ---- */

static void finish_audit(struct pag_rest *r)
{
    const struct pag_audit_state *state = r->out;
    json_t *o = json_object();
    (void)json_object_set_new(o, "intact", json_boolean(state->intact));
    (void)json_object_set_new(o, "seq", json_integer(state->seq));
    pag_rest_json(r, 200, o);
}

static void audit_verify(struct pag_rest *r)
{
    struct pag_audit_state *out = pag_rest_alloc(r, sizeof *out);
    if (out != NULL) {
        pag_rest_finish_with(r, out, finish_audit);
        pag_app_audit_verify(&r->call, out);
    }
}

const struct pag_rest_route pag_rest_admin_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_ADMIN, "/audit/verify", audit_verify, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/keys", keys, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/keys", key_post, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_ADMIN, "/tokens", tokens, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/tokens", token_post, PAG_REST_JSON, true },
    { PAG_HTTP_DELETE, PAG_ROLE_ADMIN, "/tokens/{id}", token_delete, PAG_REST_NONE, false },
};
const size_t pag_rest_admin_route_n = sizeof pag_rest_admin_routes / sizeof pag_rest_admin_routes[0];
