#ifndef PAG_SERVER_ROLL_H
#define PAG_SERVER_ROLL_H

#include "server/init.h"

/*
 * An authority is followed by another without a device noticing. The root's key stays away from the server:
 *
 *     begin   a key is made here (ca/<kind>-ca.next.key) and asked for (a PKCS#10)
 *     take    what the root's owner has signed for it is looked at and kept (ca/<kind>-ca.next.pem)
 *     settle  it takes the other's place. Devices: the old one goes to ca/device-ca.old.*, both are trusted
 * and both sign revocation lists until it is retired; the daemon's own certificate is made anew. Server: its
 * certificates are made anew; clients trust the root and notice nothing retire  the old device authority is
 * trusted no more and removed
 *
 * settle can be broken off anywhere and is called again at the next start. PAG_CA_DEVICE and PAG_CA_SERVER.
 */

/* PEM of the request; appended. PAG_E_CONFLICT: the last roll-over of devices is not over. */
enum pag_err pag_roll_begin(const struct pag_paths *paths, enum pag_ca_kind kind, struct pag_buf *csr,
                            struct pag_fail *why);
/* pem: the certificate. PAG_E_NOT_FOUND: nothing was begun; errors of pag_ca_issuing_check. */
enum pag_err pag_roll_take(const struct pag_paths *paths, enum pag_ca_kind kind, struct pag_span pem,
                           uint64_t now, struct pag_fail *why);
/* names, server_s: as for pag_init_renew_server. *changed: something was. */
enum pag_err pag_roll_settle(const struct pag_paths *paths, const char *names, uint64_t now,
                             uint64_t server_s, bool *changed, struct pag_fail *why);
bool pag_roll_overlaps(const struct pag_paths *paths); /* two device authorities are in force */
/* PAG_E_NOT_FOUND: there is none to retire. */
enum pag_err pag_roll_retire(const struct pag_paths *paths, uint64_t now, struct pag_fail *why);

#endif
