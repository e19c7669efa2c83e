#ifndef PAG_SERVER_DOMAIN_NEIGHBOUR_H
#define PAG_SERVER_DOMAIN_NEIGHBOUR_H

#include "server/domain/device.h"

/* A device that relays push to: where it is in its own network. */

enum { PAG_NEIGHBOUR_ADDRESS_MAX = 63 };

struct pag_neighbour {
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    char address[PAG_NEIGHBOUR_ADDRESS_MAX + 1]; /* "192.168.1.40:3232" in the relay's network */
    char said[PAG_VERSION_MAX + 1];              /* version text as the device says it, "" : none */
    char name[PAG_NAME_MAX + 1];
    char relay[PAG_ACTOR_MAX + 1];
    int64_t seen_ms; /* written when something else changes, and once an hour */
};

#endif
