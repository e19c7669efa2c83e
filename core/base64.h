#ifndef PAG_CORE_BASE64_H
#define PAG_CORE_BASE64_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* What a character of base64 counts, 0 .. 63; -1: it is none. */
int pag_base64_digit(uint8_t c);
/*
 * One padded text, white space anywhere (RFC 8951 3). out: appended, room for three quarters of in; as it was
 * after an error. PAG_E_SYNTAX (other characters, text after the padding, a length that is cut off, bits that
 * must be zero), PAG_E_SPACE.
 */
enum pag_err pag_base64_decode(struct pag_span in, struct pag_buf *out);
/* The other way, in lines of 64 characters, each with a line feed. PAG_E_SPACE. */
enum pag_err pag_base64_lines(struct pag_span in, struct pag_buf *out);

#endif
