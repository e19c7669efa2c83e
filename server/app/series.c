#include "server/app/series.h"

#include "server/app/op.h"
#include "server/store/rows_series.h"

enum pag_err pag_app_series(struct pag_call *call, const struct pag_series_in *in,
                            struct pag_series_value **list, size_t *n)
{
    struct pag_device d;
    struct pag_series_point *point = NULL;
    const struct pag_series_filter f = { .device = in->device,
                                         .field = in->field,
                                         .from_ms = in->from_ms,
                                         .to_ms = in->to_ms,
                                         .limit = in->limit };
    enum pag_err err = pag_find_device(call, call->thread->db, in->device, &d);
    err = err == PAG_OK ? pag_series_list(call->thread->db, call->arena, &f, &point, n) : err;
    if (err != PAG_OK) {
        return err;
    }
    *list = pag_arena_alloc(call->arena, (*n + 1) * sizeof **list);
    for (size_t i = 0; *list != NULL && i < *n; i++) {
        (*list)[i] = (struct pag_series_value){ point[i].at_ms, point[i].number, point[i].word };
    }
    return *list != NULL ? PAG_OK : PAG_E_NO_MEMORY;
}

enum pag_err pag_app_series_last(struct pag_call *call, const char *device, struct pag_sample *out)
{
    struct pag_device d;
    enum pag_err err = pag_find_device(call, call->thread->db, device, &d);
    return err == PAG_OK ? pag_series_last(call->thread->db, d.id, out) : err;
}
