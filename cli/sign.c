#include "cli/sign.h"

#include <string.h>

#include "cli/client.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/settings.h"
#include "core/bytes.h"
#include "core/version.h"
#include "host/crypto.h"
#include "host/fs.h"

/* ---- which key ---- */

static bool may_release(const struct pag_trust_set *set, const uint8_t id[PAG_KEY_ID_BYTES])
{
    for (size_t i = 0; i < set->release_n; i++) {
        if (memcmp(set->release[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_root(const struct pag_trust_set *set, const uint8_t id[PAG_KEY_ID_BYTES])
{
    for (size_t i = 0; i < set->root_n; i++) {
        if (memcmp(set->root[i].id, id, PAG_KEY_ID_BYTES) == 0) {
            return true;
        }
    }
    return false;
}

/* Of the keys on this machine that may sign releases: how many, and in *name the last. */
static size_t signers(struct pag_cli *cli, const struct pag_trust_set *set, const char **name)
{
    size_t hits = 0;
    for (const char **local = pag_key_names(cli); *local != NULL; local++) {
        struct pag_key key;
        if (pag_key_public_any(cli, *local, &key) == PAG_EXIT_OK) {
            bool may = may_release(set, key.id);
            *name = may ? *local : *name;
            hits += may;
            pag_key_close(&key);
        }
    }
    return hits;
}

/* What to sign with instead of a root key. */
static const char *instead_of_root(struct pag_cli *cli, const struct pag_trust_set *set, const char *product)
{
    const char *other = NULL;
    if (signers(cli, set, &other) > 0) {
        return pag_cli_text(cli, "--sign %s, a release key of this machine; keep the root key offline",
                            other);
    }
    return pag_cli_text(cli,
                        "make a release key: pagurus key generate NAME; let devices believe it: pagurus key "
                        "trust rotate --product %s --add-release NAME; then --sign NAME. The root key signs "
                        "only trust sets: keep it offline",
                        product);
}

int pag_sign_choose(struct pag_cli *cli, const struct pag_trust_set *set, const char *product,
                    const char **name)
{
    struct pag_key key;
    *name = pag_conf_default(cli, "sign");
    if (*name != NULL) {
        /* A root key need not even be opened to be refused. A key without .pub is judged when it is open. */
        bool here = pag_key_exists(cli, *name) && pag_fs_exists(pag_key_path(cli, *name, ".pub"));
        int rc = here ? pag_key_public(cli, *name, &key) : PAG_EXIT_OK;
        bool root = here && rc == PAG_EXIT_OK && is_root(set, key.id) && !may_release(set, key.id);
        if (here) {
            pag_key_close(&key);
        }
        return !root ? rc
                     : pag_cli_fail(cli, PAG_EXIT_DENIED, instead_of_root(cli, set, product),
                                    "%s is a root key of trust set %u of %s, not a release key: it signs no "
                                    "releases",
                                    *name, (unsigned)set->version, product);
    }
    size_t hits = signers(cli, set, name);
    if (hits == 1) {
        pag_cli_say(cli, "signing with key %s, the only one here that trust set %u of %s allows\n", *name,
                    (unsigned)set->version, product);
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE,
                        "--sign KEY; pagurus key list shows them, --sign first makes one",
                        hits == 0 ? "no key of this machine may sign for this product"
                                  : "several keys of this machine may sign for this product");
}

int pag_sign_allowed(struct pag_cli *cli, const struct pag_order *o)
{
    const struct pag_trust_set *set = &o->trust->set;
    if (pag_trust_release_key(set, o->key->id, PAG_KIND_FIRMWARE, o->epoch) != NULL) {
        return PAG_EXIT_OK;
    }
    const char *product = pag_out_text(o->product, "name");
    return pag_cli_fail(
        cli, PAG_EXIT_DENIED,
        pag_cli_text(cli, "pagurus key trust rotate --product %s --add-release %s", product, o->key->name),
        "trust set %u of %s does not let key %s (%s) sign firmware of epoch %u", (unsigned)set->version,
        product, o->key->name, pag_key_id_text(cli, o->key->id), (unsigned)o->epoch);
}

/* ---- manifests ---- */

static int add_hardware(struct pag_cli *cli, struct pag_manifest *m, const char *id)
{
    size_t n = strlen(id);
    if (n < 4 || n > PAG_HARDWARE_ID_MAX || m->hardware_n == PAG_HARDWARE_IDS_MAX) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE,
                            "a product lists at most four boards, each of 4 to 16 characters",
                            "hardware \"%s\" cannot be put into the manifest", id);
    }
    struct pag_hardware_id *h = &m->hardware[m->hardware_n++];
    h->n = (uint8_t)n;
    memcpy(h->id, id, n);
    return PAG_EXIT_OK;
}

/* The image's own board when it says one, else all of the product. */
static int set_hardware(struct pag_cli *cli, struct pag_manifest *m, const json_t *product, const char *own)
{
    const json_t *list = json_object_get(product, "hardware");
    int rc = PAG_EXIT_OK;
    if (own[0] != 0) {
        return add_hardware(cli, m, own);
    }
    for (size_t i = 0; rc == PAG_EXIT_OK && i < json_array_size(list); i++) {
        const char *id = json_string_value(json_array_get(list, i));
        rc = add_hardware(cli, m, id != NULL ? id : "");
    }
    if (rc == PAG_EXIT_OK && m->hardware_n == 0) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus product create NAME --chip C --hardware d1mini",
                            "product %s lists no hardware, so a manifest would fit no board",
                            pag_out_text(product, "name"));
    }
    return rc;
}

static int common(struct pag_cli *cli, const struct pag_order *o, const struct pag_firmware *f,
                  struct pag_manifest *m)
{
    memset(m, 0, sizeof *m);
    memcpy(m->product, o->product_id, sizeof m->product);
    memcpy(m->key_id, o->key->id, sizeof m->key_id);
    m->chip = pag_chip_by_name(pag_span_str(pag_out_text(o->product, "chip")));
    m->issued_at = cli->clock.now_unix_ms(cli->clock.ctx) / 1000;
    m->trust_version_min = o->trust->set.version;
    if (pag_text_copy(m->image, sizeof m->image, pag_span_str(f->name)) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "image name %s is too long", f->name);
    }
    return set_hardware(cli, m, o->product, f->image.hardware);
}

static int set_version(struct pag_cli *cli, struct pag_manifest *m, const char *version)
{
    if (!pag_version_ok(pag_span_str(version)) ||
        pag_text_copy(m->version, sizeof m->version, pag_span_str(version)) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "at most 32 characters without blanks and quotes",
                            "\"%s\" cannot be a version", version);
    }
    return PAG_EXIT_OK;
}

static int send(struct pag_cli *cli, const struct pag_order *o, const struct pag_manifest *m,
                const char *where)
{
    struct pag_fail why = { PAG_OK, NULL, 0 };
    struct pag_answer a;
    struct pag_buf cose = { pag_cli_alloc(cli, PAG_MANIFEST_MAX), 0, PAG_MANIFEST_MAX };
    enum pag_err err = pag_manifest_sign(pag_crypto_openssl(), m, pag_crypto_sign, o->key->pkey, &cose, &why);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "the manifest of %s cannot be made: %s", m->image,
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    struct pag_call call = { .method = "POST", .raw = pag_buf_span(&cose), .type = "application/cose" };
    call.path = pag_cli_text(cli, "/releases/%s/%s", o->release, where);
    return pag_client_call(cli, &call, &a);
}

int pag_sign_image(struct pag_cli *cli, const struct pag_order *o, const struct pag_firmware *f)
{
    struct pag_manifest *m = pag_cli_alloc(cli, sizeof *m);
    int rc = common(cli, o, f, m);
    if (rc == PAG_EXIT_OK) {
        rc = set_version(cli, m, o->version);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    m->kind = pag_firmware_kind(f);
    m->epoch = o->epoch;
    m->sequence = o->sequence;
    m->size = (uint32_t)f->bytes.n;
    m->expires_at = o->expires_at;
    memcpy(m->digest, f->digest, sizeof m->digest);
    if (f->image.kind == PAG_IMAGE_ESP32) {
        m->has_build = true;
        memcpy(m->build, f->image.elf_sha256, sizeof m->build);
    }
    return send(cli, o, m, "manifests");
}

int pag_sign_permit(struct pag_cli *cli, const struct pag_order *o, const struct pag_firmware *f)
{
    const json_t *image = pag_find_image(o->before, f->name);
    uint32_t epoch = (uint32_t)pag_out_number(o->before, "epoch");
    if (image == NULL || o->permit_s == 0) {
        return PAG_EXIT_OK;
    }
    if (epoch < o->epoch ||
        pag_trust_release_key(&o->trust->set, o->key->id, PAG_KIND_ROLLBACK_PERMIT, o->epoch) == NULL) {
        pag_cli_say(cli, "no way back to %s is signed: %s\n", pag_out_text(o->before, "version"),
                    epoch < o->epoch ? "its security epoch is lower"
                                     : "this key may not sign rollback permits");
        return PAG_EXIT_OK;
    }
    struct pag_manifest *m = pag_cli_alloc(cli, sizeof *m);
    int rc = common(cli, o, f, m);
    if (rc == PAG_EXIT_OK) {
        rc = set_version(cli, m, pag_out_text(o->before, "version"));
    }
    if (rc == PAG_EXIT_OK &&
        pag_parse_hex(pag_span_str(pag_out_text(image, "sha256")), m->digest, sizeof m->digest) != PAG_OK) {
        rc = pag_cli_fail(cli, PAG_EXIT_FAILED, NULL, "the server names no digest for %s",
                          pag_out_text(o->before, "version"));
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    m->kind = PAG_KIND_ROLLBACK_PERMIT;
    m->epoch = epoch;
    m->sequence = (uint32_t)pag_out_number(o->before, "sequence");
    m->size = (uint32_t)pag_out_number(image, "bytes");
    m->has_stone = true; /* docs/spec/manifest.md: of a permit, the sequence it leads down from */
    m->stone_sequence = o->sequence;
    m->stone_epoch = o->epoch;
    m->expires_at = m->issued_at + o->permit_s;
    return send(cli, o, m, "permits");
}
