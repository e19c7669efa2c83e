#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): O_CLOEXEC */
#include "server/daemon.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/bucket.h"
#include "host/crypto.h"
#include "host/errno_text.h"
#include "host/fs.h"
#include "host/rand.h"
#include "host/seal.h"
#include "host/x509.h"
#include "server/api/legacy_http/pins.h"
#include "server/lock.h"

enum { FILES_WANTED = 65536 };

static const char *what_of(const struct pag_fail *why, enum pag_err err)
{
    return why->what != NULL ? why->what : pag_err_word(err);
}

/* ---- one step each; 0 or the exit code ---- */

static int lock_up(struct pag_daemon *d)
{
    struct pag_fail why = { .code = PAG_OK };
    int holder = 0;
    enum pag_err err = pag_lock_take(d->paths.data, &d->lock_fd, &holder, &why);
    if (err == PAG_E_EXISTS) {
        return pag_say_error(PAG_EXIT_CONFLICT, "End that one first, or use another --data.",
                             "pagurusd (process %d) already uses %s", holder, d->paths.data);
    }
    return err == PAG_OK ? 0
                         : pag_say_error(PAG_EXIT_FAILED, pag_say_room(why.detail), "%s: %s: %s",
                                         d->paths.data, what_of(&why, err), pag_errno_text((int)why.detail));
}

static void raise_file_limit(struct pag_daemon *d)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) {
        return;
    }
    r.rlim_cur = r.rlim_max == RLIM_INFINITY || r.rlim_max > FILES_WANTED ? FILES_WANTED : r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur < 4096) {
        pag_log_warn(d->log, "start.few_files", PAG_F_U64("limit", r.rlim_cur));
    }
}

static int log_up(struct pag_daemon *d)
{
    d->log = pag_log_new(STDERR_FILENO, (enum pag_log_level)d->config.server.log_level,
                         d->config.server.log_format == 1, d->clock);
    if (d->log == NULL) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    }
    raise_file_limit(d);
    return 0;
}

static int keys_up(struct pag_daemon *d)
{
    static const char key_lost[] = "Put it back from a backup (mode 0600): nothing else can take its place.";
    struct pag_fail why = { .code = PAG_OK };
    struct pag_buf pem = { NULL, 0, 0 };
    enum pag_err err = pag_daemon_authorities(d, &d->device_ca, &d->old_ca, &why);
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, key_lost, "%s: %s", d->paths.device_ca_key, what_of(&why, err));
    }
    err = pag_x509_key_load(d->paths.freshness_key, NULL, &d->freshness, &why);
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, key_lost, "%s: %s", d->paths.freshness_key, what_of(&why, err));
    }
    uint8_t spki[PAG_P256_SPKI_BYTES];
    if (pag_crypto_spki(d->freshness, spki) == PAG_OK) {
        pem = (struct pag_buf){ (uint8_t *)d->freshness_pem, 0, sizeof d->freshness_pem - 1 };
        (void)pag_x509_pem_of_der("PUBLIC KEY", pag_span_of(spki, sizeof spki), &pem);
    }
    return 0;
}

static int store_up(struct pag_daemon *d)
{
    struct pag_fail why = { .code = PAG_OK };
    const struct pag_store_config config = {
        .path = d->paths.database,
        .blobs_dir = d->paths.blobs_dir,
        .queue_max = d->config.store.queue,
        .touch_ms = d->config.store.last_seen_s * 1000,
        .clock = d->clock,
        .log = d->log,
    };
    enum pag_err err = pag_fs_mkdirs(d->paths.spool_dir, 0700, &why);
    if (err == PAG_OK) {
        err = pag_store_open(&config, &d->store, &why);
    }
    return err == PAG_OK ? 0 : pag_say_database(d->paths.database, err, &why);
}

void pag_daemon_set_limits(struct pag_daemon *d)
{
    struct pag_api_limits *to = &d->api.limits;
    atomic_store(&to->requests, d->config.limits.device_requests);
    atomic_store(&to->requests_burst, d->config.limits.device_requests_burst);
    atomic_store(&to->messages, d->config.limits.device_messages);
    atomic_store(&to->messages_burst, d->config.limits.device_messages_burst);
    atomic_store(&to->text, d->config.limits.device_text);
    atomic_store(&to->transfers, d->config.limits.transfers);
}

/* The name under which devices find the managed broker. A name that nobody chose is not told, as it may mean
 * something else or nothing elsewhere: a device without one takes the name by which it came here. */
static void broker_name(const struct pag_daemon *d, char out[PAG_CONFIG_NAME_CHARS])
{
    struct pag_config_names mine;
    struct pag_config_names detected = { .n = 0 };
    out[0] = '\0';
    if (pag_init_names(&d->paths, d->config.server.names, &mine) != PAG_OK || mine.n == 0) {
        return;
    }
    pag_config_names_detect(&detected);
    bool told = d->config.server.names[0] != '\0';
    bool chosen = mine.name[0][0] != '*';
    for (size_t i = 0; i < detected.n; i++) {
        chosen = chosen && strcasecmp(detected.name[i], mine.name[0]) != 0;
    }
    if (told || chosen) {
        memcpy(out, mine.name[0], PAG_CONFIG_NAME_CHARS);
    }
}

static int app_up(struct pag_daemon *d)
{
    struct pag_fail why = { .code = PAG_OK };
    char name[PAG_CONFIG_NAME_CHARS];
    broker_name(d, name);
    bool external = d->config.mqtt.mode == PAG_MQTT_EXTERNAL;
    struct pag_app_config config = {
        .store = d->store,
        .clock = d->clock,
        .log = d->log,
        .crypto = pag_crypto_openssl(),
        .device_ca = d->device_ca,
        .device_lifetime_s = d->config.certificates.device_s,
        .freshness_sign = pag_crypto_sign,
        .freshness_ctx = d->freshness,
        .poll_s = d->config.device.poll_s,
        .mqtt_host = external ? d->config.mqtt.host : name,
        .mqtt_port = external ? d->config.mqtt.port : 0,
        .claims_per_minute = d->config.limits.claims_per_minute,
        .unproven_devices = d->config.limits.unproven_devices,
    };
    char seal[320];
    enum pag_err err = pag_crypto_key_id(d->freshness, config.freshness_key);
    err = err == PAG_OK ? pag_fs_join(seal, sizeof seal, d->paths.data, "keys/devices.key") : err;
    err = err == PAG_OK ? pag_seal_key_file(seal, config.seal, &why) : err;
    config.has_seal = err == PAG_OK;
    if (err == PAG_OK) {
        err = pag_app_new(&config, &d->app, &why);
    }
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "start: %s", what_of(&why, err));
    }
    d->api = (struct pag_api){
        .app = d->app,
        .log = d->log,
        .clock = d->clock,
        .version = PAGURUS_VERSION,
        .process = &pag_daemon_process,
        .process_ctx = d,
        .freshness_pem = d->freshness_pem,
        .body_max = d->config.limits.body,
        .image_max = d->config.limits.image,
    };
    d->api.buckets = pag_buckets_new();
    d->api.pins = pag_pins_new();
    if (d->api.buckets == NULL || d->api.pins == NULL) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    }
    pag_daemon_set_limits(d);
    memcpy(d->api.freshness_id, config.freshness_key, sizeof d->api.freshness_id);
    (void)pag_crypto_point(d->freshness, d->api.freshness_point);
    pag_rand_bytes(d->api.cursor_key, sizeof d->api.cursor_key);
    return 0;
}

static int say_tls(const struct pag_daemon *d, const char *what)
{
    const char *file = strncmp(what, "TLS key", 7) == 0 ? d->paths.server_key : d->paths.server_pem;
    char next[400];
    if (strstr(what, "open to others") != NULL) {
        (void)snprintf(next, sizeof next, "chmod 600 %s", file);
    } else {
        (void)snprintf(next, sizeof next,
                       "Put it back, or make a new pair: pagurusd renew-server-cert --data %s",
                       d->paths.data);
    }
    return pag_say_error(PAG_EXIT_FAILED, next, "%s: %s", file, what);
}

static int tls_up(struct pag_daemon *d)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_tls_config console = {
        .cert_file = d->paths.server_pem,
        .key_file = d->paths.server_key,
        .rsa_cert_file = d->paths.server_rsa_pem,
        .rsa_key_file = d->paths.server_rsa_key,
        .id_context = "console",
        .session_cache = 1024,
        .session_timeout_s = 3600,
    };
    struct pag_tls_config device = console;
    device.id_context = "device";
    device.client_ca_file = d->paths.device_anchor;
    device.record_bytes = d->config.device.record_bytes;
    device.session_cache = d->config.device.session_cache;
    device.session_timeout_s = d->config.device.session_s;
    device.admit = pag_app_admit;
    device.admit_ctx = d->app;
    enum pag_err err = pag_tls_new(&console, &d->console_tls, &why);
    if (err == PAG_OK) {
        err = pag_tls_new(&device, &d->device_tls, &why);
    }
    return err == PAG_OK ? 0 : say_tls(d, what_of(&why, err));
}

static void limits_of(const struct pag_daemon *d, struct pag_http_config *c)
{
    c->spool_dir = d->paths.spool_dir;
    c->log = d->log;
    c->header_ms = d->config.limits.header_s * 1000;
    c->handshake_ms = d->config.limits.handshake_s * 1000;
    c->idle_ms = d->config.limits.idle_s * 1000;
    c->write_ms = d->config.limits.write_s * 1000;
    c->body_rate = d->config.limits.body_rate;
    c->connections_max = d->config.limits.connections;
    c->per_address_max = d->config.limits.per_address;
}

static int http_up(struct pag_daemon *d)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_http_config console = { .tls = d->console_tls };
    struct pag_http_config device = { .tls = d->device_tls };
    struct pag_http_config legacy = { .tls = NULL };
    limits_of(d, &console);
    limits_of(d, &device);
    limits_of(d, &legacy);
    enum pag_err err = pag_api_console_listener(&d->api, &console);
    pag_api_device_listener(&d->api, &device);
    pag_api_legacy_listener(&d->api, &legacy);
    if (err == PAG_OK) {
        err = pag_http_new(&console, &d->console, &why);
    }
    if (err == PAG_OK) {
        err = pag_http_new(&device, &d->device, &why);
    }
    if (err == PAG_OK && d->config.legacy.enabled) {
        err = pag_http_new(&legacy, &d->legacy, &why);
    }
    d->api.console = d->console;
    d->api.device = d->device;
    d->api.legacy = d->legacy;
    return err == PAG_OK ? 0 : pag_say_error(PAG_EXIT_FAILED, NULL, "start: %s", what_of(&why, err));
}

static enum pag_err thread_up(void *ctx, uint32_t index, struct pag_loop *loop, void **thread_ctx)
{
    struct pag_daemon *d = ctx;
    enum pag_err err = pag_app_thread_new(d->app, loop, &d->net_thread[index], NULL);
    *thread_ctx = d->net_thread[index];
    return err;
}

static int network_up(struct pag_daemon *d)
{
    char text[200];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t threads = d->config.server.threads > 0 ? d->config.server.threads
                       : cores > 0                  ? (uint32_t)cores
                                                    : 1;
    const struct pag_network_listener listener[] = {
        { "console", d->console, d->config.console.address, d->config.console.port },
        { "device", d->device, d->config.device.address, d->config.device.port },
        { "legacy", d->legacy, d->config.legacy.address, d->config.legacy.port },
    };
    const struct pag_network_config config = {
        .threads = threads < PAG_NETWORK_THREADS_MAX ? threads : PAG_NETWORK_THREADS_MAX,
        .listener = listener,
        .listener_n = d->legacy != NULL ? 3 : 2,
        .thread_up = thread_up,
        .thread_up_ctx = d,
        .clock = d->clock,
        .log = d->log,
    };
    enum pag_err err = pag_network_new(&config, &d->network, text);
    if (err == PAG_E_EXISTS) {
        return pag_say_error(PAG_EXIT_CONFLICT,
                             "End the other program, or choose a port: --set <listener>.port=<number>", "%s",
                             text);
    }
    return err == PAG_OK
               ? 0
               : pag_say_error(PAG_EXIT_FAILED, NULL, "%s", text[0] != '\0' ? text : pag_err_word(err));
}

static int serve_up(struct pag_daemon *d)
{
    struct pag_broker_status broker = { .port = 0 };
    struct pag_fail why = { .code = PAG_OK };
    if (d->broker != NULL) {
        pag_broker_status_get(d->broker, &broker);
    }
    const struct pag_ports ports = {
        .console = pag_network_port(d->network, 0),
        .device = pag_network_port(d->network, 1),
        .legacy = d->legacy != NULL ? pag_network_port(d->network, 2) : 0,
        .mqtt = d->config.mqtt.mode == PAG_MQTT_EXTERNAL ? d->config.mqtt.port : broker.port,
        .mqtt_password = broker.password_port,
        .mqtt_plain = broker.plain_port,
    };
    enum pag_err err = pag_network_run(d->network);
    if (err == PAG_OK) {
        err = pag_ports_write(d->paths.data, &ports, &why);
    }
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "start: %s", what_of(&why, err));
    }
    pag_log_info(d->log, "start.ready", PAG_F_STR("version", PAGURUS_VERSION),
                 PAG_F_STR("data", d->paths.data), PAG_F_U64("console", ports.console),
                 PAG_F_U64("device", ports.device), PAG_F_U64("legacy", ports.legacy),
                 PAG_F_U64("mqtt", ports.mqtt), PAG_F_U64("threads", pag_network_threads(d->network)),
                 PAG_F_U64("ms", d->clock.now_unix_ms(d->clock.ctx) - d->started_unix_ms));
    return 0;
}

int pag_daemon_up(struct pag_daemon *d)
{
    static int (*const steps[])(struct pag_daemon * d) = {
        lock_up, log_up, keys_up, store_up, app_up, tls_up, http_up, network_up, pag_daemon_mqtt_up, serve_up
    };
    d->clock = pag_clock_system();
    d->started_unix_ms = d->clock.now_unix_ms(d->clock.ctx);
    d->lock_fd = -1;
    (void)pthread_mutex_init(&d->certificate_lock, NULL);
    (void)pthread_mutex_init(&d->roll_lock, NULL);
    int code = pag_program_load_installed(&d->args, &d->config, &d->paths);
    if (code == 0) {
        pag_daemon_read_certificates(d);
    }
    for (size_t i = 0; code == 0 && i < sizeof steps / sizeof steps[0]; i++) {
        code = steps[i](d);
    }
    return code;
}

/* ---- down ---- */

static enum pag_err nothing(struct pag_store_tx *tx, struct pag_intent *intent)
{
    (void)tx;
    (void)intent;
    return PAG_OK;
}

static enum pag_err no_work(struct pag_work *work)
{
    (void)work;
    return PAG_OK;
}

static void work_done(struct pag_work *work, enum pag_err err)
{
    (void)err;
    atomic_store((atomic_bool *)work->ctx, true);
}

/* What was submitted before is done when this returns: queues are in order. Its memory may go then. */
static void drain(struct pag_store *store)
{
    const struct timespec pause = { .tv_nsec = 5000000 };
    atomic_bool over = false;
    struct pag_work work = { .run = no_work, .done = work_done, .ctx = &over };
    struct pag_intent intent = { .apply = nothing };
    if (store == NULL) {
        return;
    }
    if (pag_store_work(store, &work) == PAG_OK) {
        while (!atomic_load(&over)) {
            (void)nanosleep(&pause, NULL);
        }
    }
    (void)pag_store_apply(store, &intent);
}

/* Threads first, then what they were writing, then the memory they used; loops last, as all else points
 * there. */
void pag_daemon_down(struct pag_daemon *d, uint32_t finish_ms)
{
    pag_network_stop(d->network, finish_ms);
    pag_daemon_mqtt_stop(d);
    drain(d->store);
    pag_daemon_mqtt_free(d);
    pag_http_free(d->console);
    pag_http_free(d->device);
    pag_http_free(d->legacy);
    pag_api_close(&d->api);
    pag_buckets_free(d->api.buckets);
    pag_pins_free(d->api.pins);
    pag_tls_free(d->console_tls);
    pag_tls_free(d->device_tls);
    for (size_t i = 0; i < PAG_NETWORK_THREADS_MAX; i++) {
        pag_app_thread_free(d->net_thread[i]);
    }
    pag_app_thread_free(d->loop_thread);
    pag_app_free(d->app);
    pag_store_close(d->store);
    pag_network_free(d->network);
    pag_loop_free(d->loop);
    pag_arena_pool_free(d->pool);
    EVP_PKEY_free(d->freshness);
    pag_ca_free(d->device_ca);
    pag_ca_free(d->old_ca);
    for (size_t i = 0; i < d->past_ca_n; i++) {
        pag_ca_free(d->past_ca[i]);
    }
    pag_log_info(d->log, "stop.done", PAG_F_STR("data", d->paths.data));
    pag_log_free(d->log);
    if (d->lock_fd >= 0) {
        (void)pag_fs_remove(d->paths.ports_json, NULL);
        pag_lock_drop(d->paths.data, d->lock_fd);
    }
}
