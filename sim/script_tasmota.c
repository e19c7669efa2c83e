#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/said.h"
#include "sim/scripts.h"

/*
 * Tasmota: OtaUrl and Upgrade come over MQTT. Some attempts, the second half of them for the packed file;
 * what does not fit is reached over a smaller image of the same version, called -minimal, which asks for the
 * first one again. An ESP32 has one slot: it restarts into its factory image, called safeboot, and that asks;
 * never for a packed file.
 */

const char *pag_sim_tasmota_build(const struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    if (d->who->esp32) {
        return c->is_stand_in ? "safeboot" : "tasmota32";
    }
    return c->is_stand_in ? "minimal" : "tasmota";
}

/* "…/tasmota-DE.bin.gz" becomes "…/tasmota-minimal.bin.gz". */
void pag_sim_tasmota_minimal(const char *url, char *out, size_t cap)
{
    const char *slash = strrchr(url, '/');
    const char *file = slash != NULL ? slash + 1 : url;
    const char *dot = strchr(file, '.');
    size_t name = dot != NULL ? (size_t)(dot - file) : strlen(file);
    for (size_t i = name; i > 0; i--) {
        if (file[i - 1] == '-') {
            name = i - 1;
            break;
        }
    }
    (void)snprintf(out, cap, "%.*s%.*s-minimal%s", (int)(file - url), url, (int)name, file,
                   dot != NULL ? dot : "");
}

static enum pag_err ask(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    char version[PAG_VERSION_MAX + 16];
    struct pag_buf out = { c->fetch.wire, 0, sizeof(c->fetch.wire) };
    const bool packed = !d->who->esp32 && c->step >= d->who->attempts / 2U && strstr(c->extra, ".gz") == NULL;
    (void)snprintf(c->path, sizeof(c->path), "%.190s%s", c->extra, packed ? ".gz" : "");
    if (c->detour) { /* told that it does not fit */
        char minimal[PAG_SIM_PATH_MAX];
        pag_sim_tasmota_minimal(c->path, minimal, sizeof(minimal));
        memcpy(c->path, minimal, sizeof(minimal));
    }
    struct pag_sim_update_ask about = pag_sim_client_about(d);
    (void)snprintf(version, sizeof(version), "%s(%s)", d->now.version, pag_sim_tasmota_build(d));
    about.version = version;
    const enum pag_err err = pag_sim_update_request(&out, &about);
    c->fetch.wire_n = out.n;
    return err;
}

static enum pag_sim_next give_up(struct pag_sim_device *d, enum pag_sim_update verdict)
{
    struct pag_sim_client *c = d->body;
    (void)snprintf(c->said, sizeof(c->said), "Failed %d", (int)verdict);
    c->to_say |= PAG_SIM_SAY_UPGRADE;
    return pag_sim_client_fail(d, "upgrade failed", (int)verdict);
}

static enum pag_sim_next head(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const enum pag_sim_update verdict = pag_sim_script_judge(d);
    if (verdict == PAG_SIM_UPDATE_GO) {
        pag_sim_link_close(d, false);
        return PAG_SIM_NEXT_READ;
    }
    if (verdict == PAG_SIM_UPDATE_NONE) {
        return PAG_SIM_NEXT_CURRENT;
    }
    const bool no_room = verdict == PAG_SIM_UPDATE_SPACE || verdict == PAG_SIM_UPDATE_FLASH_SIZE;
    if (no_room && !c->detour && !d->who->esp32) {
        c->detour = true; /* the detour */
        return PAG_SIM_NEXT_ASK;
    }
    return c->step + 1 < d->who->attempts ? PAG_SIM_NEXT_ASK : give_up(d, verdict);
}

static void restarted(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    c->is_stand_in = c->detour;
    c->detour = false;
}

/* A stand-in goes for what it stands in for, by itself. */
static void told(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c->detour && d->who->esp32) {
        pag_sim_client_restart(d); /* into safeboot */
    } else if (c->is_stand_in) {
        if (c->phase == PAG_SIM_PHASE_IDLE) {
            pag_sim_client_begin(d);
        }
    } else if (c->to_confirm) {
        c->to_confirm = false;
        pag_sim_device_outcome(d, PAG_SIM_CONFIRMED);
    }
}

static void message(struct pag_sim_device *d, const struct pag_mqttc_packet *m)
{
    struct pag_sim_client *c = d->body;
    size_t at = m->topic.n;
    while (at > 0 && m->topic.p[at - 1] != '/') {
        at--;
    }
    const struct pag_span word = pag_span_of(m->topic.p + at, m->topic.n - at);
    d->reached = true;
    if (pag_span_eq_nocase(word, "Status") && pag_span_eq_str(m->payload, "2")) {
        c->to_say |= PAG_SIM_SAY_VERSION;
    } else if (pag_span_eq_nocase(word, "OtaUrl")) {
        /* Path only: host and port are those of the run. */
        const char *url = (const char *)m->payload.p;
        const size_t scheme = pag_span_starts(m->payload, "http://") ? strlen("http://") : 0;
        const size_t slash = pag_span_find(m->payload, scheme, '/');
        if (m->payload.n - slash < sizeof(c->extra)) {
            memcpy(c->extra, url + slash, m->payload.n - slash);
            c->extra[m->payload.n - slash] = '\0';
        }
    } else if (pag_span_eq_nocase(word, "Upgrade") && c->phase == PAG_SIM_PHASE_IDLE && c->extra[0] != '\0' &&
               (pag_span_eq_str(m->payload, "1") || m->payload.n >= 3)) {
        if (d->who->esp32 && !c->is_stand_in) {
            c->detour = true; /* at its next message: what came with the command is acknowledged first */
        } else {
            pag_sim_client_begin(d);
        }
    }
}

const struct pag_sim_script pag_sim_script_tasmota = { .waits = true,
                                                       .ask = ask,
                                                       .head = head,
                                                       .body = pag_sim_script_whole,
                                                       .message = message,
                                                       .restarted = restarted,
                                                       .told = told };
