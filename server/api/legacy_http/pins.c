#include "server/api/legacy_http/pins.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"

enum { SETS = 1024, WAYS = 4, KEEP_MS = 600000 };

struct pin {
    uint64_t who; /* hash; 0: free */
    uint64_t until_ms;
    struct pag_file_pin what;
};

struct pag_pins {
    pthread_mutex_t lock;
    struct pin slot[SETS][WAYS];
};

struct pag_pins *pag_pins_new(void)
{
    struct pag_pins *p = calloc(1, sizeof *p);
    if (p != NULL && pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p);
        return NULL;
    }
    return p;
}

void pag_pins_free(struct pag_pins *p)
{
    if (p != NULL) {
        (void)pthread_mutex_destroy(&p->lock);
        free(p);
    }
}

static uint64_t mix(uint64_t h, struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ s.p[i]) * 0x100000001B3ULL;
    }
    return (h ^ 0xFF) * 0x100000001B3ULL;
}

static uint64_t who_is(const struct pag_serve *s)
{
    uint64_t h = mix(0xCBF29CE484222325ULL, pag_span_str(s->anonymous ? s->req->address : s->in.device));
    h = mix(h, s->req->path);
    return h != 0 ? h : 1;
}

static uint64_t now_ms(const struct pag_serve *s)
{
    const struct pag_api *api = pag_api_of(s->req);
    return api->clock.now_ms(api->clock.ctx);
}

void pag_pins_put(const struct pag_serve *s)
{
    struct pag_pins *p = pag_api_of(s->req)->pins;
    if (p == NULL) {
        return;
    }
    uint64_t who = who_is(s);
    struct pin *set = p->slot[who % SETS];
    struct pin one = { .who = who, .until_ms = now_ms(s) + KEEP_MS };
    pag_file_pin_of(&s->out, &one.what);
    pthread_mutex_lock(&p->lock);
    size_t at = 0;
    for (size_t i = 0; i < WAYS && set[at].who != who; i++) {
        at = set[i].who == who || set[i].until_ms < set[at].until_ms ? i : at;
    }
    set[at] = one;
    pthread_mutex_unlock(&p->lock);
}

/* "bytes=N-…" with N above 0. */
static bool asks_for_more(const struct pag_http_request *req)
{
    struct pag_span range = pag_http_header_get(req, "Range");
    struct pag_span first;
    uint64_t n = 0;
    if (req->minor == 0 || !pag_span_starts(range, "bytes=")) {
        return false;
    }
    size_t end = pag_span_find(range, 6, '-');
    return pag_span_sub(range, 6, end - 6, &first) == PAG_OK && pag_parse_u64(first, &n) == PAG_OK && n > 0;
}

bool pag_pins_get(struct pag_serve *s)
{
    struct pag_pins *p = pag_api_of(s->req)->pins;
    struct pag_file_pin found;
    bool any = false;
    if (p == NULL || !asks_for_more(s->req)) {
        return false;
    }
    uint64_t who = who_is(s);
    uint64_t now = now_ms(s);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < WAYS; i++) {
        const struct pin *one = &p->slot[who % SETS][i];
        if (one->who == who && one->until_ms > now) {
            found = one->what;
            any = true;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return any && pag_app_file_again(&s->d->call, &s->in, &found, &s->out) == PAG_OK;
}
