#ifndef PAG_TESTS_SUPPORT_DRAW_H
#define PAG_TESTS_SUPPORT_DRAW_H

#include <stdint.h>

/* The next of a row of numbers that follows from its seed alone, so that a failure can be played again; 31
 * bits. */
static inline uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(*state >> 33U);
}

#endif
