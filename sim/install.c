#include "sim/install.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image_key.h"
#include "host/crypto.h"
#include "host/gzip.h"
#include "host/signing.h"

enum { CORE_2_6 = 206, RATIO_MAX = 40 };

/* ---- signatures ---- */

enum pag_err pag_sim_key_in(struct pag_span image, struct pag_span *spki, uint8_t *room, size_t cap)
{
    struct pag_image_key key;
    size_t from = 0;
    if (!pag_image_key_next(pag_crypto_openssl(), image, &from, &key) || key.spki_n > cap) {
        return PAG_E_NOT_FOUND;
    }
    memcpy(room, key.spki, key.spki_n);
    *spki = pag_span_of(room, key.spki_n);
    return PAG_OK;
}

static enum pag_err running_key(struct pag_sim_device *d, struct pag_span *spki, uint8_t *room, size_t cap)
{
    uint8_t *image = malloc(d->now.bytes > 0 ? d->now.bytes : 1);
    enum pag_err err = image != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    err = err == PAG_OK ? pag_sim_flash_read(&d->flash, PAG_AREA_SLOT_A, 0, image, d->now.bytes) : err;
    err = err == PAG_OK ? pag_sim_key_in(pag_span_of(image, d->now.bytes), spki, room, cap) : err;
    free(image);
    return err;
}

/* By the key in the running sketch. A sketch without one takes everything. */
static enum pag_sim_update check_signature(struct pag_sim_device *d, struct pag_span body, uint16_t core,
                                           bool *verified)
{
    uint8_t room[PAG_SPKI_MAX];
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_span spki;
    struct pag_span payload;
    struct pag_span signature;
    *verified = false;
    if (running_key(d, &spki, room, sizeof(room)) != PAG_OK) {
        return PAG_SIM_UPDATE_GO;
    }
    const enum pag_signature_form form = core < CORE_2_6 ? PAG_SIGNATURE_LEGACY : PAG_SIGNATURE_STANDARD;
    if (!pag_image_trailer_split(body, &payload, &signature) ||
        EVP_Digest(payload.p, payload.n, digest, NULL, EVP_sha256(), NULL) != 1 ||
        pag_signing_check(spki, form, digest, signature) != PAG_OK) {
        return PAG_SIM_UPDATE_ERROR_SIGN;
    }
    *verified = true;
    return PAG_SIM_UPDATE_GO;
}

/* ---- into flash ---- */

static enum pag_sim_update stage(struct pag_sim_device *d, struct pag_span image)
{
    struct pag_buf unpacked = { 0 };
    if (pag_gzip_is(image)) { /* eboot would unpack it while it copies */
        struct pag_span payload;
        struct pag_span signature;
        if (!pag_image_trailer_split(image, &payload, &signature)) {
            payload = image;
        }
        if (pag_gunzip_all(payload, d->world->options->slot_bytes, RATIO_MAX, &unpacked) != PAG_OK) {
            return PAG_SIM_UPDATE_ERROR_MAGIC;
        }
        image = pag_span_of(unpacked.p, unpacked.n);
    }
    struct pag_sim_sketch sketch;
    bool ok = pag_sim_sketch_of(image, &sketch) == PAG_OK && sketch.esp32 == d->who->esp32;
    ok = ok && pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_B, pag_span_of(image.p, sketch.bytes)) == PAG_OK;
    d->waiting = ok;
    free(unpacked.p);
    return ok ? PAG_SIM_UPDATE_GO : PAG_SIM_UPDATE_ERROR_MAGIC;
}

enum pag_sim_update pag_sim_install(struct pag_sim_device *d, struct pag_span body,
                                    const struct pag_sim_update_head *announced,
                                    const struct pag_sim_update_ask *about)
{
    bool verified = false;
    d->waiting = false;
    if (body.n < 4) {
        return PAG_SIM_UPDATE_BAD_HEADER;
    }
    if (body.n > about->free_space) {
        return PAG_SIM_UPDATE_SPACE;
    }
    enum pag_sim_update verdict = pag_sim_update_peek(body.p, about);
    if (verdict == PAG_SIM_UPDATE_GO && !about->esp32) {
        verdict = check_signature(d, body, about->core, &verified);
    }
    verdict = verdict == PAG_SIM_UPDATE_GO ? pag_sim_update_end(body, announced, about, verified) : verdict;
    return verdict == PAG_SIM_UPDATE_GO ? stage(d, body) : verdict;
}

bool pag_sim_install_boot(struct pag_sim_device *d)
{
    struct pag_sim_sketch sketch;
    if (!d->waiting) {
        return true;
    }
    d->waiting = false;
    uint8_t *image = NULL;
    enum pag_err err = pag_sim_flash_sketch(&d->flash, PAG_AREA_SLOT_B, &sketch);
    image = err == PAG_OK ? malloc(sketch.bytes) : NULL;
    err = image != NULL ? pag_sim_flash_read(&d->flash, PAG_AREA_SLOT_B, 0, image, sketch.bytes)
                        : PAG_E_NO_MEMORY;
    if (err == PAG_OK && d->fault == PAG_SIM_EBOOT_CUT) { /* eboot has no journal and no way back */
        d->flash.cut_in = 2 + pag_sim_random(d->world, sketch.bytes / PAG_SIM_SECTOR);
        d->power_cuts++;
    }
    err = err == PAG_OK ? pag_sim_flash_burn(&d->flash, PAG_AREA_SLOT_A, pag_span_of(image, sketch.bytes))
                        : err;
    free(image);
    if (err != PAG_OK) {
        d->now = (struct pag_sim_sketch){ 0 };
        return false;
    }
    d->now = sketch;
    pag_sim_device_trail(d);
    return true;
}
