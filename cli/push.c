#include <string.h>

#include "cli/arduino.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/settings.h"
#include "cli/sign.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "core/version.h"

enum { FILES_MAX = 8 };

struct push {
    struct pag_firmware file[FILES_MAX];
    size_t n;
    json_t *product;
    json_t *releases;     /* of the product, all */
    const json_t *newest; /* published, by version; NULL when none */
    const json_t *before; /* published, by sequence: what a permit leads back to */
    struct pag_order order;
    struct pag_trust_view trust;
    struct pag_key key;
    bool made_first;
    bool arduino_only; /* without trust set and manifests */
    json_t *release;
    json_t *reach;
};

/* ---- what is pushed ---- */

static bool name_taken(const struct push *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->file[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int read_files(struct pag_cli *cli, struct push *p)
{
    for (size_t i = 0; i < cli->word_n; i++) {
        if (p->n == FILES_MAX) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "a release has at most %d images", FILES_MAX);
        }
        struct pag_firmware *f = &p->file[p->n];
        int rc = pag_firmware_read(cli, cli->word[i], f);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        if (name_taken(p, f->name)) {
            return pag_cli_fail(cli, PAG_EXIT_USAGE, "name them: firmware.bin filesystem=littlefs.bin",
                                "two images are called \"%s\"", f->name);
        }
        p->n++;
    }
    return PAG_EXIT_OK;
}

static int find_product(struct pag_cli *cli, struct push *p)
{
    const char *name = pag_conf_default(cli, "product");
    if (name == NULL && p->file[0].image.has_identity) {
        name = p->file[0].image.project;
    }
    if (name == NULL || name[0] == 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "--product NAME; pagurus product list shows them",
                            "%s does not say which product it is for", p->file[0].file);
    }
    int rc = pag_find_product(cli, name, &p->product);
    p->order.product = p->product;
    return rc == PAG_EXIT_OK ? pag_find_product_id(cli, p->product, p->order.product_id) : rc;
}

/* The server publishes no image whose identity block says another version. */
static int check_versions(struct pag_cli *cli, const struct push *p)
{
    const char *version = p->order.version;
    for (size_t i = 0; i < p->n; i++) {
        const struct pag_firmware *f = &p->file[i];
        const char *own = f->image.version;
        if (own[0] == 0 || strcmp(own, version) == 0) {
            continue;
        }
        if (f->image.has_identity) {
            return pag_cli_fail(
                cli, PAG_EXIT_USAGE,
                pag_cli_text(cli, "leave --version out, or build the firmware as %s; nothing was sent",
                             version),
                "%s says that it is version %s and would be released as %s", f->file, own, version);
        }
        pag_cli_warn(cli, "%s calls itself %s and is pushed as %s; devices will report %s", f->file, own,
                     version, own);
    }
    return PAG_EXIT_OK;
}

static int find_version(struct pag_cli *cli, struct push *p)
{
    const char *given = pag_opt(cli, "version");
    const char *own = p->file[0].image.version;
    p->order.version = given != NULL ? given : own;
    if (p->order.version[0] == 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "--version 1.2.3, or embed struct pag_identity in the firmware",
                            "%s carries no version", p->file[0].file);
    }
    if (!pag_version_ok(pag_span_str(p->order.version))) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "at most 32 printable characters without blanks and quotes",
                            "\"%s\" cannot be a version", p->order.version);
    }
    return check_versions(cli, p);
}

/* ---- against what is out there ---- */

static void look_at(struct push *p, const json_t *release)
{
    int order = 0;
    if (strcmp(pag_out_text(release, "state"), "published") != 0) {
        return;
    }
    if (p->before == NULL || pag_out_number(release, "sequence") > pag_out_number(p->before, "sequence")) {
        p->before = release;
    }
    struct pag_span version = pag_span_str(pag_out_text(release, "version"));
    if (p->newest == NULL ||
        (pag_version_compare(version, pag_span_str(pag_out_text(p->newest, "version")), &order) == PAG_OK &&
         order > 0)) {
        p->newest = release;
    }
}

static int check_order(struct pag_cli *cli, struct push *p)
{
    size_t i = 0;
    int order = 0;
    const json_t *release = NULL;
    const char *reason = pag_opt(cli, "allow-downgrade");
    const char *path =
        pag_cli_text(cli, "/releases?product=%s", pag_client_escape(cli, pag_out_text(p->product, "name")));
    int rc = pag_find_all(cli, path, &p->releases);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_array_foreach(p->releases, i, release)
    {
        look_at(p, release);
    }
    if (p->newest == NULL) {
        return rc;
    }
    const char *newest = pag_out_text(p->newest, "version");
    bool known = pag_version_compare(pag_span_str(p->order.version), pag_span_str(newest), &order) == PAG_OK;
    if (known && order == 0) {
        return pag_cli_fail(cli, PAG_EXIT_CONFLICT,
                            "a version is pushed once: raise it, build and push again",
                            "%s %s is published already", pag_out_text(p->product, "name"), newest);
    }
    if (known && order < 0 && (reason == NULL || reason[0] == 0)) {
        return pag_cli_fail(cli, PAG_EXIT_CONFLICT,
                            "raise the version; or --allow-downgrade REASON if devices shall really go back",
                            "%s is older than %s, the newest published of %s", p->order.version, newest,
                            pag_out_text(p->product, "name"));
    }
    return rc;
}

static int check_epoch(struct pag_cli *cli, struct push *p)
{
    uint64_t epoch = 0;
    uint64_t now_out = p->before == NULL ? 0 : pag_out_number(p->before, "epoch");
    uint64_t own = p->file[0].image.identity_epoch;
    int rc =
        pag_opt_number(cli, "epoch", own > now_out || p->file[0].image.has_identity ? own : now_out, &epoch);
    if (rc == PAG_EXIT_OK && epoch > 65536) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "security epochs end at 65536");
    }
    if (rc == PAG_EXIT_OK && epoch < now_out) {
        return pag_cli_fail(cli, PAG_EXIT_CONFLICT,
                            "devices would refuse it; build with the epoch of the release before",
                            "security epoch %llu is below %llu of %s", (unsigned long long)epoch,
                            (unsigned long long)now_out, pag_out_text(p->before, "version"));
    }
    p->order.epoch = (uint32_t)epoch;
    return rc;
}

/* ---- who signs ---- */

static int open_or_make(struct pag_cli *cli, const char *name, struct pag_key *key, bool *made)
{
    if (pag_key_exists(cli, name)) {
        return pag_key_open(cli, name, key);
    }
    *made = true;
    pag_cli_say(cli, "making key %s\n", name);
    return pag_key_make(cli, name, key);
}

/* --sign first: everything that a first signature needs, made on the spot. */
static int sign_first(struct pag_cli *cli, struct push *p, bool has_trust)
{
    struct pag_key root;
    int rc = open_or_make(cli, "first", &p->key, &p->made_first);
    if (rc != PAG_EXIT_OK || has_trust) {
        return rc;
    }
    if (!pag_key_exists(cli, "first-root")) {
        rc = open_or_make(cli, "first-root", &root, &p->made_first);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        pag_key_close(&root);
    }
    rc = pag_trust_first(cli, p->product, "first-root", "first", &p->trust);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "trust set 1 of %s: root first-root, release key first\n",
                    pag_out_text(p->product, "name"));
    }
    return rc;
}

static int choose_signer(struct pag_cli *cli, struct push *p)
{
    const char *name = pag_conf_default(cli, "sign");
    int rc = pag_trust_load(cli, p->product, &p->trust);
    bool has_trust = rc == PAG_EXIT_OK;
    p->order.trust = &p->trust;
    p->order.key = &p->key;
    if (rc != PAG_EXIT_OK && rc != PAG_EXIT_NOT_FOUND) {
        return rc;
    }
    if (name != NULL && strcmp(name, "first") == 0) {
        rc = sign_first(cli, p, has_trust);
    } else if (!has_trust && name == NULL && pag_arduino_has(cli, &p->file[0])) {
        p->arduino_only =
            true; /* devices of the old world alone: their signature is behind the image or beside it */
        return PAG_EXIT_OK;
    } else if (!has_trust) {
        const char *product = pag_out_text(p->product, "name");
        return pag_cli_fail(
            cli, PAG_EXIT_DENIED,
            pag_cli_text(cli,
                         "--sign first makes keys and trust set; or pagurus key trust create --product %s "
                         "--root R --release K",
                         product),
            "product %s has no trust set, so devices would believe no signature", product);
    } else {
        rc = pag_sign_choose(cli, &p->trust.set, pag_out_text(p->product, "name"), &name);
        if (rc == PAG_EXIT_OK) {
            rc = pag_key_open(cli, name, &p->key);
        }
    }
    return rc == PAG_EXIT_OK ? pag_sign_allowed(cli, &p->order) : rc;
}

/* ---- making the release ---- */

/* A draft that an earlier, broken push of the same version left behind is taken up again. */
static json_t *old_draft(const struct push *p)
{
    size_t i = 0;
    json_t *release = NULL;
    json_array_foreach(p->releases, i, release)
    {
        if (strcmp(pag_out_text(release, "version"), p->order.version) == 0 &&
            strcmp(pag_out_text(release, "state"), "draft") == 0) {
            return release;
        }
    }
    return NULL;
}

static int make_draft(struct pag_cli *cli, struct push *p)
{
    const char *channel = pag_conf_default(cli, "channel");
    const char *notes = pag_opt(cli, "notes");
    int rc = PAG_EXIT_OK;
    p->release = old_draft(p);
    if (p->release != NULL) {
        pag_cli_say(cli, "going on with draft %s\n", pag_out_text(p->release, "id"));
    } else {
        json_t *body = pag_cli_keep(
            cli, json_pack("{s:s, s:s, s:s}", "product", pag_out_text(p->product, "name"), "version",
                           p->order.version, "channel", channel != NULL ? channel : "stable"));
        if (notes != NULL) {
            (void)json_object_set_new(body, "notes", json_string(notes));
        }
        rc = pag_client_send(cli, "POST", "/releases", body, &p->release);
    }
    p->order.release = pag_client_escape(cli, pag_out_text(p->release, "id"));
    p->order.sequence = (uint32_t)pag_out_number(p->release, "sequence");
    if (rc == PAG_EXIT_OK && (p->order.release[0] == 0 || p->order.sequence == 0)) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED, "client and server must be of one version: pagurus doctor",
                            "the draft has no id or sequence");
    }
    return rc;
}

/* The name of the file, as devices may ask for it; what no address has in it is left out. */
static const char *asked_as(struct pag_cli *cli, const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash != NULL ? slash + 1 : file;
    char *out = pag_cli_text(cli, "%.64s", name + strspn(name, "."));
    size_t n = 0;
    for (const char *p = out; *p != '\0'; p++) {
        bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
                  strchr("._+-", *p) != NULL;
        out[n] = *p;
        n += ok ? 1 : 0;
    }
    out[n] = '\0';
    return n > 0 ? out : "image";
}

static int upload(struct pag_cli *cli, struct push *p, const struct pag_firmware *f)
{
    char base64[92];
    char size[24];
    struct pag_answer a;
    struct pag_call call = { .method = "PUT", .raw = f->bytes, .type = "application/octet-stream" };
    uint64_t began = cli->clock.now_ms(cli->clock.ctx);
    pag_text_base64(pag_span_of(f->digest, sizeof f->digest), base64);
    call.digest = pag_cli_text(cli, "sha-256=:%s:", base64);
    const char *inside = pag_opt(cli, "verify-key");
    const char *core = pag_opt(cli, "core");
    call.path =
        pag_cli_text(cli, "/releases/%s/images/%s?file=%s%s%s%s%s", p->order.release, f->name,
                     pag_client_escape(cli, asked_as(cli, f->file)), inside != NULL ? "&verify_key=" : "",
                     inside != NULL ? pag_client_escape(cli, inside) : "", core != NULL ? "&core=" : "",
                     core != NULL ? pag_client_escape(cli, core) : "");
    call.progress = pag_cli_text(cli, "uploading %s", f->name);
    int rc = pag_client_call(cli, &call, &a);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    const char *theirs = pag_out_text(a.json, "sha256");
    if (theirs[0] != 0 && strcmp(theirs, f->sha256) != 0) {
        return pag_cli_fail(cli, PAG_EXIT_FAILED,
                            "nothing was signed; look for what changes bytes on the way",
                            "the server has other bytes for %s: sha256 %s", f->name, theirs);
    }
    pag_text_bytes(f->bytes.n, size);
    uint64_t took = cli->clock.now_ms(cli->clock.ctx) - began;
    pag_cli_say(cli, "uploaded %s, %s in %.1f s\n", f->name, size, (double)took / 1000);
    return rc;
}

static int send_all(struct pag_cli *cli, struct push *p)
{
    int rc = make_draft(cli, p);
    for (size_t i = 0; rc == PAG_EXIT_OK && i < p->n; i++) {
        rc = upload(cli, p, &p->file[i]);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_arduino_detach(cli, p->order.release, p->file, p->n);
    }
    if (p->arduino_only) {
        return rc;
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < p->n; i++) {
        rc = pag_sign_image(cli, &p->order, &p->file[i]);
        if (rc == PAG_EXIT_OK) {
            rc = pag_sign_permit(cli, &p->order, &p->file[i]);
        }
    }
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "signed by %s (ES256 %s), sequence %u\n", p->key.name,
                    pag_key_id_text(cli, p->key.id), (unsigned)p->order.sequence);
    }
    return rc;
}

static int publish(struct pag_cli *cli, struct push *p)
{
    struct pag_answer a;
    json_t *reply = NULL;
    if (pag_opt_on(cli, "draft")) {
        return PAG_EXIT_OK;
    }
    int rc = pag_arduino_strands(cli, p->order.release, "publish");
    if (rc == PAG_EXIT_OK) {
        rc = pag_client_send(cli, "POST", pag_cli_text(cli, "/releases/%s:publish", p->order.release),
                             pag_arduino_change(cli), &reply);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    p->release = reply != NULL ? reply : p->release;
    /* It is out; that the reach cannot be told is no failure of the push. */
    struct pag_call call = { .method = "GET", .silent = true };
    call.path = pag_cli_text(cli, "/releases/%s/reach", p->order.release);
    p->reach = pag_client_call(cli, &call, &a) == PAG_EXIT_OK ? a.json : NULL;
    return rc;
}

/* ---- saying ---- */

static void say_reach(struct pag_cli *cli, const json_t *reach)
{
    size_t i = 0;
    const json_t *b = NULL;
    pag_cli_say(cli, "reaches %llu of %llu devices; %llu have it already\n",
                (unsigned long long)pag_out_number(reach, "will_update"),
                (unsigned long long)pag_out_number(reach, "total"),
                (unsigned long long)pag_out_number(reach, "up_to_date"));
    json_array_foreach(json_object_get(reach, "blocked"), i, b)
    {
        pag_cli_say(cli, "  not %llu: %s (as %s)\n", (unsigned long long)pag_out_number(b, "count"),
                    pag_out_text(b, "reason"), pag_out_text(b, "example"));
    }
}

static int finish(struct pag_cli *cli, struct push *p)
{
    bool draft = pag_opt_on(cli, "draft");
    const char *id = pag_out_text(p->release, "id");
    if (p->reach != NULL) {
        say_reach(cli, p->reach);
    }
    if (draft) {
        pag_cli_say(cli, "draft %s is signed.   Next: pagurus release publish %s\n", id, id);
    } else {
        pag_cli_say(
            cli,
            "release %s is out.   Next: pagurus device list --product %s; to stop it: pagurus release "
            "withdraw %s\n",
            p->order.version, pag_out_text(p->product, "name"), id);
    }
    if (p->made_first) {
        pag_cli_warn(
            cli,
            "keys were made in %s. Without first-root you can never change who signs: copy both files away "
            "from this machine now, and their passphrase too",
            pag_key_folder(cli));
    }
    const char *signer = p->arduino_only ? NULL : pag_key_id_text(cli, p->key.id);
    json_t *out =
        pag_cli_keep(cli, json_pack("{s:O, s:O*, s:s?, s:s}", "release", p->release, "reach", p->reach,
                                    "signed_by", signer, "state", draft ? "draft" : "published"));
    if (!pag_out_json(cli, out)) {
        (void)printf("%s\n", id);
    }
    return PAG_EXIT_OK;
}

static int set_times(struct pag_cli *cli, struct push *p)
{
    uint64_t expires_s = 0;
    int rc = pag_opt_seconds(cli, "expires", 0, &expires_s);
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_seconds(cli, "permit", 180ULL * 86400, &p->order.permit_s);
    }
    if (expires_s != 0) {
        p->order.expires_at = cli->clock.now_unix_ms(cli->clock.ctx) / 1000 + expires_s;
    }
    p->order.before = p->before;
    return rc;
}

int pag_cmd_release_push(struct pag_cli *cli)
{
    typedef int (*step_fn)(struct pag_cli *, struct push *);
    static const step_fn before_files[] = { read_files, find_product };
    static const step_fn after_files[] = { find_version,  check_order, check_epoch, set_times,
                                           choose_signer, send_all,    publish };
    struct push *p = pag_cli_alloc(cli, sizeof *p);
    int rc = PAG_EXIT_OK;
    for (size_t i = 0; rc == PAG_EXIT_OK && i < sizeof before_files / sizeof before_files[0]; i++) {
        rc = before_files[i](cli, p);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_arduino_sign(cli, p->file, p->n);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < p->n; i++) {
        pag_cli_say(cli, "%s: %s\n", p->file[i].file, pag_firmware_line(cli, &p->file[i]));
        rc = pag_firmware_fits(cli, &p->file[i], p->product);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < sizeof after_files / sizeof after_files[0]; i++) {
        rc = after_files[i](cli, p);
    }
    if (rc == PAG_EXIT_OK) {
        rc = finish(cli, p);
    }
    pag_key_close(&p->key);
    return rc;
}

/* ---- release sign: the second half alone ---- */

static const json_t *image_of(const json_t *release, const struct pag_firmware *f)
{
    const json_t *list = json_object_get(release, "images");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *image = json_array_get(list, i);
        if (strcmp(pag_out_text(image, "name"), f->name) == 0 &&
            strcmp(pag_out_text(image, "sha256"), f->sha256) == 0) {
            return image;
        }
    }
    return NULL;
}

static int sign_checked(struct pag_cli *cli, struct push *p)
{
    int rc = check_epoch(cli, p);
    if (rc == PAG_EXIT_OK) {
        rc = set_times(cli, p);
    }
    if (rc == PAG_EXIT_OK) {
        rc = choose_signer(cli, p);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < p->n; i++) {
        if (image_of(p->release, &p->file[i]) == NULL) {
            return pag_cli_fail(cli, PAG_EXIT_CONFLICT, "sign only the file that was uploaded",
                                "the draft's image %s is not %s (sha256 %s)", p->file[i].name,
                                p->file[i].file, p->file[i].sha256);
        }
        rc = pag_sign_image(cli, &p->order, &p->file[i]);
        if (rc == PAG_EXIT_OK && p->order.before != NULL) {
            rc = pag_sign_permit(cli, &p->order, &p->file[i]);
        }
    }
    return rc;
}

int pag_cmd_release_sign(struct pag_cli *cli)
{
    struct push *p = pag_cli_alloc(cli, sizeof *p);
    const char *draft = pag_word(cli, 0);
    int rc = pag_find_release(cli, draft, &p->release);
    memmove(cli->word, cli->word + 1, (cli->word_n - 1) * sizeof cli->word[0]);
    cli->word_n--;
    if (rc == PAG_EXIT_OK) {
        rc = read_files(cli, p);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_find_product(cli, pag_out_text(p->release, "product"), &p->product);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_find_product_id(cli, p->product, p->order.product_id);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    p->order.product = p->product;
    p->order.version = pag_out_text(p->release, "version");
    p->order.release = pag_client_escape(cli, pag_out_text(p->release, "id"));
    p->order.sequence = (uint32_t)pag_out_number(p->release, "sequence");
    rc = sign_checked(cli, p);
    if (rc == PAG_EXIT_OK) {
        pag_cli_say(cli, "%s is signed by %s.   Next: pagurus release publish %s\n", p->order.version,
                    p->key.name, p->order.release);
    }
    pag_key_close(&p->key);
    return rc;
}
