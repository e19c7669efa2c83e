#include "server/api/metrics/writer.h"

#include "core/bytes.h"

static void put(struct pag_metrics *m, struct pag_span s)
{
    if (m->err == PAG_OK) {
        m->err = pag_buf_put(&m->out, s);
    }
}

static void put_str(struct pag_metrics *m, const char *text)
{
    put(m, pag_span_str(text));
}

static void put_dec(struct pag_metrics *m, uint64_t v)
{
    if (m->err == PAG_OK) {
        m->err = pag_buf_put_dec(&m->out, v);
    }
}

static void put_label_value(struct pag_metrics *m, struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' || s.p[i] == '"') {
            put_str(m, "\\");
            put(m, (struct pag_span){ s.p + i, 1 });
        } else if (s.p[i] == '\n') {
            put_str(m, "\\n");
        } else if (s.p[i] < 0x20 || s.p[i] > 0x7E) {
            put_str(m, "?"); /* labels come from operators and devices: nothing that is not plain text */
        } else {
            put(m, (struct pag_span){ s.p + i, 1 });
        }
    }
}

void pag_metrics_family(struct pag_metrics *m, const char *name, const char *type, const char *help)
{
    const char *parts[] = { "# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n" };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        put_str(m, parts[i]);
    }
}

static void put_name(struct pag_metrics *m, const char *name, const struct pag_metric_label *label, size_t n)
{
    put_str(m, name);
    for (size_t i = 0; i < n; i++) {
        put_str(m, i == 0 ? "{" : ",");
        put_str(m, label[i].name);
        put_str(m, "=\"");
        put_label_value(m, label[i].value);
        put_str(m, "\"");
    }
    put_str(m, n > 0 ? "} " : " ");
}

void pag_metrics_put(struct pag_metrics *m, const char *name, const struct pag_metric_label *label, size_t n,
                     uint64_t value)
{
    put_name(m, name, label, n);
    put_dec(m, value);
    put_str(m, "\n");
}

void pag_metrics_put_micro(struct pag_metrics *m, const char *name, const struct pag_metric_label *label,
                           size_t n, uint64_t value_micro)
{
    char digits[9] = ".000000\n";
    uint64_t rest = value_micro % 1000000;
    for (size_t i = 6; i > 0; i--, rest /= 10) {
        digits[i] = (char)('0' + rest % 10);
    }
    put_name(m, name, label, n);
    put_dec(m, value_micro / 1000000);
    put_str(m, digits);
}

void pag_metrics_put_milli(struct pag_metrics *m, const char *name, uint64_t value_milli)
{
    const char digits[] = { (char)('0' + value_milli % 1000 / 100), (char)('0' + value_milli % 100 / 10),
                            (char)('0' + value_milli % 10), '\n', '\0' };
    put_str(m, name);
    put_str(m, " ");
    put_dec(m, value_milli / 1000);
    put_str(m, ".");
    put_str(m, digits);
}
