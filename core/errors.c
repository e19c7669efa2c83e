#include <stddef.h>

#include <pagurus/errors.h>

/* In brackets: PAG_NO_WHY makes a macro of the name. */
enum pag_err(pag_fail_set)(struct pag_fail *why, enum pag_err code, const char *what, uint64_t detail)
{
    if (why != NULL) {
        why->code = code;
        why->what = what;
        why->detail = detail;
    }
    return code;
}

const char *pag_err_word(enum pag_err code)
{
    /* index = -code; the words are stored and compared by operators' scripts: never reworded */
    static const char *const words[] = {
        "ok",      "short",           "range",     "space",     "syntax",
        "magic",   "checksum",        "digest",    "signature", "unsupported",
        "product", "hardware",        "rollback",  "expired",   "stale",
        "blocked", "condition",       "not_found", "exists",    "conflict",
        "denied",  "unauthenticated", "limit",     "busy",      "again",
        "closed",  "timeout",         "io",        "no_memory", "tls",
        "config",  "internal",
    };
    _Static_assert(sizeof words / sizeof words[0] == 1 - (int)PAG_E_INTERNAL, "one word per error");
    int at = -(int)code;
    if (at < 0 || at >= (int)(sizeof words / sizeof words[0])) {
        return "unknown";
    }
    return words[at];
}
