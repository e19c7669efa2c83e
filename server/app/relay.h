#ifndef PAG_SERVER_APP_RELAY_H
#define PAG_SERVER_APP_RELAY_H

#include "server/app/check_in.h"
#include "server/domain/neighbour.h"

/*
 * Devices that cannot come here and are pushed to by a relay in their own network (docs/operating/relay.md).
 * The relay's word counts as a token's: the product must admit tokens (legacy_auth), and a device that has a
 * certificate is never spoken for.
 */

struct pag_sighting {
    enum pag_protocol protocol; /* one of push-* */
    const char *device;         /* id */
    const char *product;        /* name or hex id */
    const char *address;        /* "192.168.1.40:3232" */
    const char *mac;            /* 12 hex digits, NULL: not known */
    const char *name;           /* NULL: none */
    const char *version;        /* as the device says it; NULL: it says none */
    enum pag_chip chip;         /* PAG_CHIP_UNKNOWN: not known */
};
/*
 * It is there: a check-in of it, and its address is recorded. done as for pag_app_check_in; out->action_id is
 * what is to be pushed. PAG_E_RANGE: a text is too long.
 */
void pag_app_relay_seen(struct pag_call *call, const struct pag_sighting *in, struct pag_check_reply *out);

struct pag_relay_report_in {
    const char *device;
    uint32_t action_id;
    enum pag_report_state state; /* not OFFERED */
    uint8_t progress_pct;
    int32_t code; /* the protocol's own: ERROR[n], error byte, HTTP status; 0: none */
    struct pag_span text;
    const char *said; /* version text that it says now, NULL: as before */
};
/* What became of a push. done as for pag_app_report; PAG_E_NOT_FOUND also for devices that no relay saw. */
void pag_app_relay_report(struct pag_call *call, const struct pag_relay_report_in *in);

struct pag_relay_item {
    struct pag_neighbour neighbour;
    struct pag_device device;
    const char *running; /* version of the release that it is known to run, NULL: none of ours */
    bool has_action;     /* open: there is something to push */
    struct pag_action action;
    const char *image_name;
    uint64_t bytes;
    struct pag_span manifest; /* of the image; empty: it has none */
};
struct pag_relay_work {
    const char *product; /* name */
    struct pag_relay_item *item;
    size_t n;
    const char *next; /* device id to go on after; NULL: the end */
};
/* Devices of a product (name or hex id) that relays saw, with what is to be pushed to them. */
enum pag_err pag_app_relay_work(struct pag_call *call, const char *product, const char *after, uint32_t limit,
                                struct pag_relay_work *out);
/* The image of the open action of such a device. *fd is the caller's. PAG_E_NOT_FOUND, PAG_E_EXPIRED. */
enum pag_err pag_app_relay_image(struct pag_call *call, const char *device, int *fd, uint64_t *bytes);

#endif
