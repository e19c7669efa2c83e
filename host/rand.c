#include "host/rand.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void pag_rand_bytes(void *out, size_t n)
{
    uint8_t *at = out;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno != EINTR) {
            abort(); /* no random source: no ids, no keys */
        }
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

uint32_t pag_rand_u32(void)
{
    uint32_t out = 0;
    pag_rand_bytes(&out, sizeof out);
    return out;
}

uint32_t pag_rand_below(uint32_t n)
{
    uint32_t limit =
        UINT32_MAX - UINT32_MAX % n; /* a multiple of n: values from there on would favour small results */
    uint32_t x = pag_rand_u32();
    while (x >= limit) {
        x = pag_rand_u32();
    }
    return x % n;
}

void pag_rand_hex(char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        uint8_t b = 0;
        pag_rand_bytes(&b, 1);
        out[2 * i] = digits[b >> 4];
        out[2 * i + 1] = digits[b & 15];
    }
    out[2 * n] = '\0';
}
