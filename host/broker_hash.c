#include "host/broker_hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "host/rand.h"

enum { SALT = 12, HASH = 64, ITERATIONS = 101, SALT_B64 = 16, HASH_B64 = 88 };

enum pag_err pag_broker_secret_make(struct pag_broker_secret *out)
{
    uint8_t salt[SALT];
    uint8_t hash[HASH];
    unsigned char salt64[SALT_B64 + 1];
    unsigned char hash64[HASH_B64 + 1];
    pag_rand_hex(out->password, PAG_BROKER_PASSWORD_CHARS / 2);
    pag_rand_bytes(salt, sizeof salt);
    int done = PKCS5_PBKDF2_HMAC(out->password, PAG_BROKER_PASSWORD_CHARS, salt, sizeof salt, ITERATIONS,
                                 EVP_sha512(), sizeof hash, hash);
    (void)EVP_EncodeBlock(salt64, salt, sizeof salt);
    (void)EVP_EncodeBlock(hash64, hash, sizeof hash);
    (void)snprintf(out->hash, sizeof out->hash, "$7$%d$%s$%s", ITERATIONS, (const char *)salt64,
                   (const char *)hash64);
    OPENSSL_cleanse(hash, sizeof hash);
    return done == 1 ? PAG_OK : PAG_E_INTERNAL;
}
