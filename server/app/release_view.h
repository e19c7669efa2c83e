#ifndef PAG_SERVER_APP_RELEASE_VIEW_H
#define PAG_SERVER_APP_RELEASE_VIEW_H

#include "server/app/op.h"
#include "server/app/releases.h"

/* Of this room only. */
enum pag_err pag_release_show(struct pag_call *call, struct pag_db *db, const char *id,
                              struct pag_release_view *out);
/* Audit row and event of an operator's change of a release. */
enum pag_err pag_release_audit(struct pag_store_tx *tx, const struct pag_op *op, const struct pag_release *r,
                               const char *type);

#endif
