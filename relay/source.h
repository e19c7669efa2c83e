#ifndef PAG_RELAY_SOURCE_H
#define PAG_RELAY_SOURCE_H

#include "relay/mdns.h"

/*
 * Where a relay gets its devices from: multicast DNS, a list in a file, and whatever comes to be (discovery
 * by MQTT …). A source adds what it knows; a device that several name is one, by address and protocol, and
 * the first source's word on it counts.
 */
struct pag_relay_source {
    const char *name;
    /* Appends to list[*n], never past max. At most ms. Errors are the source's own; the others go on. */
    enum pag_err (*look)(void *ctx, uint32_t ms, struct pag_mdns_found *list, size_t *n, size_t max);
    void *ctx;
};

/* ctx: const struct pag_mdns_query *. */
extern const struct pag_relay_source pag_relay_source_mdns;

/* All sources in order. list holds max; returns how many. */
size_t pag_relay_look(const struct pag_relay_source *source, size_t source_n, uint32_t ms,
                      struct pag_mdns_found *list, size_t max);

/* Device id on a server: the MAC, else the host (or instance) name in [0-9a-z-]. "" when nothing is left. */
void pag_relay_id(const struct pag_mdns_found *f, char out[PAG_DEVICE_ID_MAX + 1]);
/* "esp-*" with '*' for any bytes and '?' for one, ASCII case does not count. */
bool pag_relay_matches(const char *pattern, const char *text);

#endif
