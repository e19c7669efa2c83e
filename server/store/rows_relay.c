#include "server/store/rows_relay.h"

#include <string.h>

#define COLUMNS "device_id, product_id, address, said, name, relay, seen_ms"

static void read_row(struct pag_q *q, struct pag_neighbour *n)
{
    memset(n, 0, sizeof *n);
    pag_q_get_text(q, n->device, sizeof n->device);
    pag_q_get_text(q, n->product, sizeof n->product);
    pag_q_get_text(q, n->address, sizeof n->address);
    pag_q_get_text(q, n->said, sizeof n->said);
    pag_q_get_text(q, n->name, sizeof n->name);
    pag_q_get_text(q, n->relay, sizeof n->relay);
    n->seen_ms = pag_q_get_int(q);
}

enum pag_err pag_neighbour_get(struct pag_db *db, const char *device, struct pag_neighbour *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " COLUMNS " FROM neighbour WHERE device_id = ?");
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        read_row(&q, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_neighbour_put(struct pag_db *db, const struct pag_neighbour *n)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO neighbour (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?) "
                                  "ON CONFLICT (device_id) DO UPDATE SET product_id = excluded.product_id, "
                                  "address = excluded.address, said = excluded.said, name = excluded.name, "
                                  "relay = excluded.relay, seen_ms = excluded.seen_ms");
    pag_q_text(&q, n->device);
    pag_q_text(&q, n->product);
    pag_q_text(&q, n->address);
    pag_q_text(&q, n->said);
    pag_q_text(&q, n->name);
    pag_q_text(&q, n->relay);
    pag_q_int(&q, n->seen_ms);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_neighbour_list(struct pag_db *db, struct pag_arena *arena, const char *product,
                                const char *after, struct pag_neighbour **list, size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT " COLUMNS " FROM neighbour WHERE product_id = ? AND device_id > ? "
                                  "ORDER BY device_id LIMIT ?");
    size_t limit = *n;
    *n = 0;
    *list = pag_arena_alloc(arena, limit * sizeof **list);
    pag_q_text(&q, product);
    pag_q_text(&q, after);
    pag_q_int(&q, (int64_t)limit);
    while (*list != NULL && *n < limit && pag_q_row(&q)) {
        read_row(&q, &(*list)[(*n)++]);
    }
    enum pag_err err = pag_q_end(&q);
    return *list == NULL ? PAG_E_NO_MEMORY : err;
}

enum pag_err pag_neighbour_remove(struct pag_db *db, const char *device)
{
    struct pag_q q = pag_q_of(db, "DELETE FROM neighbour WHERE device_id = ?");
    pag_q_text(&q, device);
    return pag_q_run(&q, NULL);
}
