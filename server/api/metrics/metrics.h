#ifndef PAG_SERVER_API_METRICS_METRICS_H
#define PAG_SERVER_API_METRICS_METRICS_H

#include "server/api/api.h"

/* Everything that is known, as Prometheus text in the call's arena. No label is a device. */
enum pag_err pag_metrics_text(struct pag_api *api, struct pag_call *call, struct pag_span *out);

#endif
