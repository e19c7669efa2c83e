#ifndef PAG_AGENT_CERTIFICATE_H
#define PAG_AGENT_CERTIFICATE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* What the agent must know of its own certificate. Nothing is verified: it is the server that judges it. */

struct pag_certificate_life {
    uint64_t from_s, until_s; /* Unix s; from_s < until_s */
};

/* notBefore and notAfter of an X.509 certificate in DER. PAG_E_SYNTAX, also when it ends before it begins. */
enum pag_err pag_certificate_life(struct pag_span der, struct pag_certificate_life *out);

/* Whether a certificate has the P-256 point of a PKCS#10 request; both DER. False when the request has none.
 */
bool pag_certificate_of_request(struct pag_span der, struct pag_span csr);

#endif
