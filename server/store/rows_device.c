#include <string.h>

#include "core/bytes.h"
#include "server/store/rows.h"

#define DEVICE_COLUMNS                                                                                       \
    "id, product_id, name, mac, protocol, proof, sources, chip, hardware, running, running_md5, version, "   \
    "sequence, "                                                                                             \
    "slot, boot_state, trust_version, epoch, slot_bytes, flash_bytes, sketch_bytes, boot_count, "            \
    "capabilities, "                                                                                         \
    "last_failed, running_since_ms, state, why, online, online_ms, created_ms, enrolled_ms, last_seen_ms, "  \
    "last_poll_ms, pin, tags, cert_serial, cert_not_after_ms, revoked_ms, open_action, commands_queued, "    \
    "images_held, "                                                                                          \
    "revision, verify_key"

enum { FACTS = 16 };

static void sources_of(const struct pag_facts *f, uint8_t s[FACTS])
{
    const enum pag_source all[FACTS] = {
        f->chip.source,          f->hardware.source,   f->running.source,      f->running_md5.source,
        f->version.source,       f->sequence.source,   f->slot.source,         f->boot_state.source,
        f->trust_version.source, f->epoch.source,      f->slot_bytes.source,   f->flash_bytes.source,
        f->sketch_bytes.source,  f->boot_count.source, f->capabilities.source, f->last_failed.source
    };
    for (size_t i = 0; i < FACTS; i++) {
        s[i] = (uint8_t)all[i];
    }
}

static void read_u32(struct pag_q *q, struct pag_fact_u32 *f, uint8_t source)
{
    f->source = (enum pag_source)source;
    f->value = (uint32_t)pag_q_get_int(q);
}

static void facts_read(struct pag_q *q, struct pag_facts *f)
{
    uint8_t s[FACTS] = { 0 };
    (void)pag_q_get_bytes(q, s, sizeof s);
    read_u32(q, &f->chip, s[0]);
    f->hardware.source = (enum pag_source)s[1];
    pag_q_get_text(q, f->hardware.value, sizeof f->hardware.value);
    f->running.source = (enum pag_source)s[2];
    pag_q_get_blob(q, f->running.value, sizeof f->running.value);
    f->running_md5.source = (enum pag_source)s[3];
    pag_q_get_blob(q, f->running_md5.value, sizeof f->running_md5.value);
    f->version.source = (enum pag_source)s[4];
    pag_q_get_text(q, f->version.value, sizeof f->version.value);
    read_u32(q, &f->sequence, s[5]);
    read_u32(q, &f->slot, s[6]);
    read_u32(q, &f->boot_state, s[7]);
    read_u32(q, &f->trust_version, s[8]);
    read_u32(q, &f->epoch, s[9]);
    read_u32(q, &f->slot_bytes, s[10]);
    read_u32(q, &f->flash_bytes, s[11]);
    read_u32(q, &f->sketch_bytes, s[12]);
    read_u32(q, &f->boot_count, s[13]);
    read_u32(q, &f->capabilities, s[14]);
    f->last_failed.source = (enum pag_source)s[15];
    pag_q_get_blob(q, f->last_failed.value, sizeof f->last_failed.value);
}

static void device_read(struct pag_q *q, struct pag_arena *arena, struct pag_device *d)
{
    memset(d, 0, sizeof *d);
    pag_q_get_text(q, d->id, sizeof d->id);
    pag_q_get_text(q, d->product, sizeof d->product);
    pag_q_get_text(q, d->name, sizeof d->name);
    pag_q_get_text(q, d->mac, sizeof d->mac);
    d->protocol = (enum pag_protocol)pag_q_get_int(q);
    d->proof = (enum pag_proof)pag_q_get_int(q);
    facts_read(q, &d->facts);
    d->running_since_ms = pag_q_get_int(q);
    d->state = (enum pag_device_state)pag_q_get_int(q);
    pag_q_get_text(q, d->why, sizeof d->why);
    d->online = pag_q_get_int(q) != 0;
    d->online_ms = pag_q_get_int(q);
    d->created_ms = pag_q_get_int(q);
    d->enrolled_ms = pag_q_get_int(q);
    d->last_seen_ms = pag_q_get_int(q);
    d->last_poll_ms = pag_q_get_int(q);
    pag_q_get_text(q, d->pin, sizeof d->pin);
    if (arena != NULL) {
        d->tags = pag_q_get_str(q, arena);
    } else {
        q->col++;
    }
    d->cert_serial_n = pag_q_get_bytes(q, d->cert_serial, sizeof d->cert_serial);
    d->cert_not_after_ms = pag_q_get_int(q);
    d->revoked_ms = pag_q_get_int(q);
    d->open_action = (uint32_t)pag_q_get_int(q);
    d->commands_queued = (uint32_t)pag_q_get_int(q);
    d->images_held = (uint32_t)pag_q_get_int(q);
    d->revision = (uint32_t)pag_q_get_int(q);
    d->has_verify_key = pag_q_get_bytes(q, d->verify_key, sizeof d->verify_key) == sizeof d->verify_key;
}

/* sources must live until the statement has run. */
static void bind_facts(struct pag_q *q, const struct pag_facts *f, const uint8_t sources[FACTS])
{
    pag_q_blob(q, sources, FACTS);
    pag_q_int(q, f->chip.value);
    pag_q_text(q, f->hardware.value);
    pag_q_blob(q, f->running.value, f->running.source != PAG_ABSENT ? sizeof f->running.value : 0);
    pag_q_blob(q, f->running_md5.value,
               f->running_md5.source != PAG_ABSENT ? sizeof f->running_md5.value : 0);
    pag_q_text(q, f->version.value);
    pag_q_int(q, f->sequence.value);
    pag_q_int(q, f->slot.value);
    pag_q_int(q, f->boot_state.value);
    pag_q_int(q, f->trust_version.value);
    pag_q_int(q, f->epoch.value);
    pag_q_int(q, f->slot_bytes.value);
    pag_q_int(q, f->flash_bytes.value);
    pag_q_int(q, f->sketch_bytes.value);
    pag_q_int(q, f->boot_count.value);
    pag_q_int(q, f->capabilities.value);
    pag_q_blob(q, f->last_failed.value,
               f->last_failed.source != PAG_ABSENT ? sizeof f->last_failed.value : 0);
}

/* What inserting and updating have in common, in the order of DEVICE_COLUMNS. */
static void bind_is(struct pag_q *q, const struct pag_device *d, const uint8_t sources[FACTS])
{
    pag_q_text(q, d->product);
    pag_q_text(q, d->name);
    pag_q_text(q, d->mac);
    pag_q_int(q, d->protocol);
    pag_q_int(q, d->proof);
    bind_facts(q, &d->facts, sources);
    pag_q_int(q, d->running_since_ms);
    pag_q_int(q, d->state);
    pag_q_text(q, d->why);
    pag_q_int(q, d->online);
    pag_q_int(q, d->online_ms);
}

static void bind_holds(struct pag_q *q, const struct pag_device *d)
{
    pag_q_blob(q, d->cert_serial, d->cert_serial_n);
    pag_q_int(q, d->cert_not_after_ms);
    pag_q_int(q, d->revoked_ms);
    pag_q_int(q, d->open_action);
    pag_q_int(q, d->commands_queued);
    pag_q_int(q, d->images_held);
}

enum pag_err pag_device_insert(struct pag_db *db, const struct pag_device *d)
{
    uint8_t sources[FACTS];
    struct pag_q q =
        pag_q_of(db, "INSERT INTO device (" DEVICE_COLUMNS ") VALUES ("
                     "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                     "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    sources_of(&d->facts, sources);
    pag_q_text(&q, d->id);
    bind_is(&q, d, sources);
    pag_q_int(&q, d->created_ms);
    pag_q_int(&q, d->enrolled_ms);
    pag_q_int(&q, d->last_seen_ms);
    pag_q_int(&q, d->last_poll_ms);
    pag_q_text(&q, d->pin);
    pag_q_text(&q, d->tags);
    bind_holds(&q, d);
    pag_q_int(&q, d->revision);
    pag_q_blob(&q, d->verify_key, d->has_verify_key ? sizeof d->verify_key : 0);
    return pag_q_run(&q, NULL);
}

enum pag_err pag_device_get(struct pag_db *db, struct pag_arena *arena, const char *id,
                            struct pag_device *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " DEVICE_COLUMNS " FROM device WHERE id = ?");
    pag_q_text(&q, id);
    if (pag_q_row(&q)) {
        device_read(&q, arena, out);
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

enum pag_err pag_device_update(struct pag_db *db, struct pag_device *d)
{
    uint8_t sources[FACTS];
    struct pag_q q = pag_q_of(
        db, "UPDATE device SET product_id = ?, name = ?, mac = ?, protocol = ?, proof = ?, sources = ?, "
            "chip = ?, hardware = ?, running = ?, running_md5 = ?, version = ?, sequence = ?, slot = ?, "
            "boot_state = ?, trust_version = ?, epoch = ?, slot_bytes = ?, flash_bytes = ?, "
            "sketch_bytes = ?, boot_count = ?, capabilities = ?, last_failed = ?, running_since_ms = ?, "
            "state = ?, why = ?, online = ?, online_ms = ?, enrolled_ms = ?, pin = ?, "
            "tags = CASE WHEN ? = 1 THEN ? ELSE tags END, cert_serial = ?, cert_not_after_ms = ?, "
            "revoked_ms = ?, open_action = ?, commands_queued = ?, images_held = ?, verify_key = ?, "
            "revision = revision + 1 "
            "WHERE id = ? AND revision = ?");
    sources_of(&d->facts, sources);
    bind_is(&q, d, sources);
    pag_q_int(&q, d->enrolled_ms);
    pag_q_text(&q, d->pin);
    pag_q_int(&q, d->tags != NULL); /* tags were read */
    pag_q_text(&q, d->tags);
    bind_holds(&q, d);
    pag_q_blob(&q, d->verify_key, d->has_verify_key ? sizeof d->verify_key : 0);
    pag_q_text(&q, d->id);
    pag_q_int(&q, d->revision);
    enum pag_err err = pag_q_run_one(&q);
    if (err == PAG_OK) {
        d->revision++;
    }
    return err;
}

/* ---- lists ---- */

/*
 * A device of product "of" that is silent too long (8: PAG_DEVICE_STALE, whatever its state). Binds: now,
 * slack, polls * 1000, poll_s, of; see bind_silent. Where "of" is a parameter the limit is worked out once.
 */
#define SILENT(of)                                                                                           \
    "(revoked_ms = 0 AND last_seen_ms > 0 AND last_seen_ms < ? - ? - ? * (SELECT CASE WHEN p.poll_s > 0 "    \
    "THEN p.poll_s ELSE ? END FROM product p WHERE p.id = " of "))"

_Static_assert(PAG_DEVICE_STALE == 8, "the number in the statements");

static void bind_silent(struct pag_q *q, struct pag_shown shown, const char *product)
{
    int64_t slack = pag_device_stale_after_ms(0);
    pag_q_int(q, shown.now_ms);
    pag_q_int(q, slack);
    pag_q_int(q, pag_device_stale_after_ms(1) - slack);
    pag_q_int(q, shown.poll_s);
    pag_q_text(q, product);
}

/*
 * One statement for each kind of filter, so that each finds its index: a condition that may not hold, as in
 * "? = '' OR product_id = ?", finds none. The IN names all products there are, for an index that begins with
 * them. AMONG finds the silent ones in the index alone, then reads the rows of a page. The first parameter is
 * the product in all of them.
 */
#define OF_ONE  " FROM device WHERE product_id = ?"
#define OF_ALL  " FROM device WHERE ? = ''"
#define OF_EACH OF_ALL " AND product_id IN (SELECT id FROM product)"
#define AMONG   " FROM device WHERE id IN (SELECT id"
#define EACH_ID "CASE WHEN ? = '' THEN device.product_id END"

#define MORE                                                                                                 \
    " AND (? = 0 OR version = ?) AND (? = 0 OR (id >= ? AND id < ?) OR (mac >= ? AND mac < ?) OR "           \
    "(name >= ? AND name < ?))"

#define KINDS(columns, after)                                                                                \
    {                                                                                                        \
        { "SELECT " columns OF_ALL MORE after, "SELECT " columns OF_ONE MORE after },                        \
            { "SELECT " columns OF_EACH " AND state = ? AND NOT " SILENT(EACH_ID) MORE after,                \
              "SELECT " columns OF_ONE " AND state = ? AND NOT " SILENT("?") MORE after },                   \
            { "SELECT " columns AMONG OF_EACH " AND " SILENT(EACH_ID) ")" MORE after,                        \
              "SELECT " columns AMONG OF_ONE " AND " SILENT("?") ")" MORE after },                           \
    }

enum { ANY_STATE, ONE_STATE, STALE, STATE_KINDS };

static const char *const list_sql[STATE_KINDS][2] = KINDS(DEVICE_COLUMNS, " AND id > ? ORDER BY id LIMIT ?");
static const char *const total_sql[STATE_KINDS][2] = KINDS("COUNT(*)", "");

/* First text that is above all that start with prefix: 0xFF is in no UTF-8. */
static const char *above(const char *prefix, char out[PAG_NAME_MAX + 3])
{
    struct pag_buf b = { (uint8_t *)out, 0, PAG_NAME_MAX + 2 };
    (void)pag_buf_put_str(&b, prefix);
    (void)pag_buf_put_u8(&b, 0xFF);
    out[b.n] = '\0';
    return out;
}

static struct pag_q filtered(struct pag_db *db, const char *const sql[STATE_KINDS][2],
                             const struct pag_device_filter *f, char end[PAG_NAME_MAX + 3])
{
    const char *prefix = f->prefix != NULL ? f->prefix : "";
    int kind = f->state < 0 ? ANY_STATE : f->state == PAG_DEVICE_STALE ? STALE : ONE_STATE;
    struct pag_q q = pag_q_of(db, sql[kind][f->product[0] != '\0']);
    (void)above(prefix, end);
    pag_q_text(&q, f->product);
    if (kind == ONE_STATE) {
        pag_q_int(&q, f->state);
    }
    if (kind != ANY_STATE) {
        bind_silent(&q, f->shown, f->product);
    }
    pag_q_int(&q, f->version != NULL);
    pag_q_text(&q, f->version);
    pag_q_int(&q, f->prefix != NULL);
    for (int i = 0; i < 3; i++) {
        pag_q_text(&q, prefix);
        pag_q_text(&q, end);
    }
    return q;
}

enum pag_err pag_device_list(struct pag_db *db, struct pag_arena *arena, const struct pag_device_filter *f,
                             struct pag_device **list, size_t *n)
{
    char end[PAG_NAME_MAX + 3];
    struct pag_q q = filtered(db, list_sql, f, end);
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, f->after);
    pag_q_int(&q, f->limit);
    while (pag_q_row(&q)) {
        struct pag_device *d = pag_list_grow(arena, &items, n, &cap, sizeof *d);
        if (d == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        device_read(&q, arena, d);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_device_total(struct pag_db *db, const struct pag_device_filter *f, uint64_t *total)
{
    char end[PAG_NAME_MAX + 3];
    struct pag_q q = filtered(db, total_sql, f, end);
    *total = pag_q_row(&q) ? (uint64_t)pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

enum pag_err pag_device_ids(struct pag_db *db, struct pag_arena *arena, const struct pag_device_filter *f,
                            char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n)
{
    struct pag_q q = pag_q_of(db, "SELECT id FROM device WHERE product_id = ? AND revoked_ms = 0 AND id > ? "
                                  "ORDER BY id LIMIT ?");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, f->product);
    pag_q_text(&q, f->after);
    pag_q_int(&q, f->limit);
    while (pag_q_row(&q)) {
        char *id = pag_list_grow(arena, &items, n, &cap, PAG_DEVICE_ID_MAX + 1);
        if (id == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        pag_q_get_text(&q, id, PAG_DEVICE_ID_MAX + 1);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_device_unproven(struct pag_db *db, const char *product, uint32_t least, bool *full)
{
    _Static_assert(PAG_PROOF_SAID == 1, "the number in this statement and in its index");
    struct pag_q q = pag_q_of(db, "SELECT 1 FROM device WHERE product_id = ? AND proof = 1 LIMIT 1 OFFSET ?");
    pag_q_text(&q, product);
    pag_q_int(&q, (int64_t)least - 1);
    *full = pag_q_row(&q);
    return pag_q_end(&q);
}

enum pag_err pag_device_walk(struct pag_db *db, const char *product,
                             bool (*each)(void *ctx, const struct pag_device *d), void *ctx)
{
    struct pag_q q = pag_q_of(db, "SELECT " DEVICE_COLUMNS " FROM device WHERE product_id = ? ORDER BY id");
    struct pag_device d;
    pag_q_text(&q, product);
    while (pag_q_row(&q)) {
        device_read(&q, NULL, &d);
        if (!each(ctx, &d)) {
            break;
        }
    }
    return pag_q_end(&q);
}

enum pag_err pag_device_online(struct pag_db *db, const char *id, bool online, int64_t now_ms)
{
    struct pag_q q =
        pag_q_of(db, "UPDATE device SET online = ?, online_ms = ?, revision = revision + 1 WHERE id = ?");
    pag_q_int(&q, online);
    pag_q_int(&q, now_ms);
    pag_q_text(&q, id);
    return pag_q_run_one(&q);
}

/* ---- counts ---- */

static enum pag_err count_product(struct pag_db *db, const char *product, struct pag_shown shown,
                                  uint32_t by_state[16], uint32_t *online)
{
    struct pag_q q = pag_q_of(
        db, "SELECT state, COUNT(*), SUM(silent), SUM(CASE WHEN online = 1 OR (protocol IN (2, 8, 9) AND "
            "last_seen_ms > 0 AND silent = 0 AND state <> 8) THEN 1 ELSE 0 END) FROM (SELECT state, online, "
            "protocol, last_seen_ms, CASE WHEN " SILENT("?") " THEN 1 ELSE 0 END AS silent FROM device "
                                                             "WHERE product_id = ?) AS d GROUP BY state");
    _Static_assert(PAG_PROTOCOL_HTTP_UPDATE == 2 && PAG_PROTOCOL_ESP32_UPDATE == 8 && PAG_PROTOCOL_FILES == 9,
                   "the numbers in this statement");
    bind_silent(&q, shown, product);
    pag_q_text(&q, product);
    while (pag_q_row(&q)) {
        uint32_t state = (uint32_t)pag_q_get_int(&q) & 15U;
        uint32_t n = (uint32_t)pag_q_get_int(&q);
        uint32_t silent = (uint32_t)pag_q_get_int(&q);
        by_state[state] += n - silent;
        by_state[PAG_DEVICE_STALE] += silent;
        *online += (uint32_t)pag_q_get_int(&q);
    }
    return pag_q_end(&q);
}

enum pag_err pag_device_counts(struct pag_db *db, const char *product, struct pag_shown shown,
                               uint32_t by_state[16], uint32_t *online)
{
    enum pag_err err = PAG_OK;
    *online = 0;
    memset(by_state, 0, 16 * sizeof by_state[0]);
    if (product[0] != '\0') {
        return count_product(db, product, shown, by_state, online);
    }
    struct pag_q q = pag_q_of(db, "SELECT id FROM product ORDER BY id");
    while (err == PAG_OK && pag_q_row(&q)) {
        char id[PAG_PRODUCT_HEX];
        pag_q_get_text(&q, id, sizeof id);
        err = count_product(db, id, shown, by_state, online);
    }
    enum pag_err read = pag_q_end(&q);
    return err != PAG_OK ? err : read;
}

enum pag_err pag_device_versions(struct pag_db *db, struct pag_arena *arena, const char *product,
                                 struct pag_count_row **list, size_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT p.name, d.version, COUNT(*) FROM product p CROSS JOIN device d "
                     "WHERE d.product_id = p.id AND (? = '' OR p.id = ?) GROUP BY p.name, d.version "
                     "ORDER BY p.name, d.version LIMIT 1000");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, product);
    pag_q_text(&q, product);
    while (pag_q_row(&q)) {
        struct pag_count_row *c = pag_list_grow(arena, &items, n, &cap, sizeof *c);
        if (c == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        c->product = pag_q_get_str(&q, arena);
        c->version = pag_q_get_str(&q, arena);
        c->count = (uint32_t)pag_q_get_int(&q);
    }
    *list = items;
    return pag_q_end(&q);
}
