#ifndef PAG_HOST_MQTT_H
#define PAG_HOST_MQTT_H

#include <stdbool.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/log.h"

/*
 * MQTT client on libmosquitto with one thread of its own: connects over TLS with a client certificate, comes
 * back by itself with back-off (1 s doubling to 30 s), subscribes again after each connect.
 */
struct pag_mqtt;

struct pag_mqtt_message {
    const char *topic; /* valid during the callback */
    struct pag_span payload;
    uint8_t qos;
    bool retained; /* delivered because it was retained, not because it was just published */
};

enum pag_mqtt_state { PAG_MQTT_DOWN, PAG_MQTT_CONNECTING, PAG_MQTT_UP };

struct pag_mqtt_config {
    const char *host; /* name or address; is checked against the broker's certificate unless skip_name */
    uint16_t port;
    const char *client_id;
    const char *ca_file;              /* PEM; NULL: no TLS (tests, loopback) */
    const char *cert_file, *key_file; /* PEM; NULL: no client certificate */
    const char *username, *password;  /* NULL: none */
    bool skip_name;                   /* accept a broker certificate of our CA with another name in it */
    uint16_t keepalive_s;             /* 0: 30 */
    const char *const *filters; /* NULL-terminated topic filters, subscribed with QoS 1 at every connect */
    struct pag_log *log;        /* NULL is fine */
    /* Both are called on the client's thread and may publish; they must not block for long or free the
     * client. on_state: why is a short text for DOWN ("connection refused"), "" otherwise. */
    void (*on_message)(void *ctx, const struct pag_mqtt_message *message);
    void (*on_state)(void *ctx, enum pag_mqtt_state state, const char *why);
    /* The broker has a message of QoS 1 (PUBACK); id as pag_mqtt_publish_id gave it. On the client's thread,
     * maybe before that call has returned. May be NULL. */
    void (*on_acknowledged)(void *ctx, uint16_t id);
    void *ctx;
};

/* Copies what config points to. Does not start anything. PAG_E_CONFIG when a file cannot be used. */
enum pag_err pag_mqtt_new(const struct pag_mqtt_config *config, struct pag_mqtt **out, struct pag_fail *why);
/* Starts the thread; the first connect is tried at once. port may be given late (0 keeps the configured one).
 */
enum pag_err pag_mqtt_start(struct pag_mqtt *mqtt, uint16_t port);
/* Disconnects, joins the thread, frees. NULL is fine. No callback runs afterwards. */
void pag_mqtt_free(struct pag_mqtt *mqtt);

/*
 * Any thread. Hands the message to the client's queue; nothing is kept for later when the broker is away:
 * PAG_E_CLOSED (publish again after on_state UP), PAG_E_LIMIT (payload over 256 KiB or queue full),
 * PAG_E_SYNTAX (topic empty, with wildcards or not UTF-8). qos 0 or 1.
 */
enum pag_err pag_mqtt_publish(struct pag_mqtt *mqtt, const char *topic, struct pag_span payload, uint8_t qos,
                              bool retain);

/* The same; *id is the message's, until it is acknowledged. */
enum pag_err pag_mqtt_publish_id(struct pag_mqtt *mqtt, const char *topic, struct pag_span payload,
                                 uint8_t qos, uint16_t *id);

struct pag_mqtt_stats {
    enum pag_mqtt_state state;
    uint64_t connects, disconnects; /* since start */
    uint64_t received, received_bytes;
    uint64_t published, acknowledged, refused; /* refused: publish did not return PAG_OK */
    char last_error[96];                       /* "" when there was none */
};
void pag_mqtt_stats_get(struct pag_mqtt *mqtt, struct pag_mqtt_stats *out); /* any thread */

#endif
