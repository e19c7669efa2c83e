#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/arduino.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/firmware.h"
#include "cli/prompt.h"
#include "cli/text.h"
#include "cli/trust.h"
#include "core/bytes.h"
#include "host/crypto.h"
#include "host/fs.h"

static const struct pag_column columns[] = {
    { "ID", "id", PAG_CELL_TEXT },
    { "PRODUCT", "product", PAG_CELL_TEXT },
    { "VERSION", "version", PAG_CELL_TEXT },
    { "CHANNEL", "channel", PAG_CELL_TEXT },
    { "STATE", "state", PAG_CELL_STATE },
    { "SEQ", "sequence", PAG_CELL_TEXT },
    { "CONFIRMED", "counts.confirmed", PAG_CELL_TEXT },
    { "FAILED", "counts.failed", PAG_CELL_TEXT },
    { "REVERTED", "counts.reverted", PAG_CELL_TEXT },
    { "PUBLISHED", "published_at", PAG_CELL_TIME },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const struct pag_column lines[] = {
    { "id", "id", PAG_CELL_TEXT },
    { "product", "product", PAG_CELL_TEXT },
    { "version", "version", PAG_CELL_TEXT },
    { "channel", "channel", PAG_CELL_TEXT },
    { "state", "state", PAG_CELL_STATE },
    { "sequence", "sequence", PAG_CELL_TEXT },
    { "epoch", "epoch", PAG_CELL_TEXT },
    { "notes", "notes", PAG_CELL_TEXT },
    { "created", "created_at", PAG_CELL_TIME },
    { "published", "published_at", PAG_CELL_TIME },
    { "offered", "counts.offered", PAG_CELL_TEXT },
    { "downloading", "counts.downloading", PAG_CELL_TEXT },
    { "installing", "counts.installing", PAG_CELL_TEXT },
    { "confirmed", "counts.confirmed", PAG_CELL_TEXT },
    { "failed", "counts.failed", PAG_CELL_TEXT },
    { "reverted", "counts.reverted", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

static const struct pag_column image_columns[] = {
    { "IMAGE", "name", PAG_CELL_TEXT },      { "KIND", "kind", PAG_CELL_TEXT },
    { "CHIP", "chip", PAG_CELL_TEXT },       { "SIZE", "bytes", PAG_CELL_BYTES },
    { "SHA-256", "sha256", PAG_CELL_SHORT }, { "SIGNED BY", "signed_by", PAG_CELL_TEXT },
    { NULL, NULL, PAG_CELL_TEXT },
};

int pag_cmd_release_list(struct pag_cli *cli)
{
    const char *url = "/releases";
    if (pag_opt_on(cli, "product")) {
        url = pag_cli_text(cli, "%s?product=%s", url, pag_client_escape(cli, pag_opt(cli, "product")));
    }
    if (pag_opt_on(cli, "state")) {
        url = pag_cli_text(cli, "%s%sstate=%s", url, strchr(url, '?') != NULL ? "&" : "?",
                           pag_client_escape(cli, pag_opt(cli, "state")));
    }
    return pag_out_api_list(cli, url, columns);
}

int pag_cmd_release_show(struct pag_cli *cli)
{
    json_t *release = NULL;
    int rc = pag_find_release(cli, pag_word(cli, 0), &release);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    rc = pag_out_object(cli, release, lines);
    json_t *images = json_object_get(release, "images");
    if (!cli->json && !cli->jsonl && json_array_size(images) > 0 && !pag_opt_on(cli, "columns")) {
        (void)fputc('\n', stdout);
        rc = pag_out_items(cli, images, image_columns);
    }
    return rc;
}

static int act(struct pag_cli *cli, const char *verb, const char *said)
{
    json_t *release = NULL;
    json_t *reply = NULL;
    int rc = pag_find_release(cli, pag_word(cli, 0), &release);
    if (rc == PAG_EXIT_OK && strcmp(verb, "withdraw") == 0) {
        rc = pag_prompt_yes(cli, "--yes",
                            pag_cli_text(cli, "Stop offering %s %s to anyone?",
                                         pag_out_text(release, "product"), pag_out_text(release, "version")));
    }
    if (rc == PAG_EXIT_OK) {
        const char *id = pag_client_escape(cli, pag_out_text(release, "id"));
        rc = pag_arduino_strands(cli, id, verb);
        if (rc == PAG_EXIT_OK) {
            rc = pag_client_send(cli, "POST", pag_cli_text(cli, "/releases/%s:%s", id, verb),
                                 pag_arduino_change(cli), &reply);
        }
    }
    if (rc == PAG_EXIT_OK && !(reply != NULL && pag_out_json(cli, reply))) {
        pag_cli_say(cli, "%s %s: %s\n", pag_out_text(release, "product"), pag_out_text(release, "version"),
                    said);
    }
    return rc;
}

int pag_cmd_release_withdraw(struct pag_cli *cli)
{
    return act(cli, "withdraw", "withdrawn; devices that have it keep it");
}

int pag_cmd_release_publish(struct pag_cli *cli)
{
    return act(cli, "publish", "is out");
}

/* ---- download ---- */

/* Nothing appears under the final name before its digest is right. */
static int check_and_keep(struct pag_cli *cli, const char *part, const char *file, const char *sha256)
{
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    uint8_t digest[PAG_SHA256_BYTES];
    char hex[65] = "";
    if (pag_fs_read(part, SIZE_MAX / 2, &buf, &why) == PAG_OK) {
        pag_sha256_of(pag_crypto_openssl(), pag_buf_span(&buf), digest);
        pag_text_hex(pag_span_of(digest, sizeof digest), hex);
        pag_fs_buf_free(&buf);
    }
    if (strcmp(hex, sha256) != 0) {
        (void)pag_fs_remove(part, NULL);
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "download again",
                            "what came is not what the release names (sha256 %s)", sha256);
    }
    if (pag_fs_rename(part, file, &why) != PAG_OK) {
        return pag_cli_fail_file(cli, PAG_EXIT_FAILED, file, &why);
    }
    return PAG_EXIT_OK;
}

static int download(struct pag_cli *cli, const json_t *release, const json_t *image, const char *file)
{
    struct pag_answer a;
    const char *part = pag_cli_text(cli, "%s.part", file);
    FILE *sink = fopen(part, "wbe");
    if (sink == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "check the folder", "%s cannot be written", part);
    }
    struct pag_call call = { .method = "GET", .sink = sink, .progress = "downloading" };
    call.path =
        pag_cli_text(cli, "/releases/%s/images/%s", pag_client_escape(cli, pag_out_text(release, "id")),
                     pag_client_escape(cli, pag_out_text(image, "name")));
    int rc = pag_client_call(cli, &call, &a);
    bool closed = fclose(sink) == 0;
    if (rc == PAG_EXIT_OK && !closed) {
        rc = pag_cli_fail(cli, PAG_EXIT_FAILED, "make free space on that disk: it is probably full",
                          "%s could not be written", part);
    }
    if (rc != PAG_EXIT_OK) {
        (void)pag_fs_remove(part, NULL);
        return rc;
    }
    return check_and_keep(cli, part, file, pag_out_text(image, "sha256"));
}

int pag_cmd_release_download(struct pag_cli *cli)
{
    json_t *release = NULL;
    const char *name = pag_opt(cli, "image") != NULL ? pag_opt(cli, "image") : "firmware";
    int rc = pag_find_release(cli, pag_word(cli, 0), &release);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const json_t *image = pag_find_image(release, name);
    if (image == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, "pagurus release show lists them",
                            "no image \"%s\" in %s", name, pag_out_text(release, "version"));
    }
    const char *file = pag_opt(cli, "output");
    if (file == NULL) {
        const char *version = pag_out_text(release, "version");
        file = pag_cli_text(cli, "%s-%s-%s.bin", pag_out_text(release, "product"), version, name);
        if (strchr(file, '/') != NULL) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "-o FILE", "\"%s\" is no file name", file);
        }
    }
    rc = download(cli, release, image, file);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "%s: sha256 %s\n", file, pag_out_text(image, "sha256"));
    }
    return rc;
}

/* ---- verify ---- */

static int trust_of(struct pag_cli *cli, struct pag_trust_set *set)
{
    const char *file = pag_opt(cli, "trust");
    const char *pub = pag_opt(cli, "pub");
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_fail why = { PAG_OK, "", 0 };
    if (file != NULL) {
        enum pag_err err = pag_fs_read(file, PAG_TRUST_MAX, &buf, &why);
        err = err == PAG_OK ? pag_trust_parse(pag_buf_span(&buf), set, &why) : err;
        pag_fs_buf_free(&buf);
        return err == PAG_OK ? PAG_EXIT_OK
                             : pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "%s: %s", file, why.what);
    }
    if (pub == NULL) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--pub KEY or --trust FILE", "against which key?");
    }
    memset(set, 0, sizeof *set);
    set->release_threshold = 1;
    return pag_trust_add_release(cli, set, pub);
}

static int verify_manifest(struct pag_cli *cli, const char *file, struct pag_span cose)
{
    struct pag_fail why = { PAG_OK, NULL, 0 };
    struct pag_manifest *m = pag_cli_alloc(cli, sizeof *m);
    struct pag_trust_set *set = pag_cli_alloc(cli, sizeof *set);
    struct pag_firmware f;
    enum pag_err err = pag_manifest_parse(cose, m, &why);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "%s is no manifest: %s", file, why.what);
    }
    int rc = trust_of(cli, set);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    if (!pag_opt_on(cli, "trust")) {
        memcpy(set->product, m->product, sizeof set->product);
    }
    err = pag_manifest_verify(pag_crypto_openssl(), cose, set, m, &why);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_DENIED, "do not install it", "%s: %s", file,
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    if (pag_opt_on(cli, "image")) {
        rc = pag_firmware_read(cli, pag_opt(cli, "image"), &f);
        if (rc == PAG_EXIT_OK && !pag_equal_ct(f.digest, m->digest, sizeof f.digest)) {
            rc = pag_cli_fail(cli, PAG_EXIT_DENIED, "do not install it",
                              "%s is not the image that was signed", f.file);
        }
    }
    json_t *v =
        pag_cli_keep(cli, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I}", "image", m->image, "version",
                                    m->version, "chip", pag_chip_name(m->chip), "sequence",
                                    (json_int_t)m->sequence, "epoch", (json_int_t)m->epoch, "signed_by",
                                    pag_key_id_text(cli, m->key_id), "bytes", (json_int_t)m->size));
    if (rc == PAG_EXIT_OK && !pag_out_json(cli, v)) {
        (void)printf("%s: signature good: %s %s for %s, sequence %u, by %s\n", file, m->image, m->version,
                     pag_chip_name(m->chip), (unsigned)m->sequence, pag_key_id_text(cli, m->key_id));
    }
    return rc;
}

/* A release on the server: every image is fetched and must be what its record says. */
static int verify_release(struct pag_cli *cli, const char *text)
{
    json_t *release = NULL;
    char file[] = "/tmp/pagurus-verify-XXXXXX";
    size_t i = 0;
    const json_t *image = NULL;
    int rc = pag_find_release(cli, text, &release);
    int fd = rc == PAG_EXIT_OK ? mkstemp(file) : -1;
    if (rc != PAG_EXIT_OK || fd < 0) {
        return rc != PAG_EXIT_OK ? rc : pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "no temporary file");
    }
    (void)close(fd);
    json_array_foreach(json_object_get(release, "images"), i, image)
    {
        rc = download(cli, release, image, file);
        if (rc != PAG_EXIT_OK) {
            break;
        }
        (void)printf("%s\t%s\tgood\n", pag_out_text(image, "name"), pag_out_text(image, "sha256"));
    }
    (void)pag_fs_remove(file, NULL);
    return rc;
}

int pag_cmd_release_verify(struct pag_cli *cli)
{
    const char *what = pag_word(cli, 0);
    struct pag_buf buf = { NULL, 0, 0 };
    struct pag_firmware f;
    if (!pag_fs_exists(what)) {
        return verify_release(cli, what);
    }
    if (pag_fs_read(what, PAG_MANIFEST_MAX, &buf, NULL) == PAG_OK && buf.n > 0 && buf.p[0] == 0xd2) {
        int rc = verify_manifest(cli, what, pag_buf_span(&buf));
        pag_fs_buf_free(&buf);
        return rc;
    }
    pag_fs_buf_free(&buf);
    int rc = pag_firmware_read(cli, what, &f);
    if (rc == PAG_EXIT_OK && !pag_out_json(cli, pag_cli_keep(cli, pag_firmware_json(&f)))) {
        (void)printf("%s: %s\n", what, pag_firmware_line(cli, &f));
    }
    return rc;
}
