#include "server/domain/enrollment.h"

#include <string.h>

#include "core/bytes.h"

enum pag_err pag_claim_check(const struct pag_claim_code *c, const char *mac, int64_t now_ms)
{
    if (now_ms >= c->expires_ms) {
        return PAG_E_EXPIRED;
    }
    if (c->uses_left == 0) {
        return PAG_E_LIMIT;
    }
    return c->mac[0] != '\0' && (mac == NULL || strcmp(c->mac, mac) != 0) ? PAG_E_DENIED : PAG_OK;
}

enum pag_err pag_claim_device_id(struct pag_span mac, char out[PAG_DEVICE_ID_MAX + 1])
{
    char text[13];
    enum pag_err err = pag_mac_text(mac, text);
    if (err != PAG_OK) {
        return PAG_E_SYNTAX;
    }
    memcpy(out, text, sizeof text);
    return PAG_OK;
}

const char *pag_request_word(enum pag_request_state state)
{
    switch (state) {
    case PAG_REQUEST_WAITING:
        return "waiting";
    case PAG_REQUEST_APPROVED:
        return "approved";
    case PAG_REQUEST_DENIED:
        return "denied";
    }
    return "";
}
