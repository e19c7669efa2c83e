#ifndef PAG_SERVER_API_REST_QUERY_H
#define PAG_SERVER_API_REST_QUERY_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"

/*
 * Cursors of lists: opaque text that holds where the next page starts and is bound to its query by a MAC.
 * "<base64url of position>.<base64url of the first 16 bytes of HMAC-SHA256(key, SHA-256(query) ||
 * SHA-256(position))>".
 */

enum { PAG_CURSOR_KEY_BYTES = 32, PAG_CURSOR_POSITION_MAX = 256 };

/* Text in the arena, NULL without memory or when position is over PAG_CURSOR_POSITION_MAX. */
const char *pag_cursor_make(struct pag_arena *arena, const uint8_t key[PAG_CURSOR_KEY_BYTES],
                            struct pag_span query, struct pag_span position);

/* The position in the arena. PAG_E_SYNTAX: not of this server, altered, or of another query. */
enum pag_err pag_cursor_read(struct pag_arena *arena, const uint8_t key[PAG_CURSOR_KEY_BYTES],
                             struct pag_span query, struct pag_span cursor, struct pag_span *position);

/* limit= of a list: def when the text is empty; 1 to 1000, else PAG_E_RANGE or PAG_E_SYNTAX. */
enum pag_err pag_limit_read(struct pag_span text, uint32_t def, uint32_t *out);

#endif
