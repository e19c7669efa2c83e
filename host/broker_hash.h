#ifndef PAG_HOST_BROKER_HASH_H
#define PAG_HOST_BROKER_HASH_H

#include <pagurus/errors.h>

/*
 * One password as a line of mosquitto's password file has it behind "name:" ("$7$101$salt$hash":
 * PBKDF2-HMAC-SHA-512 with 12 bytes of salt). The iterations are few because these passwords are made by
 * machine: 120 random bits are not guessed, and each connection costs the broker this much.
 */
enum { PAG_BROKER_PASSWORD_CHARS = 30, PAG_BROKER_HASH_CHARS = 120 };

struct pag_broker_secret {
    char password[PAG_BROKER_PASSWORD_CHARS + 1]; /* show it once, wipe it */
    char hash[PAG_BROKER_HASH_CHARS + 1];
};
/* PAG_E_INTERNAL: the library failed. */
enum pag_err pag_broker_secret_make(struct pag_broker_secret *out);

#endif
