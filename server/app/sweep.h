#ifndef PAG_SERVER_APP_SWEEP_H
#define PAG_SERVER_APP_SWEEP_H

#include "server/app/app.h"

/* What time alone changes. Called again and again by whoever has a clock. */

struct pag_sweep_in {
    int64_t events_ms;  /* events older than this are forgotten (the audit chain is not); 0: never */
    int64_t silence_ms; /* an open action that says nothing for so long is given up; 0: never */
};
struct pag_sweep_out {
    uint32_t actions;  /* given up: state cancelled; the device is offered anew when it asks */
    uint32_t commands; /* expired */
    uint32_t events;   /* forgotten */
    uint32_t rounds;   /* of devices judged anew, because what their product publishes has changed */
    bool judging;      /* some of those are left */
    bool more;         /* there was more than fits one transaction: call again */
};
/* Also forgets claims a week after their end, answers to repeated requests after a day, and tokens a month
 * after they ended or were revoked. PAG_E_BUSY. */
void pag_app_sweep(struct pag_call *call, const struct pag_sweep_in *in, struct pag_sweep_out *out);

/* A device was refused something because it asked too much: event device.limited. Written in its own time. */
struct pag_limited {
    const char *device;
    const char *what; /* "requests", "messages", "text" */
    uint64_t refused; /* since the last telling */
};
void pag_app_limited(struct pag_app_thread *thread, const struct pag_limited *what);

#endif
