#ifndef PAG_SERVER_APP_CLONES_H
#define PAG_SERVER_APP_CLONES_H

#include "server/app/app.h"

/*
 * A device has shown its certificate. What looks like a copy of it becomes the event device.clone_suspected,
 * in its own time and once an hour. Memory is bounded: of some thousand devices the latest are remembered.
 * Any thread with an app thread.
 */
struct pag_seen_in {
    const char *device, *product; /* hex id */
    const char *address;          /* of the peer */
    uint64_t certificate_until;   /* Unix s */
    bool has_counter;
    uint32_t counter; /* of boot records; only rises on one device */
};
void pag_app_seen(struct pag_app_thread *thread, const struct pag_seen_in *in);

/* Whether the device has been seen with a certificate that ends later than that of in (device and
 * certificate_until count), as far as is remembered. Such a one renews nothing. */
bool pag_app_superseded(struct pag_app_thread *thread, const struct pag_seen_in *in);

/* When a device was last suspected to have a copy; 0: never, as far as events are kept. */
enum pag_err pag_app_clone_at(struct pag_call *call, const char *device, int64_t *at_ms);

#endif
