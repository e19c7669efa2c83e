#ifndef PAG_HOST_TLS_H
#define PAG_HOST_TLS_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * TLS server side on OpenSSL 3.0: TLS 1.2 and 1.3, ECDHE+AEAD only, no renegotiation, no early data,
 * max-fragment-length honoured, session tickets (keys rotate) and a bounded session-id cache, both shared by
 * all threads of a listener and by none other (own context, own id context). Small records first; a cap for
 * small devices.
 */

/* Who the peer proved to be. All zeros without a certificate. */
struct pag_tls_peer {
    bool has_certificate; /* chain verified against the listener's client CA, clientAuth, in its validity */
    bool resumed;
    char cn[PAG_DEVICE_ID_MAX + 1]; /* the single CN, already checked against [0-9a-z-] */
    char product[33];               /* hex product id out of SAN URI urn:pagurus:<product>:<device>, or "" */
    uint8_t serial[20];
    uint8_t serial_n;
    uint8_t fingerprint[PAG_SHA256_BYTES]; /* of the certificate's DER */
    uint64_t not_after;                    /* Unix s */
};

struct pag_tls_config {
    const char *cert_file; /* PEM, leaf first, then intermediates, without the root */
    const char *key_file;  /* PEM, mode 0600 */
    /* The same for clients whose suites have no ECDSA; NULL, or no file of that name: there is none. */
    const char *rsa_cert_file, *rsa_key_file;
    const char *client_ca_file; /* PEM of the issuing CA and its root, or of self-signed anchors with pathlen
                                   0, at most 4; NULL: no client certificate is requested */
    const char *id_context;     /* short name of the listener */
    uint32_t record_bytes;      /* cap of a plaintext record sent, 0 = 16384 */
    uint32_t session_cache;     /* entries of the session-id cache */
    uint32_t session_timeout_s;
    /* Called (any thread) for a full handshake's leaf and for every resumption; false refuses. May be NULL.
     */
    bool (*admit)(void *ctx, const struct pag_tls_peer *peer);
    void *admit_ctx;
};

struct pag_tls; /* one listener's context, shared by threads, reference-counted by its connections */

/* PAG_E_CONFIG with why->what when a file is missing, unreadable by others, expired or key and certificate
 * differ. */
enum pag_err pag_tls_new(const struct pag_tls_config *config, struct pag_tls **out, struct pag_fail *why);
/* Reads certificate, key and client CA again; live connections keep what they have. On error nothing changes.
 */
enum pag_err pag_tls_reload(struct pag_tls *tls, struct pag_fail *why);
void pag_tls_free(struct pag_tls *tls);

struct pag_tls_stats {
    uint64_t full, resumed, failed,
        probes; /* handshakes; probe: closed after ServerHello without application data */
};
struct pag_tls_stats pag_tls_stats_get(const struct pag_tls *tls);

#endif
