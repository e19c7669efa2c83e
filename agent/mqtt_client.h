#ifndef PAG_AGENT_MQTT_CLIENT_H
#define PAG_AGENT_MQTT_CLIENT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "agent/port.h"

/*
 * The part of MQTT 3.1.1 (OASIS, 2014) a device needs: clean session, will, QoS 0 and 1 both ways,
 * keep-alive. One packet is written and one read at a time, in memory inside the struct. Strict: anything a
 * broker must not send ends the session with PAG_E_SYNTAX. Packets too large for rx are skipped unseen (QoS 1
 * ones are acknowledged).
 */

enum {
    PAG_MQTTC_RX = 640, /* PAG_RECEIVE_MAX */
    PAG_MQTTC_TX = 512,
};

enum pag_mqttc_type {
    PAG_MQTTC_CONNACK = 2,
    PAG_MQTTC_PUBLISH = 3,
    PAG_MQTTC_PUBACK = 4,
    PAG_MQTTC_SUBACK = 9,
    PAG_MQTTC_PINGRESP = 13,
};

struct pag_mqttc_packet {
    uint8_t type; /* enum pag_mqttc_type */
    uint8_t qos;
    bool dup, retain;
    uint16_t id;  /* PUBLISH with QoS 1, PUBACK, SUBACK */
    uint8_t code; /* CONNACK return code; SUBACK: 0x80 when any filter failed */
    struct pag_span topic, payload;
};

/*
 * Length of the packet that begins in head: *total with fixed header. PAG_E_SHORT: feed more (at most 5 bytes
 * are looked at), PAG_E_SYNTAX.
 */
enum pag_err pag_mqttc_length(struct pag_span head, uint32_t *total);
/* Reads one whole packet from a broker. PAG_E_SYNTAX; *out is zero then. Spans point into in. */
enum pag_err pag_mqttc_packet_get(struct pag_span in, struct pag_mqttc_packet *out);

struct pag_mqttc {
    const struct pag_port *port;
    struct pag_conn conn;
    bool open, ready, up, ping_out;
    uint16_t keepalive_s;
    uint16_t next_id;
    uint32_t last_tx_ms, last_rx_ms;
    uint32_t skip; /* bytes of a packet too large that are still to come */
    uint16_t rx_n, tx_n, tx_at;
    uint8_t rx[PAG_MQTTC_RX];
    uint8_t tx[PAG_MQTTC_TX];
};

struct pag_mqttc_login {
    const char *host;
    uint16_t port;
    const char *client_id;
    const char *will_topic;
    struct pag_span will; /* QoS 1, retained */
    uint16_t keepalive_s;
};

void pag_mqttc_init(struct pag_mqttc *m, const struct pag_port *port);
/* Starts connecting; everything of login is copied. trust NULL: plain TCP. Port's errors, PAG_E_SPACE. */
enum pag_err pag_mqttc_open(struct pag_mqttc *m, const struct pag_mqttc_login *login,
                            const struct pag_net_trust *trust);
/*
 * One step: writes what is left, or reads what is there. PAG_OK: *got is a packet (valid until the next
 * call), CONNACK with code 0 included; PAG_E_AGAIN: nothing now. Any other error: the session is closed
 * (PAG_E_UNAUTHENTICATED: CONNACK refused, PAG_E_TIMEOUT: no life sign within 1.5 keep-alives).
 */
enum pag_err pag_mqttc_step(struct pag_mqttc *m, struct pag_mqttc_packet *got);
/* Where the payload of the next publish on a topic of topic_n bytes may be put together; no room while the
 * last packet is still going out. */
struct pag_buf pag_mqttc_room(struct pag_mqttc *m, size_t topic_n);
/* PAG_E_CLOSED no session, PAG_E_BUSY the last packet is still going out, PAG_E_RANGE. *id: packet id, 0 for
 * QoS 0. */
enum pag_err pag_mqttc_publish(struct pag_mqttc *m, struct pag_span topic, struct pag_span payload,
                               uint8_t qos, bool retain, uint16_t *id);
enum pag_err pag_mqttc_subscribe(struct pag_mqttc *m, struct pag_span filter, uint8_t qos);
/* Says goodbye (the will is not sent) when that is possible at once, and closes. */
void pag_mqttc_close(struct pag_mqttc *m, bool goodbye);
bool pag_mqttc_idle(const struct pag_mqttc *m); /* up and nothing being written */

#endif
