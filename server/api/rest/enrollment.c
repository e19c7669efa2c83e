/* Claims, certificates, authorities. */
#include <string.h>

#include "core/bytes.h"
#include "host/x509.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/ask.h"
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

/* False: answered. */
static bool take_words(struct pag_rest *r, const json_t *name, const json_t *tags, const char **name_out,
                       const char **tags_out)
{
    *name_out = pag_rest_text(r, name);
    *tags_out = tags != NULL ? pag_rest_tags(r, tags) : NULL;
    return tags == NULL || *tags_out != NULL;
}

static void code_post(struct pag_rest *r)
{
    json_t *product = NULL;
    json_t *uses = NULL;
    json_t *ttl = NULL;
    json_t *mac = NULL;
    json_t *name = NULL;
    json_t *tags = NULL;
    const struct pag_json_field fields[] = {
        { .name = "product", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 40, .out = &product },
        { .name = "uses", .type = PAG_JSON_UINT, .min = 1, .max = 100000, .out = &uses },
        { .name = "ttl_s", .type = PAG_JSON_UINT, .min = 60, .max = 31536000, .out = &ttl },
        { .name = "mac", .type = PAG_JSON_TEXT, .nullable = true, .min = 12, .max = 17, .out = &mac },
        { .name = "name", .type = PAG_JSON_TEXT, .max = PAG_NAME_MAX, .out = &name },
        { .name = "tags", .type = PAG_JSON_ARRAY, .max = 16, .out = &tags },
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
    if (!take_words(r, name, tags, &in->name, &in->tags)) {
        return;
    }
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

/* ---- devices that wait ---- */

static void asks(struct pag_rest *r)
{
    struct pag_enroll_request *one = NULL;
    struct pag_rest_page page;
    size_t n = 0;
    if (!pag_rest_page_begin(r, false, &page)) {
        return;
    }
    enum pag_err err = pag_app_asks(&r->call, &one, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (!pag_rest_page_takes(&page, pag_rest_position(r, one[i].created_ms, one[i].id))) {
            continue;
        }
        json_t *o = json_object();
        put(o, "id", pag_json_str(one[i].id));
        put(o, "device", pag_json_str(one[i].device));
        put(o, "product", pag_json_str(product_name(r, one[i].product)));
        put(o, "state", pag_json_str(pag_request_word(one[i].state)));
        put(o, "key_sha256", pag_json_hex(pag_span_of(one[i].key, sizeof one[i].key)));
        put(o, "address", pag_json_str(one[i].address));
        put(o, "actor", one[i].actor[0] != '\0' ? pag_json_str(one[i].actor) : json_null());
        put(o, "created_at", pag_json_time((uint64_t)one[i].created_ms));
        put(o, "changed_at", pag_json_time((uint64_t)one[i].changed_ms));
        (void)json_array_append_new(items, o);
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static void ask_post(struct pag_rest *r)
{
    const char *verb = NULL;
    const char *id = pag_rest_param_verb(r, &verb);
    if (id == NULL) {
        return;
    }
    if (verb == NULL || (strcmp(verb, "approve") != 0 && strcmp(verb, "deny") != 0)) {
        pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "A request is decided with :approve or :deny.");
        return;
    }
    struct pag_ask_decision *in = pag_rest_alloc(r, sizeof *in);
    if (in != NULL) {
        *in = (struct pag_ask_decision){ .id = id, .approve = verb[0] == 'a' };
        pag_rest_finish_with(r, NULL, finish_empty);
        pag_app_ask_decide(&r->call, in);
    }
}

static void profile(struct pag_rest *r)
{
    const char *product = pag_rest_param(r, 0);
    bool allowed = false;
    if (product == NULL) {
        return;
    }
    enum pag_err err = pag_app_ask_allowed(&r->call, product, &allowed);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *o = json_object();
    put(o, "approval", json_boolean(allowed));
    pag_rest_json(r, 200, o);
}

static void profile_put(struct pag_rest *r)
{
    json_t *approval = NULL;
    const struct pag_json_field fields[] = {
        { .name = "approval", .type = PAG_JSON_BOOL, .required = true, .out = &approval },
    };
    const char *product = pag_rest_param(r, 0);
    if (product == NULL || !pag_rest_fields(r, fields, 1)) {
        return;
    }
    struct pag_ask_allow *in = pag_rest_alloc(r, sizeof *in);
    if (in != NULL) {
        *in = (struct pag_ask_allow){ .product = product, .allow = pag_field_bool(approval, false) };
        pag_rest_finish_with(r, NULL, finish_empty);
        pag_app_ask_allow(&r->call, in);
    }
}

/* ---- authorities ---- */

static bool is_authority(const char *name)
{
    static const char *const authorities[] = { "root", "device", "server", "operator", "device-old" };
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
    struct pag_certificate_state state;
    if (pag_app_certificate_state(&r->call, &state) == PAG_OK) {
        json_t *certificates = json_object();
        put(certificates, "due", json_integer((json_int_t)state.due));
        put(certificates, "expired", json_integer((json_int_t)state.expired));
        put(certificates, "old_authority", json_integer((json_int_t)state.old));
        put(certificates, "clone_suspected", json_integer((json_int_t)state.suspected));
        put(o, "device_certificates", certificates);
    }
    pag_rest_json(r, 200, o);
}

/* ---- roll-over ---- */

/* False: answered. */
static bool whole(struct pag_rest *r)
{
    if (r->actor.product[0] != '\0') {
        pag_rest_problem(r, PAG_PROBLEM_FORBIDDEN,
                         "Authorities are for all products, and this token is for one.");
        return false;
    }
    return true;
}

static bool kind_of(struct pag_rest *r, enum pag_ca_kind *kind)
{
    if (!whole(r)) {
        return false;
    }
    const char *word = pag_rest_param(r, 0);
    if (word == NULL) {
        return false;
    }
    if (strcmp(word, "device") == 0 || strcmp(word, "server") == 0) {
        *kind = word[0] == 'd' ? PAG_CA_DEVICE : PAG_CA_SERVER;
        return true;
    }
    pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND,
                     "The authorities that can be followed by others are device and server.");
    return false;
}

static void refuse_roll(struct pag_rest *r, enum pag_err err, const struct pag_fail *why)
{
    r->call.refusal.detail = why->what;
    pag_rest_refuse(r, err == PAG_E_SIGNATURE || err == PAG_E_EXPIRED || err == PAG_E_CONFIG ? PAG_E_CONFLICT
                                                                                             : err);
}

static void next_post(struct pag_rest *r)
{
    enum pag_ca_kind kind = PAG_CA_DEVICE;
    struct pag_fail why = { .code = PAG_OK };
    struct pag_span csr = { NULL, 0 };
    if (!kind_of(r, &kind)) {
        return;
    }
    enum pag_err err = r->api->process->ca_begin(r->api->process_ctx, kind, r->req->arena, &csr, &why);
    if (err != PAG_OK) {
        refuse_roll(r, err, &why);
        return;
    }
    json_t *o = json_object();
    put(o, "csr", pag_json_text(csr));
    pag_rest_json(r, 200, o);
}

static void finish_roll(struct pag_rest *r)
{
    pag_rest_empty(r, 202);
}

/* The change is made; that it is kept in the record is waited for. */
static void note_roll(struct pag_rest *r, bool retired, const char *kind)
{
    struct pag_ca_event_in *in = pag_rest_alloc(r, sizeof *in);
    if (in != NULL) {
        *in = (struct pag_ca_event_in){ .retired = retired, .kind = kind };
        pag_rest_finish_with(r, NULL, finish_roll);
        pag_app_ca_event(&r->call, in);
    }
}

static void next_put(struct pag_rest *r)
{
    enum pag_ca_kind kind = PAG_CA_DEVICE;
    struct pag_fail why = { .code = PAG_OK };
    json_t *certificate = NULL;
    const struct pag_json_field fields[] = { { .name = "certificate",
                                               .type = PAG_JSON_TEXT,
                                               .required = true,
                                               .min = 1,
                                               .max = 4096,
                                               .out = &certificate } };
    if (!kind_of(r, &kind) || !pag_rest_fields(r, fields, 1)) {
        return;
    }
    enum pag_err err = r->api->process->ca_take(r->api->process_ctx, kind, pag_field_text(certificate), &why);
    if (err != PAG_OK) {
        refuse_roll(r, err, &why);
        return;
    }
    note_roll(r, false, kind == PAG_CA_DEVICE ? "device" : "server");
}

static void old_delete(struct pag_rest *r)
{
    struct pag_certificate_state state;
    struct pag_fail why = { .code = PAG_OK };
    const char *force = pag_rest_query(r, "force");
    if (!whole(r)) {
        return;
    }
    enum pag_err err = pag_app_certificate_state(&r->call, &state);
    if (err == PAG_OK && state.old > 0 && (force == NULL || strcmp(force, "true") != 0)) {
        r->call.refusal.detail = pag_arena_printf(
            r->req->arena, "%llu device(s) have certificates of the old authority and would be cut off.",
            (unsigned long long)state.old);
        r->call.refusal.help = "Have them renew, or say force=true.";
        err = PAG_E_CONFLICT;
    }
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    err = r->api->process->ca_retire(r->api->process_ctx, &why);
    if (err != PAG_OK) {
        refuse_roll(r, err, &why);
        return;
    }
    note_roll(r, true, "device");
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
    pem(r, PAG_API_DEVICE_BUNDLE);
}

static void server_pem(struct pag_rest *r)
{
    pem(r, PAG_API_SERVER_PEM);
}

static void device_crl(struct pag_rest *r)
{
    pem(r, PAG_API_DEVICE_CRL);
}

/* As programs on boards want it: the list of the authority in force alone. */
static void device_crl_der(struct pag_rest *r)
{
    struct pag_span text = { NULL, 0 };
    enum pag_err err = r->api->process->file(r->api->process_ctx, PAG_API_DEVICE_CRL, r->req->arena, &text);
    struct pag_buf der = { err == PAG_OK ? pag_arena_alloc(r->req->arena, text.n + 1) : NULL, 0, text.n + 1 };
    err = err == PAG_OK && der.p == NULL ? PAG_E_NO_MEMORY : err;
    err = err == PAG_OK ? pag_x509_der_of_pem("X509 CRL", text, &der) : err;
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    pag_rest_bytes(r, "application/pkix-crl", pag_buf_span(&der));
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
    json_t *name = NULL;
    json_t *tags = NULL;
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
        { .name = "name", .type = PAG_JSON_TEXT, .max = PAG_NAME_MAX, .out = &name },
        { .name = "tags", .type = PAG_JSON_ARRAY, .max = 16, .out = &tags },
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
    if (!take_words(r, name, tags, &in->name, &in->tags)) {
        return;
    }
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
    { PAG_HTTP_GET, PAG_ROLE_OPERATOR, "/enrollment/requests", asks, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_OPERATOR, "/enrollment/requests/{id}", ask_post, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{id}/enrollment", profile, PAG_REST_NONE, false },
    { PAG_HTTP_PUT, PAG_ROLE_ADMIN, "/products/{id}/enrollment", profile_put, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/ca", ca, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/root.pem", root_pem, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/device.pem", device_pem, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/server.pem", server_pem, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/device.crl", device_crl, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "/ca/device.crl.der", device_crl_der, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/ca/{kind}/next", next_post, PAG_REST_JSON, false },
    { PAG_HTTP_PUT, PAG_ROLE_ADMIN, "/ca/{kind}/next", next_put, PAG_REST_JSON, false },
    { PAG_HTTP_DELETE, PAG_ROLE_ADMIN, "/ca/device/old", old_delete, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/ca/issue", issue, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/certificates", certificates, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/freshness-key", freshness_key, PAG_REST_NONE, false },
};
const size_t pag_rest_enrollment_route_n =
    sizeof pag_rest_enrollment_routes / sizeof pag_rest_enrollment_routes[0];
