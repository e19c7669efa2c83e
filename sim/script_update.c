#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/scripts.h"

/* ESP8266httpUpdate, ESP32 HTTPUpdate and the ?tag= scheme: one request, one answer. */

static enum pag_err put(struct pag_sim_device *d, const char *version)
{
    struct pag_sim_client *c = d->body;
    struct pag_sim_update_ask about = pag_sim_client_about(d);
    struct pag_buf out = { c->fetch.wire, 0, sizeof(c->fetch.wire) };
    about.version = version;
    const enum pag_err err = pag_sim_update_request(&out, &about);
    c->fetch.wire_n = out.n;
    return err;
}

static enum pag_err ask_update(struct pag_sim_device *d)
{
    pag_sim_client_path(d, "");
    return put(d, d->now.version);
}

static enum pag_err ask_tag(struct pag_sim_device *d)
{
    char query[PAG_VERSION_MAX + 8];
    (void)snprintf(query, sizeof(query), "?tag=%s", d->now.version); /* raw, as the sketch does it */
    pag_sim_client_path(d, query);
    return put(d, "");
}

/* A reply that says that this is not its server, or that it may not have an update. */
static bool turned_away(enum pag_sim_update verdict)
{
    return verdict == PAG_SIM_UPDATE_NO_SERVER || verdict == PAG_SIM_UPDATE_NOT_FOUND ||
           verdict == PAG_SIM_UPDATE_FORBIDDEN || verdict == PAG_SIM_UPDATE_UNAUTHORIZED ||
           verdict == PAG_SIM_UPDATE_WRONG_CODE;
}

enum pag_sim_update pag_sim_script_judge(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_update_ask about = pag_sim_client_about(d);
    enum pag_sim_update verdict = PAG_SIM_UPDATE_NO_SERVER;
    (void)pag_sim_update_head(pag_span_of(c->fetch.wire, c->fetch.wire_n), &about, &c->announced, &verdict);
    d->reached = d->reached || !turned_away(verdict);
    return verdict;
}

static enum pag_sim_next head(struct pag_sim_device *d)
{
    const enum pag_sim_update verdict = pag_sim_script_judge(d);
    if (verdict == PAG_SIM_UPDATE_GO) {
        /* The sketch's connections are closed before the first byte is written, without a DISCONNECT. */
        pag_sim_link_close(d, false);
        return PAG_SIM_NEXT_READ;
    }
    return verdict == PAG_SIM_UPDATE_NONE ? PAG_SIM_NEXT_CURRENT
                                          : pag_sim_client_fail(d, "update refused", (int)verdict);
}

enum pag_sim_next pag_sim_script_whole(struct pag_sim_device *d)
{
    return pag_sim_client_take(d, false) == PAG_OK ? PAG_SIM_NEXT_INSTALL
                                                   : pag_sim_client_fail(d, "no memory", -8);
}

const struct pag_sim_script pag_sim_script_update = { .ask = ask_update,
                                                      .head = head,
                                                      .body = pag_sim_script_whole };
const struct pag_sim_script pag_sim_script_tag = { .ask = ask_tag,
                                                   .head = head,
                                                   .body = pag_sim_script_whole };
