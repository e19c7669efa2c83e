/* Tasmota over MQTT: topics by name, updates by OtaUrl and Upgrade. docs/spec/tasmota.md. */
#include "server/api/mqtt/tasmota.h"

#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/json.h"
#include "server/api/mqtt/head_priv.h"
#include "server/api/mqtt/status.h"
#include "server/app/broker_users.h"
#include "server/app/report.h"
#include "server/app/tasmota.h"

static const char discovery[] = "tasmota/discovery/+/+";

/* ---- templates and subscriptions ---- */

enum pag_err pag_head_tasmota_settings(struct pag_call *call, const char *product,
                                       struct pag_tasmota_settings *out)
{
    struct pag_dialect_settings *s = pag_arena_alloc(call->arena, sizeof *s);
    const char *bad = NULL;
    enum pag_dialect dialect = PAG_DIALECT_NONE;
    enum pag_err err = s != NULL ? pag_app_dialect_of(call, product, &dialect) : PAG_E_NO_MEMORY;
    if (err == PAG_OK && dialect != PAG_DIALECT_TASMOTA) {
        return PAG_E_NOT_FOUND;
    }
    err = err == PAG_OK ? pag_app_dialect(call, product, NULL, s, NULL) : err;
    return err == PAG_OK ? pag_tasmota_settings_read(s->config, out, &bad) : err;
}

static bool has_template(const struct pag_mqtt_head *head, const char *text)
{
    for (size_t i = 0; i < head->tasmota_n; i++) {
        if (strcmp(head->tasmota[i].full_topic, text) == 0) {
            return true;
        }
    }
    return false;
}

static void add_template(struct pag_mqtt_head *head, const char *text)
{
    if (has_template(head, text)) {
        return;
    }
    if (head->tasmota_n == PAG_HEAD_TASMOTA_MAX) {
        pag_log_error(head->config.api->log, "mqtt.too_many_templates", PAG_F_STR("template", text));
        return;
    }
    struct pag_head_tasmota *t = &head->tasmota[head->tasmota_n];
    enum pag_err err = pag_text_copy(t->full_topic, sizeof t->full_topic, pag_span_str(text));
    for (int p = 0; p < PAG_TASMOTA_PREFIXES && err == PAG_OK; p++) {
        const struct pag_tasmota_place at = { (enum pag_tasmota_prefix)p, "+", "+", "+" };
        err = pag_tasmota_topic_put(pag_span_str(text), &at, t->filter[p]);
    }
    head->tasmota_n += err == PAG_OK ? 1 : 0;
}

bool pag_head_tasmota_changed(struct pag_mqtt_head *head, struct pag_call *call,
                              const struct pag_product *list, size_t n)
{
    struct pag_head_tasmota before[PAG_HEAD_TASMOTA_MAX];
    size_t before_n = head->tasmota_n;
    struct pag_tasmota_settings s;
    memcpy(before, head->tasmota, sizeof before);
    memset(head->tasmota, 0, sizeof head->tasmota);
    head->tasmota_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (pag_head_tasmota_settings(call, list[i].id, &s) == PAG_OK) {
            add_template(head, s.full_topic);
        }
    }
    return before_n != head->tasmota_n || memcmp(before, head->tasmota, sizeof before) != 0;
}

size_t pag_head_tasmota_filters(const struct pag_mqtt_head *head, const char **filter)
{
    size_t used = 0;
    for (size_t i = 0; i < head->tasmota_n; i++) {
        for (int p = 0; p < PAG_TASMOTA_PREFIXES; p++) {
            filter[used++] = head->tasmota[i].filter[p];
        }
    }
    if (used > 0) {
        filter[used++] = discovery;
    }
    return used;
}

/* ---- in ---- */

static bool account_speaks(struct pag_call *call, const struct pag_broker_account *a, const char *full_topic)
{
    struct pag_tasmota_settings s;
    return !a->refused && pag_head_tasmota_settings(call, a->product, &s) == PAG_OK &&
           (full_topic == NULL || strcmp(s.full_topic, full_topic) == 0);
}

static bool read_discovery(struct pag_call *call, struct pag_span topic, struct pag_head_tasmota_in *out)
{
    char mac[13];
    struct pag_span leaf;
    if (!pag_tasmota_discovery_match(topic, mac, &leaf) ||
        pag_app_broker_user_of_device(call, mac, &out->account) != PAG_OK ||
        !account_speaks(call, &out->account, NULL)) {
        return false;
    }
    out->discovery = true;
    out->leaf = leaf;
    return true;
}

bool pag_head_tasmota_read(struct pag_mqtt_head *head, struct pag_call *call, struct pag_span topic,
                           struct pag_head_tasmota_in *out)
{
    struct pag_tasmota_topic t;
    for (size_t i = 0; i < head->tasmota_n; i++) {
        const char *full = head->tasmota[i].full_topic;
        if (!pag_tasmota_topic_match(pag_span_str(full), topic, &t)) {
            continue;
        }
        *out = (struct pag_head_tasmota_in){ .prefix = t.prefix, .leaf = t.leaf };
        if (t.prefix == PAG_TASMOTA_CMND) {
            return true; /* our own, unless it is retained */
        }
        if (pag_app_broker_user_of_topic(call, t.name, &out->account) == PAG_OK &&
            account_speaks(call, &out->account, full)) {
            return true;
        }
    }
    *out = (struct pag_head_tasmota_in){ .prefix = PAG_TASMOTA_TELE };
    return head->tasmota_n > 0 && read_discovery(call, topic, out);
}

static void refuse(struct pag_inbox_message *m, const char *what, enum pag_err err)
{
    atomic_fetch_add(&m->api->mqtt_refused, 1);
    pag_log_warn(m->api->log, "mqtt.refused", PAG_F_STR("device", m->device), PAG_F_STR("what", what),
                 PAG_F_STR("error", pag_err_word(err)), PAG_F_U64("bytes", m->payload.n));
    m->call.done(&m->call, err);
}

static void seen(struct pag_inbox_message *m, const char *version)
{
    struct pag_tasmota_seen *in = pag_arena_alloc(m->call.arena, sizeof *in);
    if (in == NULL || m->tasmota == NULL) {
        refuse(m, "no memory", PAG_E_NO_MEMORY);
        return;
    }
    *in = (struct pag_tasmota_seen){ .device = m->device,
                                     .product = m->tasmota->account.product,
                                     .version = version };
    pag_app_tasmota_seen(&m->call, in, &m->tasmota->next);
}

static void take_presence(struct pag_inbox_message *m)
{
    enum pag_err err = pag_inbox_presence(m->payload, &m->online);
    if (err != PAG_OK) {
        refuse(m, "will is neither online nor offline", err);
        return;
    }
    m->tasmota->came = m->online;
    pag_app_presence(&m->call, m->device, m->online);
}

static void take_version(struct pag_inbox_message *m)
{
    char *text = pag_arena_alloc(m->call.arena, PAG_TASMOTA_TEXT_MAX + 1);
    enum pag_err err =
        text != NULL ? pag_tasmota_text_read(m->payload, "StatusFWR", "Version", text) : PAG_E_NO_MEMORY;
    if (err != PAG_OK || text[0] == '\0') {
        refuse(m, "STATUS2 without a version", err != PAG_OK ? err : PAG_E_SYNTAX);
        return;
    }
    m->tasmota->answered = PAG_TASMOTA_ANSWER_CHECK;
    m->tasmota->text = text;
    seen(m, text);
}

static void take_answer(struct pag_inbox_message *m)
{
    struct pag_tasmota_said *in = pag_arena_alloc(m->call.arena, sizeof *in);
    char *text = in != NULL ? pag_arena_alloc(m->call.arena, PAG_TASMOTA_TEXT_MAX + 1) : NULL;
    enum pag_err err =
        text != NULL ? pag_tasmota_text_read(m->payload, NULL, "Upgrade", text) : PAG_E_NO_MEMORY;
    if (err == PAG_OK && text[0] != '\0') {
        *in = (struct pag_tasmota_said){ .device = m->device, .text = text };
        pag_app_tasmota_upgrade(&m->call, in);
        return;
    }
    if (err == PAG_E_NO_MEMORY) {
        refuse(m, "no memory", err);
        return;
    }
    struct pag_tasmota_answer *a = pag_arena_alloc(m->call.arena, sizeof *a);
    if (a == NULL) {
        refuse(m, "no memory", PAG_E_NO_MEMORY);
        return;
    }
    *a = (struct pag_tasmota_answer){ .device = m->device, .text = m->payload };
    pag_app_tasmota_answer(&m->call, a);
}

static void take_state(struct pag_inbox_message *m)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_status s;
    struct pag_status_in *in = pag_arena_alloc(m->call.arena, sizeof *in);
    enum pag_err err = in != NULL ? pag_status_read(m->payload, &s, &why) : PAG_E_NO_MEMORY;
    if (err != PAG_OK) {
        refuse(m, why.what != NULL ? why.what : "no memory for a status", err);
        return;
    }
    *in = (struct pag_status_in){ .device = m->device,
                                  .json = pag_json_dump(m->call.arena, s.object),
                                  .version = "",
                                  .retained = m->retained };
    pag_app_status_in(&m->call, in);
}

/* The newest message of each kind, for people. */
static void keep(struct pag_inbox_message *m, const char *prefix)
{
    const struct pag_span leaf = m->tasmota->leaf;
    const char *topic = pag_arena_printf(m->call.arena, "%s/%.*s", prefix, (int)leaf.n, (const char *)leaf.p);
    if (topic == NULL) {
        refuse(m, "no memory", PAG_E_NO_MEMORY);
        return;
    }
    pag_app_data_in(&m->call, m->device, topic, m->payload);
}

void pag_inbox_tasmota(struct pag_inbox_message *m)
{
    const struct pag_head_tasmota_in *t = m->tasmota;
    if (t->discovery) {
        m->tasmota->came = pag_span_eq_str(t->leaf, "config");
        keep(m, "discovery");
    } else if (t->prefix == PAG_TASMOTA_TELE && pag_span_eq_str(t->leaf, "LWT")) {
        take_presence(m);
    } else if (t->prefix == PAG_TASMOTA_TELE) {
        if (pag_span_eq_str(t->leaf, "STATE")) {
            take_state(m);
        } else {
            keep(m, "tele");
        }
    } else if (m->retained) { /* an old answer proves nothing about now */
        refuse(m, "a retained answer", PAG_E_STALE);
    } else if (pag_span_eq_str(t->leaf, "STATUS2")) {
        take_version(m);
    } else {
        take_answer(m);
    }
}

/* ---- out ---- */

static void publish(struct pag_mqtt_head *head, const char *topic, const char *payload)
{
    (void)pag_mqtt_publish(head->client, topic, pag_span_str(payload), 1, false);
}

/* cmnd/<name>/<word> with a payload, never retained. */
static void tell(struct pag_mqtt_head *head, const struct pag_broker_account *a, const char *full_topic,
                 const char *word, const char *payload)
{
    char topic[PAG_TASMOTA_TOPIC_MAX];
    const struct pag_tasmota_place at = { PAG_TASMOTA_CMND, a->topic, a->device, word };
    if (a->topic[0] != '\0' && pag_tasmota_topic_put(pag_span_str(full_topic), &at, topic) == PAG_OK) {
        publish(head, topic, payload);
    }
}

void pag_head_tasmota_ask(struct pag_mqtt_head *head, struct pag_call *call, const char *device)
{
    struct pag_broker_account a;
    struct pag_tasmota_settings s;
    if (pag_app_broker_user_of_device(call, device, &a) == PAG_OK && !a.refused &&
        pag_head_tasmota_settings(call, a.product, &s) == PAG_OK) {
        tell(head, &a, s.full_topic, "Status", "2");
    }
}

static void trigger(struct pag_mqtt_head *head, struct pag_call *call, const struct pag_broker_account *a)
{
    struct pag_tasmota_settings s;
    if (pag_head_tasmota_settings(call, a->product, &s) != PAG_OK) {
        return;
    }
    if (s.ota_url[0] != '\0') {
        tell(head, a, s.full_topic, "OtaUrl", s.ota_url);
    }
    tell(head, a, s.full_topic, "Upgrade", "1");
    pag_log_info(head->config.api->log, "tasmota.triggered", PAG_F_STR("device", a->device),
                 PAG_F_STR("url", s.ota_url));
}

/* "Power toggle": the word of the topic, and the payload. */
static bool split(const struct pag_command *c, char word[33], char payload[PAG_COMMAND_ARG_MAX + 1])
{
    size_t end = pag_span_find(c->arg, 0, ' ');
    struct pag_span first = { c->arg.p, end };
    struct pag_span rest = { c->arg.p + end, c->arg.n - end };
    if (rest.n > 0) {
        rest.p++;
        rest.n--;
    }
    return pag_tasmota_name_ok(first) && pag_text_copy(word, 33, first) == PAG_OK &&
           pag_text_copy(payload, PAG_COMMAND_ARG_MAX + 1, rest) == PAG_OK;
}

static bool command_words(const struct pag_command *c, char word[33], char payload[PAG_COMMAND_ARG_MAX + 1])
{
    const char *own = pag_dialect_command(PAG_DIALECT_TASMOTA, c->kind);
    if (own == NULL) {
        return false;
    }
    if (own[0] == '\0') {
        return split(c, word, payload);
    }
    (void)pag_text_copy(word, 33, pag_span_str(own));
    (void)pag_text_copy(payload, PAG_COMMAND_ARG_MAX + 1,
                        pag_span_str(c->kind == PAG_COMMAND_CHECK ? "2" : "1"));
    return true;
}

void pag_head_tasmota_push(struct pag_mqtt_head *head, struct pag_call *call, const struct pag_command *list,
                           size_t n)
{
    struct pag_broker_account a;
    struct pag_tasmota_settings s;
    char word[33];
    char payload[PAG_COMMAND_ARG_MAX + 1];
    if (n == 0 || pag_app_broker_user_of_device(call, list[0].device, &a) != PAG_OK || a.refused ||
        pag_head_tasmota_settings(call, a.product, &s) != PAG_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        /* Once: it knows no numbers of commands, and a second toggle would undo the first. */
        if (list[i].state == PAG_COMMAND_QUEUED && !pag_head_is_awaited(head, list[i].id) &&
            command_words(&list[i], word, payload)) {
            tell(head, &a, s.full_topic, word, payload);
            pag_head_mark_sent(head, list[i].id);
        }
    }
}

struct ending { /* the second use-case of a message */
    struct pag_call call;
    struct pag_tasmota_answer in;
    char device[PAG_DEVICE_ID_MAX + 1];
    char text[PAG_TASMOTA_TEXT_MAX + 1];
};

static void ended(struct pag_call *call, enum pag_err err)
{
    (void)err;
    pag_arena_close(call->arena);
}

static void end_check(struct pag_mqtt_head *head, const char *device, const char *text)
{
    struct pag_arena *arena = pag_arena_open(head->pool, 256 << 10);
    struct ending *e = arena != NULL ? pag_arena_alloc(arena, sizeof *e) : NULL;
    if (e == NULL) {
        pag_arena_close(arena);
        return;
    }
    (void)pag_text_copy(e->device, sizeof e->device, pag_span_str(device));
    (void)pag_text_copy(e->text, sizeof e->text, pag_span_str(text));
    e->call = pag_head_call(head, arena);
    e->call.done = ended;
    e->in = (struct pag_tasmota_answer){ e->device, true, pag_span_str(e->text) };
    pag_app_tasmota_answer(&e->call, &e->in);
}

struct arrival { /* of a device that may not be recorded yet */
    struct pag_call call;
    struct pag_mqtt_head *head;
    struct pag_tasmota_seen in;
    struct pag_tasmota_next next;
    struct pag_broker_account account;
    bool online;
    const char *topic; /* data that was of nobody when it came; NULL: none */
    struct pag_span payload;
};

static void arrived(struct pag_call *call, enum pag_err err)
{
    struct arrival *a = call->user;
    struct pag_mqtt_head *head = a->head;
    if (err == PAG_OK && a->online) {
        a->online = false;
        pag_app_presence(call, a->account.device, true); /* was of nobody when it came */
        return;
    }
    if (err == PAG_OK && a->topic != NULL) {
        const char *topic = a->topic;
        a->topic = NULL;
        pag_app_data_in(call, a->account.device, topic, a->payload);
        return;
    }
    if (err == PAG_OK) {
        pag_head_tasmota_ask(head, call, a->account.device);
        pag_commands_push(head, a->account.device);
    } else {
        pag_log_info(head->config.api->log, "tasmota.not_taken", PAG_F_STR("device", a->account.device),
                     PAG_F_STR("error", pag_err_word(err)));
    }
    pag_arena_close(call->arena);
}

static void record(struct pag_mqtt_head *head, const struct pag_inbox_message *m, bool known)
{
    struct pag_arena *arena = pag_arena_open(head->pool, 1 << 20);
    struct arrival *a = arena != NULL ? pag_arena_alloc(arena, sizeof *a) : NULL;
    if (a == NULL) {
        pag_arena_close(arena);
        return;
    }
    a->head = head;
    a->account = m->tasmota->account;
    a->online = m->online;
    if (m->tasmota->discovery && !known) {
        const struct pag_span leaf = m->tasmota->leaf;
        a->topic = pag_arena_printf(arena, "discovery/%.*s", (int)leaf.n, (const char *)leaf.p);
        a->payload = pag_span_str(pag_arena_text(arena, m->payload));
    }
    a->call = pag_head_call(head, arena);
    a->call.done = arrived;
    a->call.user = a;
    a->in = (struct pag_tasmota_seen){ a->account.device, a->account.product, NULL };
    pag_app_tasmota_seen(&a->call, &a->in, &a->next);
}

void pag_head_tasmota_done(struct pag_mqtt_head *head, struct pag_inbox_message *m, enum pag_err err)
{
    struct pag_head_tasmota_in *t = m->tasmota;
    bool unknown = err == PAG_E_NOT_FOUND && (t->came || t->discovery);
    if (unknown || (t->came && err == PAG_OK)) {
        record(head, m, !unknown);
    }
    if (err == PAG_OK && t->answered == PAG_TASMOTA_ANSWER_CHECK) {
        end_check(head, t->account.device, t->text);
    }
    if (err == PAG_OK && t->next.trigger) {
        trigger(head, &m->call, &t->account);
    }
}
