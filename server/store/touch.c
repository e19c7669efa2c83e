#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/store/internal.h"

enum { TOUCH_FIRST = 1024, TOUCH_MAX = 1 << 20 };

static struct pag_touched *find(const struct pag_touch_table *t, const char *id, bool token)
{
    size_t at = pag_hash32(pag_span_str(id), token) & (t->cap - 1);
    while (t->slot[at].id[0] != '\0' && (t->slot[at].token != token || strcmp(t->slot[at].id, id) != 0)) {
        at = (at + 1) & (t->cap - 1);
    }
    return &t->slot[at];
}

static bool grow(struct pag_touch_table *t)
{
    struct pag_touch_table bigger = { .cap = t->cap == 0 ? TOUCH_FIRST : t->cap * 2, .n = t->n };
    if (bigger.cap > TOUCH_MAX) {
        return false;
    }
    bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
    if (bigger.slot == NULL) {
        return false;
    }
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slot[i].id[0] != '\0') {
            *find(&bigger, t->slot[i].id, t->slot[i].token) = t->slot[i];
        }
    }
    free(t->slot);
    *t = bigger;
    return true;
}

/* A table that cannot grow forgets: being seen is said again at the next poll. */
void pag_touch_put(struct pag_touch_table *t, const struct pag_touched *one)
{
    if ((t->n + 1) * 2 > t->cap && !grow(t)) {
        return;
    }
    struct pag_touched *s = find(t, one->id, one->token);
    if (s->id[0] == '\0') {
        *s = *one;
        t->n++;
        return;
    }
    s->seen_ms = one->seen_ms > s->seen_ms ? one->seen_ms : s->seen_ms;
    s->polled_ms = one->polled_ms > s->polled_ms ? one->polled_ms : s->polled_ms;
}

static enum pag_err write_one(const struct pag_touched *t, struct pag_db *db)
{
    if (t->token) {
        struct pag_q q = pag_q_of(db, "UPDATE token SET last_used_ms = ? WHERE id = ? AND last_used_ms < ?");
        pag_q_int(&q, t->seen_ms);
        pag_q_text(&q, t->id);
        pag_q_int(&q, t->seen_ms);
        return pag_q_run(&q, NULL);
    }
    struct pag_q q = pag_q_of(db, "UPDATE device SET "
                                  "last_seen_ms = CASE WHEN last_seen_ms < ? THEN ? ELSE last_seen_ms END, "
                                  "last_poll_ms = CASE WHEN last_poll_ms < ? THEN ? ELSE last_poll_ms END "
                                  "WHERE id = ?");
    pag_q_int(&q, t->seen_ms);
    pag_q_int(&q, t->seen_ms);
    pag_q_int(&q, t->polled_ms);
    pag_q_int(&q, t->polled_ms);
    pag_q_text(&q, t->id);
    return pag_q_run(&q, NULL);
}

/* Empties the table in any case. */
enum pag_err pag_touch_write(struct pag_touch_table *t, struct pag_db *db)
{
    enum pag_err err = PAG_OK;
    for (size_t i = 0; i < t->cap && err == PAG_OK; i++) {
        if (t->slot[i].id[0] != '\0') {
            err = write_one(&t->slot[i], db);
        }
    }
    free(t->slot);
    memset(t, 0, sizeof *t);
    return err;
}

static void touch(struct pag_store_reader *r, const struct pag_touched *one)
{
    pthread_mutex_lock(&r->lock);
    pag_touch_put(&r->touched, one);
    pthread_mutex_unlock(&r->lock);
}

void pag_store_touch(struct pag_store_reader *r, const char *device, int64_t seen_ms, bool polled)
{
    struct pag_touched one = { .seen_ms = seen_ms, .polled_ms = polled ? seen_ms : 0 };
    if (pag_text_copy(one.id, sizeof one.id, pag_span_str(device)) == PAG_OK && one.id[0] != '\0') {
        touch(r, &one);
    }
}

void pag_store_touch_token(struct pag_store_reader *r, const char *token, int64_t used_ms)
{
    struct pag_touched one = { .token = true, .seen_ms = used_ms };
    if (pag_text_copy(one.id, sizeof one.id, pag_span_str(token)) == PAG_OK && one.id[0] != '\0') {
        touch(r, &one);
    }
}
