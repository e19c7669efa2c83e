#include "server/store/rows_mount.h"

#include <string.h>

#include "core/bytes.h"

enum { AUTH_OF_PRODUCT = -1 };

static void mount_read(struct pag_q *q, struct pag_arena *arena, struct pag_mount *m)
{
    memset(m, 0, sizeof *m);
    pag_q_get_text(q, m->path, sizeof m->path);
    pag_q_get_text(q, m->product, sizeof m->product);
    m->kind = (enum pag_mount_kind)pag_q_get_int(q);
    int64_t auth = pag_q_get_int(q);
    m->has_auth = auth != AUTH_OF_PRODUCT;
    m->auth = m->has_auth ? (enum pag_legacy_auth)auth : PAG_LEGACY_CERTIFICATE;
    m->flags = (unsigned)pag_q_get_int(q);
    m->config = pag_q_get_str(q, arena);
    m->created_ms = pag_q_get_int(q);
}

enum pag_err pag_mount_insert(struct pag_db *db, const struct pag_mount *m)
{
    struct pag_q q =
        pag_q_of(db, "INSERT INTO mount (path, product_id, kind, auth, flags, config, created_ms) "
                     "VALUES (?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, m->path);
    pag_q_text(&q, m->product);
    pag_q_int(&q, m->kind);
    pag_q_int(&q, m->has_auth ? (int64_t)m->auth : AUTH_OF_PRODUCT);
    pag_q_int(&q, m->flags);
    pag_q_text(&q, m->config);
    pag_q_int(&q, m->created_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_mount_delete(struct pag_db *db, const char *product, const char *path)
{
    int64_t n = 0;
    struct pag_q q = pag_q_of(db, "DELETE FROM mount WHERE path = ? AND product_id = ?");
    pag_q_text(&q, path);
    pag_q_text(&q, product);
    enum pag_err err = pag_q_run(&q, &n);
    return err == PAG_OK && n == 0 ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_mount_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                            struct pag_mount **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT path, product_id, kind, auth, flags, config, created_ms FROM mount "
                                  "WHERE product_id = ? ORDER BY path");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, product);
    while (pag_q_row(&q)) {
        struct pag_mount *m = pag_list_grow(arena, &items, n, &cap, sizeof *m);
        if (m == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        mount_read(&q, arena, m);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_mount_owner(struct pag_db *db, const char *path, char product[PAG_PRODUCT_HEX])
{
    _Static_assert(PAG_MOUNT_FILES == 3, "the number in this statement");
    struct pag_q q = pag_q_of(
        db,
        "SELECT product_id FROM mount WHERE path = '/' OR substr(?, 1, length(path) + 1) = path || '/' OR "
        "(kind = 3 AND substr(?, 1, length(path) + 1) = path || '.') ORDER BY length(path) DESC LIMIT 1");
    pag_q_text(&q, path);
    pag_q_text(&q, path);
    if (pag_q_row(&q)) {
        pag_q_get_text(&q, product, PAG_PRODUCT_HEX);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}
