#ifndef PAG_HOST_CLOCK_H
#define PAG_HOST_CLOCK_H

#include <stdint.h>

/* Injected time (STYLE rule 11). now_ms: monotonic. now_unix_ms: wall clock, UTC. Thread-safe. */
struct pag_clock {
    uint64_t (*now_ms)(void *ctx);
    uint64_t (*now_unix_ms)(void *ctx);
    void *ctx;
};

struct pag_clock pag_clock_system(void);

/* RFC 3339 UTC with milliseconds ("2026-03-01T11:04:10.123Z") into out[25]. */
void pag_time_text(uint64_t unix_ms, char out[25]);

#endif
