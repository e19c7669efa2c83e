#ifndef PAG_CLI_RELAY_RULES_H
#define PAG_CLI_RELAY_RULES_H

#include "cli/cli.h"
#include "relay/source.h"

/* devices.ini of a relay: which device is which product's, where it is, and its password. */

enum { PAG_RELAY_RULES_MAX = 512 };

struct pag_relay_rule {
    const char *pattern; /* of [device PATTERN]: name, host, id or address */
    const char *product; /* NULL: as the server has it */
    bool has_protocol;
    enum pag_push_protocol protocol;
    const char *address; /* "192.168.1.40" or a name; NULL: by what it announces */
    uint16_t port;       /* 0: the protocol's */
    const char *user;
    const char *password;
    const char *path;
};

struct pag_relay_rules {
    struct pag_relay_rule *rule;
    size_t n;
};

/* file NULL: no rules. Says line and reason, and returns PAG_EXIT_USAGE. */
int pag_relay_rules_read(struct pag_cli *cli, const char *file, struct pag_relay_rules *out);
/* The first that fits the device's name, host, id or address, and its protocol; NULL: none. */
const struct pag_relay_rule *pag_relay_rule_of(const struct pag_relay_rules *rules,
                                               const struct pag_mdns_found *f, const char *id);
/* Source of the devices that have an address in the file. ctx: the rules. */
extern const struct pag_relay_source pag_relay_source_rules;

#endif
