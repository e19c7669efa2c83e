#include "server/api/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/device.h"

bool pag_api_transfers_full(struct pag_api *api)
{
    return atomic_load(&api->transfers) >= atomic_load(&api->limits.transfers);
}

/* Whoever shows no certificate may read as slowly as he likes: a quarter is kept for who shows one. */
static bool take_slot(struct pag_api_transfer *t, const struct pag_http_request *req)
{
    unsigned most = atomic_load(&t->api->limits.transfers);
    t->shared = !pag_device_call_of(req)->has_identity;
    if (t->shared && atomic_fetch_add(&t->api->transfers_shared, 1) >= most - most / 4) {
        atomic_fetch_sub(&t->api->transfers_shared, 1);
        return false;
    }
    atomic_fetch_add(&t->api->transfers, 1);
    return true;
}

struct pag_api_transfer *pag_api_transfer_new(const struct pag_http_request *req,
                                              struct pag_app_thread *thread, const char *device,
                                              const struct pag_check_reply *offer)
{
    struct pag_api_transfer *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->api = pag_api_of(req);
    t->thread = thread;
    t->bytes = offer->bytes;
    t->head = req->method == PAG_HTTP_HEAD;
    t->what =
        (struct pag_transfer){ .device = t->device, .action_id = offer->action_id, .version = t->version };
    memcpy(t->what.sha256, offer->sha256, sizeof t->what.sha256);
    if (pag_text_copy(t->device, sizeof t->device, pag_span_str(device != NULL ? device : "")) != PAG_OK ||
        pag_text_copy(t->version, sizeof t->version, pag_span_str(offer->version)) != PAG_OK ||
        !take_slot(t, req)) {
        free(t);
        return NULL;
    }
    return t;
}

void pag_api_transfer_done(void *ctx, uint64_t first, uint64_t sent, bool complete)
{
    struct pag_api_transfer *t = ctx;
    atomic_fetch_sub(&t->api->transfers, 1);
    atomic_fetch_sub(&t->api->transfers_shared, t->shared ? 1 : 0);
    atomic_fetch_add(&t->api->download_bytes, sent);
    if (!t->head && t->device[0] != '\0') {
        t->what.complete = complete && first + sent == t->bytes;
        t->what.looked = t->looks && !complete;
        pag_app_transfer(t->thread, &t->what);
        if (t->after != NULL) {
            t->after(t);
        }
    }
    free(t);
}
