/* Claims, certificates, authorities. */
#include <string.h>

#include "core/bytes.h"
#include "host/x509.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/enroll.h"
#include "server/app/releases.h"

static void put(json_t *o, const char *name, json_t *value)
{
    (void)json_object_set_new(o, name, value);
}

/* Name of a product by its hex id, NULL when it is gone. */
static const char *product_name(struct pag_rest *r, const char *hex)
{
    struct pag_product p;
    return pag_app_product(&r->call, hex, &p) == PAG_OK ? pag_arena_text(r->req->arena, pag_span_str(p.name))
                                                        : NULL;
}

static void finish_code(struct pag_rest *r)
{
    struct pag_code_out *out = r->out;
    json_t *o = pag_render_claim(&out->code, product_name(r, out->code.product), out->text);
    memset(out->text, 0, sizeof out->text);
    pag_rest_json(r, 201, o);
}

static void code_post(struct pag_rest *r)
{
    json_t *product = NULL;
    json_t *uses = NULL;
    json_t *ttl = NULL;
    json_t *mac = NULL;
    const struct pag_json_field fields[] = {
        { .name = "product", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 40, .out = &product },
        { .name = "uses", .type = PAG_JSON_UINT, .min = 1, .max = 100000, .out = &uses },
        { .name = "ttl_s", .type = PAG_JSON_UINT, .min = 60, .max = 31536000, .out = &ttl },
        { .name = "mac", .type = PAG_JSON_TEXT, .nullable = true, .min = 12, .max = 17, .out = &mac },
    };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_code_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_code_out *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->product = pag_rest_text(r, product);
    in->uses = (uint32_t)pag_field_uint(uses, 1);
    in->ttl_s = pag_field_uint(ttl, 604800);
    in->mac = pag_rest_text(r, mac);
    pag_rest_finish_with(r, out, finish_code);
    pag_app_code_create(&r->call, in, out);
}

static void codes(struct pag_rest *r)
{
    struct pag_claim_code *code = NULL;
    struct pag_rest_page page;
    size_t n = 0;
    if (!pag_rest_page_begin(r, true, &page)) {
        return;
    }
    enum pag_err err = pag_app_codes(&r->call, &code, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (pag_rest_page_takes(&page, pag_rest_position(r, code[i].created_ms, code[i].id))) {
            (void)json_array_append_new(items,
                                        pag_render_claim(&code[i], product_name(r, code[i].product), NULL));
        }
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static void finish_empty(struct pag_rest *r)
{
    pag_rest_empty(r, 204);
}

static void code_delete(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    if (id != NULL) {
        pag_rest_finish_with(r, NULL, finish_empty);
        pag_app_code_delete(&r->call, id);
    }
}

/* ---- authorities ---- */

static bool is_authority(const char *name)
{
    static const char *const authorities[] = { "root", "device", "server", "operator" };
    for (size_t i = 0; i < sizeof authorities / sizeof authorities[0]; i++) {
        if (strcmp(name, authorities[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void ca(struct pag_rest *r)
{
    struct pag_api_info info = { .started_unix_ms = 0 };
    r->api->process->info(r->api->process_ctx, &info);
    json_t *o = json_object();
    for (size_t i = 0; i < info.certificate_n; i++) {
        const struct pag_api_certificate *c = &info.certificate[i];
        if (!is_authority(c->name)) {
            continue;
        }
        json_t *a = json_object();
        put(a, "subject", pag_json_str(c->subject));
        put(a, "serial", pag_json_str(c->serial));
        put(a, "not_after", pag_json_time(c->not_after * 1000));
        put(a, "fingerprint", pag_json_str(c->fingerprint));
        put(o, c->name, a);
    }
    json_t *crl = json_object();
    put(crl, "number", json_integer((json_int_t)info.crl_number));
    put(crl, "next_update", pag_json_time(info.crl_until_s * 1000));
    put(o, "crl", crl);
    pag_rest_json(r, 200, o);
}

static void pem(struct pag_rest *r, enum pag_api_file which)
{
    struct pag_span text;
    enum pag_err err = r->api->process->file(r->api->process_ctx, which, r->req->arena, &text);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    pag_rest_bytes(r, "application/x-pem-file", text);
}

static void root_pem(struct pag_rest *r)
{
    pem(r, PAG_API_ROOT_PEM);
}

static void device_pem(struct pag_rest *r)
{
    pem(r, PAG_API_DEVICE_PEM);
}

static void server_pem(struct pag_rest *r)
{
    pem(r, PAG_API_SERVER_PEM);
}

static void device_crl(struct pag_rest *r)
{
    pem(r, PAG_API_DEVICE_CRL);
}

static void finish_issue(struct pag_rest *r)
{
    const struct pag_issue_out *out = r->out;
    struct pag_span chain = { NULL, 0 };
    struct pag_buf text = { pag_arena_alloc(r->req->arena, 4096), 0, 4096 };
    if (text.p == NULL || pag_x509_pem_of_der("CERTIFICATE", out->der, &text) != PAG_OK ||
        r->api->process->file(r->api->process_ctx, PAG_API_DEVICE_PEM, r->req->arena, &chain) != PAG_OK) {
        pag_rest_refuse(r, PAG_E_INTERNAL);
        return;
    }
    json_t *o = json_object();
    put(o, "certificate", pag_json_text(pag_buf_span(&text)));
    put(o, "chain", pag_json_text(chain));
    put(o, "serial", pag_json_str(out->serial));
    pag_rest_json(r, 201, o);
}

static void issue(struct pag_rest *r)
{
    json_t *device = NULL;
    json_t *product = NULL;
    json_t *csr = NULL;
    json_t *days = NULL;
    const struct pag_json_field fields[] = {
        { .name = "device_id",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_DEVICE_ID_MAX,
          .out = &device },
        { .name = "product", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 40, .out = &product },
        { .name = "csr", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 4096, .out = &csr },
        { .name = "days", .type = PAG_JSON_UINT, .min = 1, .max = 3650, .out = &days },
    };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_issue_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_issue_out *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->device = pag_rest_text(r, device);
    in->product = pag_rest_text(r, product);
    in->csr = pag_arena_copy(r->req->arena, pag_field_text(csr));
    in->days = (uint32_t)pag_field_uint(days, 0);
    pag_rest_finish_with(r, out, finish_issue);
    pag_app_issue(&r->call, in, out);
}

static void certificates(struct pag_rest *r)
{
    struct pag_certificate_list list;
    struct pag_certificate_query q = { .device = pag_rest_query(r, "device"),
                                       .limit = pag_rest_limit(r, 100) };
    const char *bound = q.device != NULL ? q.device : "";
    if (q.limit == 0 || !pag_rest_cursor(r, bound, &q.after)) {
        return;
    }
    enum pag_err err = pag_app_certificates(&r->call, &q, &list);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < list.n; i++) {
        const struct pag_certificate *c = &list.item[i];
        json_t *o = json_object();
        put(o, "serial", pag_json_hex(pag_span_of(c->serial, c->serial_n)));
        put(o, "device", pag_json_str(c->device));
        put(o, "fingerprint", pag_json_hex(pag_span_of(c->fingerprint, sizeof c->fingerprint)));
        put(o, "not_before", pag_json_time((uint64_t)c->not_before_ms));
        put(o, "not_after", pag_json_time((uint64_t)c->not_after_ms));
        put(o, "issued_at", pag_json_time((uint64_t)c->issued_ms));
        put(o, "revoked_at", pag_json_time((uint64_t)c->revoked_ms));
        (void)json_array_append_new(items, o);
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_cursor_next(r, bound, list.next), list.total));
}

static void freshness_key(struct pag_rest *r)
{
    const struct pag_api *api = r->api;
    if (api->freshness_pem == NULL) {
        pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "This server has no freshness key.");
        return;
    }
    json_t *o = json_object();
    put(o, "key_id", pag_json_hex(pag_span_of(api->freshness_id, sizeof api->freshness_id)));
    put(o, "point", pag_json_hex(pag_span_of(api->freshness_point, sizeof api->freshness_point)));
    put(o, "pem", pag_json_str(api->freshness_pem));
    pag_rest_json(r, 200, o);
}

const struct pag_rest_route pag_rest_enrollment_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_OPERATOR, "/enrollment/codes", codes, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_OPERATOR, "/enrollment/codes", code_post, PAG_REST_JSON, true },
    { PAG_HTTP_DELETE, PAG_ROLE_OPERATOR, "/enrollment/codes/{id}", code_delete, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/ca", ca, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/root.pem", root_pem, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/device.pem", device_pem, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/server.pem", server_pem, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/device.crl", device_crl, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/ca/issue", issue, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/certificates", certificates, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/freshness-key", freshness_key, PAG_REST_NONE, false },
};
const size_t pag_rest_enrollment_route_n =
    sizeof pag_rest_enrollment_routes / sizeof pag_rest_enrollment_routes[0];
