#include <string.h>

#include "core/bytes.h"
#include "server/api/json.h"
#include "server/api/mqtt/tasmota.h"

enum { DEPTH_MAX = 8 };

static enum pag_err read_setting(const json_t *o, const char *name, bool (*ok)(struct pag_span), char *out,
                                 size_t cap)
{
    const json_t *v = json_object_get(o, name);
    struct pag_span text = pag_span_of(json_string_value(v), json_string_length(v));
    if (v == NULL || json_is_null(v) || (json_is_string(v) && text.n == 0)) {
        return PAG_OK;
    }
    return json_is_string(v) && ok(text) ? pag_text_copy(out, cap, text) : PAG_E_SYNTAX;
}

enum pag_err pag_tasmota_settings_read(struct pag_span json, struct pag_tasmota_settings *out,
                                       const char **bad)
{
    const struct pag_json_limits limits = { PAG_TASMOTA_BYTES_MAX, 2 };
    struct pag_tasmota_settings s = { .full_topic = "%prefix%/%topic%/", .ota_url = "" };
    json_t *o = NULL;
    *bad = NULL;
    enum pag_err err = json.n > 0 ? pag_json_parse(json, limits, &o, NULL) : PAG_OK;
    if (err == PAG_OK) {
        err = read_setting(o, "fulltopic", pag_tasmota_full_topic_ok, s.full_topic, sizeof s.full_topic);
        *bad = err != PAG_OK ? "fulltopic" : NULL;
    }
    if (err == PAG_OK) {
        err = read_setting(o, "otaurl", pag_tasmota_url_ok, s.ota_url, sizeof s.ota_url);
        *bad = err != PAG_OK ? "otaurl" : NULL;
    }
    json_decref(o);
    if (err == PAG_OK) {
        *out = s;
    }
    return err;
}

enum pag_err pag_tasmota_text_read(struct pag_span payload, const char *object, const char *member,
                                   char out[PAG_TASMOTA_TEXT_MAX + 1])
{
    const struct pag_json_limits limits = { PAG_TASMOTA_BYTES_MAX, DEPTH_MAX };
    json_t *o = NULL;
    enum pag_err err = pag_json_parse(payload, limits, &o, NULL);
    if (err != PAG_OK) {
        return err;
    }
    const json_t *from = object != NULL ? json_object_get(o, object) : o;
    const json_t *v = json_object_get(from, member);
    const char *text = json_string_value(v);
    size_t n = json_string_length(v);
    n = n < PAG_TASMOTA_TEXT_MAX ? n : PAG_TASMOTA_TEXT_MAX;
    while (text != NULL && n > 0 && !pag_utf8_ok(pag_span_of(text, n))) {
        n--; /* cut inside a character */
    }
    for (size_t i = 0; text != NULL && i < n; i++) {
        out[i] = (char)((unsigned char)text[i] < 0x20 || text[i] == 0x7F ? ' ' : text[i]);
    }
    out[text != NULL ? n : 0] = '\0';
    err = json_is_object(o) ? PAG_OK : PAG_E_SYNTAX;
    json_decref(o);
    return err;
}
