#include "sim/said.h"

#include <stdio.h>

#include "core/bytes.h"

enum { KEEPALIVE_S = 30, SKETCH_KEEPALIVE_S = 15, RSSI_DBM = -65, HEAP = 13512 };

void pag_sim_said_of(const struct pag_sim_device *d, struct pag_sim_said *out)
{
    const struct pag_sim_client *c = d->body;
    const struct pag_sim_options *o = d->world->options;
    *out = (struct pag_sim_said){ .host = c->mqtt_host[0] != '\0' ? c->mqtt_host : o->host,
                                  .port = c->mqtt_port,
                                  .keepalive_s = KEEPALIVE_S };
    (void)snprintf(out->client_id, sizeof(out->client_id), "%s", d->id);
    if (d->who->family == PAG_SIM_F_SECUREESP) {
        out->own_connect = true;
        out->keepalive_s = SKETCH_KEEPALIVE_S;
        (void)snprintf(out->will_topic, sizeof(out->will_topic), "/will/%s", d->id);
        (void)snprintf(out->will, sizeof(out->will), "{\"espname\": \"measure-%s\"}", d->id);
        (void)snprintf(out->filter, sizeof(out->filter), "/command/%s/#", d->id);
        return;
    }
    if (d->who->family == PAG_SIM_F_TASMOTA) {
        out->own_connect = out->will_retained = true;
        out->host = o->mqtt_at.host;
        out->port = o->mqtt_at.port;
        out->plain = o->mqtt_at.plain;
        out->user = o->mqtt_user;
        out->password = o->mqtt_password;
        (void)snprintf(out->client_id, sizeof(out->client_id), "DVES_%.6s", d->mac + 6);
        (void)snprintf(out->will_topic, sizeof(out->will_topic), "tele/tasmota_%.6s/LWT", d->mac + 6);
        (void)snprintf(out->will, sizeof(out->will), "Offline");
        (void)snprintf(out->filter, sizeof(out->filter), "cmnd/tasmota_%.6s/#", d->mac + 6);
        return;
    }
    (void)snprintf(out->will_topic, sizeof(out->will_topic), "pg/v1/d/%s/will", d->id);
    (void)snprintf(out->will, sizeof(out->will), "offline");
}

static void say_status(const struct pag_sim_device *d, char *text, size_t cap)
{
    const struct pag_sim_client *c = d->body;
    const uint64_t now = pag_sim_client_now(d);
    const char *error = d->who->version < 9 ? "espflasherror" : "errormessage"; /* 00.00.08.f, .i */
    const int n =
        snprintf(text, cap,
                 "{\"uptimemillis\": %u, \"maxmillis\": 74, \"mqttmillis\": %u, \"espname\": \"measure-%s\", "
                 "\"espimage\": \"ESP8266_WEMOS_D1MINIPRO-%s\", \"espbuild\": \"Mar  8 2020 10:19:19\"",
                 (unsigned)now, (unsigned)(now - c->up_since_ms), d->id, d->now.version);
    if (n < 0 || (size_t)n >= cap) {
        return;
    }
    (void)snprintf(text + n, cap - (size_t)n,
                   "%s%s%s%s%s, \"espip\": \"192.168.1.182\", \"rssi\": %d, \"espfreeheap\": %d}",
                   c->said[0] != '\0' ? ", \"" : "", c->said[0] != '\0' ? error : "",
                   c->said[0] != '\0' ? "\": \"" : "", c->said, c->said[0] != '\0' ? "\"" : "", RSSI_DBM,
                   HEAP);
}

bool pag_sim_said_next(struct pag_sim_device *d, char *topic, size_t topic_cap, char *text, size_t text_cap)
{
    struct pag_sim_client *c = d->body;
    if (d->who->family == PAG_SIM_F_SECUREESP) {
        (void)snprintf(topic, topic_cap, "/status/%s", d->id);
        say_status(d, text, text_cap);
        return false;
    }
    if (d->who->family == PAG_SIM_F_TASMOTA && c->extra[0] != '\0' && c->said[0] != '\0') {
        (void)snprintf(topic, topic_cap, "stat/tasmota_%.6s/UPGRADE", d->mac + 6);
        (void)snprintf(text, text_cap, "{\"Upgrade\":\"%s\"}", c->said);
        c->said[0] = '\0';
        return false;
    }
    if (d->who->family == PAG_SIM_F_TASMOTA) {
        (void)snprintf(topic, topic_cap, "tele/tasmota_%.6s/STATE", d->mac + 6);
        (void)snprintf(text, text_cap, "{\"UptimeSec\":%u,\"Heap\":25,\"Wifi\":{\"RSSI\":70}}",
                       (unsigned)(pag_sim_client_now(d) / 1000));
        return false;
    }
    (void)snprintf(topic, topic_cap, "pg/v1/d/%s/up/data/temp", d->id);
    (void)snprintf(text, text_cap, "%u.%u", 18 + pag_sim_random(d->world, 6), pag_sim_random(d->world, 10));
    return false;
}
