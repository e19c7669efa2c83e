#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): strerrordesc_np */
#include "host/mqtt.h"

#include <errno.h>
#include <mosquitto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host/rand.h"

enum {
    LOOP_MS = 500,
    BACKOFF_FIRST_MS = 1000,
    BACKOFF_MAX_MS = 30000,
    KEEPALIVE_S = 30,
    FILTERS_MAX = 128,
    PAYLOAD_MAX = 262144,
    PENDING_MAX = 20000, /* messages handed over and not yet sent (QoS 0) or acknowledged (QoS 1) */
};

struct pag_mqtt {
    struct mosquitto *mosq;
    char *host;
    uint16_t port;
    int keepalive_s;
    char *filters[FILTERS_MAX];
    size_t filters_n;
    struct pag_log *log;
    void (*on_message)(void *ctx, const struct pag_mqtt_message *message);
    void (*on_state)(void *ctx, enum pag_mqtt_state state, const char *why);
    void (*on_acknowledged)(void *ctx, uint16_t id);
    void *ctx;

    pthread_t thread;
    bool has_thread;
    atomic_bool stop;

    pthread_mutex_t lock; /* stats, pending; and wakes the back-off */
    pthread_cond_t wake;
    struct pag_mqtt_stats stats;
    uint32_t pending;
};

static void init_library(void)
{
    (void)mosquitto_lib_init();
}

/* ---- state ---- */

static void set_state(struct pag_mqtt *m, enum pag_mqtt_state state, const char *why)
{
    (void)pthread_mutex_lock(&m->lock);
    bool changed = m->stats.state != state;
    bool was_up = m->stats.state == PAG_MQTT_UP;
    m->stats.state = state;
    m->stats.connects += state == PAG_MQTT_UP && changed ? 1 : 0;
    m->stats.disconnects += was_up && changed ? 1 : 0;
    if (state == PAG_MQTT_UP) {
        m->pending = 0; /* what the last connection had not sent is not waited for */
    }
    if (why[0] != '\0') {
        (void)snprintf(m->stats.last_error, sizeof m->stats.last_error, "%s", why);
    }
    (void)pthread_mutex_unlock(&m->lock);
    if (!changed) {
        return;
    }
    if (state == PAG_MQTT_UP) {
        pag_log_info(m->log, "mqtt.up", PAG_F_STR("host", m->host), PAG_F_U64("port", m->port));
    } else if (state == PAG_MQTT_DOWN && !atomic_load(&m->stop)) {
        pag_log_warn(m->log, "mqtt.down", PAG_F_STR("why", why));
    }
    if (m->on_state != NULL) {
        m->on_state(m->ctx, state, why);
    }
}

/* number: errno as it was when the call returned. */
static const char *reason(int rc, int number)
{
    if (rc != MOSQ_ERR_ERRNO) {
        return mosquitto_strerror(rc);
    }
    const char *text = strerrordesc_np(number);
    return text == NULL ? "system error" : text;
}

/* ---- called by libmosquitto on our thread ---- */

static void connected(struct mosquitto *mosq, void *ctx, int rc)
{
    struct pag_mqtt *m = ctx;
    if (rc != 0) {
        set_state(m, PAG_MQTT_DOWN, mosquitto_connack_string(rc));
        return;
    }
    for (size_t i = 0; i < m->filters_n; i++) {
        (void)mosquitto_subscribe(mosq, NULL, m->filters[i], 1);
    }
    set_state(m, PAG_MQTT_UP, "");
}

static void arrived(struct mosquitto *mosq, void *ctx, const struct mosquitto_message *message)
{
    struct pag_mqtt *m = ctx;
    (void)mosq;
    size_t n = message->payloadlen > 0 ? (size_t)message->payloadlen : 0;
    (void)pthread_mutex_lock(&m->lock);
    m->stats.received++;
    m->stats.received_bytes += n;
    (void)pthread_mutex_unlock(&m->lock);
    if (m->on_message != NULL) {
        const struct pag_mqtt_message out = { .topic = message->topic,
                                              .payload = { message->payload, n },
                                              .qos = (uint8_t)message->qos,
                                              .retained = message->retain };
        m->on_message(m->ctx, &out);
    }
}

static void sent(struct mosquitto *mosq, void *ctx, int mid)
{
    struct pag_mqtt *m = ctx;
    (void)mosq;
    (void)pthread_mutex_lock(&m->lock);
    m->stats.acknowledged++;
    m->pending -= m->pending > 0 ? 1 : 0;
    (void)pthread_mutex_unlock(&m->lock);
    if (m->on_acknowledged != NULL) {
        m->on_acknowledged(m->ctx, (uint16_t)mid);
    }
}

/* ---- the thread ---- */

static void pause_for(struct pag_mqtt *m, uint32_t ms)
{
    struct timespec until = { 0, 0 };
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&m->lock);
    int late = 0;
    while (!atomic_load(&m->stop) && late == 0) {
        late = pthread_cond_timedwait(&m->wake, &m->lock, &until);
    }
    (void)pthread_mutex_unlock(&m->lock);
}

/* One connection from start to end. True when it was up in between. */
static bool one_connection(struct pag_mqtt *m)
{
    bool was_up = false;
    set_state(m, PAG_MQTT_CONNECTING, "");
    errno = 0;
    int rc = mosquitto_connect_async(m->mosq, m->host, m->port, m->keepalive_s);
    int number = errno;
    while (rc == MOSQ_ERR_SUCCESS && !atomic_load(&m->stop)) {
        rc = mosquitto_loop(m->mosq, LOOP_MS, 1);
        number = errno;
        (void)pthread_mutex_lock(&m->lock);
        was_up = was_up || m->stats.state == PAG_MQTT_UP;
        (void)pthread_mutex_unlock(&m->lock);
    }
    set_state(m, PAG_MQTT_DOWN, rc == MOSQ_ERR_SUCCESS ? "" : reason(rc, number));
    return was_up;
}

static void *run(void *arg)
{
    struct pag_mqtt *m = arg;
    uint32_t backoff_ms = BACKOFF_FIRST_MS;
    while (!atomic_load(&m->stop)) {
        if (one_connection(m)) {
            backoff_ms = BACKOFF_FIRST_MS;
        }
        /* half fixed, half random: servers that lost one broker do not come back in step */
        pause_for(m, backoff_ms / 2 + pag_rand_below(backoff_ms / 2));
        backoff_ms = backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff_ms * 2;
    }
    (void)mosquitto_disconnect(m->mosq);
    (void)mosquitto_loop(m->mosq, 0, 1);
    return NULL;
}

/* ---- making and ending ---- */

static enum pag_err check_file(const char *path, struct pag_fail *why)
{
    if (path != NULL && access(path, R_OK) != 0) {
        return pag_fail_set(why, PAG_E_CONFIG, "a certificate or key of the MQTT client cannot be read",
                            (uint64_t)errno);
    }
    return PAG_OK;
}

static enum pag_err set_tls(struct pag_mqtt *m, const struct pag_mqtt_config *config, struct pag_fail *why)
{
    enum pag_err err = check_file(config->ca_file, why);
    err = err != PAG_OK ? err : check_file(config->cert_file, why);
    err = err != PAG_OK ? err : check_file(config->key_file, why);
    if (err != PAG_OK || config->ca_file == NULL) {
        return err;
    }
    int rc = mosquitto_tls_set(m->mosq, config->ca_file, NULL, config->cert_file, config->key_file, NULL);
    if (rc == MOSQ_ERR_SUCCESS) {
        rc = mosquitto_tls_insecure_set(m->mosq, config->skip_name);
    }
    return rc == MOSQ_ERR_SUCCESS
               ? PAG_OK
               : pag_fail_set(why, PAG_E_CONFIG, "the MQTT client's TLS settings do not work", (uint64_t)rc);
}

static enum pag_err copy_filters(struct pag_mqtt *m, const char *const *filters, struct pag_fail *why)
{
    for (size_t i = 0; filters != NULL && filters[i] != NULL; i++) {
        if (i == FILTERS_MAX || mosquitto_sub_topic_check(filters[i]) != MOSQ_ERR_SUCCESS) {
            return pag_fail_set(why, PAG_E_CONFIG, "a topic filter is not one, or there are too many", i);
        }
        m->filters[i] = strdup(filters[i]);
        if (m->filters[i] == NULL) {
            return PAG_E_NO_MEMORY;
        }
        m->filters_n = i + 1;
    }
    return PAG_OK;
}

static enum pag_err configure(struct pag_mqtt *m, const struct pag_mqtt_config *config, struct pag_fail *why)
{
    m->host = strdup(config->host);
    m->mosq = mosquitto_new(config->client_id, true, m);
    if (m->host == NULL || m->mosq == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "cannot make an MQTT client", (uint64_t)errno);
    }
    enum pag_err err = copy_filters(m, config->filters, why);
    err = err != PAG_OK ? err : set_tls(m, config, why);
    if (err != PAG_OK) {
        return err;
    }
    if (config->username != NULL &&
        mosquitto_username_pw_set(m->mosq, config->username, config->password) != MOSQ_ERR_SUCCESS) {
        return pag_fail_set(why, PAG_E_CONFIG, "user name or password cannot be used", 0);
    }
    /* publish comes from other threads: it then wakes the loop instead of writing itself */
    (void)mosquitto_threaded_set(m->mosq, true);
    mosquitto_connect_callback_set(m->mosq, connected);
    mosquitto_message_callback_set(m->mosq, arrived);
    mosquitto_publish_callback_set(m->mosq, sent);
    return PAG_OK;
}

static void release(struct pag_mqtt *m)
{
    if (m->mosq != NULL) {
        mosquitto_destroy(m->mosq);
    }
    for (size_t i = 0; i < m->filters_n; i++) {
        free(m->filters[i]);
    }
    free(m->host);
    (void)pthread_mutex_destroy(&m->lock);
    (void)pthread_cond_destroy(&m->wake);
    free(m);
}

enum pag_err pag_mqtt_new(const struct pag_mqtt_config *config, struct pag_mqtt **out, struct pag_fail *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_library);
    struct pag_mqtt *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for an MQTT client", 0);
    }
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&m->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&m->lock, NULL);
    m->port = config->port;
    m->keepalive_s = config->keepalive_s == 0 ? KEEPALIVE_S : config->keepalive_s;
    m->log = config->log;
    m->on_message = config->on_message;
    m->on_state = config->on_state;
    m->on_acknowledged = config->on_acknowledged;
    m->ctx = config->ctx;
    enum pag_err err = configure(m, config, why);
    if (err != PAG_OK) {
        release(m);
        return err;
    }
    *out = m;
    return PAG_OK;
}

enum pag_err pag_mqtt_start(struct pag_mqtt *m, uint16_t port)
{
    m->port = port != 0 ? port : m->port;
    if (m->has_thread || pthread_create(&m->thread, NULL, run, m) != 0) {
        return PAG_E_NO_MEMORY;
    }
    m->has_thread = true;
    return PAG_OK;
}

void pag_mqtt_free(struct pag_mqtt *m)
{
    if (m == NULL) {
        return;
    }
    if (m->has_thread) {
        (void)pthread_mutex_lock(&m->lock);
        atomic_store(&m->stop, true);
        (void)pthread_cond_broadcast(&m->wake);
        (void)pthread_mutex_unlock(&m->lock);
        (void)pthread_join(m->thread, NULL);
    }
    release(m);
}

/* ---- publishing ---- */

struct letter {
    const char *topic;
    struct pag_span payload;
    uint8_t qos;
    bool retain;
};

static enum pag_err hand_over(struct pag_mqtt *m, const struct letter *l, int *mid)
{
    int rc = mosquitto_publish(m->mosq, mid, l->topic, (int)l->payload.n, l->payload.p, l->qos, l->retain);
    if (rc == MOSQ_ERR_SUCCESS) {
        return PAG_OK;
    }
    if (rc == MOSQ_ERR_NOMEM) {
        return PAG_E_NO_MEMORY;
    }
    return rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_MALFORMED_UTF8 ? PAG_E_SYNTAX : PAG_E_CLOSED;
}

static enum pag_err check_message(struct pag_mqtt *m, const struct letter *l)
{
    size_t n = strlen(l->topic);
    if (n == 0 || n > 1024 || l->qos > 1 || mosquitto_pub_topic_check2(l->topic, n) != MOSQ_ERR_SUCCESS ||
        mosquitto_validate_utf8(l->topic, (int)n) != MOSQ_ERR_SUCCESS) {
        return PAG_E_SYNTAX;
    }
    if (l->payload.n > PAYLOAD_MAX || m->pending >= PENDING_MAX) {
        return PAG_E_LIMIT;
    }
    return m->stats.state == PAG_MQTT_UP ? PAG_OK : PAG_E_CLOSED;
}

static enum pag_err publish(struct pag_mqtt *m, const struct letter *l, int *mid)
{
    (void)pthread_mutex_lock(&m->lock);
    enum pag_err err = check_message(m, l);
    m->pending += err == PAG_OK ? 1 : 0; /* before it is handed over: the answer may be faster */
    (void)pthread_mutex_unlock(&m->lock);
    if (err == PAG_OK) {
        err = hand_over(m, l, mid);
        if (err != PAG_OK) {
            (void)pthread_mutex_lock(&m->lock);
            m->pending -= m->pending > 0 ? 1 : 0;
            (void)pthread_mutex_unlock(&m->lock);
        }
    }
    (void)pthread_mutex_lock(&m->lock);
    m->stats.published += err == PAG_OK ? 1 : 0;
    m->stats.refused += err == PAG_OK ? 0 : 1;
    (void)pthread_mutex_unlock(&m->lock);
    return err;
}

enum pag_err pag_mqtt_publish(struct pag_mqtt *m, const char *topic, struct pag_span payload, uint8_t qos,
                              bool retain)
{
    const struct letter l = { topic, payload, qos, retain };
    return publish(m, &l, NULL);
}

enum pag_err pag_mqtt_publish_id(struct pag_mqtt *m, const char *topic, struct pag_span payload, uint8_t qos,
                                 uint16_t *id)
{
    const struct letter l = { topic, payload, qos, false };
    int mid = 0;
    enum pag_err err = publish(m, &l, &mid);
    if (err == PAG_OK) {
        *id = (uint16_t)mid;
    }
    return err;
}

void pag_mqtt_stats_get(struct pag_mqtt *m, struct pag_mqtt_stats *out)
{
    (void)pthread_mutex_lock(&m->lock);
    *out = m->stats;
    (void)pthread_mutex_unlock(&m->lock);
}
