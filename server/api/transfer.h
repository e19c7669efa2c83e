#ifndef PAG_SERVER_API_TRANSFER_H
#define PAG_SERVER_API_TRANSFER_H

#include "server/api/api.h"
#include "server/app/check_in.h"

/*
 * The image of an offer on its way to a device that says nothing about it afterwards: what was sent is all
 * there is to know. It outlives its request.
 */
struct pag_api_transfer {
    struct pag_api *api;
    struct pag_app_thread *thread;
    uint64_t bytes; /* of the whole image; with pieces the last one makes it whole */
    bool head;      /* HEAD: nothing was to be sent */
    bool shared;    /* its client has shown no certificate */
    bool looks;     /* its client reads the header and goes when it has that version */
    void (*after)(const struct pag_api_transfer *t); /* when told, but for HEAD; may be NULL */
    struct pag_transfer what;                        /* its texts are below */
    char device[PAG_DEVICE_ID_MAX + 1];              /* "" : nobody in particular, of whom nothing is kept */
    char version[PAG_VERSION_MAX + 1];
};

/* Whether there are as many downloads as there may be. */
bool pag_api_transfers_full(struct pag_api *api);

/*
 * Counts one more; pag_api_transfer_done, as done of the reply with this as its done_ctx, ends it. device:
 * may be NULL. NULL: no memory, or as many without a certificate as there may be.
 */
struct pag_api_transfer *pag_api_transfer_new(const struct pag_http_request *req,
                                              struct pag_app_thread *thread, const char *device,
                                              const struct pag_check_reply *offer);
void pag_api_transfer_done(void *ctx, uint64_t first, uint64_t sent, bool complete);

#endif
