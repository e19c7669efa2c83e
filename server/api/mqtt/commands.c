/* Commands to devices: a command is sent when the broker has acknowledged it, and done when the device says
 * so. */
#include <stdio.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/native.h"
#include "server/api/mqtt/head_priv.h"

enum {
    COMMANDS_AT_ONCE = 16,
    DEVICES_AT_ONCE = 200,
    AGAIN_MS = 2000, /* what could not be handed over, because the broker was away */
    ARENA = 4 << 20,
    SMALL_ARENA = 64 << 10,
};

/* ---- marking ---- */

struct sent {
    struct pag_call call;
    struct pag_mqtt_head *head;
    uint32_t id;
};

static void sent_done(struct pag_call *call, enum pag_err err)
{
    struct sent *s = call->user;
    if (err != PAG_OK) {
        pag_log_warn(s->head->config.api->log, "mqtt.command_not_marked", PAG_F_U64("command", s->id),
                     PAG_F_STR("error", pag_err_word(err)));
    }
    for (size_t i = 0; i < PAG_HEAD_AWAITED_MAX; i++) {
        struct pag_head_awaited *a = &s->head->awaited[i];
        if (a->command == s->id && a->message == 0) { /* sent without a receipt, and kept as such now */
            a->command = 0;
            atomic_fetch_sub(&s->head->awaiting, 1);
        }
    }
    pag_arena_close(call->arena);
    free(s);
}

static void mark_sent(struct pag_mqtt_head *head, uint32_t id)
{
    struct sent *s = calloc(1, sizeof *s);
    struct pag_arena *arena = s != NULL ? pag_arena_open(head->pool, SMALL_ARENA) : NULL;
    if (arena == NULL) {
        free(s);
        return;
    }
    s->head = head;
    s->id = id;
    s->call = pag_head_call(head, arena);
    s->call.done = sent_done;
    s->call.user = s;
    pag_app_command_sent(&s->call, id);
}

/* ---- acknowledgements ---- */

struct receipt {          /* on its way from the client's thread to the loop */
    struct pag_task task; /* first */
    struct pag_mqtt_head *head;
    uint16_t message;
};

static void receipt_open(struct pag_loop *loop, struct pag_task *task)
{
    struct receipt *r = (struct receipt *)(void *)task;
    struct pag_mqtt_head *head = r->head;
    (void)loop;
    for (size_t i = 0; i < PAG_HEAD_AWAITED_MAX; i++) {
        struct pag_head_awaited *a = &head->awaited[i];
        if (a->command != 0 && a->message == r->message) {
            mark_sent(head, a->command);
            a->command = 0;
            atomic_fetch_sub(&head->awaiting, 1);
        }
    }
    free(r);
}

void pag_commands_acknowledged(void *ctx, uint16_t message)
{
    struct pag_mqtt_head *head = ctx;
    if (atomic_load(&head->awaiting) == 0) { /* "check now" for a fleet wants no receipt */
        return;
    }
    struct receipt *r = calloc(1, sizeof *r);
    if (r != NULL) { /* else the command is handed over once more: the device knows it */
        r->task.run = receipt_open;
        r->head = head;
        r->message = message;
        pag_loop_post(head->config.loop, &r->task);
    }
}

void pag_commands_forget(struct pag_mqtt_head *head)
{
    for (size_t i = 0; i < PAG_HEAD_AWAITED_MAX; i++) {
        head->awaited[i].command = 0;
    }
    atomic_store(&head->awaiting, 0);
}

static struct pag_head_awaited *await(struct pag_mqtt_head *head, uint32_t command)
{
    struct pag_head_awaited *a = &head->awaited[head->awaited_next];
    head->awaited_next = (head->awaited_next + 1) % PAG_HEAD_AWAITED_MAX;
    if (a->command == 0) { /* the oldest is forgotten: it comes again */
        atomic_fetch_add(&head->awaiting, 1);
    }
    a->command = command;
    return a;
}

bool pag_head_is_awaited(const struct pag_mqtt_head *head, uint32_t command)
{
    for (size_t i = 0; i < PAG_HEAD_AWAITED_MAX; i++) {
        if (head->awaited[i].command == command) {
            return true;
        }
    }
    return false;
}

void pag_head_mark_sent(struct pag_mqtt_head *head, uint32_t command)
{
    await(head, command)->message = 0;
    mark_sent(head, command);
}

/* ---- handing over ---- */

static bool push_one(struct pag_mqtt_head *head, const struct pag_command *c)
{
    char topic[PAG_TOPIC_MAX];
    uint8_t room[PAG_NATIVE_MAX];
    struct pag_buf buf = { room, 0, sizeof room };
    const struct pag_native_command m = {
        .kind = (uint8_t)c->kind,
        .id = c->id,
        .expires_at = c->expires_ms > 0 ? (uint64_t)c->expires_ms / 1000 : 0,
        .arg = c->arg,
        .order = c->order,
    };
    if (pag_native_command_put(&buf, &m) != PAG_OK) {
        return false;
    }
    (void)snprintf(topic, sizeof topic, "pg/v1/d/%s/cmd", c->device);
    struct pag_head_awaited *a = await(head, c->id);
    if (pag_mqtt_publish_id(head->client, topic, pag_buf_span(&buf), 1, &a->message) != PAG_OK) {
        a->command = 0;
        atomic_fetch_sub(&head->awaiting, 1);
        return false;
    }
    return true;
}

static void push_due(struct pag_mqtt_head *head, struct pag_call *call, const char *device)
{
    struct pag_device_row *row = pag_arena_alloc(call->arena, sizeof *row);
    struct pag_command *list = pag_arena_alloc(call->arena, COMMANDS_AT_ONCE * sizeof *list);
    struct pag_product product;
    enum pag_dialect dialect = PAG_DIALECT_NONE;
    size_t n = COMMANDS_AT_ONCE;
    if (row == NULL || list == NULL || pag_app_device(call, device, row) != PAG_OK || !row->device.online ||
        pag_app_product(call, row->device.product, &product) != PAG_OK ||
        pag_app_dialect_of(call, product.id, &dialect) != PAG_OK) {
        return;
    }
    if (dialect == PAG_DIALECT_SECUREESP) {
        pag_head_dialect_push(head, call, device);
        return;
    }
    if (pag_app_commands_due(call, device, list, &n) != PAG_OK) {
        return;
    }
    if (dialect == PAG_DIALECT_TASMOTA) {
        pag_head_tasmota_push(head, call, list, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        /* Who understands only words never answers: no repetition. */
        bool wordy = pag_protocol_polls(row->device.protocol);
        if ((!wordy || list[i].state == PAG_COMMAND_QUEUED) && push_one(head, &list[i])) {
            pag_head_publish_word(head, &product, device, pag_command_kind_word(list[i].kind));
        }
    }
}

/* Only to a device that is there: what is published to an absent one is lost with its session. */
void pag_commands_push(struct pag_mqtt_head *head, const char *device)
{
    struct pag_arena *arena = pag_arena_open(head->pool, ARENA);
    struct pag_call call = pag_head_call(head, arena);
    if (arena != NULL) {
        push_due(head, &call, device);
    }
    pag_arena_close(arena);
}

static void on_again(struct pag_loop *loop, struct pag_timer *timer)
{
    struct pag_mqtt_head *head = timer->ctx;
    struct pag_arena *arena =
        pag_mqtt_head_connected(head) ? pag_arena_open(head->pool, (size_t)ARENA) : NULL;
    struct pag_call call = pag_head_call(head, arena);
    char(*id)[PAG_DEVICE_ID_MAX + 1] = NULL;
    size_t n = 0;
    if (arena != NULL && pag_app_command_devices(&call, DEVICES_AT_ONCE, &id, &n) == PAG_OK) {
        for (size_t i = 0; i < n; i++) {
            pag_commands_push(head, id[i]);
        }
    }
    pag_arena_close(arena);
    pag_loop_timer(loop, timer, AGAIN_MS);
}

void pag_commands_start(struct pag_mqtt_head *head)
{
    head->again = (struct pag_timer){ .on_fire = on_again, .ctx = head };
    pag_loop_timer(head->config.loop, &head->again, AGAIN_MS);
}
