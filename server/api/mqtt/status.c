#include "server/api/mqtt/status.h"

#include "core/bytes.h"
#include "core/version.h"
#include "server/api/json.h"

static bool u32_member(const json_t *o, const char *name, uint32_t *out)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX) {
        return false;
    }
    *out = (uint32_t)json_integer_value(v);
    return true;
}

enum pag_err pag_status_read(struct pag_span payload, struct pag_status *out, struct pag_fail *why)
{
    const struct pag_json_limits limits = { PAG_STATUS_BYTES_MAX, PAG_STATUS_DEPTH_MAX };
    struct pag_status s = { .version = "" };
    enum pag_err err = pag_json_parse(payload, limits, &s.object, why);
    if (err != PAG_OK) {
        return err;
    }
    if (!json_is_object(s.object)) {
        json_decref(s.object);
        return pag_fail_set(why, PAG_E_SYNTAX, "status is not an object", 0);
    }
    const json_t *version = json_object_get(s.object, "version");
    if (json_is_string(version)) {
        struct pag_span text = pag_span_of(json_string_value(version), json_string_length(version));
        if (pag_version_ok(text)) {
            (void)pag_text_copy(s.version, sizeof s.version, text);
        }
    }
    const json_t *rssi = json_object_get(s.object, "rssi");
    if (json_is_integer(rssi) && json_integer_value(rssi) >= -150 && json_integer_value(rssi) <= 0) {
        s.has_rssi = true;
        s.rssi_dbm = (int32_t)json_integer_value(rssi);
    }
    s.has_heap =
        u32_member(s.object, "free_heap", &s.free_heap) || u32_member(s.object, "heap", &s.free_heap);
    s.has_uptime = u32_member(s.object, "uptime_ms", &s.uptime_ms);
    *out = s;
    return PAG_OK;
}
