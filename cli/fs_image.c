/* pagurus enroll fs-image: docs/spec/fs-image.md. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/fs_files.h"
#include "cli/settings.h"
#include "core/bytes.h"
#include "host/fs.h"

enum { TARGETS_MAX = 64, WORK_BYTES = 40 << 20 };

struct order {
    struct pag_fs_shape shape;
    const struct pag_fs_layout *layout; /* NULL: --size */
    const char *product;                /* NULL: nothing but --dir */
    const char *chip;
    const char *mac[TARGETS_MAX]; /* one NULL: for any device */
    size_t mac_n;
    json_t *made; /* what --json says of each */
};

/* ---- flags ---- */

static const char *const formats[] = { "littlefs", "spiffs", "nvs" };

static int read_format(struct pag_cli *cli, struct order *o)
{
    const char *word = pag_opt(cli, "format");
    for (size_t i = 0; word != NULL && i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(word, formats[i]) == 0) {
            o->shape.format = (enum pag_fs_format)i;
            return PAG_EXIT_OK;
        }
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE, "--format littlefs, spiffs or nvs: what the firmware mounts",
                        word == NULL ? "--format is missing" : "\"%s\" is no format", word);
}

/* "FA000" */
static bool read_hex(struct pag_span s, uint32_t *out)
{
    uint8_t raw[4];
    uint8_t digits[8];
    if (s.n == 0 || s.n > sizeof digits) {
        return false;
    }
    memset(digits, '0', sizeof digits);
    memcpy(digits + sizeof digits - s.n, s.p, s.n);
    if (pag_parse_hex(pag_span_of(digits, sizeof digits), raw, sizeof raw) != PAG_OK) {
        return false;
    }
    *out = (uint32_t)raw[0] << 24 | (uint32_t)raw[1] << 16 | (uint32_t)raw[2] << 8 | raw[3];
    return true;
}

/* "1024000", "0xFA000", "1000k", "1m". */
static bool read_bytes(const char *text, uint32_t *out)
{
    uint64_t v = 0;
    size_t n = strlen(text);
    if (strncmp(text, "0x", 2) == 0) {
        return read_hex(pag_span_str(text + 2), out);
    }
    const char *unit = n > 1 ? text + n - 1 : "";
    unsigned shift = *unit == 'k' || *unit == 'K' ? 10 : *unit == 'm' || *unit == 'M' ? 20 : 0;
    if (pag_parse_u64(pag_span_of(text, shift != 0 ? n - 1 : n), &v) != PAG_OK || v > UINT32_MAX >> shift) {
        return false;
    }
    *out = (uint32_t)(v << shift);
    return true;
}

static int read_number(struct pag_cli *cli, const char *flag, uint32_t *out)
{
    const char *text = pag_opt(cli, flag);
    if (text == NULL || read_bytes(text, out)) {
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "--%s 4096, 0x1000 or 4k", flag),
                        "\"%s\" is no number of bytes", text);
}

static int no_layout(struct pag_cli *cli, const char *name)
{
    const char *list = "";
    for (const struct pag_fs_layout *l = pag_fs_layouts(); l->name != NULL; l++) {
        list = pag_cli_text(cli, "%s%s%s", list, list[0] != '\0' ? " " : "", l->name);
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "one of: %s; or --size BYTES", list),
                        "\"%s\" is no flash layout", name);
}

static int read_layout(struct pag_cli *cli, struct order *o)
{
    const char *name = pag_opt(cli, "layout");
    if ((name != NULL) == (pag_opt(cli, "size") != NULL)) {
        return pag_cli_fail(
            cli, PAG_EXIT_USAGE, "--layout 4m1m, or --size 0xFA000: as the firmware was built",
            name != NULL ? "--layout and --size say the same thing twice" : "--layout or --size is missing");
    }
    if (name == NULL) {
        return read_number(cli, "size", &o->shape.size);
    }
    o->layout = pag_fs_layout_of(name);
    if (o->layout == NULL) {
        return no_layout(cli, name);
    }
    if (o->layout->nvs != (o->shape.format == PAG_FS_NVS)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "an NVS partition takes --format nvs, and nothing else does",
                            "layout %s does not go with --format %s", name, formats[o->shape.format]);
    }
    o->shape.size = o->layout->size;
    o->shape.block = o->layout->block;
    return PAG_EXIT_OK;
}

static int read_chip(struct pag_cli *cli, struct order *o)
{
    json_t *product = NULL;
    const char *chip = pag_opt(cli, "chip");
    if (o->product != NULL) {
        int rc = pag_find_product(cli, o->product, &product);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        o->product = pag_out_text(product, "name");
        chip = chip == NULL ? pag_out_text(product, "chip") : chip;
    }
    if (chip == NULL && o->layout != NULL) {
        chip = o->layout->esp32 ? "esp32" : "esp8266";
    }
    if (chip == NULL || (strcmp(chip, "esp8266") != 0 && strncmp(chip, "esp32", 5) != 0)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--chip esp8266 or esp32: their file systems differ",
                            chip == NULL ? "--chip is missing" : "no such file systems on \"%s\"", chip);
    }
    o->chip = chip;
    o->shape.esp32 = strcmp(chip, "esp8266") != 0;
    if (o->layout != NULL && o->layout->esp32 != o->shape.esp32) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "take the layout that the firmware was built with",
                            "layout %s is not one of the %s", o->layout->name, chip);
    }
    if (o->shape.format == PAG_FS_NVS && !o->shape.esp32) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--format littlefs or spiffs",
                            "the ESP8266 core has no NVS");
    }
    return PAG_EXIT_OK;
}

static int read_shape(struct pag_cli *cli, struct order *o)
{
    struct pag_fs_fault fault = { "", NULL, 0 };
    int rc = read_format(cli, o);
    rc = rc == PAG_EXIT_OK ? read_layout(cli, o) : rc;
    rc = rc == PAG_EXIT_OK ? read_number(cli, "block", &o->shape.block) : rc;
    rc = rc == PAG_EXIT_OK ? read_number(cli, "page", &o->shape.page) : rc;
    rc = rc == PAG_EXIT_OK ? read_chip(cli, o) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    o->shape.nvs_namespace = pag_opt(cli, "namespace") != NULL ? pag_opt(cli, "namespace") : "pagurus";
    pag_fs_shape_fill(&o->shape);
    if (pag_fs_shape_check(&o->shape, &fault) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--size, --block and --page must be those of the firmware",
                            "%u bytes in blocks of %u, pages of %u: %s", (unsigned)o->shape.size,
                            (unsigned)o->shape.block, (unsigned)o->shape.page, fault.what);
    }
    return PAG_EXIT_OK;
}

/* ---- for whom ---- */

static int add_mac(struct pag_cli *cli, struct order *o, const char *text)
{
    char *digits = pag_cli_alloc(cli, 13);
    if (pag_mac_text(pag_span_str(text), digits) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--mac 84:f3:eb:00:00:03: twelve hex digits",
                            "\"%s\" is no MAC", text);
    }
    for (size_t i = 0; i < o->mac_n; i++) {
        if (strcmp(o->mac[i], digits) == 0) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "name it once", "device %s is there twice", digits);
        }
    }
    if (o->mac_n == TARGETS_MAX) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "make the others with another call",
                            "these are more than %d devices", TARGETS_MAX);
    }
    o->mac[o->mac_n++] = digits;
    return PAG_EXIT_OK;
}

static int add_device(struct pag_cli *cli, struct order *o, const char *text)
{
    json_t *device = NULL;
    int rc = pag_find_device(cli, text, &device);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *mac = pag_out_text(device, "mac");
    const char *product = pag_out_text(device, "product");
    if (mac[0] == '\0') {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--mac of the board", "the server knows no MAC of device %s",
                            text);
    }
    if (o->product != NULL && strcmp(o->product, product) != 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "its files would be refused: make an image for each product",
                            "device %s is of product %s, not %s", text, product, o->product);
    }
    o->product = product;
    return add_mac(cli, o, mac);
}

static int read_targets(struct pag_cli *cli, struct order *o)
{
    int rc = PAG_EXIT_OK;
    o->product = pag_opt_on(cli, "only-dir") ? NULL : pag_conf_default(cli, "product");
    for (size_t i = 0; rc == PAG_EXIT_OK && pag_opt_at(cli, "device", i) != NULL; i++) {
        rc = add_device(cli, o, pag_opt_at(cli, "device", i));
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && pag_opt_at(cli, "mac", i) != NULL; i++) {
        rc = add_mac(cli, o, pag_opt_at(cli, "mac", i));
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (pag_opt_on(cli, "only-dir") && (o->mac_n > 0 || pag_opt(cli, "dir") == NULL)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--only-dir --dir FOLDER, without --device and --mac",
                            "--only-dir takes its files from --dir alone");
    }
    if (o->product == NULL && !pag_opt_on(cli, "only-dir")) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus product list shows them; --only-dir needs none",
                            "--product is missing");
    }
    if (o->mac_n > 1 && (pag_opt(cli, "cert") != NULL || pag_opt(cli, "code") != NULL)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "make one image a call with --cert and --code",
                            "one certificate or code cannot be that of %zu devices", o->mac_n);
    }
    o->mac_n = o->mac_n == 0 ? 1 : o->mac_n;
    return PAG_EXIT_OK;
}

/* FILE, or FILE with % for the MAC when there are several. */
static int output_file(struct pag_cli *cli, const struct order *o, size_t at, const char **file)
{
    const char *text = pag_opt(cli, "output");
    const char *mark = text != NULL ? strchr(text, '%') : NULL;
    *file = text;
    if (text == NULL && isatty(STDOUT_FILENO)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "-o data.bin",
                            "an image is nothing for a terminal: --output is missing");
    }
    if (o->mac_n > 1 && mark == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "-o data-%.bin: % becomes the MAC",
                            "%zu devices need %zu files", o->mac_n, o->mac_n);
    }
    if (mark != NULL && o->mac[at] != NULL) {
        *file = pag_cli_text(cli, "%.*s%s%s", (int)(mark - text), text, o->mac[at], mark + 1);
    }
    return PAG_EXIT_OK;
}

/* ---- making ---- */

static int refused(struct pag_cli *cli, enum pag_err err, const struct pag_fs_fault *fault)
{
    const char *path = fault->path != NULL ? fault->path : "";
    if (err == PAG_E_SPACE) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "a larger layout, or fewer files; two blocks stay free for changes",
                            "the files do not fit: %llu bytes are missing, the largest file is %s",
                            (unsigned long long)fault->missing, path);
    }
    if (err == PAG_E_EXISTS) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "take it out of --dir: the command itself makes what the device needs", "%s: %s",
                            path, fault->what);
    }
    return pag_cli_fail(cli,
                        err == PAG_E_NO_MEMORY || err == PAG_E_INTERNAL ? PAG_EXIT_FAILED : PAG_EXIT_USAGE,
                        "docs/spec/fs-image.md has the limits of each format", "%s%s%s", path,
                        path[0] != '\0' ? ": " : "", fault->what);
}

static int make(struct pag_cli *cli, const struct order *o, struct pag_fs_files *f, struct pag_span *image)
{
    struct pag_fs_fault fault;
    struct pag_buf out = { pag_cli_alloc(cli, o->shape.size), 0, o->shape.size };
    enum pag_err err = pag_fs_volume_make(cli->arena, &o->shape, f->list, f->n, &out, &fault);
    *image = pag_buf_span(&out);
    return err == PAG_OK ? PAG_EXIT_OK : refused(cli, err, &fault);
}

static void show(struct pag_cli *cli, const struct order *o, const struct pag_fs_files *f, const char *file)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->n; i++) {
        (void)json_array_append_new(
            list, json_pack("{s:s, s:I}", "path", f->list[i].path, "bytes", (json_int_t)f->list[i].bytes.n));
    }
    json_t *v = pag_cli_keep(cli, json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:b}", "file", file, "format",
                                            formats[o->shape.format], "bytes", (json_int_t)o->shape.size,
                                            "block", (json_int_t)o->shape.block, "page",
                                            (json_int_t)o->shape.page, "files", list, "secret", f->secret));
    if (o->layout != NULL) {
        (void)json_object_set_new(v, "offset", json_integer(o->layout->offset));
    }
    if (cli->json) {
        (void)json_array_append(o->made, v);
        return;
    }
    if (pag_out_json(cli, v)) {
        return;
    }
    pag_cli_say(cli, "%s: %s of %u bytes in blocks of %u\n", file, formats[o->shape.format],
                (unsigned)o->shape.size, (unsigned)o->shape.block);
    for (size_t i = 0; i < f->n; i++) {
        pag_cli_say(cli, "  %s (%zu)\n", f->list[i].path, f->list[i].bytes.n);
    }
    if (o->layout != NULL) {
        pag_cli_say(cli, "next: esptool --chip %s write-flash 0x%X %s\n", o->chip,
                    (unsigned)o->layout->offset, file);
    }
}

static int write_out(struct pag_cli *cli, const char *file, struct pag_span image)
{
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file == NULL || strcmp(file, "-") == 0) {
        return fwrite(image.p, 1, image.n, stdout) == image.n
                   ? PAG_EXIT_OK
                   : pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "the image could not be written");
    }
    return pag_fs_write(file, image, 0600, &why) == PAG_OK
               ? PAG_EXIT_OK
               : pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
}

static void warn(struct pag_cli *cli, const struct pag_fs_files *f, const char *file)
{
    if (f->private_key) {
        pag_cli_warn(
            cli, "%s holds a private key in the clear: who has it is that device. Flash it, then delete it\n",
            file);
    } else if (f->secret) {
        pag_cli_warn(cli, "%s holds a claim: who has it can become that device until the claim is used\n",
                     file);
    }
}

static int one_image(struct pag_cli *cli, const struct order *o, const struct pag_fs_files *own, size_t at)
{
    struct pag_fs_files *f = pag_cli_alloc(cli, sizeof *f);
    struct pag_fs_source s = { .who = { o->product, o->mac[at] }, .nvs = o->shape.format == PAG_FS_NVS };
    struct pag_span image = { NULL, 0 };
    const char *file = NULL;
    int rc = output_file(cli, o, at, &file);
    *f = *own;
    if (rc == PAG_EXIT_OK && o->product != NULL) {
        rc = pag_fs_source_open(cli, &s);
        if (rc == PAG_EXIT_OK) {
            pag_fs_source_guess(cli, &s, f);
            rc = make(cli, o, f, &image);
        }
        *f = *own;
        rc = rc == PAG_EXIT_OK ? pag_fs_source_files(cli, &s, f) : rc;
    }
    rc = rc == PAG_EXIT_OK ? make(cli, o, f, &image) : rc;
    rc = rc == PAG_EXIT_OK ? write_out(cli, file, image) : rc;
    if (rc == PAG_EXIT_OK) {
        const char *name = file != NULL ? file : "-";
        if (strcmp(name, "-") != 0) {
            show(cli, o, f, name);
        }
        warn(cli, f, name);
    }
    return rc;
}

int pag_cmd_fs_image(struct pag_cli *cli)
{
    struct order *o = pag_cli_alloc(cli, sizeof *o);
    struct pag_fs_files *own = pag_cli_alloc(cli, sizeof *own);
    o->made = pag_cli_keep(cli, json_array());
    int rc = read_targets(cli, o);
    rc = rc == PAG_EXIT_OK ? read_shape(cli, o) : rc;
    if (rc == PAG_EXIT_OK && pag_opt(cli, "dir") != NULL) {
        rc = pag_fs_files_folder(cli, pag_opt(cli, "dir"), own);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < o->mac_n; i++) {
        rc = one_image(cli, o, own, i);
    }
    if (json_array_size(o->made) > 0) {
        (void)pag_out_json(cli, o->mac_n == 1 ? json_array_get(o->made, 0) : o->made);
    }
    return rc;
}
