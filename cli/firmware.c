#include "cli/firmware.h"

#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "core/image_key.h"
#include "host/crypto.h"
#include "host/fs.h"
#include "host/gzip.h"

enum { FILE_MAX = 64 << 20, RATIO_MAX = 200 };

static struct pag_span keep(struct pag_cli *cli, struct pag_span s)
{
    uint8_t *copy = s.n > 0 ? pag_cli_alloc(cli, s.n) : NULL;
    if (copy != NULL) {
        memcpy(copy, s.p, s.n);
    }
    return pag_span_of(copy, s.n);
}

/* Packed first, signed then (docs/spec/legacy-signatures.md). */
static enum pag_err unpack(struct pag_span file, bool *is_signed, struct pag_buf *plain)
{
    struct pag_span payload;
    struct pag_span signature;
    *is_signed = pag_image_trailer_split(file, &payload, &signature) &&
                 pag_gunzip_all(payload, FILE_MAX, RATIO_MAX, plain) == PAG_OK;
    return *is_signed ? PAG_OK : pag_gunzip_all(file, FILE_MAX, RATIO_MAX, plain);
}

/* "firmware-gz": the release holds the packed form beside the other. */
static bool is_packed(const char *name)
{
    size_t n = strlen(name);
    return n > 3 && strcmp(name + n - 3, "-gz") == 0;
}

/* Parts that only a cable writes: nothing in them says what they are. */
static bool is_part(const char *name)
{
    return strcmp(name, "bootloader") == 0 || strcmp(name, "partitions") == 0 ||
           strcmp(name, "boot-app0") == 0;
}

static int load(struct pag_cli *cli, struct pag_firmware *f)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_buf plain = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (pag_fs_read(f->file, FILE_MAX, &buf, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, why.code == PAG_E_NOT_FOUND ? PAG_EXIT_NOT_FOUND : PAG_EXIT_FAILED,
                                 f->file, &why);
    }
    struct pag_span file = keep(cli, pag_buf_span(&buf));
    enum pag_err err = PAG_OK;
    f->bytes = f->plain = file;
    if (pag_gzip_is(file)) {
        bool is_signed = false;
        err = unpack(file, &is_signed, &plain);
        f->plain = keep(cli, pag_buf_span(&plain));
        f->bytes = is_signed || is_packed(f->name) ? file : f->plain;
        f->packed = is_signed ? pag_span_of(NULL, 0) : file;
    }
    pag_fs_buf_free(&buf);
    free(plain.p);
    if (err != PAG_OK || f->bytes.n == 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "build it again", "%s: %s", f->file,
                            err != PAG_OK ? "the gzip stream is broken" : "the file is empty");
    }
    return PAG_EXIT_OK;
}

/* "NAME=FILE" unless such a file exists as it stands. */
static int split(struct pag_cli *cli, const char *word, struct pag_firmware *f)
{
    const char *eq = strchr(word, '=');
    f->file = word;
    f->name = "firmware";
    if (eq != NULL && !pag_fs_exists(word)) {
        f->name = pag_cli_text(cli, "%.*s", (int)(eq - word), word);
        f->file = eq + 1;
    }
    if (!pag_image_name_ok(pag_span_str(f->name))) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "firmware.bin filesystem=littlefs.bin",
                            "\"%s\" cannot name an image (a-z 0-9 -, at most 16)", f->name);
    }
    f->filesystem = strncmp(f->name, "filesystem", 10) == 0 || is_part(f->name);
    return PAG_EXIT_OK;
}

void pag_firmware_digest(struct pag_firmware *f)
{
    pag_sha256_of(pag_crypto_openssl(), f->bytes, f->digest);
    pag_text_hex(pag_span_of(f->digest, sizeof f->digest), f->sha256);
}

int pag_firmware_read(struct pag_cli *cli, const char *word, struct pag_firmware *out)
{
    struct pag_fail why = { PAG_OK, NULL, 0 };
    memset(out, 0, sizeof *out);
    int rc = split(cli, word, out);
    if (rc == PAG_EXIT_OK) {
        rc = load(cli, out);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    pag_firmware_digest(out);
    if (out->filesystem) {
        out->image.kind = PAG_IMAGE_FILESYSTEM;
        out->image.payload_bytes = out->bytes.n;
        return PAG_EXIT_OK;
    }
    enum pag_err err = pag_image_read(pag_crypto_openssl(), out->plain, &out->image, &why);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "build it again; a file system image is given as filesystem=FILE",
                            "%s: %s (offset or value %llu)", out->file,
                            why.what != NULL ? why.what : pag_err_word(err), (unsigned long long)why.detail);
    }
    return PAG_EXIT_OK;
}

enum pag_payload_kind pag_firmware_kind(const struct pag_firmware *f)
{
    return f->filesystem ? PAG_KIND_FILESYSTEM : PAG_KIND_FIRMWARE;
}

json_t *pag_firmware_json(const struct pag_firmware *f)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:b}", "file", f->file, "name", f->name,
                     "chip", pag_chip_name(f->image.chip), "project", f->image.project, "version",
                     f->image.version, "hardware", f->image.hardware, "bytes", (json_int_t)f->bytes.n,
                     "sha256", f->sha256, "trailer", f->image.trailer_bytes != 0);
}

const char *pag_firmware_line(struct pag_cli *cli, const struct pag_firmware *f)
{
    char size[24];
    pag_text_bytes(f->bytes.n, size);
    return pag_cli_text(cli, "%s · %s%s%s · %s · sha256 %.12s…",
                        f->filesystem ? "file system" : pag_chip_name(f->image.chip),
                        f->image.project[0] != 0 ? f->image.project : f->name,
                        f->image.version[0] != 0 ? " " : "", f->image.version, size, f->sha256);
}

static bool has_hardware(const json_t *product, const char *id)
{
    const json_t *list = json_object_get(product, "hardware");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *one = json_string_value(json_array_get(list, i));
        if (one != NULL && strcmp(one, id) == 0) {
            return true;
        }
    }
    return false;
}

static int fits_slot(struct pag_cli *cli, const struct pag_firmware *f, const json_t *product)
{
    uint64_t slot = pag_out_number(product, "slot_bytes");
    char is[24];
    char most[24];
    if (f->filesystem || slot == 0 || f->bytes.n <= slot) {
        return PAG_EXIT_OK;
    }
    pag_text_bytes(f->bytes.n, is);
    pag_text_bytes(slot, most);
    return pag_cli_fail(
        cli, PAG_EXIT_USAGE,
        "make it smaller (-Os, fewer libraries), or set the product's slot if the layout has changed",
        "%s has %s, the slot of %s has %s: %llu bytes too many", f->file, is, pag_out_text(product, "name"),
        most, (unsigned long long)(f->bytes.n - slot));
}

int pag_firmware_fits(struct pag_cli *cli, const struct pag_firmware *f, const json_t *product)
{
    const char *name = pag_out_text(product, "name");
    const char *chip = pag_out_text(product, "chip");
    const char *built = pag_chip_name(f->image.chip);
    if (!f->filesystem && strcmp(chip, built) != 0) {
        return pag_cli_fail(
            cli, PAG_EXIT_USAGE,
            pag_cli_text(cli, "build for %s, or push to a product for %s with --product", chip, built),
            "%s is built for %s, product %s is %s", f->file, built, name, chip);
    }
    if (f->image.has_identity && strcmp(f->image.project, name) != 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, pag_cli_text(cli, "--product %s", f->image.project),
                            "%s says that it is firmware of %s, not of %s", f->file, f->image.project, name);
    }
    if (f->image.hardware[0] != 0 && !has_hardware(product, f->image.hardware)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "build it for a board of the product: pagurus product show",
                            "%s is built for board %s, which product %s does not list", f->file,
                            f->image.hardware, name);
    }
    return fits_slot(cli, f, product);
}
