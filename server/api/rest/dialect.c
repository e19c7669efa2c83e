/* Products and devices that speak secureESP8266: their settings, keys and time series. */
#include "server/app/dialect.h"

#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/tasmota.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/api/secureesp/config.h"
#include "server/app/device_key.h"
#include "server/app/releases.h"
#include "server/app/series.h"

enum { SERIES_MAX = 10000, SERIES_DEFAULT = 1000 };

/* ---- settings ---- */

struct change {
    struct pag_dialect_in in;
    struct pag_dialect_settings to;
};

static json_t *render_settings(const struct pag_dialect_settings *s)
{
    json_t *o = json_object();
    json_t *stored = pag_secureesp_config_load(s->config);
    bool any = s->dialect != PAG_DIALECT_NONE;
    (void)json_object_set_new(o, "dialect", any ? pag_json_str(pag_dialect_word(s->dialect)) : json_null());
    (void)json_object_set_new(o, "settings", pag_secureesp_config_show(stored));
    (void)json_object_set_new(o, "changed_at", pag_json_time((uint64_t)s->changed_ms));
    json_decref(stored);
    return o;
}

/* Path parameter 0 is a product's name or a device's id. */
static bool read_stored(struct pag_rest *r, bool device, struct pag_dialect_settings *out)
{
    const char *id = pag_rest_param(r, 0);
    struct pag_dialect_settings product;
    if (id == NULL) {
        return false;
    }
    r->text = id;
    enum pag_err err = device ? pag_app_dialect(&r->call, NULL, id, &product, out)
                              : pag_app_dialect(&r->call, id, NULL, out, NULL);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return false;
    }
    if (device) {
        out->dialect = product.dialect;
    }
    return true;
}

static void show(struct pag_rest *r, bool device)
{
    struct pag_dialect_settings s;
    if (read_stored(r, device, &s)) {
        pag_rest_json(r, 200, render_settings(&s));
    }
}

static void product_show(struct pag_rest *r)
{
    show(r, false);
}

static void device_show(struct pag_rest *r)
{
    show(r, true);
}

static void finish_change(struct pag_rest *r)
{
    const struct change *c = r->out;
    pag_rest_json(r, 200, render_settings(&c->to));
}

/* A device could not be reached any more after reading a file that it cannot hold. */
static bool fits(struct pag_rest *r, const json_t *settings)
{
    static const char longest[] = "a-host-name-of-forty-characters-or.local";
    const struct pag_secureesp_place place = { .server = longest,
                                               .port = 65535,
                                               .path = pag_span_str("/a-path-of-32-characters-or-fewer"),
                                               .mqtt_server = longest,
                                               .mqtt_port = 65535 };
    struct pag_span text;
    if (pag_secureesp_config_render(r->req->arena, settings, NULL, &place, &text) == PAG_OK) {
        return true;
    }
    pag_rest_problem(
        r, PAG_PROBLEM_INVALID_FIELD,
        "config.json would be longer than the 699 bytes that the sketch can read: shorten names, "
        "paths or wifi.");
    return false;
}

static void refuse_settings(struct pag_rest *r, struct pag_problem *problem)
{
    json_decref(r->body);
    r->body = NULL;
    pag_problem_reply(r->req, problem);
}

static bool merge(struct pag_rest *r, json_t *patch, bool device, struct change *c)
{
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    if (patch != NULL && !pag_secureesp_config_check(r->req->arena, patch, device, &problem)) {
        refuse_settings(r, &problem);
        return false;
    }
    json_t *stored = pag_secureesp_config_load(c->to.config);
    if (patch != NULL) {
        pag_secureesp_config_merge(stored, patch);
    }
    bool ok = fits(r, stored);
    if (ok) {
        pag_secureesp_config_server(stored, &c->to);
        c->to.config = pag_json_dump(r->req->arena, json_incref(stored));
    }
    json_decref(stored);
    return ok;
}

static bool topics_free(struct pag_rest *r, const char *full_topic)
{
    struct pag_product p;
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    const char *user = NULL;
    enum pag_err err = pag_app_product(&r->call, r->text, &p);
    const struct pag_tasmota_change change = { .product = p.id, .full_topic = full_topic };
    err = err == PAG_OK ? pag_head_tasmota_clash(&r->call, &change, &user) : err;
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return false;
    }
    if (user != NULL) {
        pag_problem_add(&problem, "/settings/fulltopic", "invalid-field",
                        "would put topics of this product's devices among those of another product's");
        refuse_settings(r, &problem);
    }
    return user == NULL;
}

/* null takes a setting back. */
static bool merge_tasmota(struct pag_rest *r, json_t *patch, bool device, struct change *c)
{
    struct pag_tasmota_settings checked;
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    const char *bad = NULL;
    if (device) {
        pag_rest_problem(r, PAG_PROBLEM_CONFLICT, "A Tasmota has no settings of its own here.");
        return false;
    }
    const char *name = NULL;
    json_t *value = NULL;
    json_t *stored = pag_secureesp_config_load(c->to.config);
    json_object_foreach(patch, name, value)
    {
        if (strcmp(name, "fulltopic") != 0 && strcmp(name, "otaurl") != 0) {
            bad = pag_arena_printf(r->req->arena, "/settings/%s", name);
            pag_problem_add(&problem, bad, "unknown-field", "is no setting: fulltopic, otaurl");
        } else if (json_is_null(value)) {
            (void)json_object_del(stored, name);
        } else {
            (void)json_object_set(stored, name, value);
        }
    }
    c->to.config = pag_json_dump(r->req->arena, stored);
    if (bad == NULL && pag_tasmota_settings_read(c->to.config, &checked, &bad) != PAG_OK) {
        bool topic = bad != NULL && strcmp(bad, "fulltopic") == 0;
        pag_problem_add(
            &problem, topic ? "/settings/fulltopic" : "/settings/otaurl", "invalid-field",
            topic ? "must have %prefix% and %topic% once each as whole levels and end with /"
                  : "must begin with http:// or https://, have at most 199 characters, and of % only "
                    "%d and %04d");
        bad = "";
    }
    if (bad != NULL) {
        refuse_settings(r, &problem);
    }
    return bad == NULL && topics_free(r, checked.full_topic);
}

static void patch(struct pag_rest *r, bool device)
{
    json_t *dialect = NULL;
    json_t *settings = NULL;
    const struct pag_json_field fields[] = {
        { .name = "settings", .type = PAG_JSON_OBJECT, .out = &settings },
        { .name = "dialect", .type = PAG_JSON_TEXT, .max = 16, .out = &dialect },
    };
    struct change *c = pag_rest_alloc(r, sizeof *c);
    if (c == NULL || !pag_rest_fields(r, fields, device ? 1 : 2) || !read_stored(r, device, &c->to)) {
        return;
    }
    enum pag_dialect want = dialect != NULL ? pag_dialect_by_word(pag_field_text(dialect)) : c->to.dialect;
    if (dialect != NULL && want == PAG_DIALECT_NONE) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "The dialects are secureesp8266 and tasmota.");
        return;
    }
    if (want != c->to.dialect) { /* settings of one mean nothing to the other */
        c->to.config = (struct pag_span){ NULL, 0 };
        c->to.dialect = want;
    }
    if (c->to.dialect == PAG_DIALECT_NONE) {
        pag_rest_problem(r, PAG_PROBLEM_CONFLICT,
                         "The product has no dialect yet: PATCH /products/{name}/dialect with {\"dialect\": "
                         "\"secureesp8266\"}.");
        return;
    }
    if (!(want == PAG_DIALECT_TASMOTA ? merge_tasmota(r, settings, device, c)
                                      : merge(r, settings, device, c))) {
        return;
    }
    c->in = (struct pag_dialect_in){ .product = device ? NULL : r->text,
                                     .device = device ? r->text : NULL,
                                     .change = &c->to };
    pag_rest_finish_with(r, c, finish_change);
    pag_app_dialect_put(&r->call, &c->in);
}

static void product_patch(struct pag_rest *r)
{
    patch(r, false);
}

static void device_patch(struct pag_rest *r)
{
    patch(r, true);
}

static void finish_removed(struct pag_rest *r)
{
    pag_rest_empty(r, 204);
}

static void take_away(struct pag_rest *r, bool device)
{
    struct pag_dialect_in *in = pag_rest_alloc(r, sizeof *in);
    const char *id = in != NULL ? pag_rest_param(r, 0) : NULL;
    if (id == NULL) {
        return;
    }
    *in = (struct pag_dialect_in){ .product = device ? NULL : id, .device = device ? id : NULL };
    pag_rest_finish_with(r, in, finish_removed);
    pag_app_dialect_put(&r->call, in);
}

static void product_delete(struct pag_rest *r)
{
    take_away(r, false);
}

static void device_delete(struct pag_rest *r)
{
    take_away(r, true);
}

/* ---- a new key ---- */

static void finish_key(struct pag_rest *r)
{
    const struct pag_device_key_out *out = r->out;
    json_t *o = json_object();
    (void)json_object_set_new(o, "device", pag_json_str(r->text));
    (void)json_object_set_new(o, "serial", pag_json_str(out->serial));
    pag_rest_json(r, 201, o);
}

static void key_post(struct pag_rest *r)
{
    struct pag_device_key_out *out = pag_rest_alloc(r, sizeof *out);
    const char *id = out != NULL ? pag_rest_param(r, 0) : NULL;
    if (id != NULL && pag_rest_fields(r, NULL, 0)) {
        r->text = id;
        pag_rest_finish_with(r, out, finish_key);
        pag_app_device_key_new(&r->call, id, out);
    }
}

/* ---- series ---- */

static bool digits(struct pag_span s, size_t at, size_t n, int64_t *out)
{
    uint32_t v = 0;
    struct pag_span part;
    bool ok = pag_span_sub(s, at, n, &part) == PAG_OK && pag_parse_u32(part, &v) == PAG_OK;
    *out = v;
    return ok;
}

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* "2026-01-31T12:00:00Z", or Unix seconds. */
static bool time_read(const char *text, int64_t absent_ms, int64_t *out)
{
    int64_t f[6];
    static const uint8_t at[6] = { 0, 5, 8, 11, 14, 17 };
    struct pag_span s = pag_span_str(text);
    uint64_t seconds = 0;
    if (text == NULL) {
        *out = absent_ms;
        return true;
    }
    if (pag_parse_u64(s, &seconds) == PAG_OK && seconds < 100000000000U) {
        *out = (int64_t)seconds * 1000;
        return true;
    }
    bool ok = s.n == 20 && s.p[4] == '-' && s.p[7] == '-' && s.p[10] == 'T' && s.p[13] == ':' &&
              s.p[16] == ':' && s.p[19] == 'Z';
    for (size_t i = 0; ok && i < 6; i++) {
        ok = digits(s, at[i], i == 0 ? 4 : 2, &f[i]);
    }
    if (!ok || f[0] < 1970 || f[1] < 1 || f[1] > 12 || f[2] < 1 || f[2] > 31 || f[3] > 23 || f[4] > 59 ||
        f[5] > 60) {
        return false;
    }
    *out = (((days_of(f[0], f[1], f[2]) * 24 + f[3]) * 60 + f[4]) * 60 + f[5]) * 1000;
    return true;
}

static bool series_read(struct pag_rest *r, struct pag_series_in *in)
{
    uint64_t limit = SERIES_DEFAULT;
    const char *field = pag_rest_query(r, "field");
    const char *most = pag_rest_query(r, "limit");
    if (field == NULL || pag_series_field_by_word(pag_span_str(field), &in->field) != PAG_OK) {
        pag_rest_problem(
            r, PAG_PROBLEM_INVALID_FIELD,
            "field is uptimemillis, maxmillis, mqttmillis, rssi, espfreeheap, espname, espimage, "
            "espbuild, espip, errormessage or espflasherror.");
        return false;
    }
    if (!time_read(pag_rest_query(r, "from"), 0, &in->from_ms) ||
        !time_read(pag_rest_query(r, "to"), INT64_MAX, &in->to_ms)) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD,
                         "from and to are 2026-01-31T12:00:00Z or Unix seconds.");
        return false;
    }
    if ((most != NULL && pag_parse_u64(pag_span_str(most), &limit) != PAG_OK) || limit < 1 ||
        limit > SERIES_MAX) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "limit is 1 to 10000.");
        return false;
    }
    in->limit = (uint32_t)limit + 1; /* one more tells that there is more */
    return true;
}

static void series(struct pag_rest *r)
{
    struct pag_series_in in = { .device = pag_rest_param(r, 0) };
    struct pag_series_value *v = NULL;
    size_t n = 0;
    if (in.device == NULL || !series_read(r, &in)) {
        return;
    }
    enum pag_err err = pag_app_series(&r->call, &in, &v, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    bool more = n == in.limit;
    n -= more ? 1 : 0;
    for (size_t i = 0; i < n; i++) {
        json_t *o = json_object();
        (void)json_object_set_new(o, "at", pag_json_time((uint64_t)v[i].at_ms));
        (void)json_object_set_new(o, "value",
                                  v[i].word != NULL ? pag_json_str(v[i].word) : json_integer(v[i].number));
        (void)json_array_append_new(items, o);
    }
    json_t *o = json_object();
    (void)json_object_set_new(o, "device", pag_json_str(in.device));
    (void)json_object_set_new(o, "field", pag_json_str(pag_series_field_word(in.field)));
    (void)json_object_set_new(o, "items", items);
    (void)json_object_set_new(o, "next_from", more ? pag_json_time((uint64_t)v[n].at_ms) : json_null());
    pag_rest_json(r, 200, o);
}

/* ---- in GET /devices/{id} ---- */

void pag_rest_said(struct pag_rest *r, const char *device, json_t *o)
{
    struct pag_sample *s = pag_arena_alloc(r->req->arena, sizeof *s);
    if (s == NULL || pag_app_series_last(&r->call, device, s) != PAG_OK) {
        return;
    }
    json_t *said = json_object();
    const char *message = pag_secureesp_message(s);
    (void)json_object_set_new(said, "at", pag_json_time((uint64_t)s->at_ms));
    for (int f = 0; f < PAG_SERIES_FIELDS; f++) {
        const char *name = pag_series_field_word((enum pag_series_field)f);
        if (f < PAG_SERIES_NUMBERS && (s->given & (1U << f)) != 0) {
            (void)json_object_set_new(said, name, json_integer(s->number[f]));
        } else if (f >= PAG_SERIES_NUMBERS && pag_sample_word(s, (enum pag_series_field)f)[0] != '\0') {
            (void)json_object_set_new(said, name, pag_json_str(pag_sample_word(s, (enum pag_series_field)f)));
        }
    }
    (void)json_object_set_new(o, "said", said);
    if (message[0] != '\0') {
        (void)json_object_set_new(o, "message", pag_json_str(message));
        (void)json_object_set_new(o, "message_help", pag_json_str(pag_secureesp_advice(message)));
    }
}

const struct pag_rest_route pag_rest_dialect_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{name}/dialect", product_show, PAG_REST_NONE, false },
    { PAG_HTTP_PATCH, PAG_ROLE_ADMIN, "/products/{name}/dialect", product_patch, PAG_REST_JSON, true },
    { PAG_HTTP_DELETE, PAG_ROLE_ADMIN, "/products/{name}/dialect", product_delete, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices/{id}/dialect", device_show, PAG_REST_NONE, false },
    { PAG_HTTP_PATCH, PAG_ROLE_OPERATOR, "/devices/{id}/dialect", device_patch, PAG_REST_JSON, true },
    { PAG_HTTP_DELETE, PAG_ROLE_OPERATOR, "/devices/{id}/dialect", device_delete, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/devices/{id}/key", key_post, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices/{id}/series", series, PAG_REST_NONE, false },
};
const size_t pag_rest_dialect_route_n = sizeof pag_rest_dialect_routes / sizeof pag_rest_dialect_routes[0];
