#include "server/api/mqtt/status.h"

#include "core/bytes.h"
#include "core/version.h"
#include "server/api/json.h"

static bool uint_member(const json_t *o, const char *name, const char *other, uint64_t max, uint64_t *out)
{
    const json_t *v = json_object_get(o, name);
    if (v == NULL) {
        v = json_object_get(o, other);
    }
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max) {
        return false;
    }
    *out = (uint64_t)json_integer_value(v);
    return true;
}

enum pag_err pag_status_read(struct pag_span payload, struct pag_status *out, struct pag_fail *why)
{
    const struct pag_json_limits limits = { PAG_STATUS_BYTES_MAX, PAG_STATUS_DEPTH_MAX };
    struct pag_status s = { .version = "" };
    uint64_t v = 0;
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
    if (uint_member(s.object, "heap", "free_heap", UINT32_MAX, &v)) {
        s.has_heap = true;
        s.free_heap = (uint32_t)v;
    }
    if (uint_member(s.object, "uptime", "uptime_s", UINT64_MAX, &v)) {
        s.has_uptime = true;
        s.uptime_s = v;
    }
    *out = s;
    return PAG_OK;
}
