#ifndef PAG_SERVER_APP_REPORT_H
#define PAG_SERVER_APP_REPORT_H

#include "core/native.h"
#include "server/app/app.h"

/* What devices say about actions, commands, themselves and their surroundings. */

struct pag_report_in {
    const char *device;
    struct pag_native_report report; /* spans live until done */
};
/*
 * done PAG_OK when it is on disk (or was before: duplicates). PAG_E_NOT_FOUND no such action of this device;
 * PAG_E_CONFLICT confirmed without running the target; PAG_E_DIGEST another manifest; PAG_E_RANGE;
 * PAG_E_BUSY.
 */
void pag_app_report(struct pag_call *call, const struct pag_report_in *in);

/* Result of a command. PAG_E_NOT_FOUND no such command of this device. A second result is ignored. */
void pag_app_command_result(struct pag_call *call, const char *device,
                            const struct pag_native_result *result);

/* Status object (JSON text, already checked by the head, at most 8 KiB) with the version it names ("" :
 * none). Unknown devices: PAG_E_NOT_FOUND, nothing is stored. */
struct pag_status_in {
    const char *device;
    struct pag_span json;
    const char *version;
    bool retained; /* an old message: does not make the device online */
};
void pag_app_status_in(struct pag_call *call, const struct pag_status_in *in);

/* Last message of a data topic. topic: what follows the device's id, at most 128 bytes of UTF-8; payload at
 * most 64 KiB. PAG_E_LIMIT: too long, or over 64 topics a device. */
void pag_app_data_in(struct pag_call *call, const char *device, const char *topic, struct pag_span payload);

void pag_app_presence(struct pag_call *call, const char *device, bool online);
/* At start and when the broker was lost: nobody counts as connected until heard of again. Written in its own
 * time, before whatever is submitted later. */
void pag_app_presence_unknown(struct pag_app_thread *thread);

#endif
