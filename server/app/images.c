#include <string.h>

#include "core/bytes.h"
#include "core/image.h"
#include "host/gzip.h"
#include "server/app/image_check.h"
#include "server/app/release_view.h"
#include "server/app/releases.h"
#include "server/domain/file.h"

enum { IMAGE_MAX = 64 << 20, RATIO_MAX = 20 };

/* What the worker finds out about a file. */
struct upload {
    struct pag_release_image image;
    struct pag_fail why;
    const char *code; /* problem code of a refusal */
    size_t form_n;
    struct pag_md5_form *form;
    char product[PAG_PRODUCT_HEX];
    struct pag_image_check check;
};

static void take_facts(struct pag_release_image *i, const struct pag_image *found)
{
    i->kind = found->kind;
    i->chip = found->chip;
    i->payload_bytes = (uint32_t)found->payload_bytes;
    memcpy(i->project, found->project, sizeof i->project);
    memcpy(i->version, found->version, sizeof i->version);
    memcpy(i->hardware, found->hardware, sizeof i->hardware);
    i->identity_epoch = found->identity_epoch;
    i->flash_size_bytes = found->flash_size_bytes;
    i->flash_mode = found->flash_mode;
    i->trailer = found->trailer_bytes > 0;
}

/* File system images end with whole sectors; one that does not may have a signature behind it. */
static enum pag_err read_filesystem(struct pag_op *op, struct upload *u, struct pag_span file)
{
    enum { SECTOR = 4096 };
    struct pag_span payload;
    struct pag_span signature;
    u->image.kind = PAG_IMAGE_FILESYSTEM;
    u->image.payload_bytes = (uint32_t)file.n;
    if (!pag_image_trailer_split(file, &payload, &signature) || payload.n % SECTOR != 0) {
        return PAG_OK;
    }
    u->image.payload_bytes = (uint32_t)payload.n;
    return pag_image_check_trailer(op, &u->check, payload, signature, &u->image);
}

/* Packed first, signed then: the signature is over the packed bytes. */
static enum pag_err unpack(struct pag_span file, struct pag_span *payload, struct pag_span *signature,
                           struct pag_buf *plain)
{
    if (pag_image_trailer_split(file, payload, signature) &&
        pag_gunzip_all(*payload, IMAGE_MAX, RATIO_MAX, plain) == PAG_OK) {
        return PAG_OK;
    }
    *payload = file;
    *signature = pag_span_of(NULL, 0);
    return pag_gunzip_all(file, IMAGE_MAX, RATIO_MAX, plain);
}

enum { FORMS_ROOM = PAG_MD5_FORMS_MAX + 2 };

/*
 * By what a device that runs it can say: the MD5 of each form that its header may have (ESP8266), the MD5 as
 * it is and the first half of the SHA-256 behind it (ESP32 family).
 */
static enum pag_err index_payload(struct pag_op *op, struct upload *u, struct pag_span payload, bool has_hash)
{
    u->image.unpacked_bytes = (uint32_t)payload.n;
    pag_store_md5(payload, u->image.payload_md5);
    u->form = pag_arena_alloc(op->call->arena, FORMS_ROOM * sizeof *u->form);
    if (u->form == NULL) {
        return PAG_E_NO_MEMORY;
    }
    if (u->image.chip == PAG_CHIP_ESP8266) {
        u->form_n = pag_store_md5_forms(payload, u->form);
    } else if (u->image.kind == PAG_IMAGE_ESP32) {
        u->form[0].flash_mode = PAG_FLASH_MODE_UNKNOWN;
        memcpy(u->form[0].md5, u->image.payload_md5, sizeof u->form[0].md5);
        u->form_n = 1;
        if (has_hash && payload.n > PAG_SHA256_BYTES) {
            u->form[1].flash_mode = PAG_FLASH_MODE_UNKNOWN;
            memcpy(u->form[1].md5, payload.p + payload.n - PAG_SHA256_BYTES, sizeof u->form[1].md5);
            u->form_n = 2;
        }
    }
    return PAG_OK;
}

static enum pag_err read_firmware(struct pag_op *op, struct upload *u, struct pag_span file,
                                  struct pag_buf *plain)
{
    const struct pag_crypto *crypto = op->call->thread->app->config.crypto;
    struct pag_image found;
    struct pag_span payload = file;
    struct pag_span signature = { NULL, 0 };
    struct pag_span inside = file;
    enum pag_err err = pag_image_read(crypto, file, &found, &u->why);
    u->image.gzip = err == PAG_OK && found.gzip;
    if (u->image.gzip) {
        err = unpack(file, &payload, &signature, plain);
        inside = pag_buf_span(plain);
        err = err == PAG_OK ? pag_image_read(crypto, inside, &found, &u->why) : err;
        if (err == PAG_OK && pag_release_holds_private_key(inside)) {
            err = PAG_E_DENIED;
        }
    } else if (err == PAG_OK &&
               (found.trailer_bytes == 0 || !pag_image_trailer_split(file, &payload, &signature))) {
        signature = pag_span_of(NULL, 0);
    }
    if (err != PAG_OK) {
        return err;
    }
    take_facts(&u->image, &found);
    err = index_payload(op, u, pag_span_of(inside.p, found.payload_bytes), found.has_hash);
    if (err != PAG_OK) {
        return err;
    }
    if (signature.n > 0) {
        err = pag_image_check_trailer(op, &u->check, payload, signature, &u->image);
    }
    bool keyed = found.kind != PAG_IMAGE_ELF; /* those of a computer hold the keys of its libraries */
    return err == PAG_OK && keyed ? pag_image_check_keys(op, &u->check, inside, &u->image) : err;
}

static enum pag_err read_image(struct pag_op *op, struct upload *u, struct pag_span file)
{
    struct pag_buf plain = { NULL, 0, 0 };
    if (strcmp(u->image.name, "filesystem") == 0) {
        return read_filesystem(op, u, file);
    }
    if (pag_image_is_raw(u->image.name)) { /* nothing of ours is in it */
        u->image.kind = PAG_IMAGE_FILESYSTEM;
        u->image.payload_bytes = (uint32_t)file.n;
        return PAG_OK;
    }
    enum pag_err err = read_firmware(op, u, file, &plain);
    pag_store_file_free(&plain);
    return err;
}

/* On the worker: the whole file is read and judged by itself. */
static enum pag_err examine(struct pag_op *op)
{
    const struct pag_image_in *in = op->in;
    struct upload *u = op->data;
    struct pag_buf file = { NULL, 0, 0 };
    enum pag_err err = pag_store_file_read(in->fd, in->bytes, IMAGE_MAX, &file);
    if (err == PAG_OK && in->bytes == 0) {
        err = PAG_E_SHORT;
    }
    if (err == PAG_OK && pag_release_holds_private_key(pag_buf_span(&file))) {
        err = PAG_E_DENIED;
    }
    err = err == PAG_OK ? read_image(op, u, pag_buf_span(&file)) : err;
    if (err == PAG_E_DENIED) {
        u->code = "private-key";
        u->why.what = "The file holds a private key; it is not kept.";
    } else if (err != PAG_OK && err != PAG_E_NO_MEMORY && err != PAG_E_IO) {
        u->code = "image-refused";
    }
    pag_store_md5(pag_buf_span(&file), u->image.md5);
    pag_store_file_free(&file);
    return err;
}

enum pag_err pag_image_look_again(struct pag_op *op, struct pag_image_check *c,
                                  struct pag_release_image *image)
{
    struct upload *u = pag_arena_alloc(op->call->arena, sizeof *u);
    struct pag_buf file = { NULL, 0, 0 };
    struct pag_buf plain = { NULL, 0, 0 };
    if (u == NULL) {
        return PAG_E_NO_MEMORY;
    }
    memset(u, 0, sizeof *u);
    u->check = *c;
    enum pag_err err =
        pag_store_blob_read(op->call->thread->app->config.store, image->sha256, IMAGE_MAX, &file);
    err = err == PAG_OK ? read_firmware(op, u, pag_buf_span(&file), &plain) : err;
    pag_store_file_free(&plain);
    pag_store_file_free(&file);
    if (err == PAG_OK) {
        image->has_signed_by = u->image.has_signed_by;
        image->trailer_legacy = u->image.trailer_legacy;
        image->has_embedded_key = u->image.has_embedded_key;
        memcpy(image->signed_by, u->image.signed_by, sizeof image->signed_by);
        memcpy(image->embedded_key, u->image.embedded_key, sizeof image->embedded_key);
    }
    return err;
}

static enum pag_err put_blob(struct pag_op *op)
{
    const struct pag_image_in *in = op->in;
    return pag_store_blob_put(op->call->thread->app->config.store, in->fd, in->bytes, in->sha256);
}

static enum pag_err refuse_gate(struct pag_call *call, const struct pag_gate *gate, const char *pointer)
{
    struct pag_refusal *r = &call->refusal;
    for (size_t i = 0; i < gate->n && r->error_n < PAG_REFUSAL_ERRORS_MAX; i++) {
        const char *at = pag_arena_printf(call->arena, "%s%s", pointer, gate->finding[i].pointer);
        const char *detail = pag_arena_text(call->arena, pag_span_str(gate->finding[i].detail));
        r->error[r->error_n].pointer = at != NULL ? at : "";
        r->error[r->error_n].code = gate->finding[i].code;
        r->error[r->error_n].detail = detail != NULL ? detail : "";
        r->error_n++;
    }
    const char *first = gate->n > 0 ? r->error[0].detail : "";
    return pag_refuse(call, PAG_E_HARDWARE, "image-refused", first);
}

static enum pag_err check_draft(struct pag_op *op, struct pag_db *db, const struct upload *u, bool *same)
{
    const struct pag_image_in *in = op->in;
    struct pag_product p;
    struct pag_release r;
    struct pag_gate gate = { .n = 0 };
    *same = false;
    enum pag_err err = pag_find_release(op->call, db, in->release, &r);
    err = err == PAG_OK ? pag_product_get(db, r.product, &p) : err;
    if (err != PAG_OK) {
        return err;
    }
    for (size_t i = 0; i < r.image_n; i++) {
        if (strcmp(r.image[i].name, in->name) == 0) {
            *same = memcmp(r.image[i].sha256, in->sha256, sizeof in->sha256) == 0;
            *(struct pag_release_image *)op->out = r.image[i];
            return *same ? PAG_OK
                         : pag_refuse(op->call, PAG_E_EXISTS, "image-differs",
                                      "The release has an image of this name with other bytes; a new version "
                                      "is needed.");
        }
    }
    if (r.state != PAG_RELEASE_DRAFT) {
        return pag_refuse(op->call, PAG_E_CONFLICT, "conflict", "The release is no draft any more.");
    }
    if (r.image_n == PAG_RELEASE_IMAGES_MAX) {
        return pag_refuse(op->call, PAG_E_LIMIT, "image-refused", "A release has at most eight images.");
    }
    struct pag_release_image judged = u->image;
    if (judged.kind == PAG_IMAGE_FILESYSTEM) {
        judged.chip = p.chip;
    }
    pag_release_gate_image(&p, &r, &judged, &gate);
    return gate.n == 0 ? PAG_OK : refuse_gate(op->call, &gate, "");
}

static enum pag_err keep(struct pag_store_tx *tx, struct pag_op *op)
{
    struct upload *u = op->data;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_release r;
    bool same = false;
    enum pag_err err = check_draft(op, db, u, &same);
    if (err != PAG_OK || same) {
        return err;
    }
    u->image.created_ms = pag_store_tx_now(tx);
    err = pag_release_get(db, op->call->arena, u->image.release, &r);
    err = err == PAG_OK ? pag_blob_insert(db, u->image.sha256, u->image.bytes, u->image.created_ms) : err;
    err = err == PAG_OK ? pag_image_insert(db, r.product, &u->image) : err;
    err = err == PAG_OK ? pag_image_check_keep(db, &u->check, r.product, &u->image) : err;
    for (size_t i = 0; i < u->form_n && err == PAG_OK; i++) {
        err = pag_image_md5_insert(db, r.product, u->image.id, &u->form[i]);
    }
    err = err == PAG_OK ? pag_release_audit(tx, op, &r, "release.image") : err;
    *(struct pag_release_image *)op->out = u->image;
    return err;
}

static void kept(struct pag_op *op, enum pag_err err)
{
    if (err != PAG_OK) {
        op->call->done(op->call, err);
        return;
    }
    pag_op_submit(op, keep);
}

static void examined(struct pag_op *op, enum pag_err err)
{
    const struct upload *u = op->data;
    if (err != PAG_OK) {
        if (u->code != NULL) {
            const char *text =
                u->check.text != NULL
                    ? u->check.text
                    : pag_arena_printf(op->call->arena, "%s (at %llu)",
                                       u->why.what != NULL ? u->why.what : "The image cannot be read",
                                       (unsigned long long)u->why.detail);
            (void)pag_refuse(op->call, err, u->code, text != NULL ? text : u->why.what);
        }
        op->call->done(op->call, err);
        return;
    }
    bool same = false;
    err = check_draft(op, op->call->thread->db, u, &same); /* what is refused comes to no disk */
    if (err != PAG_OK) {
        op->call->done(op->call, err);
        return;
    }
    pag_op_work(op, put_blob, kept);
}

void pag_app_image_put(struct pag_call *call, const struct pag_image_in *in, struct pag_release_image *out)
{
    struct pag_op *op = pag_op_new(call, in, out);
    if (op == NULL) {
        return;
    }
    struct upload *u = pag_arena_alloc(call->arena, sizeof *u);
    enum pag_err err = u != NULL ? PAG_OK : PAG_E_NO_MEMORY;
    if (err == PAG_OK && !pag_image_name_ok(pag_span_str(in->name))) {
        err = pag_refuse_field(call, "/name", "1 to 16 of a-z, 0-9 and -");
    }
    if (err == PAG_OK && in->file != NULL && !pag_file_name_ok(pag_span_str(in->file))) {
        err = pag_refuse_field(call, "/file", "1 to 64 letters, digits and ._+-, not beginning with a dot");
    }
    if (err == PAG_OK && in->has_expected && memcmp(in->expected, in->sha256, sizeof in->sha256) != 0) {
        err = pag_refuse(call, PAG_E_DIGEST, "image-refused", "What arrived is not what Repr-Digest says.");
    }
    struct pag_release r;
    err = err == PAG_OK ? pag_find_release(call, call->thread->db, in->release, &r) : err;
    err = err == PAG_OK ? pag_image_check_begin(call, r.product, in->verify_key, &u->check) : err;
    if (err != PAG_OK) {
        call->done(call, err);
        return;
    }
    pag_make_id(u->image.id, "img_", 8);
    memcpy(u->image.release, r.id, sizeof u->image.release);
    (void)pag_text_copy(u->image.name, sizeof u->image.name, pag_span_str(in->name));
    memcpy(u->image.sha256, in->sha256, sizeof u->image.sha256);
    u->image.bytes = in->bytes;
    u->image.core = in->core;
    u->image.flash_offset = in->flash_offset;
    (void)pag_text_copy(u->image.file, sizeof u->image.file, pag_span_str(in->file));
    op->data = u;
    pag_op_work(op, examine, examined);
}

enum pag_err pag_app_image_open(struct pag_call *call, const char *release, const char *name, int *fd,
                                struct pag_release_image *image)
{
    struct pag_release r;
    enum pag_err err = pag_find_release(call, call->thread->db, release, &r);
    for (size_t i = 0; err == PAG_OK && i < r.image_n; i++) {
        if (strcmp(r.image[i].name, name) == 0) {
            uint64_t bytes = 0;
            *image = r.image[i];
            return pag_store_blob_open(call->thread->app->config.store, image->sha256, fd, &bytes);
        }
    }
    return err == PAG_OK ? pag_refuse(call, PAG_E_NOT_FOUND, "not-found", "The release has no such image.")
                         : err;
}
