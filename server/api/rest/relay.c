/* What relays ask and say: docs/operating/relay.md. */
#include "server/app/relay.h"

#include <openssl/evp.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"

/* ---- work ---- */

static json_t *base64_of(struct pag_rest *r, struct pag_span s)
{
    size_t room = (s.n + 2) / 3 * 4 + 1;
    unsigned char *text = pag_arena_alloc(r->req->arena, room);
    if (s.n == 0 || text == NULL) {
        return json_null();
    }
    int n = EVP_EncodeBlock(text, s.p, (int)s.n);
    return json_stringn((const char *)text, (size_t)n);
}

static json_t *hex_of(const uint8_t sha256[PAG_SHA256_BYTES])
{
    char text[2 * PAG_SHA256_BYTES + 1];
    struct pag_buf hex = { (uint8_t *)text, 0, sizeof text - 1 };
    (void)pag_buf_put_hex(&hex, pag_span_of(sha256, PAG_SHA256_BYTES));
    return json_stringn(text, hex.n);
}

static json_t *render_action(struct pag_rest *r, const struct pag_relay_item *item)
{
    const struct pag_action *a = &item->action;
    json_t *o = json_object();
    (void)json_object_set_new(o, "id", json_integer(a->id));
    (void)json_object_set_new(o, "state", json_string(pag_report_state_word(a->state)));
    (void)json_object_set_new(o, "version", pag_json_str(a->version));
    (void)json_object_set_new(o, "release", pag_json_str(a->release));
    (void)json_object_set_new(o, "image", pag_json_str(item->image_name));
    (void)json_object_set_new(o, "bytes", json_integer((json_int_t)item->bytes));
    (void)json_object_set_new(o, "sha256", hex_of(a->target));
    (void)json_object_set_new(o, "manifest", base64_of(r, item->manifest));
    (void)json_object_set_new(o, "since", pag_json_time((uint64_t)a->changed_ms));
    return o;
}

static json_t *render_item(struct pag_rest *r, const struct pag_relay_item *item, const char *product)
{
    const struct pag_device *d = &item->device;
    const struct pag_neighbour *n = &item->neighbour;
    json_t *o = json_object();
    (void)json_object_set_new(o, "device", pag_json_str(d->id));
    (void)json_object_set_new(o, "product", pag_json_str(product));
    (void)json_object_set_new(o, "protocol", json_string(pag_protocol_word(d->protocol)));
    (void)json_object_set_new(o, "address", pag_json_str(n->address));
    (void)json_object_set_new(o, "name", pag_json_str(n->name));
    (void)json_object_set_new(o, "mac", pag_json_str(d->mac));
    (void)json_object_set_new(o, "said", pag_json_str(n->said));
    (void)json_object_set_new(o, "running",
                              item->running != NULL ? pag_json_str(item->running) : json_null());
    (void)json_object_set_new(o, "relay", pag_json_str(n->relay));
    (void)json_object_set_new(o, "seen_at", pag_json_time((uint64_t)n->seen_ms));
    (void)json_object_set_new(o, "action", item->has_action ? render_action(r, item) : json_null());
    return o;
}

static void work(struct pag_rest *r)
{
    struct pag_relay_work out;
    const char *after = NULL;
    const char *product = pag_rest_query(r, "product");
    uint32_t limit = pag_rest_limit(r, 100);
    if (limit == 0) {
        return;
    }
    if (product == NULL) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "product=NAME is missing.");
        return;
    }
    if (!pag_rest_cursor(r, product, &after)) {
        return;
    }
    enum pag_err err = pag_app_relay_work(&r->call, product, after, limit, &out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < out.n; i++) {
        (void)json_array_append_new(items, render_item(r, &out.item[i], out.product));
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_cursor_next(r, product, out.next), out.n));
}

static void image(struct pag_rest *r)
{
    const char *device = pag_rest_param(r, 0);
    int fd = -1;
    uint64_t bytes = 0;
    if (device == NULL) {
        return;
    }
    enum pag_err err = pag_app_relay_image(&r->call, device, &fd, &bytes);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    struct pag_http_header header[] = {
        { pag_span_str("Cache-Control"), pag_span_str("no-store") },
        { pag_span_str("X-Content-Type-Options"), pag_span_str("nosniff") },
    };
    struct pag_http_file file = {
        .fd = fd, .bytes = bytes, .content_type = "application/octet-stream", .header = header, .header_n = 2
    };
    pag_http_reply_file(r->req, &file);
}

/* ---- seen ---- */

static enum pag_protocol protocol_of(const json_t *v)
{
    struct pag_span word = pag_field_text(v);
    for (int p = PAG_PROTOCOL_PUSH_ESPOTA; p <= PAG_PROTOCOL_PUSH_WLED; p++) {
        if (pag_span_eq_str(word, pag_protocol_word((enum pag_protocol)p))) {
            return (enum pag_protocol)p;
        }
    }
    return PAG_PROTOCOL_UNKNOWN;
}

static void finish_seen(struct pag_rest *r)
{
    const struct pag_check_reply *out = r->out;
    json_t *o = json_object();
    bool offer = out->verdict == PAG_CHECK_OFFER && out->action_id != 0;
    (void)json_object_set_new(o, "action", offer ? json_integer(out->action_id) : json_null());
    (void)json_object_set_new(o, "version", offer ? pag_json_str(out->version) : json_null());
    (void)json_object_set_new(o, "why", pag_json_str(out->why != NULL ? out->why : ""));
    (void)json_object_set_new(o, "poll_s", json_integer(out->poll_s));
    pag_rest_json(r, 200, o);
}

static void seen(struct pag_rest *r)
{
    json_t *product = NULL;
    json_t *protocol = NULL;
    json_t *address = NULL;
    json_t *mac = NULL;
    json_t *name = NULL;
    json_t *version = NULL;
    json_t *chip = NULL;
    const struct pag_json_field fields[] = {
        { .name = "product", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 64, .out = &product },
        { .name = "protocol",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = 32,
          .out = &protocol },
        { .name = "address",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_NEIGHBOUR_ADDRESS_MAX,
          .out = &address },
        { .name = "mac", .type = PAG_JSON_TEXT, .nullable = true, .max = 17, .out = &mac },
        { .name = "name", .type = PAG_JSON_TEXT, .nullable = true, .max = PAG_NAME_MAX, .out = &name },
        { .name = "version",
          .type = PAG_JSON_TEXT,
          .nullable = true,
          .max = PAG_VERSION_MAX,
          .out = &version },
        { .name = "chip", .type = PAG_JSON_TEXT, .nullable = true, .max = 16, .out = &chip },
    };
    const char *device = pag_rest_param(r, 0);
    if (device == NULL || !pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    char *mac_text = pag_rest_alloc(r, 13);
    struct pag_sighting *in = mac_text != NULL ? pag_rest_alloc(r, sizeof *in) : NULL;
    struct pag_check_reply *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    memset(in, 0, sizeof *in);
    in->protocol = protocol_of(protocol);
    in->device = device;
    in->product = pag_rest_text(r, product);
    in->address = pag_rest_text(r, address);
    in->mac = pag_mac_text(pag_field_text(mac), mac_text) == PAG_OK ? mac_text : NULL;
    in->name = pag_rest_text(r, name);
    in->version = pag_rest_text(r, version);
    in->chip =
        chip != NULL && json_is_string(chip) ? pag_chip_by_name(pag_field_text(chip)) : PAG_CHIP_UNKNOWN;
    if (in->protocol == PAG_PROTOCOL_UNKNOWN || !pag_device_id_ok(pag_span_str(in->device))) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD,
                         "protocol must be push-espota, push-esphome, push-web or push-wled, device an id.");
        return;
    }
    pag_rest_finish_with(r, out, finish_seen);
    pag_app_relay_seen(&r->call, in, out);
}

/* ---- reports ---- */

static const enum pag_report_state states[] = { PAG_REPORT_DOWNLOADING, PAG_REPORT_DOWNLOADED,
                                                PAG_REPORT_INSTALLING,  PAG_REPORT_REBOOTING,
                                                PAG_REPORT_CONFIRMED,   PAG_REPORT_FAILED,
                                                PAG_REPORT_REVERTED,    PAG_REPORT_DEFERRED,
                                                PAG_REPORT_REJECTED };

static bool state_of(const json_t *v, enum pag_report_state *out)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (pag_span_eq_str(pag_field_text(v), pag_report_state_word(states[i]))) {
            *out = states[i];
            return true;
        }
    }
    return false;
}

static void finish_report(struct pag_rest *r)
{
    pag_rest_empty(r, 204);
}

static void report(struct pag_rest *r)
{
    json_t *device = NULL;
    json_t *action = NULL;
    json_t *state = NULL;
    json_t *progress = NULL;
    json_t *code = NULL;
    json_t *text = NULL;
    json_t *version = NULL;
    const struct pag_json_field fields[] = {
        { .name = "device",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_DEVICE_ID_MAX,
          .out = &device },
        { .name = "action",
          .type = PAG_JSON_UINT,
          .required = true,
          .min = 1,
          .max = INT32_MAX,
          .out = &action },
        { .name = "state", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 16, .out = &state },
        { .name = "progress", .type = PAG_JSON_UINT, .max = 100, .out = &progress },
        { .name = "code", .type = PAG_JSON_UINT, .max = 65535, .out = &code },
        { .name = "text", .type = PAG_JSON_TEXT, .max = 200, .out = &text },
        { .name = "version",
          .type = PAG_JSON_TEXT,
          .nullable = true,
          .max = PAG_VERSION_MAX,
          .out = &version },
    };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_relay_report_in *in = pag_rest_alloc(r, sizeof *in);
    if (in == NULL) {
        return;
    }
    memset(in, 0, sizeof *in);
    in->device = pag_rest_text(r, device);
    in->action_id = (uint32_t)pag_field_uint(action, 0);
    in->progress_pct = (uint8_t)pag_field_uint(progress, 0);
    in->code = (int32_t)pag_field_uint(code, 0);
    in->text = pag_arena_copy(r->req->arena, pag_field_text(text));
    in->said = pag_rest_text(r, version);
    if (!state_of(state, &in->state)) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "state is none that a relay can report.");
        return;
    }
    pag_rest_finish_with(r, NULL, finish_report);
    pag_app_relay_report(&r->call, in);
}

const struct pag_rest_route pag_rest_relay_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_OPERATOR, "/relay/work", work, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_OPERATOR, "/relay/devices/{id}/image", image, PAG_REST_NONE, false },
    { PAG_HTTP_PUT, PAG_ROLE_OPERATOR, "/relay/devices/{id}", seen, PAG_REST_JSON, false },
    { PAG_HTTP_POST, PAG_ROLE_OPERATOR, "/relay/report", report, PAG_REST_JSON, false },
};
const size_t pag_rest_relay_route_n = sizeof pag_rest_relay_routes / sizeof pag_rest_relay_routes[0];
