#ifndef PAG_CLI_SETTINGS_H
#define PAG_CLI_SETTINGS_H

#include "cli/cli.h"

/*
 * Where to and as whom. Precedence: flag, PAGURUS_* environment, .pagurus.ini of the project (never secrets,
 * never a server: a checked-out folder must not be able to ask for a token), the user's config.ini,
 * /etc/pagurus/cli.ini.
 */
struct pag_context {
    const char *name;
    const char *server;
    const char *ca;
    const char *token_file;
    const char *token_command;
};

enum { PAG_CONTEXTS_MAX = 64 };

struct pag_contexts {
    const char *current; /* "" when none */
    const char *product; /* defaults a project may set; NULL when not */
    const char *channel;
    const char *sign;
    size_t n;
    struct pag_context list[PAG_CONTEXTS_MAX];
};

/* ${XDG_CONFIG_HOME:-~/.config}/pagurus, without a slash at the end. */
const char *pag_conf_dir(struct pag_cli *cli);

/* Reads all files. Unknown keys are PAG_EXIT_USAGE with file and line. */
int pag_contexts_read(struct pag_cli *cli, struct pag_contexts *out);
/* Only the user's own file, to change it. */
int pag_contexts_read_own(struct pag_cli *cli, struct pag_contexts *out);
int pag_contexts_write(struct pag_cli *cli, const struct pag_contexts *c);
struct pag_context *pag_contexts_find(struct pag_contexts *c, const char *name);
/* The context of that name, made when missing; NULL when there are too many. */
struct pag_context *pag_contexts_add(struct pag_contexts *c, const char *name);

/* Fills cli->set once; does not look for a token. */
int pag_conf_load(struct pag_cli *cli);
int pag_conf_need_server(struct pag_cli *cli);
/* Finds the token; secret files must be private. Missing: PAG_EXIT_DENIED. */
int pag_conf_token(struct pag_cli *cli);

/* Flag, or the default that .pagurus.ini sets for it (product, channel, sign); NULL when neither. */
const char *pag_conf_default(struct pag_cli *cli, const char *flag);

/* A file's path from the root folder on, so that it can be remembered; NULL passes. */
const char *pag_conf_file(struct pag_cli *cli, const char *file);

/* https://…, or http:// to this machine itself; the slash at the end is dropped. NULL: not such a URL. */
const char *pag_conf_url(struct pag_cli *cli, const char *text);

#endif
