#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): O_TMPFILE, syscall */
#include "host/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/rand.h"

enum { PATH_CHARS = 4096 };

static enum pag_err err_of_errno(int number)
{
    if (number == ENOENT || number == ENOTDIR) {
        return PAG_E_NOT_FOUND;
    }
    if (number == EACCES || number == EPERM || number == EXDEV || number == ELOOP) {
        return PAG_E_DENIED;
    }
    if (number == ENOSPC || number == EDQUOT || number == EFBIG) {
        return PAG_E_SPACE;
    }
    if (number == EEXIST) {
        return PAG_E_EXISTS;
    }
    return number == ENOMEM ? PAG_E_NO_MEMORY : PAG_E_IO;
}

static enum pag_err fail_errno(struct pag_fail *why, const char *what)
{
    int number = errno;
    return pag_fail_set(why, err_of_errno(number), what, (uint64_t)number);
}

static bool read_all(int fd, struct pag_buf *out)
{
    while (out->n < out->cap) {
        ssize_t got = read(fd, out->p + out->n, out->cap - out->n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            break;
        }
        out->n += (size_t)got;
    }
    return true;
}

static enum pag_err read_open(int fd, size_t max, struct pag_buf *out, struct pag_fail *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return pag_fail_set(why, PAG_E_IO, "not a regular file", 0);
    }
    if ((uint64_t)st.st_size > max) {
        return pag_fail_set(why, PAG_E_LIMIT, "file is longer than allowed", (uint64_t)st.st_size);
    }
    struct pag_buf buf = { NULL, 0, (size_t)st.st_size + 1 };
    buf.p = malloc(buf.cap);
    if (buf.p == NULL) {
        return pag_fail_set(why, PAG_E_NO_MEMORY, "no memory to read a file", buf.cap);
    }
    bool fine = read_all(fd, &buf);
    if (!fine || buf.n == buf.cap) {
        pag_fs_buf_free(&buf);
        return pag_fail_set(why, PAG_E_IO, fine ? "file grew while being read" : "cannot read file",
                            fine ? 0 : (uint64_t)errno);
    }
    buf.p[buf.n] = 0;
    *out = buf;
    return PAG_OK;
}

enum pag_err pag_fs_read(const char *path, size_t max, struct pag_buf *out, struct pag_fail *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return fail_errno(why, "cannot open file");
    }
    enum pag_err err = read_open(fd, max, out, why);
    (void)close(fd);
    return err;
}

void pag_fs_buf_free(struct pag_buf *buf)
{
    if (buf->p != NULL) {
        explicit_bzero(buf->p, buf->cap);
        free(buf->p);
    }
    *buf = (struct pag_buf){ NULL, 0, 0 };
}

/* Folder part of path into out[PATH_CHARS]: "." when it has none. */
static enum pag_err folder_of(const char *path, char *out)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= PATH_CHARS) {
        return PAG_E_SPACE;
    }
    if (slash == path) {
        n = 1;
    }
    memcpy(out, n == 0 ? "." : path, n == 0 ? 1 : n);
    out[n == 0 ? 1 : n] = '\0';
    return PAG_OK;
}

enum pag_err pag_fs_sync_folder(const char *path, struct pag_fail *why)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(why, "cannot open folder");
    }
    bool fine = fsync(fd) == 0;
    enum pag_err err = fine ? PAG_OK : fail_errno(why, "cannot sync folder");
    (void)close(fd);
    return err;
}

static bool write_all(int fd, struct pag_span data)
{
    while (data.n > 0) {
        ssize_t put = write(fd, data.p, data.n);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        data.p += put;
        data.n -= (size_t)put;
    }
    return true;
}

/* Writes data into the new file temp, synced. */
static enum pag_err write_temp(const char *temp, struct pag_span data, uint32_t mode, struct pag_fail *why)
{
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
    if (fd < 0) {
        return fail_errno(why, "cannot make file");
    }
    bool fine = fchmod(fd, (mode_t)mode) == 0 && write_all(fd, data) && fsync(fd) == 0;
    enum pag_err err = fine ? PAG_OK : fail_errno(why, "cannot write file");
    if (close(fd) != 0 && err == PAG_OK) {
        err = fail_errno(why, "cannot write file");
    }
    if (err != PAG_OK) {
        (void)unlink(temp);
    }
    return err;
}

enum pag_err pag_fs_write(const char *path, struct pag_span data, uint32_t mode, struct pag_fail *why)
{
    char temp[PATH_CHARS];
    char suffix[17];
    pag_rand_hex(suffix, 8);
    int n = snprintf(temp, sizeof temp, "%s.tmp-%s", path, suffix);
    if (n < 0 || (size_t)n >= sizeof temp) {
        return pag_fail_set(why, PAG_E_CONFIG, "path is too long", 0);
    }
    enum pag_err err = write_temp(temp, data, mode, why);
    if (err != PAG_OK) {
        return err;
    }
    err = pag_fs_rename(temp, path, why);
    if (err != PAG_OK) {
        (void)unlink(temp);
    }
    return err;
}

enum pag_err pag_fs_rename(const char *from, const char *to, struct pag_fail *why)
{
    char folder[PATH_CHARS];
    if (folder_of(to, folder) != PAG_OK) {
        return pag_fail_set(why, PAG_E_CONFIG, "path is too long", 0);
    }
    if (rename(from, to) != 0) {
        return fail_errno(why, "cannot rename file");
    }
    return pag_fs_sync_folder(folder, why);
}

static enum pag_err make_one(const char *path, uint32_t mode, struct pag_fail *why)
{
    struct stat st;
    if (mkdir(path, (mode_t)mode) == 0) {
        return PAG_OK;
    }
    if (errno == EEXIST && stat(path, &st) == 0) {
        return S_ISDIR(st.st_mode) ? PAG_OK
                                   : pag_fail_set(why, PAG_E_EXISTS, "a file is where a folder should be", 0);
    }
    errno = errno == EEXIST ? ENOENT : errno; /* a dangling link */
    return fail_errno(why, "cannot make folder");
}

enum pag_err pag_fs_mkdirs(const char *path, uint32_t mode, struct pag_fail *why)
{
    char part[PATH_CHARS];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) {
        return pag_fail_set(why, PAG_E_CONFIG, "path is empty or too long", n);
    }
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        enum pag_err err = make_one(part, mode, why);
        if (err != PAG_OK) {
            return err;
        }
    }
    return PAG_OK;
}

bool pag_fs_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

enum pag_err pag_fs_remove(const char *path, struct pag_fail *why)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        return fail_errno(why, "cannot remove file");
    }
    return PAG_OK;
}

enum pag_err pag_fs_private(const char *path, struct pag_fail *why)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return fail_errno(why, "cannot look at file");
    }
    if (!S_ISREG(st.st_mode)) {
        return pag_fail_set(why, PAG_E_DENIED, "a secret must be in a regular file", 0);
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return pag_fail_set(why, PAG_E_DENIED, "file with a secret is open to others: chmod 600",
                            st.st_mode & 07777);
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        return pag_fail_set(why, PAG_E_DENIED, "file with a secret belongs to another user", st.st_uid);
    }
    return PAG_OK;
}

enum pag_err pag_fs_free_bytes(const char *path, uint64_t *bytes, struct pag_fail *why)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0) {
        return fail_errno(why, "cannot ask for free space");
    }
    *bytes = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
    return PAG_OK;
}

enum pag_err pag_fs_open_beneath(int dir_fd, const char *name, int flags, uint32_t mode, int *fd)
{
    bool creates = (flags & O_CREAT) != 0;
    struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                            .mode = creates ? mode : 0,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    for (int tries = 0; tries < 16; tries++) { /* EAGAIN: a rename raced with the lookup */
        long got = syscall(SYS_openat2, dir_fd, name, &how, sizeof how);
        if (got >= 0) {
            *fd = (int)got;
            return PAG_OK;
        }
        if (errno != EAGAIN && errno != EINTR) {
            break;
        }
    }
    return err_of_errno(errno);
}

enum pag_err pag_fs_join(char *out, size_t cap, const char *dir, const char *name)
{
    int n = snprintf(out, cap, "%s/%s", dir, name);
    return n < 0 || (size_t)n >= cap ? PAG_E_SPACE : PAG_OK;
}
