#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): O_DIRECTORY, pread */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/fs.h"
#include "host/rand.h"
#include "server/store/internal.h"

/* data/blobs/aa/<sha256>; temporary files are data/blobs/tmp-<random> and mean nothing. */

enum { COPY_BYTES = 65536, BLOB_NAME_BYTES = 2 + 1 + 64 + 1 };

static enum pag_err err_of_errno(int e)
{
    switch (e) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return PAG_E_SPACE;
    case ENOENT:
        return PAG_E_NOT_FOUND;
    case ENOMEM:
        return PAG_E_NO_MEMORY;
    default:
        return PAG_E_IO;
    }
}

static void name_of(const uint8_t sha256[PAG_SHA256_BYTES], char *out)
{
    struct pag_buf b = { (uint8_t *)out, 0, BLOB_NAME_BYTES - 1 };
    (void)pag_buf_put_hex(&b, pag_span_of(sha256, 1));
    (void)pag_buf_put_u8(&b, '/');
    (void)pag_buf_put_hex(&b, pag_span_of(sha256, PAG_SHA256_BYTES));
    out[b.n] = '\0';
}

/* What a crash left half written is nothing. */
static void sweep(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strncmp(e->d_name, "tmp-", 4) == 0) {
            (void)unlinkat(dir_fd, e->d_name, 0);
        }
    }
    (void)closedir(dir);
}

enum pag_err pag_blobs_open(struct pag_store *store, struct pag_fail *why)
{
    enum pag_err err = pag_fs_mkdirs(store->blobs_dir, 0700, why);
    if (err != PAG_OK) {
        return err;
    }
    store->blobs_fd = open(store->blobs_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->blobs_fd < 0) {
        return pag_fail_set(why, PAG_E_IO, "the folder of blobs cannot be opened", (uint64_t)errno);
    }
    sweep(store->blobs_fd);
    return PAG_OK;
}

void pag_blobs_close(struct pag_store *store)
{
    if (store->blobs_fd >= 0) {
        (void)close(store->blobs_fd);
        store->blobs_fd = -1;
    }
}

static enum pag_err write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? err_of_errno(errno) : PAG_E_SPACE;
        }
        p += put;
        n -= (size_t)put;
    }
    return PAG_OK;
}

/* to -1: hashed only */
static enum pag_err copy_hashed(int from, int to, uint64_t bytes, uint8_t sha256[PAG_SHA256_BYTES])
{
    uint8_t *room = malloc(COPY_BYTES);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    enum pag_err err = room != NULL && ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1
                           ? PAG_OK
                           : PAG_E_NO_MEMORY;
    for (uint64_t at = 0; at < bytes && err == PAG_OK;) {
        size_t want = bytes - at < COPY_BYTES ? (size_t)(bytes - at) : COPY_BYTES;
        ssize_t got = pread(from, room, want, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            err = got < 0 ? err_of_errno(errno) : PAG_E_SHORT;
            break;
        }
        (void)EVP_DigestUpdate(ctx, room, (size_t)got);
        err = to >= 0 ? write_all(to, room, (size_t)got) : PAG_OK;
        at += (uint64_t)got;
    }
    if (err == PAG_OK && EVP_DigestFinal_ex(ctx, sha256, NULL) != 1) {
        err = PAG_E_INTERNAL;
    }
    EVP_MD_CTX_free(ctx);
    free(room);
    return err;
}

static enum pag_err sync_folder(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_of_errno(errno);
    }
    enum pag_err err = fsync(fd) == 0 ? PAG_OK : err_of_errno(errno);
    (void)close(fd);
    return err;
}

static enum pag_err sync_parent(int dir_fd, char *name)
{
    name[2] = '\0';
    enum pag_err err = sync_folder(dir_fd, name);
    name[2] = '/';
    return err;
}

/* The name appears only when content and name are both on disk. */
static enum pag_err move_in(int dir_fd, const char *tmp, char *name)
{
    name[2] = '\0';
    bool made = mkdirat(dir_fd, name, 0700) == 0;
    enum pag_err err = made || errno == EEXIST ? PAG_OK : err_of_errno(errno);
    if (err == PAG_OK && made) {
        err = sync_folder(dir_fd, ".");
    }
    name[2] = '/';
    if (err == PAG_OK && renameat(dir_fd, tmp, dir_fd, name) != 0) {
        err = err_of_errno(errno);
    }
    return err == PAG_OK ? sync_parent(dir_fd, name) : err;
}

/* With the right bytes: what has rotted is written anew. */
static bool is_there(int dir_fd, const char *name, uint64_t bytes, const uint8_t sha256[PAG_SHA256_BYTES])
{
    struct stat st;
    uint8_t found[PAG_SHA256_BYTES];
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool there = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes &&
                 copy_hashed(fd, -1, bytes, found) == PAG_OK && memcmp(found, sha256, sizeof found) == 0;
    (void)close(fd);
    return there;
}

enum pag_err pag_store_blob_put(struct pag_store *store, int fd, uint64_t bytes,
                                const uint8_t sha256[PAG_SHA256_BYTES])
{
    char name[BLOB_NAME_BYTES];
    char tmp[40] = "tmp-";
    uint8_t found[PAG_SHA256_BYTES];
    name_of(sha256, name);
    if (is_there(store->blobs_fd, name, bytes, sha256)) {
        return sync_parent(store->blobs_fd, name); /* whoever put it may not have got that far */
    }
    pag_rand_hex(tmp + 4, 16);
    int out = openat(store->blobs_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0) {
        return err_of_errno(errno);
    }
    enum pag_err err = copy_hashed(fd, out, bytes, found);
    if (err == PAG_OK && memcmp(found, sha256, sizeof found) != 0) {
        err = PAG_E_DIGEST;
    }
    if (err == PAG_OK && fsync(out) != 0) {
        err = err_of_errno(errno);
    }
    if (close(out) != 0 && err == PAG_OK) {
        err = err_of_errno(errno);
    }
    if (err == PAG_OK) {
        err = move_in(store->blobs_fd, tmp, name);
    }
    if (err != PAG_OK) {
        (void)unlinkat(store->blobs_fd, tmp, 0);
    }
    return err;
}

/* ---- what no row knows ---- */

static bool has_row(struct pag_db *db, const char *name, enum pag_err *err)
{
    uint8_t sha256[PAG_SHA256_BYTES];
    if (pag_parse_hex(pag_span_str(name), sha256, sizeof sha256) != PAG_OK) {
        return true; /* not ours to remove */
    }
    struct pag_q q = pag_q_of(db, "SELECT 1 FROM blob WHERE sha256 = ?");
    pag_q_blob(&q, sha256, sizeof sha256);
    bool row = pag_q_row(&q);
    *err = pag_q_end(&q);
    return row || *err != PAG_OK;
}

static enum pag_err sweep_folder(struct pag_store *store, const char *folder, uint64_t *removed)
{
    enum pag_err err = PAG_OK;
    int fd = openat(store->blobs_fd, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return PAG_OK;
    }
    for (const struct dirent *e = readdir(dir); e != NULL && err == PAG_OK; e = readdir(dir)) {
        if (e->d_name[0] != '.' && !has_row(&store->tx.db, e->d_name, &err)) {
            *removed += unlinkat(dirfd(dir), e->d_name, 0) == 0;
        }
    }
    (void)closedir(dir);
    return err;
}

enum pag_err pag_blobs_sweep(struct pag_store *store)
{
    enum pag_err err = PAG_OK;
    uint64_t removed = 0;
    for (unsigned i = 0; i < 256 && err == PAG_OK; i++) {
        char folder[3];
        (void)snprintf(folder, sizeof folder, "%02x", i);
        err = sweep_folder(store, folder, &removed);
    }
    if (removed > 0) {
        pag_log_info(store->config.log, "store.blobs_swept", PAG_F_U64("removed", removed));
    }
    return err;
}

enum pag_err pag_store_blob_open(struct pag_store *store, const uint8_t sha256[PAG_SHA256_BYTES], int *fd,
                                 uint64_t *bytes)
{
    char name[BLOB_NAME_BYTES];
    struct stat st;
    int opened = -1;
    name_of(sha256, name);
    enum pag_err err = pag_fs_open_beneath(store->blobs_fd, name, O_RDONLY, 0, &opened);
    if (err != PAG_OK) {
        return err;
    }
    if (fstat(opened, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(opened);
        return PAG_E_IO;
    }
    *fd = opened;
    *bytes = (uint64_t)st.st_size;
    return PAG_OK;
}

enum pag_err pag_store_file_read(int fd, uint64_t bytes, uint64_t max, struct pag_buf *out)
{
    if (bytes > max) {
        return PAG_E_LIMIT;
    }
    uint8_t *p = malloc(bytes > 0 ? (size_t)bytes : 1);
    if (p == NULL) {
        return PAG_E_NO_MEMORY;
    }
    for (size_t at = 0; at < bytes;) {
        ssize_t got = pread(fd, p + at, (size_t)bytes - at, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            free(p);
            return got < 0 ? PAG_E_IO : PAG_E_SHORT;
        }
        at += (size_t)got;
    }
    *out = (struct pag_buf){ p, (size_t)bytes, (size_t)bytes };
    return PAG_OK;
}

void pag_store_file_free(struct pag_buf *b)
{
    free(b->p);
    *b = (struct pag_buf){ NULL, 0, 0 };
}

/* ---- MD5 of sketches ---- */

static void md5_patched(struct pag_span file, const uint8_t head[4], uint8_t md5[16])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t skip = file.n < 4 ? file.n : 4;
    memset(md5, 0, 16);
    if (ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1) {
        (void)EVP_DigestUpdate(ctx, head, skip);
        (void)EVP_DigestUpdate(ctx, file.p + skip, file.n - skip);
        (void)EVP_DigestFinal_ex(ctx, md5, NULL);
    }
    EVP_MD_CTX_free(ctx);
}

void pag_store_md5(struct pag_span file, uint8_t md5[16])
{
    uint8_t head[4] = { 0 };
    memcpy(head, file.p, file.n < 4 ? file.n : 4);
    md5_patched(file, head, md5);
}

/* Flash size ids of esptool and the core in the high nibble, frequencies in the low one. */
enum { SIZES = 9, FREQUENCIES = 4 };
static const uint8_t size_ids[SIZES] = { 0, 1, 2, 3, 4, 5, 6, 8, 9 };
static const uint8_t frequencies[FREQUENCIES] = { 0x0, 0x1, 0x2, 0xF };

/* The forms with this flash mode, the one with the size byte as it is first. */
static size_t forms_of_mode(struct pag_span file, uint8_t mode, struct pag_md5_form *form)
{
    uint8_t head[4] = { file.p[0], file.p[1], mode, file.p[3] };
    size_t n = 0;
    md5_patched(file, head, form[n++].md5);
    for (size_t i = 0; i < (size_t)SIZES * FREQUENCIES; i++) {
        head[3] = (uint8_t)(size_ids[i / FREQUENCIES] << 4U | frequencies[i % FREQUENCIES]);
        if (head[3] != file.p[3]) {
            md5_patched(file, head, form[n++].md5);
        }
    }
    for (size_t i = 0; i < n; i++) {
        form[i].flash_mode = mode;
    }
    return n;
}

size_t pag_store_md5_forms(struct pag_span file, struct pag_md5_form form[PAG_MD5_FORMS_MAX])
{
    size_t n = 0;
    if (file.n < 4) {
        return 0;
    }
    uint8_t own = file.p[2];
    n += forms_of_mode(file, own, form);
    for (uint8_t mode = 0; mode < 4; mode++) {
        n += mode != own ? forms_of_mode(file, mode, form + n) : 0;
    }
    return n;
}

enum pag_err pag_store_blob_read(struct pag_store *store, const uint8_t sha256[PAG_SHA256_BYTES],
                                 uint64_t max, struct pag_buf *out)
{
    uint64_t bytes = 0;
    int fd = -1;
    enum pag_err err = pag_store_blob_open(store, sha256, &fd, &bytes);
    if (err == PAG_OK) {
        err = pag_store_file_read(fd, bytes, max, out);
        (void)close(fd);
    }
    return err;
}
