#ifndef PAG_SERVER_DOMAIN_ACCESS_H
#define PAG_SERVER_DOMAIN_ACCESS_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* Who may do what. Pure. Roles of docs/spec/rest.md, each holding the ones before. */

enum {
    PAG_PRODUCT_HEX = 17, /* 16 hex digits of the product id and NUL */
    PAG_NAME_MAX = 64,
    PAG_ID_TEXT = 40, /* "rel_" and hex, or a device id's prefix */
    PAG_ACTOR_MAX = 80,
};

enum pag_role { PAG_ROLE_NONE = 0, PAG_ROLE_VIEWER, PAG_ROLE_OPERATOR, PAG_ROLE_RELEASER, PAG_ROLE_ADMIN };

const char *pag_role_word(enum pag_role role); /* "viewer" …, "none" */
enum pag_role pag_role_by_word(struct pag_span word);
static inline bool pag_role_holds(enum pag_role has, enum pag_role needs)
{
    return has >= needs;
}

/* In whose name, and within what, a use-case runs. Texts live as long as the call. */
struct pag_scope {
    uint32_t tenant;     /* 0 until there are several */
    const char *product; /* hex product id; "" or NULL: all products */
    const char *actor;   /* "token:ci", "device:aabbcc…", "system" */
    enum pag_role role;  /* NONE for devices */
};

/* True when something of that product (hex id) is inside the scope. */
bool pag_scope_sees(const struct pag_scope *scope, const char *product);

struct pag_access_token { /* row; the secret is not in it */
    char id[13];
    char name[PAG_NAME_MAX + 1];
    enum pag_role role;
    char product[PAG_PRODUCT_HEX]; /* "" : all */
    uint8_t sha256[PAG_SHA256_BYTES];
    int64_t created_ms, expires_ms; /* 0: never */
    int64_t last_used_ms;
    int64_t revoked_ms;
};

/* PAG_OK, PAG_E_EXPIRED, or PAG_E_DENIED when revoked. */
enum pag_err pag_access_token_check(const struct pag_access_token *t, int64_t now_ms);

#endif
