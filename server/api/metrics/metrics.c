#include "server/api/metrics/metrics.h"

#include <stdio.h>
#include <unistd.h>

#include "core/bytes.h"
#include "server/api/metrics/timing.h"
#include "server/api/metrics/writer.h"
#include "server/app/admin.h"
#include "server/app/releases.h"
#include "server/domain/device.h"

enum { TEXT_MAX = 1024 * 1024, PRODUCTS_MAX = 100, VERSIONS_MAX = 20 };

static void counter(struct pag_metrics *m, const char *name, const char *help, uint64_t value)
{
    pag_metrics_family(m, name, "counter", help);
    pag_metrics_put(m, name, NULL, 0, value);
}

static void gauge(struct pag_metrics *m, const char *name, const char *help, uint64_t value)
{
    pag_metrics_family(m, name, "gauge", help);
    pag_metrics_put(m, name, NULL, 0, value);
}

static void put_states(struct pag_metrics *m, const char *product, const uint32_t by_state[16])
{
    for (int i = 0; i < PAG_DEVICE_STATES; i++) {
        const char *state = pag_device_state_word((enum pag_device_state)i);
        const struct pag_metric_label label[] = { { "product", pag_span_str(product) },
                                                  { "state", pag_span_str(state) } };
        pag_metrics_put(m, "pagurus_devices", label, 2, by_state[i]);
    }
}

static void put_devices(struct pag_metrics *m, struct pag_call *call, const struct pag_summary *s)
{
    struct pag_product *list = NULL;
    size_t n = 0;
    pag_metrics_family(m, "pagurus_devices", "gauge", "Devices by product and state.");
    enum pag_err err = pag_app_products(call, &list, &n);
    for (size_t i = 0; err == PAG_OK && i < n && i < PRODUCTS_MAX; i++) {
        uint32_t by_state[16] = { 0 };
        if (pag_app_device_states(call, list[i].id, by_state) == PAG_OK) {
            put_states(m, list[i].name, by_state);
        }
    }
    gauge(m, "pagurus_devices_online", "Devices with a live session at the broker.", s->online);
    pag_metrics_family(m, "pagurus_devices_by_version", "gauge",
                       "Devices by running version, the largest groups.");
    uint64_t other = 0;
    for (size_t i = 0; i < s->version_n; i++) {
        if (i >= VERSIONS_MAX) {
            other += s->version[i].count;
            continue;
        }
        const struct pag_metric_label label[] = { { "product", pag_span_str(s->version[i].product) },
                                                  { "version", pag_span_str(s->version[i].version) } };
        pag_metrics_put(m, "pagurus_devices_by_version", label, 2, s->version[i].count);
    }
    if (other > 0) {
        const struct pag_metric_label label[] = { { "product", pag_span_str("other") },
                                                  { "version", pag_span_str("other") } };
        pag_metrics_put(m, "pagurus_devices_by_version", label, 2, other);
    }
}

static void put_app(struct pag_metrics *m, const struct pag_app_counters *c)
{
    const struct {
        const char *result;
        uint64_t value;
    } updates[] = { { "offered", c->offers },
                    { "confirmed", c->confirmed },
                    { "failed", c->failed },
                    { "reverted", c->reverted },
                    { "blocked", c->blocked } };
    pag_metrics_family(m, "pagurus_updates_total", "counter", "Updates by result.");
    for (size_t i = 0; i < sizeof updates / sizeof updates[0]; i++) {
        const struct pag_metric_label label = { "result", pag_span_str(updates[i].result) };
        pag_metrics_put(m, "pagurus_updates_total", &label, 1, updates[i].value);
    }
    counter(m, "pagurus_check_ins_total", "Polls of devices.", c->check_ins);
    counter(m, "pagurus_reports_total", "Reports of devices.", c->reports);
    counter(m, "pagurus_enrolled_total", "Devices enrolled.", c->enrolled);
    counter(m, "pagurus_commands_total", "Commands queued.", c->commands);
    counter(m, "pagurus_mqtt_status_total", "Status messages taken.", c->status);
    counter(m, "pagurus_mqtt_data_total", "Data messages taken.", c->data);
    counter(m, "pagurus_store_commits_total", "Transactions committed.", c->commits);
    counter(m, "pagurus_store_intents_total", "Changes committed.", c->intents);
    counter(m, "pagurus_store_busy_total", "Changes refused because the queue was full.", c->busy);
    gauge(m, "pagurus_store_queue", "Changes waiting.", c->queue);
    pag_metrics_family(m, "pagurus_store_commit_max_seconds", "gauge", "Longest commit since start.");
    pag_metrics_put_milli(m, "pagurus_store_commit_max_seconds", c->commit_ms_max);
}

static void put_http(struct pag_metrics *m, const struct pag_api *api)
{
    static const char *const classes[] = { NULL, "1xx", "2xx", "3xx", "4xx", "5xx" };
    const struct {
        const char *name;
        const struct pag_http *http;
    } listeners[] = { { "console", api->console }, { "device", api->device }, { "legacy", api->legacy } };
    pag_metrics_family(m, "pagurus_http_requests_total", "counter",
                       "Requests by listener and class of status.");
    for (size_t i = 0; i < 3; i++) {
        if (listeners[i].http == NULL) {
            continue;
        }
        struct pag_http_stats s = pag_http_stats_get(listeners[i].http);
        for (size_t k = 2; k < 6; k++) {
            const struct pag_metric_label label[] = { { "listener", pag_span_str(listeners[i].name) },
                                                      { "code", pag_span_str(classes[k]) } };
            pag_metrics_put(m, "pagurus_http_requests_total", label, 2, s.status_class[k]);
        }
    }
    pag_metrics_family(m, "pagurus_http_connections", "gauge", "Open connections.");
    for (size_t i = 0; i < 3; i++) {
        if (listeners[i].http != NULL) {
            const struct pag_metric_label label = { "listener", pag_span_str(listeners[i].name) };
            pag_metrics_put(m, "pagurus_http_connections", &label, 1,
                            pag_http_stats_get(listeners[i].http).open);
        }
    }
}

static void put_info(struct pag_metrics *m, const struct pag_api_info *info)
{
    gauge(m, "pagurus_mqtt_connected", "1 while our own client is connected to the broker.",
          info->broker.connected);
    counter(m, "pagurus_broker_restarts_total", "Restarts of the broker since start.", info->broker.restarts);
    pag_metrics_family(m, "pagurus_certificate_expiry_timestamp_seconds", "gauge", "End of validity.");
    for (size_t i = 0; i < info->certificate_n; i++) {
        const struct pag_metric_label label = { "name", pag_span_str(info->certificate[i].name) };
        pag_metrics_put(m, "pagurus_certificate_expiry_timestamp_seconds", &label, 1,
                        info->certificate[i].not_after);
    }
    pag_metrics_family(m, "process_start_time_seconds", "gauge", "Start of the process.");
    pag_metrics_put_milli(m, "process_start_time_seconds", info->started_unix_ms);
}

/* Second number of /proc/self/statm: resident pages. */
static void put_memory(struct pag_metrics *m)
{
    char text[96] = { 0 };
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) {
        return;
    }
    size_t n = fread(text, 1, sizeof text - 1, f);
    (void)fclose(f);
    struct pag_span s = pag_span_of(text, n);
    size_t from = pag_span_find(s, 0, ' ') + 1;
    size_t end = pag_span_find(s, from, ' ');
    uint64_t pages = 0;
    if (from < end && pag_parse_u64((struct pag_span){ s.p + from, end - from }, &pages) == PAG_OK) {
        gauge(m, "process_resident_memory_bytes", "Resident memory.",
              pages * (uint64_t)sysconf(_SC_PAGESIZE));
    }
}

enum pag_err pag_metrics_text(struct pag_api *api, struct pag_call *call, struct pag_span *out)
{
    struct pag_summary summary = { .store_path = "" };
    struct pag_api_info info = { .started_unix_ms = 0 };
    struct pag_app_counters counters = pag_app_counters_get(api->app);
    enum pag_err err = pag_app_summary(call, &summary);
    if (err != PAG_OK) {
        return err;
    }
    struct pag_metrics m = { .out = { pag_arena_alloc(call->arena, TEXT_MAX), 0, TEXT_MAX } };
    if (m.out.p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    api->process->info(api->process_ctx, &info);
    const struct pag_metric_label version = { "version", pag_span_str(api->version) };
    pag_metrics_family(&m, "pagurus_build_info", "gauge", "Version of the server.");
    pag_metrics_put(&m, "pagurus_build_info", &version, 1, 1);
    put_devices(&m, call, &summary);
    put_app(&m, &counters);
    gauge(&m, "pagurus_db_size_bytes", "Size of the database file.", summary.store_bytes);
    counter(&m, "pagurus_download_bytes_total", "Image bytes sent to devices.",
            atomic_load(&api->download_bytes));
    counter(&m, "pagurus_mqtt_refused_total", "Messages that could not be read.",
            atomic_load(&api->mqtt_refused));
    counter(&m, "pagurus_limited_total", "What devices asked beyond their limits, refused or dropped.",
            atomic_load(&api->limited));
    gauge(&m, "pagurus_downloads", "Image downloads at this moment.", atomic_load(&api->transfers));
    put_http(&m, api);
    pag_metrics_family(&m, "pagurus_http_request_duration_seconds", "histogram",
                       "From the end of a request's head to the begin of its answer.");
    for (size_t i = 0; i < PAG_API_TIMINGS; i++) {
        pag_timing_put(&m, api->timing[i]);
    }
    put_info(&m, &info);
    put_memory(&m);
    if (m.err == PAG_OK) {
        *out = pag_buf_span(&m.out);
    }
    return m.err;
}
