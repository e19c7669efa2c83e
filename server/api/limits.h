#ifndef PAG_SERVER_API_LIMITS_H
#define PAG_SERVER_API_LIMITS_H

#include "server/api/api.h"

/* Bounds a device: over them it is refused or not listened to, counted, and told about once an hour as the
 * event device.limited. Others do not notice. Any thread with an app thread. */

/* A check or report over HTTP. 0: go on; else seconds to wait. key: who, device (may be NULL): to be named.
 */
uint32_t pag_limits_request(struct pag_api *api, struct pag_app_thread *thread, const char *key,
                            const char *device);
/* A status or data message; a report, result or will message counts as a request. False: drop it. */
bool pag_limits_message(struct pag_api *api, struct pag_app_thread *thread, const char *device);
/* Words of a device that go into its history. False: leave them out. */
bool pag_limits_text(struct pag_api *api, struct pag_app_thread *thread, const char *device, size_t bytes);

#endif
