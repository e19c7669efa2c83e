#ifndef PAG_CLI_ARDUINO_H
#define PAG_CLI_ARDUINO_H

#include "cli/firmware.h"
#include "cli/keyfile.h"

/* Signatures that devices with a compiled-in key check: docs/spec/legacy-signatures.md. */

/* Whether f has such a signature behind it, or the command line gives it one. */
bool pag_arduino_has(struct pag_cli *cli, const struct pag_firmware *f);

/* Puts signature and length behind the image, as --arduino-key and --arduino-legacy say: behind the packed
 * bytes when the file was gzip. PAG_EXIT_USAGE when there is one already. Nothing without --arduino-key. */
int pag_arduino_sign(struct pag_cli *cli, struct pag_firmware *f, size_t n);

/* Sends a signature over each uploaded image beside it: made with the key of --detach, or read from the file
 * of --signature (of the first). Nothing without either. */
int pag_arduino_detach(struct pag_cli *cli, const char *release, const struct pag_firmware *f, size_t n);

/* C header for a sketch, in the arena. pem: of the key. */
const char *pag_arduino_header(struct pag_cli *cli, const struct pag_key *key, const char *pem);

/* Whether a change of what is published ("publish", "withdraw") would cut devices off: says which, and is
 * PAG_EXIT_CONFLICT unless --strand-anyway has a reason. release: escaped id. */
int pag_arduino_strands(struct pag_cli *cli, const char *release, const char *verb);
/* The body of that change: strand_anyway, or NULL. */
json_t *pag_arduino_change(struct pag_cli *cli);

#endif
