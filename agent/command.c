#include "agent/inner.h"
#include "core/bytes.h"
#include "core/mem.h"

enum { RESULT_PATIENCE_MS = 3000 };

bool pag_in_seen_before(struct pag_inner *a, uint32_t id)
{
    for (size_t i = 0; i < PAG_IN_SEEN_MAX; i++) {
        if (a->seen[i] == id) {
            return true;
        }
    }
    a->seen[a->seen_at] = id;
    a->seen_at = (uint8_t)((a->seen_at + 1) % PAG_IN_SEEN_MAX);
    return false;
}

uint64_t pag_in_now_s(const struct pag_inner *a)
{
    uint64_t now_s = pag_in_floor(a);
    uint64_t unix_s = a->port->now_unix_s != NULL ? a->port->now_unix_s(a->port->ctx) : 0;
    return unix_s > now_s ? unix_s : now_s;
}

/* Is an image being brought in that may still be called off? */
static bool under_way(const struct pag_inner *a)
{
    uint8_t s = a->state == PAG_AGENT_REPORT ? a->after : a->state;
    return a->target.has && (s == PAG_AGENT_FETCH || s == PAG_AGENT_VERIFY || s == PAG_AGENT_ARM);
}

static enum pag_err cancel(struct pag_inner *a, struct pag_span arg)
{
    uint32_t id = 0;
    if (pag_parse_u32(arg, &id) != PAG_OK || !under_way(a) || id != a->target.action_id) {
        return PAG_E_NOT_FOUND;
    }
    a->cancel = true; /* FETCH, VERIFY and ARM look before each step */
    return PAG_OK;
}

static enum pag_err ask_application(struct pag_inner *a, const struct pag_native_command *c,
                                    struct pag_buf *text)
{
    if (a->hooks == NULL || a->hooks->on_command == NULL) {
        return PAG_E_UNSUPPORTED;
    }
    struct pag_agent_command out = { c->kind, c->id, c->arg };
    return a->hooks->on_command(a->hooks_ctx, &out, text);
}

static enum pag_err execute(struct pag_inner *a, const struct pag_native_command *c, struct pag_buf *text)
{
    if (c->expires_at != 0 && pag_in_now_s(a) > c->expires_at) {
        return PAG_E_EXPIRED;
    }
    switch ((enum pag_command_kind)c->kind) {
    case PAG_COMMAND_CHECK:
        return pag_in_trigger(a, c->id != 0 ? 0 : pag_in_ms(a->set->trigger_jitter_s));
    case PAG_COMMAND_REBOOT:
        a->reboot_wanted = true; /* once the answer is out and nothing is being written */
        return PAG_OK;
    case PAG_COMMAND_CANCEL:
        return cancel(a, c->arg);
    case PAG_COMMAND_IDENTIFY:
    case PAG_COMMAND_CONFIG:
    case PAG_COMMAND_APP:
        return ask_application(a, c, text);
    case PAG_COMMAND_RESET:
    case PAG_COMMAND_WIPE:
    case PAG_COMMAND_REENROLL:
        break; /* agent/order.c */
    }
    return PAG_E_UNSUPPORTED;
}

void pag_in_answered(struct pag_inner *a, uint32_t id, enum pag_err code, const char *text)
{
    struct pag_buf b = { a->result.text, 0, sizeof a->result.text };
    if (text != NULL) {
        (void)pag_buf_put_str(&b, text);
        a->result.text_n = (uint8_t)b.n;
    }
    a->result.has = true;
    a->result.id = id;
    a->result.code = code;
    a->result.packet = 0;
    a->result.since_ms = a->now_ms;
    a->result.wait_ms = RESULT_PATIENCE_MS;
}

void pag_in_command(struct pag_inner *a, const struct pag_native_command *c)
{
    if (c->order.n > 0 || pag_command_kind_signed(c->kind)) {
        pag_in_order_take(a, c);
        return;
    }
    /* One answer at a time: what does not fit comes again with the next check. */
    if (c->id != 0 && (a->result.has || pag_in_seen_before(a, c->id))) {
        return;
    }
    struct pag_buf text = { a->result.text, 0, sizeof a->result.text };
    enum pag_err err = execute(a, c, &text);
    a->fig.commands++;
    pag_in_log(a, "agent.command", pag_err_word(err), c->kind);
    if (c->id == 0) {
        return;
    }
    pag_in_answered(a, c->id, err, NULL);
    a->result.text_n = (uint8_t)(pag_utf8_ok(pag_buf_span(&text)) ? text.n : 0);
}
