#ifndef PAG_SIM_FETCH_H
#define PAG_SIM_FETCH_H

#include "sim/fleet.h"
#include "sim/httpupdate.h"

/*
 * One HTTP exchange of a virtual device as old clients do it: a connection, a request, a head, a body,
 * closed. Writing flash stops it from reading for a while; patience ends as its personality's does.
 */

enum pag_sim_fetch_event {
    PAG_SIM_FETCH_AGAIN,  /* nothing yet */
    PAG_SIM_FETCH_HEAD,   /* head is in: pag_sim_fetch_body, or close */
    PAG_SIM_FETCH_PEEK,   /* peek_at bytes of the body are there, or all of it */
    PAG_SIM_FETCH_DONE,   /* the whole body */
    PAG_SIM_FETCH_FAILED, /* err, code and what say why */
};

struct pag_sim_fetch {
    enum {
        PAG_SIM_FETCH_OFF,
        PAG_SIM_FETCH_SENDING,
        PAG_SIM_FETCH_WAITING,
        PAG_SIM_FETCH_JUDGED,
        PAG_SIM_FETCH_READING
    } at;
    struct pag_conn conn;
    uint8_t wire[PAG_SIM_UPDATE_HEAD_MAX]; /* request out, then head in */
    size_t wire_n, wire_at;
    struct pag_sim_head head;
    uint8_t *body; /* of the exchange; NULL before pag_sim_fetch_body */
    uint32_t body_n, body_bytes;
    uint32_t early;    /* bytes of the body that came with the head */
    uint32_t peek_at;  /* 0: no peek wanted */
    uint32_t flash_at; /* the next time flash is written, in bytes of the body */
    uint64_t busy_ms, due_ms;
    enum pag_err err;
    int code; /* getLastError of the libraries */
    const char *what;
};

struct pag_sim_address_of { /* where a request goes */
    const char *host;
    uint16_t port;
    const struct pag_net_trust *trust; /* NULL: plain */
};

/* Sends what has been put into wire (wire_n). */
enum pag_err pag_sim_fetch_open(struct pag_sim_device *d, struct pag_sim_fetch *f,
                                const struct pag_sim_address_of *to);
/* One step. */
enum pag_sim_fetch_event pag_sim_fetch_step(struct pag_sim_device *d, struct pag_sim_fetch *f);
/* After HEAD: reads a body of so many bytes, peeking at peek_at (0: not). PAG_E_NO_MEMORY. */
enum pag_err pag_sim_fetch_body(struct pag_sim_device *d, struct pag_sim_fetch *f, uint32_t bytes,
                                uint32_t peek_at);
/* Also forgets the body. */
void pag_sim_fetch_close(struct pag_sim_device *d, struct pag_sim_fetch *f);

#endif
