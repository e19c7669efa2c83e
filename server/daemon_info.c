/* What the heads may know of the process around them. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/fs.h"
#include "host/x509.h"
#include "server/daemon.h"
#include "server/roll.h"

enum { PEM_MAX = 1 << 20 };

static void hex_of(struct pag_span s, char *out, size_t cap)
{
    struct pag_buf buf = { (uint8_t *)out, 0, cap - 1 };
    (void)pag_buf_put_hex(&buf, s);
    out[buf.n] = '\0';
}

static void add_certificate(struct pag_daemon *d, const char *name, const char *path)
{
    struct pag_buf pem = { NULL, 0, 0 };
    struct pag_x509_info info;
    if (d->certificate_n == PAG_API_CERTIFICATES_MAX || pag_fs_read(path, 65536, &pem, NULL) != PAG_OK) {
        return;
    }
    struct pag_buf der = { (uint8_t[4096]){ 0 }, 0, 4096 };
    if (pag_x509_der_of_pem("CERTIFICATE", pag_buf_span(&pem), &der) == PAG_OK &&
        pag_x509_info(pag_buf_span(&der), &info) == PAG_OK) {
        struct pag_api_certificate *c = &d->certificate[d->certificate_n++];
        c->name = name;
        c->not_after = info.not_after;
        (void)snprintf(c->subject, sizeof c->subject, "%s", info.subject);
        hex_of(pag_span_of(info.serial, info.serial_n), c->serial, sizeof c->serial);
        hex_of(pag_span_of(info.fingerprint, sizeof info.fingerprint), c->fingerprint, sizeof c->fingerprint);
    }
    pag_fs_buf_free(&pem);
}

void pag_daemon_read_certificates(struct pag_daemon *d)
{
    (void)pthread_mutex_lock(&d->certificate_lock);
    d->certificate_n = 0;
    add_certificate(d, "root", d->paths.root_pem);
    add_certificate(d, "device", d->paths.device_ca_pem);
    add_certificate(d, "server", d->paths.server_ca_pem);
    add_certificate(d, "operator", d->paths.operator_ca_pem);
    add_certificate(d, "tls", d->paths.server_pem);
    add_certificate(d, "service", d->paths.svc_pem);
    add_certificate(d, "device-old", d->paths.device_old_pem);
    (void)pthread_mutex_unlock(&d->certificate_lock);
}

static const char *broker_word(enum pag_broker_state state)
{
    switch (state) {
    case PAG_BROKER_RUNNING:
        return "running";
    case PAG_BROKER_STARTING:
        return "starting";
    case PAG_BROKER_STOPPED:
    case PAG_BROKER_WAITING:
        break;
    }
    return "down";
}

static void broker_info(struct pag_daemon *d, struct pag_api_info *out)
{
    struct pag_broker_status s = { .port = d->config.mqtt.port };
    struct pag_api_broker *b = &out->broker;
    out->crl_number = atomic_load(&d->keep.crl_number);
    out->crl_until_s = atomic_load(&d->keep.crl_until_s);
    b->connected = pag_mqtt_head_connected(d->mqtt);
    if (d->config.mqtt.mode == PAG_MQTT_OFF) {
        b->state = "off";
        return;
    }
    if (d->broker == NULL) {
        b->state = "external";
        b->port = d->config.mqtt.port;
    } else {
        pag_broker_status_get(d->broker, &s);
        b->state = broker_word(s.state);
        b->pid = s.pid;
        b->restarts = s.restarts;
        b->port = s.port;
        out->crl_number = s.crl_number;
        out->crl_until_s = s.crl_until_s;
        (void)snprintf(b->last_error, sizeof b->last_error, "%s", s.last_error);
    }
    if (b->last_error[0] == '\0' && !b->connected) {
        char text[96];
        pag_mqtt_head_last_error(d->mqtt, text);
        (void)snprintf(b->last_error, sizeof b->last_error, "%s", text);
    }
}

static void add_listener(struct pag_api_info *out, const char *name, const char *address, uint16_t port,
                         bool tls)
{
    if (port > 0 && out->listener_n < PAG_API_LISTENERS_MAX) {
        out->listener[out->listener_n++] = (struct pag_api_listener){ name, address, port, tls };
    }
}

static void warn(struct pag_api_info *out, const char *text)
{
    if (out->warning_n < PAG_API_WARNINGS_MAX) {
        out->warning[out->warning_n++] = text;
    }
}

static void warnings(struct pag_daemon *d, struct pag_api_info *out)
{
    uint64_t soon = d->clock.now_unix_ms(d->clock.ctx) / 1000 + UINT64_C(14) * 86400;
    switch (pag_init_root_state(&d->paths)) {
    case PAG_ROOT_CONFIRMED:
        out->root_exported = true;
        break;
    case PAG_ROOT_UNCONFIRMED:
        warn(out, "Nobody has confirmed yet that the exported root key is in a safe place.");
        break;
    case PAG_ROOT_STILL_HERE:
        warn(out, "The exported root key is still on this server: move root-export.pem to a safe place.");
        break;
    }
    for (size_t i = 0; i < out->certificate_n; i++) {
        if (out->certificate[i].not_after < soon) {
            warn(out, "A certificate of this server ends within 14 days.");
            break;
        }
    }
    if (d->config.mqtt.mode != PAG_MQTT_OFF && !out->broker.connected) {
        warn(out, "There is no connection to the broker: devices hear of releases only when they poll.");
    }
    if (pag_roll_overlaps(&d->paths)) {
        warn(out,
             "Two device authorities are in force: pagurus ca show says how many devices still need the old "
             "one, pagurus ca retire ends it.");
    }
    if (d->legacy != NULL) {
        warn(out, "The plain HTTP listener is on: what it serves can be read and changed on the way.");
    }
}

static void info(void *ctx, struct pag_api_info *out)
{
    struct pag_daemon *d = ctx;
    memset(out, 0, sizeof *out);
    out->started_unix_ms = d->started_unix_ms;
    out->broker.state = "off";
    broker_info(d, out);
    add_listener(out, "console", d->config.console.address, pag_network_port(d->network, 0), true);
    add_listener(out, "device", d->config.device.address, pag_network_port(d->network, 1), true);
    if (d->legacy != NULL) {
        add_listener(out, "legacy", d->config.legacy.address, pag_network_port(d->network, 2), false);
    }
    if (d->broker != NULL) {
        add_listener(out, "mqtt", d->config.mqtt.address, out->broker.port, true);
    }
    (void)pthread_mutex_lock(&d->certificate_lock);
    memcpy(out->certificate, d->certificate, sizeof out->certificate);
    out->certificate_n = d->certificate_n;
    (void)pthread_mutex_unlock(&d->certificate_lock);
    warnings(d, out);
}

/* A PEM file in the arena. */
static enum pag_err read_file(const char *path, struct pag_arena *arena, struct pag_span *out)
{
    struct pag_buf pem = { NULL, 0, 0 };
    enum pag_err err = pag_fs_read(path, PEM_MAX, &pem, NULL);
    if (err != PAG_OK) {
        return err;
    }
    *out = pag_arena_copy(arena, pag_buf_span(&pem));
    pag_fs_buf_free(&pem);
    return out->p != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

static enum pag_err bundle(struct pag_daemon *d, struct pag_arena *arena, struct pag_span *out)
{
    struct pag_span now = { NULL, 0 };
    struct pag_span old = { NULL, 0 };
    enum pag_err err = read_file(d->paths.device_ca_pem, arena, &now);
    if (err == PAG_OK && pag_roll_overlaps(&d->paths)) {
        err = read_file(d->paths.device_old_pem, arena, &old);
        err = err == PAG_E_NOT_FOUND ? PAG_OK : err;
    }
    const char *both = err == PAG_OK ? pag_arena_printf(arena, "%.*s%.*s", (int)now.n, (const char *)now.p,
                                                        (int)old.n, old.n > 0 ? (const char *)old.p : "")
                                     : NULL;
    *out = pag_span_str(both);
    return err != PAG_OK ? err : both != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

/* ---- roll-over: files here, and the main thread takes them over ---- */

static void take_over_soon(void)
{
    (void)kill(getpid(), SIGHUP);
}

enum pag_err pag_daemon_authorities(struct pag_daemon *d, struct pag_ca **ca, struct pag_ca **old,
                                    struct pag_fail *why)
{
    struct pag_ca *current = NULL;
    struct pag_ca *before = NULL;
    bool changed = false;
    (void)pthread_mutex_lock(&d->roll_lock);
    enum pag_err err =
        pag_roll_settle(&d->paths, d->config.server.names, d->clock.now_unix_ms(d->clock.ctx) / 1000,
                        d->config.certificates.server_s, &changed, why);
    if (err == PAG_OK) {
        err = pag_ca_load(d->paths.device_ca_pem, d->paths.device_ca_key, NULL, &current, why);
    }
    if (err == PAG_OK && pag_roll_overlaps(&d->paths)) {
        err = pag_ca_load(d->paths.device_old_pem, d->paths.device_old_key, NULL, &before, why);
    }
    (void)pthread_mutex_unlock(&d->roll_lock);
    if (err != PAG_OK) {
        pag_ca_free(current);
        return err;
    }
    *ca = current;
    *old = before;
    return PAG_OK;
}

static enum pag_err ca_begin(void *ctx, enum pag_ca_kind kind, struct pag_arena *arena, struct pag_span *csr,
                             struct pag_fail *why)
{
    struct pag_daemon *d = ctx;
    struct pag_buf pem = { pag_arena_alloc(arena, 2048), 0, 2048 };
    if (pem.p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    (void)pthread_mutex_lock(&d->roll_lock);
    enum pag_err err = pag_roll_begin(&d->paths, kind, &pem, why);
    (void)pthread_mutex_unlock(&d->roll_lock);
    *csr = pag_buf_span(&pem);
    return err;
}

static enum pag_err ca_take(void *ctx, enum pag_ca_kind kind, struct pag_span pem, struct pag_fail *why)
{
    struct pag_daemon *d = ctx;
    (void)pthread_mutex_lock(&d->roll_lock);
    enum pag_err err = pag_roll_take(&d->paths, kind, pem, d->clock.now_unix_ms(d->clock.ctx) / 1000, why);
    (void)pthread_mutex_unlock(&d->roll_lock);
    if (err == PAG_OK) {
        take_over_soon();
    }
    return err;
}

static enum pag_err ca_retire(void *ctx, struct pag_fail *why)
{
    struct pag_daemon *d = ctx;
    (void)pthread_mutex_lock(&d->roll_lock);
    enum pag_err err = pag_roll_retire(&d->paths, d->clock.now_unix_ms(d->clock.ctx) / 1000, why);
    (void)pthread_mutex_unlock(&d->roll_lock);
    if (err == PAG_OK) {
        take_over_soon();
    }
    return err;
}

static enum pag_err file(void *ctx, enum pag_api_file which, struct pag_arena *arena, struct pag_span *out)
{
    struct pag_daemon *d = ctx;
    const char *path = NULL;
    switch (which) {
    case PAG_API_ROOT_PEM:
        path = d->paths.root_pem;
        break;
    case PAG_API_DEVICE_PEM:
        path = d->paths.device_ca_pem;
        break;
    case PAG_API_DEVICE_BUNDLE:
        return bundle(d, arena, out);
    case PAG_API_SERVER_PEM:
        path = d->paths.server_ca_pem;
        break;
    case PAG_API_DEVICE_CRL:
        path = d->paths.device_crl;
        break;
    }
    return read_file(path, arena, out);
}

const struct pag_api_process pag_daemon_process = {
    .info = info, .file = file, .ca_begin = ca_begin, .ca_take = ca_take, .ca_retire = ca_retire
};
