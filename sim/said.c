#include "sim/said.h"

#include <stdio.h>

#include "core/bytes.h"
#include "sim/scripts.h"

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
    if (d->user != NULL) {
        out->own_connect = out->will_retained = out->announces = true;
        out->host = o->mqtt_at.host;
        out->port = o->mqtt_at.port;
        out->plain = o->mqtt_at.plain;
        out->user = d->user;
        (void)snprintf(out->client_id, sizeof(out->client_id), "DVES_%.6s", d->mac + 6);
        (void)snprintf(out->will_topic, sizeof(out->will_topic), "tele/%s/LWT", d->user->topic);
        (void)snprintf(out->will, sizeof(out->will), "Offline");
        (void)snprintf(out->filter, sizeof(out->filter), "cmnd/%s/#", d->user->topic);
        return;
    }
    (void)snprintf(out->will_topic, sizeof(out->will_topic), "pg/v1/d/%s/will", d->id);
    (void)snprintf(out->will, sizeof(out->will), "offline");
}

static void say_status(const struct pag_sim_device *d, char *text, size_t cap)
{
    const struct pag_sim_client *c = d->body;
    const uint64_t now = pag_sim_client_now(d);
    const char *error = d->who->early ? "espflasherror" : "errormessage";
    const int n =
        snprintf(text, cap,
                 "{\"uptimemillis\": %u, \"maxmillis\": 74, \"mqttmillis\": %u, \"espname\": \"measure-%s\", "
                 "\"espimage\": \"ESP8266_WEMOS_D1MINIPRO-%s\", \"espbuild\": \"Mar  8 2020 10:19:19\"",
                 (unsigned)(now - c->booted_ms), (unsigned)(now - c->up_since_ms), d->id, d->now.version);
    if (n < 0 || (size_t)n >= cap) {
        return;
    }
    (void)snprintf(text + n, cap - (size_t)n,
                   "%s%s%s%s%s, \"espip\": \"192.168.1.182\", \"rssi\": %d, \"espfreeheap\": %d}",
                   c->said[0] != '\0' ? ", \"" : "", c->said[0] != '\0' ? error : "",
                   c->said[0] != '\0' ? "\": \"" : "", c->said, c->said[0] != '\0' ? "\"" : "", RSSI_DBM,
                   HEAP);
}

static bool tasmota_online(const struct pag_sim_device *d, char *topic, size_t topic_cap, char *text,
                           size_t text_cap)
{
    (void)snprintf(topic, topic_cap, "tele/%s/LWT", d->user->topic);
    (void)snprintf(text, text_cap, "Online");
    return true;
}

static bool tasmota_discovery(const struct pag_sim_device *d, char *topic, size_t topic_cap, char *text,
                              size_t text_cap)
{
    char mac[sizeof(d->mac)];
    for (size_t i = 0; i < sizeof(mac); i++) {
        mac[i] = (char)(d->mac[i] >= 'a' && d->mac[i] <= 'f' ? d->mac[i] - 'a' + 'A' : d->mac[i]);
    }
    (void)snprintf(topic, topic_cap, "tasmota/discovery/%s/config", mac);
    (void)snprintf(text, text_cap,
                   "{\"ip\":\"10.0.0.7\",\"dn\":\"Tasmota\",\"hn\":\"%s\",\"mac\":\"%s\",\"md\":\"Generic\","
                   "\"sw\":\"%s\","
                   "\"t\":\"%s\",\"ft\":\"%%prefix%%/%%topic%%/"
                   "\",\"tp\":[\"cmnd\",\"stat\",\"tele\"],\"ofln\":\"Offline\","
                   "\"onln\":\"Online\",\"ver\":1}",
                   d->user->topic, mac, d->now.version, d->user->topic);
    return true;
}

static bool tasmota_version(const struct pag_sim_device *d, char *topic, size_t topic_cap, char *text,
                            size_t text_cap)
{
    (void)snprintf(topic, topic_cap, "stat/%s/STATUS2", d->user->topic);
    (void)snprintf(text, text_cap,
                   "{\"StatusFWR\":{\"Version\":\"%s(%s)\",\"BuildDateTime\":\"2026-01-01T00:00:00\","
                   "\"Core\":\"2_7_4_9\","
                   "\"SDK\":\"2.2.2-dev(38a443e)\",\"CpuFrequency\":80,\"Hardware\":\"ESP8266EX\"}}",
                   d->now.version, pag_sim_tasmota_build(d));
    return false;
}

static bool tasmota_upgrade(const struct pag_sim_device *d, char *topic, size_t topic_cap, char *text,
                            size_t text_cap)
{
    const struct pag_sim_client *c = d->body;
    (void)snprintf(topic, topic_cap, "stat/%s/UPGRADE", d->user->topic);
    (void)snprintf(text, text_cap, "{\"Upgrade\":\"%s\"}", c->said);
    return false;
}

static const struct {
    unsigned bit;
    bool (*say)(const struct pag_sim_device *d, char *topic, size_t topic_cap, char *text, size_t text_cap);
} announcements[] = { { PAG_SIM_SAY_ONLINE, tasmota_online },
                      { PAG_SIM_SAY_DISCOVERY, tasmota_discovery },
                      { PAG_SIM_SAY_VERSION, tasmota_version },
                      { PAG_SIM_SAY_UPGRADE, tasmota_upgrade } };

static bool tasmota_next(struct pag_sim_device *d, char *topic, size_t topic_cap, char *text, size_t text_cap)
{
    struct pag_sim_client *c = d->body;
    for (size_t i = 0; i < sizeof(announcements) / sizeof(announcements[0]); i++) {
        if ((c->to_say & announcements[i].bit) != 0) {
            c->to_say &= ~announcements[i].bit;
            return announcements[i].say(d, topic, topic_cap, text, text_cap);
        }
    }
    (void)snprintf(topic, topic_cap, "tele/%s/STATE", d->user->topic);
    (void)snprintf(text, text_cap, "{\"UptimeSec\":%u,\"Heap\":25,\"Wifi\":{\"RSSI\":70}}",
                   (unsigned)(pag_sim_client_now(d) / 1000));
    return false;
}

bool pag_sim_said_next(struct pag_sim_device *d, char *topic, size_t topic_cap, char *text, size_t text_cap)
{
    if (d->who->family == PAG_SIM_F_SECUREESP) {
        (void)snprintf(topic, topic_cap, "/status/%s", d->id);
        say_status(d, text, text_cap);
        return false;
    }
    if (d->user != NULL) {
        return tasmota_next(d, topic, topic_cap, text, text_cap);
    }
    (void)snprintf(topic, topic_cap, "pg/v1/d/%s/up/data/temp", d->id);
    (void)snprintf(text, text_cap, "%u.%u", 18 + pag_sim_random(d->world, 6), pag_sim_random(d->world, 10));
    return false;
}
