/* The server itself: health, status, events, who am I. */
#include "core/bytes.h"
#include "server/api/metrics/metrics.h"
#include "server/api/reply.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/admin.h"
#include "server/app/releases.h"

static void put(json_t *o, const char *name, json_t *value)
{
    (void)json_object_set_new(o, name, value);
}

static void healthz(struct pag_rest *r)
{
    pag_rest_bytes(r, "text/plain; charset=utf-8", pag_span_str("ok\n"));
}

static void readyz(struct pag_rest *r)
{
    struct pag_api_info info = { .started_unix_ms = 0 };
    r->api->process->info(r->api->process_ctx, &info);
    enum pag_err ready = pag_app_ready(r->api->app);
    bool store = ready == PAG_OK;
    bool off = pag_span_eq_str(pag_span_str(info.broker.state), "off");
    bool broker = off || info.broker.connected;
    json_t *o = json_object();
    json_t *checks = json_object();
    put(checks, "store",
        json_string(store                  ? "ok"
                    : ready == PAG_E_STALE ? "what was committed cannot be read; tried again"
                                           : "the writer does not answer"));
    put(checks, "broker", json_string(off ? "off" : broker ? "ok" : info.broker.state));
    put(o, "ready", json_boolean(store && broker));
    put(o, "checks", checks);
    pag_rest_json(r, store && broker ? 200 : 503, o);
}

static void whoami(struct pag_rest *r)
{
    json_t *o = json_object();
    json_t *token = json_object();
    put(o, "actor", pag_json_str(r->actor.actor));
    put(o, "role", json_string(pag_role_word(r->actor.role)));
    put(token, "id", json_sprintf("tok_%s", r->actor.id));
    put(token, "name", pag_json_str(r->actor.name));
    put(token, "expires_at", pag_json_time((uint64_t)r->actor.expires_ms));
    put(o, "token", token);
    pag_rest_json(r, 200, o);
}

static json_t *store_of(const struct pag_summary *s)
{
    json_t *o = json_object();
    put(o, "path", pag_json_str(s->store_path));
    put(o, "bytes", json_integer((json_int_t)s->store_bytes));
    put(o, "queue", json_integer(s->queue));
    put(o, "last_commit_at", pag_json_time((uint64_t)s->last_commit_ms));
    return o;
}

static json_t *broker_of(const struct pag_api_broker *b)
{
    json_t *o = json_object();
    put(o, "state", pag_json_str(b->state));
    put(o, "pid", b->pid > 0 ? json_integer(b->pid) : json_null());
    put(o, "restarts", json_integer(b->restarts));
    put(o, "port", b->port > 0 ? json_integer(b->port) : json_null());
    put(o, "connected", json_boolean(b->connected));
    put(o, "last_error", b->last_error[0] != '\0' ? pag_json_str(b->last_error) : json_null());
    return o;
}

static json_t *devices_of(const struct pag_summary *s)
{
    json_t *o = json_object();
    json_t *states = json_object();
    json_t *versions = json_array();
    put(o, "total", json_integer(s->devices));
    put(o, "online", json_integer(s->online));
    for (int i = 0; i < PAG_DEVICE_STATES; i++) {
        put(states, pag_device_state_word((enum pag_device_state)i), json_integer(s->by_state[i]));
    }
    put(o, "by_state", states);
    for (size_t i = 0; i < s->version_n; i++) {
        json_t *v = json_object();
        put(v, "product", pag_json_str(s->version[i].product));
        put(v, "version", pag_json_str(s->version[i].version));
        put(v, "count", json_integer(s->version[i].count));
        (void)json_array_append_new(versions, v);
    }
    put(o, "by_version", versions);
    return o;
}

static json_t *listeners_of(const struct pag_api_info *info)
{
    json_t *list = json_array();
    for (size_t i = 0; i < info->listener_n; i++) {
        const struct pag_api_listener *l = &info->listener[i];
        json_t *o = json_object();
        put(o, "name", pag_json_str(l->name));
        put(o, "address", pag_json_str(l->address));
        put(o, "port", json_integer(l->port));
        put(o, "tls", json_boolean(l->tls));
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *certificates_of(const struct pag_api_info *info)
{
    json_t *list = json_array();
    for (size_t i = 0; i < info->certificate_n; i++) {
        const struct pag_api_certificate *c = &info->certificate[i];
        json_t *o = json_object();
        put(o, "name", pag_json_str(c->name));
        put(o, "subject", pag_json_str(c->subject));
        put(o, "not_after", pag_json_time(c->not_after * 1000));
        (void)json_array_append_new(list, o);
    }
    return list;
}

static void status(struct pag_rest *r)
{
    struct pag_summary summary = { .store_path = "" };
    struct pag_api_info info = { .started_unix_ms = 0 };
    enum pag_err err = pag_app_summary(&r->call, &summary);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    r->api->process->info(r->api->process_ctx, &info);
    uint64_t now = (uint64_t)pag_rest_now_ms(r);
    json_t *o = json_object();
    json_t *warnings = json_array();
    for (size_t i = 0; i < info.warning_n; i++) {
        (void)json_array_append_new(warnings, pag_json_str(info.warning[i]));
    }
    put(o, "version", json_string(r->api->version));
    put(o, "started_at", pag_json_time(info.started_unix_ms));
    put(o, "uptime_s", json_integer((json_int_t)((now - info.started_unix_ms) / 1000)));
    put(o, "store", store_of(&summary));
    put(o, "broker", broker_of(&info.broker));
    put(o, "listeners", listeners_of(&info));
    put(o, "devices", devices_of(&summary));
    put(o, "certificates", certificates_of(&info));
    put(o, "root_exported", json_boolean(info.root_exported));
    put(o, "warnings", warnings);
    pag_rest_json(r, 200, o);
}

/* Names of products by hex id, for lists of rows that hold only the id. */
static const char *name_of(const struct pag_product *list, size_t n, const char *hex)
{
    for (size_t i = 0; i < n; i++) {
        if (pag_span_eq_str(pag_span_str(list[i].id), hex)) {
            return list[i].name;
        }
    }
    return NULL;
}

/* Without after: the newest ones, still ascending. */
static bool events_after(struct pag_rest *r, uint32_t limit, int64_t *after)
{
    const char *text = pag_rest_query(r, "after");
    uint64_t v = 0;
    if (text == NULL) {
        enum pag_err err = pag_app_events_tail(&r->call, limit, after);
        if (err != PAG_OK) {
            pag_rest_refuse(r, err);
        }
        return err == PAG_OK;
    }
    if (pag_parse_u64(pag_span_str(text), &v) != PAG_OK || v > INT64_MAX) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "after must be the seq of an event.");
        return false;
    }
    *after = (int64_t)v;
    return true;
}

static void events(struct pag_rest *r)
{
    struct pag_event *list = NULL;
    struct pag_product *product = NULL;
    size_t n = 0;
    size_t product_n = 0;
    int64_t after = 0;
    int64_t next = 0;
    uint32_t limit = pag_rest_limit(r, 100);
    if (limit == 0 || !events_after(r, limit, &after)) {
        return;
    }
    enum pag_err err = pag_app_events(&r->call, after, limit, &list, &n, &next);
    if (err == PAG_OK) {
        err = pag_app_products(&r->call, &product, &product_n);
    }
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *o = json_object();
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(items,
                                    pag_render_event(&list[i], name_of(product, product_n, list[i].product)));
    }
    put(o, "items", items);
    put(o, "next_after", json_integer(next));
    pag_rest_json(r, 200, o);
}

static void metrics(struct pag_rest *r)
{
    struct pag_span text;
    enum pag_err err = pag_metrics_text(r->api, &r->call, &text);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    pag_rest_bytes(r, "text/plain; version=0.0.4; charset=utf-8", text);
}

const struct pag_rest_route pag_rest_server_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_NONE, "!/healthz", healthz, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_NONE, "!/readyz", readyz, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "!/metrics", metrics, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/metrics", metrics, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/whoami", whoami, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/status", status, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/events", events, PAG_REST_NONE, false },
};
const size_t pag_rest_server_route_n = sizeof pag_rest_server_routes / sizeof pag_rest_server_routes[0];
