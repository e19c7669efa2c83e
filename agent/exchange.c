#include "agent/inner.h"
#include "core/bytes.h"

/* An exchange may take so many times io_timeout_s in all; a stream is bounded by check_pace in fetch.c. */
enum { WHOLE_FACTOR = 4 };

bool pag_in_tail_free(const struct pag_inner *a)
{
    if (a->x.phase == PAG_IN_X_DONE || a->state == PAG_AGENT_ENROLL) {
        return false;
    }
    if (a->x.phase == PAG_IN_X_BODY) {
        return a->x.stream && a->target.fill == 0;
    }
    return true;
}

enum pag_err pag_in_ask(struct pag_inner *a, const struct pag_in_request *r)
{
    struct pag_buf out = pag_in_scratch(a, 0, PAG_IN_REQUEST_MAX);
    struct pag_httpc_request q = {
        .method = r->method,
        .path = r->path,
        .host = a->set->host,
        .port = a->set->port,
        .has_range = r->has_range,
        .range_from = r->from,
        .range_to = r->to,
        .body = r->body,
    };
    enum pag_err err = pag_httpc_request_put(&out, &q);
    a->x = (struct pag_in_exchange){ .stream = r->stream, .since_ms = a->now_ms, .begun_ms = a->now_ms };
    if (err != PAG_OK) {
        return err;
    }
    a->x.request_n = (uint32_t)out.n;
    a->x.phase = pag_httpc_reusable(&a->http) ? PAG_IN_X_SEND : PAG_IN_X_OPEN;
    return PAG_OK;
}

void pag_in_forget(struct pag_inner *a, bool keep_connection)
{
    a->x.phase = PAG_IN_X_IDLE;
    if (!keep_connection || !pag_httpc_reusable(&a->http)) {
        pag_httpc_close(&a->http);
    }
}

static enum pag_err open_connection(struct pag_inner *a)
{
    struct pag_net_trust trust;
    enum pag_err err = pag_in_trust_of(a, &trust);
    return err == PAG_OK ? pag_httpc_open(&a->http, a->set->host, a->set->port, &trust) : err;
}

static enum pag_err read_body(struct pag_inner *a)
{
    size_t n = PAG_IN_BODY_MAX - a->x.body_n;
    enum pag_err err = pag_httpc_body(&a->http, a->scratch + a->x.body_n, &n);
    if (err != PAG_OK) {
        return err;
    }
    a->x.body_n += (uint32_t)n;
    a->x.since_ms = a->now_ms;
    if (a->x.body_n < a->x.reply.length) {
        return PAG_E_AGAIN;
    }
    a->x.phase = PAG_IN_X_DONE;
    return PAG_OK;
}

static enum pag_err after_head(struct pag_inner *a)
{
    const struct pag_httpc_reply *r = &a->x.reply;
    a->x.phase = PAG_IN_X_BODY;
    if (a->x.stream && (r->status == 200 || r->status == 206)) {
        return PAG_OK;
    }
    a->x.stream = false;
    if (r->length > PAG_IN_BODY_MAX) {
        return r->status < 300 ? PAG_E_LIMIT : (a->x.phase = PAG_IN_X_DONE, PAG_OK);
    }
    if (r->length == 0) {
        a->x.phase = PAG_IN_X_DONE;
        return PAG_OK;
    }
    return PAG_E_AGAIN;
}

static enum pag_err next_phase(struct pag_inner *a, enum pag_err err, enum pag_in_phase next)
{
    if (err != PAG_OK) {
        return err;
    }
    a->x.phase = (uint8_t)next;
    a->x.since_ms = a->now_ms;
    return PAG_E_AGAIN;
}

static enum pag_err advance(struct pag_inner *a)
{
    enum pag_err err = PAG_OK;
    switch ((enum pag_in_phase)a->x.phase) {
    case PAG_IN_X_OPEN:
        return next_phase(a, open_connection(a), PAG_IN_X_READY);
    case PAG_IN_X_READY:
        return next_phase(a, pag_httpc_ready(&a->http), PAG_IN_X_SEND);
    case PAG_IN_X_SEND:
        return next_phase(a, pag_httpc_send(&a->http, pag_span_of(a->scratch, a->x.request_n)),
                          PAG_IN_X_HEAD);
    case PAG_IN_X_HEAD:
        err = pag_httpc_head(&a->http, &a->x.reply);
        return err == PAG_OK ? after_head(a) : err;
    case PAG_IN_X_BODY:
        return a->x.stream ? PAG_OK : read_body(a);
    case PAG_IN_X_IDLE:
    case PAG_IN_X_DONE:
        break;
    }
    return a->x.phase == PAG_IN_X_DONE ? PAG_OK : PAG_E_INTERNAL;
}

enum pag_err pag_in_answer(struct pag_inner *a)
{
    bool reused = a->http.used;
    enum pag_err err = advance(a);
    uint32_t silence_ms = pag_in_ms(a->set->io_timeout_s);
    if (err == PAG_E_AGAIN && (pag_in_passed(a, a->x.since_ms, silence_ms) ||
                               pag_in_passed(a, a->x.begun_ms, WHOLE_FACTOR * silence_ms))) {
        err = PAG_E_TIMEOUT;
    }
    if (err == PAG_OK || err == PAG_E_AGAIN) {
        return err;
    }
    bool before_reply = a->x.phase == PAG_IN_X_SEND || a->x.phase == PAG_IN_X_HEAD;
    pag_httpc_close(&a->http);
    /* A kept connection that the server has closed meanwhile says nothing: once more on a new one. */
    if (reused && before_reply && !a->x.retried && err != PAG_E_TIMEOUT) {
        a->x.retried = true;
        a->x.phase = PAG_IN_X_OPEN;
        a->x.since_ms = a->now_ms;
        return PAG_E_AGAIN;
    }
    a->x.phase = PAG_IN_X_IDLE;
    return err;
}

static const struct {
    uint16_t status;
    enum pag_err err;
    const char *what;
} known[] = {
    { 200, PAG_OK, "" },
    { 201, PAG_OK, "" },
    { 204, PAG_OK, "" },
    { 206, PAG_OK, "" },
    { 400, PAG_E_SYNTAX, "server: not understood" },
    { 401, PAG_E_UNAUTHENTICATED, "server: certificate not accepted" },
    { 403, PAG_E_DENIED, "server: not allowed" },
    { 404, PAG_E_NOT_FOUND, "server: not found" },
    { 409, PAG_E_CONFLICT, "server: state has moved on" },
    { 410, PAG_E_NOT_FOUND, "server: withdrawn" },
    { 413, PAG_E_LIMIT, "server: too large" },
    { 416, PAG_E_RANGE, "server: range not there" },
    { 429, PAG_E_BUSY, "server: too many requests" },
    { 503, PAG_E_BUSY, "server: busy" },
};

static enum pag_err judge_status(uint16_t status, const char **what)
{
    if (status >= 300 && status < 400) {
        *what = "redirect_refused";
        return PAG_E_DENIED;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].status == status) {
            *what = known[i].what;
            return known[i].err;
        }
    }
    *what = "server: unexpected status";
    return PAG_E_UNSUPPORTED;
}

enum pag_err pag_in_judge(struct pag_inner *a, const char **what)
{
    enum pag_err err = judge_status(a->x.reply.status, what);
    a->retry_after_s = a->x.reply.retry_after_s;
    if (err == PAG_OK) {
        pag_in_contact(a);
    }
    return err;
}

uint32_t pag_in_drop(struct pag_inner *a, enum pag_err err, const char *what)
{
    (void)pag_in_fail(a, err, what);
    pag_in_forget(a, false);
    pag_in_rest(a);
    if (err == PAG_E_CONFLICT) {
        (void)pag_in_trigger(a, 0); /* at once, but not in a circle: once a gap */
    }
    return 0;
}
