#ifndef PAG_HOST_ARENA_H
#define PAG_HOST_ARENA_H

#include <stddef.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * One arena a request: everything allocated from it lives until pag_arena_close, nothing is freed alone. A
 * pool keeps blocks for reuse by the first thread that opens an arena in it. One arena belongs to one thread
 * at a time, but arenas of one pool may be used by several at once: other threads are served by the heap.
 * Over the ceiling, allocation returns NULL.
 */
struct pag_arena;
struct pag_arena_pool;

struct pag_arena_pool *pag_arena_pool_new(size_t keep_bytes); /* NULL: no memory */
void pag_arena_pool_free(struct pag_arena_pool *pool);        /* NULL is fine */

struct pag_arena *pag_arena_open(struct pag_arena_pool *pool, size_t ceiling);
void pag_arena_close(struct pag_arena *a); /* NULL is fine */

void *pag_arena_alloc(struct pag_arena *a, size_t n);         /* 16-aligned, zeroed; NULL over the ceiling */
void *pag_arena_raw(struct pag_arena *a, size_t n);           /* the same, not zeroed */
char *pag_arena_text(struct pag_arena *a, struct pag_span s); /* NUL-terminated copy */
struct pag_span pag_arena_copy(struct pag_arena *a, struct pag_span s); /* {NULL,0} when it does not fit */
char *pag_arena_printf(struct pag_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pag_arena_raise(struct pag_arena *a, size_t more); /* lifts the ceiling by more bytes */
size_t pag_arena_used(const struct pag_arena *a);

#endif
