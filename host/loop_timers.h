#ifndef PAG_HOST_LOOP_TIMERS_H
#define PAG_HOST_LOOP_TIMERS_H

#include "host/loop.h"

/*
 * Armed timers by due time: a pairing heap threaded through the timers themselves, so that arming cannot
 * fail. Insert O(1), remove O(log n) amortized. root: the earliest, NULL when none.
 */
void pag_timers_add(struct pag_timer **root, struct pag_timer *t);
void pag_timers_remove(struct pag_timer **root, struct pag_timer *t);

#endif
