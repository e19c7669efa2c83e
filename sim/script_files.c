#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "host/signing.h"
#include "sim/scripts.h"

/* Clients of named files: ESPHome's http_request, ESP Web Tools, and a sketch that checks a detached
 * signature. */

enum { OK = 200, NOT_OK = 300 };

static const char browser[] =
    "User-Agent: Mozilla/5.0\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Connection: close\r\n";
static const char esphome[] = "User-Agent: ESPHome/2024.10.0 (https://esphome.io)\r\nConnection: close\r\n";
static const char sketch[] = "User-Agent: ESP8266HTTPClient\r\nConnection: close\r\n";

static enum pag_sim_next head_2xx(struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    const struct pag_sim_head *h = &c->fetch.head;
    if (!h->is_http || h->status < OK || h->status >= NOT_OK || !h->has_length || h->length == 0) {
        return pag_sim_client_fail(d, "not 2xx with a length", (int)h->status);
    }
    return PAG_SIM_NEXT_READ;
}

/* ---- manifests ---- */

/* Path of the first build for its chip: ota.path, or that of the part at parts_at. False: none, or not as the
 * reader wants it. */
static bool read_manifest(struct pag_sim_device *d, bool parts)
{
    struct pag_sim_client *c = d->body;
    json_t *all = json_loadb((const char *)c->fetch.body, c->fetch.body_n, 0, NULL);
    const char *version = json_string_value(json_object_get(all, "version"));
    const char *path = NULL;
    const char *md5 = NULL;
    size_t i = 0;
    json_t *build = NULL;
    json_array_foreach(json_object_get(all, "builds"), i, build)
    {
        const char *family = json_string_value(json_object_get(build, "chipFamily"));
        if (family == NULL || strcmp(family, d->who->esp32 ? "ESP32" : "ESP8266") != 0) {
            continue;
        }
        json_t *ota = json_object_get(build, "ota");
        json_t *part = json_array_get(json_object_get(build, "parts"), 0);
        path = json_string_value(json_object_get(parts ? part : ota, "path"));
        md5 = json_string_value(json_object_get(ota, "md5"));
        break;
    }
    const bool ok = version != NULL && path != NULL && strstr(path, "http") == NULL && path[0] != '/' &&
                    json_string_value(json_object_get(all, "name")) != NULL &&
                    (parts || (md5 != NULL && strlen(md5) == PAG_SIM_MD5_HEX));
    if (ok) {
        (void)snprintf(c->offered, sizeof(c->offered), "%s", version);
        (void)snprintf(c->extra, sizeof(c->extra), "/%s", path);
    }
    json_decref(all);
    return ok;
}

static enum pag_sim_next take_manifest(struct pag_sim_device *d, bool parts)
{
    const struct pag_sim_client *c = d->body;
    if (!read_manifest(d, parts)) {
        return pag_sim_client_fail(d, "the manifest is not as it should be", (int)c->fetch.body_n);
    }
    return strcmp(c->offered, d->now.version) == 0 ? PAG_SIM_NEXT_CURRENT : PAG_SIM_NEXT_ASK;
}

/* ---- ESPHome: manifest of the update entity, MD5 file, image ---- */

enum { ESPHOME_MANIFEST, ESPHOME_MD5, ESPHOME_IMAGE };

static enum pag_err ask_esphome(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    char rest[PAG_SIM_PATH_MAX];
    (void)snprintf(rest, sizeof(rest), "%.190s%s", c->step == ESPHOME_MANIFEST ? "/manifest.json" : c->extra,
                   c->step == ESPHOME_MD5 ? ".md5" : "");
    pag_sim_client_path(d, rest);
    return pag_sim_client_request(d, "GET", esphome);
}

static enum pag_sim_next body_esphome(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c->step == ESPHOME_MANIFEST) {
        return take_manifest(d, false);
    }
    if (c->step == ESPHOME_MD5) {
        /* Read once: what has not come with the head is missing. */
        if (c->fetch.early < PAG_SIM_MD5_HEX) {
            return pag_sim_client_fail(d, "the MD5 did not come in one read", (int)c->fetch.early);
        }
        memcpy(c->md5, c->fetch.body, sizeof(c->md5));
        return PAG_SIM_NEXT_ASK;
    }
    /* Compared as text, in lower case. */
    memcpy(c->announced.md5, c->md5, sizeof(c->md5));
    c->announced.has_md5 = true;
    return pag_sim_script_whole(d);
}

const struct pag_sim_script pag_sim_script_esphome = { .ask = ask_esphome,
                                                       .head = head_2xx,
                                                       .body = body_esphome };

/* ---- ESP Web Tools: a person with a browser, and the device on its cable ---- */

static enum pag_err ask_webtools(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    pag_sim_client_path(d, c->step == 0 ? "/manifest.json" : c->extra);
    return pag_sim_client_request(d, "GET", browser);
}

static enum pag_sim_next body_webtools(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c->step == 0) {
        return take_manifest(d, true);
    }
    c->announced = (struct pag_sim_update_head){ 0 };
    return pag_sim_script_whole(d);
}

const struct pag_sim_script pag_sim_script_webtools = { .ask = ask_webtools,
                                                        .head = head_2xx,
                                                        .body = body_webtools };

/* ---- detached: a sketch of its own on ESP8266httpUpdate's headers, with the signature fetched beside the
 * image ---- */

enum { DETACHED_IMAGE, DETACHED_SIGNATURE };

static enum pag_err ask_detached(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    if (c->step == DETACHED_SIGNATURE) {
        pag_sim_client_path(d, "/firmware.bin.sig");
        return pag_sim_client_request(d, "GET", sketch);
    }
    pag_sim_client_path(d, "/firmware.bin");
    const struct pag_sim_update_ask about = pag_sim_client_about(d);
    struct pag_buf out = { c->fetch.wire, 0, sizeof(c->fetch.wire) };
    const enum pag_err err = pag_sim_update_request(&out, &about);
    c->fetch.wire_n = out.n;
    return err;
}

static enum pag_sim_next head_detached(struct pag_sim_device *d)
{
    const struct pag_sim_client *c = d->body;
    if (c->step == DETACHED_SIGNATURE) {
        return head_2xx(d);
    }
    const enum pag_sim_update verdict = pag_sim_script_judge(d);
    if (verdict == PAG_SIM_UPDATE_NONE) {
        return PAG_SIM_NEXT_CURRENT;
    }
    return verdict == PAG_SIM_UPDATE_GO ? PAG_SIM_NEXT_READ
                                        : pag_sim_client_fail(d, "update refused", (int)verdict);
}

/* openssl dgst -sha256 -verify */
static enum pag_sim_next body_detached(struct pag_sim_device *d)
{
    struct pag_sim_client *c = d->body;
    const struct pag_buf *key = &d->world->options->verify_key;
    uint8_t digest[PAG_SHA256_BYTES];
    if (c->step == DETACHED_IMAGE) {
        return pag_sim_client_take(d, false) == PAG_OK ? PAG_SIM_NEXT_ASK
                                                       : pag_sim_client_fail(d, "no memory", -8);
    }
    if (EVP_Digest(c->image, c->image_n, digest, NULL, EVP_sha256(), NULL) != 1 ||
        pag_signing_check(pag_span_of(key->p, key->n), PAG_SIGNATURE_STANDARD, digest,
                          pag_span_of(c->fetch.body, c->fetch.body_n)) != PAG_OK) {
        d->refusals++;
        pag_sim_device_outcome(d, PAG_SIM_REFUSED);
        return pag_sim_client_fail(d, "the signature is not over this image", PAG_SIM_UPDATE_ERROR_SIGN);
    }
    return PAG_SIM_NEXT_INSTALL;
}

const struct pag_sim_script pag_sim_script_detached = { .ask = ask_detached,
                                                        .head = head_detached,
                                                        .body = body_detached };
