#ifndef PAG_SERVER_APP_IMAGE_CHECK_H
#define PAG_SERVER_APP_IMAGE_CHECK_H

#include "server/app/op.h"
#include "server/domain/image_keys.h"
#include "server/store/rows_signature.h"

/* Signatures and keys of one image that is being uploaded. Of this room only. */
struct pag_image_check {
    struct pag_verify_key *known;
    size_t known_n;
    struct pag_key_choice said;
    struct pag_found_keys *found;
    const char *text; /* of a refusal: a sentence in the arena */
};

/* On the network thread. verify_key: hex id, "none" or NULL. PAG_E_RANGE with a refusal. */
enum pag_err pag_image_check_begin(struct pag_call *call, const char *product, const char *verify_key,
                                   struct pag_image_check *c);

/* On the worker. The signature behind an image: whose it is, into image. PAG_E_SIGNATURE when keys are
 * registered and it is of none of them. */
enum pag_err pag_image_check_trailer(struct pag_op *op, struct pag_image_check *c, struct pag_span payload,
                                     struct pag_span signature, struct pag_release_image *image);
/* On the worker. plain: the unpacked image. The key inside it, into image. */
enum pag_err pag_image_check_keys(struct pag_op *op, struct pag_image_check *c, struct pag_span plain,
                                  struct pag_release_image *image);

/* In the transaction that keeps the image. */
enum pag_err pag_image_check_keep(struct pag_db *db, const struct pag_image_check *c, const char *product,
                                  const struct pag_release_image *image);

/* images.c, on the worker: reads a kept image once more, with c->known; what is found goes into image. */
enum pag_err pag_image_look_again(struct pag_op *op, struct pag_image_check *c,
                                  struct pag_release_image *image);

/* reexamine.c: after a key was registered, images that came before it. product: hex id, "" for all. Ends with
 * op's call->done(PAG_OK): what cannot be read stays as it is. */
void pag_images_reexamine(struct pag_op *op, const char *product);

/* blobs.c: PAG_OK when this file was offered to the device and still is. */
enum pag_err pag_blob_entitled(struct pag_call *call, const struct pag_device *d,
                               const uint8_t sha256[PAG_SHA256_BYTES]);

/* signatures.c: those beside the images of a release once more, before it is published. */
enum pag_err pag_signatures_gate(struct pag_call *call, struct pag_db *db, const struct pag_release *r,
                                 struct pag_gate *gate);

/* "home-1 (9c41aa0102030405), …" of registered keys, in the arena; NULL: no memory. */
const char *pag_verify_key_names(struct pag_arena *arena, const struct pag_verify_key *k, size_t n);

#endif
