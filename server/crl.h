#ifndef PAG_SERVER_CRL_H
#define PAG_SERVER_CRL_H

#include "host/x509.h"

/* The revocation list of the device authority as a PEM file. Whoever uses one keeps it under a lock. */
struct pag_crl {
    const struct pag_ca *ca, *old; /* old: the one that ca follows, its list comes behind; NULL: none */
    char path[512];
    uint32_t valid_s; /* of one list */
    uint32_t every_s; /* made anew after this time, though nothing changed */
    uint64_t number;  /* of the last one; 0: none yet. Rises, also over restarts */
    uint64_t until_s; /* Unix s */
    uint64_t due_s;   /* Unix s: the next one is to be made */
};

/* Makes a list and replaces the file at once. After a failure the old file stays and due_s is a minute from
 * now. */
enum pag_err pag_crl_write(struct pag_crl *crl, const struct pag_revoked *revoked, size_t n,
                           uint64_t now_unix_ms);

#endif
