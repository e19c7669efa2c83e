#include "server/api/mqtt/sample.h"

#include <string.h>

#include "core/bytes.h"
#include "server/api/json.h"

static void read_number(const json_t *v, enum pag_series_field f, struct pag_sample *s)
{
    int64_t least = f == PAG_SERIES_RSSI ? -200 : 0;
    int64_t most = f == PAG_SERIES_RSSI ? 100 : (int64_t)UINT32_MAX;
    if (json_is_integer(v) && json_integer_value(v) >= least && json_integer_value(v) <= most) {
        s->given |= 1U << f;
        s->number[f] = json_integer_value(v);
    }
}

static void read_word(const json_t *v, enum pag_series_field f, struct pag_sample *s)
{
    char *to = s->word[f - PAG_SERIES_NUMBERS];
    size_t n = json_string_length(v);
    n = n < PAG_SERIES_WORD_MAX ? n : PAG_SERIES_WORD_MAX;
    const char *from = json_string_value(v);
    while (from != NULL && n > 0 && !pag_utf8_ok(pag_span_of(from, n))) {
        n--; /* cut inside a character */
    }
    for (size_t i = 0; from != NULL && i < n; i++) {
        to[i] = (char)((unsigned char)from[i] < 0x20 || from[i] == 0x7F ? ' ' : from[i]);
    }
}

enum pag_err pag_sample_read(struct pag_arena *arena, struct pag_span payload,
                             struct pag_secureesp_status *out, struct pag_fail *why)
{
    const struct pag_json_limits limits = { PAG_SAMPLE_BYTES_MAX, 4 };
    struct pag_sample s;
    json_t *o = NULL;
    memset(&s, 0, sizeof s);
    enum pag_err err = pag_json_parse(payload, limits, &o, why);
    if (err != PAG_OK) {
        return err;
    }
    if (!json_is_object(o)) {
        json_decref(o);
        return pag_fail_set(why, PAG_E_SYNTAX, "status is not an object", 0);
    }
    for (int f = 0; f < PAG_SERIES_FIELDS; f++) {
        const json_t *v = json_object_get(o, pag_series_field_word((enum pag_series_field)f));
        if (f < PAG_SERIES_NUMBERS) {
            read_number(v, (enum pag_series_field)f, &s);
        } else {
            read_word(v, (enum pag_series_field)f, &s);
        }
    }
    struct pag_span json = pag_json_dump(arena, o);
    if (json.p == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for a status", 0);
    }
    out->sample = s;
    out->json = json;
    return PAG_OK;
}
