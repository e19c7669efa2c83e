#ifndef PAG_SERVER_API_EST_EST_H
#define PAG_SERVER_API_EST_EST_H

#include "host/http.h"

/*
 * Enrollment over Secure Transport (RFC 7030, RFC 8951), docs/spec/est.md: below /.well-known/est/, with a
 * product's name as the label or without, on the listener with TLS only. Refusals are a sentence.
 */
void pag_est_cacerts(struct pag_http_request *req);        /* GET: nothing asked for */
void pag_est_csrattrs(struct pag_http_request *req);       /* GET: nothing asked for */
void pag_est_simpleenroll(struct pag_http_request *req);   /* POST: a claim as Basic's password */
void pag_est_simplereenroll(struct pag_http_request *req); /* POST: the device's certificate */

enum { PAG_EST_BODY_MAX = 8192 };

#endif
