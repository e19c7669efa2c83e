#ifndef PAG_SERVER_DOMAIN_MOUNT_H
#define PAG_SERVER_DOMAIN_MOUNT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/domain/product.h"

/*
 * A path on the device listeners that a product answers, so that a fleet which asks there already needs no
 * new address: docs/spec/legacy-http.md 1. Pure.
 */

enum pag_mount_kind {
    PAG_MOUNT_HTTPUPDATE = 0, /* ESP8266httpUpdate, ESP32 HTTPUpdate */
    PAG_MOUNT_TAG_EMONESP,    /* ?tag=, without a tag the version as text */
    PAG_MOUNT_TAG_SQUIX,      /* ?tag=, without a tag the image */
    PAG_MOUNT_FILES,          /* named files: esp_https_ota, Tasmota, ESPHome, ESP Web Tools */
    PAG_MOUNT_SECUREESP8266,
    PAG_MOUNT_KINDS,
};
const char *pag_mount_kind_word(enum pag_mount_kind k); /* "httpupdate", "tag-emonesp" … */
/* PAG_E_SYNTAX for an unknown word. */
enum pag_err pag_mount_kind_by_word(struct pag_span word, enum pag_mount_kind *out);

enum { PAG_MOUNT_PATH_MAX = 128, PAG_MOUNT_CONFIG_MAX = 1024, PAG_MOUNTS_MAX = 32 /* of a product */ };

/* Options of a mount. */
enum {
    PAG_MOUNT_NOT_MODIFIED =
        1, /* its clients understand 304 although they do not look like it (ESP-IDF 5.5+) */
    PAG_MOUNT_PLAIN_NAMES = 2, /* any file name that ends in .bin is the firmware */
};

struct pag_mount {
    char path[PAG_MOUNT_PATH_MAX + 1]; /* as it stands in request targets */
    char product[PAG_PRODUCT_HEX];
    enum pag_mount_kind kind;
    bool has_auth; /* auth counts instead of the product's legacy_auth */
    enum pag_legacy_auth auth;
    unsigned flags;
    const char *config; /* JSON object of the kind's own options, "" : none; at most PAG_MOUNT_CONFIG_MAX */
    int64_t created_ms;
};

/* "/" or "/a/b.php": no empty, "." or ".." segment, no '/' at the end, printable ASCII without space and
 * ?#%"\; and nothing below a path that the server itself answers (/v1, /update, /tag, /files,
 * /secureesp8266, /.well-known). PAG_E_SYNTAX, or PAG_E_CONFLICT for the latter. why (may be NULL): a
 * sentence. */
enum pag_err pag_mount_path_check(struct pag_span path, struct pag_fail *why);

/*
 * Whether path is the mount's own or below it, at whole segments. *rest: what follows, without the '/';
 * empty for the mount itself. A mount of kind files that names one file also answers for what is kept beside
 * it (".md5", ".sig", ".gz"): *rest is that ending then, with its dot.
 */
bool pag_mount_takes(const struct pag_mount *m, struct pag_span path, struct pag_span *rest);

#endif
