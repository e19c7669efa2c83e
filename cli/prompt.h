#ifndef PAG_CLI_PROMPT_H
#define PAG_CLI_PROMPT_H

#include "cli/cli.h"

enum { PAG_SECRET_MAX = 1024 };

/*
 * Yes or no. --yes answers yes; without a terminal or with --no-input it is PAG_EXIT_USAGE and flag is named.
 * "no" returns PAG_EXIT_FAILED and says that nothing was done.
 */
int pag_prompt_yes(struct pag_cli *cli, const char *flag, const char *question);

/*
 * For what cannot be undone: --yes is not enough, --confirm NAME must equal name (or it is typed on the
 * terminal).
 */
int pag_prompt_confirm(struct pag_cli *cli, const char *name, const char *question);

/*
 * A line from the terminal without echo into secret[cap], NUL-terminated, without the newline. flag names
 * what to use when there is no terminal.
 */
int pag_prompt_secret(struct pag_cli *cli, const char *flag, const char *label, char *secret, size_t cap);

/* First line of fd into secret. PAG_E_SPACE when longer. */
enum pag_err pag_read_line(int fd, char *secret, size_t cap);

#endif
