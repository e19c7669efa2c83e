#ifndef PAG_SERVER_APP_FILES_H
#define PAG_SERVER_APP_FILES_H

#include "server/app/check_in.h"

/* Images by the names that devices ask for, for who is nobody in particular. On a network thread: memory
 * only. */

/*
 * The file in->file of the newest release of in->product that has it, as an offer without an action. proof
 * and auth count as in a check-in. PAG_E_NOT_FOUND no such product or file, PAG_E_UNAUTHENTICATED.
 */
enum pag_err pag_app_file_find(struct pag_call *call, const struct pag_check_in *in,
                               struct pag_check_reply *out);

/* Whether a release of the product has this version text. */
bool pag_app_version_known(struct pag_call *call, const char *product, const char *version);

/* What an offer was, small and without pointers. */
struct pag_file_pin {
    uint32_t action_id;
    uint8_t sha256[PAG_SHA256_BYTES];
};
void pag_file_pin_of(const struct pag_check_reply *offer, struct pag_file_pin *out);
/*
 * The same bytes once more, when their release is still published. proof and auth count.
 * PAG_E_NOT_FOUND, PAG_E_UNAUTHENTICATED.
 */
enum pag_err pag_app_file_again(struct pag_call *call, const struct pag_check_in *in,
                                const struct pag_file_pin *pin, struct pag_check_reply *out);

/* What a web installer needs to know of a release. */
struct pag_file_release {
    const char *product, *version; /* in call->arena */
    enum pag_chip chip;
    struct pag_release_image *image; /* image_n, in call->arena */
    size_t image_n;
};
/* The newest release that has a firmware image. PAG_E_NOT_FOUND, PAG_E_UNAUTHENTICATED. */
enum pag_err pag_app_file_release(struct pag_call *call, const struct pag_check_in *in,
                                  struct pag_file_release *out);

#endif
