#include "host/token.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <zlib.h>

#include "host/rand.h"

enum { PREFIX = 4, SECRET = 43, CRC = 8, BODY = PAG_TOKEN_CHARS - CRC - 1 };

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/* The last five are check symbols only: Crockford's, but such as mean nothing to a shell. */
static const char crockford[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ_+@:U";

static bool all_in(const char *text, size_t n, const char *set)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\0' || strchr(set, text[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* CRC-32 of the part before the last '_', as 8 hex digits without NUL. */
static void crc_text(const char *text, char out[CRC])
{
    static const char digits[] = "0123456789abcdef";
    unsigned long crc = crc32(0, (const Bytef *)text, BODY);
    for (int i = 0; i < CRC; i++) {
        out[i] = digits[(crc >> (28 - 4 * i)) & 15];
    }
}

static void finish(struct pag_api_token *t)
{
    memcpy(t->id, t->text + PREFIX, PAG_TOKEN_ID_CHARS);
    t->id[PAG_TOKEN_ID_CHARS] = '\0';
    (void)SHA256((const unsigned char *)t->text, PAG_TOKEN_CHARS, t->sha256);
}

void pag_api_token_make(struct pag_api_token *out)
{
    char *at = out->text;
    memcpy(at, "pgt_", PREFIX);
    pag_rand_hex(at + PREFIX, PAG_TOKEN_ID_CHARS / 2);
    at[PREFIX + PAG_TOKEN_ID_CHARS] = '_';
    for (int i = 0; i < SECRET; i++) {
        at[PREFIX + PAG_TOKEN_ID_CHARS + 1 + i] = base62[pag_rand_below(62)];
    }
    at[BODY] = '_';
    crc_text(at, at + BODY + 1);
    at[PAG_TOKEN_CHARS] = '\0';
    finish(out);
}

enum pag_err pag_api_token_parse(struct pag_span text, struct pag_api_token *out)
{
    struct pag_api_token t;
    char crc[CRC];
    if (text.n != PAG_TOKEN_CHARS || memcmp(text.p, "pgt_", PREFIX) != 0) {
        return PAG_E_SYNTAX;
    }
    memcpy(t.text, text.p, PAG_TOKEN_CHARS);
    t.text[PAG_TOKEN_CHARS] = '\0';
    bool shape = all_in(t.text + PREFIX, PAG_TOKEN_ID_CHARS, "0123456789abcdef") &&
                 t.text[PREFIX + PAG_TOKEN_ID_CHARS] == '_' && t.text[BODY] == '_' &&
                 all_in(t.text + PREFIX + PAG_TOKEN_ID_CHARS + 1, SECRET, base62);
    crc_text(t.text, crc);
    if (!shape || memcmp(crc, t.text + BODY + 1, CRC) != 0) {
        OPENSSL_cleanse(&t, sizeof t);
        return shape ? PAG_E_CHECKSUM : PAG_E_SYNTAX;
    }
    finish(&t);
    *out = t;
    OPENSSL_cleanse(&t, sizeof t);
    return PAG_OK;
}

/* ---- claims: 128 bits as 26 symbols of 5 bits (two leading zero bits), and the number modulo 37 ---- */

enum { CLAIM_BYTES = 16, CLAIM_SYMBOLS = 26 };

static void claim_text(const uint8_t bytes[CLAIM_BYTES], struct pag_claim *out)
{
    unsigned rest = 0;
    for (int i = 0; i < CLAIM_SYMBOLS; i++) {
        unsigned value = 0;
        for (int bit = 0; bit < 5; bit++) {
            int at = i * 5 + bit - 2;
            unsigned b = at < 0 ? 0 : ((unsigned)bytes[at / 8] >> (7 - at % 8)) & 1U;
            value = value << 1 | b;
        }
        out->text[i] = crockford[value];
        rest = (rest * 32 + value) % 37;
    }
    out->text[CLAIM_SYMBOLS] = crockford[rest];
    out->text[PAG_CLAIM_CHARS] = '\0';
    (void)SHA256(bytes, CLAIM_BYTES, out->sha256);
}

void pag_claim_make(struct pag_claim *out)
{
    uint8_t bytes[CLAIM_BYTES];
    pag_rand_bytes(bytes, sizeof bytes);
    claim_text(bytes, out);
    OPENSSL_cleanse(bytes, sizeof bytes);
}

/* Value 0..36 of a symbol as people type it, or -1. */
static int symbol(uint8_t c)
{
    if (c >= 'a' && c <= 'z') {
        c = (uint8_t)(c - 'a' + 'A');
    }
    if (c == 'O') {
        c = '0';
    }
    if (c == 'I' || c == 'L') {
        c = '1';
    }
    const char *at = c == '\0' ? NULL : strchr(crockford, c);
    return at == NULL ? -1 : (int)(at - crockford);
}

static enum pag_err claim_symbols(struct pag_span text, uint8_t value[PAG_CLAIM_CHARS])
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '-' || text.p[i] == ' ') {
            continue;
        }
        int v = symbol(text.p[i]);
        if (v < 0 || n == PAG_CLAIM_CHARS || (v > 31 && n != CLAIM_SYMBOLS)) {
            return PAG_E_SYNTAX;
        }
        value[n++] = (uint8_t)v;
    }
    return n == PAG_CLAIM_CHARS && value[0] < 8 ? PAG_OK : PAG_E_SYNTAX;
}

/* Puts the five bits of symbol i in their place; the first two of all are no bits of the number. */
static void put_symbol(uint8_t bytes[CLAIM_BYTES], int i, uint8_t value)
{
    for (int bit = 0; bit < 5; bit++) {
        int at = i * 5 + bit - 2;
        if (at >= 0 && (value >> (4 - bit) & 1) != 0) {
            bytes[at / 8] = (uint8_t)(bytes[at / 8] | 1U << (7 - at % 8));
        }
    }
}

enum pag_err pag_claim_parse(struct pag_span text, struct pag_claim *out)
{
    uint8_t value[PAG_CLAIM_CHARS];
    uint8_t bytes[CLAIM_BYTES] = { 0 };
    unsigned rest = 0;
    enum pag_err err = claim_symbols(text, value);
    if (err != PAG_OK) {
        return err;
    }
    for (int i = 0; i < CLAIM_SYMBOLS; i++) {
        rest = (rest * 32 + value[i]) % 37;
        put_symbol(bytes, i, value[i]);
    }
    if (rest != value[CLAIM_SYMBOLS]) {
        return PAG_E_CHECKSUM;
    }
    claim_text(bytes, out);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return PAG_OK;
}
