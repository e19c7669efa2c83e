#ifndef PAG_SERVER_APP_ASK_H
#define PAG_SERVER_APP_ASK_H

#include "server/app/enroll.h"

/* Devices that ask without a claim, of products that allow it: an operator decides. */

struct pag_ask_in {
    const char *product; /* name or hex id */
    struct pag_span mac; /* any spelling */
    struct pag_span csr; /* as for strict in pag_enroll_in */
    const char *address; /* of the peer */
};
/*
 * PAG_E_AGAIN: it waits; the same request is to come again after call->refusal.retry_s. PAG_E_DENIED: an
 * operator said no, or the device is in service with another key. PAG_E_UNAUTHENTICATED: the product wants a
 * claim. PAG_E_LIMIT: too many wait. Errors of requests as for pag_app_enroll.
 */
void pag_app_ask(struct pag_call *call, const struct pag_ask_in *in, struct pag_enroll_out *out);

enum pag_err pag_app_asks(struct pag_call *call, struct pag_enroll_request **list, size_t *n);
struct pag_ask_decision {
    const char *id;
    bool approve;
};
void pag_app_ask_decide(struct pag_call *call, const struct pag_ask_decision *in);

/* Whether devices of a product (name or hex id) may ask. */
enum pag_err pag_app_ask_allowed(struct pag_call *call, const char *product, bool *allowed);
struct pag_ask_allow {
    const char *product;
    bool allow;
};
void pag_app_ask_allow(struct pag_call *call, const struct pag_ask_allow *in);

#endif
