#include "server/api/secureesp/config.h"

#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/json.h"

enum { TEXT_MAX = 128, SSID_MAX = 32, PASSWORD_MIN = 8, PASSWORD_MAX = 63 };

enum { WIFI = 10, BOARD, ENCODING, VARIANT, KEY, DAYS, ROWS, URL, FIELDS };

/* The order of the first ten is that of config.json. */
static const struct pag_json_field table[FIELDS] = {
    { .name = "downloadserver", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 64 },
    { .name = "downloadport", .type = PAG_JSON_UINT, .nullable = true, .min = 1, .max = 65535 },
    { .name = "downloadpath", .type = PAG_JSON_TEXT, .nullable = true, .max = 96 },
    { .name = "mqttserver", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 64 },
    { .name = "mqttport", .type = PAG_JSON_UINT, .nullable = true, .min = 1, .max = 65535 },
    { .name = "mqtttls", .type = PAG_JSON_BOOL, .nullable = true },
    { .name = "ntpserver", .type = PAG_JSON_TEXT, .nullable = true, .min = 1, .max = 64 },
    { .name = "statusinterval", .type = PAG_JSON_UINT, .nullable = true, .min = 1000, .max = 3600000 },
    { .name = "waittimeout", .type = PAG_JSON_UINT, .nullable = true, .min = 1000, .max = 600000 },
    { .name = "retrytimeout", .type = PAG_JSON_UINT, .nullable = true, .min = 100, .max = 600000 },
    [WIFI] = { .name = "wifi", .type = PAG_JSON_ARRAY, .nullable = true, .max = PAG_SECUREESP_WIFI_MAX },
    [BOARD] = { .name = "board", .type = PAG_JSON_TEXT, .nullable = true, .max = 40 },
    [ENCODING] = { .name = "encoding", .type = PAG_JSON_TEXT, .nullable = true, .max = 3 },
    [VARIANT] = { .name = "variant", .type = PAG_JSON_TEXT, .nullable = true, .max = 1 },
    [KEY] = { .name = "key", .type = PAG_JSON_TEXT, .nullable = true, .max = 8 },
    [DAYS] = { .name = "series_days",
               .type = PAG_JSON_UINT,
               .nullable = true,
               .min = 1,
               .max = PAG_SERIES_DAYS_MAX },
    [ROWS] = { .name = "series_rows",
               .type = PAG_JSON_UINT,
               .nullable = true,
               .min = 10,
               .max = PAG_SERIES_ROWS_MAX },
    [URL] = { .name = "updateserverurl", .type = PAG_JSON_TEXT, .nullable = true, .max = TEXT_MAX },
};

/* ---- checking ---- */

static bool plain(const json_t *v)
{
    const char *s = json_string_value(v);
    for (; s != NULL && *s != '\0'; s++) {
        if (*s < 0x20 || *s > 0x7E || *s == '"' || *s == '\\') {
            return false;
        }
    }
    return true;
}

static bool one_of(const json_t *v, const char *a, const char *b)
{
    const char *s = json_string_value(v);
    return s == NULL || strcmp(s, a) == 0 || strcmp(s, b) == 0;
}

static bool wifi_ok(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        const json_t *ssid = json_object_get(o, "ssid");
        const json_t *password = json_object_get(o, "password");
        size_t n = json_string_length(password);
        bool open = json_is_string(password) && n == 0;
        if (json_object_size(o) != 2 || json_string_length(ssid) == 0 ||
            json_string_length(ssid) > SSID_MAX || !json_is_string(password) ||
            !(open || (n >= PASSWORD_MIN && n <= PASSWORD_MAX))) {
            return false;
        }
    }
    return true;
}

static void wrong(struct pag_problem *problem, const char *pointer, const char *detail)
{
    pag_problem_add(problem, pointer, "invalid-field", detail);
}

static bool words_ok(const json_t *patch, struct pag_problem *problem)
{
    size_t before = problem->error_n;
    const char *path = json_string_value(json_object_get(patch, "downloadpath"));
    if (path != NULL && path[0] != '\0' && (path[0] != '/' || path[strlen(path) - 1] == '/')) {
        wrong(problem, "/downloadpath", "begins with / and does not end with it");
    }
    if (!wifi_ok(json_object_get(patch, "wifi"))) {
        wrong(problem, "/wifi", "at most 3 of {\"ssid\", \"password\"}: 1 to 32 bytes, and 8 to 63 or none");
    }
    if (!one_of(json_object_get(patch, "encoding"), "pem", "der")) {
        wrong(problem, "/encoding", "pem or der");
    }
    if (!one_of(json_object_get(patch, "variant"), "f", "i")) {
        wrong(problem, "/variant", "f (up to 00.00.08.f) or i");
    }
    if (!one_of(json_object_get(patch, "key"), "p256", "rsa2048")) {
        wrong(problem, "/key", "p256 or rsa2048");
    }
    return problem->error_n == before;
}

bool pag_secureesp_config_check(struct pag_arena *arena, json_t *patch, bool device,
                                struct pag_problem *problem)
{
    struct pag_json_field field[FIELDS];
    json_t *value[FIELDS];
    size_t n = 0;
    for (size_t i = 0; i < FIELDS; i++) {
        if (device && i >= BOARD && i != VARIANT && i != URL) {
            continue; /* what the server does is the same for all of a product */
        }
        field[n] = table[i];
        field[n].out = &value[n];
        n++;
    }
    if (!pag_fields_read(arena, patch, "", field, n, problem)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        if (value[i] != NULL && json_is_string(value[i]) && !plain(value[i])) {
            const char *pointer = pag_arena_printf(arena, "/%s", field[i].name);
            wrong(problem, pointer != NULL ? pointer : "", "printable ASCII without quotes");
            ok = false;
        }
    }
    return words_ok(patch, problem) && ok;
}

void pag_secureesp_config_merge(json_t *into, json_t *patch)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(patch, name, value)
    {
        if (json_is_null(value)) {
            (void)json_object_del(into, name);
        } else {
            (void)json_object_set(into, name, value);
        }
    }
}

json_t *pag_secureesp_config_load(struct pag_span text)
{
    const struct pag_json_limits limits = { PAG_SECUREESP_SETTINGS_MAX, 4 };
    json_t *o = NULL;
    if (text.n == 0 || pag_json_parse(text, limits, &o, NULL) != PAG_OK || !json_is_object(o)) {
        json_decref(o);
        return json_object();
    }
    return o;
}

json_t *pag_secureesp_config_show(const json_t *settings)
{
    json_t *o = json_deep_copy(settings);
    json_t *list = json_object_get(o, "wifi");
    for (size_t i = 0; i < json_array_size(list); i++) {
        (void)json_object_del(json_array_get(list, i), "password");
    }
    return o;
}

static uint32_t number(const json_t *o, const char *name, uint32_t absent)
{
    const json_t *v = json_object_get(o, name);
    return json_is_integer(v) ? (uint32_t)json_integer_value(v) : absent;
}

static bool is(const json_t *o, const char *name, const char *word)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL && strcmp(s, word) == 0;
}

void pag_secureesp_config_server(const json_t *settings, struct pag_dialect_settings *out)
{
    out->key_kind = is(settings, "key", "rsa2048") ? PAG_DEVICE_KEY_RSA2048 : PAG_DEVICE_KEY_P256;
    out->series_days = number(settings, "series_days", PAG_SERIES_DAYS_DEFAULT);
    out->series_rows = number(settings, "series_rows", PAG_SERIES_ROWS_DEFAULT);
}

bool pag_secureesp_config_der(const json_t *settings)
{
    return is(settings, "encoding", "der");
}

const char *pag_secureesp_config_board(const json_t *settings)
{
    const char *s = json_string_value(json_object_get(settings, "board"));
    return s != NULL ? s : "";
}

/* ---- config.json ---- */

static json_t *chosen(const json_t *product, const json_t *device, const char *name)
{
    json_t *v = json_object_get(device, name);
    return v != NULL ? v : json_object_get(product, name);
}

static json_t *fallback(const char *name, const struct pag_secureesp_place *p)
{
    if (strcmp(name, "downloadserver") == 0) {
        return json_string(p->server);
    }
    if (strcmp(name, "downloadport") == 0) {
        return json_integer(p->port);
    }
    if (strcmp(name, "downloadpath") == 0) {
        return pag_json_text(p->path);
    }
    if (strcmp(name, "mqttserver") == 0) {
        return json_string(p->mqtt_server[0] != '\0' ? p->mqtt_server : p->server);
    }
    if (strcmp(name, "mqttport") == 0) {
        return json_integer(p->mqtt_port);
    }
    if (strcmp(name, "mqtttls") == 0) {
        return json_true();
    }
    if (strcmp(name, "ntpserver") == 0) {
        return json_string("pool.ntp.org");
    }
    return json_integer(strcmp(name, "statusinterval") == 0 ? 60000
                        : strcmp(name, "waittimeout") == 0  ? 20000
                                                            : 3000);
}

/* 00.00.08.f adds "download" and the file to it. */
static json_t *url_of(const json_t *o)
{
    char text[TEXT_MAX * 3];
    (void)snprintf(text, sizeof text, "https://%s:%" JSON_INTEGER_FORMAT "%s/",
                   json_string_value(json_object_get(o, "downloadserver")),
                   json_integer_value(json_object_get(o, "downloadport")),
                   json_string_value(json_object_get(o, "downloadpath")));
    return json_string(text);
}

enum pag_err pag_secureesp_config_render(struct pag_arena *arena, const json_t *product, const json_t *device,
                                         const struct pag_secureesp_place *place, struct pag_span *out)
{
    json_t *o = json_object();
    for (size_t i = 0; i < WIFI; i++) {
        json_t *v = chosen(product, device, table[i].name);
        (void)json_object_set_new(o, table[i].name,
                                  v != NULL ? json_incref(v) : fallback(table[i].name, place));
    }
    json_t *variant = chosen(product, device, "variant");
    json_t *url = chosen(product, device, "updateserverurl");
    bool old = json_is_string(variant) && strcmp(json_string_value(variant), "f") == 0;
    if (url != NULL || old || place->url) {
        (void)json_object_set_new(o, "updateserverurl", url != NULL ? json_incref(url) : url_of(o));
    }
    json_t *wifi = chosen(product, device, "wifi");
    if (json_array_size(wifi) > 0) {
        (void)json_object_set(o, "wifi", wifi);
    }
    *out = pag_json_dump(arena, o);
    if (out->p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    return out->n <= PAG_SECUREESP_CONFIG_MAX ? PAG_OK : PAG_E_LIMIT;
}
