#include "server/domain/dialect.h"

#include <string.h>

#include "core/bytes.h"

static const struct pag_dialect_topic secureesp_topics[] = {
    { "/command/{id}/+", true, false },
    { "/status/{id}", false, false },
    { "/will/{id}", false, true },      /* what the sketch sets */
    { "/will/{id}/will", false, true }, /* what its README says */
};

const char *pag_dialect_word(enum pag_dialect d)
{
    switch (d) {
    case PAG_DIALECT_NONE:
        return "";
    case PAG_DIALECT_SECUREESP:
        return "secureesp8266";
    case PAG_DIALECT_TASMOTA:
        return "tasmota";
    }
    return "";
}

enum pag_dialect pag_dialect_by_word(struct pag_span word)
{
    for (int d = PAG_DIALECT_SECUREESP; d <= PAG_DIALECT_TASMOTA; d++) {
        if (pag_span_eq_str(word, pag_dialect_word((enum pag_dialect)d))) {
            return (enum pag_dialect)d;
        }
    }
    return PAG_DIALECT_NONE;
}

size_t pag_dialect_topics(enum pag_dialect d, const struct pag_dialect_topic **out)
{
    *out = secureesp_topics;
    return d == PAG_DIALECT_SECUREESP ? sizeof secureesp_topics / sizeof secureesp_topics[0] : 0;
}

const char *pag_dialect_command(enum pag_dialect d, enum pag_command_kind k)
{
    static const struct {
        int kind;
        const char *word;
    } words[] = {
        { PAG_COMMAND_CHECK, "firmware" }, { PAG_COMMAND_REBOOT, "reboot" }, { PAG_COMMAND_CONFIG, "config" },
        { PAG_WORD_FIRMWARE, "firmware" }, { PAG_WORD_FLASH, "flash" },      { PAG_WORD_CA, "ca" },
        { PAG_WORD_CERT, "cert" },         { PAG_WORD_KEY, "key" },
    };
    if (d == PAG_DIALECT_TASMOTA) {
        return k == PAG_COMMAND_CHECK    ? "Status"
               : k == PAG_COMMAND_REBOOT ? "Restart"
               : k == PAG_COMMAND_APP    ? ""
                                         : NULL;
    }
    for (size_t i = 0; d == PAG_DIALECT_SECUREESP && i < sizeof words / sizeof words[0]; i++) {
        if (words[i].kind == (int)k) {
            return words[i].word;
        }
    }
    return NULL;
}

void pag_secureesp_image(struct pag_span id, struct pag_span *name, struct pag_span *version)
{
    size_t at = id.n;
    while (at > 0 && id.p[at - 1] != '-') {
        at--;
    }
    *version = (struct pag_span){ id.p + at, id.n - at };
    *name = (struct pag_span){ id.p, at > 0 ? at - 1 : 0 };
}

/* ---- evidence ---- */

static bool said(const struct pag_sample *s, enum pag_series_field f)
{
    return (s->given & (1U << f)) != 0;
}

const char *pag_secureesp_message(const struct pag_sample *s)
{
    const char *message = pag_sample_word(s, PAG_SERIES_MESSAGE);
    return message[0] != '\0' ? message : pag_sample_word(s, PAG_SERIES_FLASH_MESSAGE);
}

static enum pag_evidence because(enum pag_evidence e, const char *sentence, char why[PAG_WHY_MAX + 1])
{
    (void)pag_text_copy(why, PAG_WHY_MAX + 1, pag_span_str(sentence));
    return e;
}

/* A command is stamped when the store has it, which may be after a fast device has obeyed. */
enum { STAMPED_MS = 500 };

/* Since when: both count from a moment that the message itself tells. */
static bool began_after(const struct pag_sample *s, enum pag_series_field f, int64_t sent_ms)
{
    return said(s, f) && s->at_ms - s->number[f] > sent_ms - STAMPED_MS;
}

/* A message may have been on its way when the command was sent. */
enum { ON_ITS_WAY_MS = 1000, ASKS_WITHIN_MS = 5000 };

/* It leaves the broker to fetch, and comes back. */
static enum pag_evidence of_fetch(const struct pag_command *c, const struct pag_sample *s,
                                  char why[PAG_WHY_MAX + 1])
{
    bool back = began_after(s, PAG_SERIES_MQTT, c->sent_ms);
    if (c->code == PAG_FETCH_OK || c->code == PAG_FETCH_CURRENT) {
        return back ? PAG_EVIDENCE_DONE : PAG_EVIDENCE_NONE;
    }
    if (c->code == PAG_FETCH_SHORT || c->code == PAG_FETCH_BUSY) {
        const char *what = c->code == PAG_FETCH_SHORT ? "the transfer was cut short" : "the server was busy";
        return back ? because(PAG_EVIDENCE_LOST, what, why) : PAG_EVIDENCE_NONE;
    }
    const char *message = pag_secureesp_message(s);
    if (message[0] != '\0' && s->at_ms - c->sent_ms >= ON_ITS_WAY_MS) {
        return because(PAG_EVIDENCE_FAILED, message, why);
    }
    if (back && s->at_ms - c->sent_ms >= ASKS_WITHIN_MS) {
        return because(PAG_EVIDENCE_LOST, "it has reconnected without having asked for the file", why);
    }
    return PAG_EVIDENCE_NONE;
}

enum pag_evidence pag_secureesp_evidence(const struct pag_command *c, const struct pag_sample *s,
                                         char why[PAG_WHY_MAX + 1])
{
    const char *message = pag_secureesp_message(s);
    enum pag_evidence e = PAG_EVIDENCE_NONE;
    why[0] = '\0';
    if (c->kind == PAG_COMMAND_REBOOT) {
        e = began_after(s, PAG_SERIES_UPTIME, c->sent_ms) ? PAG_EVIDENCE_DONE : PAG_EVIDENCE_NONE;
    } else if ((int)c->kind == PAG_WORD_FLASH) {
        if (s->at_ms - c->sent_ms >= ON_ITS_WAY_MS) { /* it says nothing while it writes */
            e = message[0] != '\0' ? because(PAG_EVIDENCE_FAILED, message, why) : PAG_EVIDENCE_DONE;
        }
    } else {
        e = of_fetch(c, s, why);
    }
    if (e == PAG_EVIDENCE_NONE && s->at_ms - c->sent_ms >= PAG_SECUREESP_SILENCE_MS) {
        e = because(PAG_EVIDENCE_LOST, "no sign of it for two minutes", why);
    }
    return e;
}

static const struct {
    const char *part, *advice;
} known[] = {
    { "certificate doesn't match",
      "The server's certificate does not chain to the device's ca.der, or does not carry the host name "
      "of "
      "its config.json: pagurus doctor shows the names; config.json must use one of them." },
    { "ERROR[12]", "The image is not signed with the key that the running firmware carries: sign it with "
                   "that key, and bring the new key in a release of its own first." },
    { "ERROR[4]", "The image does not fit into the free sketch space: make it smaller, or change the "
                  "flash layout by cable." },
    { "ERROR[5]", "The file is larger than announced or was cut: it is fetched again." },
    { "ERROR[7]", "The file was damaged on its way to the device: it is fetched again." },
    { "ERROR[8]", "The flash chip is smaller than the running firmware says: build for its real size." },
    { "ERROR[9]", "The image was built for a larger flash chip: build it for this board." },
    { "ERROR[10]", "This is no image for an ESP8266: publish the .bin (or .bin.signed) of this board." },
    { "ERROR[11]", "The device was flashed by cable and not reset since: press reset once." },
};

static bool holds(struct pag_span text, struct pag_span part)
{
    for (size_t at = 0; at + part.n <= text.n; at++) {
        if (memcmp(text.p + at, part.p, part.n) == 0) {
            return true;
        }
    }
    return false;
}

const char *pag_secureesp_advice(const char *message)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (holds(pag_span_str(message), pag_span_str(known[i].part))) {
            return known[i].advice;
        }
    }
    return "";
}

/* ---- an update ---- */

enum pag_step pag_secureesp_step(const struct pag_action *open, uint32_t asked)
{
    if (open->state == PAG_REPORT_DOWNLOADED) {
        return PAG_STEP_FLASH;
    }
    if (open->state == PAG_REPORT_INSTALLING) {
        return PAG_STEP_REBOOT;
    }
    if (open->state == PAG_REPORT_REBOOTING || pag_action_final(open->state)) {
        return PAG_STEP_WAIT;
    }
    return asked < PAG_SECUREESP_TRIES_MAX ? PAG_STEP_FIRMWARE : PAG_STEP_GIVE_UP;
}

enum pag_report_state pag_secureesp_reached(enum pag_command_kind k, enum pag_report_state now)
{
    if ((int)k == PAG_WORD_FLASH && now == PAG_REPORT_DOWNLOADED) {
        return PAG_REPORT_INSTALLING;
    }
    return k == PAG_COMMAND_REBOOT && now == PAG_REPORT_INSTALLING ? PAG_REPORT_REBOOTING : now;
}
