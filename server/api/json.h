#ifndef PAG_SERVER_API_JSON_H
#define PAG_SERVER_API_JSON_H

#include <jansson.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"

/*
 * JSON in and out for the heads. Reading is strict: UTF-8, no duplicate members, bounded depth, nothing after
 * the value, no NUL in strings. Writing never fails on bytes that are not UTF-8: such a byte becomes U+FFFD.
 */

struct pag_json_limits {
    size_t bytes; /* of the text */
    size_t depth; /* of arrays and objects */
};

/*
 * Parses text into *out (a new reference: json_decref). why->detail: byte position. PAG_E_LIMIT: too large or
 * too deep; PAG_E_SYNTAX: anything else. *out is written only on success.
 */
enum pag_err pag_json_parse(struct pag_span text, struct pag_json_limits limits, json_t **out,
                            struct pag_fail *why);

/* The text of a value, compact, in the arena. Takes the reference. {NULL,0} without memory. */
struct pag_span pag_json_dump(struct pag_arena *arena, json_t *value);

/* A string value from bytes that may not be UTF-8. New reference, NULL without memory. */
json_t *pag_json_text(struct pag_span s);
json_t *pag_json_str(const char *s); /* NULL gives JSON null */
/* Lower-case hex of bytes; null when n is 0. */
json_t *pag_json_hex(struct pag_span s);
/* RFC 3339 UTC of Unix milliseconds; null for 0. */
json_t *pag_json_time(uint64_t unix_ms);

#endif
