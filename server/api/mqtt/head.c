#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/head_priv.h"
#include "server/app/report.h"

enum {
    INBOX_MAX = 8192,           /* messages waiting or in work; more are dropped and counted */
    MESSAGE_ARENA = 256 * 1024, /* bytes one message may use */
    PAYLOAD_MAX = 64 * 1024,
};

/* A message on its way from the client's thread to the loop, and until its use-case is done. */
struct letter {
    struct pag_task task; /* first */
    struct pag_mqtt_head *head;
    struct pag_inbox_message message;
    size_t payload_n;
    bool retained;
    char topic[PAG_TOPIC_MAX];
    char device[PAG_DEVICE_ID_MAX + 1];
    uint8_t payload[];
};

/* ---- in ---- */

static void letter_done(struct pag_call *call, enum pag_err err)
{
    struct letter *l = call->user;
    struct pag_mqtt_head *head = l->head;
    bool came = err == PAG_OK && l->message.kind == PAG_TOPIC_WILL && l->message.online;
    if (err != PAG_OK && err != PAG_E_NOT_FOUND) {
        pag_log_debug(head->config.api->log, "mqtt.not_taken", PAG_F_STR("device", l->device),
                      PAG_F_STR("error", pag_err_word(err)));
    }
    if (l->message.tasmota != NULL) {
        pag_head_tasmota_done(head, &l->message, err);
    }
    pag_arena_close(call->arena);
    if (came) {
        pag_commands_push(head, l->device);
    }
    atomic_fetch_sub(&head->inbox, 1);
    free(l);
}

struct whose { /* the product of the device that a topic names */
    char device[PAG_DEVICE_ID_MAX + 1];
    bool found;
    struct pag_product product;
};

static bool look_up(struct pag_call *call, struct pag_span device, struct whose *w)
{
    if (pag_span_eq_str(device, w->device)) {
        return w->found;
    }
    struct pag_device_row *row = pag_arena_alloc(call->arena, sizeof *row);
    w->found = row != NULL && pag_text_copy(w->device, sizeof w->device, device) == PAG_OK &&
               pag_app_device(call, w->device, row) == PAG_OK &&
               pag_app_product(call, row->device.product, &w->product) == PAG_OK;
    return w->found;
}

/* Products may share a template, and templates of several may fit one topic: the device's own counts. */
static bool read_product_topic(struct letter *l, struct pag_topic *out)
{
    struct pag_mqtt_head *head = l->head;
    struct pag_span topic = pag_span_str(l->topic);
    struct pag_call *call = &l->message.call;
    struct whose *w = pag_arena_alloc(call->arena, sizeof *w);
    for (size_t i = 0; w != NULL && i < head->tmpl_n; i++) {
        const struct pag_head_template *t = &head->tmpl[i];
        struct pag_span device;
        if (!pag_topic_template_match(pag_span_str(t->text), topic, &device) || !look_up(call, device, w)) {
            continue;
        }
        const struct pag_product_settings *s = &w->product.settings;
        if (strcmp(t->text, t->kind == PAG_TOPIC_WILL ? s->topic_will : s->topic_status) == 0) {
            *out = (struct pag_topic){ .kind = t->kind, .device = device };
            return true;
        }
    }
    return false;
}

/* Only of devices whose product speaks it: a native device's sample would be a second voice of its own. */
static bool read_dialect_topic(struct letter *l, struct pag_topic *out)
{
    struct pag_call *call = &l->message.call;
    enum pag_dialect dialect = PAG_DIALECT_NONE;
    struct whose *w = pag_arena_alloc(call->arena, sizeof *w);
    if (w == NULL || !l->head->dialect || !pag_head_dialect_topic(pag_span_str(l->topic), out)) {
        return false;
    }
    return out->kind == PAG_TOPIC_COMMAND ||
           (look_up(call, out->device, w) && pag_app_dialect_of(call, w->product.id, &dialect) == PAG_OK &&
            dialect == PAG_DIALECT_SECUREESP);
}

static bool read_tasmota_topic(struct letter *l, struct pag_topic *out)
{
    struct pag_head_tasmota_in *in =
        l->head->tasmota_n > 0 ? pag_arena_alloc(l->message.call.arena, sizeof *in) : NULL;
    if (in == NULL || !pag_head_tasmota_read(l->head, &l->message.call, pag_span_str(l->topic), in)) {
        return false;
    }
    bool ours = in->prefix == PAG_TASMOTA_CMND && !in->discovery;
    l->message.tasmota = ours ? NULL : in;
    *out = (struct pag_topic){ .kind = ours ? PAG_TOPIC_COMMAND : PAG_TOPIC_TASMOTA,
                               .device = pag_span_str(in->account.device) };
    return true;
}

static bool address(struct letter *l, struct pag_topic *t)
{
    enum pag_err err = pag_topic_read(pag_span_str(l->topic), t);
    if (err == PAG_E_NOT_FOUND &&
        (read_product_topic(l, t) || read_dialect_topic(l, t) || read_tasmota_topic(l, t))) {
        err = PAG_OK;
    }
    return err == PAG_OK && pag_text_copy(l->device, sizeof l->device, t->device) == PAG_OK;
}

static void letter_open(struct pag_loop *loop, struct pag_task *task)
{
    struct letter *l = (struct letter *)(void *)task;
    struct pag_mqtt_head *head = l->head;
    struct pag_topic t = { .kind = PAG_TOPIC_DATA };
    (void)loop;
    l->message = (struct pag_inbox_message){
        .call = { .thread = head->config.thread,
                  .arena = pag_arena_open(head->pool, MESSAGE_ARENA),
                  .scope = { .actor = "system" },
                  .done = letter_done,
                  .user = l },
        .api = head->config.api,
        .device = l->device,
        .payload = { l->payload, l->payload_n },
        .retained = l->retained,
    };
    if (l->message.call.arena == NULL || !address(l, &t)) {
        atomic_fetch_add(&head->config.api->mqtt_refused, 1);
        pag_log_info(head->config.api->log, "mqtt.no_such_topic", PAG_F_STR("topic", l->topic));
        letter_done(&l->message.call, PAG_E_NOT_FOUND);
        return;
    }
    l->message.kind = t.kind;
    if (t.kind == PAG_TOPIC_COMMAND) { /* our own, unless it is retained */
        if (l->retained) {
            pag_head_dialect_retained(head, l->topic);
        }
        letter_done(&l->message.call, PAG_OK);
        return;
    }
    l->message.topic = pag_arena_text(l->message.call.arena, t.rest);
    pag_inbox_take(&l->message);
}

/* On the client's thread: copy and post, nothing else. */
static void on_message(void *ctx, const struct pag_mqtt_message *m)
{
    struct pag_mqtt_head *head = ctx;
    struct pag_api *api = head->config.api;
    size_t topic_n = strlen(m->topic);
    if (topic_n >= PAG_TOPIC_MAX || m->payload.n > PAYLOAD_MAX || atomic_load(&head->inbox) >= INBOX_MAX) {
        atomic_fetch_add(&api->mqtt_refused, 1);
        return;
    }
    struct letter *l = calloc(1, sizeof *l + m->payload.n);
    if (l == NULL) {
        atomic_fetch_add(&api->mqtt_refused, 1);
        return;
    }
    atomic_fetch_add(&head->inbox, 1);
    l->head = head;
    l->task.run = letter_open;
    l->retained = m->retained;
    l->payload_n = m->payload.n;
    memcpy(l->topic, m->topic, topic_n);
    if (m->payload.n > 0) {
        memcpy(l->payload, m->payload.p, m->payload.n);
    }
    pag_loop_post(head->config.loop, &l->task);
}

/* Without the broker nobody is known to be there; what it retains says so again after the next connect. */
static void forget_presence(struct pag_loop *loop, struct pag_task *task)
{
    struct pag_mqtt_head *head =
        (struct pag_mqtt_head *)(void *)((char *)task - offsetof(struct pag_mqtt_head, forget));
    (void)loop;
    atomic_store(&head->forgetting, false);
    pag_app_presence_unknown(head->config.thread);
}

static void on_state(void *ctx, enum pag_mqtt_state state, const char *why)
{
    struct pag_mqtt_head *head = ctx;
    bool up = state == PAG_MQTT_UP;
    if (atomic_exchange(&head->connected, up) != up) {
        pag_log_info(head->config.api->log, up ? "mqtt.connected" : "mqtt.disconnected",
                     PAG_F_STR("why", why));
        if (!up && !atomic_exchange(&head->forgetting, true)) {
            head->forget.run = forget_presence;
            pag_loop_post(head->config.loop, &head->forget);
        }
    }
}

/* ---- templates and subscriptions ---- */

static void add_template(struct pag_mqtt_head *head, enum pag_topic_kind kind, const char *text)
{
    struct pag_span own = pag_span_str(text);
    for (size_t i = 0; i < head->tmpl_n; i++) {
        if (head->tmpl[i].kind == kind && strcmp(head->tmpl[i].text, text) == 0) {
            return;
        }
    }
    if (own.n == 0 || !pag_product_template_ok(own) || head->tmpl_n == PAG_HEAD_TEMPLATES_MAX) {
        return; /* as many as settings may hold */
    }
    struct pag_head_template *t = &head->tmpl[head->tmpl_n];
    if (pag_text_copy(t->text, sizeof t->text, own) == PAG_OK &&
        pag_topic_template_put(own, pag_span_str("+"), t->filter) == PAG_OK) {
        t->kind = kind;
        head->tmpl_n++;
    }
}

static enum pag_err read_templates(struct pag_mqtt_head *head, bool *dialect)
{
    struct pag_product *product = NULL;
    size_t n = 0;
    struct pag_call call = { .thread = head->config.thread,
                             .arena = pag_arena_open(head->pool, 1 << 20),
                             .scope = { .actor = "system", .role = PAG_ROLE_ADMIN } };
    enum pag_err err = call.arena != NULL ? pag_app_products(&call, &product, &n) : PAG_E_NO_MEMORY;
    head->tmpl_n = 0;
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        add_template(head, PAG_TOPIC_STATUS, product[i].settings.topic_status);
        add_template(head, PAG_TOPIC_WILL, product[i].settings.topic_will);
    }
    *dialect = err == PAG_OK && pag_head_dialect_changed(head, &call);
    *dialect = (err == PAG_OK && pag_head_tasmota_changed(head, &call, product, n)) || *dialect;
    pag_arena_close(call.arena);
    return err;
}

static enum pag_err client_new(struct pag_mqtt_head *head, struct pag_fail *why)
{
    const char *filters[PAG_HEAD_TEMPLATES_MAX + PAG_HEAD_DIALECT_FILTERS + PAG_HEAD_TASMOTA_FILTERS + 3] = {
        "pg/v1/d/+/up/#", "pg/v1/d/+/will"
    };
    struct pag_mqtt_config config = head->config.client;
    for (size_t i = 0; i < head->tmpl_n; i++) {
        filters[2 + i] = head->tmpl[i].filter;
    }
    size_t n = 2 + head->tmpl_n;
    n += pag_head_dialect_filters(head, filters + n);
    (void)pag_head_tasmota_filters(head, filters + n);
    config.filters = filters;
    config.on_message = on_message;
    config.on_state = on_state;
    config.on_acknowledged = pag_commands_acknowledged;
    config.ctx = head;
    return pag_mqtt_new(&config, &head->client, why);
}

/* A product has changed: another set of subscriptions needs another client. */
void pag_head_products_changed(struct pag_mqtt_head *head)
{
    struct pag_head_template *before = malloc(sizeof head->tmpl);
    struct pag_fail why = { .code = PAG_OK };
    size_t n = head->tmpl_n;
    if (before == NULL) {
        return;
    }
    memcpy(before, head->tmpl, sizeof head->tmpl);
    if (head->config.on_products != NULL) {
        head->config.on_products(head->config.ctx);
    }
    bool dialect = false;
    bool same = read_templates(head, &dialect) != PAG_OK ||
                (!dialect && n == head->tmpl_n && memcmp(before, head->tmpl, n * sizeof before[0]) == 0);
    free(before);
    if (same) {
        return;
    }
    struct pag_mqtt *old = head->client;
    enum pag_err err = client_new(head, &why);
    if (err == PAG_OK) {
        atomic_store(&head->connected, false); /* ours to end: the broker was not lost */
        pag_mqtt_free(old);
        pag_commands_forget(head);
        err = pag_mqtt_start(head->client, head->port);
    } else {
        head->client = old;
    }
    if (err != PAG_OK) {
        pag_log_error(head->config.api->log, "mqtt.not_resubscribed", PAG_F_STR("why", why.what));
    }
}

/* ---- life ---- */

enum pag_err pag_mqtt_head_new(const struct pag_mqtt_head_config *config, struct pag_mqtt_head **out,
                               struct pag_fail *why)
{
    struct pag_mqtt_head *head = calloc(1, sizeof *head);
    if (head == NULL) {
        return PAG_E_NO_MEMORY;
    }
    bool dialect = false;
    head->config = *config;
    head->pool = pag_arena_pool_new((size_t)1 << 20);
    enum pag_err err = head->pool != NULL ? read_templates(head, &dialect) : PAG_E_NO_MEMORY;
    if (err == PAG_OK) {
        err = client_new(head, why);
    }
    if (err == PAG_OK) {
        err = pag_push_start(head);
    }
    if (err != PAG_OK) {
        pag_mqtt_head_free(head);
        return err;
    }
    *out = head;
    return PAG_OK;
}

enum pag_err pag_mqtt_head_start(struct pag_mqtt_head *head, uint16_t port)
{
    head->port = port;
    return pag_mqtt_start(head->client, port);
}

void pag_mqtt_head_free(struct pag_mqtt_head *head)
{
    if (head == NULL) {
        return;
    }
    pag_mqtt_free(head->client);
    pag_push_stop(head);
    pag_arena_pool_free(head->pool);
    free(head);
}

bool pag_mqtt_head_connected(const struct pag_mqtt_head *head)
{
    return head != NULL && atomic_load(&head->connected);
}

void pag_mqtt_head_last_error(struct pag_mqtt_head *head, char out[96])
{
    struct pag_mqtt_stats stats = { .last_error = "" };
    if (head != NULL && head->client != NULL) {
        pag_mqtt_stats_get(head->client, &stats);
    }
    memcpy(out, stats.last_error, 96);
}
