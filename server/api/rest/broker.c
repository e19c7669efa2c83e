/* Clients of the broker with a password: docs/operating/broker.md. */
#include <openssl/crypto.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/tasmota.h"
#include "server/api/rest/render.h"
#include "server/api/rest/rest.h"
#include "server/app/broker_users.h"
#include "server/app/releases.h"
#include "server/domain/tasmota.h"

static json_t *render_account(const struct pag_broker_account *a)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "user", pag_json_str(a->user));
    (void)json_object_set_new(o, "device", pag_json_str(a->device));
    (void)json_object_set_new(o, "topic", a->topic[0] != '\0' ? pag_json_str(a->topic) : json_null());
    (void)json_object_set_new(o, "refused", json_boolean(a->refused));
    (void)json_object_set_new(o, "created_at", pag_json_time((uint64_t)a->created_ms));
    return o;
}

static void list(struct pag_rest *r)
{
    struct pag_broker_account *account = NULL;
    struct pag_rest_page page;
    size_t n = 0;
    const char *product = pag_rest_param(r, 0);
    if (product == NULL || !pag_rest_page_begin(r, false, &page)) {
        return;
    }
    enum pag_err err = pag_app_broker_users(&r->call, product, &account, &n);
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
        return;
    }
    json_t *items = json_array();
    for (size_t i = 0; i < n; i++) {
        if (pag_rest_page_takes(&page, account[i].user)) {
            (void)json_array_append_new(items, render_account(&account[i]));
        }
    }
    pag_rest_json(r, 200, pag_render_list(items, pag_rest_page_next(r, &page), n));
}

static void finish_made(struct pag_rest *r)
{
    struct pag_broker_user_out *out = r->out;
    json_t *o = render_account(&out->account);
    (void)json_object_set_new(o, "password", pag_json_str(out->secret.password));
    OPENSSL_cleanse(&out->secret, sizeof out->secret);
    pag_rest_json(r, 201, o);
}

/* Among the topics of other products' users there is no room for one more. */
static bool topic_free(struct pag_rest *r, const struct pag_broker_user_in *in)
{
    struct pag_product p;
    struct pag_broker_account a = { .user = "" };
    const char *device = in->device != NULL ? in->device : in->name;
    const char *user = NULL;
    char mac[13];
    bool is_mac = pag_mac_text(pag_span_str(device), mac) == PAG_OK;
    enum pag_err err = pag_app_product(&r->call, in->product, &p);
    const struct pag_tasmota_change change = { .product = p.id, .account = &a };
    memcpy(a.product, p.id, sizeof a.product);
    (void)pag_text_copy(a.device, sizeof a.device, pag_span_str(is_mac ? mac : device));
    if (in->topic != NULL) {
        (void)pag_text_copy(a.topic, sizeof a.topic, pag_span_str(in->topic));
    } else if (is_mac) {
        pag_tasmota_name_of(mac, a.topic);
    }
    err = err == PAG_OK ? pag_head_tasmota_clash(&r->call, &change, &user) : err;
    if (err != PAG_OK) {
        pag_rest_refuse(r, err);
    } else if (user != NULL) {
        pag_rest_problem(r, PAG_PROBLEM_CONFLICT,
                         "Its topics would lie among those of another product's user.");
    }
    return err == PAG_OK && user == NULL;
}

static void add(struct pag_rest *r)
{
    json_t *name = NULL;
    json_t *device = NULL;
    json_t *topic = NULL;
    const struct pag_json_field fields[] = {
        { .name = "name", .type = PAG_JSON_TEXT, .required = true, .min = 1, .max = 31, .out = &name },
        { .name = "device", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 64, .out = &device },
        { .name = "topic",
          .type = PAG_JSON_TEXT,
          .nullable = true,
          .min = 1,
          .max = PAG_TASMOTA_NAME_MAX,
          .out = &topic },
    };
    const char *product = pag_rest_param(r, 0);
    if (product == NULL || !pag_rest_fields(r, fields, sizeof fields / sizeof fields[0])) {
        return;
    }
    struct pag_broker_user_in *in = pag_rest_alloc(r, sizeof *in);
    struct pag_broker_user_out *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out == NULL) {
        return;
    }
    in->product = product;
    in->name = pag_rest_text(r, name);
    in->device = pag_rest_text(r, device);
    in->topic = pag_rest_text(r, topic);
    if (!topic_free(r, in)) {
        return;
    }
    pag_rest_finish_with(r, out, finish_made);
    pag_app_broker_user_add(&r->call, in, out);
}

static struct pag_broker_user_in *one_of(struct pag_rest *r)
{
    const char *product = pag_rest_param(r, 0);
    const char *name = product != NULL ? pag_rest_param(r, 1) : NULL;
    struct pag_broker_user_in *in = name != NULL ? pag_rest_alloc(r, sizeof *in) : NULL;
    if (in != NULL) {
        *in = (struct pag_broker_user_in){ .product = product, .name = name };
    }
    return in;
}

static void renew(struct pag_rest *r)
{
    struct pag_broker_user_in *in = one_of(r);
    struct pag_broker_user_out *out = in != NULL ? pag_rest_alloc(r, sizeof *out) : NULL;
    if (out != NULL) {
        pag_rest_finish_with(r, out, finish_made);
        pag_app_broker_user_renew(&r->call, in, out);
    }
}

static void finish_removed(struct pag_rest *r)
{
    pag_rest_empty(r, 204);
}

static void remove_one(struct pag_rest *r)
{
    struct pag_broker_user_in *in = one_of(r);
    if (in != NULL) {
        pag_rest_finish_with(r, NULL, finish_removed);
        pag_app_broker_user_remove(&r->call, in);
    }
}

const struct pag_rest_route pag_rest_broker_routes[] = {
    { PAG_HTTP_GET, PAG_ROLE_VIEWER, "/products/{name}/broker-users", list, PAG_REST_NONE, false },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/products/{name}/broker-users", add, PAG_REST_JSON, true },
    { PAG_HTTP_POST, PAG_ROLE_ADMIN, "/products/{name}/broker-users/{user}/password", renew, PAG_REST_JSON,
      true },
    { PAG_HTTP_DELETE, PAG_ROLE_ADMIN, "/products/{name}/broker-users/{user}", remove_one, PAG_REST_NONE,
      false },
};
const size_t pag_rest_broker_route_n = sizeof pag_rest_broker_routes / sizeof pag_rest_broker_routes[0];
