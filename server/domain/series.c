#include "server/domain/series.h"

#include "core/bytes.h"

static const char *const names[PAG_SERIES_FIELDS] = {
    [PAG_SERIES_UPTIME] = "uptimemillis",
    [PAG_SERIES_MAX] = "maxmillis",
    [PAG_SERIES_MQTT] = "mqttmillis",
    [PAG_SERIES_RSSI] = "rssi",
    [PAG_SERIES_HEAP] = "espfreeheap",
    [PAG_SERIES_NAME] = "espname",
    [PAG_SERIES_IMAGE] = "espimage",
    [PAG_SERIES_BUILD] = "espbuild",
    [PAG_SERIES_IP] = "espip",
    [PAG_SERIES_MESSAGE] = "errormessage",
    [PAG_SERIES_FLASH_MESSAGE] = "espflasherror",
};

const char *pag_series_field_word(enum pag_series_field f)
{
    return f < PAG_SERIES_FIELDS ? names[f] : "";
}

enum pag_err pag_series_field_by_word(struct pag_span word, enum pag_series_field *out)
{
    for (int f = 0; f < PAG_SERIES_FIELDS; f++) {
        if (pag_span_eq_str(word, names[f])) {
            *out = (enum pag_series_field)f;
            return PAG_OK;
        }
    }
    return PAG_E_NOT_FOUND;
}

int64_t pag_series_unwrap(int64_t last, int64_t passed_ms, uint32_t raw, bool *restarted)
{
    static const int64_t turn = INT64_C(1) << 32;
    static const int64_t late_ms = 60000;
    int64_t passed = passed_ms > 0 ? passed_ms : 0;
    int64_t expected = last + passed;
    int64_t slack = passed / 100 + late_ms;
    /* The whole value with these low bits that is nearest to what is expected. */
    int64_t turns = (expected - (int64_t)raw + turn / 2) / turn;
    int64_t whole = (int64_t)raw + (turns > 0 ? turns : 0) * turn;
    int64_t off = whole > expected ? whole - expected : expected - whole;
    *restarted = off > slack || whole < last; /* a late message is not an earlier one */
    return *restarted ? raw : whole;
}
