#ifndef PAG_SERVER_APP_BROKER_USERS_H
#define PAG_SERVER_APP_BROKER_USERS_H

#include "host/broker_hash.h"
#include "server/app/app.h"
#include "server/domain/broker_user.h"

/* Clients of the broker with a password. docs/operating/broker.md. */

/* Of one product (name or id); NULL: of all, for the server itself. */
enum pag_err pag_app_broker_users(struct pag_call *call, const char *product,
                                  struct pag_broker_account **list, size_t *n);

struct pag_broker_user_in {
    const char *product; /* name or id */
    const char *name;    /* the part after the product's name */
    const char *device;  /* id; NULL: name */
    const char *topic;   /* Tasmota's %topic%; NULL: of the device's MAC when the product speaks Tasmota */
};
struct pag_broker_user_out {
    struct pag_broker_account account;
    struct pag_broker_secret secret; /* wiped by the head */
};
/* PAG_E_EXISTS "conflict": the name, the device or the topic has one already. Event broker.user_added. */
void pag_app_broker_user_add(struct pag_call *call, const struct pag_broker_user_in *in,
                             struct pag_broker_user_out *out);
/* Another password for it; the old one is good no more. Event broker.user_changed. */
void pag_app_broker_user_renew(struct pag_call *call, const struct pag_broker_user_in *in,
                               struct pag_broker_user_out *out);
/* Event broker.user_removed. */
void pag_app_broker_user_remove(struct pag_call *call, const struct pag_broker_user_in *in);

/* Whose topic it is. PAG_E_NOT_FOUND. */
enum pag_err pag_app_broker_user_of_topic(struct pag_call *call, struct pag_span topic,
                                          struct pag_broker_account *out);
enum pag_err pag_app_broker_user_of_device(struct pag_call *call, const char *device,
                                           struct pag_broker_account *out);

#endif
