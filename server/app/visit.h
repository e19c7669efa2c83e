#ifndef PAG_SERVER_APP_VISIT_H
#define PAG_SERVER_APP_VISIT_H

#include "server/app/check_in.h"
#include "server/app/op.h"

/* Of check_in.c and visit_answer.c. */

enum { PAG_VISIT_DIRTY_MAX = 4 };

/* One check-in being worked on; lives in the call's arena. */
struct pag_visit {
    struct pag_op *op;
    struct pag_call *call;
    const struct pag_check_in *in;
    struct pag_check_reply *out;
    const struct pag_catalog *catalog; /* valid until decided */
    uint64_t generation;               /* of catalog */
    int64_t now_ms;
    uint32_t tries;
    bool is_new;
    bool admitted; /* new, on its own word, and there is room */
    struct pag_device before, device;
    bool learned;
    char mac_owner[PAG_DEVICE_ID_MAX + 1]; /* whose the MAC is that it says; "": its own */
    bool tell_twin;                        /* two devices may say this MAC: once an hour */
    bool tell_owner;                       /* an operator is to hear of it */
    bool has_action, action_changed;       /* the one that was open */
    struct pag_action action;
    bool has_fresh; /* a new one */
    struct pag_action fresh;
    struct pag_device_image *image;
    size_t image_n;
    struct pag_device_image *dirty[PAG_VISIT_DIRTY_MAX];
    size_t dirty_n;
    bool side; /* in->file is of a stand-in */
    struct pag_plan plan;
    uint32_t serves; /* on record, of the planned image */
};

static inline const struct pag_release_image *pag_visit_image(const struct pag_visit *v)
{
    return &v->plan.release->release->image[v->plan.image];
}

/* Fills *v->out from what was decided. why: the plan as a sentence. */
enum pag_err pag_visit_answer(struct pag_visit *v, const char *why);

#endif
