#ifndef PAG_SERVER_API_REST_FIELDS_H
#define PAG_SERVER_API_REST_FIELDS_H

#include <jansson.h>

#include "server/api/rest/problem.h"

/* Reads the members of a JSON body by a table, and says everything that is wrong with them at once. */

enum pag_field_type {
    PAG_JSON_TEXT, /* min and max are bytes of UTF-8 */
    PAG_JSON_UINT, /* min and max are values */
    PAG_JSON_BOOL,
    PAG_JSON_OBJECT,
    PAG_JSON_ARRAY, /* min and max are elements */
};

struct pag_json_field {
    const char *name;
    enum pag_field_type type;
    bool required;
    bool nullable; /* null is fine: *out is then a JSON null */
    uint64_t min, max;
    json_t **out; /* borrowed from the body; NULL when the member is absent */
};

/*
 * True when body is an object that fits the table. Otherwise problem gets its code (unknown-field before
 * invalid-field) and one error a member; prefix ("" or "/settings") goes before their pointers. Texts of the
 * errors live in arena.
 */
bool pag_fields_read(struct pag_arena *arena, json_t *body, const char *prefix,
                     const struct pag_json_field *field, size_t n, struct pag_problem *problem);

/* The bytes of a text member; empty for NULL and null. */
struct pag_span pag_field_text(const json_t *v);
uint64_t pag_field_uint(const json_t *v, uint64_t absent);
bool pag_field_bool(const json_t *v, bool absent);

/* NUL-terminated copy of at most cap - 1 bytes; the table has checked the length. */
void pag_field_copy(char *dst, size_t cap, const json_t *v);

#endif
