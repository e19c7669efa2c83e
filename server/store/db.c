#include "server/store/db.h"

#include <string.h>

#include "core/bytes.h"

enum pag_err pag_db_open(struct pag_db *db, const struct pag_store_ops *ops, const char *path, bool write,
                         struct pag_fail *why)
{
    memset(db, 0, sizeof *db);
    db->ops = ops;
    return ops->open(path, write, &db->handle, why);
}

void pag_db_close(struct pag_db *db)
{
    for (size_t i = 0; i < PAG_DB_STATEMENTS; i++) {
        if (db->slot[i].stmt != NULL) {
            db->ops->finish(db->slot[i].stmt);
        }
    }
    if (db->handle != NULL) {
        db->ops->close(db->handle);
    }
    memset(db, 0, sizeof *db);
}

enum pag_err pag_db_exec(struct pag_db *db, const char *sql)
{
    return db->ops->exec(db->handle, sql);
}

static size_t slot_of(const char *sql)
{
    return (size_t)(((uintptr_t)sql * (uintptr_t)0x9E3779B97F4A7C15U) >> 40U) % PAG_DB_STATEMENTS;
}

struct pag_q pag_q_of(struct pag_db *db, const char *sql)
{
    struct pag_q q = { .db = db, .err = PAG_OK };
    size_t at = slot_of(sql);
    for (size_t tries = 0; tries < PAG_DB_STATEMENTS; tries++, at = (at + 1) % PAG_DB_STATEMENTS) {
        if (db->slot[at].sql == NULL || db->slot[at].sql == sql) {
            break;
        }
    }
    if (db->slot[at].sql == sql && !db->slot[at].busy) {
        q.stmt = db->slot[at].stmt;
        q.busy = &db->slot[at].busy;
        *q.busy = true;
        return q;
    }
    q.err = db->ops->prepare(db->handle, sql, &q.stmt);
    if (q.err == PAG_OK && db->slot[at].sql == NULL) {
        db->slot[at].sql = sql;
        db->slot[at].stmt = q.stmt;
        q.busy = &db->slot[at].busy;
        *q.busy = true;
    }
    return q;
}

void pag_q_int(struct pag_q *q, int64_t v)
{
    if (q->err == PAG_OK) {
        q->err = q->db->ops->bind_int(q->stmt, ++q->bind, v);
    }
}

void pag_q_span_text(struct pag_q *q, struct pag_span s)
{
    if (q->err == PAG_OK) {
        q->err = q->db->ops->bind_text(q->stmt, ++q->bind, s);
    }
}

void pag_q_text(struct pag_q *q, const char *s)
{
    pag_q_span_text(q, pag_span_str(s));
}

void pag_q_span(struct pag_q *q, struct pag_span s)
{
    if (q->err == PAG_OK) {
        q->err = q->db->ops->bind_blob(q->stmt, ++q->bind, s);
    }
}

void pag_q_blob(struct pag_q *q, const void *p, size_t n)
{
    pag_q_span(q, pag_span_of(p, n));
}

bool pag_q_row(struct pag_q *q)
{
    bool row = false;
    if (q->err == PAG_OK) {
        q->err = q->db->ops->step(q->stmt, &row);
        q->col = 0;
        q->any = q->any || row;
    }
    return q->err == PAG_OK && row;
}

int64_t pag_q_get_int(struct pag_q *q)
{
    return q->err == PAG_OK ? q->db->ops->get_int(q->stmt, q->col++) : 0;
}

static struct pag_span next_bytes(struct pag_q *q)
{
    struct pag_span none = { NULL, 0 };
    return q->err == PAG_OK ? q->db->ops->get_bytes(q->stmt, q->col++) : none;
}

void pag_q_get_text(struct pag_q *q, char *out, size_t cap)
{
    struct pag_span s = next_bytes(q);
    size_t n = s.n < cap ? s.n : cap - 1;
    if (n > 0 && s.p != NULL) {
        memcpy(out, s.p, n);
    }
    out[s.p != NULL ? n : 0] = '\0';
}

void pag_q_get_blob(struct pag_q *q, void *out, size_t n)
{
    struct pag_span s = next_bytes(q);
    memset(out, 0, n);
    if (s.n == n && n > 0 && s.p != NULL) {
        memcpy(out, s.p, n);
    }
}

uint8_t pag_q_get_bytes(struct pag_q *q, uint8_t *out, size_t cap)
{
    struct pag_span s = next_bytes(q);
    size_t n = s.p == NULL ? 0 : (s.n < cap ? s.n : cap);
    if (n > 0) {
        memcpy(out, s.p, n);
    }
    return (uint8_t)n;
}

struct pag_span pag_q_get_span(struct pag_q *q, struct pag_arena *arena)
{
    struct pag_span s = next_bytes(q);
    struct pag_span copy = { NULL, 0 };
    if (s.n > 0) {
        copy = pag_arena_copy(arena, s);
        if (copy.p == NULL) {
            q->err = PAG_E_LIMIT;
        }
    }
    return copy;
}

const char *pag_q_get_str(struct pag_q *q, struct pag_arena *arena)
{
    char *s = pag_arena_text(arena, next_bytes(q));
    if (s == NULL) {
        q->err = PAG_E_LIMIT;
        return "";
    }
    return s;
}

enum pag_err pag_q_end(struct pag_q *q)
{
    if (q->stmt != NULL) {
        q->db->ops->reset(q->stmt);
        if (q->busy != NULL) {
            *q->busy = false;
        } else {
            q->db->ops->finish(q->stmt);
        }
        q->stmt = NULL;
    }
    return q->err;
}

enum pag_err pag_q_run(struct pag_q *q, int64_t *changed)
{
    while (pag_q_row(q)) {
    }
    if (q->err == PAG_OK && changed != NULL) {
        *changed = q->db->ops->changes(q->db->handle);
    }
    return pag_q_end(q);
}

enum pag_err pag_q_run_one(struct pag_q *q)
{
    int64_t changed = 0;
    enum pag_err err = pag_q_run(q, &changed);
    if (err == PAG_OK && changed != 1) {
        return PAG_E_CONFLICT;
    }
    return err;
}
