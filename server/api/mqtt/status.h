#ifndef PAG_SERVER_API_MQTT_STATUS_H
#define PAG_SERVER_API_MQTT_STATUS_H

#include <jansson.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Status that a device publishes: one JSON object, at most 8 KiB, at most 8 deep, no duplicate members. What
 * the server itself understands is taken out; the rest is kept for people and never interpreted.
 */

enum { PAG_STATUS_BYTES_MAX = 8192, PAG_STATUS_DEPTH_MAX = 8 };

struct pag_status {
    char version[33]; /* "version", printable ASCII without blanks, else "" */
    bool has_rssi;
    int32_t rssi_dbm; /* "rssi", -150 to 0 */
    bool has_heap;
    uint32_t free_heap; /* "heap" or "free_heap" */
    bool has_uptime;
    uint32_t uptime_ms; /* "uptime_ms"; wraps */
    json_t *object;     /* all of it; a new reference */
};

/* PAG_E_LIMIT or PAG_E_SYNTAX with *why; *out is written only on success. Then json_decref(out->object). */
enum pag_err pag_status_read(struct pag_span payload, struct pag_status *out, struct pag_fail *why);

#endif
