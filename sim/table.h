#ifndef PAG_SIM_TABLE_H
#define PAG_SIM_TABLE_H

#include <stdio.h>

#include "sim/fleet.h"

/* What a person or a pipe sees while the fleet runs. */
struct pag_sim_table {
    FILE *to;
    bool tty;                 /* the same lines over and over; else a JSON object a line */
    uint32_t lines;           /* drawn last time */
    uint64_t readings, at_ms; /* of the last time, for the rate */
};

void pag_sim_table_show(struct pag_sim_table *t, const struct pag_sim_summary *s, uint64_t now_ms);

/* The final object: what was asked, sums, and one entry a device. PAG_E_IO, PAG_E_NO_MEMORY. */
enum pag_err pag_sim_report_write(FILE *to, const struct pag_sim_options *o,
                                  const struct pag_sim_world *world, uint32_t world_n, double seconds);

#endif
