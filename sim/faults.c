#include <string.h>

#include "core/bytes.h"
#include "sim/options.h"

static const char *const words[PAG_SIM_FAULT_COUNT] = {
    [PAG_SIM_FAULT_NONE] = "none",       [PAG_SIM_POWER_CUT] = "power-cut", [PAG_SIM_CORRUPT] = "corrupt",
    [PAG_SIM_CRASH] = "crash",           [PAG_SIM_FOREIGN] = "foreign",     [PAG_SIM_UNTRUSTED] = "untrusted",
    [PAG_SIM_WRONG_CHIP] = "wrong-chip", [PAG_SIM_AHEAD] = "ahead",         [PAG_SIM_LOOP] = "loop",
    [PAG_SIM_FLIP] = "corrupt-image",    [PAG_SIM_CLOCK] = "clock",         [PAG_SIM_FULL] = "full",
    [PAG_SIM_LINK_LOSS] = "link-loss",   [PAG_SIM_EBOOT_CUT] = "eboot-cut",
};

const char *pag_sim_fault_word(enum pag_sim_fault fault)
{
    return words[fault];
}

/* A number, or a share of all. */
static enum pag_err parse_count(struct pag_span number, uint32_t all, uint32_t *out)
{
    const bool share = number.n > 0 && number.p[number.n - 1] == '%';
    uint32_t n = 0;
    number.n -= share ? 1 : 0;
    if (pag_parse_u32(number, &n) != PAG_OK || (share && n > 100)) {
        return PAG_E_SYNTAX;
    }
    if (share) {
        const uint32_t part = (uint32_t)((uint64_t)all * n / 100);
        n = n > 0 && part == 0 ? 1 : part;
    }
    *out = n;
    return PAG_OK;
}

static enum pag_err parse_one(struct pag_span item, uint32_t natives, uint32_t legacy,
                              uint32_t fault[PAG_SIM_FAULT_COUNT])
{
    const size_t eq = pag_span_find(item, 0, '=');
    if (eq == item.n || eq + 1 == item.n) {
        return PAG_E_SYNTAX;
    }
    for (int f = PAG_SIM_FAULT_NONE + 1; f < PAG_SIM_FAULT_COUNT; f++) {
        if (pag_span_eq_str(pag_span_of(item.p, eq), words[f])) {
            return parse_count(pag_span_of(item.p + eq + 1, item.n - eq - 1),
                               f >= PAG_SIM_LOOP ? legacy : natives, &fault[f]);
        }
    }
    return PAG_E_NOT_FOUND;
}

enum pag_err pag_sim_faults_parse(const char *text, uint32_t natives, uint32_t legacy,
                                  uint32_t fault[PAG_SIM_FAULT_COUNT])
{
    const struct pag_span all = pag_span_str(text);
    for (size_t at = 0; at < all.n;) {
        const size_t end = pag_span_find(all, at, ',');
        const enum pag_err err = parse_one(pag_span_of(all.p + at, end - at), natives, legacy, fault);
        if (err != PAG_OK) {
            return err;
        }
        at = end + 1;
    }
    uint64_t sum = 0;
    for (int f = PAG_SIM_FAULT_NONE + 1; f < PAG_SIM_LOOP; f++) {
        sum += fault[f];
    }
    uint64_t clients = 0;
    for (int f = PAG_SIM_LOOP; f < PAG_SIM_FAULT_COUNT; f++) {
        clients += fault[f];
    }
    return sum <= natives && clients <= legacy ? PAG_OK : PAG_E_RANGE;
}

enum pag_sim_fault pag_sim_fault_of(const uint32_t fault[PAG_SIM_FAULT_COUNT], uint32_t i)
{
    for (int f = PAG_SIM_FAULT_NONE + 1; f < PAG_SIM_LOOP; f++) {
        if (i < fault[f]) {
            return (enum pag_sim_fault)f;
        }
        i -= fault[f];
    }
    return PAG_SIM_FAULT_NONE;
}

bool pag_sim_fault_fits(enum pag_sim_fault fault, const struct pag_sim_personality *who, bool plain)
{
    const bool update = who->family == PAG_SIM_F_UPDATE || who->family == PAG_SIM_F_TAG;
    switch (fault) {
    case PAG_SIM_LOOP:
    case PAG_SIM_FULL:
        return update;
    case PAG_SIM_CLOCK:
        return !plain && !who->blind && who->family != PAG_SIM_F_WEBTOOLS;
    case PAG_SIM_FLIP:
        return who->family == PAG_SIM_F_DETACHED || who->family == PAG_SIM_F_SECUREESP;
    case PAG_SIM_LINK_LOSS:
        return who->family != PAG_SIM_F_NATIVE;
    case PAG_SIM_EBOOT_CUT:
        return !who->esp32 && who->family != PAG_SIM_F_WEBTOOLS && who->family != PAG_SIM_F_NATIVE;
    case PAG_SIM_FAULT_NONE:
    case PAG_SIM_POWER_CUT:
    case PAG_SIM_CORRUPT:
    case PAG_SIM_CRASH:
    case PAG_SIM_FOREIGN:
    case PAG_SIM_UNTRUSTED:
    case PAG_SIM_WRONG_CHIP:
    case PAG_SIM_AHEAD:
        return who->family == PAG_SIM_F_NATIVE;
    case PAG_SIM_FAULT_COUNT:
        break;
    }
    return false;
}
