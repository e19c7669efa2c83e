/* Out: a cursor over events decides what devices hear. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/native.h"
#include "server/api/mqtt/head_priv.h"

enum {
    EVENTS_AT_ONCE = 200,
    DEVICES_AT_ONCE = 200, /* published in one go, then a pause, so that the client's queue stays short */
    PAUSE_MS = 50,
    ARENA = 4 << 20,
};

struct pag_call pag_head_call(struct pag_mqtt_head *head, struct pag_arena *arena)
{
    return (struct pag_call){ .thread = head->config.thread,
                              .arena = arena,
                              .scope = { .actor = "system", .role = PAG_ROLE_ADMIN } };
}

static enum pag_err publish(struct pag_mqtt_head *head, const char *device,
                            const struct pag_native_command *c)
{
    char topic[PAG_TOPIC_MAX];
    uint8_t room[PAG_NATIVE_MAX];
    struct pag_buf buf = { room, 0, sizeof room };
    enum pag_err err = pag_native_command_put(&buf, c);
    if (err == PAG_OK) {
        (void)snprintf(topic, sizeof topic, "pg/v1/d/%s/cmd", device);
        err = pag_mqtt_publish(head->client, topic, pag_buf_span(&buf), 1, false);
    }
    return err;
}

/* A product's own command topic hears the kind as a word: its clients know nothing of CBOR. */
void pag_head_publish_word(struct pag_mqtt_head *head, const struct pag_product *p, const char *device,
                           const char *word)
{
    char topic[PAG_TOPIC_MAX];
    if (p->settings.topic_command[0] != '\0' &&
        pag_topic_template_put(pag_span_str(p->settings.topic_command), pag_span_str(device), topic) ==
            PAG_OK) {
        (void)pag_mqtt_publish(head->client, topic, pag_span_str(word), 1, false);
    }
}

/* ---- "check now" after a release ---- */

static void fanout_add(struct pag_mqtt_head *head, const char *product)
{
    struct pag_head_fanout *slot = NULL;
    for (size_t i = 0; i < PAG_HEAD_FANOUTS_MAX; i++) {
        struct pag_head_fanout *f = &head->fanout[i];
        if (f->active && strcmp(f->product, product) == 0) {
            slot = f; /* begins again: who was told before the new release must hear once more */
            break;
        }
        if (!f->active && slot == NULL) {
            slot = f;
        }
    }
    if (slot == NULL) {
        slot = &head->fanout[0];
        pag_log_warn(head->config.api->log, "mqtt.fanout_replaced", PAG_F_STR("product", slot->product));
    }
    *slot = (struct pag_head_fanout){ .active = true };
    (void)pag_text_copy(slot->product, sizeof slot->product, pag_span_str(product));
}

/* The next devices of one fan-out. PAG_E_CLOSED and PAG_E_LIMIT: again later, from the same place. */
static enum pag_err fanout_step(struct pag_mqtt_head *head, struct pag_head_fanout *f, struct pag_call *call)
{
    const struct pag_native_command check = { .kind = PAG_COMMAND_CHECK };
    char(*id)[PAG_DEVICE_ID_MAX + 1] = NULL;
    struct pag_product product;
    size_t n = 0;
    enum pag_dialect dialect = PAG_DIALECT_NONE;
    enum pag_err err = pag_app_product(call, f->product, &product);
    err = err == PAG_OK ? pag_app_dialect_of(call, product.id, &dialect) : err;
    if (err == PAG_OK &&
        dialect != PAG_DIALECT_SECUREESP) { /* else a command to fetch it is queued already */
        err = pag_app_device_ids(call, f->product, f->after[0] != '\0' ? f->after : NULL, DEVICES_AT_ONCE,
                                 &id, &n);
    }
    for (size_t i = 0; err == PAG_OK && i < n; i++) {
        if (dialect == PAG_DIALECT_TASMOTA) {
            pag_head_tasmota_ask(head, call, id[i]);
            memcpy(f->after, id[i], sizeof f->after);
            continue;
        }
        err = publish(head, id[i], &check);
        if (err == PAG_OK) {
            pag_head_publish_word(head, &product, id[i], "check");
            memcpy(f->after, id[i], sizeof f->after);
        }
    }
    f->active = err == PAG_E_CLOSED || err == PAG_E_LIMIT || (err == PAG_OK && n == DEVICES_AT_ONCE);
    return err;
}

static void fanout_run(struct pag_mqtt_head *head)
{
    bool more = false;
    for (size_t i = 0; i < PAG_HEAD_FANOUTS_MAX; i++) {
        if (!head->fanout[i].active) {
            continue;
        }
        struct pag_arena *arena = pag_arena_open(head->pool, ARENA);
        struct pag_call call = pag_head_call(head, arena);
        if (arena != NULL) {
            (void)fanout_step(head, &head->fanout[i], &call);
        }
        pag_arena_close(arena);
        more = more || head->fanout[i].active;
    }
    if (more) {
        pag_loop_timer(head->config.loop, &head->timer, PAUSE_MS);
    }
}

static void on_timer(struct pag_loop *loop, struct pag_timer *timer)
{
    (void)loop;
    fanout_run(timer->ctx);
}

/* ---- events ---- */

static void on_event(struct pag_mqtt_head *head, const struct pag_event *e)
{
    if (strcmp(e->type, "release.published") == 0) {
        fanout_add(head, e->product);
    } else if (strcmp(e->type, "command.queued") == 0 || strcmp(e->type, "device.online") == 0) {
        pag_commands_push(head, e->device);
    } else if (strncmp(e->type, "product.", 8) == 0) {
        pag_head_products_changed(head);
    }
}

static void on_wake(struct pag_subscription *s)
{
    struct pag_mqtt_head *head = s->ctx;
    for (bool more = true; more;) {
        struct pag_arena *arena = pag_arena_open(head->pool, ARENA);
        struct pag_call call = pag_head_call(head, arena);
        struct pag_event *list = NULL;
        size_t n = 0;
        int64_t next = head->cursor;
        enum pag_err err = arena != NULL
                               ? pag_app_events(&call, head->cursor, EVENTS_AT_ONCE, &list, &n, &next)
                               : PAG_E_NO_MEMORY;
        for (size_t i = 0; err == PAG_OK && i < n; i++) {
            on_event(head, &list[i]);
        }
        head->cursor = next;
        more = err == PAG_OK && n > 0;
        pag_arena_close(arena);
    }
    fanout_run(head);
}

enum pag_err pag_push_start(struct pag_mqtt_head *head)
{
    struct pag_arena *arena = pag_arena_open(head->pool, ARENA);
    struct pag_call call = pag_head_call(head, arena);
    enum pag_err err = arena != NULL ? pag_app_events_newest(&call, &head->cursor) : PAG_E_NO_MEMORY;
    pag_arena_close(arena);
    if (err != PAG_OK) {
        return err;
    }
    head->timer = (struct pag_timer){ .on_fire = on_timer, .ctx = head };
    head->subscription = (struct pag_subscription){ .loop = head->config.loop, .wake = on_wake, .ctx = head };
    pag_app_subscribe(head->config.api->app, &head->subscription);
    head->subscribed = true;
    pag_commands_start(head);
    return PAG_OK;
}

void pag_push_stop(struct pag_mqtt_head *head)
{
    if (head->subscribed) {
        pag_app_unsubscribe(head->config.api->app, &head->subscription);
        head->subscribed = false;
    }
}
