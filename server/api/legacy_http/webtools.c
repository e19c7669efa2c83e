#include "server/api/legacy_http/webtools.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/domain/file.h"

enum { ESP32_APP_AT = 0x10000 };

const char *pag_webtools_family(enum pag_chip chip)
{
    switch (chip) {
    case PAG_CHIP_ESP8266:
        return "ESP8266";
    case PAG_CHIP_ESP32:
        return "ESP32";
    case PAG_CHIP_ESP32_S2:
        return "ESP32-S2";
    case PAG_CHIP_ESP32_S3:
        return "ESP32-S3";
    case PAG_CHIP_ESP32_C3:
        return "ESP32-C3";
    case PAG_CHIP_ESP32_C6:
        return "ESP32-C6";
    case PAG_CHIP_ESP32_H2:
        return "ESP32-H2";
    case PAG_CHIP_ESP32_C2:
        return "ESP32-C2";
    case PAG_CHIP_ESP32_C5:
        return "ESP32-C5";
    case PAG_CHIP_ESP32_P4:
        return "ESP32-P4";
    case PAG_CHIP_ESP32_C61:
        return "ESP32-C61";
    case PAG_CHIP_ESP32_H21:
        return "ESP32-H21";
    case PAG_CHIP_ESP32_H4:
        return "ESP32-H4";
    case PAG_CHIP_ESP32_S31:
        return "ESP32-S31";
    case PAG_CHIP_UNKNOWN:
    case PAG_CHIP_POSIX:
        break;
    }
    return NULL;
}

/* By the image's own name: a path that holds "http" anywhere would be taken for a whole address. */
static json_t *path_of(const struct pag_release_image *i)
{
    return json_sprintf("%s.bin", i->name);
}

static bool is_firmware(const struct pag_release_image *i)
{
    return i->kind != PAG_IMAGE_FILESYSTEM && !pag_image_is_side(i->name) && !i->gzip;
}

/* Where a boot loader lies in flash: docs/spec/legacy-http.md 7. */
static int64_t boot_at(enum pag_chip chip)
{
    if (chip == PAG_CHIP_ESP32 || chip == PAG_CHIP_ESP32_S2) {
        return 0x1000;
    }
    return chip == PAG_CHIP_ESP32_P4 || chip == PAG_CHIP_ESP32_C5 ? 0x2000 : 0;
}

/* As the release says, else as the build tools lay it out. */
static int64_t offset_of(const struct pag_file_release *r, const struct pag_release_image *i)
{
    if (i->flash_offset >= 0) {
        return i->flash_offset;
    }
    if (is_firmware(i)) {
        return r->chip == PAG_CHIP_ESP8266 ? 0 : ESP32_APP_AT;
    }
    if (r->chip == PAG_CHIP_ESP8266) {
        return -1;
    }
    return strcmp(i->name, "bootloader") == 0   ? boot_at(r->chip)
           : strcmp(i->name, "partitions") == 0 ? 0x8000
           : strcmp(i->name, "boot-app0") == 0  ? 0xE000
                                                : -1;
}

static json_t *build_of(const struct pag_file_release *r, const char *family,
                        const struct pag_release_image *firmware)
{
    char md5[2 * sizeof firmware->md5 + 1];
    struct pag_buf hex = { (uint8_t *)md5, 0, sizeof md5 - 1 };
    json_t *parts = json_array();
    (void)pag_buf_put_hex(&hex, pag_span_of(firmware->md5, sizeof firmware->md5));
    md5[hex.n] = '\0';
    for (size_t i = 0; i < r->image_n; i++) {
        const struct pag_release_image *one = &r->image[i];
        bool other = is_firmware(one) && one != firmware;
        if (!other && !one->gzip && offset_of(r, one) >= 0) {
            (void)json_array_append_new(parts, json_pack("{s:o, s:I}", "path", path_of(one), "offset",
                                                         (json_int_t)offset_of(r, one)));
        }
    }
    return json_pack("{s:s, s:{s:o, s:s}, s:o}", "chipFamily", family, "ota", "path", path_of(firmware),
                     "md5", md5, "parts", parts);
}

const char *pag_webtools_text(struct pag_arena *arena, const struct pag_file_release *r)
{
    const char *family = pag_webtools_family(r->chip);
    const struct pag_release_image *firmware = NULL;
    for (size_t i = 0; i < r->image_n; i++) {
        bool named = strcmp(r->image[i].name, "firmware") == 0;
        firmware = is_firmware(&r->image[i]) && (firmware == NULL || named) ? &r->image[i] : firmware;
    }
    if (family == NULL || firmware == NULL) {
        return NULL;
    }
    json_t *o = json_pack("{s:s, s:s, s:[o]}", "name", r->product, "version", r->version, "builds",
                          build_of(r, family, firmware));
    char *text = json_dumps(o, JSON_COMPACT);
    const char *copy = text != NULL ? pag_arena_text(arena, pag_span_str(text)) : NULL;
    free(text);
    json_decref(o);
    return copy;
}

void pag_webtools_serve(struct pag_serve *s)
{
    struct pag_file_release release;
    if (!pag_serve_who(s, "", true)) {
        return;
    }
    enum pag_err err = pag_app_file_release(&s->d->call, &s->in, &release);
    const char *text = err == PAG_OK ? pag_webtools_text(s->req->arena, &release) : NULL;
    if (text == NULL) {
        pag_serve_status(s, err == PAG_E_UNAUTHENTICATED ? 401 : 404);
        return;
    }
    pag_serve_text(s, "application/json", text);
}
