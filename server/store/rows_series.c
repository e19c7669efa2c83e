#include "server/store/rows_series.h"

#include <string.h>

#define SERIES_COLUMNS "s.at_ms, s.given, s.uptime_ms, s.max_ms, s.mqtt_ms, s.rssi, s.heap"
#define WORD_COLUMNS   "w.name, w.image, w.build, w.ip, w.message, w.flash_message"

enum pag_err pag_series_last(struct pag_db *db, const char *device, struct pag_sample *out)
{
    struct pag_q q = pag_q_of(db, "SELECT " SERIES_COLUMNS ", " WORD_COLUMNS
                                  " FROM series s JOIN series_words w ON w.device_id = s.device_id AND "
                                  "w.words = s.words WHERE s.device_id = ? ORDER BY s.at_ms DESC LIMIT 1");
    pag_q_text(&q, device);
    if (pag_q_row(&q)) {
        memset(out, 0, sizeof *out);
        out->at_ms = pag_q_get_int(&q);
        out->given = (uint32_t)pag_q_get_int(&q);
        for (int i = 0; i < PAG_SERIES_NUMBERS; i++) {
            out->number[i] = pag_q_get_int(&q);
        }
        for (int i = 0; i < PAG_SERIES_WORDS; i++) {
            pag_q_get_text(&q, out->word[i], sizeof out->word[i]);
        }
    }
    enum pag_err err = pag_q_end(&q);
    return err == PAG_OK && !q.any ? PAG_E_NOT_FOUND : err;
}

static enum pag_err newest_words(struct pag_db *db, const char *device, int64_t *words)
{
    struct pag_q q = pag_q_of(db, "SELECT COALESCE(MAX(words), 0) FROM series_words WHERE device_id = ?");
    pag_q_text(&q, device);
    *words = pag_q_row(&q) ? pag_q_get_int(&q) : 0;
    return pag_q_end(&q);
}

static enum pag_err put_words(struct pag_db *db, const char *device, const struct pag_sample *s,
                              int64_t words)
{
    struct pag_q q = pag_q_of(db, "INSERT INTO series_words (device_id, words, name, image, build, ip, "
                                  "message, flash_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, device);
    pag_q_int(&q, words);
    for (int i = 0; i < PAG_SERIES_WORDS; i++) {
        pag_q_text(&q, s->word[i]);
    }
    return pag_q_run(&q, NULL);
}

enum pag_err pag_series_put(struct pag_db *db, const char *device, const struct pag_sample *s,
                            const struct pag_sample *last)
{
    int64_t words = 0;
    enum pag_err err = newest_words(db, device, &words);
    if (err == PAG_OK && (last == NULL || memcmp(last->word, s->word, sizeof s->word) != 0)) {
        words++;
        err = put_words(db, device, s, words);
    }
    if (err != PAG_OK) {
        return err;
    }
    struct pag_q q = pag_q_of(db, "INSERT INTO series (device_id, at_ms, words, given, uptime_ms, max_ms, "
                                  "mqtt_ms, rssi, heap) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    pag_q_text(&q, device);
    pag_q_int(&q, s->at_ms);
    pag_q_int(&q, words);
    pag_q_int(&q, s->given);
    for (int i = 0; i < PAG_SERIES_NUMBERS; i++) {
        pag_q_int(&q, s->number[i]);
    }
    return pag_q_run(&q, NULL);
}

/* One literal a field: statements are cached by address. */
#define NUMBER_SQL(column)                                                                                   \
    "SELECT at_ms, " column " FROM series WHERE device_id = ? AND at_ms >= ? AND at_ms <= ? AND given & ? "  \
    "<> 0 ORDER BY at_ms LIMIT ?"
#define WORD_SQL(column)                                                                                     \
    "SELECT s.at_ms, w." column " FROM series s JOIN series_words w ON w.device_id = s.device_id AND "       \
    "w.words = s.words WHERE s.device_id = ? AND s.at_ms >= ? AND s.at_ms <= ? AND w." column                \
    " <> '' ORDER BY s.at_ms LIMIT ?"

static const char *const list_sql[PAG_SERIES_FIELDS] = {
    [PAG_SERIES_UPTIME] = NUMBER_SQL("uptime_ms"),
    [PAG_SERIES_MAX] = NUMBER_SQL("max_ms"),
    [PAG_SERIES_MQTT] = NUMBER_SQL("mqtt_ms"),
    [PAG_SERIES_RSSI] = NUMBER_SQL("rssi"),
    [PAG_SERIES_HEAP] = NUMBER_SQL("heap"),
    [PAG_SERIES_NAME] = WORD_SQL("name"),
    [PAG_SERIES_IMAGE] = WORD_SQL("image"),
    [PAG_SERIES_BUILD] = WORD_SQL("build"),
    [PAG_SERIES_IP] = WORD_SQL("ip"),
    [PAG_SERIES_MESSAGE] = WORD_SQL("message"),
    [PAG_SERIES_FLASH_MESSAGE] = WORD_SQL("flash_message"),
};

enum pag_err pag_series_list(struct pag_db *db, struct pag_arena *arena, const struct pag_series_filter *f,
                             struct pag_series_point **list, size_t *n)
{
    bool number = f->field < PAG_SERIES_NUMBERS;
    struct pag_q q = pag_q_of(db, list_sql[f->field]);
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_text(&q, f->device);
    pag_q_int(&q, f->from_ms);
    pag_q_int(&q, f->to_ms);
    if (number) {
        pag_q_int(&q, INT64_C(1) << f->field);
    }
    pag_q_int(&q, f->limit);
    while (pag_q_row(&q)) {
        struct pag_series_point *p = pag_list_grow(arena, &items, n, &cap, sizeof *p);
        if (p == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        p->at_ms = pag_q_get_int(&q);
        p->number = number ? pag_q_get_int(&q) : 0;
        p->word = number ? NULL : pag_q_get_str(&q, arena);
    }
    *list = items;
    return pag_q_end(&q);
}

enum pag_err pag_series_trim(struct pag_db *db, const char *device, int64_t before_ms, uint32_t rows)
{
    struct pag_q q = pag_q_of(
        db, "DELETE FROM series WHERE device_id = ? AND (at_ms < ? OR at_ms <= (SELECT at_ms FROM series "
            "WHERE device_id = ? ORDER BY at_ms DESC LIMIT 1 OFFSET ?))");
    pag_q_text(&q, device);
    pag_q_int(&q, before_ms);
    pag_q_text(&q, device);
    pag_q_int(&q, rows);
    enum pag_err err = pag_q_run(&q, NULL);
    if (err != PAG_OK) {
        return err;
    }
    /* The newest words stay, so that numbers go on. */
    struct pag_q w = pag_q_of(
        db,
        "DELETE FROM series_words WHERE device_id = ? AND words < COALESCE((SELECT MIN(words) FROM series "
        "WHERE device_id = ?), (SELECT MAX(words) FROM series_words WHERE device_id = ?))");
    for (int i = 0; i < 3; i++) {
        pag_q_text(&w, device);
    }
    return pag_q_run(&w, NULL);
}

enum pag_err pag_series_outdated(struct pag_db *db, struct pag_arena *arena, int64_t now_ms, uint32_t max,
                                 char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n)
{
    struct pag_q q =
        pag_q_of(db, "SELECT DISTINCT s.device_id FROM dialect l JOIN device d ON d.product_id = "
                     "l.product_id JOIN series s ON s.device_id = d.id WHERE l.device_id = '' AND s.at_ms < "
                     "? - l.series_days * 86400000 LIMIT ?");
    void *items = NULL;
    size_t cap = 0;
    *n = 0;
    pag_q_int(&q, now_ms);
    pag_q_int(&q, max);
    while (pag_q_row(&q)) {
        char(*id)[PAG_DEVICE_ID_MAX + 1] = pag_list_grow(arena, &items, n, &cap, sizeof *id);
        if (id == NULL) {
            q.err = PAG_E_LIMIT;
            break;
        }
        pag_q_get_text(&q, *id, sizeof *id);
    }
    *list = items;
    return pag_q_end(&q);
}
