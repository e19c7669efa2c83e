#ifndef PAG_SERVER_API_MQTT_TASMOTA_H
#define PAG_SERVER_API_MQTT_TASMOTA_H

#include <jansson.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "server/app/app.h"
#include "server/domain/broker_user.h"
#include "server/domain/tasmota.h"

/* What Tasmota says, and a product's settings for it. docs/spec/tasmota.md. No I/O but where said. */

enum { PAG_TASMOTA_BYTES_MAX = 4096, PAG_TASMOTA_TEXT_MAX = 200 };

/* {"fulltopic","otaurl"}, empty: the defaults. PAG_E_SYNTAX: it has a member that cannot be; *bad names it.
 */
enum pag_err pag_tasmota_settings_read(struct pag_span json, struct pag_tasmota_settings *out,
                                       const char **bad);

/*
 * The text of one member of a message, or of a member of its member object (NULL: none): cut to
 * PAG_TASMOTA_TEXT_MAX bytes of whole characters, control characters as blanks, "" when it is not there.
 * PAG_E_LIMIT, PAG_E_SYNTAX: no JSON object.
 */
enum pag_err pag_tasmota_text_read(struct pag_span payload, const char *object, const char *member,
                                   char out[PAG_TASMOTA_TEXT_MAX + 1]);

struct pag_tasmota_change {
    const char *product;                      /* hex id */
    const char *full_topic;                   /* its next one; NULL: stays */
    const struct pag_broker_account *account; /* its next user; NULL: none */
};
/*
 * Whether a user of the product could speak or listen on topics of another product's user then, or the other
 * way round: *user names that one, NULL: no. Reads the database, of all products.
 */
enum pag_err pag_head_tasmota_clash(struct pag_call *call, const struct pag_tasmota_change *change,
                                    const char **user);

#endif
