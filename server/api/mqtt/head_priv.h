#ifndef PAG_SERVER_API_MQTT_HEAD_PRIV_H
#define PAG_SERVER_API_MQTT_HEAD_PRIV_H

#include <stdatomic.h>

#include "server/api/mqtt/head.h"
#include "server/api/mqtt/inbox.h"
#include "server/api/mqtt/tasmota.h"
#include "server/app/admin.h"
#include "server/app/devices.h"
#include "server/app/dialect.h"
#include "server/app/releases.h"

/* Shared by head.c (in), push.c and commands.c (out). Everything is on the head's loop except where atomic.
 */

enum {
    PAG_HEAD_TEMPLATES_MAX = 2 * PAG_TEMPLATES_MAX,
    PAG_HEAD_FANOUTS_MAX = 16,
    PAG_HEAD_AWAITED_MAX = 256
};

struct pag_head_template {
    char text[PAG_TEMPLATE_MAX];
    char filter[PAG_TOPIC_MAX];
    enum pag_topic_kind kind;
};

struct pag_head_fanout { /* "check now" for every device of a product, some at a time */
    bool active;
    char product[PAG_PRODUCT_HEX];
    char after[PAG_DEVICE_ID_MAX + 1];
};

struct pag_head_awaited { /* a command that the broker has not acknowledged yet */
    uint16_t message;
    uint32_t command; /* 0: free */
};

enum { PAG_HEAD_TASMOTA_MAX = 8 };
struct pag_head_tasmota { /* a FullTopic in use, with its subscriptions */
    char full_topic[PAG_TASMOTA_FULL_TOPIC_MAX + 1];
    char filter[PAG_TASMOTA_PREFIXES][PAG_TASMOTA_TOPIC_MAX];
};

struct pag_mqtt_head {
    struct pag_mqtt_head_config config;
    struct pag_mqtt *client;
    struct pag_arena_pool *pool;
    uint16_t port;
    atomic_bool connected;
    atomic_uint inbox;
    struct pag_head_template tmpl[PAG_HEAD_TEMPLATES_MAX];
    size_t tmpl_n;
    bool dialect; /* a product speaks secureESP8266: its topics are listened to */
    struct pag_head_tasmota tasmota[PAG_HEAD_TASMOTA_MAX];
    size_t tasmota_n;
    struct pag_task forget; /* who is there, after the broker was lost */
    atomic_bool forgetting;
    /* push.c */
    struct pag_subscription subscription;
    bool subscribed;
    int64_t cursor;
    struct pag_head_fanout fanout[PAG_HEAD_FANOUTS_MAX];
    struct pag_timer timer;
    /* commands.c */
    struct pag_head_awaited awaited[PAG_HEAD_AWAITED_MAX];
    size_t awaited_next;
    atomic_uint awaiting;
    struct pag_timer again;
};

void pag_head_products_changed(struct pag_mqtt_head *head);

enum pag_err pag_push_start(struct pag_mqtt_head *head);
void pag_push_stop(struct pag_mqtt_head *head);
struct pag_call pag_head_call(struct pag_mqtt_head *head, struct pag_arena *arena);
/* A product's own command topic hears the kind as a word: its clients know nothing of CBOR. */
void pag_head_publish_word(struct pag_mqtt_head *head, const struct pag_product *p, const char *device,
                           const char *word);

/* dialect.c */
enum { PAG_HEAD_DIALECT_FILTERS = 4 };
/* Filters of the dialects in use, at most PAG_HEAD_DIALECT_FILTERS; how many. They are literals. */
size_t pag_head_dialect_filters(const struct pag_mqtt_head *head,
                                const char *filter[PAG_HEAD_DIALECT_FILTERS]);
/* Reads a dialect's topic; the device's product is not looked at. */
bool pag_head_dialect_topic(struct pag_span topic, struct pag_topic *out);
/* Asks the store whether a product speaks it; false: as before. */
bool pag_head_dialect_changed(struct pag_mqtt_head *head, struct pag_call *call);
/* A retained command would be carried out at every reconnect: it is taken away. */
void pag_head_dialect_retained(struct pag_mqtt_head *head, const char *topic);
/* The next command for a device of the dialect, one at a time, QoS 0 and not retained. */
void pag_head_dialect_push(struct pag_mqtt_head *head, struct pag_call *call, const char *device);
/* tasmota.c */
enum { PAG_HEAD_TASMOTA_FILTERS = PAG_HEAD_TASMOTA_MAX * PAG_TASMOTA_PREFIXES + 1 };
bool pag_head_tasmota_changed(struct pag_mqtt_head *head, struct pag_call *call,
                              const struct pag_product *list, size_t n);
size_t pag_head_tasmota_filters(const struct pag_mqtt_head *head, const char **filter);
/* Reads a topic of one of the templates, or of discovery: whose it is by its user of the broker. */
bool pag_head_tasmota_read(struct pag_mqtt_head *head, struct pag_call *call, struct pag_span topic,
                           struct pag_head_tasmota_in *out);
/* After the message's use-case. */
void pag_head_tasmota_done(struct pag_mqtt_head *head, struct pag_inbox_message *m, enum pag_err err);
/* Asks for its version; the answer brings the update about. */
void pag_head_tasmota_ask(struct pag_mqtt_head *head, struct pag_call *call, const char *device);
void pag_head_tasmota_push(struct pag_mqtt_head *head, struct pag_call *call, const struct pag_command *list,
                           size_t n);
bool pag_head_is_awaited(const struct pag_mqtt_head *head, uint32_t command);
void pag_head_mark_sent(struct pag_mqtt_head *head, uint32_t command);

/* commands.c: handed over at once to a device that is there, again when it comes back, until there is a
 * result */
void pag_commands_start(struct pag_mqtt_head *head);
void pag_commands_push(struct pag_mqtt_head *head, const char *device);
void pag_commands_forget(struct pag_mqtt_head *head);        /* the client is another: no receipt will come */
void pag_commands_acknowledged(void *ctx, uint16_t message); /* ctx: the head; on the client's thread */

#endif
