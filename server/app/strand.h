#ifndef PAG_SERVER_APP_STRAND_H
#define PAG_SERVER_APP_STRAND_H

#include "server/app/op.h"
#include "server/app/releases.h"

/* Of this room only. */

/* A release from its row, as the planner reads it; drafts too. p->release is r. PAG_E_NO_MEMORY. */
enum pag_err pag_release_candidate(struct pag_arena *arena, const struct pag_release *r,
                                   struct pag_plan_release *p);

/* The devices that a change of what is published would cut off; r as read by pag_find_release. *generation:
 * of the catalog that this holds for. */
enum pag_err pag_strand_find(struct pag_call *call, const struct pag_release *r, bool publish,
                             struct pag_strand *out, uint64_t *generation);
/* The refusal that says so. */
enum pag_err pag_strand_refuse(struct pag_call *call, const struct pag_release *r, bool publish,
                               const struct pag_strand *s);

#endif
