#ifndef PAG_SERVER_DOMAIN_WORDS_H
#define PAG_SERVER_DOMAIN_WORDS_H

#include "core/bytes.h"

/* Sentences with numbers into a fixed array: cut to fit, always NUL-terminated. */
struct pag_words {
    struct pag_buf b;
};

static inline struct pag_words pag_words_into(char *out, size_t cap)
{
    struct pag_words w = { { (uint8_t *)out, 0, cap - 1 } };
    out[0] = '\0';
    return w;
}

static inline void pag_words_put(struct pag_words *w, const char *text)
{
    struct pag_span s = pag_span_str(text);
    size_t left = w->b.cap - w->b.n;
    s.n = s.n < left ? s.n : left;
    (void)pag_buf_put(&w->b, s);
    w->b.p[w->b.n] = 0;
}

static inline void pag_words_num(struct pag_words *w, uint64_t v)
{
    if (pag_buf_put_dec(&w->b, v) == PAG_OK) {
        w->b.p[w->b.n] = 0;
    }
}

#endif
