#include "host/arena.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Memory comes in blocks. Ordinary blocks have one size and go back to the pool's list; an allocation that
 * does not fit an ordinary block gets a block of its own, which goes back to the heap.
 */
enum { BLOCK_BYTES = 8192, ALIGN = 16 };

struct block {
    struct block *next;
    size_t cap; /* usable bytes after the head */
    size_t used;
    size_t pad; /* keeps the data 16-aligned */
};
_Static_assert(sizeof(struct block) % ALIGN == 0, "block data is 16-aligned");
enum { BLOCK_CAP = BLOCK_BYTES - (int)sizeof(struct block) };

struct pag_arena {
    struct pag_arena_pool *pool;
    struct block *blocks; /* the newest ordinary block first; the arena itself lives in the oldest */
    size_t ceiling;
    size_t used;
};

/*
 * The idle blocks are the first thread's that took one, so they need no lock: for every request on its loop's
 * thread. An arena may grow on another thread too (a request is lent to the store's writer): there the heap
 * serves, and the block comes to the pool when the arena is closed on its own thread.
 */
struct pag_arena_pool {
    _Atomic(const void *) owner; /* what_i_am() of that thread, NULL: none yet */
    struct block *idle;
    size_t idle_bytes;
    size_t keep_bytes;
};

/* An address that no two living threads share. */
static const void *what_i_am(void)
{
    static _Thread_local char here;
    return &here;
}

static bool is_mine(struct pag_arena_pool *pool)
{
    const void *me = what_i_am();
    const void *owner = atomic_load_explicit(&pool->owner, memory_order_relaxed);
    if (owner == NULL && atomic_compare_exchange_strong(&pool->owner, &owner, me)) {
        return true;
    }
    return owner == me;
}

struct pag_arena_pool *pag_arena_pool_new(size_t keep_bytes)
{
    struct pag_arena_pool *pool = calloc(1, sizeof(*pool));
    if (pool != NULL) {
        pool->keep_bytes = keep_bytes;
    }
    return pool;
}

void pag_arena_pool_free(struct pag_arena_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    while (pool->idle != NULL) {
        struct block *b = pool->idle;
        pool->idle = b->next;
        free(b);
    }
    free(pool);
}

static uint8_t *block_data(struct block *b)
{
    return (uint8_t *)(b + 1);
}

/* A block of the pool's list; NULL when it is empty or another thread's. */
static struct block *idle_take(struct pag_arena_pool *pool)
{
    struct block *b = is_mine(pool) ? pool->idle : NULL;
    if (b != NULL) {
        pool->idle = b->next;
        pool->idle_bytes -= BLOCK_BYTES;
    }
    return b;
}

static struct block *block_take(struct pag_arena_pool *pool, size_t need)
{
    struct block *b = need <= (size_t)BLOCK_CAP ? idle_take(pool) : NULL;
    if (b != NULL) {
        b->used = 0;
        b->next = NULL;
        return b;
    }
    size_t cap = need <= (size_t)BLOCK_CAP ? (size_t)BLOCK_CAP : need;
    b = malloc(sizeof(*b) + cap);
    if (b != NULL) {
        *b = (struct block){ .cap = cap };
    }
    return b;
}

static void block_give(struct pag_arena_pool *pool, struct block *b)
{
    if (b->cap != (size_t)BLOCK_CAP || !is_mine(pool) || pool->idle_bytes + BLOCK_BYTES > pool->keep_bytes) {
        free(b);
        return;
    }
    b->next = pool->idle;
    pool->idle = b;
    pool->idle_bytes += BLOCK_BYTES;
}

static size_t aligned(size_t n)
{
    return (n + (ALIGN - 1)) & ~(size_t)(ALIGN - 1);
}

struct pag_arena *pag_arena_open(struct pag_arena_pool *pool, size_t ceiling)
{
    struct block *b = block_take(pool, aligned(sizeof(struct pag_arena)));
    if (b == NULL) {
        return NULL;
    }
    struct pag_arena *a = (struct pag_arena *)(void *)block_data(b);
    b->used = aligned(sizeof(*a));
    *a = (struct pag_arena){ .pool = pool, .blocks = b, .ceiling = ceiling };
    return a;
}

void pag_arena_close(struct pag_arena *a)
{
    if (a == NULL) {
        return;
    }
    struct pag_arena_pool *pool = a->pool;
    struct block *b = a->blocks;
    while (b != NULL) {
        struct block *next = b->next; /* the last block holds the arena itself */
        block_give(pool, b);
        b = next;
    }
}

static struct block *block_for(struct pag_arena *a, size_t n)
{
    struct block *b = a->blocks;
    if (b->cap - b->used >= n) {
        return b;
    }
    struct block *fresh = block_take(a->pool, n);
    if (fresh == NULL) {
        return NULL;
    }
    if (n > (size_t)BLOCK_CAP) { /* full from the start: the block in use stays in front */
        fresh->next = b->next;
        b->next = fresh;
    } else {
        fresh->next = b;
        a->blocks = fresh;
    }
    return fresh;
}

static void *take(struct pag_arena *a, size_t n)
{
    if (n > a->ceiling || n > SIZE_MAX / 2 || aligned(n) > a->ceiling - a->used) {
        return NULL;
    }
    n = aligned(n == 0 ? 1 : n);
    struct block *b = block_for(a, n);
    if (b == NULL) {
        return NULL;
    }
    void *p = block_data(b) + b->used;
    b->used += n;
    a->used += n;
    return p;
}

void *pag_arena_alloc(struct pag_arena *a, size_t n)
{
    void *p = take(a, n);
    if (p != NULL) {
        memset(p, 0, n);
    }
    return p;
}

void *pag_arena_raw(struct pag_arena *a, size_t n)
{
    return take(a, n);
}

char *pag_arena_text(struct pag_arena *a, struct pag_span s)
{
    if (s.n == SIZE_MAX) {
        return NULL;
    }
    char *text = take(a, s.n + 1);
    if (text == NULL) {
        return NULL;
    }
    if (s.n > 0) {
        memcpy(text, s.p, s.n);
    }
    text[s.n] = '\0';
    return text;
}

struct pag_span pag_arena_copy(struct pag_arena *a, struct pag_span s)
{
    uint8_t *p = take(a, s.n);
    if (p == NULL) {
        return (struct pag_span){ NULL, 0 };
    }
    if (s.n > 0) {
        memcpy(p, s.p, s.n);
    }
    return (struct pag_span){ p, s.n };
}

char *pag_arena_printf(struct pag_arena *a, const char *fmt, ...)
{
    /* Nearly every text fits what is left of the block and is made there at once, without measuring first. */
    struct block *b = a->blocks;
    size_t room = b->cap - b->used;
    char *text = (char *)block_data(b) + b->used;
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(text, room, fmt, args);
    va_end(args);
    char *taken = n < 0 ? NULL : take(a, (size_t)n + 1);
    if (taken != NULL && taken != text) {
        (void)vsnprintf(taken, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    return taken;
}

size_t pag_arena_used(const struct pag_arena *a)
{
    return a->used;
}

void pag_arena_raise(struct pag_arena *a, size_t more)
{
    a->ceiling = more > SIZE_MAX - a->ceiling ? SIZE_MAX : a->ceiling + more;
}
