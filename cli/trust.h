#ifndef PAG_CLI_TRUST_H
#define PAG_CLI_TRUST_H

#include "cli/cli.h"
#include "cli/keyfile.h"
#include "core/trust.h"

/* Kinds a release key may sign when nothing else is said: images, configuration, permits, commands. */
enum { PAG_TRUST_KINDS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7 };

struct pag_trust_view {
    struct pag_trust_set set;
    struct pag_span bytes; /* COSE */
    uint8_t digest[PAG_SHA256_BYTES];
    bool seen_first; /* version 1 was taken on faith in this run: nothing local to check it against */
};

/*
 * Newest set of a product: the copy kept on this machine, followed link by link to what the server has, so
 * that a server cannot slip in a set of its own. PAG_EXIT_NOT_FOUND when the product has none.
 */
int pag_trust_load(struct pag_cli *cli, const json_t *product, struct pag_trust_view *out);

/*
 * Signs set with every local root key of it (and of old, when given), checks the result as a device would,
 * keeps a copy and sends it (or writes it to --out). Passphrases are asked for.
 */
int pag_trust_sign(struct pag_cli *cli, const json_t *product, const struct pag_trust_view *old,
                   const struct pag_trust_set *set, struct pag_trust_view *out);

/* Adds a key (local name or PEM file) as root or release key; the set is full: PAG_EXIT_USAGE. */
int pag_trust_add_root(struct pag_cli *cli, struct pag_trust_set *set, const char *name);
int pag_trust_add_release(struct pag_cli *cli, struct pag_trust_set *set, const char *name);
/* The server's online freshness key takes the place of those in set. */
int pag_trust_set_freshness(struct pag_cli *cli, struct pag_trust_set *set);

/* A first set: one root, one release key, the server's freshness key. Signs and sends it. */
int pag_trust_first(struct pag_cli *cli, const json_t *product, const char *root, const char *release,
                    struct pag_trust_view *out);

#endif
