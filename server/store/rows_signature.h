#ifndef PAG_SERVER_STORE_ROWS_SIGNATURE_H
#define PAG_SERVER_STORE_ROWS_SIGNATURE_H

#include "server/domain/image_keys.h"
#include "server/store/db.h"

/* Signatures beside images and keys inside them. As rows.h. */

/* The same key again: replaced. */
enum pag_err pag_detached_put(struct pag_db *db, const char *image, const struct pag_detached *d);
/* Newest first. */
enum pag_err pag_detached_list(struct pag_db *db, struct pag_arena *arena, const char *image,
                               struct pag_detached **list, size_t *n);
/* Of a file, whichever image of the product it is. key may be NULL: the newest. PAG_E_NOT_FOUND. */
enum pag_err pag_detached_of_file(struct pag_db *db, struct pag_arena *arena, const char *product,
                                  const uint8_t sha256[PAG_SHA256_BYTES], const uint8_t *key,
                                  struct pag_detached *out);

/* A key found inside an image. */
enum pag_err pag_image_key_insert(struct pag_db *db, const char *product, const char *image,
                                  const uint8_t id[PAG_KEY_ID_BYTES], struct pag_span spki);

/* An image whose signer, or whose key for the next one, is not known; newest first by product, at most 256.
 */
struct pag_image_unread {
    char product[PAG_PRODUCT_HEX];
    struct pag_release_image image; /* id, sha256, bytes, kind and what is known */
};
enum { PAG_IMAGES_UNREAD_MAX = 256 };
/* product "": of all. */
enum pag_err pag_images_unread(struct pag_db *db, struct pag_arena *arena, const char *product,
                               struct pag_image_unread **list, size_t *n);
/* What was found out later: trailer_legacy, signed_by and embedded_key of its id. */
enum pag_err pag_image_read_again(struct pag_db *db, const struct pag_release_image *i);

/* Keys that sign images of a product: registered ones (use "arduino"), then those that its images carry. At
 * most PAG_VERIFY_KEYS_MAX. */
enum pag_err pag_verify_keys(struct pag_db *db, struct pag_arena *arena, const char *product,
                             struct pag_verify_key **list, size_t *n);

#endif
