#ifndef PAG_SERVER_API_MQTT_HEAD_PRIV_H
#define PAG_SERVER_API_MQTT_HEAD_PRIV_H

#include <stdatomic.h>

#include "server/api/mqtt/head.h"
#include "server/api/mqtt/inbox.h"
#include "server/app/admin.h"
#include "server/app/devices.h"
#include "server/app/releases.h"

/* Shared by head.c (in) and push.c (out). Everything is on the head's loop except where atomic. */

enum { PAG_HEAD_TEMPLATES_MAX = 64, PAG_HEAD_FANOUTS_MAX = 16 };

struct pag_head_template {
    char text[PAG_TEMPLATE_MAX];
    char filter[PAG_TOPIC_MAX];
    char product[PAG_PRODUCT_HEX];
    enum pag_topic_kind kind;
};

struct pag_head_fanout { /* "check now" for every device of a product, some at a time */
    bool active;
    char product[PAG_PRODUCT_HEX];
    char after[PAG_DEVICE_ID_MAX + 1];
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
    /* push.c */
    struct pag_subscription subscription;
    bool subscribed;
    int64_t cursor;
    struct pag_head_fanout fanout[PAG_HEAD_FANOUTS_MAX];
    struct pag_timer timer;
};

void pag_head_products_changed(struct pag_mqtt_head *head);

enum pag_err pag_push_start(struct pag_mqtt_head *head);
void pag_push_stop(struct pag_mqtt_head *head);
/* Sends what waits for a device that has just come. */
void pag_push_commands(struct pag_mqtt_head *head, const char *device);

#endif
