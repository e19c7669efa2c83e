#ifndef PAG_SERVER_API_EST_BASE64_H
#define PAG_SERVER_API_EST_BASE64_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Base64 as EST carries it (RFC 8951 3): white space anywhere, one padded text. out: appended, room for three
 * quarters of in. PAG_E_SYNTAX (other characters, text after the padding, a length that is cut off, bits that
 * must be zero), PAG_E_SPACE.
 */
enum pag_err pag_est_decode(struct pag_span in, struct pag_buf *out);
/* The other way, in lines of 64 characters, each with a line feed. PAG_E_SPACE. */
enum pag_err pag_est_encode(struct pag_span in, struct pag_buf *out);

#endif
