#include "server/domain/clone.h"

const char *pag_clone_word(enum pag_clone_sign sign)
{
    switch (sign) {
    case PAG_CLONE_NONE:
        return "";
    case PAG_CLONE_COUNTER:
        return "counter";
    case PAG_CLONE_CERTIFICATE:
        return "certificate";
    case PAG_CLONE_ADDRESSES:
        return "addresses";
    }
    return "";
}

/* A, B, A, B …: a device that has moved, or a proxy with several addresses, does not go to and fro like this.
 */
static bool alternates(struct pag_clone_trace *t, const struct pag_clone_sight *s)
{
    if (s->address == t->last) {
        return false;
    }
    bool back = s->address == t->before && s->now_ms - t->turned_ms < PAG_CLONE_TURN_MS;
    t->turns = back ? t->turns + 1 : 0;
    t->before = t->last;
    t->last = s->address;
    t->turned_ms = s->now_ms;
    return t->turns >= PAG_CLONE_TURNS;
}

static bool goes_back(struct pag_clone_trace *t, const struct pag_clone_sight *s)
{
    bool back = s->has_counter && t->has_counter && s->counter < t->counter;
    if (s->has_counter && !back) {
        t->counter = s->counter;
        t->has_counter = true;
    }
    return back;
}

enum pag_clone_sign pag_clone_look(struct pag_clone_trace *t, const struct pag_clone_sight *s)
{
    bool turned = alternates(t, s);
    if (s->certificate_until < t->certificate_until) {
        return PAG_CLONE_CERTIFICATE;
    }
    if (s->certificate_until > t->certificate_until) {
        t->certificate_until = s->certificate_until;
        t->has_counter = false; /* whoever was wiped and enrolled anew counts from the beginning */
    }
    if (goes_back(t, s)) {
        return PAG_CLONE_COUNTER;
    }
    return turned ? PAG_CLONE_ADDRESSES : PAG_CLONE_NONE;
}
