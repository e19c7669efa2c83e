#ifndef PAG_HOST_TLS_PRIV_H
#define PAG_HOST_TLS_PRIV_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "host/tls.h"

/*
 * One TLS connection over a non-blocking socket, used by one thread. Records are gathered in the thread's
 * buffer and leave in one send; what the socket does not take is kept with the connection.
 */
struct pag_tls_conn;

enum { PAG_TLS_OUT_BYTES = 20480 };

/* A thread's buffer of records on their way out; at most one connection's at a time. */
struct pag_tls_io {
    const struct pag_tls_conn *owner; /* whose records they are; only meaningful while n > 0 */
    size_t n;
    uint8_t out[PAG_TLS_OUT_BYTES];
};

/* fd is borrowed. io: the thread's, outlives the connection. NULL: no memory. */
struct pag_tls_conn *pag_tls_conn_new(struct pag_tls *tls, int fd, struct pag_tls_io *io);
void pag_tls_conn_free(struct pag_tls_conn *c); /* NULL is fine; says nothing to the peer */

/* PAG_OK: done, the peer is known. PAG_E_AGAIN, PAG_E_CLOSED, PAG_E_TLS. */
enum pag_err pag_tls_handshake(struct pag_tls_conn *c);
const struct pag_tls_peer *pag_tls_conn_peer(const struct pag_tls_conn *c);

/* PAG_OK with *got > 0; PAG_E_AGAIN; PAG_E_CLOSED: close_notify or FIN; PAG_E_TLS. */
enum pag_err pag_tls_read(struct pag_tls_conn *c, uint8_t *buf, size_t n, size_t *got);
bool pag_tls_has_input(const struct pag_tls_conn *c); /* pag_tls_read may give more */
/* The socket has told of new bytes; without this it is not asked again once it was empty. ending: of the FIN.
 */
void pag_tls_readable(struct pag_tls_conn *c, bool ending);

/* At most one record of n <= pag_tls_record_bytes. After PAG_E_AGAIN the same bytes, or more, come again. */
enum pag_err pag_tls_write(struct pag_tls_conn *c, const uint8_t *p, size_t n, size_t *done);
size_t pag_tls_record_bytes(const struct pag_tls_conn *c);

/* Hands everything gathered to the socket. Called before the thread turns to another connection. */
enum pag_err pag_tls_flush(struct pag_tls_conn *c);   /* PAG_OK, PAG_E_AGAIN, PAG_E_CLOSED */
size_t pag_tls_backlog(const struct pag_tls_conn *c); /* bytes the socket has not taken yet */

void pag_tls_shutdown(struct pag_tls_conn *c); /* close_notify into the buffer */

/* ---- inside the tls_*.c files ---- */

/* Keys of session tickets, shared by all threads and kept over reloads. The newest seals, all open. */
struct pag_tls_tickets;
struct pag_tls_tickets *pag_tls_tickets_new(uint32_t life_s);
void pag_tls_tickets_free(struct pag_tls_tickets *t);
void pag_tls_tickets_use(struct pag_tls_tickets *t, SSL_CTX *ctx);

/*
 * The rules for client certificates of one context: trust store, issuing CA, and a cache of chains found
 * valid, by fingerprint (validity only; whether the device is still admitted is asked each time).
 */
struct pag_tls_trust;
enum pag_err pag_tls_trust_new(const char *ca_file, struct pag_tls_trust **out, struct pag_fail *why);
void pag_tls_trust_free(struct pag_tls_trust *t);
/* tls: asked for admission. ctx takes t over. */
void pag_tls_trust_use(struct pag_tls_trust *t, SSL_CTX *ctx, struct pag_tls *tls);

/* Fills *peer from a certificate. False when the name does not follow the profile. */
bool pag_tls_peer_read(X509 *cert, struct pag_tls_peer *peer);
bool pag_tls_admits(const struct pag_tls *tls, const struct pag_tls_peer *peer);

struct pag_tls {
    struct pag_tls_config config; /* texts are copies */
    pthread_mutex_t lock;         /* guards ctx */
    SSL_CTX *ctx;
    struct pag_tls_tickets *tickets;
    BIO_METHOD *bio;
    _Atomic uint64_t full, resumed, failed, probes;
};

BIO_METHOD *pag_tls_bio_method(void); /* NULL: no memory */

#endif
