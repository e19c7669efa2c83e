#ifndef PAG_SERVER_APP_MOUNTS_H
#define PAG_SERVER_APP_MOUNTS_H

#include "server/app/app.h"
#include "server/domain/mount.h"

/* Paths of the device listeners that belong to products. */

/* Of one product (name or id). PAG_E_NOT_FOUND. */
enum pag_err pag_app_mounts(struct pag_call *call, const char *product, struct pag_mount **list, size_t *n);

struct pag_mount_in {
    const char *product;    /* name or id */
    struct pag_mount mount; /* path, kind, auth, flags, config; the rest is filled in */
};
/* *out: as kept; the same again: PAG_OK. PAG_E_EXISTS "mount-exists" (another product has it, or it
 * lies below a path of a product that the call does not see),
 * "invalid-field" for a path that cannot be one. */
void pag_app_mount_add(struct pag_call *call, const struct pag_mount_in *in, struct pag_mount *out);
/* PAG_E_NOT_FOUND: this product has no such path. */
void pag_app_mount_remove(struct pag_call *call, const char *product, const char *path);

/* ---- on a network thread: memory only ---- */

struct pag_mount_found {
    const char *product;    /* name, in call->arena */
    struct pag_mount mount; /* config in call->arena */
    struct pag_span rest;   /* into path */
    bool plain_http;        /* its owner has switched plain HTTP on */
};
/* By path as sent. PAG_E_NOT_FOUND, PAG_E_NO_MEMORY. */
enum pag_err pag_app_mount_find(struct pag_call *call, struct pag_span path, struct pag_mount_found *out);
/* What stands without configuration below /update, /tag, /files, /secureesp8266: this product (name or id) as
 * that kind. out->rest is left alone. */
enum pag_err pag_app_mount_default(struct pag_call *call, struct pag_span product, enum pag_mount_kind kind,
                                   struct pag_mount_found *out);

#endif
