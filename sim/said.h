#ifndef PAG_SIM_SAID_H
#define PAG_SIM_SAID_H

#include "sim/client.h"

/* What a client says over MQTT, by family. */

enum { PAG_SIM_SAID_MAX = 440 };

/* What Tasmota says besides its telemetry. */
enum {
    PAG_SIM_SAY_ONLINE = 1,
    PAG_SIM_SAY_DISCOVERY = 2,
    PAG_SIM_SAY_VERSION = 4,
    PAG_SIM_SAY_UPGRADE = 8,
};

struct pag_sim_said {
    const char *host;
    uint16_t port;
    bool plain;
    char client_id[PAG_DEVICE_ID_MAX + 16];
    char will_topic[PAG_DEVICE_ID_MAX + 32];
    char will[PAG_DEVICE_ID_MAX + 32];
    bool own_connect; /* else that of the agent: will with QoS 1, retained, no user */
    bool will_retained;
    const struct pag_sim_user *user; /* NULL: none */
    uint8_t keepalive_s;
    bool announces;                      /* PAG_SIM_SAY_… */
    char filter[PAG_DEVICE_ID_MAX + 32]; /* it subscribes to; "": nothing */
};

void pag_sim_said_of(const struct pag_sim_device *d, struct pag_sim_said *out);
/* The next message; true: retained. */
bool pag_sim_said_next(struct pag_sim_device *d, char *topic, size_t topic_cap, char *text, size_t text_cap);

#endif
