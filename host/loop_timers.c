#include "host/loop_timers.h"

#include <stddef.h>

/* prev is the left sibling, or the parent for a first child; NULL for the root. */
static struct pag_timer *join(struct pag_timer *a, struct pag_timer *b)
{
    if (a == NULL) {
        return b;
    }
    if (b == NULL) {
        return a;
    }
    if (b->due_ms < a->due_ms) {
        struct pag_timer *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child != NULL) {
        a->child->prev = b;
    }
    a->child = b;
    return a;
}

/* Joins a list of siblings in pairs from left to right, then the pairs from right to left. */
static struct pag_timer *join_siblings(struct pag_timer *first)
{
    struct pag_timer *pairs = NULL; /* a stack through next */
    while (first != NULL) {
        struct pag_timer *a = first;
        struct pag_timer *b = a->next;
        first = b == NULL ? NULL : b->next;
        a->next = NULL;
        a->prev = NULL;
        if (b != NULL) {
            b->next = NULL;
            b->prev = NULL;
        }
        a = join(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct pag_timer *root = NULL;
    while (pairs != NULL) {
        struct pag_timer *a = pairs;
        pairs = a->next;
        a->next = NULL;
        root = join(root, a);
    }
    return root;
}

void pag_timers_add(struct pag_timer **root, struct pag_timer *t)
{
    t->child = NULL;
    t->next = NULL;
    t->prev = NULL;
    *root = join(*root, t);
}

void pag_timers_remove(struct pag_timer **root, struct pag_timer *t)
{
    struct pag_timer *below = join_siblings(t->child);
    if (t == *root) {
        *root = below;
    } else {
        if (t->prev->child == t) {
            t->prev->child = t->next;
        } else {
            t->prev->next = t->next;
        }
        if (t->next != NULL) {
            t->next->prev = t->prev;
        }
        *root = join(*root, below);
    }
    t->child = NULL;
    t->next = NULL;
    t->prev = NULL;
}
