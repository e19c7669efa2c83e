#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/scripts.h"

/*
 * secureESP8266: waits for the last word of a topic. Files come over HTTPS between two MQTT sessions; what
 * comes is kept, whatever it is; flash checks the signature by the key in the running sketch; only reboot
 * boots it.
 */

enum word {
    WORD_NONE,
    WORD_FIRMWARE,
    WORD_CONFIG,
    WORD_CA,
    WORD_CERT,
    WORD_KEY,
    WORD_FLASH,
    WORD_REBOOT,
    WORDS
};
enum { OK = 200, CONFIG_MAX = 1024 };

static const char *const words[WORDS] = { "", "firmware", "config", "ca", "cert", "key", "flash", "reboot" };

static const char board[] = "ESP8266_WEMOS_D1MINIPRO";

static enum pag_err ask(struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    char rest[PAG_SIM_PATH_MAX];
    const char *folder = d->who->early ? "/download" : "";
    switch ((enum word)c->word) {
    case WORD_FIRMWARE:
        (void)snprintf(rest, sizeof(rest), "%s/firmware.bin?curimage=%s-%s", folder, board, d->now.version);
        break;
    case WORD_CONFIG:
        (void)snprintf(rest, sizeof(rest), "%s/config.json", folder);
        break;
    case WORD_CA: /* the query of the last firmware command stays: a bug of the sketch */
        (void)snprintf(rest, sizeof(rest), "%s/ca.crt?curimage=%s-%s", folder, board, d->now.version);
        break;
    case WORD_CERT:
        (void)snprintf(rest, sizeof(rest), "%s/%s.crt", folder, d->id);
        break;
    case WORD_KEY:
        (void)snprintf(rest, sizeof(rest), "%s/%s.key", folder, d->id);
        break;
    case WORD_NONE:
    case WORD_FLASH:
    case WORD_REBOOT:
    case WORDS:
        return PAG_E_INTERNAL;
    }
    pag_sim_client_path(d, rest);
    return pag_sim_client_request(d, "GET",
                                  "User-Agent: ESP8266HTTPClient\r\nConnection: keep-alive\r\n"
                                  "Accept-Encoding: identity;q=1,chunked;q=0.1,*;q=0\r\n");
}

static enum pag_sim_next head(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_head *h = &c->fetch.head;
    c->said[0] = '\0';
    if (h->status == OK && h->has_length) {
        c->image_n =
            c->word == WORD_FIRMWARE ? 0 : c->image_n; /* opened for writing: the old content is gone */
        return PAG_SIM_NEXT_READ;
    }
    return PAG_SIM_NEXT_OVER; /* 304, and everything else: nothing reaches MQTT */
}

/* Without a check: a file that lacks a key makes it unreachable after the next start. */
static void take_config(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    json_t *o = c->fetch.body_n < CONFIG_MAX
                    ? json_loadb((const char *)c->fetch.body, c->fetch.body_n, 0, NULL)
                    : NULL;
    const char *host = json_string_value(json_object_get(o, "mqttserver"));
    const json_int_t port = json_integer_value(json_object_get(o, "mqttport"));
    if (host != NULL && port > 0 && port <= UINT16_MAX) {
        (void)snprintf(c->mqtt_host, sizeof(c->mqtt_host), "%s", host);
        c->mqtt_port = (uint16_t)port;
    } else {
        pag_sim_device_error(d, PAG_E_CONFIG, "config.json without mqttserver or mqttport");
    }
    json_decref(o);
}

static enum pag_sim_next body(struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    if (c->word == WORD_FIRMWARE && pag_sim_client_take(d, false) != PAG_OK) {
        return pag_sim_client_fail(d, "no memory", -8);
    }
    if (c->word == WORD_CONFIG) {
        take_config(d);
    }
    return PAG_SIM_NEXT_OVER;
}

static void flash(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    c->said[0] = '\0';
    c->announced = (struct pag_sim_update_head){ 0 };
    const enum pag_sim_update verdict = pag_sim_client_install(d);
    c->flashed = verdict == PAG_SIM_UPDATE_GO;
    if (verdict == PAG_SIM_UPDATE_ERROR_SIGN) {
        (void)snprintf(c->said, sizeof(c->said), "ERROR[12]: Signature verification failed");
        pag_sim_device_outcome(d, PAG_SIM_REFUSED);
    } else if (verdict != PAG_SIM_UPDATE_GO) {
        (void)snprintf(c->said, sizeof(c->said), "ERROR[%d]: Magic byte is wrong, not 0xE9",
                       (int)PAG_SIM_UPDATE_ERROR_MAGIC);
    }
    if (verdict != PAG_SIM_UPDATE_GO) {
        d->refusals++;
        pag_sim_device_error(d, verdict == PAG_SIM_UPDATE_ERROR_SIGN ? PAG_E_SIGNATURE : PAG_E_DIGEST,
                             c->said);
    }
}

static enum word word_of(struct pag_span topic)
{
    size_t at = topic.n;
    while (at > 0 && topic.p[at - 1] != '/') {
        at--;
    }
    for (int i = WORD_NONE + 1; i < WORDS; i++) {
        if (pag_span_eq_str(pag_span_of(topic.p + at, topic.n - at), words[i])) {
            return (enum word)i;
        }
    }
    return WORD_NONE;
}

static void message(struct pag_sim_device *d, const struct pag_mqttc_packet *m)
{
    struct pag_sim_client *c = d->body;
    const enum word word = word_of(m->topic);
    d->reached = true;
    if (word == WORD_NONE || c->phase != PAG_SIM_PHASE_IDLE) {
        return;
    }
    if (word == WORD_FLASH) {
        flash(d);
    } else if (word == WORD_REBOOT) {
        pag_sim_client_restart(d);
    } else {
        c->word = (uint8_t)word;
        pag_sim_client_begin(d);
    }
}

/* It asks nobody whether it is current: that it runs and says so is all. */
static void told(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c->to_confirm) {
        c->to_confirm = false;
        pag_sim_device_outcome(d, PAG_SIM_CONFIRMED);
    }
}

const struct pag_sim_script pag_sim_script_secureesp = {
    .waits = true, .ask = ask, .head = head, .body = body, .message = message, .told = told
};
