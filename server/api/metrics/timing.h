#ifndef PAG_SERVER_API_METRICS_TIMING_H
#define PAG_SERVER_API_METRICS_TIMING_H

#include "server/api/api.h"
#include "server/api/metrics/writer.h"

/* How long answers take, by route and class of status; in memory of fixed size, counted without a lock. */
struct pag_timing;

/* One listener's routes, as they are given to pag_http_new. NULL: no memory, nothing is counted. */
struct pag_timing *pag_timing_new(const char *listener, const struct pag_http_route *routes, size_t n);
void pag_timing_free(struct pag_timing *t); /* NULL is fine */
/* pag_http_config.answered; the request's listener context is the struct pag_api. */
void pag_timing_answered(const struct pag_http_request *req, unsigned status, uint64_t us);
/* Samples of pagurus_http_request_duration_seconds; only those that have been counted. */
void pag_timing_put(struct pag_metrics *m, const struct pag_timing *t);

#endif
