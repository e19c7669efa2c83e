#ifndef PAG_SERVER_API_NATIVE_NATIVE_H
#define PAG_SERVER_API_NATIVE_NATIVE_H

#include "host/http.h"

/* Native v1 over HTTP (docs/spec/native.md): CBOR in, CBOR out, empty bodies with every refusal. */
void pag_native_check(struct pag_http_request *req);     /* POST /v1/check: certificate */
void pag_native_blob(struct pag_http_request *req);      /* GET, HEAD /v1/blob/{sha256}: certificate */
void pag_native_signature(struct pag_http_request *req); /* GET, HEAD /v1/blob/{sha256}/sig: certificate */
void pag_native_report(struct pag_http_request *req);    /* POST /v1/report: certificate */
void pag_native_enroll(struct pag_http_request *req);    /* POST /v1/enroll: claim in the body */
/* GET /v1/trust/{version} and /v1/trust/{product}/{version}: certificate of that product */
void pag_native_trust(struct pag_http_request *req);

#endif
