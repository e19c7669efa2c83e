#ifndef PAG_SERVER_APP_SERIES_H
#define PAG_SERVER_APP_SERIES_H

#include "server/app/app.h"
#include "server/domain/series.h"

/* What devices said over time. */

struct pag_series_in {
    const char *device;
    enum pag_series_field field;
    int64_t from_ms, to_ms; /* both included */
    uint32_t limit;         /* 1 .. 10000 */
};
struct pag_series_value {
    int64_t at_ms;
    int64_t number;
    const char *word; /* NULL: number */
};
enum pag_err pag_app_series(struct pag_call *call, const struct pag_series_in *in,
                            struct pag_series_value **list, size_t *n);
/* The newest sample. PAG_E_NOT_FOUND: none. */
enum pag_err pag_app_series_last(struct pag_call *call, const char *device, struct pag_sample *out);

#endif
