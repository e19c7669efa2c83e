/* Products and their trust sets. */
#include <string.h>

#include "core/bytes.h"
#include "core/image.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/releases.h"

static void list(struct pag_rest *r)
{
    struct pag_product *product = NULL;
    struct pag_rest_page page;
    size_t n = 0;
    if (!pag_rest_page_begin(r, false, &page)) {
        return;
    }
    enum pag_err err = pag_app_products(&r->call, &product, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (pag_rest_page_takes(&page, product[i].name)) {
            (void)json_array_append_new(items, pag_render_product(&product[i]));
        }
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static void show(struct pag_rest *r)
{
    struct pag_product product;
    const char *name = pag_rest_param(r, 0);
    if (name == NULL) {
        return;
    }
    enum pag_err err = pag_app_product(&r->call, name, &product);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    pag_rest_json(r, 200, pag_render_product(&product));
}

static void finish_created(struct pag_rest *r)
{
    pag_rest_json(r, 201, pag_render_product(r->out));
}

static void finish_changed(struct pag_rest *r)
{
    pag_rest_json(r, 200, pag_render_product(r->out));
}

static bool refuse_fields(struct pag_rest *r, struct pag_problem *problem)
{
    json_decref(r->body);
    r->body = NULL;
    pag_problem_reply(r->req, problem);
    return false;
}

static bool topics_read(struct pag_rest *r, json_t *o, struct pag_settings_patch *p,
                        struct pag_problem *problem)
{
    json_t *command = NULL;
    json_t *status = NULL;
    json_t *will = NULL;
    const struct pag_json_field fields[] = {
        { .name = "command", .type = PAG_JSON_TEXT, .max = PAG_TEMPLATE_MAX - 1, .out = &command },
        { .name = "status", .type = PAG_JSON_TEXT, .max = PAG_TEMPLATE_MAX - 1, .out = &status },
        { .name = "will", .type = PAG_JSON_TEXT, .max = PAG_TEMPLATE_MAX - 1, .out = &will },
    };
    if (o == NULL) {
        return true;
    }
    if (!pag_fields_read(r->req->arena, o, "/settings/topics", fields, 3, problem)) {
        return false;
    }
    if (command != NULL) {
        pag_field_copy(p->to.topic_command, sizeof p->to.topic_command, command);
        p->set |= PAG_SETTING_TOPIC_COMMAND;
    }
    if (status != NULL) {
        pag_field_copy(p->to.topic_status, sizeof p->to.topic_status, status);
        p->set |= PAG_SETTING_TOPIC_STATUS;
    }
    if (will != NULL) {
        pag_field_copy(p->to.topic_will, sizeof p->to.topic_will, will);
        p->set |= PAG_SETTING_TOPIC_WILL;
    }
    return true;
}

/* Takes the members of o over what p->to holds. Replies and returns false when something is wrong. */
static bool settings_read(struct pag_rest *r, json_t *o, struct pag_settings_patch *p)
{
    json_t *poll = NULL;
    json_t *auth = NULL;
    json_t *plain = NULL;
    json_t *serves = NULL;
    json_t *core = NULL;
    json_t *topics = NULL;
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    const struct pag_json_field fields[] = {
        { .name = "poll_s", .type = PAG_JSON_UINT, .min = 10, .max = 604800, .out = &poll },
        { .name = "legacy_auth", .type = PAG_JSON_TEXT, .min = 1, .max = 16, .out = &auth },
        { .name = "plain_http", .type = PAG_JSON_BOOL, .out = &plain },
        { .name = "max_serves", .type = PAG_JSON_UINT, .min = 1, .max = 100, .out = &serves },
        { .name = "core", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 8, .out = &core },
        { .name = "topics", .type = PAG_JSON_OBJECT, .out = &topics },
    };
    if (o == NULL) {
        return true;
    }
    bool ok =
        pag_fields_read(r->req->arena, o, "/settings", fields, sizeof fields / sizeof fields[0], &problem);
    ok = ok && topics_read(r, topics, p, &problem);
    if (ok && auth != NULL && pag_legacy_auth_by_word(pag_field_text(auth), &p->to.legacy_auth) != PAG_OK) {
        pag_problem_add(&problem, "/settings/legacy_auth", "invalid-field",
                        "must be certificate, token or none");
        ok = false;
    }
    if (ok && json_is_string(core) && pag_core_read(pag_field_text(core), &p->to.core) != PAG_OK) {
        pag_problem_add(&problem, "/settings/core", "invalid-field",
                        "must be an Arduino core's version, as 2.7.4");
        ok = false;
    }
    if (!ok) {
        return refuse_fields(r, &problem);
    }
    p->to.core = json_is_null(core) ? 0 : p->to.core;
    p->set |= core != NULL ? PAG_SETTING_CORE : 0U;
    p->to.poll_s = (uint32_t)pag_field_uint(poll, p->to.poll_s);
    p->to.plain_http = pag_field_bool(plain, p->to.plain_http);
    p->to.max_serves = (uint32_t)pag_field_uint(serves, p->to.max_serves);
    p->set |= poll != NULL ? PAG_SETTING_POLL : 0U;
    p->set |= auth != NULL ? PAG_SETTING_LEGACY_AUTH : 0U;
    p->set |= plain != NULL ? PAG_SETTING_PLAIN_HTTP : 0U;
    p->set |= serves != NULL ? PAG_SETTING_MAX_SERVES : 0U;
    return true;
}

static bool hardware_read(struct pag_rest *r, const json_t *list_of, struct pag_product *p)
{
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    p->hardware_n = (uint8_t)json_array_size(list_of);
    for (size_t i = 0; i < p->hardware_n; i++) {
        const json_t *v = json_array_get(list_of, i);
        if (!json_is_string(v) ||
            pag_text_copy(p->hardware[i], sizeof p->hardware[i], pag_field_text(v)) != PAG_OK) {
            pag_problem_add(&problem, "/hardware", "invalid-field", "must be texts of 4 to 16 bytes");
            return refuse_fields(r, &problem);
        }
    }
    return true;
}

static void create(struct pag_rest *r)
{
    json_t *name = NULL;
    json_t *chip = NULL;
    json_t *hardware = NULL;
    json_t *flash = NULL;
    json_t *slot = NULL;
    json_t *settings = NULL;
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    const struct pag_json_field fields[] = {
        { .name = "name", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 32, .out = &name },
        { .name = "chip", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 16, .out = &chip },
        { .name = "hardware",
          .type = PAG_JSON_ARRAY,
          .required = true,
          .min = 1,
          .max = PAG_PRODUCT_HARDWARE_MAX,
          .out = &hardware },
        { .name = "flash_bytes", .type = PAG_JSON_UINT, .nullable = true, .max = UINT32_MAX, .out = &flash },
        { .name = "slot_bytes", .type = PAG_JSON_UINT, .nullable = true, .max = UINT32_MAX, .out = &slot },
        { .name = "settings", .type = PAG_JSON_OBJECT, .out = &settings },
    };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_product *in = pag_rest_alloc(r, 2 * sizeof *in);
    struct pag_settings_patch given = { .set = 0 };
    if (in == NULL) {
        return;
    }
    pag_product_settings_default(&given.to);
    pag_field_copy(in->name, sizeof in->name, name);
    in->chip = pag_chip_by_name(pag_field_text(chip));
    in->flash_bytes = (uint32_t)pag_field_uint(flash, 0);
    in->slot_bytes = (uint32_t)pag_field_uint(slot, 0);
    if (in->chip == PAG_CHIP_UNKNOWN) {
        pag_problem_add(&problem, "/chip", "invalid-field", "is no chip: esp8266, esp32, esp32-c3 … posix");
        (void)refuse_fields(r, &problem);
        return;
    }
    if (!hardware_read(r, hardware, in) || !settings_read(r, settings, &given)) {
        return;
    }
    in->settings = given.to;
    pag_rest_finish_with(r, in + 1, finish_created);
    pag_app_product_create(&r->call, in, in + 1);
}

static void patch(struct pag_rest *r)
{
    json_t *settings = NULL;
    const struct pag_json_field fields[] = {
        { .name = "settings", .type = PAG_JSON_OBJECT, .required = true, .out = &settings },
    };
    const char *name = pag_rest_param(r, 0);
    if (name == NULL || !pag_rest_fields(r, fields, 1)) {
        return;
    }
    struct pag_product *product = pag_rest_alloc(r, sizeof *product);
    struct pag_settings_patch *given = product != NULL ? pag_rest_alloc(r, sizeof *given) : NULL;
    if (given == NULL) {
        return;
    }
    if (settings_read(r, settings, given)) {
        pag_rest_finish_with(r, product, finish_changed);
        pag_app_product_settings(&r->call, name, given, product);
    }
}

/* ---- trust sets ---- */

static json_t *render_trust(const struct pag_trust_row *t)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "version", json_integer(t->version));
    (void)json_object_set_new(o, "sha256", pag_json_hex(pag_span_of(t->digest, sizeof t->digest)));
    (void)json_object_set_new(o, "bytes", json_integer((json_int_t)t->cose.n));
    (void)json_object_set_new(o, "created_at", pag_json_time((uint64_t)t->created_ms));
    (void)json_object_set_new(o, "expires_at", pag_json_time(t->expires_at * 1000));
    return o;
}

static void trust_list(struct pag_rest *r)
{
    struct pag_trust_row *row = NULL;
    size_t n = 0;
    struct pag_rest_page page;
    const char *name = pag_rest_param(r, 0);
    if (name == NULL || !pag_rest_page_begin(r, false, &page)) {
        return;
    }
    enum pag_err err = pag_app_trust_list(&r->call, name, &row, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (pag_rest_page_takes(&page, pag_rest_position(r, row[i].version, ""))) {
            (void)json_array_append_new(items, render_trust(&row[i]));
        }
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static bool version_read(struct pag_rest *r, uint32_t *version)
{
    if (pag_parse_u32(r->req->param[1], version) == PAG_OK && *version > 0) {
        return true;
    }
    pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "Versions of trust sets are whole numbers from 1.");
    return false;
}

static void trust_show(struct pag_rest *r)
{
    struct pag_trust_row *row = NULL;
    size_t n = 0;
    uint32_t version = 0;
    const char *name = pag_rest_param(r, 0);
    if (name == NULL || !version_read(r, &version)) {
        return;
    }
    enum pag_err err = pag_app_trust_list(&r->call, name, &row, &n);
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        if (row[i].version == version) {
            pag_rest_bytes(r, "application/cose", row[i].cose);
            return;
        }
    }
    pag_rest_refuse(r, err == PAG_OK ? PAG_E_NOT_FOUND : err);
}

static void finish_trust(struct pag_rest *r)
{
    struct pag_span *cose = r->out;
    json_t *o = json_object();
    (void)json_object_set_new(o, "product", pag_json_str(r->text));
    (void)json_object_set_new(o, "version", pag_json_text(r->req->param[1]));
    (void)json_object_set_new(o, "bytes", json_integer((json_int_t)cose->n));
    pag_rest_json(r, 201, o);
}

static void trust_put(struct pag_rest *r)
{
    uint32_t version = 0;
    r->text = pag_rest_param(r, 0);
    if (r->text == NULL || !version_read(r, &version)) {
        return;
    }
    pag_rest_finish_with(r, &r->req->body, finish_trust);
    pag_app_trust_put(&r->call, r->text, version, r->req->body);
}

const struct pag_rest_route pag_rest_product_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products", list, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/products", create, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{name}", show, PAG_REST_NONE, false },
    { PAG_HTTP_PATCH, PAG_ROLE_ADMIN, "/products/{name}", patch, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{name}/trust-sets", trust_list, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{name}/trust-sets/{version}", trust_show, PAG_REST_NONE,
      false },
    { PAG_HTTP_PUT, PAG_ROLE_ADMIN, "/products/{name}/trust-sets/{version}", trust_put, PAG_REST_COSE,
      false },
};
const size_t pag_rest_product_route_n = sizeof pag_rest_product_routes / sizeof pag_rest_product_routes[0];
