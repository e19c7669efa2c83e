#include "server/domain/command.h"

#include "core/bytes.h"

static const char *const states[] = { "queued", "sent", "done", "failed", "expired" };

const char *pag_command_state_word(enum pag_command_state s)
{
    return s <= PAG_COMMAND_EXPIRED ? states[s] : "queued";
}

static const struct {
    const char *word;
    enum pag_command_kind kind;
    uint16_t arg_min, arg_max;
    bool operators; /* may send it */
} kinds[] = {
    { "check", PAG_COMMAND_CHECK, 0, 0, true },
    { "reboot", PAG_COMMAND_REBOOT, 0, 0, true },
    { "identify", PAG_COMMAND_IDENTIFY, 0, 32, true },
    { "config", PAG_COMMAND_CONFIG, 1, PAG_COMMAND_ARG_MAX, true },
    { "cancel", PAG_COMMAND_CANCEL, 1, 10, false },
    { "app", PAG_COMMAND_APP, 0, PAG_COMMAND_ARG_MAX, true },
    /* signed ones: an argument is part of what is signed */
    { "reset", PAG_COMMAND_RESET, 0, 0, true },
    { "wipe", PAG_COMMAND_WIPE, 0, 0, true },
    { "re-enroll", PAG_COMMAND_REENROLL, 0, 0, true },
    /* of secureESP8266 alone */
    { "firmware", (enum pag_command_kind)PAG_WORD_FIRMWARE, 0, 0, true },
    { "flash", (enum pag_command_kind)PAG_WORD_FLASH, 0, 0, true },
    { "ca", (enum pag_command_kind)PAG_WORD_CA, 0, 0, true },
    { "cert", (enum pag_command_kind)PAG_WORD_CERT, 0, 0, true },
    { "key", (enum pag_command_kind)PAG_WORD_KEY, 0, 0, true },
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *pag_command_kind_word(enum pag_command_kind k)
{
    for (int i = 0; i < KINDS; i++) {
        if (kinds[i].kind == k) {
            return kinds[i].word;
        }
    }
    return "unknown";
}

unsigned pag_command_kind_by_word(struct pag_span word)
{
    for (int i = 0; i < KINDS; i++) {
        if (kinds[i].operators && pag_span_eq_str(word, kinds[i].word)) {
            return kinds[i].kind;
        }
    }
    return 0;
}

enum pag_command_state pag_command_state_at(const struct pag_command *c, int64_t now_ms)
{
    bool open = c->state == PAG_COMMAND_QUEUED || c->state == PAG_COMMAND_SENT;
    return open && now_ms >= c->expires_ms ? PAG_COMMAND_EXPIRED : c->state;
}

bool pag_command_due(const struct pag_command *c, int64_t now_ms)
{
    enum pag_command_state state = pag_command_state_at(c, now_ms);
    if (state != PAG_COMMAND_SENT) {
        return state == PAG_COMMAND_QUEUED;
    }
    bool worn = c->kind == PAG_COMMAND_REBOOT && c->tries >= PAG_COMMAND_REBOOTS_MAX;
    return !worn && now_ms - c->sent_ms >= PAG_COMMAND_AGAIN_MS;
}

enum pag_err pag_command_check(enum pag_command_kind kind, struct pag_span arg)
{
    for (int i = 0; i < KINDS; i++) {
        if (kinds[i].kind == kind) {
            return arg.n >= kinds[i].arg_min && arg.n <= kinds[i].arg_max ? PAG_OK : PAG_E_RANGE;
        }
    }
    return PAG_E_RANGE;
}
