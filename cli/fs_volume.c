#include "cli/fs_volume.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_8266 = 31, NAME_32 = 63, SPIFFS_NAME = 31 };

static const struct pag_fs_layout layouts[] = {
    /* ESP8266 Arduino core, linker scripts eagle.flash.<name>.ld */
    { "512k32", 0x073000, 0x008000, 4096, false, false },
    { "512k64", 0x06B000, 0x010000, 4096, false, false },
    { "512k128", 0x05B000, 0x020000, 4096, false, false },
    { "1m64", 0x0EB000, 0x010000, 4096, false, false },
    { "1m128", 0x0DB000, 0x020000, 4096, false, false },
    { "1m144", 0x0D7000, 0x024000, 4096, false, false },
    { "1m160", 0x0D3000, 0x028000, 4096, false, false },
    { "1m192", 0x0CB000, 0x030000, 4096, false, false },
    { "1m256", 0x0BB000, 0x040000, 4096, false, false },
    { "1m512", 0x07B000, 0x080000, 8192, false, false },
    { "2m64", 0x1F0000, 0x00B000, 4096, false, false },
    { "2m128", 0x1E0000, 0x01B000, 4096, false, false },
    { "2m256", 0x1C0000, 0x03B000, 4096, false, false },
    { "2m512", 0x180000, 0x07A000, 8192, false, false },
    { "2m1m", 0x100000, 0x0FA000, 8192, false, false },
    { "4m1m", 0x300000, 0x0FA000, 8192, false, false },
    { "4m2m", 0x200000, 0x1FA000, 8192, false, false },
    { "4m3m", 0x100000, 0x2FA000, 8192, false, false },
    { "8m6m", 0x200000, 0x5FA000, 8192, false, false },
    { "8m7m", 0x100000, 0x6FA000, 8192, false, false },
    { "16m14m", 0x200000, 0xDFA000, 8192, false, false },
    { "16m15m", 0x100000, 0xEFA000, 8192, false, false },
    /* arduino-esp32, partition tables of the same names */
    { "esp32-default", 0x290000, 0x160000, 4096, true, false },
    { "esp32-no_ota", 0x210000, 0x1E0000, 4096, true, false },
    { "esp32-huge_app", 0x310000, 0x0E0000, 4096, true, false },
    { "esp32-default_8MB", 0x670000, 0x180000, 4096, true, false },
    { "esp32-nvs", 0x009000, 0x005000, 4096, true, true },
    { NULL, 0, 0, 0, false, false },
};

const struct pag_fs_layout *pag_fs_layouts(void)
{
    return layouts;
}

const struct pag_fs_layout *pag_fs_layout_of(const char *name)
{
    for (const struct pag_fs_layout *l = layouts; l->name != NULL; l++) {
        if (strcmp(l->name, name) == 0) {
            return l;
        }
    }
    return NULL;
}

/* ---- shape ---- */

/* The ESP8266 core: areas from 512 KiB on have blocks of 8 KiB (2m512 and 1m512 are just there). */
static uint32_t usual_block(const struct pag_fs_shape *s)
{
    return s->format != PAG_FS_NVS && !s->esp32 && s->size >= 0x7A000 ? 8192 : 4096;
}

void pag_fs_shape_fill(struct pag_fs_shape *s)
{
    if (s->block == 0) {
        s->block = usual_block(s);
    }
    if (s->page == 0) {
        s->page = s->format == PAG_FS_SPIFFS ? 256 : s->esp32 ? 128 : 64;
    }
}

static enum pag_err bad(struct pag_fs_fault *fault, enum pag_err err, const char *what, const char *path)
{
    fault->what = what;
    fault->path = path;
    return err;
}

static bool power_of_two(uint32_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

static enum pag_err page_check(const struct pag_fs_shape *s, struct pag_fs_fault *fault)
{
    switch (s->format) {
    case PAG_FS_LITTLEFS:
        return s->page >= 16 && s->page <= 512
                   ? PAG_OK
                   : bad(fault, PAG_E_RANGE, "a page of LittleFS is 16 to 512 bytes", NULL);
    case PAG_FS_SPIFFS:
        /* The two last words of a block's lookup page must stay free for its magic. */
        return s->page >= 128 && s->page <= 1024 && s->block / s->page >= 8 &&
                       s->block / s->page <= s->page / 4
                   ? PAG_OK
                   : bad(fault, PAG_E_RANGE,
                         "a page of SPIFFS is 128 to 1024 bytes, 8 to page/4 of them a block", NULL);
    case PAG_FS_NVS:
        return s->block == PAG_FS_NVS_PAGE
                   ? PAG_OK
                   : bad(fault, PAG_E_RANGE, "NVS knows no other block than 4096 bytes", NULL);
    }
    return PAG_E_INTERNAL;
}

enum pag_err pag_fs_shape_check(const struct pag_fs_shape *s, struct pag_fs_fault *fault)
{
    if (!power_of_two(s->block) || s->block < 4096 || s->block > 65536) {
        return bad(fault, PAG_E_RANGE, "a block is 4096 to 65536 bytes, a power of two", NULL);
    }
    if (!power_of_two(s->page)) {
        return bad(fault, PAG_E_RANGE, "a page is a power of two", NULL);
    }
    if (s->size == 0 || s->size > PAG_FS_SIZE_MAX || s->size % s->block != 0) {
        return bad(fault, PAG_E_RANGE, "the size is not a multiple of the block, or over 16 MiB", NULL);
    }
    if (s->size / s->block < (s->format == PAG_FS_NVS ? 3U : 4U)) {
        return bad(fault, PAG_E_RANGE,
                   s->format == PAG_FS_NVS ? "NVS needs three blocks at least"
                                           : "a file system needs four blocks at least",
                   NULL);
    }
    return page_check(s, fault);
}

/* ---- paths ---- */

static enum pag_err part_check(const struct pag_fs_shape *s, const char *path, const char *part, size_t n,
                               struct pag_fs_fault *fault)
{
    size_t most = s->format == PAG_FS_NVS ? PAG_FS_NVS_KEY_MAX : s->esp32 ? NAME_32 : NAME_8266;
    if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.')) {
        return bad(fault, PAG_E_SYNTAX, "no name can be empty, \".\" or \"..\"", path);
    }
    if (s->format != PAG_FS_SPIFFS && n > most) {
        return bad(fault, PAG_E_LIMIT,
                   s->format == PAG_FS_NVS ? "a key or namespace of NVS has at most 15 bytes"
                   : s->esp32              ? "a name has at most 63 bytes"
                                           : "a name has at most 31 bytes",
                   path);
    }
    return PAG_OK;
}

static enum pag_err path_check(const struct pag_fs_shape *s, const char *path, struct pag_fs_fault *fault)
{
    size_t depth = 0;
    if (path[0] != '/' || strlen(path) > PAG_FS_PATH_MAX) {
        return bad(fault, PAG_E_SYNTAX, "a path begins with / and has at most 255 bytes", path);
    }
    if (s->format == PAG_FS_SPIFFS && strlen(path) > SPIFFS_NAME) {
        return bad(fault, PAG_E_LIMIT,
                   "a path on SPIFFS has at most 31 bytes, folders and the / before it included", path);
    }
    for (const char *at = path; *at != '\0'; depth++) {
        size_t n = strcspn(at + 1, "/");
        enum pag_err err = part_check(s, path, at + 1, n, fault);
        if (err != PAG_OK) {
            return err;
        }
        at += 1 + n;
    }
    return s->format == PAG_FS_NVS && depth > 2
               ? bad(fault, PAG_E_SYNTAX, "NVS has one level of folders: its namespaces", path)
               : PAG_OK;
}

/* '/' before all else, so that what is in a folder stays together. */
static int path_order(const char *a, const char *b)
{
    for (;; a++, b++) {
        int x = *a == '/' ? 1 : (unsigned char)*a + (*a != '\0' ? 1 : 0);
        int y = *b == '/' ? 1 : (unsigned char)*b + (*b != '\0' ? 1 : 0);
        if (x != y || x == 0) {
            return x - y;
        }
    }
}

static int by_path(const void *a, const void *b)
{
    return path_order(((const struct pag_fs_file *)a)->path, ((const struct pag_fs_file *)b)->path);
}

static enum pag_err paths_check(const struct pag_fs_shape *s, const struct pag_fs_file *file, size_t n,
                                struct pag_fs_fault *fault)
{
    for (size_t i = 0; i < n; i++) {
        enum pag_err err = path_check(s, file[i].path, fault);
        if (err != PAG_OK) {
            return err;
        }
        if (i == 0) {
            continue;
        }
        size_t len = strlen(file[i - 1].path);
        if (strncmp(file[i].path, file[i - 1].path, len) != 0) {
            continue;
        }
        if (file[i].path[len] == '\0') {
            return bad(fault, PAG_E_EXISTS, "there are two files of that name", file[i].path);
        }
        if (file[i].path[len] == '/' && s->format != PAG_FS_SPIFFS) {
            return bad(fault, PAG_E_EXISTS, "it is a file and a folder", file[i - 1].path);
        }
    }
    return PAG_OK;
}

static const char *largest(const struct pag_fs_file *file, size_t n)
{
    size_t at = 0;
    for (size_t i = 1; i < n; i++) {
        at = file[i].bytes.n > file[at].bytes.n ? i : at;
    }
    return n > 0 ? file[at].path : NULL;
}

static enum pag_err write_all(struct pag_fs_job *job)
{
    switch (job->shape->format) {
    case PAG_FS_LITTLEFS:
        return pag_fs_littlefs(job);
    case PAG_FS_SPIFFS:
        return pag_fs_spiffs(job);
    case PAG_FS_NVS:
        return pag_fs_nvs(job);
    }
    return PAG_E_INTERNAL;
}

enum pag_err pag_fs_volume_make(struct pag_arena *arena, const struct pag_fs_shape *shape,
                                struct pag_fs_file *file, size_t n, struct pag_buf *out,
                                struct pag_fs_fault *fault)
{
    *fault = (struct pag_fs_fault){ "", NULL, 0 };
    enum pag_err err = pag_fs_shape_check(shape, fault);
    if (err != PAG_OK) {
        return err;
    }
    if (n > PAG_FS_FILES_MAX) {
        return bad(fault, PAG_E_LIMIT, "there are more than 256 files", NULL);
    }
    if (n > 0) {
        qsort(file, n, sizeof *file, by_path);
    }
    err = paths_check(shape, file, n, fault);
    if (err != PAG_OK) {
        return err;
    }
    if (out->cap < shape->size) {
        out->p = pag_arena_raw(arena, shape->size);
        out->cap = out->p != NULL ? shape->size : 0;
    }
    if (out->p == NULL) {
        return bad(fault, PAG_E_NO_MEMORY, "there is not enough memory", NULL);
    }
    memset(out->p, 0xFF, shape->size);
    struct pag_fs_job job = { arena, shape, file, n, out->p, 0, fault };
    err = write_all(&job);
    if (err == PAG_E_SPACE) {
        fault->what = "the files do not fit";
        fault->path = largest(file, n);
        fault->missing = job.need > shape->size ? job.need - shape->size : shape->block;
    }
    out->n = err == PAG_OK ? shape->size : 0;
    return err;
}
