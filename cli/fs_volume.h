#ifndef PAG_CLI_FS_VOLUME_H
#define PAG_CLI_FS_VOLUME_H

#include <stdbool.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/arena.h"

/*
 * File systems of devices as bytes: docs/spec/fs-image.md. No I/O, no clock: the same files give the same
 * bytes.
 */

enum pag_fs_format { PAG_FS_LITTLEFS, PAG_FS_SPIFFS, PAG_FS_NVS };

enum {
    PAG_FS_FILES_MAX = 256,
    PAG_FS_SIZE_MAX = 16 << 20,
    PAG_FS_PATH_MAX = 255,
    PAG_FS_NVS_PAGE = 4096,
    PAG_FS_NVS_KEY_MAX = 15,
};

/* What the firmware was built with. */
struct pag_fs_shape {
    enum pag_fs_format format;
    uint32_t size;  /* of the partition or FS area, bytes */
    uint32_t block; /* erase block of the file system; NVS: 4096 */
    uint32_t page;  /* SPIFFS: logical page; LittleFS: unit of programming; NVS: not used */
    bool esp32;     /* defaults of ESP-IDF and arduino-esp32 instead of those of the ESP8266 core */
    const char *nvs_namespace; /* NVS: of files that are in no folder */
};

struct pag_fs_file {
    const char *path; /* "/config.json", folders divided by '/'; NVS: "/key" or "/namespace/key" */
    struct pag_span bytes;
};

/* What is wrong, where that needs more than a code. */
struct pag_fs_fault {
    const char *what; /* literal */
    const char *path; /* of the file that it is about, or NULL */
    uint64_t missing; /* PAG_E_SPACE: bytes that the partition is too small by, in whole blocks */
};

/* Block and page that the firmware has by default: page 0 and block 0 of shape are filled in. */
void pag_fs_shape_fill(struct pag_fs_shape *shape);
/* Size, block and page against each other. PAG_E_RANGE with fault->what. */
enum pag_err pag_fs_shape_check(const struct pag_fs_shape *shape, struct pag_fs_fault *fault);

/*
 * Sorts files and writes the whole image. arena: for tables, and for out->p when out->cap is below
 * shape->size. PAG_E_RANGE (shape, or a file larger than the format holds), PAG_E_SYNTAX (a path that cannot
 * be one), PAG_E_LIMIT (a name that is too long, too many files), PAG_E_EXISTS (two of one name, or a file
 * that is a folder too), PAG_E_SPACE (fault->missing and fault->path, the largest file), PAG_E_NO_MEMORY.
 */
enum pag_err pag_fs_volume_make(struct pag_arena *arena, const struct pag_fs_shape *shape,
                                struct pag_fs_file *file, size_t n, struct pag_buf *out,
                                struct pag_fs_fault *fault);

/* One writer a format: shape and paths are good, file is sorted, image is shape->size bytes of 0xFF. *need:
 * bytes that all would take, in whole blocks, set with PAG_OK and PAG_E_SPACE. */
struct pag_fs_job {
    struct pag_arena *arena;
    const struct pag_fs_shape *shape;
    const struct pag_fs_file *file;
    size_t n;
    uint8_t *image;
    uint64_t need;
    struct pag_fs_fault *fault;
};
enum pag_err pag_fs_littlefs(struct pag_fs_job *job);
enum pag_err pag_fs_spiffs(struct pag_fs_job *job);
enum pag_err pag_fs_nvs(struct pag_fs_job *job);

/* ---- flash layouts of Arduino ---- */

struct pag_fs_layout {
    const char *name; /* "4m1m", as in the linker script's name; "esp32-4m" for a partition table */
    uint32_t offset;  /* in flash, for esptool */
    uint32_t size;
    uint32_t block;
    bool esp32;
    bool nvs; /* an NVS partition */
};
/* NULL: no such. */
const struct pag_fs_layout *pag_fs_layout_of(const char *name);
/* Ends with name NULL. */
const struct pag_fs_layout *pag_fs_layouts(void);

#endif
