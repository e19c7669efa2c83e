#ifndef PAG_CLI_PUSH_LAN_H
#define PAG_CLI_PUSH_LAN_H

#include <stdatomic.h>

#include "cli/cli.h"
#include "relay/push.h"

/* Of pagurus push and pagurus relay. */

/* Set by Ctrl-C and SIGTERM once pag_lan_catch was called. */
const atomic_bool *pag_lan_stop(void);
void pag_lan_catch(void);

/* First line of a file that only its owner can read, in the arena. */
int pag_lan_secret(struct pag_cli *cli, const char *file, const char **out);

/* Exit code for the end of a push. */
int pag_lan_exit(const struct pag_push_result *r);

#endif
