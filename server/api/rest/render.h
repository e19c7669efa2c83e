#ifndef PAG_SERVER_API_REST_RENDER_H
#define PAG_SERVER_API_REST_RENDER_H

#include <jansson.h>

#include "server/domain/access.h"
#include "server/domain/command.h"
#include "server/domain/device.h"
#include "server/domain/enrollment.h"
#include "server/domain/event.h"
#include "server/domain/history.h"
#include "server/domain/product.h"
#include "server/domain/release.h"

/*
 * Rows as the JSON of docs/spec/rest.md. Every function gives a new reference, or NULL without memory.
 * product: the product's name (rows hold its hex id); NULL gives null.
 */

json_t *pag_render_product(const struct pag_product *p);
json_t *pag_render_image(const struct pag_release_image *i);
json_t *pag_render_release(const struct pag_release *r, const char *product);
json_t *pag_render_command(const struct pag_command *c, int64_t now_ms);
json_t *pag_render_event(const struct pag_event *e, const char *product);
/* code: the secret, shown once; NULL: not shown. */
json_t *pag_render_claim(const struct pag_claim_code *c, const char *product, const char *code);
json_t *pag_render_access_token(const struct pag_access_token *t, const char *product, const char *secret);

/* What a device's view is made of; pointers may be NULL where said. */
struct pag_render_device {
    const struct pag_device *device;
    const char *product;
    uint32_t running_sequence;
    const char *wanted_version;           /* NULL: nothing newer */
    const char *wanted_release;           /* NULL with wanted_version */
    const struct pag_action *action;      /* open or last; NULL: none */
    const struct pag_device_image *image; /* history; blocked ones are shown */
    size_t image_n;
};
json_t *pag_render_device(const struct pag_render_device *v);

/* {"items":[…],"next_cursor":…,"total":{…}}: takes items. cursor NULL: the last page. */
json_t *pag_render_list(json_t *items, const char *cursor, uint64_t total);

#endif
