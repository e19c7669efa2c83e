#ifndef PAG_CLI_PROGRESS_H
#define PAG_CLI_PROGRESS_H

#include "cli/cli.h"

/* A bar on a terminal; elsewhere one line every 10 % (or 30 s). All on stderr, nothing with --quiet. */
struct pag_progress {
    struct pag_cli *cli;
    const char *label;
    uint64_t began_ms;
    uint64_t drawn_ms;
    unsigned tenth; /* last line's 10 % step */
    uint64_t done, all;
    bool drawn;
};

void pag_progress_begin(struct pag_progress *p, struct pag_cli *cli, const char *label);
/* done of all bytes; all 0 while unknown. */
void pag_progress_step(struct pag_progress *p, uint64_t done, uint64_t all);
/* Removes the bar. */
void pag_progress_end(struct pag_progress *p, bool ok);

#endif
