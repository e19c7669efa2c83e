#include "sim/table.h"

#include <inttypes.h>
#include <jansson.h>

#include "core/bytes.h"

static void draw_rows(struct pag_sim_table *t, const char *title, const struct pag_sim_row *rows, uint32_t n)
{
    enum { BAR = 40 };
    uint32_t all = 1;
    for (uint32_t i = 0; i < n; i++) {
        all += rows[i].n;
    }
    for (uint32_t i = 0; i < n; i++) {
        (void)fprintf(t->to, "\033[K  %-9s%-20s%7" PRIu32 "  ", i == 0 ? title : "", rows[i].text, rows[i].n);
        for (uint32_t bar = 0; bar < rows[i].n * BAR / all; bar++) {
            (void)fputc('#', t->to);
        }
        (void)fputc('\n', t->to);
        t->lines++;
    }
}

static void draw(struct pag_sim_table *t, const struct pag_sim_summary *s, uint64_t rate)
{
    if (t->lines > 0) {
        (void)fprintf(t->to, "\033[%" PRIu32 "A", t->lines);
    }
    t->lines = 0;
    draw_rows(t, "version", s->version, s->version_n);
    draw_rows(t, "state", s->state, s->state_n);
    draw_rows(t, "as wanted", s->who, s->who_n);
    (void)fprintf(t->to,
                  "\033[K  %" PRIu32 " devices: %" PRIu32 " confirmed, %" PRIu32 " refused, %" PRIu32
                  " reverted, %" PRIu32 " denied; %" PRIu64 " readings/s\033[J\n",
                  s->devices, s->outcome[PAG_SIM_CONFIRMED], s->outcome[PAG_SIM_REFUSED],
                  s->outcome[PAG_SIM_REVERTED], s->outcome[PAG_SIM_DENIED], rate);
    t->lines++;
}

static json_t *rows_json(const struct pag_sim_row *rows, uint32_t n)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < n; i++) {
        json_object_set_new(object, rows[i].text, json_integer((json_int_t)rows[i].n));
    }
    return object;
}

static json_t *outcomes_json(const struct pag_sim_summary *s)
{
    json_t *object = json_object();
    for (int i = 0; i < PAG_SIM_OUTCOME_COUNT; i++) {
        json_object_set_new(object, pag_sim_outcome_word((enum pag_sim_outcome)i),
                            json_integer(s->outcome[i]));
    }
    return object;
}

static json_t *summary_json(const struct pag_sim_summary *s)
{
    json_t *net = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "connections", (json_int_t)s->net.opened,
                            "handshakes", (json_int_t)s->net.handshakes, "resumed",
                            (json_int_t)s->net.resumed, "refused", (json_int_t)s->net.refused, "read_bytes",
                            (json_int_t)s->net.read_bytes, "written_bytes", (json_int_t)s->net.written_bytes);
    return json_pack("{s:i, s:i, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "devices", (int)s->devices,
                     "settled", (int)s->settled, "readings", (json_int_t)s->readings, "resets",
                     (json_int_t)s->resets, "flash_sectors", (json_int_t)s->sectors, "outcomes",
                     outcomes_json(s), "versions", rows_json(s->version, s->version_n), "states",
                     rows_json(s->state, s->state_n), "as_expected", rows_json(s->who, s->who_n), "net", net);
}

static enum pag_err print(FILE *to, json_t *object)
{
    if (object == NULL) {
        return PAG_E_NO_MEMORY;
    }
    const bool ok = json_dumpf(object, to, JSON_COMPACT) == 0 && fputc('\n', to) != EOF && fflush(to) == 0;
    json_decref(object);
    return ok ? PAG_OK : PAG_E_IO;
}

void pag_sim_table_show(struct pag_sim_table *t, const struct pag_sim_summary *s, uint64_t now_ms)
{
    const uint64_t passed = now_ms - t->at_ms;
    const uint64_t rate = t->at_ms > 0 && passed > 0 ? (s->readings - t->readings) * 1000 / passed : 0;
    t->readings = s->readings;
    t->at_ms = now_ms;
    if (t->tty) {
        draw(t, s, rate);
        (void)fflush(t->to);
        return;
    }
    json_t *object = summary_json(s);
    json_object_set_new(object, "readings_per_s", json_integer((json_int_t)rate));
    (void)print(t->to, object);
}

static json_t *device_json(const struct pag_sim_device *d)
{
    char hex[2 * PAG_SHA256_BYTES + 1];
    struct pag_buf text = { (uint8_t *)hex, 0, sizeof(hex) };
    if (d->now.bytes > 0) {
        (void)pag_buf_put_hex(&text, pag_span_of(d->now.sha256, sizeof(d->now.sha256)));
    }
    hex[text.n] = '\0';
    json_t *faults = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "clock_refusals",
                               (int)d->clock_refusals, "power_cuts", (int)d->power_cuts, "corruptions",
                               (int)d->corruptions, "link_losses", (int)d->link_losses, "denials",
                               (int)d->denials, "refusals", (int)d->refusals, "resets", (int)d->resets);
    json_t *trail = json_array();
    for (uint32_t i = 0; i < d->trail_n; i++) {
        json_array_append_new(trail, json_string(d->trail[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:b, s:s, s:s, s:o}", "id",
                     d->id, "mac", d->mac, "personality", d->who->name, "trail", trail, "fault",
                     pag_sim_fault_word(d->fault), "version_before", d->before.version, "version_after",
                     d->now.version, "sha256", hex, "readings_before", (int)d->readings_before,
                     "readings_after", (int)d->readings_after, "outcome", pag_sim_outcome_word(d->outcome),
                     "as_expected", pag_sim_device_settled(d) ? 1 : 0, "error", pag_err_word(d->last_error),
                     "error_text", d->last_what, "counts", faults);
}

enum pag_err pag_sim_report_write(FILE *to, const struct pag_sim_options *o,
                                  const struct pag_sim_world *world, uint32_t world_n, double seconds)
{
    struct pag_sim_summary sum = { 0 };
    json_t *devices = json_array();
    uint64_t bad_programs = 0;
    for (uint32_t w = 0; w < world_n; w++) {
        pag_sim_summary_add(&sum, &world[w].summary);
        for (uint32_t i = 0; i < world[w].device_n; i++) {
            bad_programs += world[w].device[i].flash.bad_programs;
            json_array_append_new(devices, device_json(&world[w].device[i]));
        }
    }
    json_t *report = json_pack("{s:s, s:i, s:f, s:I, s:o, s:o}", "product", o->product, "seed", (int)o->seed,
                               "seconds", seconds, "bad_programs", (json_int_t)bad_programs, "summary",
                               summary_json(&sum), "devices", devices);
    return print(to, report);
}
