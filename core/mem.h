#ifndef PAG_CORE_MEM_H
#define PAG_CORE_MEM_H

#include <stddef.h>

/* The four that a freestanding compiler may call anyway; libc or the SDK supplies them when linking. */
/* NOLINTBEGIN(readability-identifier-naming): names are given by C */
void *memcpy(void *restrict dst, const void *restrict src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
/* NOLINTEND(readability-identifier-naming) */

#endif
