#ifndef PAG_SERVER_API_MQTT_INBOX_H
#define PAG_SERVER_API_MQTT_INBOX_H

#include "server/api/api.h"
#include "server/api/mqtt/topic.h"
#include "server/app/tasmota.h"
#include "server/domain/broker_user.h"

/* One message from a device, from parse to use-case. */

/* Of a Tasmota: tasmota.c. */
enum pag_tasmota_answered { PAG_TASMOTA_ANSWER_NONE = 0, PAG_TASMOTA_ANSWER_CHECK };
struct pag_head_tasmota_in {
    struct pag_broker_account account; /* whose topic it is; not for CMND */
    enum pag_tasmota_prefix prefix;
    bool discovery;
    struct pag_span leaf;
    bool came; /* it is there: its version is asked for */
    enum pag_tasmota_answered answered;
    const char *text;
    struct pag_tasmota_next next;
};

struct pag_inbox_message {
    struct pag_call call; /* thread and arena are set */
    struct pag_api *api;
    enum pag_topic_kind kind;
    const char *device;
    const char *topic; /* DATA: what follows "up/" */
    struct pag_span payload;
    bool retained;
    bool online; /* WILL: filled by pag_inbox_take */
    char actor[PAG_ACTOR_MAX + 1];
    struct pag_head_tasmota_in *tasmota; /* TASMOTA: in the arena */
};

/*
 * Hands the message to its use-case; call.done is called once, also for what is refused here (hostile JSON,
 * CBOR that does not parse: counted in api->mqtt_refused and logged).
 */
void pag_inbox_take(struct pag_inbox_message *m);

void pag_inbox_tasmota(struct pag_inbox_message *m);

/* "online"/"1"/"true" and "offline"/"0"/"false"/"" ; PAG_E_SYNTAX for anything else. */
enum pag_err pag_inbox_presence(struct pag_span payload, bool *online);

#endif
