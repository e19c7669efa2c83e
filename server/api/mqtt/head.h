#ifndef PAG_SERVER_API_MQTT_HEAD_H
#define PAG_SERVER_API_MQTT_HEAD_H

#include "host/loop.h"
#include "host/mqtt.h"
#include "server/api/api.h"

/*
 * MQTT both ways: what devices publish goes into the use-cases; what devices must hear is published, driven
 * by a cursor over events (docs/spec/native.md). Who a message is from is its topic's id, because the
 * broker's access list lets a device write nowhere else. Lives on one loop; messages come in on the client's
 * thread and are posted there.
 */
struct pag_mqtt_head;

struct pag_mqtt_head_config {
    struct pag_api *api;
    struct pag_loop *loop;
    struct pag_app_thread *thread; /* of that loop */
    /* how to reach the broker; on_message, on_state, filters and ctx are filled here. Texts are copied. */
    struct pag_mqtt_config client;
    /* On the loop, after a change of a product. May be NULL. */
    void (*on_products)(void *ctx);
    void *ctx;
};

/* A product's settings for Tasmota (hex id). PAG_E_NOT_FOUND: it does not speak it. */
struct pag_tasmota_settings;
enum pag_err pag_head_tasmota_settings(struct pag_call *call, const char *product,
                                       struct pag_tasmota_settings *out);

/* On the loop's thread, or before it runs. */
enum pag_err pag_mqtt_head_new(const struct pag_mqtt_head_config *config, struct pag_mqtt_head **out,
                               struct pag_fail *why);
/* Starts the client; port 0: as configured. Events from now on are pushed. */
enum pag_err pag_mqtt_head_start(struct pag_mqtt_head *head, uint16_t port);
/* After its loop has ended. NULL is fine. */
void pag_mqtt_head_free(struct pag_mqtt_head *head);

bool pag_mqtt_head_connected(const struct pag_mqtt_head *head);          /* any thread */
void pag_mqtt_head_last_error(struct pag_mqtt_head *head, char out[96]); /* any thread */

#endif
