#include "server/api/report.h"

struct chained {
    const struct pag_report_in *in;
    void (*done)(struct pag_call *call, enum pag_err err);
    void *user;
};

static void result_done(struct pag_call *call, enum pag_err err)
{
    const struct chained *c = call->user;
    call->done = c->done;
    call->user = c->user;
    if (err != PAG_OK && err != PAG_E_NOT_FOUND && err != PAG_E_CONFLICT) {
        call->done(call, err);
    } else if (c->in->report.action_id == 0) {
        call->done(call, PAG_OK);
    } else {
        pag_app_report(call, c->in);
    }
}

void pag_api_report(struct pag_call *call, struct pag_report_in *in)
{
    if (!in->report.has_result) {
        pag_app_report(call, in);
        return;
    }
    struct chained *c = pag_arena_alloc(call->arena, sizeof *c);
    if (c == NULL) {
        call->done(call, PAG_E_NO_MEMORY);
        return;
    }
    *c = (struct chained){ .in = in, .done = call->done, .user = call->user };
    call->done = result_done;
    call->user = c;
    pag_app_command_result(call, in->device, &in->report.result);
}

size_t pag_api_report_words(const struct pag_report_in *in)
{
    return in->report.text.n + (in->report.has_result ? in->report.result.text.n : 0);
}

void pag_api_report_silence(struct pag_report_in *in)
{
    in->report.text.n = 0;
    in->report.result.text.n = 0;
}
