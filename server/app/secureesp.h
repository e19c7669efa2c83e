#ifndef PAG_SERVER_APP_SECUREESP_H
#define PAG_SERVER_APP_SECUREESP_H

#include "server/app/app.h"
#include "server/domain/command.h"
#include "server/domain/dialect.h"

/* Devices that speak secureESP8266: what they say, what they fetch, what they are to be told next. */

struct pag_secureesp_status {
    const char *device;
    struct pag_sample sample; /* as said: counters still of 32 bits, at_ms not set */
    struct pag_span json;     /* the message, at most 8 KiB */
};
/*
 * One status message: a check-in with the image that it names, then its sample, what it proves about the
 * command on its way, and the next step of an update. Unknown devices: PAG_E_NOT_FOUND, nothing is stored.
 */
void pag_app_secureesp_status(struct pag_call *call, const struct pag_secureesp_status *in);

/* It has asked for a file; code: a PAG_FETCH_…, or a status. No done; written in its own time. */
void pag_app_secureesp_fetched(struct pag_app_thread *thread, const char *device, enum pag_command_kind kind,
                               int32_t code);

/*
 * It has shown this certificate: one that the server has renewed for it is in use from now on. No done;
 * written in its own time, and only when it is another than before.
 */
void pag_app_secureesp_shown(struct pag_app_thread *thread, const char *device, struct pag_span serial);

/* The one command that may go out to this device now. PAG_E_NOT_FOUND: none, or one is on its way. */
enum pag_err pag_app_secureesp_due(struct pag_call *call, const char *device, struct pag_command *out);

#endif
