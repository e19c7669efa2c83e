#ifndef PAG_SERVER_DOMAIN_EVENT_H
#define PAG_SERVER_DOMAIN_EVENT_H

#include <pagurus/types.h>

#include "server/domain/access.h"

/* One change, as everybody who pushes or shows sees it. Types: docs/spec/events.md. */
struct pag_event {
    int64_t seq; /* rises in the order of commits; a cursor over it never misses one */
    int64_t at_ms;
    const char *type; /* "release.published" … */
    char product[PAG_PRODUCT_HEX];
    char device[PAG_DEVICE_ID_MAX + 1];
    char actor[PAG_ACTOR_MAX + 1];
    struct pag_span data; /* one JSON object */
};

/* Somebody who wants to know that events were committed. Placed by the owner, kept in place until removed. */
struct pag_store_watch {
    void (*wake)(struct pag_store_watch *w); /* on the writer's thread */
    struct pag_store_watch *next;            /* owned by the store */
};

#endif
