#ifndef PAG_SERVER_API_SECUREESP_CONFIG_H
#define PAG_SERVER_API_SECUREESP_CONFIG_H

#include <jansson.h>

#include "server/api/rest/fields.h"
#include "server/app/dialect.h"

/*
 * The settings of a product or device with the dialect secureesp8266, one flat JSON object, and the
 * config.json that is made of them: docs/spec/secureesp8266.md 3. No I/O.
 */

enum {
    PAG_SECUREESP_CONFIG_MAX = 699, /* the sketch reads it into 1024 bytes with its tree */
    PAG_SECUREESP_WIFI_MAX = 3,
    PAG_SECUREESP_SETTINGS_MAX = 4096
};

/* Where the answer is asked for and served from, for what nobody has set. */
struct pag_secureesp_place {
    const char *server; /* host name by which the device came here */
    uint32_t port;
    struct pag_span path;    /* of the mount: "/fw" */
    const char *mqtt_server; /* "": as server */
    uint32_t mqtt_port;
    bool url; /* for 00.00.08.f: updateserverurl too */
};

/* Checks a patch of settings (null takes one back) for a product, or for a device, which has fewer. */
bool pag_secureesp_config_check(struct pag_arena *arena, json_t *patch, bool device,
                                struct pag_problem *problem);
/* into gets what patch says. */
void pag_secureesp_config_merge(json_t *into, json_t *patch);
/* Stored text back to JSON: {} for an empty or unreadable one. New reference. */
json_t *pag_secureesp_config_load(struct pag_span text);
/* What is for people: passwords are not shown. New reference. */
json_t *pag_secureesp_config_show(const json_t *settings);
/* The members that concern the server itself. */
void pag_secureesp_config_server(const json_t *settings, struct pag_dialect_settings *out);
bool pag_secureesp_config_der(const json_t *settings);
const char *pag_secureesp_config_board(const json_t *settings); /* "": any */

/* config.json: every key that the sketch reads, in its order. device goes over product, either may be NULL.
 * PAG_E_LIMIT: longer than PAG_SECUREESP_CONFIG_MAX, *out is set all the same. */
enum pag_err pag_secureesp_config_render(struct pag_arena *arena, const json_t *product, const json_t *device,
                                         const struct pag_secureesp_place *place, struct pag_span *out);

#endif
