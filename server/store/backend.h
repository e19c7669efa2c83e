#ifndef PAG_SERVER_STORE_BACKEND_H
#define PAG_SERVER_STORE_BACKEND_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * What a database must be able to do. All statements use '?' as placeholder and the common subset of SQLite
 * and PostgreSQL; a backend may translate ('?' to $n, BLOB to BYTEA). Handles are used by one thread at a
 * time.
 */
struct pag_store_ops {
    const char *name;
    /* write: the one writing connection, which makes the database when missing. PAG_E_IO, PAG_E_CONFIG. */
    enum pag_err (*open)(const char *path, bool write, void **db, struct pag_fail *why);
    void (*close)(void *db);
    enum pag_err (*exec)(void *db, const char *sql); /* any number of statements, no results */
    enum pag_err (*prepare)(void *db, const char *sql, void **stmt);
    void (*finish)(void *stmt);
    /* at: from 1. The bytes must live until reset. */
    enum pag_err (*bind_int)(void *stmt, int at, int64_t v);
    enum pag_err (*bind_text)(void *stmt, int at, struct pag_span s);
    enum pag_err (*bind_blob)(void *stmt, int at, struct pag_span s);
    /* *row: there is one. PAG_E_EXISTS for a broken unique key, PAG_E_NOT_FOUND for a missing parent row,
     * PAG_E_SPACE disk full, PAG_E_BUSY, PAG_E_IO. */
    enum pag_err (*step)(void *stmt, bool *row);
    void (*reset)(void *stmt);
    /* col: from 0. Bytes live until the next step or reset. */
    int64_t (*get_int)(void *stmt, int col);
    struct pag_span (*get_bytes)(void *stmt, int col);
    int64_t (*changes)(void *db); /* rows changed by the last statement */
};

const struct pag_store_ops *pag_store_sqlite(void);

#endif
