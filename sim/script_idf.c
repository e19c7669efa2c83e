#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/scripts.h"

/*
 * esp_https_ota: reads the application's descriptor first and goes away when that is the version it runs. 5.3
 * with partial download: HEAD, then ranges of 64 KiB. 5.5: goes on where a download broke off, and knows 304.
 * native_ota_example does the same with one GET and without a look at the status.
 */

enum {
    V5_3 = 503,
    V5_5 = 505,
    CHUNK = 65536,
    READ_AHEAD = 1024, /* its buffer */
    VERSION_AT = 48,
    VERSION_END = VERSION_AT + PAG_VERSION_MAX,
    OK = 200,
    PARTIAL = 206,
    NOT_MODIFIED = 304,
    RANGE = 416,
};

static bool in_pieces(const struct pag_sim_device *d)
{
    return d->who->version == V5_3 && !d->who->any_status;
}

static bool resumes(const struct pag_sim_device *d)
{
    return d->who->version >= V5_5;
}

static enum pag_err ask(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    char more[192];
    char range[48] = "";
    char name[PAG_VERSION_MAX + 64];
    /* The library says nothing about the device; its application puts that into the address. */
    (void)snprintf(name, sizeof(name), "/firmware.bin?tag=%s%s%s", d->now.version,
                   c->certificate_n == 0 ? "&mac=" : "", c->certificate_n == 0 ? d->mac : "");
    pag_sim_client_path(d, name);
    const bool head = in_pieces(d) && c->step == 0;
    if (c->step == 0 && !resumes(d)) {
        c->image_n = c->total = 0;
    }
    if (in_pieces(d) && !head) {
        if (c->total - c->image_n > CHUNK) {
            (void)snprintf(range, sizeof(range), "Range: bytes=%u-%u\r\n", (unsigned)c->image_n,
                           (unsigned)(c->image_n + CHUNK - 1));
        } else {
            (void)snprintf(range, sizeof(range), "Range: bytes=%u-\r\n", (unsigned)c->image_n);
        }
    } else if (resumes(d) && c->image_n > 0) {
        (void)snprintf(range, sizeof(range), "Range: bytes=%u-\r\n", (unsigned)c->image_n);
    }
    (void)snprintf(more, sizeof(more), "User-Agent: ESP32 HTTP Client/1.0\r\n%s%s", range,
                   d->who->version <= V5_3 ? "Content-Length: 0\r\n" : "");
    return pag_sim_client_request(d, head ? "HEAD" : "GET", more);
}

static enum pag_sim_next judge_head(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_head *h = &c->fetch.head;
    if (h->status != OK || !h->has_length || h->length == 0) {
        return pag_sim_client_fail(d, "HEAD is not 200 with a length", (int)h->status);
    }
    c->total = h->length;
    return PAG_SIM_NEXT_ASK;
}

static enum pag_sim_next head(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_sim_head *h = &c->fetch.head;
    if (in_pieces(d) && c->step == 0) {
        return judge_head(d);
    }
    if (resumes(d) && h->status == NOT_MODIFIED) {
        c->image_n = 0;
        return PAG_SIM_NEXT_CURRENT;
    }
    if (resumes(d) && c->image_n > 0 && (h->status == RANGE || h->status == OK)) {
        c->image_n = 0; /* from the beginning, without Range */
        return h->status == OK ? PAG_SIM_NEXT_READ : PAG_SIM_NEXT_ASK;
    }
    const bool ok = d->who->any_status || h->status == OK || h->status == PARTIAL;
    if (!h->is_http || !ok) {
        return pag_sim_client_fail(d, "ESP_ERR_HTTP_CONNECT, or no header", (int)h->status);
    }
    if (!h->has_length || h->length == 0) {
        return pag_sim_client_fail(d, "no length, no progress", (int)h->status);
    }
    return PAG_SIM_NEXT_READ;
}

/* What is read ahead holds the descriptor: is that what runs? */
static enum pag_sim_next peek(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    char version[PAG_VERSION_MAX + 1] = "";
    struct pag_sim_fetch *f = &c->fetch;
    if (c->image_n > 0) {
        return PAG_SIM_NEXT_READ; /* in the middle of an image */
    }
    if (f->body_n < VERSION_END) {
        return pag_sim_client_fail(d, "too short for a descriptor", (int)f->body_n);
    }
    memcpy(version, f->body + VERSION_AT, PAG_VERSION_MAX);
    return strcmp(version, d->now.version) == 0 ? PAG_SIM_NEXT_CURRENT : PAG_SIM_NEXT_READ;
}

static enum pag_sim_next body(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    c->announced = (struct pag_sim_update_head){ 0 };
    if (pag_sim_client_take(d, c->image_n > 0) != PAG_OK) {
        return pag_sim_client_fail(d, "no memory", -8);
    }
    return in_pieces(d) && c->image_n < c->total ? PAG_SIM_NEXT_ASK : PAG_SIM_NEXT_INSTALL;
}

static void broken(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (resumes(d) && pag_sim_client_take(d, c->image_n > 0) != PAG_OK) {
        c->image_n = 0;
    }
}

const struct pag_sim_script pag_sim_script_idf = {
    .ask = ask, .head = head, .peek = READ_AHEAD, .peek_at = peek, .body = body, .broken = broken
};
