#ifndef PAG_CLI_SIGN_H
#define PAG_CLI_SIGN_H

#include "cli/firmware.h"
#include "cli/keyfile.h"
#include "cli/trust.h"

/* All that a manifest of a release is made from. */
struct pag_order {
    const json_t *product;
    uint8_t product_id[PAG_PRODUCT_ID_BYTES];
    const char *release; /* id of the draft */
    const char *version;
    uint32_t sequence;
    uint32_t epoch;
    uint64_t expires_at; /* Unix s, 0 = never */
    const struct pag_trust_view *trust;
    struct pag_key *key;
    const json_t *before; /* release that a permit leads back to, or NULL */
    uint64_t permit_s;    /* how long the permit holds */
};

/*
 * The local key that signs: --sign, or the only local one of the trust set, and then said so. *name is set.
 * product: its name, for messages. A root key is PAG_EXIT_DENIED.
 */
int pag_sign_choose(struct pag_cli *cli, const struct pag_trust_set *set, const char *product,
                    const char **name);
/* PAG_EXIT_DENIED when the trust set does not let this key sign releases of that epoch. */
int pag_sign_allowed(struct pag_cli *cli, const struct pag_order *o);
/* Signs f's manifest and sends it; and the permit for the release before, when there is one. */
int pag_sign_image(struct pag_cli *cli, const struct pag_order *o, const struct pag_firmware *f);
int pag_sign_permit(struct pag_cli *cli, const struct pag_order *o, const struct pag_firmware *f);

#endif
