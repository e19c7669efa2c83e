/* Paths on the device listeners that belong to a product: docs/spec/legacy-http.md 1. */
#include "server/app/mounts.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"

static json_t *render_mount(const struct pag_mount *m)
{
    json_t *o = json_object();
    json_t *config = m->config[0] != '\0' ? json_loads(m->config, JSON_REJECT_DUPLICATES, NULL) : NULL;
    (void)json_object_set_new(o, "path", pag_json_str(m->path));
    (void)json_object_set_new(o, "kind", pag_json_str(pag_mount_kind_word(m->kind)));
    (void)json_object_set_new(o, "auth", pag_json_str(m->has_auth ? pag_legacy_auth_word(m->auth) : NULL));
    (void)json_object_set_new(o, "not_modified", json_boolean((m->flags & PAG_MOUNT_NOT_MODIFIED) != 0));
    (void)json_object_set_new(o, "plain_names", json_boolean((m->flags & PAG_MOUNT_PLAIN_NAMES) != 0));
    (void)json_object_set_new(o, "options", config != NULL ? config : json_object());
    (void)json_object_set_new(o, "created_at", pag_json_time((uint64_t)m->created_ms));
    return o;
}

static void list(struct pag_rest *r)
{
    struct pag_mount *mount = NULL;
    size_t n = 0;
    const char *name = pag_rest_param(r, 0);
    if (name == NULL) {
        return;
    }
    enum pag_err err = pag_app_mounts(&r->call, name, &mount, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(items, render_mount(&mount[i]));
    }
    pag_rest_json(r, 200, pag_render_list(items, NULL, n));
}

static void finish_added(struct pag_rest *r)
{
    pag_rest_json(r, 201, render_mount(r->out));
}

static bool refuse(struct pag_rest *r, const char *pointer, const char *detail)
{
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    pag_problem_add(&problem, pointer, "invalid-field", detail);
    json_decref(r->body);
    r->body = NULL;
    pag_problem_reply(r->req, &problem);
    return false;
}

static bool options_read(struct pag_rest *r, const json_t *options, struct pag_mount *m)
{
    m->config = "";
    if (options == NULL || json_object_size(options) == 0) {
        return true;
    }
    char *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS);
    struct pag_span s = pag_span_str(text);
    m->config = s.n <= PAG_MOUNT_CONFIG_MAX ? pag_arena_text(r->req->arena, s) : NULL;
    free(text);
    return m->config != NULL || refuse(r, "/options", "must have at most 1024 bytes");
}

static void add(struct pag_rest *r)
{
    json_t *path = NULL;
    json_t *kind = NULL;
    json_t *auth = NULL;
    json_t *not_modified = NULL;
    json_t *plain_names = NULL;
    json_t *options = NULL;
    const struct pag_json_field fields[] = {
        { .name = "path",
          .type = PAG_JSON_TEXT,
          .required = true,
          .min = 1,
          .max = PAG_MOUNT_PATH_MAX,
          .out = &path },
        { .name = "kind", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 16, .out = &kind },
        { .name = "auth", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 16, .out = &auth },
        { .name = "not_modified", .type = PAG_JSON_BOOL, .out = &not_modified },
        { .name = "plain_names", .type = PAG_JSON_BOOL, .out = &plain_names },
        { .name = "options", .type = PAG_JSON_OBJECT, .out = &options },
    };
    const char *name = pag_rest_param(r, 0);
    if (name == NULL || !pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_mount_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_mount *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->product = name;
    pag_field_copy(in->mount.path, sizeof in->mount.path, path);
    if (pag_mount_kind_by_word(pag_field_text(kind), &in->mount.kind) != PAG_OK) {
        (void)refuse(r, "/kind", "must be httpupdate, tag-emonesp, tag-squix, files or secureesp8266");
        return;
    }
    in->mount.has_auth = json_is_string(auth);
    if (in->mount.has_auth && pag_legacy_auth_by_word(pag_field_text(auth), &in->mount.auth) != PAG_OK) {
        (void)refuse(r, "/auth", "must be certificate, token or none");
        return;
    }
    in->mount.flags |= pag_field_bool(not_modified, false) ? PAG_MOUNT_NOT_MODIFIED : 0U;
    in->mount.flags |= pag_field_bool(plain_names, false) ? PAG_MOUNT_PLAIN_NAMES : 0U;
    if (options_read(r, options, &in->mount)) {
        pag_rest_finish_with(r, out, finish_added);
        pag_app_mount_add(&r->call, in, out);
    }
}

static void finish_removed(struct pag_rest *r)
{
    pag_rest_empty(r, 204);
}

static void remove_one(struct pag_rest *r)
{
    const char *name = pag_rest_param(r, 0);
    const char *path = name != NULL ? pag_rest_query(r, "path") : NULL;
    if (name == NULL) {
        return;
    }
    if (path == NULL) {
        pag_rest_problem(r, PAG_PROBLEM_BAD_REQUEST, "path= says which one.");
        return;
    }
    pag_rest_finish_with(r, NULL, finish_removed);
    pag_app_mount_remove(&r->call, name, path);
}

const struct pag_rest_route pag_rest_mount_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{name}/mounts", list, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/products/{name}/mounts", add, PAG_REST_JSON, false },
    { PAG_HTTP_DELETE, PAG_ROLE_ADMIN, "/products/{name}/mounts", remove_one, PAG_REST_NONE, false },
};
const size_t pag_rest_mount_route_n = sizeof pag_rest_mount_routes / sizeof pag_rest_mount_routes[0];
