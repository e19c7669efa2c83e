#ifndef PAG_CLI_ENROLL_H
#define PAG_CLI_ENROLL_H

#include "cli/cli.h"

/* What a device starts from. Each function says what is wrong and returns an exit code. */

struct pag_enroll_for {
    const char *product; /* name */
    const char *mac;     /* twelve lower-case digits; NULL: any device */
};

/* --mac as twelve lower-case digits; *mac is NULL when it is not given. */
int pag_enroll_mac(struct pag_cli *cli, const char **mac);
/* A new code for --uses devices within --ttl; *reply as the server says it. */
int pag_enroll_code(struct pag_cli *cli, const struct pag_enroll_for *who, json_t **reply);
/* Address that devices use: --device-server, else the server's host and its port for devices. An address of
 * IPv6 is without brackets. */
int pag_enroll_server(struct pag_cli *cli, const char **host, uint32_t *port);
/* The text of docs/spec/device-config.md with the root certificate and --code or a new one. */
int pag_enroll_text(struct pag_cli *cli, const struct pag_enroll_for *who, const char **text);
/* Certificate of the installation's root, PEM. */
int pag_enroll_root(struct pag_cli *cli, struct pag_span *pem);

#endif
