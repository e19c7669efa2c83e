/* Signatures beside images, and the devices that a change of signing keys would cut off. */
#include <string.h>

#include "core/bytes.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/releases.h"

static json_t *render_signature(const struct pag_detached *d)
{
    uint8_t hex[2 * PAG_SIGNATURE_BYTES_MAX];
    struct pag_buf text = { hex, 0, sizeof hex };
    json_t *o = json_object();
    (void)pag_buf_put_hex(&text, d->signature);
    (void)json_object_set_new(o, "key", pag_json_hex(pag_span_of(d->key, sizeof d->key)));
    (void)json_object_set_new(o, "signature", pag_json_text(pag_buf_span(&text)));
    (void)json_object_set_new(o, "created_at", pag_json_time((uint64_t)d->created_ms));
    return o;
}

static void list(struct pag_rest *r)
{
    const char *id = pag_rest_param(r, 0);
    const char *name = id != NULL ? pag_rest_param(r, 1) : NULL;
    struct pag_detached *found = NULL;
    size_t n = 0;
    if (name == NULL) {
        return;
    }
    enum pag_err err = pag_app_signatures(&r->call, id, name, &found, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(items, render_signature(&found[i]));
    }
    pag_rest_json(r, 200, pag_render_list(items, NULL, n));
}

static void finish_signature(struct pag_rest *r)
{
    pag_rest_json(r, 201, render_signature(r->out));
}

static void post(struct pag_rest *r)
{
    struct pag_signature_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_detached *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->release = pag_rest_param(r, 0);
    in->name = in->release != NULL ? pag_rest_param(r, 1) : NULL;
    if (in->name == NULL) {
        return;
    }
    in->signature = r->req->body;
    pag_rest_finish_with(r, out, finish_signature);
    pag_app_signature_put(&r->call, in, out);
}

/* ---- who would be cut off ---- */

static json_t *render_stranded(const struct pag_strand_device *d)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "id", pag_json_str(d->id));
    (void)json_object_set_new(o, "name", d->name[0] != '\0' ? pag_json_str(d->name) : json_null());
    (void)json_object_set_new(o, "version", d->version[0] != '\0' ? pag_json_str(d->version) : json_null());
    (void)json_object_set_new(o, "last_seen",
                              pag_json_time(d->last_seen_ms > 0 ? (uint64_t)d->last_seen_ms : 0));
    return o;
}

static void strands(struct pag_rest *r)
{
    struct pag_strand out = { .total = 0 };
    const char *id = pag_rest_param(r, 0);
    const char *verb = pag_rest_query(r, "verb");
    bool publish = verb == NULL || strcmp(verb, "publish") == 0;
    if (id == NULL) {
        return;
    }
    if (!publish && strcmp(verb, "withdraw") != 0) {
        pag_rest_problem(r, PAG_PROBLEM_INVALID_FIELD, "verb must be publish or withdraw.");
        return;
    }
    enum pag_err err = pag_app_strand(&r->call, id, publish, &out);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < out.n; i++) {
        (void)json_array_append_new(items, render_stranded(&out.device[i]));
    }
    pag_rest_json(r, 200, pag_render_list(items, NULL, out.total));
}

const struct pag_rest_route pag_rest_signature_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/releases/{id}/images/{name}/signatures", list, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_RELEASER, "/releases/{id}/images/{name}/signatures", post, PAG_REST_BYTES,
      false },
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/releases/{id}/strands", strands, PAG_REST_NONE, false },
};
const size_t pag_rest_signature_route_n =
    sizeof pag_rest_signature_routes / sizeof pag_rest_signature_routes[0];
