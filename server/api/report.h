#ifndef PAG_SERVER_API_REPORT_H
#define PAG_SERVER_API_REPORT_H

#include "server/app/report.h"

/*
 * A report as it came over any transport: a command's result inside it is taken first, then the report itself
 * (an action id of 0 is a result alone). call->done once, as for pag_app_report; a result for a command that
 * is not known counts as taken, so that the device forgets it. in lives in call->arena.
 */
void pag_api_report(struct pag_call *call, struct pag_report_in *in);

/* Bytes of free text in a report, which stay in the device's history; and leaving them out. */
size_t pag_api_report_words(const struct pag_report_in *in);
void pag_api_report_silence(struct pag_report_in *in);

#endif
