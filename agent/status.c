#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

/* The JSON object on up/status: docs/spec/native.md 3. */

enum { TEXT_MAX = 60 };

static void put_name(struct pag_buf *b, const char *name)
{
    (void)pag_buf_put_str(b, b->n == 0 ? "{\"" : ",\"");
    (void)pag_buf_put_str(b, name);
    (void)pag_buf_put_str(b, "\":");
}

static void put_number(struct pag_buf *b, const char *name, uint32_t v)
{
    put_name(b, name);
    (void)pag_buf_put_dec(b, v);
}

/* Texts are words of ours or checked versions; what would have to be escaped ends them. */
static void put_text(struct pag_buf *b, const char *name, const char *text)
{
    size_t n = 0;
    while (n < TEXT_MAX && text[n] >= ' ' && text[n] < 0x7F && text[n] != '"' && text[n] != '\\') {
        n++;
    }
    put_name(b, name);
    (void)pag_buf_put_str(b, "\"");
    (void)pag_buf_put(b, pag_span_of(text, n));
    (void)pag_buf_put_str(b, "\"");
}

static void put_digest(struct pag_buf *b, const uint8_t digest[PAG_SHA256_BYTES])
{
    put_name(b, "sha256");
    (void)pag_buf_put_str(b, "\"");
    (void)pag_buf_put_hex(b, pag_span_of(digest, PAG_SHA256_BYTES));
    (void)pag_buf_put_str(b, "\"");
}

static void put_board(const struct pag_inner *a, struct pag_buf *b)
{
    const struct pag_port *p = a->port;
    int32_t rssi = p->rssi_dbm != NULL ? p->rssi_dbm(p->ctx) : 0;
    const char *reason = p->reset_reason != NULL ? p->reset_reason(p->ctx) : NULL;
    if (rssi < 0 && rssi > INT8_MIN) {
        put_name(b, "rssi");
        (void)pag_buf_put_str(b, "-");
        (void)pag_buf_put_dec(b, (uint32_t)-rssi);
    }
    if (p->free_heap != NULL) {
        put_number(b, "free_heap", p->free_heap(p->ctx));
    }
    if (p->restarts != NULL) {
        put_number(b, "restarts", p->restarts(p->ctx));
    }
    if (reason != NULL && reason[0] != 0) {
        put_text(b, "reset_reason", reason);
    }
}

enum pag_err pag_in_status_put(struct pag_inner *a, struct pag_buf *b)
{
    put_text(b, "version", a->set->version[0] != 0 ? a->set->version : a->run.version);
    put_digest(b, a->run.digest);
    put_number(b, "sequence", a->run.sequence);
    put_number(b, "slot", a->slot);
    put_number(b, "boot_state", pag_in_boot_state(a));
    put_number(b, "uptime_ms", a->now_ms - a->boot_ms);
    put_number(b, "loop_max_ms", a->loop_max_ms);
    put_number(b, "mqtt_ms", a->now_ms - a->up_ms);
    put_board(a, b);
    (void)pag_buf_put_str(b, a->stale ? ",\"stale\":true" : "");
    if (a->last_error != PAG_OK) {
        put_text(b, "error", a->last_what[0] != 0 ? a->last_what : pag_err_word(a->last_error));
    }
    a->loop_max_ms = 0;
    return pag_buf_put_str(b, "}");
}
