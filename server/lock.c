#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-*): flock */
#include "server/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/fs.h"

static enum pag_err path_of(const char *data, char out[320])
{
    char run[300];
    enum pag_err err = pag_fs_join(run, sizeof run, data, "run");
    if (err == PAG_OK) {
        err = pag_fs_mkdirs(run, 0700, NULL);
    }
    return err == PAG_OK ? pag_fs_join(out, 320, run, "pid") : err;
}

static int read_holder(int fd)
{
    char text[16] = { 0 };
    uint32_t pid = 0;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    size_t digits = n > 0 ? pag_span_find(pag_span_of(text, (size_t)n), 0, '\n') : 0;
    if (pag_parse_u32(pag_span_of(text, digits), &pid) != PAG_OK) {
        return 0;
    }
    return (int)pid;
}

enum pag_err pag_lock_take(const char *data, int *fd, int *holder, struct pag_fail *why)
{
    char path[320];
    char text[16];
    enum pag_err err = path_of(data, path);
    *holder = 0;
    if (err != PAG_OK) {
        return pag_fail_set(why, err, "the run folder cannot be made", (uint64_t)errno);
    }
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return pag_fail_set(why, PAG_E_IO, "the lock file cannot be opened", (uint64_t)errno);
    }
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        *holder = read_holder(file);
        close(file);
        return pag_fail_set(why, reason == EWOULDBLOCK ? PAG_E_EXISTS : PAG_E_IO,
                            "another daemon uses this data folder", (uint64_t)*holder);
    }
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(file, 0) != 0 || pwrite(file, text, (size_t)n, 0) != n) {
        close(file);
        return pag_fail_set(why, PAG_E_IO, "the lock file cannot be written", (uint64_t)errno);
    }
    *fd = file;
    return PAG_OK;
}

void pag_lock_drop(const char *data, int fd)
{
    char path[320];
    if (fd < 0) {
        return;
    }
    if (path_of(data, path) == PAG_OK) {
        (void)unlink(path);
    }
    close(fd);
}
