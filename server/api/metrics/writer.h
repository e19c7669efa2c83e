#ifndef PAG_SERVER_API_METRICS_WRITER_H
#define PAG_SERVER_API_METRICS_WRITER_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Prometheus text format 0.0.4 into a lent buffer. The first failure is kept in err; later calls do nothing.
 */
struct pag_metrics {
    struct pag_buf out;
    enum pag_err err;
};

struct pag_metric_label {
    const char *name;      /* literal, [a-z_]+ */
    struct pag_span value; /* any bytes; escaped */
};

/* HELP and TYPE lines. type: "counter" or "gauge". Samples of the family follow at once. */
void pag_metrics_family(struct pag_metrics *m, const char *name, const char *type, const char *help);
/* One sample with up to n labels. */
void pag_metrics_put(struct pag_metrics *m, const char *name, const struct pag_metric_label *label, size_t n,
                     uint64_t value);
/* The same with fractions of a thousandth: value_milli / 1000. */
void pag_metrics_put_milli(struct pag_metrics *m, const char *name, uint64_t value_milli);
/* The same with labels and millionths. */
void pag_metrics_put_micro(struct pag_metrics *m, const char *name, const struct pag_metric_label *label,
                           size_t n, uint64_t value_micro);

#endif
