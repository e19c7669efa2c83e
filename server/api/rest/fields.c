#include "server/api/rest/fields.h"

#include <string.h>

#include "core/bytes.h"

static const struct pag_json_field *find(const struct pag_json_field *field, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(field[i].name, name) == 0) {
            return &field[i];
        }
    }
    return NULL;
}

static void refuse(struct pag_problem *p, struct pag_arena *arena, const char *prefix, const char *name,
                   const char *detail)
{
    if (p->code != PAG_PROBLEM_UNKNOWN_FIELD) {
        p->code = PAG_PROBLEM_INVALID_FIELD;
    }
    pag_problem_add(p, pag_arena_printf(arena, "%s/%s", prefix, name), "invalid-field", detail);
}

/* NULL when the value fits, else what it should be. */
static const char *misfit(struct pag_arena *arena, const struct pag_json_field *f, const json_t *v)
{
    if (json_is_null(v) && f->nullable) {
        return NULL;
    }
    unsigned long long min = f->min;
    unsigned long long max = f->max;
    switch (f->type) {
    case PAG_JSON_TEXT:
        if (!json_is_string(v)) {
            return "must be text";
        }
        if (json_string_length(v) < min || json_string_length(v) > max) {
            return pag_arena_printf(arena, "must be %llu to %llu bytes long", min, max);
        }
        return NULL;
    case PAG_JSON_UINT:
        if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) < min ||
            (uint64_t)json_integer_value(v) > max) {
            return pag_arena_printf(arena, "must be a whole number from %llu to %llu", min, max);
        }
        return NULL;
    case PAG_JSON_BOOL:
        return json_is_boolean(v) ? NULL : "must be true or false";
    case PAG_JSON_OBJECT:
        return json_is_object(v) ? NULL : "must be an object";
    case PAG_JSON_ARRAY:
        if (!json_is_array(v) || json_array_size(v) < min || json_array_size(v) > max) {
            return pag_arena_printf(arena, "must be a list of %llu to %llu", min, max);
        }
        return NULL;
    }
    return "cannot be read";
}

bool pag_fields_read(struct pag_arena *arena, json_t *body, const char *prefix,
                     const struct pag_json_field *field, size_t n, struct pag_problem *problem)
{
    size_t errors = problem->error_n;
    const char *name = NULL;
    json_t *value = NULL;
    if (!json_is_object(body)) {
        problem->code = PAG_PROBLEM_INVALID_FIELD;
        pag_problem_add(problem, prefix, "invalid-field", "must be an object");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        *field[i].out = json_object_get(body, field[i].name);
        if (*field[i].out == NULL && field[i].required) {
            refuse(problem, arena, prefix, field[i].name, "is missing");
        }
    }
    json_object_foreach(body, name, value)
    {
        const struct pag_json_field *f = find(field, n, name);
        if (f == NULL) {
            problem->code = PAG_PROBLEM_UNKNOWN_FIELD;
            pag_problem_add(problem, pag_arena_printf(arena, "%s/%s", prefix, name), "unknown-field",
                            "is not known");
            continue;
        }
        const char *detail = misfit(arena, f, value);
        if (detail != NULL) {
            refuse(problem, arena, prefix, name, detail);
        }
    }
    return problem->error_n == errors;
}

struct pag_span pag_field_text(const json_t *v)
{
    return json_is_string(v) ? pag_span_of(json_string_value(v), json_string_length(v))
                             : (struct pag_span){ NULL, 0 };
}

uint64_t pag_field_uint(const json_t *v, uint64_t absent)
{
    return json_is_integer(v) && json_integer_value(v) >= 0 ? (uint64_t)json_integer_value(v) : absent;
}

bool pag_field_bool(const json_t *v, bool absent)
{
    return json_is_boolean(v) ? json_boolean_value(v) : absent;
}

void pag_field_copy(char *dst, size_t cap, const json_t *v)
{
    struct pag_span s = pag_field_text(v);
    size_t n = s.n < cap ? s.n : cap - 1;
    if (n > 0 && s.p != NULL) {
        memcpy(dst, s.p, n);
    }
    dst[n] = '\0';
}
