#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): pthread_setname_np */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/fs.h"
#include "server/app/dialect.h"
#include "server/app/releases.h"
#include "server/app/report.h"
#include "server/daemon.h"

enum {
    BROKER_WAIT_MS = 1500,
    PORT_TRIES = 15,
    PORT_PAUSE_MS = 200,
    CALL_ARENA = 16 << 20,
    DIALECT_TOPICS = 4,
    TOPICS_MAX = 3 * PAG_TEMPLATES_MAX + DIALECT_TOPICS
};

struct pag_call pag_daemon_call(struct pag_daemon *d, struct pag_arena *arena)
{
    return (struct pag_call){ .thread = d->loop_thread,
                              .arena = arena,
                              .scope = { .actor = "system", .role = PAG_ROLE_ADMIN } };
}

/* ---- topics of products ---- */

static size_t topic_add(struct pag_broker_topic *out, size_t used, const char *pattern,
                        enum pag_broker_access access)
{
    for (size_t i = 0; i < used; i++) {
        if (out[i].access == access && strcmp(out[i].pattern, pattern) == 0) {
            return used;
        }
    }
    if (pattern[0] == '\0') {
        return used;
    }
    out[used] = (struct pag_broker_topic){ pattern, access };
    return used + 1;
}

static size_t topics_of(const struct pag_product *list, size_t n, struct pag_broker_topic *out)
{
    size_t used = 0;
    for (size_t i = 0; i < n && used + 3 + DIALECT_TOPICS <= TOPICS_MAX; i++) {
        const struct pag_product_settings *s = &list[i].settings;
        used = topic_add(out, used, s->topic_command, PAG_BROKER_READ);
        used = topic_add(out, used, s->topic_status, PAG_BROKER_WRITE);
        used = topic_add(out, used, s->topic_will, PAG_BROKER_WRITE);
    }
    return used;
}

static size_t topics_of_dialect(struct pag_call *call, struct pag_broker_topic *out, size_t used)
{
    const struct pag_dialect_topic *list = NULL;
    bool spoken = false;
    size_t n = pag_dialect_topics(PAG_DIALECT_SECUREESP, &list);
    if (pag_app_dialect_used(call, PAG_DIALECT_SECUREESP, &spoken) != PAG_OK || !spoken) {
        return used;
    }
    for (size_t i = 0; i < n; i++) {
        used = topic_add(out, used, list[i].pattern,
                         list[i].device_reads ? PAG_BROKER_COMMAND : PAG_BROKER_WRITE);
    }
    return used;
}

static void on_products(void *ctx)
{
    struct pag_daemon *d = ctx;
    struct pag_product *list = NULL;
    char text[256] = "";
    size_t n = 0;
    if (d->broker == NULL) {
        return;
    }
    struct pag_arena *arena = pag_arena_open(d->pool, CALL_ARENA);
    struct pag_call call = pag_daemon_call(d, arena);
    struct pag_broker_topic *topic =
        arena != NULL ? pag_arena_alloc(arena, TOPICS_MAX * sizeof *topic) : NULL;
    enum pag_err err = topic != NULL ? pag_app_products(&call, &list, &n) : PAG_E_NO_MEMORY;
    if (err == PAG_OK) {
        size_t used = topics_of_dialect(&call, topic, topics_of(list, n, topic));
        err = pag_broker_set_topics(d->broker, topic, used, text);
        err = err == PAG_OK ? pag_daemon_users(d, &call) : err;
    }
    if (err != PAG_OK) {
        pag_log_error(d->log, "broker.topics_not_set", PAG_F_STR("error", pag_err_word(err)),
                      PAG_F_STR("why", text));
    }
    pag_arena_close(arena);
}

/* ---- the managed broker ---- */

static bool plugin_in(const char *folder, char out[320])
{
    (void)snprintf(out, 320, "%s/pagurus_mosquitto.so", folder);
    return pag_fs_exists(out);
}

/* Beside the program, then where packages put it. */
static bool find_plugin(char out[320])
{
    char exe[256];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash != NULL) {
        *slash = '\0';
        if (plugin_in(exe, out)) {
            return true;
        }
    }
    return plugin_in("/usr/lib/pagurus", out) || plugin_in("/usr/local/lib/pagurus", out);
}

/* What can be known before the broker is started. The broker of a server that was killed may need a moment to
 * end: a taken port is looked at for some seconds. */
static int broker_can_start(const struct pag_daemon *d)
{
    char text[200] = "";
    struct stat st;
    const struct timespec pause = { .tv_nsec = PORT_PAUSE_MS * 1000000L };
    const char *program = d->config.mqtt.mosquitto;
    if (stat(program, &st) != 0 || !S_ISREG(st.st_mode) || access(program, X_OK) != 0) {
        return pag_say_error(PAG_EXIT_USAGE,
                             "Install it (Debian: apt install mosquitto), or say where it is: --set "
                             "mqtt.mosquitto=<path>, or serve without MQTT: --set mqtt.mode=off",
                             "mqtt: the broker's program cannot be run: %s", program);
    }
    enum pag_err err = PAG_OK;
    for (int i = 0; i < PORT_TRIES; i++) {
        err = pag_network_port_free("mqtt", d->config.mqtt.address, d->config.mqtt.port, text);
        if (err != PAG_E_EXISTS) {
            break;
        }
        (void)nanosleep(&pause, NULL);
    }
    if (err == PAG_E_EXISTS) {
        return pag_say_error(PAG_EXIT_CONFLICT,
                             "End the other program, or choose a port: --set mqtt.port=<number>. On Debian "
                             "'mosquitto' is a service of its own: systemctl disable --now mosquitto",
                             "%s", text);
    }
    return err == PAG_OK ? 0 : pag_say_error(PAG_EXIT_FAILED, NULL, "%s", text);
}

/* One that ended at its first start will hardly do better later; one that is only slow will come. */
static int broker_start(struct pag_daemon *d)
{
    struct pag_broker_status status;
    enum pag_err err = pag_broker_start(d->broker, BROKER_WAIT_MS);
    if (err == PAG_OK) {
        return 0;
    }
    pag_broker_status_get(d->broker, &status);
    if (status.restarts > 0) {
        return pag_say_error(PAG_EXIT_FAILED, "Mend that, or serve without MQTT: --set mqtt.mode=off",
                             "mqtt: the broker does not start: %s", status.last_error);
    }
    pag_log_warn(d->log, "broker.not_yet", PAG_F_STR("error", pag_err_word(err)));
    return 0;
}

/* Switched on by their owner; what that means is said at each start. */
static void say_risks(const struct pag_daemon *d)
{
    if (d->config.mqtt.password) {
        pag_log_warn(d->log, "broker.password_listener",
                     PAG_F_STR("risk",
                               "whoever learns a password is that device until it is changed; a device "
                               "that does not check our certificate gives it to anybody"));
    }
    if (d->config.mqtt.plain) {
        pag_log_warn(d->log, "broker.plain_listener",
                     PAG_F_STR("risk",
                               "passwords, readings and commands pass in the clear: who can reach this "
                               "network can read them, change them and update these devices"));
    }
}

static int broker_up(struct pag_daemon *d)
{
    char plugin[320];
    char text[256] = "";
    struct pag_fail why = { .code = PAG_OK };
    const char *configured = d->config.mqtt.plugin;
    int able = broker_can_start(d);
    if (able != 0) {
        return able;
    }
    const struct pag_broker_config config = {
        .dir = d->paths.broker_dir,
        .mosquitto = d->config.mqtt.mosquitto,
        .plugin = configured[0] != '\0' ? configured
                  : find_plugin(plugin) ? plugin
                                        : NULL,
        .address = d->config.mqtt.address,
        .port = d->config.mqtt.port,
        .password = d->config.mqtt.password,
        .password_port = d->config.mqtt.password_port,
        .plain = d->config.mqtt.plain,
        .plain_port = d->config.mqtt.plain_port,
        .plain_address = d->config.mqtt.plain_address,
        .max_connections = d->config.mqtt.max_connections,
        .max_packet = d->config.mqtt.max_packet,
        .max_keepalive_s = d->config.mqtt.max_keepalive_s,
        .max_queued = d->config.mqtt.max_queued,
        .session_s = d->config.mqtt.session_s,
        .anchor_file = d->paths.device_anchor,
        .cert_file = d->paths.server_pem,
        .key_file = d->paths.server_key,
        .device_ca = d->device_ca,
        .old_ca = d->old_ca,
        .crl_s = d->config.certificates.crl_s,
        .crl_every_s = d->config.certificates.crl_every_s,
        .clock = d->clock,
        .log = d->log,
    };
    enum pag_err err = pag_broker_new(&config, &d->broker, text, &why);
    if (err != PAG_OK) {
        return pag_say_error(PAG_EXIT_USAGE, "Or serve without MQTT: --set mqtt.mode=off", "mqtt: %s",
                             text[0] != '\0' ? text : pag_err_word(err));
    }
    say_risks(d);
    on_products(d);
    int code = pag_daemon_keep_first(d);
    return code != 0 ? code : broker_start(d);
}

static const char *loopback_of(const char *address)
{
    if (strcmp(address, "0.0.0.0") == 0 || address[0] == '\0') {
        return "127.0.0.1";
    }
    return strcmp(address, "::") == 0 ? "::1" : address;
}

/* What the configuration leaves out is this installation's. */
static const char *or_own(const char *configured, const char *own)
{
    return configured[0] != '\0' ? configured : own;
}

static int client_up(struct pag_daemon *d)
{
    struct pag_broker_status status = { .port = 0 };
    struct pag_fail why = { .code = PAG_OK };
    bool managed = d->broker != NULL;
    struct pag_mqtt_head_config config = {
        .api = &d->api,
        .loop = d->loop,
        .thread = d->loop_thread,
        .client = { .host = managed ? loopback_of(d->config.mqtt.address) : d->config.mqtt.host,
                    .port = d->config.mqtt.port,
                    .client_id = "svc-pagurusd",
                    .ca_file =
                        managed ? d->paths.root_pem : or_own(d->config.mqtt.ca_file, d->paths.root_pem),
                    .cert_file =
                        managed ? d->paths.svc_pem : or_own(d->config.mqtt.cert_file, d->paths.svc_pem),
                    .key_file =
                        managed ? d->paths.svc_key : or_own(d->config.mqtt.key_file, d->paths.svc_key),
                    .skip_name = managed,
                    .log = d->log },
        .on_products = on_products,
        .ctx = d,
    };
    if (managed) {
        pag_broker_status_get(d->broker, &status);
        pag_app_mqtt_port(d->app, status.port);
    }
    enum pag_err err = pag_mqtt_head_new(&config, &d->mqtt, &why);
    if (err == PAG_OK) {
        err = pag_mqtt_head_start(d->mqtt, status.port);
    }
    return err == PAG_OK ? 0
                         : pag_say_error(PAG_EXIT_FAILED, NULL, "mqtt: %s",
                                         why.what != NULL ? why.what : pag_err_word(err));
}

/* ---- the loop ---- */

static void *loop_main(void *arg)
{
    struct pag_daemon *d = arg;
    (void)pag_loop_run(d->loop);
    return NULL;
}

int pag_daemon_mqtt_up(struct pag_daemon *d)
{
    d->loop = pag_loop_new(d->clock);
    d->pool = pag_arena_pool_new((size_t)1 << 20);
    if (d->loop == NULL || d->pool == NULL ||
        pag_app_thread_new(d->app, d->loop, &d->loop_thread, NULL) != PAG_OK) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "no memory");
    }
    int code = d->config.mqtt.mode == PAG_MQTT_MANAGED ? broker_up(d) : pag_daemon_keep_first(d);
    if (code == 0) {
        pag_app_presence_unknown(d->loop_thread); /* of the run before; before we subscribe */
    }
    if (code == 0 && d->config.mqtt.mode != PAG_MQTT_OFF) {
        code = client_up(d);
    }
    if (code == 0) {
        code = pag_daemon_keep_start(d);
    }
    if (code != 0) {
        return code;
    }
    if (pthread_create(&d->loop_id, NULL, loop_main, d) != 0) {
        return pag_say_error(PAG_EXIT_FAILED, NULL, "no memory for a thread");
    }
    (void)pthread_setname_np(d->loop_id, "events");
    d->loop_runs = true;
    return 0;
}

void pag_daemon_mqtt_stop(struct pag_daemon *d)
{
    if (d->loop_runs) {
        pag_loop_stop(d->loop);
        (void)pthread_join(d->loop_id, NULL);
        d->loop_runs = false;
    }
    pag_daemon_keep_stop(d);
}

void pag_daemon_mqtt_free(struct pag_daemon *d)
{
    pag_mqtt_head_free(d->mqtt);
    pag_broker_free(d->broker);
}
