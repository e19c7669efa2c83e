#ifndef PAG_SERVER_DOMAIN_SERIES_H
#define PAG_SERVER_DOMAIN_SERIES_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* What a device said about itself over time: one sample a status message. Pure. */

enum pag_series_field {
    PAG_SERIES_UPTIME, /* numbers first */
    PAG_SERIES_MAX,
    PAG_SERIES_MQTT,
    PAG_SERIES_RSSI,
    PAG_SERIES_HEAP,
    PAG_SERIES_NUMBERS,
    PAG_SERIES_NAME = PAG_SERIES_NUMBERS, /* then words */
    PAG_SERIES_IMAGE,
    PAG_SERIES_BUILD,
    PAG_SERIES_IP,
    PAG_SERIES_MESSAGE,
    PAG_SERIES_FLASH_MESSAGE,
    PAG_SERIES_FIELDS,
};
enum { PAG_SERIES_WORDS = PAG_SERIES_FIELDS - PAG_SERIES_NUMBERS, PAG_SERIES_WORD_MAX = 120 };

/* Names as the sketch writes them: "uptimemillis" … */
const char *pag_series_field_word(enum pag_series_field f);
/* PAG_E_NOT_FOUND for an unknown name. */
enum pag_err pag_series_field_by_word(struct pag_span word, enum pag_series_field *out);

struct pag_sample {
    int64_t at_ms;
    uint32_t given;                                       /* bit f: number[f] was said */
    int64_t number[PAG_SERIES_NUMBERS];                   /* uptime and mqtt: unwrapped */
    char word[PAG_SERIES_WORDS][PAG_SERIES_WORD_MAX + 1]; /* [f - PAG_SERIES_NUMBERS]; "": not said */
};
static inline const char *pag_sample_word(const struct pag_sample *s, enum pag_series_field f)
{
    return s->word[f - PAG_SERIES_NUMBERS];
}

/*
 * A counter of milliseconds of 32 bits, which starts again after 49.7 days: its whole value, by the last
 * known whole value and the time that has passed since. *restarted: it began anew, so it is raw itself.
 * Clocks of devices may be wrong by a hundredth, and messages late by a minute.
 */
int64_t pag_series_unwrap(int64_t last, int64_t passed_ms, uint32_t raw, bool *restarted);

#endif
