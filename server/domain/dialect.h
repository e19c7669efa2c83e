#ifndef PAG_SERVER_DOMAIN_DIALECT_H
#define PAG_SERVER_DOMAIN_DIALECT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/command.h"
#include "server/domain/history.h"
#include "server/domain/series.h"

/*
 * How a product's devices are spoken to when they do not speak ours. secureESP8266: topics by MAC, one
 * command at a time, and a firmware that is fetched, flashed and started by three of them.
 * docs/spec/secureesp8266.md. Pure.
 */

enum pag_dialect { PAG_DIALECT_NONE = 0, PAG_DIALECT_SECUREESP, PAG_DIALECT_TASMOTA };
const char *pag_dialect_word(enum pag_dialect d);           /* "secureesp8266", "tasmota"; NONE: "" */
enum pag_dialect pag_dialect_by_word(struct pag_span word); /* NONE: no such word */

/* Topics of a dialect besides a product's own: what the server listens to, and what its devices may do. */
struct pag_dialect_topic {
    const char *pattern; /* {id} as one whole level; "+" and "#" where devices read */
    bool device_reads;   /* else it writes */
    bool will;           /* written when it goes: any payload means offline */
};
size_t pag_dialect_topics(enum pag_dialect d, const struct pag_dialect_topic **out);

/* What a device of a product is made of, apart from what only its protocol's head reads. */
enum pag_device_key_kind { PAG_DEVICE_KEY_P256 = 0, PAG_DEVICE_KEY_RSA2048 };
enum {
    PAG_SERIES_DAYS_DEFAULT = 30,
    PAG_SERIES_DAYS_MAX = 3650,
    PAG_SERIES_ROWS_DEFAULT = 20000,
    PAG_SERIES_ROWS_MAX = 1000000
};

/* The last level of the command's topic; NULL: this dialect has none for it; "": the argument says it. */
const char *pag_dialect_command(enum pag_dialect d, enum pag_command_kind k);

/* "NAME-00.00.08.g": what follows the last '-'; the name before it. Without a '-' all is the version. */
void pag_secureesp_image(struct pag_span id, struct pag_span *name, struct pag_span *version);

/* ---- evidence: these devices acknowledge nothing ---- */

/* What a fetch over HTTPS left on its command, in code: 0 none yet. */
enum {
    PAG_FETCH_NONE = 0,
    PAG_FETCH_OK = 200,
    PAG_FETCH_SHORT = 206,
    PAG_FETCH_CURRENT = 304,
    PAG_FETCH_BUSY = 503
};

enum pag_evidence {
    PAG_EVIDENCE_NONE, /* it may still be at it */
    PAG_EVIDENCE_DONE,
    PAG_EVIDENCE_FAILED,
    PAG_EVIDENCE_LOST, /* no sign of it: once more */
};
enum { PAG_SECUREESP_TRIES_MAX = 4, PAG_SECUREESP_SILENCE_MS = 120000 };
/*
 * What a status message says about a command that was sent: c with its code as above, s as stored (s->at_ms:
 * when it came). why: a sentence for people, "" for NONE and DONE; PAG_WHY_MAX + 1 bytes.
 */
enum pag_evidence pag_secureesp_evidence(const struct pag_command *c, const struct pag_sample *s,
                                         char why[PAG_WHY_MAX + 1]);

/* The device's own words for what went wrong, "" when nothing did. */
const char *pag_secureesp_message(const struct pag_sample *s);
/* What to do about them; "" when that is not known. A literal. */
const char *pag_secureesp_advice(const char *message);

/* ---- an update in three commands ---- */

enum pag_step { PAG_STEP_WAIT, PAG_STEP_FIRMWARE, PAG_STEP_FLASH, PAG_STEP_REBOOT, PAG_STEP_GIVE_UP };
/* open: the device's action, not final; asked: firmware commands of this action so far that came to nothing.
 */
enum pag_step pag_secureesp_step(const struct pag_action *open, uint32_t asked);
/* Where the action is when that command has come to its end. */
enum pag_report_state pag_secureesp_reached(enum pag_command_kind k, enum pag_report_state now);

#endif
