#ifndef PAG_CLI_FS_FILES_H
#define PAG_CLI_FS_FILES_H

#include "cli/cli.h"
#include "cli/enroll.h"
#include "cli/fs_volume.h"

/* Where the files of an image come from. Each function says what is wrong and returns an exit code. */

struct pag_fs_files {
    struct pag_fs_file list[PAG_FS_FILES_MAX + 1]; /* one over, so that too many is seen */
    size_t n;
    bool secret; /* a private key or a claim is among them */
    bool private_key;
};

/* path and bytes stay borrowed. */
void pag_fs_files_add(struct pag_fs_files *f, const char *path, struct pag_span bytes);

/* Everything below folder, at most 16 MiB. Links and what is no file are refused; .git and the like are
 * passed over. */
int pag_fs_files_folder(struct pag_cli *cli, const char *folder, struct pag_fs_files *f);

/* What a product's devices are to find. */
struct pag_fs_source {
    struct pag_enroll_for who;
    bool sketch; /* secureESP8266: config.json, authority, certificate, key */
    bool nvs;
    struct pag_span cert, key; /* PEM or DER of --cert and --key, or n 0 */
};

/* Checks --cert and --key against each other and the device. */
int pag_fs_source_open(struct pag_cli *cli, struct pag_fs_source *s);
/* The same paths with as much as they may hold, before a code is spent. */
void pag_fs_source_guess(struct pag_cli *cli, const struct pag_fs_source *s, struct pag_fs_files *f);
/* Asks the server; spends a code. */
int pag_fs_source_files(struct pag_cli *cli, const struct pag_fs_source *s, struct pag_fs_files *f);

#endif
