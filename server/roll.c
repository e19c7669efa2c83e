#include "server/roll.h"

#include <string.h>

#include "core/bytes.h"
#include "host/fs.h"

enum { FILE_MAX = 16384, PATH_BYTES = 320 };

struct next {
    char pem[PATH_BYTES], key[PATH_BYTES];
};

static enum pag_err next_of(const struct pag_paths *paths, enum pag_ca_kind kind, struct next *out)
{
    bool device = kind == PAG_CA_DEVICE;
    enum pag_err err = pag_fs_join(out->pem, sizeof out->pem, paths->data,
                                   device ? "ca/device-ca.next.pem" : "ca/server-ca.next.pem");
    return err != PAG_OK ? err
                         : pag_fs_join(out->key, sizeof out->key, paths->data,
                                       device ? "ca/device-ca.next.key" : "ca/server-ca.next.key");
}

static enum pag_err copy(const char *from, const char *to, uint32_t mode, struct pag_fail *why)
{
    struct pag_buf bytes = { NULL, 0, 0 };
    enum pag_err err = pag_fs_read(from, FILE_MAX, &bytes, why);
    err = err != PAG_OK ? err : pag_fs_write(to, (struct pag_span){ bytes.p, bytes.n }, mode, why);
    pag_fs_buf_free(&bytes);
    return err;
}

/* First certificate of a PEM file. */
static enum pag_err read_der(const char *path, struct pag_buf *der, struct pag_fail *why)
{
    struct pag_buf pem = { NULL, 0, 0 };
    enum pag_err err = pag_fs_read(path, FILE_MAX, &pem, why);
    err = err != PAG_OK ? err : pag_x509_der_of_pem("CERTIFICATE", (struct pag_span){ pem.p, pem.n }, der);
    pag_fs_buf_free(&pem);
    return err;
}

/* ---- begin, take ---- */

static enum pag_err next_key(const struct next *next, EVP_PKEY **key, struct pag_fail *why)
{
    if (pag_fs_exists(next->key)) {
        return pag_x509_key_load(next->key, NULL, key, why);
    }
    *key = pag_x509_key_new(false);
    return *key == NULL ? pag_fail_set(why, PAG_E_NO_MEMORY, "cannot make a key", 0)
                        : pag_x509_key_save(*key, next->key, NULL, why);
}

enum pag_err pag_roll_begin(const struct pag_paths *paths, enum pag_ca_kind kind, struct pag_buf *csr,
                            struct pag_fail *why)
{
    uint8_t space[1024];
    struct pag_buf der = { space, 0, sizeof space };
    struct next next;
    EVP_PKEY *key = NULL;
    if (kind == PAG_CA_DEVICE && pag_roll_overlaps(paths)) {
        return pag_fail_set(why, PAG_E_CONFLICT,
                            "two device authorities are in force: retire the old one first", 0);
    }
    enum pag_err err = next_of(paths, kind, &next);
    err = err != PAG_OK ? err : next_key(&next, &key, why);
    err = err != PAG_OK ? err : pag_x509_csr_make(key, "next", &der);
    pag_x509_key_free(key);
    return err != PAG_OK ? err
                         : pag_x509_pem_of_der("CERTIFICATE REQUEST", (struct pag_span){ der.p, der.n }, csr);
}

enum pag_err pag_roll_take(const struct pag_paths *paths, enum pag_ca_kind kind, struct pag_span pem,
                           uint64_t now, struct pag_fail *why)
{
    struct pag_buf der = { (uint8_t[PAG_CERT_DER_MAX]){ 0 }, 0, PAG_CERT_DER_MAX };
    struct pag_buf root = { (uint8_t[PAG_CERT_DER_MAX]){ 0 }, 0, PAG_CERT_DER_MAX };
    struct next next;
    EVP_PKEY *key = NULL;
    enum pag_err err = next_of(paths, kind, &next);
    if (err == PAG_OK && !pag_fs_exists(next.key)) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "no roll-over has begun", 0);
    }
    if (err == PAG_OK && pag_x509_der_of_pem("CERTIFICATE", pem, &der) != PAG_OK) {
        err = pag_fail_set(why, PAG_E_CONFIG, "it is not a certificate in PEM", 0);
    }
    err = err != PAG_OK ? err : pag_x509_key_load(next.key, NULL, &key, why);
    err = err != PAG_OK ? err : read_der(paths->root_pem, &root, why);
    err = err != PAG_OK ? err
                        : pag_ca_issuing_check((struct pag_span){ der.p, der.n },
                                               (struct pag_span){ root.p, root.n }, kind, key, now, why);
    pag_x509_key_free(key);
    return err != PAG_OK ? err : pag_init_write_ca(paths, next.pem, (struct pag_span){ der.p, der.n }, why);
}

/* ---- settle ---- */

/* The old pair is put aside while it still is one: after a crash in the middle it was, already. */
static enum pag_err put_aside(const struct pag_paths *paths, const struct pag_ca *next, struct pag_fail *why)
{
    struct pag_ca *current = NULL;
    if (pag_ca_load(paths->device_ca_pem, paths->device_ca_key, NULL, &current, NULL) != PAG_OK) {
        return PAG_OK;
    }
    bool other =
        memcmp(pag_ca_info(current)->key_sha256, pag_ca_info(next)->key_sha256, PAG_SHA256_BYTES) != 0;
    pag_ca_free(current);
    enum pag_err err = other ? copy(paths->device_ca_key, paths->device_old_key, 0600, why) : PAG_OK;
    return err != PAG_OK || !other ? err : copy(paths->device_ca_pem, paths->device_old_pem, 0644, why);
}

static enum pag_err trust_both(const struct pag_paths *paths, const struct pag_ca *next, uint64_t now,
                               struct pag_fail *why)
{
    struct pag_ca *old = NULL;
    enum pag_err err = pag_ca_load(paths->device_old_pem, paths->device_old_key, NULL, &old, why);
    err = err != PAG_OK ? err : pag_init_write_anchors(paths->device_anchor, next, old, now, why);
    pag_ca_free(old);
    return err;
}

static enum pag_err put_in_place(const struct next *next, const char *pem, const char *key,
                                 struct pag_fail *why)
{
    enum pag_err err = copy(next->key, key, 0600, why);
    return err != PAG_OK ? err : copy(next->pem, pem, 0644, why);
}

static enum pag_err settle_device(const struct pag_paths *paths, const struct next *next, uint64_t now,
                                  struct pag_fail *why)
{
    struct pag_ca *ca = NULL;
    enum pag_err err = pag_ca_load(next->pem, next->key, NULL, &ca, why);
    err = err != PAG_OK ? err : put_aside(paths, ca, why);
    err = err != PAG_OK ? err : trust_both(paths, ca, now, why);
    err = err != PAG_OK ? err : put_in_place(next, paths->device_ca_pem, paths->device_ca_key, why);
    pag_ca_free(ca);
    return err != PAG_OK ? err : pag_init_renew_service(paths, now, why);
}

static enum pag_err settle_one(const struct pag_paths *paths, enum pag_ca_kind kind, const char *names,
                               uint64_t now, uint64_t server_s, struct pag_fail *why)
{
    struct next next;
    enum pag_err err = next_of(paths, kind, &next);
    if (err == PAG_OK && kind == PAG_CA_DEVICE) {
        err = settle_device(paths, &next, now, why);
    } else if (err == PAG_OK) {
        err = put_in_place(&next, paths->server_ca_pem, paths->server_ca_key, why);
        err = err != PAG_OK ? err : pag_init_renew_server(paths, names, now, server_s, why);
    }
    err = err != PAG_OK ? err : pag_fs_remove(next.pem, why);
    return err != PAG_OK ? err : pag_fs_remove(next.key, why);
}

enum pag_err pag_roll_settle(const struct pag_paths *paths, const char *names, uint64_t now,
                             uint64_t server_s, bool *changed, struct pag_fail *why)
{
    static const enum pag_ca_kind kinds[] = { PAG_CA_DEVICE, PAG_CA_SERVER };
    enum pag_err err = PAG_OK;
    *changed = false;
    for (size_t i = 0; i < 2 && err == PAG_OK; i++) {
        struct next next;
        err = next_of(paths, kinds[i], &next);
        if (err == PAG_OK && pag_fs_exists(next.pem)) {
            err = settle_one(paths, kinds[i], names, now, server_s, why);
            *changed = *changed || err == PAG_OK;
        }
    }
    return err;
}

/* ---- retire ---- */

bool pag_roll_overlaps(const struct pag_paths *paths)
{
    return pag_fs_exists(paths->device_old_pem);
}

enum pag_err pag_roll_retire(const struct pag_paths *paths, uint64_t now, struct pag_fail *why)
{
    struct pag_ca *ca = NULL;
    if (!pag_roll_overlaps(paths)) {
        return pag_fail_set(why, PAG_E_NOT_FOUND, "there is no old device authority", 0);
    }
    enum pag_err err = pag_ca_load(paths->device_ca_pem, paths->device_ca_key, NULL, &ca, why);
    err = err != PAG_OK ? err : pag_init_write_anchors(paths->device_anchor, ca, NULL, now, why);
    pag_ca_free(ca);
    err = err != PAG_OK ? err : pag_fs_remove(paths->device_old_key, why);
    return err != PAG_OK ? err : pag_fs_remove(paths->device_old_pem, why);
}
