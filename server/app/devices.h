#ifndef PAG_SERVER_APP_DEVICES_H
#define PAG_SERVER_APP_DEVICES_H

#include "server/app/app.h"
#include "server/domain/command.h"
#include "server/domain/device.h"
#include "server/domain/event.h"
#include "server/domain/history.h"

/* Devices for operators. */

struct pag_device_row { /* one of a list, or GET /devices/{id} */
    struct pag_device device;
    const char *product_name;
    bool has_action; /* open, else the last */
    struct pag_action action;
    const char *wanted_version; /* NULL: none */
    const char *wanted_release;
    const struct pag_device_image *blocked;
    size_t blocked_n;
    bool stale; /* not seen for 3 polls: state shows "stale" */
};

struct pag_device_query {
    const char *product; /* name or hex id, NULL: all */
    const char *state;   /* word, NULL: all */
    const char *version; /* running, NULL: all */
    const char *q;       /* prefix of id, MAC or name, NULL: all */
    const char *after;   /* id that the last page ended with, NULL: first page */
    uint32_t limit;      /* 1 .. 1000 */
};
struct pag_device_list {
    struct pag_device_row *item;
    size_t n;
    const char *next; /* for after; NULL: the end */
    uint64_t total;
};
enum pag_err pag_app_devices(struct pag_call *call, const struct pag_device_query *q,
                             struct pag_device_list *out);
enum pag_err pag_app_device(struct pag_call *call, const char *id, struct pag_device_row *out);
struct pag_history_query {
    const char *device;
    int64_t before; /* seq that the last page ended with, 0: from the newest */
    uint32_t limit; /* 1 .. 1000 */
};
/* Events of the device, newest first. */
enum pag_err pag_app_device_history(struct pag_call *call, const struct pag_history_query *q,
                                    struct pag_event **list, size_t *n, uint64_t *total);

struct pag_device_datum {
    const char *topic;
    int64_t at_ms;
    struct pag_span payload;
};
struct pag_device_data {
    struct pag_span status; /* JSON text, empty: none yet */
    int64_t status_ms;
    struct pag_device_datum *datum;
    size_t n;
};
enum pag_err pag_app_device_data(struct pag_call *call, const char *id, struct pag_device_data *out);

struct pag_device_patch {
    const char *name; /* NULL: as it is */
    const char *tags; /* comma-separated [a-z0-9-_.:]{1,32}, NULL: as they are */
    const char *pin;  /* version, "" : none, NULL: as it is */
};
void pag_app_device_patch(struct pag_call *call, const char *id, const struct pag_device_patch *patch,
                          struct pag_device_row *out);

/* Cuts the device off: all its certificates, at once on HTTPS. Event device.revoked. Again: PAG_OK. */
void pag_app_device_revoke(struct pag_call *call, const char *id, const char *reason);
/* Clears blacklist and loop breaker. */
void pag_app_device_retry(struct pag_call *call, const char *id);

struct pag_command_in {
    const char *device;
    const char *kind; /* word of docs/spec/rest.md */
    struct pag_span arg;
    uint32_t ttl_s;        /* of those without a signature; in a signed one stands its end */
    struct pag_span order; /* signed command (core/command.h), or empty */
};
void pag_app_command(struct pag_call *call, const struct pag_command_in *in, struct pag_command *out);
struct pag_command_query {
    const char *device;
    uint32_t after; /* id that the last page ended with, 0: from the newest */
    uint32_t limit; /* 1 .. 1000 */
};
/* The counter that the next signed command of a device must be above. */
enum pag_err pag_app_command_counter(struct pag_call *call, const char *device, uint32_t *counter);
/* Newest first. */
enum pag_err pag_app_commands(struct pag_call *call, const struct pag_command_query *q,
                              struct pag_command **list, size_t *n, uint64_t *total);
/* One command, for a pusher that saw the event command.queued. PAG_E_NOT_FOUND also when it is not waiting.
 */
enum pag_err pag_app_command_waiting(struct pag_call *call, uint32_t id, struct pag_command *out);
/* What is to be handed to a device now, oldest first. *n: room in list, then how many. */
enum pag_err pag_app_commands_due(struct pag_call *call, const char *device, struct pag_command *list,
                                  size_t *n);
/* Devices that are online and have a command that was never handed over. */
enum pag_err pag_app_command_devices(struct pag_call *call, uint32_t limit,
                                     char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n);
/* It was handed over (PUBACK, or in a reply); again after a repetition. */
void pag_app_command_sent(struct pag_call *call, uint32_t id);

/*
 * Ids of up to limit devices of a product (hex id), after an id, in order: for "check now" after a publish.
 * Only devices that are not revoked.
 */
enum pag_err pag_app_device_ids(struct pag_call *call, const char *product, const char *after, uint32_t limit,
                                char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n);

#endif
