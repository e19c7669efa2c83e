#ifndef PAG_SERVER_DOMAIN_BROKER_USER_H
#define PAG_SERVER_DOMAIN_BROKER_USER_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/access.h"

/*
 * A client of the broker that has a password because its firmware can have no certificate. Its name is
 * product.name: a '.' is in no certificate's name, so neither can take the other's session. Pure.
 */
enum {
    PAG_BROKER_USER_MAX = 64,  /* the whole name */
    PAG_BROKER_HASH_MAX = 160, /* "$7$101$<salt>$<hash>" */
    PAG_BROKER_TOPIC_NAME_MAX = 32
};

struct pag_broker_account {
    char user[PAG_BROKER_USER_MAX + 1]; /* "lamp.kitchen" */
    char product[PAG_PRODUCT_HEX];
    char device[65];                           /* id: the one that it speaks for */
    char topic[PAG_BROKER_TOPIC_NAME_MAX + 1]; /* Tasmota's %topic%, "" : none */
    char hash[PAG_BROKER_HASH_MAX + 1];
    int64_t created_ms;
    bool refused; /* its device is revoked, another product's, or has a certificate by now */
};

/* [0-9a-z-]{1,31}: the part after the product's name. */
bool pag_broker_user_name_ok(struct pag_span name);

#endif
