#ifndef PAG_HOST_FS_H
#define PAG_HOST_FS_H

#include <stdbool.h>
#include <stdint.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Files that survive a crash, and paths that stay where they belong. why->detail is errno where the system
 * said no. Thread-safe.
 */

/*
 * Reads a whole regular file of at most max bytes. out->p is allocated, out->p[out->n] is 0 (not counted);
 * release with pag_fs_buf_free. PAG_E_NOT_FOUND, PAG_E_LIMIT (longer than max), PAG_E_IO, PAG_E_NO_MEMORY.
 */
enum pag_err pag_fs_read(const char *path, size_t max, struct pag_buf *out, struct pag_fail *why);
/* Wipes and releases what pag_fs_read gave; {NULL,0,0} is fine. */
void pag_fs_buf_free(struct pag_buf *buf);

/*
 * Replaces path by data in one step: temporary file in the same folder with mode, fsync, rename, fsync of the
 * folder. After PAG_OK it survives power loss; on an error the old content is untouched. PAG_E_SPACE when the
 * disk is full, PAG_E_IO.
 */
enum pag_err pag_fs_write(const char *path, struct pag_span data, uint32_t mode, struct pag_fail *why);

/* Makes the folder and its missing parents with mode; PAG_OK when it exists. PAG_E_EXISTS: not a folder. */
enum pag_err pag_fs_mkdirs(const char *path, uint32_t mode, struct pag_fail *why);

bool pag_fs_exists(const char *path); /* anything of that name, dangling links included */
/* Removes a file; PAG_OK when there is none. */
enum pag_err pag_fs_remove(const char *path, struct pag_fail *why);
enum pag_err pag_fs_rename(const char *from, const char *to,
                           struct pag_fail *why); /* and fsync of to's folder */
enum pag_err pag_fs_sync_folder(const char *path, struct pag_fail *why);

/*
 * PAG_OK when path is a regular file that neither group nor others can read or write and whose owner is this
 * user or root; PAG_E_DENIED else, PAG_E_NOT_FOUND. For private keys and tokens.
 */
enum pag_err pag_fs_private(const char *path, struct pag_fail *why);

/* Bytes an ordinary user can still write on the file system of path. */
enum pag_err pag_fs_free_bytes(const char *path, uint64_t *bytes, struct pag_fail *why);

/*
 * Opens name (relative, may have folders) below the open folder dir_fd: no "..", no absolute path, no link
 * out of it (openat2, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS). flags, mode: as open(2). O_CLOEXEC is added.
 * *fd is the caller's. PAG_E_NOT_FOUND, PAG_E_DENIED (leads outside, or not permitted), PAG_E_EXISTS
 * (O_EXCL), PAG_E_IO.
 */
enum pag_err pag_fs_open_beneath(int dir_fd, const char *name, int flags, uint32_t mode, int *fd);

/* Writes "dir/name" into out[cap]; PAG_E_SPACE when it does not fit. */
enum pag_err pag_fs_join(char *out, size_t cap, const char *dir, const char *name);

#endif
