#ifndef PAG_SERVER_API_API_H
#define PAG_SERVER_API_API_H

#include <stdatomic.h>

#include "host/http.h"
#include "host/x509.h"
#include "server/app/app.h"

/*
 * What all protocol heads share: the application, and a view of the process around it (broker, listeners,
 * certificates), which only the daemon knows. One a process; listener_ctx of every pag_http. thread_ctx of
 * every listener is the thread's struct pag_app_thread.
 */

enum { PAG_API_TIMINGS = 3 }; /* console, device, legacy */
enum { PAG_API_LISTENERS_MAX = 6, PAG_API_CERTIFICATES_MAX = 8, PAG_API_WARNINGS_MAX = 8 };

struct pag_api_broker {
    const char *state; /* "running", "starting", "down", "external", "off" */
    int pid;
    uint32_t restarts;
    uint16_t port;
    bool connected; /* our own client */
    char last_error[160];
};

struct pag_api_listener {
    const char *name, *address;
    uint16_t port;
    bool tls;
};

struct pag_api_certificate {
    const char *name; /* "root", "device", "server", "operator", "tls", "service", "device-old" */
    char subject[256];
    char serial[41];      /* hex */
    char fingerprint[65]; /* hex SHA-256 */
    uint64_t not_after;   /* Unix s */
};

struct pag_api_info {
    uint64_t started_unix_ms;
    struct pag_api_broker broker;
    struct pag_api_listener listener[PAG_API_LISTENERS_MAX];
    size_t listener_n;
    struct pag_api_certificate certificate[PAG_API_CERTIFICATES_MAX];
    size_t certificate_n;
    bool root_exported;
    const char *warning[PAG_API_WARNINGS_MAX]; /* sentences; literals */
    size_t warning_n;
    uint64_t crl_number, crl_until_s;
};

/* BUNDLE: every device authority in force, the newest first. */
enum pag_api_file {
    PAG_API_ROOT_PEM,
    PAG_API_DEVICE_PEM,
    PAG_API_DEVICE_BUNDLE,
    PAG_API_SERVER_PEM,
    PAG_API_DEVICE_CRL
};

/* The process around the heads. Any thread; must not block on the network. */
struct pag_api_process {
    void (*info)(void *ctx, struct pag_api_info *out);
    /* Text of a public PEM file, copied into arena. PAG_E_NOT_FOUND. */
    enum pag_err (*file)(void *ctx, enum pag_api_file which, struct pag_arena *arena, struct pag_span *out);
    /* Roll-over (server/roll.h). What they change is in force a moment later. csr: PEM, in arena. */
    enum pag_err (*ca_begin)(void *ctx, enum pag_ca_kind kind, struct pag_arena *arena, struct pag_span *csr,
                             struct pag_fail *why);
    enum pag_err (*ca_take)(void *ctx, enum pag_ca_kind kind, struct pag_span pem, struct pag_fail *why);
    enum pag_err (*ca_retire)(void *ctx, struct pag_fail *why);
};

struct pag_rest_table;
struct pag_buckets;
struct pag_timing;
struct pag_pins;

/* May change while the server runs; 0: no limit, but for transfers. */
struct pag_api_limits {
    atomic_uint requests, requests_burst; /* checks and reports of a device, a second */
    atomic_uint messages, messages_burst; /* status and data messages of a device, a second */
    atomic_ullong text;                   /* bytes of a device's words for its history, an hour */
    atomic_uint transfers;                /* downloads at once */
};

struct pag_api {
    struct pag_app *app;
    struct pag_log *log;
    struct pag_clock clock;
    const char *version;
    const struct pag_api_process *process;
    void *process_ctx;
    uint8_t cursor_key[32];
    /* freshness key, for GET /freshness-key; empty PEM: there is none */
    uint8_t freshness_id[PAG_KEY_ID_BYTES];
    uint8_t freshness_point[PAG_P256_POINT_BYTES];
    const char *freshness_pem;
    struct pag_api_limits limits;
    struct pag_pins *pins;       /* of legacy_http/pins.c; NULL: downloads in pieces are not pinned */
    struct pag_buckets *buckets; /* of server/api/limits.c; NULL: no limits of devices */
    uint64_t body_max;           /* bytes of a request body that is not an image */
    uint64_t image_max;
    const struct pag_http *console, *device, *legacy; /* for /metrics; may be NULL */
    struct pag_rest_table *rest;                      /* of the console listener */
    struct pag_timing *timing[PAG_API_TIMINGS];       /* freed by pag_api_close */
    atomic_uint transfers, transfers_shared;          /* those of clients without a certificate */
    atomic_ullong download_bytes;
    atomic_ullong mqtt_refused; /* hostile or unreadable messages */
    atomic_ullong limited;      /* what devices asked beyond their limits */
};

/* A call on behalf of nobody in particular: thread, arena and clock are set, the rest is zero. */
struct pag_call pag_api_call(const struct pag_http_request *req);

static inline struct pag_api *pag_api_of(const struct pag_http_request *req)
{
    return req->listener_ctx;
}

/* Listener descriptions. The caller fills limits, tls and log, then pag_http_new. PAG_E_NO_MEMORY. */
enum pag_err pag_api_console_listener(struct pag_api *api, struct pag_http_config *config);
void pag_api_device_listener(struct pag_api *api, struct pag_http_config *config);
void pag_api_legacy_listener(struct pag_api *api, struct pag_http_config *config);
void pag_api_close(struct pag_api *api); /* after the listeners */

#endif
