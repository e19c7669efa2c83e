#include "server/domain/release.h"

#include <string.h>

#include "core/version.h"
#include "server/domain/words.h"

static const char *const states[] = { "draft", "published", "withdrawn" };

const char *pag_release_state_word(enum pag_release_state s)
{
    return s <= PAG_RELEASE_WITHDRAWN ? states[s] : "draft";
}

enum pag_err pag_release_state_by_word(struct pag_span word, enum pag_release_state *out)
{
    for (int i = PAG_RELEASE_DRAFT; i <= PAG_RELEASE_WITHDRAWN; i++) {
        if (pag_span_eq_str(word, states[i])) {
            *out = (enum pag_release_state)i;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

/* ---- the gate ---- */

/* A finding to be written; when there is no room the last one is overwritten, so that none passes unseen. */
static struct pag_words finding(struct pag_gate *gate, const char *pointer, const char *code)
{
    if (gate->n < PAG_GATE_MAX) {
        gate->n++;
    }
    struct pag_gate_finding *f = &gate->finding[gate->n - 1];
    f->pointer = pointer;
    f->code = code;
    return pag_words_into(f->detail, sizeof f->detail);
}

static void gate_chip(const struct pag_product *p, const struct pag_release_image *i, struct pag_gate *gate)
{
    if (i->chip != p->chip) {
        struct pag_words w = finding(gate, "/chip", "wrong-chip");
        pag_words_put(&w, "The image is for ");
        pag_words_put(&w, pag_chip_name(i->chip));
        pag_words_put(&w, ", the product's chip is ");
        pag_words_put(&w, pag_chip_name(p->chip));
        pag_words_put(&w, ".");
    }
    if (p->chip == PAG_CHIP_ESP8266 && i->kind == PAG_IMAGE_ESP8266_PLAIN) {
        struct pag_words w = finding(gate, "/kind", "no-boot-part");
        pag_words_put(&w,
                      "The file has no boot part in its first 4096 bytes; an update needs the whole .bin.");
    }
}

static void gate_size(const struct pag_product *p, const struct pag_release_image *i, struct pag_gate *gate)
{
    if (p->slot_bytes != 0 && i->bytes > p->slot_bytes) {
        struct pag_words w = finding(gate, "/bytes", "slot-too-small");
        pag_words_put(&w, "The image has ");
        pag_words_num(&w, i->bytes);
        pag_words_put(&w, " bytes, the slot of this product ");
        pag_words_num(&w, p->slot_bytes);
        pag_words_put(&w, ".");
    }
    if (p->flash_bytes != 0 && i->flash_size_bytes > p->flash_bytes) {
        struct pag_words w = finding(gate, "/flash_size_bytes", "flash-misfit");
        pag_words_put(&w, "The image was built for ");
        pag_words_num(&w, i->flash_size_bytes);
        pag_words_put(&w, " bytes of flash, the product has ");
        pag_words_num(&w, p->flash_bytes);
        pag_words_put(&w, ".");
    }
}

static void gate_identity(const struct pag_product *p, const struct pag_release *r,
                          const struct pag_release_image *i, struct pag_gate *gate)
{
    if (i->hardware[0] != '\0' && !pag_product_has_hardware(p, pag_span_str(i->hardware))) {
        struct pag_words w = finding(gate, "/hardware", "wrong-hardware");
        pag_words_put(&w, "The image says it is for the board ");
        pag_words_put(&w, i->hardware);
        pag_words_put(&w, ", which is not of product ");
        pag_words_put(&w, p->name);
        pag_words_put(&w, ".");
    }
    /* An ELF or ESP-IDF project name is not ours unless the identity block said it: then hardware is there.
     */
    if (i->hardware[0] != '\0' && i->project[0] != '\0' && strcmp(i->project, p->name) != 0) {
        struct pag_words w = finding(gate, "/project", "wrong-product");
        pag_words_put(&w, "The image says it is product ");
        pag_words_put(&w, i->project);
        pag_words_put(&w, ", not ");
        pag_words_put(&w, p->name);
        pag_words_put(&w, ".");
    }
    if (i->hardware[0] != '\0' && i->version[0] != '\0' && strcmp(i->version, r->version) != 0) {
        struct pag_words w = finding(gate, "/version", "other-version");
        pag_words_put(&w, "The image says it is version ");
        pag_words_put(&w, i->version);
        pag_words_put(&w, ", the release is ");
        pag_words_put(&w, r->version);
        pag_words_put(&w, ".");
    }
}

void pag_release_gate_image(const struct pag_product *p, const struct pag_release *r,
                            const struct pag_release_image *image, struct pag_gate *gate)
{
    if (image->kind == PAG_IMAGE_FILESYSTEM) {
        gate_size(p, image, gate);
        return;
    }
    gate_chip(p, image, gate);
    gate_size(p, image, gate);
    gate_identity(p, r, image, gate);
}

void pag_release_gate_publish(const struct pag_product *p, const struct pag_release *r,
                              const struct pag_release *newest, struct pag_gate *gate)
{
    bool firmware = false;
    for (size_t i = 0; i < r->image_n; i++) {
        firmware = firmware || r->image[i].kind != PAG_IMAGE_FILESYSTEM;
        pag_release_gate_image(p, r, &r->image[i], gate);
        if (p->trust_version > 0 && r->manifest[i].n == 0) {
            struct pag_words w = finding(gate, "/manifests", "no-manifest");
            pag_words_put(&w, "The image ");
            pag_words_put(&w, r->image[i].name);
            pag_words_put(&w, " has no signed manifest, and the product has a trust set.");
        }
    }
    if (!firmware) {
        struct pag_words w = finding(gate, "/images", "no-firmware");
        pag_words_put(&w, "The release has no firmware image.");
    }
    if (r->state == PAG_RELEASE_WITHDRAWN) {
        struct pag_words w = finding(gate, "/state", "withdrawn");
        pag_words_put(&w, "The release was withdrawn; make a new one.");
    }
    int order = 0;
    if (newest != NULL &&
        pag_version_compare(pag_span_str(r->version), pag_span_str(newest->version), &order) == PAG_OK &&
        order <= 0) {
        struct pag_words w = finding(gate, "/version", "downgrade");
        pag_words_put(&w, "Version ");
        pag_words_put(&w, r->version);
        pag_words_put(&w, " is not above ");
        pag_words_put(&w, newest->version);
        pag_words_put(&w, ", which is published.");
    }
    if (newest != NULL && r->sequence <= newest->sequence) {
        struct pag_words w = finding(gate, "/sequence", "old-sequence");
        pag_words_put(&w, "Sequence ");
        pag_words_num(&w, r->sequence);
        pag_words_put(&w, " is not above that of the newest published release, ");
        pag_words_num(&w, newest->sequence);
        pag_words_put(&w, ".");
    }
    if (newest != NULL && r->epoch < newest->epoch) {
        struct pag_words w = finding(gate, "/epoch", "old-epoch");
        pag_words_put(&w, "Security epoch ");
        pag_words_num(&w, r->epoch);
        pag_words_put(&w, " is below that of the newest published release, ");
        pag_words_num(&w, newest->epoch);
        pag_words_put(&w, ".");
    }
}

void pag_release_gate_signature(const struct pag_release_image *image, struct pag_gate *gate)
{
    struct pag_words w = finding(gate, "/signatures", "bad-signature");
    pag_words_put(&w, "A signature beside the image ");
    pag_words_put(&w, image->name);
    pag_words_put(&w, " is of none of the product's signing keys.");
}

/* ---- manifests ---- */

static enum pag_err hardware_fits(const struct pag_product *p, const struct pag_manifest *m,
                                  struct pag_fail *why)
{
    for (size_t i = 0; i < m->hardware_n; i++) {
        if (!pag_product_has_hardware(p, pag_span_of(m->hardware[i].id, m->hardware[i].n))) {
            return pag_fail_set(why, PAG_E_HARDWARE, "the manifest names a board that is not of this product",
                                i);
        }
    }
    return m->chip == p->chip
               ? PAG_OK
               : pag_fail_set(why, PAG_E_HARDWARE, "the manifest is for another chip", m->chip);
}

enum pag_err pag_release_manifest_fits(const struct pag_product *p, const struct pag_release *r,
                                       const struct pag_manifest *m, uint64_t now_unix_s,
                                       struct pag_fail *why)
{
    if (memcmp(m->product, p->id_bytes, sizeof m->product) != 0) {
        return pag_fail_set(why, PAG_E_PRODUCT, "the manifest is for another product", 0);
    }
    enum pag_err err = hardware_fits(p, m, why);
    if (err != PAG_OK) {
        return err;
    }
    const struct pag_release_image *image = NULL;
    for (size_t i = 0; i < r->image_n; i++) {
        if (strcmp(r->image[i].name, m->image) == 0) {
            image = &r->image[i];
        }
    }
    if (image == NULL) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "the release has no image of the name in the manifest", 0);
    }
    bool filesystem = image->kind == PAG_IMAGE_FILESYSTEM;
    if (m->kind != (filesystem ? PAG_KIND_FILESYSTEM : PAG_KIND_FIRMWARE)) {
        return pag_fail_set(why, PAG_E_UNSUPPORTED, "the manifest's kind is not that of the image", m->kind);
    }
    if (memcmp(m->digest, image->sha256, sizeof m->digest) != 0) {
        return pag_fail_set(why, PAG_E_DIGEST, "the manifest's digest is not that of the image", 0);
    }
    if (m->size != image->bytes) {
        return pag_fail_set(why, PAG_E_RANGE, "the manifest's size is not that of the image", m->size);
    }
    if (m->sequence != r->sequence) {
        return pag_fail_set(why, PAG_E_CONFLICT, "the manifest's sequence is not that of the release",
                            m->sequence);
    }
    if (strcmp(m->version, r->version) != 0) {
        return pag_fail_set(why, PAG_E_CONFLICT, "the manifest's version is not that of the release", 0);
    }
    if (m->expires_at != 0 && m->expires_at <= now_unix_s) {
        return pag_fail_set(why, PAG_E_EXPIRED, "the manifest has expired", m->expires_at);
    }
    return PAG_OK;
}

/* ---- keys do not belong into images ---- */

static bool ends_like_private_key(struct pag_span file, size_t from)
{
    static const char tail[] = "PRIVATE KEY-----";
    size_t stop = file.n < from + 40 ? file.n : from + 40;
    for (size_t at = from; at + sizeof tail - 1 <= stop; at++) {
        if (memcmp(file.p + at, tail, sizeof tail - 1) == 0) {
            return true;
        }
    }
    return false;
}

/* A key has base64 after its head; a parser's own literal in a program has not. */
static bool has_key_body(struct pag_span file, size_t from)
{
    size_t run = 0;
    for (size_t at = from; at < file.n && at < from + 512; at++) {
        uint8_t c = file.p[at];
        bool base64 = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '+' || c == '/' || c == '=';
        run = base64 ? run + 1 : (c == '\n' || c == '\r' ? run : 0);
        if (run >= 48) {
            return true;
        }
    }
    return false;
}

static bool bytes_at(struct pag_span file, size_t at, const uint8_t *bytes, size_t n)
{
    return at <= file.n && n <= file.n - at && memcmp(file.p + at, bytes, n) == 0;
}

/* ECPrivateKey (RFC 5915) of P-256 from its version on: followed by curve or public key, or inside PKCS#8. */
static bool is_der_ec_key(struct pag_span file, size_t at)
{
    static const uint8_t head[] = { 0x02, 0x01, 0x01, 0x04, 0x20 };
    static const uint8_t curve[] = { 0xA0, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07 };
    static const uint8_t point[] = { 0xA1, 0x44, 0x03, 0x42, 0x00, 0x04 };
    static const uint8_t bare[] = { 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25 };
    size_t end = at + sizeof head + 32;
    return bytes_at(file, at, head, sizeof head) &&
           (bytes_at(file, end, curve, sizeof curve) || bytes_at(file, end, point, sizeof point) ||
            (at >= sizeof bare && bytes_at(file, at - sizeof bare, bare, sizeof bare)));
}

/* RSAPrivateKey (RFC 8017 A.1.2) from its version on: a modulus of 1024 bits or more, then 65537. */
static bool is_der_rsa_key(struct pag_span file, size_t at)
{
    static const uint8_t small[] = { 0x02, 0x01, 0x00, 0x02, 0x81, 0x81, 0x00 };
    static const uint8_t head[] = { 0x02, 0x01, 0x00, 0x02, 0x82 };
    static const uint8_t exponent[] = { 0x02, 0x03, 0x01, 0x00, 0x01, 0x02 };
    if (bytes_at(file, at, small, sizeof small)) {
        return bytes_at(file, at + sizeof small + 128, exponent, sizeof exponent);
    }
    if (!bytes_at(file, at, head, sizeof head) || file.n - at < sizeof head + 2) {
        return false;
    }
    size_t modulus = (size_t)file.p[at + sizeof head] << 8 | file.p[at + sizeof head + 1];
    return bytes_at(file, at + sizeof head + 2 + modulus, exponent, sizeof exponent);
}

static bool holds_der_key(struct pag_span file)
{
    for (size_t at = 0; at + 2 <= file.n; at++) {
        at = pag_span_find(file, at, 0x02);
        if (is_der_ec_key(file, at) || is_der_rsa_key(file, at)) {
            return true;
        }
    }
    return false;
}

bool pag_release_holds_private_key(struct pag_span file)
{
    if (holds_der_key(file)) {
        return true;
    }
    static const char head[] = "-----BEGIN ";
    for (size_t at = 0; at + sizeof head - 1 <= file.n; at++) {
        at = pag_span_find(file, at, '-');
        if (at + sizeof head - 1 > file.n) {
            return false;
        }
        size_t after = at + sizeof head - 1;
        if (memcmp(file.p + at, head, sizeof head - 1) == 0 && ends_like_private_key(file, after) &&
            has_key_body(file, after)) {
            return true;
        }
    }
    return false;
}
