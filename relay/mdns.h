#ifndef PAG_RELAY_MDNS_H
#define PAG_RELAY_MDNS_H

#include <stdatomic.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "relay/push.h"

/*
 * Devices of the network by multicast DNS (RFC 6762, 6763), without a daemon: one-shot queries from a port of
 * our own, which responders answer to that port (6762 6.7). Why not a library: docs/adr/0011-relay.md.
 */

enum {
    PAG_MDNS_PACKET = 9000,   /* RFC 6762 17 */
    PAG_MDNS_FOUND_MAX = 512, /* devices; more are not seen */
    PAG_MDNS_NAME = 64,
    PAG_MDNS_ADDRESS = 46,
};

/* One service of one device. Everything in it was said by whoever answered. */
struct pag_mdns_found {
    enum pag_push_protocol protocol;   /* _arduino, _esphomelib, _wled; any _http is PAG_PUSH_WEB */
    char name[PAG_MDNS_NAME];          /* of the instance */
    char host[PAG_MDNS_NAME];          /* without ".local" */
    char address[PAG_MDNS_ADDRESS];    /* IPv4 */
    uint16_t port;                     /* where it takes updates */
    char version[PAG_VERSION_MAX + 1]; /* ESPHome: the project's, else ESPHome's; "" : not said */
    char build[16];                    /* ESPHome's config_hash */
    char project[64];
    char mac[13];
    enum pag_chip chip;
    bool wants_password; /* ArduinoOTA's auth_upload */
};

struct pag_mdns_set;
struct pag_mdns_list {
    struct pag_mdns_found *item;
    size_t n;
    struct pag_mdns_set *set; /* what the answers said so far */
};
struct pag_mdns_list *pag_mdns_list_new(void); /* NULL: no memory */
void pag_mdns_list_free(struct pag_mdns_list *list);

/*
 * One packet from address (text) into what is known; call pag_mdns_list_make when all are in. PAG_E_SYNTAX,
 * PAG_E_SHORT: what came before the fault in the packet counts.
 */
enum pag_err pag_mdns_read(struct pag_mdns_list *list, struct pag_span packet, const char *from);
void pag_mdns_list_make(struct pag_mdns_list *list);
/* Questions: the four services (first), and what is missing of instances and hosts. PAG_E_SPACE: cut. */
enum pag_err pag_mdns_ask(const struct pag_mdns_list *list, uint16_t id, struct pag_buf *out);
/* "name.local" : its address. */
enum pag_err pag_mdns_ask_host(const char *host, uint16_t id, struct pag_buf *out);
/* Address of a host that was heard of, or NULL. */
const char *pag_mdns_host(const struct pag_mdns_list *list, const char *host);

struct pag_mdns_query {
    const char
        *to; /* "address:port" to ask instead of the multicast group; NULL: the group; "none": nobody */
    const char *until_host; /* address, host or instance name: end as soon as it is known; NULL: use all ms */
    const char *only_host;  /* "x.local": ask for its address alone */
    const atomic_bool *stop; /* NULL: none */
};
/* Asks, listens for ms, asks again for what is missing. PAG_E_IO: no socket; PAG_E_CONDITION: stopped. */
enum pag_err pag_mdns_browse(const struct pag_mdns_query *q, uint32_t ms, struct pag_mdns_list *list);
/* Does f answer to this name: address, host with or without ".local", instance? */
bool pag_mdns_is(const struct pag_mdns_found *f, const char *host);

#endif
