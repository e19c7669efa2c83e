#ifndef PAG_SERVER_API_MQTT_SAMPLE_H
#define PAG_SERVER_API_MQTT_SAMPLE_H

#include "host/arena.h"
#include "server/app/secureesp.h"

/*
 * A status message of secureESP8266: one JSON object, at most 2 KiB, in which every member may be missing or
 * of the wrong kind (it is left out then). Words lose control characters and are cut. PAG_E_LIMIT or
 * PAG_E_SYNTAX with *why; out->sample and out->json (in the arena) are written only on success.
 */
enum { PAG_SAMPLE_BYTES_MAX = 2048 };
enum pag_err pag_sample_read(struct pag_arena *arena, struct pag_span payload,
                             struct pag_secureesp_status *out, struct pag_fail *why);

#endif
