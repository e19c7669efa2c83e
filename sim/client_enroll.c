#include <stdlib.h>
#include <string.h>

#include "agent/http_client.h"
#include "core/bytes.h"
#include "core/native.h"
#include "sim/client.h"

/*
 * How a device with old firmware gets its first certificate in the simulator: native v1's enrolment with the
 * claim, instead of the file system that its owner would flash.
 */

struct pag_sim_enrolment {
    struct pag_httpc http;
    bool asked;
    uint8_t wire[PAG_SIM_DER_MAX];
    size_t wire_n;
    uint8_t body[PAG_NATIVE_MAX];
    size_t body_n;
};

static enum pag_err put_enroll(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    struct pag_sim_enrolment *e = c->enrolment;
    const struct pag_sim_options *o = d->world->options;
    uint8_t csr_bytes[PAG_SIM_DER_MAX];
    uint8_t message[PAG_NATIVE_MAX];
    struct pag_buf csr = { csr_bytes, 0, sizeof(csr_bytes) };
    struct pag_buf key = { c->key, 0, sizeof(c->key) };
    struct pag_buf body = { message, 0, sizeof(message) };
    enum pag_err err = c->port.make_csr(d, d->id, &key, &csr);
    if (err != PAG_OK) {
        return err;
    }
    c->key_n = 0; /* the enrolment itself is made without */
    const struct pag_native_enroll m = { .claim = pag_span_str(o->claim),
                                         .csr = pag_buf_span(&csr),
                                         .mac = pag_span_str(d->mac),
                                         .chip = d->who->esp32 ? PAG_CHIP_ESP32 : PAG_CHIP_ESP8266,
                                         .hardware = pag_span_str(o->hardware),
                                         .version = pag_span_str(d->now.version) };
    err = pag_native_enroll_put(&body, &m);
    const struct pag_httpc_request request = {
        .method = "POST", .path = "/v1/enroll", .host = o->host, .port = o->port, .body = pag_buf_span(&body)
    };
    struct pag_buf out = { e->wire, 0, sizeof(e->wire) };
    err = err == PAG_OK ? pag_httpc_request_put(&out, &request) : err;
    e->wire_n = out.n;
    if (err == PAG_OK) {
        c->key_n = key.n;
    }
    return err;
}

static enum pag_err take_enrolled(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    struct pag_sim_enrolment *e = c->enrolment;
    size_t n = sizeof(e->body) - e->body_n;
    enum pag_err err = PAG_OK;
    while ((err = pag_httpc_body(&e->http, e->body + e->body_n, &n)) == PAG_OK && n > 0) {
        e->body_n += n;
        n = sizeof(e->body) - e->body_n;
    }
    struct pag_native_enrolled m;
    err = err == PAG_OK ? pag_native_enrolled_get(pag_span_of(e->body, e->body_n), &m) : err;
    if (err != PAG_OK || m.certificate.n > sizeof(c->certificate)) {
        return err != PAG_OK ? err : PAG_E_RANGE;
    }
    memcpy(c->certificate, m.certificate.p, m.certificate.n);
    c->certificate_n = m.certificate.n;
    c->mqtt_port = m.mqtt_port;
    if (pag_text_copy(d->id, sizeof(d->id), m.device_id) != PAG_OK ||
        pag_text_copy(c->mqtt_host, sizeof(c->mqtt_host), m.mqtt_host) != PAG_OK) {
        return PAG_E_RANGE;
    }
    return PAG_OK;
}

static enum pag_err begin(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_options *o = d->world->options;
    struct pag_net_trust trust = pag_sim_client_trust(d);
    trust.certificate.n = trust.key.n = 0;
    c->enrolment = calloc(1, sizeof(*c->enrolment));
    if (c->enrolment == NULL) {
        return PAG_E_NO_MEMORY;
    }
    pag_httpc_init(&c->enrolment->http, &c->port);
    const enum pag_err err = put_enroll(d);
    return err == PAG_OK ? pag_httpc_open(&c->enrolment->http, o->host, o->port, &trust) : err;
}

enum pag_err pag_sim_enroll_step(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    enum pag_err err = c->enrolment == NULL ? begin(d) : PAG_OK;
    struct pag_sim_enrolment *e = c->enrolment;
    err = err == PAG_OK ? pag_httpc_ready(&e->http) : err;
    if (err == PAG_OK && !e->asked) {
        err = pag_httpc_send(&e->http, pag_span_of(e->wire, e->wire_n));
        e->asked = err == PAG_OK;
    }
    struct pag_httpc_reply reply = { 0 };
    if (err == PAG_OK && !e->http.in_body) {
        err = pag_httpc_head(&e->http, &reply);
        if (err == PAG_OK && reply.status != 200) {
            pag_sim_device_error(d, PAG_E_DENIED, "enrolment was refused");
            err = PAG_E_DENIED;
        }
    }
    return err == PAG_OK ? take_enrolled(d) : err;
}

void pag_sim_enroll_close(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c->enrolment != NULL) {
        pag_httpc_close(&c->enrolment->http);
        free(c->enrolment);
        c->enrolment = NULL;
    }
}
