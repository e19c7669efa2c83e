#ifndef PAG_CLI_KEYFILE_H
#define PAG_CLI_KEYFILE_H

#include <openssl/types.h>

#include "cli/cli.h"
#include "cli/prompt.h"

/*
 * Signing keys of the user: ~/.config/pagurus/keys/NAME.pem (private, PKCS#8, 0600, normally encrypted) and
 * NAME.pub (public, so that listing asks for no passphrase). They never leave this machine.
 */
struct pag_key {
    const char *name; /* local name or file */
    EVP_PKEY *pkey;   /* private when opened as such; free with pag_key_close */
    uint8_t id[PAG_KEY_ID_BYTES];
    uint8_t point[PAG_P256_POINT_BYTES]; /* zeros for RSA */
    uint32_t rsa_bits;                   /* 0: P-256 */
};

const char *pag_key_folder(struct pag_cli *cli);
const char *pag_key_path(struct pag_cli *cli, const char *name, const char *ending); /* ".pem" ".pub" */
bool pag_key_exists(struct pag_cli *cli, const char *name);
/* Names of the keys on this machine, sorted, ended by NULL; in the arena. */
const char **pag_key_names(struct pag_cli *cli);

/* The two below take P-256 keys alone, which sign manifests; those that sign images may be RSA. */
int pag_key_open_any(struct pag_cli *cli, const char *name, struct pag_key *key);
int pag_key_public_any(struct pag_cli *cli, const char *name, struct pag_key *key);
/* From --passphrase-file, --passphrase-fd or the terminal. The caller wipes secret. */
int pag_key_passphrase(struct pag_cli *cli, const char *label, char secret[PAG_SECRET_MAX]);
/* Private part; from here on no core dumps, secrets in locked memory. Asks for the passphrase when there is
 * one. */
int pag_key_open(struct pag_cli *cli, const char *name, struct pag_key *key);
/* Public part: a local key's name, or a PEM file with a public key. */
int pag_key_public(struct pag_cli *cli, const char *name, struct pag_key *key);
void pag_key_close(struct pag_key *key);

/* Saves a new private key under name; passphrase from the flags or asked twice; none with --no-passphrase. */
int pag_key_save(struct pag_cli *cli, const char *name, const EVP_PKEY *pkey);
/* New P-256 key, saved and opened. */
int pag_key_make(struct pag_cli *cli, const char *name, struct pag_key *key);
/* New RSA key for images. */
int pag_key_make_rsa(struct pag_cli *cli, const char *name, uint32_t bits, struct pag_key *key);
/* PEM SubjectPublicKeyInfo in the arena. */
const char *pag_key_spki_pem(struct pag_cli *cli, const struct pag_key *key);
/* 16 hex digits in the arena. */
const char *pag_key_id_text(struct pag_cli *cli, const uint8_t id[PAG_KEY_ID_BYTES]);
/* POST /keys; a key that the server has already is fine. use: "root", "release" or "arduino". */
int pag_key_register(struct pag_cli *cli, const struct pag_key *key, const char *use);

#endif
