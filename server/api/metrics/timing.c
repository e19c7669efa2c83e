#include "server/api/metrics/timing.h"

#include <stdlib.h>

#include "core/bytes.h"

enum { CLASSES = 5, BOUNDS = 7 };

static const struct {
    uint64_t us;
    const char *text;
} bounds[BOUNDS] = { { 1000, "0.001" }, { 5000, "0.005" },  { 25000, "0.025" }, { 100000, "0.1" },
                     { 500000, "0.5" }, { 2500000, "2.5" }, { 10000000, "10" } };

struct cell {
    atomic_ullong bucket[BOUNDS + 1]; /* the last is beyond all bounds */
    atomic_ullong us;
};

struct pag_timing {
    const char *listener;
    const struct pag_http_route *routes;
    size_t n;
    struct cell cell[]; /* n * CLASSES */
};

struct pag_timing *pag_timing_new(const char *listener, const struct pag_http_route *routes, size_t n)
{
    struct pag_timing *t = calloc(1, sizeof *t + n * CLASSES * sizeof t->cell[0]);
    if (t != NULL) {
        t->listener = listener;
        t->routes = routes;
        t->n = n;
    }
    return t;
}

void pag_timing_free(struct pag_timing *t)
{
    free(t);
}

void pag_timing_answered(const struct pag_http_request *req, unsigned status, uint64_t us)
{
    const struct pag_api *api = req->listener_ctx;
    size_t at = 0;
    for (size_t i = 0; i < PAG_API_TIMINGS && req->route != NULL; i++) {
        struct pag_timing *t = api->timing[i];
        if (t == NULL || req->route < t->routes || req->route >= t->routes + t->n) {
            continue;
        }
        struct cell *c = &t->cell[(size_t)(req->route - t->routes) * CLASSES + (status / 100 - 1) % CLASSES];
        while (at < BOUNDS && us > bounds[at].us) {
            at++;
        }
        atomic_fetch_add_explicit(&c->bucket[at], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&c->us, us, memory_order_relaxed);
        return;
    }
}

static void put_cell(struct pag_metrics *m, struct pag_metric_label label[5], const struct cell *c)
{
    static const char bucket[] = "pagurus_http_request_duration_seconds_bucket";
    uint64_t sum = 0;
    for (size_t i = 0; i <= BOUNDS; i++) {
        sum += atomic_load_explicit(&c->bucket[i], memory_order_relaxed);
        label[4] = (struct pag_metric_label){ "le", pag_span_str(i < BOUNDS ? bounds[i].text : "+Inf") };
        pag_metrics_put(m, bucket, label, 5, sum);
    }
    pag_metrics_put_micro(m, "pagurus_http_request_duration_seconds_sum", label, 4,
                          atomic_load_explicit(&c->us, memory_order_relaxed));
    pag_metrics_put(m, "pagurus_http_request_duration_seconds_count", label, 4, sum);
}

static bool is_used(const struct cell *c)
{
    for (size_t i = 0; i <= BOUNDS; i++) {
        if (atomic_load_explicit(&c->bucket[i], memory_order_relaxed) > 0) {
            return true;
        }
    }
    return false;
}

static const char *method_of(unsigned methods)
{
    return (methods & PAG_HTTP_GET) != 0      ? "GET"
           : (methods & PAG_HTTP_POST) != 0   ? "POST"
           : (methods & PAG_HTTP_PUT) != 0    ? "PUT"
           : (methods & PAG_HTTP_PATCH) != 0  ? "PATCH"
           : (methods & PAG_HTTP_DELETE) != 0 ? "DELETE"
                                              : "";
}

void pag_timing_put(struct pag_metrics *m, const struct pag_timing *t)
{
    static const char *const classes[CLASSES] = { "1xx", "2xx", "3xx", "4xx", "5xx" };
    for (size_t i = 0; t != NULL && i < t->n * CLASSES; i++) {
        const struct pag_http_route *route = &t->routes[i / CLASSES];
        if (!is_used(&t->cell[i])) {
            continue;
        }
        struct pag_metric_label label[5] = { { "listener", pag_span_str(t->listener) },
                                             { "route", pag_span_str(route->pattern) },
                                             { "method", pag_span_str(method_of(route->methods)) },
                                             { "code", pag_span_str(classes[i % CLASSES]) } };
        put_cell(m, label, &t->cell[i]);
    }
}
