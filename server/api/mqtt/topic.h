#ifndef PAG_SERVER_API_MQTT_TOPIC_H
#define PAG_SERVER_API_MQTT_TOPIC_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Topics of devices, docs/spec/native.md: pg/v1/d/<id>/{cmd,will,up/…}, and a product's own templates in
 * which one whole level is "{id}". Pure.
 */

enum { PAG_TOPIC_MAX = 256, PAG_TOPIC_DATA_MAX = 128 };

enum pag_topic_kind {
    PAG_TOPIC_STATUS, /* pg/v1/d/<id>/up/status, or a product's status template */
    PAG_TOPIC_REPORT, /* …/up/report: CBOR report */
    PAG_TOPIC_RESULT, /* …/up/result: CBOR command result */
    PAG_TOPIC_DATA,   /* …/up/data or …/up/data/<rest>: the application's own */
    PAG_TOPIC_WILL,   /* …/will: presence */
    /* of a dialect (server/domain/dialect.h) */
    PAG_TOPIC_SAMPLE,  /* /status/<id> */
    PAG_TOPIC_GONE,    /* /will/<id>, /will/<id>/will: offline, whatever the payload */
    PAG_TOPIC_TASMOTA, /* whatever a Tasmota publishes */
    PAG_TOPIC_COMMAND, /* /command/<id>/…: ours; what is retained there does harm */
};

struct pag_topic {
    enum pag_topic_kind kind;
    struct pag_span device; /* checked with pag_device_id_ok */
    struct pag_span rest;   /* DATA: what follows "up/", for example "data/temperature"; at most
                               PAG_TOPIC_DATA_MAX */
};

/* Reads one of our topics. PAG_E_NOT_FOUND: not a topic of ours. PAG_E_SYNTAX: ours, but the id or the rest
 * is not well-formed. The spans point into topic. */
enum pag_err pag_topic_read(struct pag_span topic, struct pag_topic *out);

/* Matches topic against a template (pag_product_template_ok); device is what stood for {id}. */
bool pag_topic_template_match(struct pag_span tmpl, struct pag_span topic, struct pag_span *device);
/* Writes the template with id in place of {id}, NUL-terminated. id "+" gives the subscription. PAG_E_SPACE.
 */
enum pag_err pag_topic_template_put(struct pag_span tmpl, struct pag_span id, char out[PAG_TOPIC_MAX]);

#endif
