#ifndef PAG_SERVER_DOMAIN_PRODUCT_H
#define PAG_SERVER_DOMAIN_PRODUCT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/access.h"

enum pag_legacy_auth { PAG_LEGACY_CERTIFICATE = 0, PAG_LEGACY_TOKEN, PAG_LEGACY_NONE };
const char *pag_legacy_auth_word(enum pag_legacy_auth a);
/* PAG_E_SYNTAX for an unknown word. */
enum pag_err pag_legacy_auth_by_word(struct pag_span word, enum pag_legacy_auth *out);

enum {
    PAG_PRODUCT_HARDWARE_MAX = 8,
    PAG_TEMPLATE_MAX = 128,
    PAG_TEMPLATES_MAX = 64 /* different ones, of all products together: subscriptions and access rules */
};

/* Versions of the Arduino core compare as numbers. */
#define PAG_CORE(major, minor, patch) ((uint32_t)((major)*10000U + (minor)*100U + (patch)))
/* "2.7.4", also "2.7". PAG_E_SYNTAX; PAG_E_RANGE beyond 99.99.99. */
enum pag_err pag_core_read(struct pag_span text, uint32_t *core);
/* "2.7.4", NUL-terminated; "" for 0. */
enum { PAG_CORE_TEXT = 12 };
void pag_core_text(uint32_t core, char out[PAG_CORE_TEXT]);

struct pag_product_settings {
    uint32_t poll_s; /* 10 .. 604800 */
    enum pag_legacy_auth legacy_auth;
    bool plain_http;
    uint32_t max_serves; /* 1 .. 100 */
    uint32_t core;       /* Arduino core of what its devices run, where an image does not say; 0: not said */
    char topic_command[PAG_TEMPLATE_MAX];
    char topic_status[PAG_TEMPLATE_MAX];
    char topic_will[PAG_TEMPLATE_MAX];
};
void pag_product_settings_default(struct pag_product_settings *out);

struct pag_product {
    char id[PAG_PRODUCT_HEX]; /* hex part of "prd_…" */
    uint8_t id_bytes[PAG_PRODUCT_ID_BYTES];
    char name[PAG_VERSION_MAX + 1]; /* [a-z0-9-]{1,32} */
    enum pag_chip chip;
    uint8_t hardware_n;
    char hardware[PAG_PRODUCT_HARDWARE_MAX][PAG_HARDWARE_ID_MAX + 1];
    uint32_t flash_bytes; /* 0: not said */
    uint32_t slot_bytes;  /* 0: not said */
    struct pag_product_settings settings;
    uint32_t trust_version; /* newest trust set, 0: none */
    int64_t created_ms;
    uint32_t revision; /* rises with every change */
};

/* First thing wrong with a product or its settings: PAG_E_SYNTAX or PAG_E_RANGE, why->what says which member.
 */
enum pag_err pag_product_check(const struct pag_product *p, struct pag_fail *why);
bool pag_product_name_ok(struct pag_span name);
bool pag_product_has_hardware(const struct pag_product *p, struct pag_span hardware);
/* "home/{id}/state": {id} is one whole level, exactly once; printable ASCII without spaces, no wildcard; not
 * the broker's own ("$") nor ours ("pg/"). Empty is fine. */
bool pag_product_template_ok(struct pag_span tmpl);
/* The different templates of these products, at most max; more than max: max + 1. */
size_t pag_product_templates(const struct pag_product *list, size_t n, const char **text, size_t max);

#endif
