/*
 * A managed broker alone, driven over standard input, for tests/system/test_broker.py.
 *
 *     broker_host DATA MOSQUITTO PLUGIN
 *
 * One command a line, one answer line each ("ok …" or "error …"):
 *     issue CN PREFIX      certificate of the device authority for a new key, to PREFIX.crt and PREFIX.key
 *     revoke CN FILE       revoke the certificate in FILE, keep CN out
 *     retire CN FILE       revoke the certificate in FILE, let CN in with another
 *     allow CN             CN has a certificate again
 *     status               state, pid, port, restarts, plugin
 *     publish TOPIC TEXT   by the server's own client, QoS 1
 *     received             what that client got on pg/v1/d/+/up/#, pg/v1/d/+/will and up/#
 */
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/crypto.h"
#include "host/fs.h"
#include "host/mqtt.h"
#include "host/x509.h"
#include "server/broker.h"
#include "server/init.h"

struct bench {
    struct pag_paths paths;
    struct pag_ca *ca;
    struct pag_broker *broker;
    struct pag_mqtt *mqtt;
    pthread_mutex_t lock;
    char received[65536];
};

static void on_message(void *ctx, const struct pag_mqtt_message *message)
{
    struct bench *b = ctx;
    (void)pthread_mutex_lock(&b->lock);
    size_t n = strlen(b->received);
    (void)snprintf(b->received + n, sizeof b->received - n, " %s=%.*s", message->topic,
                   (int)message->payload.n, (const char *)message->payload.p);
    (void)pthread_mutex_unlock(&b->lock);
}

static enum pag_err issue(struct bench *b, const char *cn, const char *prefix)
{
    char path[512];
    uint8_t space[4096];
    struct pag_buf pem = { space, 0, sizeof space };
    struct pag_issued issued;
    EVP_PKEY *key = pag_crypto_key_new();
    const struct pag_cert_order order = { .cn = cn, .now = (uint64_t)time(NULL), .lifetime_s = 86400 };
    enum pag_err err = pag_ca_issue_client_key(b->ca, key, &order, &issued, NULL);
    if (err == PAG_OK) {
        (void)snprintf(path, sizeof path, "%s.key", prefix);
        err = pag_x509_key_save(key, path, NULL, NULL);
    }
    if (err == PAG_OK) {
        err = pag_x509_pem_of_der("CERTIFICATE", (struct pag_span){ issued.der, issued.der_n }, &pem);
    }
    if (err == PAG_OK) {
        (void)snprintf(path, sizeof path, "%s.crt", prefix);
        err = pag_fs_write(path, (struct pag_span){ pem.p, pem.n }, 0644, NULL);
    }
    EVP_PKEY_free(key);
    return err;
}

static enum pag_err revoke(struct bench *b, const char *cn, const char *file, bool keep_out)
{
    struct pag_buf pem = { NULL, 0, 0 };
    struct pag_x509_info info;
    enum pag_err err = pag_fs_read(file, 8192, &pem, NULL);
    if (err == PAG_OK) {
        err = pag_x509_info((struct pag_span){ pem.p, pem.n }, &info);
    }
    pag_fs_buf_free(&pem);
    if (err != PAG_OK) {
        return err;
    }
    struct pag_revoked entry = { .serial_n = info.serial_n, .at = (uint64_t)time(NULL) };
    memcpy(entry.serial, info.serial, sizeof entry.serial);
    err = pag_broker_deny(b->broker, &entry, keep_out ? cn : NULL);
    pag_broker_kick(b->broker, cn);
    return err;
}

static void say_status(struct bench *b)
{
    struct pag_broker_status s;
    struct pag_mqtt_stats m;
    pag_broker_status_get(b->broker, &s);
    pag_mqtt_stats_get(b->mqtt, &m);
    printf("ok state=%s pid=%d port=%u restarts=%u plugin=%d mqtt=%d error=%s\n",
           pag_broker_state_word(s.state), s.pid, (unsigned)s.port, (unsigned)s.restarts, s.plugin,
           (int)m.state, s.last_error);
}

static void say(enum pag_err err)
{
    printf(err == PAG_OK ? "ok\n" : "error %s\n", pag_err_word(err));
}

static void obey(struct bench *b, char *line)
{
    char *save = NULL;
    const char *verb = strtok_r(line, " \n", &save);
    const char *one = strtok_r(NULL, " \n", &save);
    const char *two = strtok_r(NULL, "\n", &save);
    if (verb == NULL) {
        say(PAG_E_SYNTAX);
    } else if (strcmp(verb, "issue") == 0 && two != NULL) {
        say(issue(b, one, two));
    } else if (strcmp(verb, "revoke") == 0 && two != NULL) {
        say(revoke(b, one, two, true));
    } else if (strcmp(verb, "retire") == 0 && two != NULL) {
        say(revoke(b, one, two, false));
    } else if (strcmp(verb, "allow") == 0 && one != NULL) {
        say(pag_broker_allow(b->broker, one));
    } else if (strcmp(verb, "publish") == 0 && two != NULL) {
        say(pag_mqtt_publish(b->mqtt, one, (struct pag_span){ (const uint8_t *)two, strlen(two) }, 1, false));
    } else if (strcmp(verb, "received") == 0) {
        (void)pthread_mutex_lock(&b->lock);
        printf("ok%s\n", b->received);
        (void)pthread_mutex_unlock(&b->lock);
    } else if (strcmp(verb, "status") == 0) {
        say_status(b);
    } else {
        say(PAG_E_SYNTAX);
    }
    (void)fflush(stdout);
}

static enum pag_err prepare(struct bench *b, const char *data)
{
    struct pag_init_result *result = calloc(1, sizeof *result);
    const struct pag_init_order order = { .data = data,
                                          .names = "",
                                          .passphrase = "only for a test",
                                          .now = (uint64_t)time(NULL),
                                          .server_s = 86400 };
    enum pag_err err = pag_paths_of(data, &b->paths);
    if (err == PAG_OK && !pag_init_done(&b->paths)) {
        err = result == NULL ? PAG_E_NO_MEMORY : pag_init(&order, result, NULL, NULL);
    }
    free(result);
    return err != PAG_OK ? err
                         : pag_ca_load(b->paths.device_ca_pem, b->paths.device_ca_key, NULL, &b->ca, NULL);
}

static enum pag_err start(struct bench *b, char **argv, struct pag_log *log)
{
    static const struct pag_broker_topic topics[] = { { "/command/{id}/+", PAG_BROKER_READ },
                                                      { "/status/{id}", PAG_BROKER_WRITE } };
    static const char *const filters[] = { "pg/v1/d/+/up/#", "pg/v1/d/+/will", "/status/+", NULL };
    char text[256] = "";
    const struct pag_broker_config config = { .dir = b->paths.broker_dir,
                                              .mosquitto = argv[2],
                                              .plugin = argv[3],
                                              .address = "127.0.0.1",
                                              .max_connections = 100,
                                              .max_packet = 65536,
                                              .max_keepalive_s = 600,
                                              .max_queued = 100,
                                              .session_s = 86400,
                                              .anchor_file = b->paths.device_anchor,
                                              .cert_file = b->paths.server_pem,
                                              .key_file = b->paths.server_key,
                                              .device_ca = b->ca,
                                              .crl_s = 86400,
                                              .crl_every_s = 21600,
                                              .topics = topics,
                                              .topics_n = 2,
                                              .clock = pag_clock_system(),
                                              .log = log };
    enum pag_err err = pag_broker_new(&config, &b->broker, text, NULL);
    if (err != PAG_OK) {
        fprintf(stderr, "%s\n", text);
        return err;
    }
    err = pag_broker_start(b->broker, 10000);
    struct pag_broker_status status;
    pag_broker_status_get(b->broker, &status);
    const struct pag_mqtt_config client = { .host = "127.0.0.1",
                                            .port = status.port,
                                            .client_id = "svc-pagurusd",
                                            .ca_file = b->paths.root_pem,
                                            .cert_file = b->paths.svc_pem,
                                            .key_file = b->paths.svc_key,
                                            .filters = filters,
                                            .log = log,
                                            .on_message = on_message,
                                            .ctx = b };
    err = err == PAG_OK ? pag_mqtt_new(&client, &b->mqtt, NULL) : err;
    return err == PAG_OK ? pag_mqtt_start(b->mqtt, 0) : err;
}

int main(int argc, char **argv)
{
    struct bench *b = calloc(1, sizeof *b);
    char line[1024];
    if (argc != 4 || b == NULL) {
        fputs("usage: broker_host DATA MOSQUITTO PLUGIN\n", stderr);
        return 2;
    }
    (void)pthread_mutex_init(&b->lock, NULL);
    struct pag_log *log = pag_log_new(2, PAG_LOG_DEBUG, false, pag_clock_system());
    enum pag_err err = prepare(b, argv[1]);
    err = err == PAG_OK ? start(b, argv, log) : err;
    if (err != PAG_OK) {
        printf("error %s\n", pag_err_word(err));
    } else {
        say_status(b);
        (void)fflush(stdout);
        while (fgets(line, sizeof line, stdin) != NULL) {
            obey(b, line);
        }
    }
    pag_mqtt_free(b->mqtt);
    pag_broker_free(b->broker);
    pag_ca_free(b->ca);
    pag_log_free(log);
    free(b);
    return err == PAG_OK ? 0 : 1;
}
