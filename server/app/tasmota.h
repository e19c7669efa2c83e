#ifndef PAG_SERVER_APP_TASMOTA_H
#define PAG_SERVER_APP_TASMOTA_H

#include "server/app/app.h"
#include "server/domain/tasmota.h"

/* Devices that run Tasmota: what they say over MQTT. They fetch over HTTP (api/legacy_http). */

struct pag_tasmota_seen {
    const char *device;  /* id: the MAC */
    const char *product; /* hex id: of its user of the broker */
    const char *version; /* "13.4.0(tasmota)" as said now; NULL: it is there, no more */
};
struct pag_tasmota_next {
    bool trigger; /* there is an update for it that it has not begun */
};
/*
 * A check-in of it: recorded at its first, as its user was made for this MAC by an operator. A version that
 * is the offered release's confirms it; another one after a restart for it ends it as failed. A stand-in
 * (minimal, safeboot) is on its way and proves nothing.
 */
void pag_app_tasmota_seen(struct pag_call *call, const struct pag_tasmota_seen *in,
                          struct pag_tasmota_next *out);

/* Its own words on an update: the open action follows. Nothing when there is none. */
struct pag_tasmota_said {
    const char *device;
    const char *text;
};
void pag_app_tasmota_upgrade(struct pag_call *call, const struct pag_tasmota_said *in);

/* It has answered something: the command that was sent first and waits for an answer has its result.
 * check: it was the question for its version. */
struct pag_tasmota_answer {
    const char *device;
    bool check;
    struct pag_span text;
};
void pag_app_tasmota_answer(struct pag_call *call, const struct pag_tasmota_answer *in);

#endif
