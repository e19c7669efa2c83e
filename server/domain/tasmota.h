#ifndef PAG_SERVER_DOMAIN_TASMOTA_H
#define PAG_SERVER_DOMAIN_TASMOTA_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/* Tasmota over MQTT: its topics, and what its answers mean. docs/spec/tasmota.md. Pure. */

enum {
    PAG_TASMOTA_FULL_TOPIC_MAX = 100,
    PAG_TASMOTA_NAME_MAX = 32, /* %topic% */
    PAG_TASMOTA_URL_MAX = 199, /* what the device can hold */
    PAG_TASMOTA_TOPIC_MAX = 256
};

struct pag_tasmota_settings {                        /* of a product */
    char full_topic[PAG_TASMOTA_FULL_TOPIC_MAX + 1]; /* "%prefix%/%topic%/" */
    char ota_url[PAG_TASMOTA_URL_MAX + 1];           /* "": the device's own is left as it is */
};

/* %prefix% and %topic% once each and %id% at most once, as whole levels; ends with '/'; printable ASCII
 * without blanks, wildcards and other '%'; not below "$", "pg/" or "tasmota/". */
bool pag_tasmota_full_topic_ok(struct pag_span text);
/* http:// or https://, at most 199 printable characters; of '%' only "%d" and "%04d", as the device uses it
 * as a format. */
bool pag_tasmota_url_ok(struct pag_span text);
/* %topic%: [0-9A-Za-z_-]{1,32}. */
bool pag_tasmota_name_ok(struct pag_span text);
/* What a device calls itself unless told otherwise: "tasmota_" and the last six digits of its MAC in upper
 * case. mac: 12 lower-case digits. */
void pag_tasmota_name_of(const char *mac, char out[PAG_TASMOTA_NAME_MAX + 1]);

enum pag_tasmota_prefix { PAG_TASMOTA_CMND, PAG_TASMOTA_STAT, PAG_TASMOTA_TELE, PAG_TASMOTA_PREFIXES };

/* prefix, name and leaf in place; id is the MAC ("" where there is no %id%), name and id may be "+" and leaf
 * "#" for a filter. NUL-terminated. PAG_E_SPACE. */
struct pag_tasmota_place {
    enum pag_tasmota_prefix prefix;
    const char *name, *id, *leaf;
};
enum pag_err pag_tasmota_topic_put(struct pag_span full_topic, const struct pag_tasmota_place *at,
                                   char out[PAG_TASMOTA_TOPIC_MAX]);

struct pag_tasmota_topic {
    enum pag_tasmota_prefix prefix;
    struct pag_span name; /* pag_tasmota_name_ok */
    struct pag_span leaf; /* not empty */
};
/* False: not of this template. The spans point into topic. */
bool pag_tasmota_topic_match(struct pag_span full_topic, struct pag_span topic,
                             struct pag_tasmota_topic *out);
/* "tasmota/discovery/5CCF7F123456/config": mac in lower case; leaf "config" or "sensors". */
bool pag_tasmota_discovery_match(struct pag_span topic, char mac[13], struct pag_span *leaf);

/* "13.4.0(tasmota)": version before the bracket, variant in it (empty: none). A stand-in holds the place
 * until the real one is fetched: minimal and safeboot. */
struct pag_tasmota_version {
    struct pag_span version, variant;
    bool stand_in;
};
void pag_tasmota_version_read(struct pag_span text, struct pag_tasmota_version *out);

/* What "Upgrade" says. */
enum pag_tasmota_upgrade {
    PAG_TASMOTA_UPGRADE_NONE,    /* nothing about an update */
    PAG_TASMOTA_UPGRADE_BEGUN,   /* "Version 13.4.0 from http://…" */
    PAG_TASMOTA_UPGRADE_DONE,    /* "Successful. Restarting" */
    PAG_TASMOTA_UPGRADE_FAILED,  /* "Failed …" */
    PAG_TASMOTA_UPGRADE_REFUSED, /* "1 or >13.4.0 to upgrade": it did not take the word */
};
enum pag_tasmota_upgrade pag_tasmota_upgrade_read(struct pag_span text);

#endif
