#include <sqlite3.h>
#include <sys/stat.h>

#include "server/store/backend.h"

static enum pag_err err_of(int rc)
{
    switch (rc & 0xFF) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return PAG_OK;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_FOREIGNKEY ? PAG_E_NOT_FOUND : PAG_E_EXISTS;
    case SQLITE_FULL:
        return PAG_E_SPACE;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* gave up the race for a place in the WAL: load, nothing is wrong */
    case SQLITE_SCHEMA:   /* changed again and again while it was prepared */
        return PAG_E_BUSY;
    case SQLITE_NOMEM:
        return PAG_E_NO_MEMORY;
    case SQLITE_TOOBIG:
        return PAG_E_LIMIT;
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_NOTADB:
        return PAG_E_IO;
    default:
        return PAG_E_INTERNAL;
    }
}

/* foreign_keys and synchronous are of the connection, not of the file. */
static const char setup_write[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
    "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8192; PRAGMA secure_delete = ON;" /* sealed keys */
    "PRAGMA wal_autocheckpoint = 1000; PRAGMA trusted_schema = OFF;";
static const char setup_read[] =
    "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096;"
    "PRAGMA mmap_size = 268435456; PRAGMA trusted_schema = OFF;";

static enum pag_err sqlite_open_db(const char *path, bool write, void **db, struct pag_fail *why)
{
    int flags =
        SQLITE_OPEN_NOMUTEX | (write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE);
    sqlite3 *handle = NULL;
    int rc = sqlite3_open_v2(path, &handle, flags, NULL);
    if (rc == SQLITE_OK && write) {
        rc = chmod(path, 0600) == 0 ? SQLITE_OK : SQLITE_IOERR;
    }
    if (rc == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(handle, 1);
        (void)sqlite3_busy_timeout(handle, 5000);
        rc = sqlite3_exec(handle, write ? setup_write : setup_read, NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        (void)sqlite3_close(handle);
        if ((rc & 0xFF) == SQLITE_CORRUPT || (rc & 0xFF) == SQLITE_NOTADB) {
            return pag_fail_set(why, PAG_E_CHECKSUM, "database is damaged", (uint64_t)(unsigned)rc);
        }
        return pag_fail_set(why, err_of(rc), "database cannot be opened", (uint64_t)(unsigned)rc);
    }
    *db = handle;
    return PAG_OK;
}

static void sqlite_close_db(void *db)
{
    (void)sqlite3_close_v2(db);
}

static enum pag_err sqlite_exec_sql(void *db, const char *sql)
{
    return err_of(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static enum pag_err sqlite_prepare_sql(void *db, const char *sql, void **stmt)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL);
    *stmt = s;
    return err_of(rc);
}

static void sqlite_finish_stmt(void *stmt)
{
    (void)sqlite3_finalize(stmt);
}

static enum pag_err sqlite_bind_i64(void *stmt, int at, int64_t v)
{
    return err_of(sqlite3_bind_int64(stmt, at, v));
}

static enum pag_err sqlite_bind_str(void *stmt, int at, struct pag_span s)
{
    return err_of(
        sqlite3_bind_text64(stmt, at, s.n > 0 ? (const char *)s.p : "", s.n, SQLITE_STATIC, SQLITE_UTF8));
}

static enum pag_err sqlite_bind_bin(void *stmt, int at, struct pag_span s)
{
    return err_of(sqlite3_bind_blob64(stmt, at, s.n > 0 ? (const void *)s.p : "", s.n, SQLITE_STATIC));
}

static enum pag_err sqlite_step_stmt(void *stmt, bool *row)
{
    int rc = sqlite3_step(stmt);
    *row = rc == SQLITE_ROW;
    return err_of(rc);
}

static void sqlite_reset_stmt(void *stmt)
{
    (void)sqlite3_reset(stmt);
}

static int64_t sqlite_column_i64(void *stmt, int col)
{
    return sqlite3_column_int64(stmt, col);
}

static struct pag_span sqlite_column_bytes_of(void *stmt, int col)
{
    struct pag_span s = { sqlite3_column_blob(stmt, col), (size_t)sqlite3_column_bytes(stmt, col) };
    return s;
}

static int64_t sqlite_changes_of(void *db)
{
    return sqlite3_changes64(db);
}

const struct pag_store_ops *pag_store_sqlite(void)
{
    static const struct pag_store_ops ops = {
        .name = "sqlite",
        .open = sqlite_open_db,
        .close = sqlite_close_db,
        .exec = sqlite_exec_sql,
        .prepare = sqlite_prepare_sql,
        .finish = sqlite_finish_stmt,
        .bind_int = sqlite_bind_i64,
        .bind_text = sqlite_bind_str,
        .bind_blob = sqlite_bind_bin,
        .step = sqlite_step_stmt,
        .reset = sqlite_reset_stmt,
        .get_int = sqlite_column_i64,
        .get_bytes = sqlite_column_bytes_of,
        .changes = sqlite_changes_of,
    };
    return &ops;
}
