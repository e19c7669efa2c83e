#ifndef PAG_SERVER_DOMAIN_IMAGE_KEYS_H
#define PAG_SERVER_DOMAIN_IMAGE_KEYS_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/image_key.h"
#include "server/domain/access.h"
#include "server/domain/release.h"

/* Which public keys sign the images of a product, and which one an image carries. Pure. */

struct pag_verify_key {
    uint8_t id[PAG_KEY_ID_BYTES];
    char name[PAG_NAME_MAX + 1]; /* "" for one that was only found inside an image */
    bool registered;             /* by an operator, for this product or for all */
    struct pag_span spki;        /* DER SubjectPublicKeyInfo */
};

enum { PAG_SIGNATURE_BYTES_MAX = 512 };

/* A signature that is kept beside an image. */
struct pag_detached {
    uint8_t key[PAG_KEY_ID_BYTES];
    struct pag_span signature;
    int64_t created_ms;
};

enum { PAG_VERIFY_KEYS_MAX = 64, PAG_FOUND_KEYS_MAX = 8 };

struct pag_found_keys {
    struct pag_image_key key[PAG_FOUND_KEYS_MAX];
    size_t n; /* found; more than the array holds are only counted */
};

/* All public keys of payload. */
void pag_image_keys_find(const struct pag_crypto *crypto, struct pag_span payload,
                         struct pag_found_keys *found);

/* What the uploader says about it; known false: nothing. */
struct pag_key_choice {
    bool known;
    bool none;                    /* the image checks nothing */
    uint8_t id[PAG_KEY_ID_BYTES]; /* else this key */
};

/* An unpacked image, what was found in it, and what is known. */
struct pag_key_search {
    struct pag_span payload;
    const struct pag_found_keys *found;
    const struct pag_verify_key *known;
    size_t known_n;
    struct pag_key_choice said;
};

/*
 * The key with which the image checks its successor, into image->embedded_key: what was said; else the only
 * registered key that is inside, in whatever form; else the only one that an earlier image of the product
 * has; else the only RSA key in PEM. None: PAG_OK with has_embedded_key false. PAG_E_CONFLICT: several
 * registered ones; PAG_E_NOT_FOUND: the one that was said is not inside. why: a sentence for people.
 */
enum pag_err pag_image_keys_choose(const struct pag_key_search *s, struct pag_release_image *image,
                                   struct pag_fail *why);

#endif
