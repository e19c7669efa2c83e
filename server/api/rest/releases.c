/* Releases: drafts, images, manifests, publishing. */
#include "server/app/releases.h"

#include <string.h>

#include "core/base64.h"
#include "core/bytes.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"

/* A release is 10 kB with its images and manifests: a page of a thousand would not fit a request's memory. */
enum { PAGE_MAX = 200 };

static void list(struct pag_rest *r)
{
    struct pag_release_list out = { .item = NULL };
    struct pag_release_query q = {
        .product = pag_rest_query(r, "product"),
        .state = pag_rest_query(r, "state"),
        .limit = pag_rest_limit(r, 100),
    };
    if (q.limit == 0) {
        return;
    }
    q.limit = q.limit < PAGE_MAX ? q.limit : PAGE_MAX;
    const char *bound = pag_arena_printf(r->req->arena, "%s&%s", q.product != NULL ? q.product : "",
                                         q.state != NULL ? q.state : "");
    if (bound == NULL || !pag_rest_cursor(r, bound, &q.after)) {
        return;
    }
    enum pag_err err = pag_app_releases(&r->call, &q, &out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < out.n; i++) {
        (void)json_array_append_new(items,
                                    pag_render_release(&out.item[i].release, out.item[i].product_name));
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_cursor_next(r, bound, out.next), out.total));
}

static void show(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    struct pag_release_view *out = id != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    enum pag_err err = pag_app_release(&r->call, id, out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    pag_rest_json(r, 200, pag_render_release(&out->release, out->product_name));
}

static void finish_created(struct pag_rest *r)
{
    const struct pag_release_view *v = r->out;
    pag_rest_json(r, 201, pag_render_release(&v->release, v->product_name));
}

static void finish_changed(struct pag_rest *r)
{
    const struct pag_release_view *v = r->out;
    pag_rest_json(r, 200, pag_render_release(&v->release, v->product_name));
}

static void create(struct pag_rest *r)
{
    json_t *product = NULL;
    json_t *version = NULL;
    json_t *channel = NULL;
    json_t *notes = NULL;
    const struct pag_json_field fields[] = {
        { .name = "product", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 40, .out = &product },
        { .name = "version",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_VERSION_MAX,
          .out = &version },
        { .name = "channel", .type = PAG_JSON_TEXT, .min = 1, .max = PAG_VERSION_MAX, .out = &channel },
        { .name = "notes", .type = PAG_JSON_TEXT, .nullable = true, .max = 4096, .out = &notes },
    };
    if (!pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_release_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_release_view *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->product = pag_rest_text(r, product);
    in->version = pag_rest_text(r, version);
    in->channel = pag_rest_text(r, channel);
    in->notes = pag_rest_text(r, notes);
    pag_rest_finish_with(r, out, finish_created);
    pag_app_release_create(&r->call, in, out);
}

/* ---- images ---- */

/* The 44 characters of a SHA-256 in base64. */
static bool digest_of_base64(struct pag_span s, uint8_t out[PAG_SHA256_BYTES])
{
    uint8_t room[PAG_SHA256_BYTES];
    struct pag_buf digest = { room, 0, sizeof room };
    if (s.n != 44 || pag_base64_decode(s, &digest) != PAG_OK || digest.n != sizeof room) {
        return false;
    }
    memcpy(out, room, sizeof room);
    return true;
}

/* One member of Repr-Digest (RFC 9530): "sha-256=:<base64>:". Others are not looked at. False: malformed. */
static bool digest_member(struct pag_span member, struct pag_image_in *in)
{
    static const char name[] = "sha-256=";
    size_t from = sizeof name; /* behind the first colon */
    if (!pag_span_starts(member, name)) {
        return true;
    }
    if (member.n <= from || member.p[from - 1] != ':' || member.p[member.n - 1] != ':') {
        return false;
    }
    in->has_expected =
        digest_of_base64((struct pag_span){ member.p + from, member.n - from - 1 }, in->expected);
    return in->has_expected;
}

static bool repr_digest_read(const struct pag_http_request *req, struct pag_image_in *in)
{
    struct pag_span v = pag_http_header_get(req, "Repr-Digest");
    bool ok = true;
    for (size_t at = 0; ok && at < v.n;) {
        size_t end = pag_span_find(v, at, ',');
        while (at < end && v.p[at] == ' ') {
            at++;
        }
        ok = digest_member((struct pag_span){ v.p + at, end - at }, in);
        at = end + 1;
    }
    return ok;
}

static void finish_image(struct pag_rest *r)
{
    pag_rest_json(r, 201, pag_render_image(r->out));
}

/* file=, core=, offset=: what a client asks for it by, what built it, where a cable writes it. */
static bool place_read(struct pag_rest *r, struct pag_image_in *in)
{
    const char *core = pag_rest_query(r, "core");
    const char *offset = pag_rest_query(r, "offset");
    uint64_t at = 0;
    in->file = pag_rest_query(r, "file");
    in->flash_offset = -1;
    if (core != NULL && pag_core_read(pag_span_str(core), &in->core) != PAG_OK) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "core must be an Arduino core's version, as 2.7.4.");
        return false;
    }
    if (offset != NULL && (pag_parse_u64(pag_span_str(offset), &at) != PAG_OK || at > UINT32_MAX)) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "offset must be a decimal number of bytes.");
        return false;
    }
    in->flash_offset = offset != NULL ? (int64_t)at : -1;
    return true;
}

static void image_put(struct pag_rest *r)
{
    struct pag_image_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_release_image *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->release = pag_rest_param(r, 0);
    in->name = in->release != NULL ? pag_rest_param(r, 1) : NULL;
    if (in->name == NULL) {
        return;
    }
    if (!repr_digest_read(r->req, in)) {
        pag_rest_problem(r, PAG_PROBLEM_BAD_REQUEST, "Repr-Digest is not of the form sha-256=:<base64>:.");
        return;
    }
    if (r->req->body_fd < 0) {
        pag_rest_problem(r, PAG_PROBLEM_BAD_REQUEST, "The request has no image in it.");
        return;
    }
    in->verify_key = pag_rest_query(r, "verify_key");
    if (!place_read(r, in)) {
        return;
    }
    in->fd = r->req->body_fd;
    in->bytes = r->req->body_bytes;
    memcpy(in->sha256, r->req->body_sha256, sizeof in->sha256);
    pag_rest_finish_with(r, out, finish_image);
    pag_app_image_put(&r->call, in, out);
}

static void image_get(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    const char *name = id != NULL ? pag_rest_param(r, 1) : NULL;
    struct pag_release_image *image = name != NULL ? pag_rest_alloc(r, sizeof *image) : NULL;
    int fd = -1;
    if (image == NULL) {
        return;
    }
    enum pag_err err = pag_app_image_open(&r->call, id, name, &fd, image);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    struct pag_http_header header[] = {
        { pag_span_str("Cache-Control"), pag_span_str("no-store") },
        { pag_span_str("X-Content-Type-Options"), pag_span_str("nosniff") },
    };
    struct pag_http_file file = {
        .fd = fd,
        .bytes = image->bytes,
        .content_type = "application/octet-stream",
        .header = header,
        .header_n = 2,
    };
    pag_http_reply_file(r->req, &file);
}

/* ---- manifests, permits ---- */

static void manifest_post(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    struct pag_release_view *out = id != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out != NULL) {
        pag_rest_finish_with(r, out, finish_created);
        pag_app_manifest_put(&r->call, id, r->req->body, out);
    }
}

static void finish_permit(struct pag_rest *r)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "release", pag_json_str(r->text));
    pag_rest_json(r, 201, o);
}

static void permit_post(struct pag_rest *r)
{
    r->text = pag_rest_param(r, 0);
    if (r->text != NULL) {
        pag_rest_finish_with(r, NULL, finish_permit);
        pag_app_permit_put(&r->call, r->text, r->req->body);
    }
}

/* ---- "{id}:publish" and "{id}:withdraw" ---- */

static void act(struct pag_rest *r)
{
    const char *verb = NULL;
    const char *id = pag_rest_param_verb(r, &verb);
    bool publish = verb != NULL && strcmp(verb, "publish") == 0;
    if (publish && !pag_role_holds(r->actor.role, PAG_ROLE_RELEASER)) {
        pag_rest_problem(r, PAG_PROBLEM_FORBIDDEN, "Publishing needs the role releaser.");
        return;
    }
    json_t *anyway = NULL;
    const struct pag_json_field fields[] = {
        { .name = "strand_anyway", .type = PAG_JSON_TEXT, .min = 1, .max = 200, .out = &anyway },
    };
    if (id == NULL || !pag_rest_fields(r, fields, 1)) {
        return;
    }
    struct pag_release_view *out = pag_rest_alloc(r, sizeof *out);
    struct pag_publish_in *in = out != NULL ? pag_rest_alloc(r, sizeof *in) : NULL;
    if (in == NULL) {
        return;
    }
    in->release = id;
    in->strand_anyway = pag_rest_text(r, anyway);
    if (!publish && (verb == NULL || strcmp(verb, "withdraw") != 0)) {
        pag_rest_problem(r, PAG_PROBLEM_NOT_FOUND, "A release can do :publish and :withdraw.");
        return;
    }
    pag_rest_finish_with(r, out, finish_changed);
    if (!publish) {
        pag_app_withdraw(&r->call, in, out);
    } else {
        pag_app_publish(&r->call, in, out);
    }
}

static void reach(struct pag_rest *r)
{
    struct pag_reach out = { .total = 0 };
    const char *id = pag_rest_param(r, 0);
    if (id == NULL) {
        return;
    }
    enum pag_err err = pag_app_reach(&r->call, id, &out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *o = json_object();
    json_t *blocked = json_array();
    (void)json_object_set_new(o, "total", json_integer(out.total));
    (void)json_object_set_new(o, "will_update", json_integer(out.will_update));
    (void)json_object_set_new(o, "up_to_date", json_integer(out.up_to_date));
    for (size_t i = 0; i < out.blocked_n; i++) {
        json_t *g = json_object();
        (void)json_object_set_new(g, "reason", pag_json_str(out.blocked[i].reason));
        (void)json_object_set_new(g, "text", pag_json_str(out.blocked[i].text));
        (void)json_object_set_new(g, "count", json_integer(out.blocked[i].count));
        (void)json_object_set_new(g, "example", pag_json_str(out.blocked[i].example));
        (void)json_array_append_new(blocked, g);
    }
    (void)json_object_set_new(o, "blocked", blocked);
    pag_rest_json(r, 200, o);
}

const struct pag_rest_route pag_rest_release_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/releases", list, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_RELEASER, "/releases", create, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/releases/{id}", show, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_OPERATOR, "/releases/{id}", act, PAG_REST_JSON, false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/releases/{id}/reach", reach, PAG_REST_NONE, false },
    { PAG_HTTP_GET, PAG_ROLE_RELEASER, "/releases/{id}/images/{name}", image_get, PAG_REST_NONE, false },
    { PAG_HTTP_PUT, PAG_ROLE_RELEASER, "/releases/{id}/images/{name}", image_put, PAG_REST_FILE, false },
    { PAG_HTTP_POST, PAG_ROLE_RELEASER, "/releases/{id}/manifests", manifest_post, PAG_REST_COSE, false },
    { PAG_HTTP_POST, PAG_ROLE_RELEASER, "/releases/{id}/permits", permit_post, PAG_REST_COSE, false },
};
const size_t pag_rest_release_route_n = sizeof pag_rest_release_routes / sizeof pag_rest_release_routes[0];
