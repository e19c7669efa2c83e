#include "server/domain/access.h"

#include <string.h>

#include "core/bytes.h"

static const char *const roles[] = { "none", "viewer", "operator", "releaser", "admin" };

const char *pag_role_word(enum pag_role role)
{
    return role <= PAG_ROLE_ADMIN ? roles[role] : "none";
}

enum pag_role pag_role_by_word(struct pag_span word)
{
    for (int i = PAG_ROLE_VIEWER; i <= PAG_ROLE_ADMIN; i++) {
        if (pag_span_eq_str(word, roles[i])) {
            return (enum pag_role)i;
        }
    }
    return PAG_ROLE_NONE;
}

bool pag_scope_sees(const struct pag_scope *scope, const char *product)
{
    return scope->product == NULL || scope->product[0] == '\0' || strcmp(scope->product, product) == 0;
}

enum pag_err pag_access_token_check(const struct pag_access_token *t, int64_t now_ms)
{
    if (t->revoked_ms != 0) {
        return PAG_E_DENIED;
    }
    return t->expires_ms != 0 && now_ms >= t->expires_ms ? PAG_E_EXPIRED : PAG_OK;
}
