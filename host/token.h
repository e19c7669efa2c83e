#ifndef PAG_HOST_TOKEN_H
#define PAG_HOST_TOKEN_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Secrets that people carry. Only their SHA-256 is stored.
 *   API token  pgt_<12 hex: id>_<43 base62: 256 random bits>_<8 hex: CRC-32 of all before the last '_'>
 *   claim      26 Crockford base32 symbols (128 random bits) and a check symbol; dashes and case do not
 * matter
 */
enum {
    PAG_TOKEN_ID_CHARS = 12,
    PAG_TOKEN_CHARS = 4 + 12 + 1 + 43 + 1 + 8,
    PAG_CLAIM_CHARS = 27,
};

struct pag_api_token {
    char text[PAG_TOKEN_CHARS + 1]; /* show it once, wipe it */
    char id[PAG_TOKEN_ID_CHARS + 1];
    uint8_t sha256[PAG_SHA256_BYTES]; /* of text */
};

void pag_api_token_make(struct pag_api_token *out);
/* Checks the shape and the CRC; no secret needed, so a typo is told apart from a wrong token. PAG_E_SYNTAX,
 * PAG_E_CHECKSUM. out->text is filled too. */
enum pag_err pag_api_token_parse(struct pag_span text, struct pag_api_token *out);

struct pag_claim {
    char text[PAG_CLAIM_CHARS + 1];
    uint8_t sha256[PAG_SHA256_BYTES]; /* of the 16 bytes */
};

void pag_claim_make(struct pag_claim *out);
/* Accepts lower case, dashes, O for 0, I and L for 1. out->text is the canonical form. PAG_E_SYNTAX,
 * PAG_E_CHECKSUM. */
enum pag_err pag_claim_parse(struct pag_span text, struct pag_claim *out);

#endif
