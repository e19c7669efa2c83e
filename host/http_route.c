#include <stdlib.h>
#include <string.h>

#include "host/http_priv.h"

/*
 * Routes are kept sorted so that at the first segment where two differ a literal comes before {x} and that
 * before {x...}; the first that fits is the most specific one.
 */
enum { SEGMENTS_MAX = 12 };
enum kind { SEG_LITERAL, SEG_PARAM, SEG_REST };

struct segment {
    enum kind kind;
    struct pag_span text; /* SEG_LITERAL */
};

struct compiled {
    const struct pag_http_route *route;
    struct segment segment[SEGMENTS_MAX];
    size_t n;
};

struct pag_http_router {
    struct compiled *routes;
    size_t n;
};

static bool ends_with(struct pag_span s, const char *tail)
{
    size_t n = strlen(tail);
    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

static bool compile(const struct pag_http_route *route, struct compiled *c)
{
    const char *p = route->pattern;
    size_t params = 0;
    c->route = route;
    if (p == NULL || p[0] != '/') {
        return false;
    }
    while (*p == '/') {
        const char *from = p + 1;
        size_t n = strcspn(from, "/");
        if (c->n == SEGMENTS_MAX || (c->n > 0 && c->segment[c->n - 1].kind == SEG_REST)) {
            return false;
        }
        struct segment *s = &c->segment[c->n++];
        s->text = (struct pag_span){ (const uint8_t *)from, n };
        bool is_param = n >= 3 && from[0] == '{' && from[n - 1] == '}';
        s->kind = !is_param ? SEG_LITERAL : ends_with(s->text, "...}") ? SEG_REST : SEG_PARAM;
        params += is_param ? 1 : 0;
        p = from + n;
    }
    return params <= PAG_HTTP_PARAMS_MAX && route->methods != 0 && route->handle != NULL;
}

static int span_order(struct pag_span a, struct pag_span b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int by_specificity(const void *left, const void *right)
{
    const struct compiled *a = left;
    const struct compiled *b = right;
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        const struct segment *s = &a->segment[i];
        const struct segment *t = &b->segment[i];
        if (s->kind != t->kind) {
            return s->kind < t->kind ? -1 : 1;
        }
        int order = s->kind == SEG_LITERAL ? span_order(s->text, t->text) : 0;
        if (order != 0) {
            return order;
        }
    }
    if (a->n != b->n) {
        return a->n > b->n ? -1 : 1;
    }
    return (a->route > b->route) - (a->route < b->route); /* as listed */
}

enum pag_err pag_http_router_new(const struct pag_http_route *routes, size_t n, struct pag_http_router **out,
                                 struct pag_fail *why)
{
    struct pag_http_router *r = calloc(1, sizeof(*r));
    struct compiled *list = calloc(n == 0 ? 1 : n, sizeof(*list));
    if (r == NULL || list == NULL) {
        free(r);
        free(list);
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory for routes", n);
    }
    *r = (struct pag_http_router){ .routes = list, .n = n };
    for (size_t i = 0; i < n; i++) {
        if (!compile(&routes[i], &list[i])) {
            pag_http_router_free(r);
            return pag_fail_set(why, PAG_E_CONFIG, "bad route", i);
        }
    }
    qsort(list, n, sizeof(*list), by_specificity);
    *out = r;
    return PAG_OK;
}

void pag_http_router_free(struct pag_http_router *r)
{
    if (r != NULL) {
        free(r->routes);
        free(r);
    }
}

static bool segment_fits(const struct segment *s, struct pag_span text)
{
    if (s->kind != SEG_LITERAL) {
        return text.n > 0;
    }
    return text.n == s->text.n && (text.n == 0 || memcmp(text.p, s->text.p, text.n) == 0);
}

static bool fits(const struct compiled *c, struct pag_span path, struct pag_span param[PAG_HTTP_PARAMS_MAX])
{
    const uint8_t *at = path.p;
    const uint8_t *end = path.p + path.n;
    size_t params = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct segment *s = &c->segment[i];
        if (at == end || *at != '/') {
            return false;
        }
        at++;
        const uint8_t *slash = s->kind == SEG_REST ? NULL : memchr(at, '/', (size_t)(end - at));
        struct pag_span text = { at, (size_t)((slash == NULL ? end : slash) - at) };
        if (!segment_fits(s, text)) {
            return false;
        }
        if (s->kind != SEG_LITERAL) {
            param[params++] = text;
        }
        at += text.n;
    }
    return at == end;
}

static unsigned methods_of(const struct pag_http_route *route)
{
    return route->methods | (route->methods & PAG_HTTP_GET ? PAG_HTTP_HEAD : 0U);
}

const struct pag_http_route *pag_http_router_find(const struct pag_http_router *r,
                                                  struct pag_http_request *req, unsigned *allow)
{
    *allow = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct compiled *c = &r->routes[i];
        struct pag_span param[PAG_HTTP_PARAMS_MAX] = { 0 };
        bool takes_rest = c->segment[c->n - 1].kind == SEG_REST;
        if ((takes_rest && *allow != 0) || !fits(c, req->path, param)) {
            continue; /* a catch-all does not take over a path whose own route lacks the method */
        }
        if (methods_of(c->route) & (unsigned)req->method) {
            memcpy(req->param, param, sizeof(param));
            req->route = c->route;
            return c->route;
        }
        *allow |= methods_of(c->route);
    }
    return NULL;
}
