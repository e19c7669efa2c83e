#ifndef PAG_ERRORS_H
#define PAG_ERRORS_H

#include <stdint.h>

/* Every function that can fail returns one of these; PAG_OK is 0, all others are negative. */
enum pag_err {
    PAG_OK = 0,
    PAG_E_SHORT = -1,       /* input ends too early: feed more, or it is truncated */
    PAG_E_RANGE = -2,       /* a number, offset or length is outside what is allowed */
    PAG_E_SPACE = -3,       /* the lent buffer, slot or disk is too small */
    PAG_E_SYNTAX = -4,      /* bytes do not follow the format */
    PAG_E_MAGIC = -5,       /* first bytes are not of this format at all */
    PAG_E_CHECKSUM = -6,    /* XOR byte, CRC or appended hash does not match */
    PAG_E_DIGEST = -7,      /* SHA-256 of the content is not what was signed */
    PAG_E_SIGNATURE = -8,   /* signature invalid, or signer not trusted for this */
    PAG_E_UNSUPPORTED = -9, /* well-formed, but a version or feature this build does not know */
    PAG_E_PRODUCT = -10,    /* made for another product */
    PAG_E_HARDWARE = -11,   /* made for another chip, board or flash layout */
    PAG_E_ROLLBACK = -12,   /* sequence or security epoch below what is installed */
    PAG_E_EXPIRED = -13,
    PAG_E_STALE = -14,     /* a newer trust set, token or state is needed first */
    PAG_E_BLOCKED = -15,   /* blacklisted after a failed trial */
    PAG_E_CONDITION = -16, /* battery, heap, RSSI … not met now; try later */
    PAG_E_NOT_FOUND = -17,
    PAG_E_EXISTS = -18,   /* same name with other content */
    PAG_E_CONFLICT = -19, /* state has moved on; read again */
    PAG_E_DENIED = -20,   /* authenticated, not allowed */
    PAG_E_UNAUTHENTICATED = -21,
    PAG_E_LIMIT = -22,  /* quota, rate or size limit of the operator */
    PAG_E_BUSY = -23,   /* queue full; try later */
    PAG_E_AGAIN = -24,  /* would block */
    PAG_E_CLOSED = -25, /* peer closed the connection */
    PAG_E_TIMEOUT = -26,
    PAG_E_IO = -27, /* disk, flash or socket failed */
    PAG_E_NO_MEMORY = -28,
    PAG_E_TLS = -29,      /* handshake or certificate refused */
    PAG_E_CONFIG = -30,   /* configuration is wrong */
    PAG_E_INTERNAL = -31, /* a bug: an invariant of ours did not hold */
};

/* A failure with what was wrong. what: string literal, never built. detail: offset, key id, size … as what
 * says. */
struct pag_fail {
    enum pag_err code;
    const char *what;
    uint64_t detail;
};

/* Fills *why (may be NULL) and returns code, so that a caller can `return pag_fail_set(…)`. */
enum pag_err pag_fail_set(struct pag_fail *why, enum pag_err code, const char *what, uint64_t detail);
#ifdef PAG_NO_WHY
/* Small device builds carry codes, not sentences: the texts are not even linked. */
#define pag_fail_set(why, code, what, detail) pag_fail_set((why), (code), "", (detail))
#endif

/* Short stable word for an error ("signature", "rollback"), for logs, metrics and problem codes. Never NULL.
 */
const char *pag_err_word(enum pag_err code);

#endif
