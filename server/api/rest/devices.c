/* Devices and their commands. */
#include "server/app/devices.h"

#include <string.h>

#include "core/base64.h"
#include "core/bytes.h"
#include "core/command.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/clones.h"

static json_t *render_row(const struct pag_device_row *row)
{
    struct pag_render_device v = {
        .device = &row->device,
        .product = row->product_name,
        .wanted_version = row->wanted_version,
        .wanted_release = row->wanted_release,
        .action = row->has_action ? &row->action : NULL,
        .image = row->blocked,
        .image_n = row->blocked_n,
    };
    json_t *o = pag_render_device(&v);
    if (row->stale && row->device.state != PAG_DEVICE_REVOKED) {
        (void)json_object_set_new(o, "state", json_string(pag_device_state_word(PAG_DEVICE_STALE)));
        (void)json_object_set_new(o, "why", json_string("not seen for three polls"));
    }
    return o;
}

static void list(struct pag_rest *r)
{
    struct pag_device_list out = { .item = NULL };
    struct pag_device_query q = {
        .product = pag_rest_query(r, "product"),
        .state = pag_rest_query(r, "state"),
        .version = pag_rest_query(r, "version"),
        .q = pag_rest_query(r, "q"),
        .limit = pag_rest_limit(r, 100),
    };
    if (q.limit == 0) {
        return;
    }
    const char *bound = pag_arena_printf(r->req->arena, "%s&%s&%s&%s", q.product != NULL ? q.product : "",
                                         q.state != NULL ? q.state : "", q.version != NULL ? q.version : "",
                                         q.q != NULL ? q.q : "");
    if (bound == NULL || !pag_rest_cursor(r, bound, &q.after)) {
        return;
    }
    enum pag_err err = pag_app_devices(&r->call, &q, &out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < out.n; i++) {
        (void)json_array_append_new(items, render_row(&out.item[i]));
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_cursor_next(r, bound, out.next), out.total));
}

static json_t *json_or_text(struct pag_span payload)
{
    const struct pag_json_limits limits = { 65536, 16 };
    json_t *v = NULL;
    if (pag_json_parse(payload, limits, &v, NULL) == PAG_OK) {
        return v;
    }
    return pag_json_text(payload);
}

/* What the device itself says of its freshness token: docs/spec/native.md 3, member stale. */
static json_t *freshness(struct pag_rest *r, const char *id, const struct pag_device *d)
{
    struct pag_device_data said = { .status_ms = 0 };
    bool foreign = pag_protocol_polls(d->protocol) || d->protocol == PAG_PROTOCOL_SECUREESP;
    if (foreign || pag_app_device_data(&r->call, id, &said) != PAG_OK || said.status.n == 0) {
        return json_null();
    }
    json_t *status = json_or_text(said.status);
    json_t *word = json_string(json_is_true(json_object_get(status, "stale")) ? "stale" : "fresh");
    json_decref(status);
    return word;
}

static void show(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    struct pag_device_row *row = id != NULL ? pag_rest_alloc(r, sizeof *row) : NULL;
    if (row == NULL) {
        return;
    }
    enum pag_err err = pag_app_device(&r->call, id, row);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *o = render_row(row);
    (void)json_object_set_new(o, "freshness", freshness(r, id, &row->device));
    int64_t clone_ms = 0;
    if (pag_app_clone_at(&r->call, id, &clone_ms) == PAG_OK) {
        (void)json_object_set_new(o, "clone_suspected_at", pag_json_time((uint64_t)clone_ms));
    }
    uint32_t counter = 0;
    if (pag_app_command_counter(&r->call, row->device.id, &counter) == PAG_OK) {
        (void)json_object_set_new(o, "command_counter", json_integer(counter));
    }
    pag_rest_said(r, id, o);
    pag_rest_json(r, 200, o);
}

static void finish_row(struct pag_rest *r)
{
    pag_rest_json(r, 200, render_row(r->out));
}

/* limit= and cursor= of a list whose positions are numbers; *limit 0 after a reply. */
static void numbered(struct pag_rest *r, uint32_t *limit, uint64_t *after)
{
    const char *text = NULL;
    *after = 0;
    *limit = pag_rest_limit(r, 100);
    if (*limit > 0 && (!pag_rest_cursor(r, "", &text) ||
                       (text != NULL && pag_parse_u64(pag_span_str(text), after) != PAG_OK))) {
        *limit = 0;
    }
}

static const char *number_next(struct pag_rest *r, bool full, uint64_t last)
{
    return full ? pag_rest_cursor_next(r, "",
                                       pag_arena_printf(r->req->arena, "%llu", (unsigned long long)last))
                : NULL;
}

static void history(struct pag_rest *r)
{
    struct pag_event *event = NULL;
    size_t n = 0;
    uint64_t before = 0;
    uint64_t total = 0;
    struct pag_history_query q = { .device = pag_rest_param(r, 0) };
    if (q.device != NULL) {
        numbered(r, &q.limit, &before);
    }
    if (q.limit == 0) {
        return;
    }
    q.before = (int64_t)before;
    enum pag_err err = pag_app_device_history(&r->call, &q, &event, &n, &total);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(items, pag_render_event(&event[i], NULL));
    }
    const char *next = number_next(r, n == q.limit, n > 0 ? (uint64_t)event[n - 1].seq : 0);
    pag_rest_json(r, 200, pag_render_list(items, next, total));
}

static void data(struct pag_rest *r)
{
    struct pag_device_data out = { .status_ms = 0 };
    const char *id = pag_rest_param(r, 0);
    if (id == NULL) {
        return;
    }
    enum pag_err err = pag_app_device_data(&r->call, id, &out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *o = json_object();
    json_t *items = json_array();
    (void)json_object_set_new(o, "status", out.status.n > 0 ? json_or_text(out.status) : json_null());
    (void)json_object_set_new(o, "status_at", pag_json_time((uint64_t)out.status_ms));
    for (size_t i = 0; i < out.n; i++) {
        json_t *d = json_object();
        (void)json_object_set_new(d, "topic", pag_json_str(out.datum[i].topic));
        (void)json_object_set_new(d, "at", pag_json_time((uint64_t)out.datum[i].at_ms));
        (void)json_object_set_new(d, "payload", json_or_text(out.datum[i].payload));
        (void)json_array_append_new(items, d);
    }
    (void)json_object_set_new(o, "data", items);
    pag_rest_json(r, 200, o);
}

const char *pag_rest_tags(struct pag_rest *r, const json_t *tags)
{
    const char *joined = "";
    for (size_t i = 0; i < json_array_size(tags); i++) {
        struct pag_span tag = pag_field_text(json_array_get(tags, i));
        if (tag.n == 0 || tag.n > 32 || pag_span_find(tag, 0, ',') != tag.n) {
            pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD,
                             "tags must be texts of 1 to 32 bytes without commas.");
            return NULL;
        }
        joined = pag_arena_printf(r->req->arena, "%s%s%.*s", joined, i > 0 ? "," : "", (int)tag.n,
                                  (const char *)tag.p);
        if (joined == NULL) {
            pag_rest_problem(r, PAG_PROBLEM_BUSY, NULL);
            return NULL;
        }
    }
    return joined;
}

static void patch(struct pag_rest *r)
{
    json_t *name = NULL;
    json_t *tags = NULL;
    json_t *pin = NULL;
    const struct pag_json_field fields[] = {
        { .name = "name", .type = PAG_JSON_TEXT, .max = PAG_NAME_MAX, .out = &name },
        { .name = "tags", .type = PAG_JSON_ARRAY, .max = 16, .out = &tags },
        { .name = "pin", .type = PAG_JSON_TEXT, .nullable = true, .max = PAG_VERSION_MAX, .out = &pin },
    };
    const char *id = pag_rest_param(r, 0);
    if (id == NULL || !pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_device_patch *in = pag_rest_alloc(r, sizeof *in);
    struct pag_device_row *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->name = pag_rest_text(r, name);
    in->pin = pin == NULL ? NULL : json_is_null(pin) ? "" : pag_rest_text(r, pin);
    if (tags != NULL) {
        in->tags = pag_rest_tags(r, tags);
        if (in->tags == NULL) {
            return;
        }
    }
    pag_rest_finish_with(r, out, finish_row);
    pag_app_device_patch(&r->call, id, in, out);
}

/* ---- ":revoke" and ":retry" ---- */

static void finish_act(struct pag_rest *r)
{
    struct pag_device_row *row = pag_rest_alloc(r, sizeof *row);
    if (row == NULL) {
        return;
    }
    enum pag_err err = pag_app_device(&r->call, r->text, row);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    pag_rest_json(r, 200, render_row(row));
}

static void act(struct pag_rest *r)
{
    json_t *reason = NULL;
    const struct pag_json_field fields[] = {
        { .name = "reason", .type = PAG_JSON_TEXT, .nullable = true, .max = PAG_WHY_MAX, .out = &reason },
    };
    const char *verb = NULL;
    const char *id = pag_rest_param_verb(r, &verb);
    if (id == NULL || !pag_rest_fields(r, fields, 1)) {
        return;
    }
    r->text = id;
    pag_rest_finish_with(r, NULL, finish_act);
    if (verb != NULL && strcmp(verb, "revoke") == 0) {
        const char *why = pag_rest_text(r, reason);
        pag_app_device_revoke(&r->call, id, why != NULL ? why : "");
    } else if (verb != NULL && strcmp(verb, "retry") == 0) {
        pag_app_device_retry(&r->call, id);
    } else {
        pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "A device can do :revoke and :retry.");
    }
}

/* ---- commands ---- */

static void finish_command(struct pag_rest *r)
{
    pag_rest_json(r, 201, pag_render_command(r->out, pag_rest_now_ms(r)));
}

enum { SIGNED_TEXT_MAX = (PAG_SIGNED_COMMAND_MAX + 2) / 3 * 4 };

/* Base64 of a signed command; none: empty. False: the request is answered. */
static bool signed_bytes(struct pag_rest *r, struct pag_span text, struct pag_span *out)
{
    uint8_t *room = pag_rest_alloc(r, PAG_SIGNED_COMMAND_MAX);
    struct pag_buf b = { room, 0, PAG_SIGNED_COMMAND_MAX };
    *out = (struct pag_span){ NULL, 0 };
    if (room == NULL) {
        return false;
    }
    if (text.n > 0 && pag_base64_decode(text, &b) != PAG_OK) {
        struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
        pag_problem_add(&problem, "/signed", "invalid-field", "must be base64 of at most 256 bytes");
        json_decref(r->body);
        r->body = NULL;
        pag_problem_reply(r->req, &problem);
        return false;
    }
    *out = pag_buf_span(&b);
    return true;
}

static void command_post(struct pag_rest *r)
{
    json_t *kind = NULL;
    json_t *arg = NULL;
    json_t *ttl = NULL;
    json_t *order = NULL;
    const struct pag_json_field fields[] = {
        { .name = "kind", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 16, .out = &kind },
        { .name = "arg", .type = PAG_JSON_TEXT, .nullable = true, .max = PAG_COMMAND_ARG_MAX, .out = &arg },
        { .name = "ttl_s", .type = PAG_JSON_UINT, .min = 1, .max = 2592000, .out = &ttl },
        { .name = "signed", .type = PAG_JSON_TEXT, .nullable = true, .max = SIGNED_TEXT_MAX, .out = &order },
    };
    const char *id = pag_rest_param(r, 0);
    if (id == NULL || !pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_command_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_command *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->device = id;
    in->kind = pag_rest_text(r, kind);
    in->arg = pag_arena_copy(r->req->arena, pag_field_text(arg));
    in->ttl_s = (uint32_t)pag_field_uint(ttl, 3600);
    if (!signed_bytes(r, pag_field_text(order), &in->order)) {
        return;
    }
    pag_rest_finish_with(r, out, finish_command);
    pag_app_command(&r->call, in, out);
}

static void commands(struct pag_rest *r)
{
    struct pag_command *command = NULL;
    size_t n = 0;
    uint64_t after = 0;
    uint64_t total = 0;
    struct pag_command_query q = { .device = pag_rest_param(r, 0) };
    if (q.device != NULL) {
        numbered(r, &q.limit, &after);
    }
    if (q.limit == 0) {
        return;
    }
    q.after = (uint32_t)after;
    enum pag_err err = pag_app_commands(&r->call, &q, &command, &n, &total);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(items, pag_render_command(&command[i], pag_rest_now_ms(r)));
    }
    const char *next = number_next(r, n == q.limit, n > 0 ? command[n - 1].id : 0);
    pag_rest_json(r, 200, pag_render_list(items, next, total));
}

const struct pag_rest_route pag_rest_device_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices", list, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices/{id}", show, PAG_REST_NONE, false },
    { PAG_HTTP_PATCH, PAG_ROLE_OPERATOR, "/devices/{id}", patch, PAG_REST_JSON, false },
    { PAG_HTTP_POST, PAG_ROLE_OPERATOR, "/devices/{id}", act, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices/{id}/history", history, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices/{id}/data", data, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/devices/{id}/commands", commands, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_OPERATOR, "/devices/{id}/commands", command_post, PAG_REST_JSON, false },
};
const size_t pag_rest_device_route_n = sizeof pag_rest_device_routes / sizeof pag_rest_device_routes[0];
