#ifndef PAG_HOST_RAND_H
#define PAG_HOST_RAND_H

#include <stddef.h>
#include <stdint.h>

/*
 * The kernel's random source (getrandom). It does not fail once the machine has booted; if it does, the
 * process ends rather than go on with predictable ids. Thread-safe.
 */
void pag_rand_bytes(void *out, size_t n);
uint32_t pag_rand_u32(void);
uint32_t pag_rand_below(uint32_t n); /* 0 .. n-1 without bias; n > 0 */

/* n random bytes as 2n lower-case hex digits and NUL; out holds 2n+1. */
void pag_rand_hex(char *out, size_t n);

#endif
