#include "host/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t read_ms(clockid_t id)
{
    struct timespec t = { 0 };
    (void)clock_gettime(id, &t); /* cannot fail for these two clocks */
    return (uint64_t)t.tv_sec * 1000U + (uint64_t)t.tv_nsec / 1000000U;
}

static uint64_t system_now_ms(void *ctx)
{
    (void)ctx;
    return read_ms(CLOCK_MONOTONIC);
}

static uint64_t system_now_unix_ms(void *ctx)
{
    (void)ctx;
    return read_ms(CLOCK_REALTIME);
}

struct pag_clock pag_clock_system(void)
{
    return (struct pag_clock){ .now_ms = system_now_ms, .now_unix_ms = system_now_unix_ms, .ctx = NULL };
}

static char *put_digits(char *out, unsigned value, unsigned width, char after)
{
    for (unsigned i = width; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    out[width] = after;
    return out + width + 1;
}

void pag_time_text(uint64_t unix_ms, char out[25])
{
    const uint64_t last_ms = 253402300799999U; /* 9999-12-31T23:59:59.999Z: four digits of year */
    if (unix_ms > last_ms) {
        unix_ms = last_ms;
    }
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm t;
    if (gmtime_r(&seconds, &t) == NULL) {
        t = (struct tm){ .tm_mday = 1, .tm_year = 70 };
    }
    char *p = put_digits(out, (unsigned)t.tm_year + 1900U, 4, '-');
    p = put_digits(p, (unsigned)t.tm_mon + 1U, 2, '-');
    p = put_digits(p, (unsigned)t.tm_mday, 2, 'T');
    p = put_digits(p, (unsigned)t.tm_hour, 2, ':');
    p = put_digits(p, (unsigned)t.tm_min, 2, ':');
    p = put_digits(p, (unsigned)t.tm_sec, 2, '.');
    p = put_digits(p, (unsigned)(unix_ms % 1000), 3, 'Z');
    *p = '\0';
}
