#ifndef PAG_SERVER_DOMAIN_CLONE_H
#define PAG_SERVER_DOMAIN_CLONE_H

#include <pagurus/types.h>

/*
 * One certificate used from two places. A device's private key can be read out of its flash and used
 * elsewhere: what one device does and two can't hide. Nothing is blocked by it; people are told. Pure.
 */

enum pag_clone_sign {
    PAG_CLONE_NONE,
    PAG_CLONE_COUNTER,     /* its counter of boot records went back, with the same certificate */
    PAG_CLONE_CERTIFICATE, /* it uses a certificate again that it had replaced */
    PAG_CLONE_ADDRESSES,   /* it comes from two addresses in turn, faster than anything moves */
};
const char *pag_clone_word(enum pag_clone_sign sign); /* "counter" …; NONE: "" */

enum { PAG_CLONE_TURNS = 4, PAG_CLONE_TURN_MS = 60000 };

/* What is remembered of a device; all zero at first. */
struct pag_clone_trace {
    uint64_t certificate_until; /* end of the newest one that it has used, Unix s */
    uint32_t counter;           /* the highest */
    bool has_counter;
    uint32_t last, before; /* addresses, as hashes */
    int64_t turned_ms;     /* when it came from another address than the time before */
    uint32_t turns;        /* in a row, each soon after the last */
};

struct pag_clone_sight {
    uint64_t certificate_until; /* Unix s */
    uint32_t address;           /* hash */
    bool has_counter;
    uint32_t counter;
    int64_t now_ms;
};

/* Takes a sight into the trace and says what is odd about it: the first of the signs above. */
enum pag_clone_sign pag_clone_look(struct pag_clone_trace *t, const struct pag_clone_sight *s);

#endif
