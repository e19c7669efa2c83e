#ifndef PAG_SERVER_LOCK_H
#define PAG_SERVER_LOCK_H

#include <pagurus/errors.h>

/*
 * One daemon a data folder: an flock on <data>/run/pid, which also holds the process id. The kernel drops the
 * lock when the process ends, however it ends.
 */

/* *fd is kept open for as long as the lock is wanted. PAG_E_EXISTS: held; *holder is the other's id (0:
 * unknown). PAG_E_IO with why->detail errno. */
enum pag_err pag_lock_take(const char *data, int *fd, int *holder, struct pag_fail *why);
void pag_lock_drop(const char *data, int fd); /* removes the file */

#endif
