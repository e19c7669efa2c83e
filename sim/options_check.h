#ifndef PAG_SIM_OPTIONS_CHECK_H
#define PAG_SIM_OPTIONS_CHECK_H

#include "sim/options.h"

/* What is kept until all words are read. */
struct pag_sim_words {
    const char *faults, *hardware;
    bool counts_given; /* --devices, --legacy or --personality */
    FILE *say;
};

/* Whether the words make a run together; takes the devices file in, deals faults out. As
 * pag_sim_options_parse. */
enum pag_err pag_sim_options_check(struct pag_sim_options *o, const struct pag_sim_words *w);

#endif
