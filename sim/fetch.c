#include "sim/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "sim/client.h"

enum { FLASH_EVERY = 256 * 1024, CONNECT_MS = 20000 };

static uint64_t now_of(const struct pag_sim_device *d)
{
    return pag_loop_now_ms(d->world->loop);
}

static enum pag_sim_fetch_event fail(struct pag_sim_fetch *f, enum pag_err err, const char *what, int code)
{
    f->err = err;
    f->what = what;
    f->code = code;
    return PAG_SIM_FETCH_FAILED;
}

enum pag_err pag_sim_fetch_open(struct pag_sim_device *d, struct pag_sim_fetch *f,
                                const struct pag_sim_address_of *to)
{
    const struct pag_sim_client *c = d->body;
    const enum pag_err err = c->port.net.open(d, to->host, to->port, to->trust, &f->conn);
    f->wire_at = 0;
    f->due_ms = now_of(d) + CONNECT_MS;
    f->at = err == PAG_OK ? PAG_SIM_FETCH_SENDING : PAG_SIM_FETCH_OFF;
    return err;
}

static enum pag_sim_fetch_event do_send(struct pag_sim_device *d, struct pag_sim_fetch *f)
{
    const struct pag_sim_client *c = d->body;
    while (f->wire_at < f->wire_n) {
        size_t n = f->wire_n - f->wire_at;
        const enum pag_err err = c->port.net.write(d, &f->conn, f->wire + f->wire_at, &n);
        if (err != PAG_OK) {
            return err == PAG_E_AGAIN
                       ? PAG_SIM_FETCH_AGAIN
                       : fail(f, err, f->wire_at == 0 ? "cannot connect" : "sending failed", -1);
        }
        f->wire_at += n;
    }
    f->wire_n = 0;
    f->at = PAG_SIM_FETCH_WAITING;
    f->due_ms = now_of(d) + d->who->first_ms;
    return PAG_SIM_FETCH_AGAIN;
}

static enum pag_sim_fetch_event do_head(struct pag_sim_device *d, struct pag_sim_fetch *f)
{
    const struct pag_sim_client *c = d->body;
    size_t n = sizeof(f->wire) - f->wire_n;
    const enum pag_err err = n > 0 ? c->port.net.read(d, &f->conn, f->wire + f->wire_n, &n) : PAG_E_LIMIT;
    if (err != PAG_OK) {
        return err == PAG_E_AGAIN ? PAG_SIM_FETCH_AGAIN : fail(f, err, "no reply", -5);
    }
    f->wire_n += n;
    if (pag_sim_head_read(pag_span_of(f->wire, f->wire_n), &f->head) == PAG_E_SHORT) {
        return PAG_SIM_FETCH_AGAIN;
    }
    f->at = PAG_SIM_FETCH_JUDGED;
    return PAG_SIM_FETCH_HEAD;
}

/* Flash is erased before a body is read, and written now and then. */
static void write_flash(struct pag_sim_device *d, struct pag_sim_fetch *f)
{
    const uint32_t least = d->who->flash_ms[0];
    const uint32_t spread = d->who->flash_ms[1] - least + 1U;
    if (f->body_n >= f->flash_at) {
        f->flash_at += FLASH_EVERY;
        f->busy_ms = now_of(d) + (least + pag_sim_random(d->world, spread)) / d->world->options->faster;
    }
}

enum pag_err pag_sim_fetch_body(struct pag_sim_device *d, struct pag_sim_fetch *f, uint32_t bytes,
                                uint32_t peek_at)
{
    f->body = malloc(bytes > 0 ? bytes : 1);
    if (f->body == NULL) {
        return PAG_E_NO_MEMORY;
    }
    const size_t there = f->wire_n - f->head.bytes;
    f->body_bytes = bytes;
    f->body_n = there < bytes ? (uint32_t)there : bytes;
    f->early = f->body_n;
    memcpy(f->body, f->wire + f->head.bytes, f->body_n);
    f->peek_at = peek_at < bytes ? peek_at : bytes;
    f->flash_at = f->body_n;
    f->at = PAG_SIM_FETCH_READING;
    f->due_ms = now_of(d) + d->who->stall_ms;
    if (bytes > PAG_SIM_SECTOR) { /* anything smaller is kept in memory */
        write_flash(d, f);
    }
    return PAG_OK;
}

static enum pag_sim_fetch_event do_body(struct pag_sim_device *d, struct pag_sim_fetch *f)
{
    const struct pag_sim_client *c = d->body;
    while (f->body_n < f->body_bytes) {
        if (f->peek_at > 0 && f->body_n >= f->peek_at) {
            break;
        }
        size_t n = f->body_bytes - f->body_n;
        const enum pag_err err = c->port.net.read(d, &f->conn, f->body + f->body_n, &n);
        if (err != PAG_OK) {
            return err == PAG_E_AGAIN ? PAG_SIM_FETCH_AGAIN : fail(f, err, "download broke off", 6);
        }
        f->body_n += (uint32_t)n;
        f->due_ms = now_of(d) + d->who->stall_ms;
        if (d->lose_link_at > 0 && f->body_n >= d->lose_link_at) {
            d->lose_link_at = 0;
            d->link_losses++;
            return fail(f, PAG_E_IO, "the link was lost", 6);
        }
        if (f->body_n > f->flash_at && f->body_n < f->body_bytes) {
            write_flash(d, f);
            return PAG_SIM_FETCH_AGAIN;
        }
    }
    if (f->peek_at > 0) {
        f->peek_at = 0;
        return PAG_SIM_FETCH_PEEK;
    }
    return PAG_SIM_FETCH_DONE;
}

enum pag_sim_fetch_event pag_sim_fetch_step(struct pag_sim_device *d, struct pag_sim_fetch *f)
{
    if (f->at == PAG_SIM_FETCH_READING && now_of(d) < f->busy_ms) {
        f->due_ms = f->busy_ms + d->who->stall_ms;
        return PAG_SIM_FETCH_AGAIN;
    }
    if (now_of(d) >= f->due_ms) {
        return fail(f, PAG_E_TIMEOUT, "stalled", -11);
    }
    switch (f->at) {
    case PAG_SIM_FETCH_SENDING:
        return do_send(d, f);
    case PAG_SIM_FETCH_WAITING:
        return do_head(d, f);
    case PAG_SIM_FETCH_READING:
        return do_body(d, f);
    case PAG_SIM_FETCH_OFF:
    case PAG_SIM_FETCH_JUDGED:
        break;
    }
    return PAG_SIM_FETCH_AGAIN;
}

void pag_sim_fetch_close(struct pag_sim_device *d, struct pag_sim_fetch *f)
{
    const struct pag_sim_client *c = d->body;
    if (f->at != PAG_SIM_FETCH_OFF) {
        c->port.net.close(d, &f->conn);
    }
    free(f->body);
    f->body = NULL;
    f->body_n = f->body_bytes = f->early = 0;
    f->peek_at = 0;
    f->at = PAG_SIM_FETCH_OFF;
}
