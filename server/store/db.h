#ifndef PAG_SERVER_STORE_DB_H
#define PAG_SERVER_STORE_DB_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"
#include "server/store/backend.h"

/*
 * One connection with its prepared statements, and a statement being used:
 *     struct pag_q q = pag_q_of(db, "SELECT a FROM t WHERE id = ?");
 *     pag_q_text(&q, id);
 *     if (pag_q_row(&q)) { a = pag_q_get_int(&q); }
 *     return pag_q_end(&q);
 * Values are bound and columns read in order. The first error is kept; later calls do nothing.
 */
enum { PAG_DB_STATEMENTS = 256 };

struct pag_db {
    const struct pag_store_ops *ops;
    void *handle;
    struct {
        const char *sql; /* literal: the address is the key */
        void *stmt;
        bool busy;
    } slot[PAG_DB_STATEMENTS];
};

enum pag_err pag_db_open(struct pag_db *db, const struct pag_store_ops *ops, const char *path, bool write,
                         struct pag_fail *why);
void pag_db_close(struct pag_db *db);
enum pag_err pag_db_exec(struct pag_db *db, const char *sql);

struct pag_q {
    struct pag_db *db;
    void *stmt;
    bool *busy; /* NULL: not from the cache, finished at the end */
    enum pag_err err;
    int bind, col;
    bool any;
};

struct pag_q pag_q_of(struct pag_db *db, const char *sql); /* sql: a literal */
void pag_q_int(struct pag_q *q, int64_t v);
void pag_q_text(struct pag_q *q, const char *s); /* NULL is "" */
void pag_q_blob(struct pag_q *q, const void *p, size_t n);
void pag_q_span(struct pag_q *q, struct pag_span s);      /* as blob */
void pag_q_span_text(struct pag_q *q, struct pag_span s); /* as text */

bool pag_q_row(struct pag_q *q); /* next row; false at the end or on an error */
int64_t pag_q_get_int(struct pag_q *q);
void pag_q_get_text(struct pag_q *q, char *out, size_t cap);              /* cut to fit, NUL-terminated */
void pag_q_get_blob(struct pag_q *q, void *out, size_t n);                /* zeros when of another length */
struct pag_span pag_q_get_span(struct pag_q *q, struct pag_arena *arena); /* copy; PAG_E_LIMIT kept */
const char *pag_q_get_str(struct pag_q *q, struct pag_arena *arena);      /* NUL-terminated copy */
uint8_t pag_q_get_bytes(struct pag_q *q, uint8_t *out, size_t cap);       /* up to cap; how many */

enum pag_err pag_q_end(struct pag_q *q); /* always call it; the error kept */
/* Steps to the end. *changed (may be NULL): rows. */
enum pag_err pag_q_run(struct pag_q *q, int64_t *changed);
/* pag_q_run that wants exactly one row changed, else PAG_E_CONFLICT. */
enum pag_err pag_q_run_one(struct pag_q *q);

#endif
