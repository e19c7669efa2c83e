#ifndef PAG_SERVER_INIT_H
#define PAG_SERVER_INIT_H

#include <stdbool.h>

#include <pagurus/errors.h>

#include "host/x509.h"
#include "server/config.h"

/*
 * The data folder (0700) and what is in it. All secrets are 0600.
 *
 *     ca/root.pem                   root certificate; devices pin it
 *     ca/{device,server,operator}-ca.pem, .key    issuing authorities; .pem is the authority, then the root
 *     ca/device-anchor.pem, ca/operator-anchor.pem  self-signed form: what a listener trusts (exactly this
 * one) ca/root-export.unconfirmed    exists until the operator says that the export is in a safe place
 *     root-export.pem               root certificate and passphrase-encrypted root key: to be moved away
 *     tls/server.pem, .key          leaf and server authority (no root); HTTPS and broker
 *     tls/server-rsa.pem, .key      the same names with an RSA key, for HTTPS clients without ECDSA
 *     tls/svc.pem, .key             CN svc-pagurusd, the daemon's identity at the broker
 *     keys/freshness.key            P-256, signs freshness tokens
 *     run/                          ports.json, pid
 *     mosquitto/                    the managed broker's own folder
 *     blobs/ spool/                 the store's
 */
struct pag_paths {
    char data[256];
    char root_pem[320];
    char root_export[320];
    char device_ca_pem[320], device_ca_key[320], device_anchor[320];
    char server_ca_pem[320], server_ca_key[320];
    char operator_ca_pem[320], operator_ca_key[320], operator_anchor[320];
    char device_old_pem[320], device_old_key[320]; /* during a roll-over: server/roll.h */
    char server_pem[320], server_key[320];
    char server_rsa_pem[320], server_rsa_key[320];
    char svc_pem[320], svc_key[320];
    char freshness_key[320];
    char ports_json[320];
    char broker_dir[320];
    char device_crl[320]; /* the broker reads it, GET /api/v1/ca/device.crl serves it */
    char blobs_dir[320], spool_dir[320];
    char database[320];
};

/* PAG_E_CONFIG when data is too long. */
enum pag_err pag_paths_of(const char *data, struct pag_paths *out);

struct pag_init_order {
    const char *data;
    const char *names;        /* comma-separated, first is the main one; "" : detected ones only */
    const char *organisation; /* in the root's subject; NULL: "Pagurus" */
    const char *passphrase;   /* of the root export, at least 8 characters; the caller wipes it */
    uint64_t now;             /* Unix s */
    uint64_t server_s;        /* lifetime of the server certificate */
};

struct pag_init_result {
    char root_sha256[65]; /* fingerprint of the root certificate, hex */
    char server_sha256[65];
    char root_export[320];
    struct pag_config_names names;
};

/*
 * Makes everything above except the database. Nothing is overwritten: PAG_E_EXISTS when any of it is there,
 * and found[320] (may be NULL) is its path. The root key exists only in memory and in the encrypted export.
 * A failed run removes what it made. *out is zeroed first.
 */
enum pag_err pag_init(const struct pag_init_order *order, struct pag_init_result *out, char found[320],
                      struct pag_fail *why);

/* Steps of the above, for server/roll.c: an authority's certificate and the root as PEM, its anchor (and that
 * of another, NULL: none), the daemon's own certificate at the broker, and that of HTTPS with the names that
 * it has. */
enum pag_err pag_init_write_ca(const struct pag_paths *paths, const char *path, struct pag_span der,
                               struct pag_fail *why);
enum pag_err pag_init_write_anchors(const char *path, const struct pag_ca *ca, const struct pag_ca *old,
                                    uint64_t now, struct pag_fail *why);

bool pag_init_done(const struct pag_paths *paths); /* the data folder holds an installation */

/*
 * The names of this server, the main one first: those of the list, or, when it is empty, those of the server
 * certificate that is there. configured: comma-separated. Nothing is detected. *out has none when there is no
 * certificate to read. PAG_E_CONFIG: the list is none.
 */
enum pag_err pag_init_names(const struct pag_paths *paths, const char *configured,
                            struct pag_config_names *out);
/* New key and certificate for tls/server.* by the server authority; names: as for pag_init_names, and what is
 * detected is added. */
enum pag_err pag_init_renew_server(const struct pag_paths *paths, const char *names, uint64_t now,
                                   uint64_t lifetime_s, struct pag_fail *why);
/* tls/svc.*, the same way. */
enum pag_err pag_init_renew_service(const struct pag_paths *paths, uint64_t now, struct pag_fail *why);

/* Where the root export stands; doctor, start and console say so until it is CONFIRMED. */
enum pag_root_export { PAG_ROOT_CONFIRMED, PAG_ROOT_UNCONFIRMED, PAG_ROOT_STILL_HERE };
enum pag_root_export pag_init_root_state(const struct pag_paths *paths);
/* PAG_E_CONFLICT while root-export.pem is still in the data folder, unless it is to be kept there. */
enum pag_err pag_init_root_confirm(const struct pag_paths *paths, bool keep, struct pag_fail *why);

/* Reads a passphrase: path is a file (must be private), "-" standard input, "fd:N" a descriptor, or NULL to
 * ask on the terminal (twice, without echo). One trailing newline is dropped. out: wiped by the caller.
 * PAG_E_CONFIG: shorter than 8 characters, or the two differ; PAG_E_UNSUPPORTED: no terminal to ask on. */
enum pag_err pag_init_passphrase(const char *path, char out[256], struct pag_fail *why);

#endif
