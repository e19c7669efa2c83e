#ifndef PAG_SIM_NET_H
#define PAG_SIM_NET_H

#include <netinet/in.h>
#include <openssl/ssl.h>

#include <pagurus/errors.h>

#include "agent/port.h"
#include "host/loop.h"

/*
 * Connections of many virtual devices on one loop: TCP, or TLS with the device's own certificate, never
 * blocking. One struct pag_sim_net a thread. A connection wakes its owner once when what it last waited for
 * (PAG_E_AGAIN) may go on.
 */

enum { PAG_SIM_CONTEXTS_MAX = 4, PAG_SIM_NAMES_MAX = 4 };

struct pag_sim_net_stats {
    uint64_t opened, handshakes, resumed, refused; /* refused: over before the server said a word over TLS */
    uint64_t read_bytes, written_bytes;
};

enum { PAG_SIM_WHY_MAX = 64 };

struct pag_sim_net {
    struct pag_loop *loop;
    struct {
        const uint8_t *ca; /* the span's start; the CA of a run lies in one place */
        size_t ca_n;
        SSL_CTX *ctx;
    } context[PAG_SIM_CONTEXTS_MAX];
    struct pag_sim_address {
        char host[64];
        struct sockaddr_storage address;
        socklen_t bytes;
    } resolved[PAG_SIM_NAMES_MAX]; /* a fleet has one server and one broker */
    uint32_t resolved_n;
    struct pag_sim_net_stats stats;
    char why[PAG_SIM_WHY_MAX]; /* of the last call that failed for good, in words */
};

/* What a device's TLS stack is like; all zero: as OpenSSL is. */
struct pag_sim_shape {
    uint16_t mfln;       /* maximum fragment length it asks for: 512 to 4096, 0: does not ask */
    uint32_t record_max; /* payload bytes of a record that its memory holds; 0: any */
    bool tls12;          /* knows nothing newer */
    bool blind;          /* checks no certificate */
    bool is_1970;        /* its clock has not been set: no certificate is valid yet */
};

void pag_sim_net_init(struct pag_sim_net *net, struct pag_loop *loop);
void pag_sim_net_done(struct pag_sim_net *net); /* every connection must be closed before */

struct pag_sim_conn {
    struct pag_sim_net *net;
    struct pag_watch watch;
    SSL *ssl; /* NULL: plain */
    enum { PAG_SIM_CONNECTING, PAG_SIM_HANDSHAKE, PAG_SIM_OPEN, PAG_SIM_BROKEN } state;
    unsigned waiting;      /* PAG_LOOP_READ, PAG_LOOP_WRITE */
    unsigned session_slot; /* the owner's */
    bool turned_away;      /* broken before the server said a word over TLS */
    bool saw_bytes;        /* anything was read after the handshake */
    uint32_t record_max;   /* of its shape, with what encryption adds; 0: any */
    bool too_large;        /* a record came that its memory does not hold */
    void (*wake)(void *ctx);
    void *wake_ctx;
};

/* trust NULL: plain; shape NULL: as OpenSSL is. wake is called out of the loop, never inside the functions
 * below. PAG_E_IO (no address, no socket), PAG_E_TLS (bad certificate or key), PAG_E_NO_MEMORY. */
enum pag_err pag_sim_net_open(struct pag_sim_net *net, const char *host, uint16_t port,
                              const struct pag_net_trust *trust, const struct pag_sim_shape *shape,
                              struct pag_sim_conn **out);
void pag_sim_conn_on_wake(struct pag_sim_conn *c, void (*wake)(void *ctx), void *ctx);

/* Before the first use of c: tries to resume. session: NULL is fine; stays the caller's. */
void pag_sim_conn_resume(struct pag_sim_conn *c, SSL_SESSION *session);
/* What a later connection may resume, or NULL; the caller frees it with SSL_SESSION_free. */
SSL_SESSION *pag_sim_conn_session(struct pag_sim_conn *c);

/* As struct pag_net says. */
enum pag_err pag_sim_conn_ready(struct pag_sim_conn *c);
enum pag_err pag_sim_conn_read(struct pag_sim_conn *c, uint8_t *out, size_t *n);
enum pag_err pag_sim_conn_write(struct pag_sim_conn *c, const uint8_t *data, size_t *n);
/* abrupt: as if the power failed, no close_notify. NULL is fine. */
void pag_sim_conn_close(struct pag_sim_conn *c, bool abrupt);

#endif
