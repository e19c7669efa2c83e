#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/fs_files.h"
#include "core/bytes.h"
#include "host/errno_text.h"
#include "host/fs.h"

enum { DEPTH_MAX = 8 };

struct walk {
    struct pag_cli *cli;
    struct pag_fs_files *f;
    size_t left; /* bytes that may still come */
};

void pag_fs_files_add(struct pag_fs_files *f, const char *path, struct pag_span bytes)
{
    if (f->n <= PAG_FS_FILES_MAX) {
        f->list[f->n++] = (struct pag_fs_file){ path, bytes };
    }
}

static bool passed_over(const char *name)
{
    static const char *const names[] = { ".", "..", ".git", ".gitignore", ".gitmodules", ".DS_Store" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool holds_key(struct pag_span s, const char *name)
{
    static const char mark[] = "PRIVATE KEY-----";
    size_t n = strlen(name);
    for (size_t i = 0; i + sizeof mark - 1 <= s.n; i++) {
        if (memcmp(s.p + i, mark, sizeof mark - 1) == 0) {
            return true;
        }
    }
    return (n > 4 && strcmp(name + n - 4, ".key") == 0) || (n > 8 && strcmp(name + n - 8, ".key.der") == 0);
}

static int take_file(struct walk *w, const char *file, const char *path)
{
    struct pag_buf raw = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    enum pag_err err = pag_fs_read(file, w->left, &raw, &why);
    if (err == PAG_E_LIMIT) {
        return pag_cli_fail(w->cli, PAG_EXIT_USAGE, "no file system for a device is larger",
                            "the files come to more than 16 MiB at %s", file);
    }
    if (err != PAG_OK) {
        return pag_cli_fail_file(w->cli, PAG_EXIT_USAGE, file, &why);
    }
    uint8_t *copy = pag_cli_alloc(w->cli, raw.n + 1);
    memcpy(copy, raw.p, raw.n);
    struct pag_span bytes = { copy, raw.n };
    w->left -= raw.n;
    pag_fs_buf_free(&raw);
    w->f->private_key = w->f->private_key || holds_key(bytes, path);
    pag_fs_files_add(w->f, path, bytes);
    return PAG_EXIT_OK;
}

static int walk_folder(struct walk *w, const char *folder, const char *path, unsigned depth);

static int take(struct walk *w, const char *file, const char *path, unsigned depth)
{
    struct stat st;
    if (lstat(file, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
        return pag_cli_fail(w->cli, PAG_EXIT_USAGE, "copy what it stands for in its place",
                            "%s is neither a file nor a folder", file);
    }
    if (S_ISREG(st.st_mode)) {
        return take_file(w, file, path);
    }
    if (depth == DEPTH_MAX) {
        return pag_cli_fail(w->cli, PAG_EXIT_USAGE, NULL, "%s is more than %d folders deep", file, DEPTH_MAX);
    }
    return walk_folder(w, file, path, depth + 1);
}

static int walk_folder(struct walk *w, const char *folder, const char *path, unsigned depth)
{
    DIR *d = opendir(folder);
    if (d == NULL) {
        return pag_cli_fail(w->cli, PAG_EXIT_USAGE, "--dir takes a folder with files for the device",
                            "%s cannot be read: %s", folder, pag_errno_text(errno));
    }
    int rc = PAG_EXIT_OK;
    for (const struct dirent *e = readdir(d); rc == PAG_EXIT_OK && e != NULL && w->f->n <= PAG_FS_FILES_MAX;
         e = readdir(d)) {
        if (!passed_over(e->d_name)) {
            rc = take(w, pag_cli_text(w->cli, "%s/%s", folder, e->d_name),
                      pag_cli_text(w->cli, "%s/%s", path, e->d_name), depth);
        }
    }
    (void)closedir(d);
    return rc;
}

int pag_fs_files_folder(struct pag_cli *cli, const char *folder, struct pag_fs_files *f)
{
    struct walk w = { cli, f, PAG_FS_SIZE_MAX };
    int rc = walk_folder(&w, folder, "", 0);
    f->secret = f->secret || f->private_key;
    return rc;
}
