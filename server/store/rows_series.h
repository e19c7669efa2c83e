#ifndef PAG_SERVER_STORE_ROWS_SERIES_H
#define PAG_SERVER_STORE_ROWS_SERIES_H

#include "server/domain/series.h"
#include "server/store/rows.h"

/* Time series of devices: migrations/0006. */

/* PAG_E_NOT_FOUND: none yet. */
enum pag_err pag_series_last(struct pag_db *db, const char *device, struct pag_sample *out);
/* s->at_ms must be after the last one's. last: that one, NULL: none. */
enum pag_err pag_series_put(struct pag_db *db, const char *device, const struct pag_sample *s,
                            const struct pag_sample *last);

struct pag_series_filter {
    const char *device;
    enum pag_series_field field;
    int64_t from_ms, to_ms; /* both included */
    uint32_t limit;
};
struct pag_series_point {
    int64_t at_ms;
    int64_t number;   /* of a number */
    const char *word; /* of a word; NULL: number */
};
/* Ascending; messages that did not have the field are left out. */
enum pag_err pag_series_list(struct pag_db *db, struct pag_arena *arena, const struct pag_series_filter *f,
                             struct pag_series_point **list, size_t *n);

/* Forgets what is older than before_ms, and all but the newest rows of a device. */
enum pag_err pag_series_trim(struct pag_db *db, const char *device, int64_t before_ms, uint32_t rows);
/* Devices with samples from before a time of days of their own products, at most max, for the sweep. */
enum pag_err pag_series_outdated(struct pag_db *db, struct pag_arena *arena, int64_t now_ms, uint32_t max,
                                 char (**list)[PAG_DEVICE_ID_MAX + 1], size_t *n);

#endif
