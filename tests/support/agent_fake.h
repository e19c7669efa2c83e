#ifndef PAG_TESTS_SUPPORT_AGENT_FAKE_H
#define PAG_TESTS_SUPPORT_AGENT_FAKE_H

/*
 * A device in memory for tests of agent/: NOR flash that can lose power at any operation, a clock that only
 * moves when told, and a server that speaks native v1 with real signatures. Header only: every test program
 * is one file.
 */
#include "tests/support/agent_server.h"

/* ---- network ---- */

static inline enum pag_err fake_open(void *ctx, const char *host, uint16_t port,
                                     const struct pag_net_trust *trust, struct pag_conn *out)
{
    struct fake *f = fake_of(ctx);
    (void)host;
    (void)port;
    f->certificate_n = trust != NULL ? trust->certificate.n : 0;
    f->key_n = trust != NULL ? trust->key.n : 0;
    if (f->certificate_n > 0 && f->certificate_n <= sizeof f->certificate && f->key_n <= sizeof f->key) {
        memcpy(f->certificate, trust->certificate.p, f->certificate_n);
        memcpy(f->key, trust->key.p, f->key_n);
    }
    if (f->open) {
        return PAG_E_NO_MEMORY;
    }
    f->open = true;
    f->tx_n = 0;
    f->rx_n = 0;
    f->rx_at = 0;
    f->rx_end = SIZE_MAX;
    out->p = f;
    return PAG_OK;
}

static inline enum pag_err fake_ready(void *ctx, struct pag_conn *c)
{
    (void)c;
    return fake_of(ctx)->down ? PAG_E_IO : PAG_OK;
}

static inline enum pag_err fake_net_read(void *ctx, struct pag_conn *c, uint8_t *out, size_t *n)
{
    struct fake *f = fake_of(ctx);
    (void)c;
    size_t end = f->rx_n < f->rx_end ? f->rx_n : f->rx_end;
    size_t have = end - f->rx_at;
    if (have == 0) {
        return f->rx_at == f->rx_end && f->rx_n > 0 ? PAG_E_CLOSED : PAG_E_AGAIN;
    }
    *n = have < *n ? have : *n;
    memcpy(out, f->rx + f->rx_at, *n);
    f->rx_at += *n;
    return PAG_OK;
}

static inline enum pag_err fake_net_write(void *ctx, struct pag_conn *c, const uint8_t *data, size_t *n)
{
    struct fake *f = fake_of(ctx);
    (void)c;
    size_t room = sizeof f->tx - 1 - f->tx_n;
    if (room == 0) {
        return PAG_E_CLOSED;
    }
    *n = *n < room ? *n : room;
    *n = *n < 200 ? *n : 200; /* short writes are ordinary */
    memcpy(f->tx + f->tx_n, data, *n);
    f->tx_n += *n;
    fake_serve(f);
    return PAG_OK;
}

static inline void fake_close(void *ctx, struct pag_conn *c)
{
    fake_of(ctx)->open = false;
    c->p = NULL;
}

/* ---- the rest ---- */

static inline uint32_t fake_now_ms(void *ctx)
{
    return fake_of(ctx)->now_ms;
}

static inline uint64_t fake_unix(void *ctx)
{
    return fake_of(ctx)->unix_s;
}

static inline void fake_random(void *ctx, uint8_t *out, size_t n)
{
    struct fake *f = fake_of(ctx);
    for (size_t i = 0; i < n; i++) {
        f->seed = f->seed * 6364136223846793005ULL + 1442695040888963407ULL;
        out[i] = (uint8_t)(f->seed >> 56);
    }
}

static inline uint8_t fake_running(void *ctx)
{
    return fake_of(ctx)->slot;
}

static inline void fake_reboot(void *ctx)
{
    fake_of(ctx)->rebooted = true;
}

static inline void fake_log(void *ctx, const char *event, const char *text, int64_t value)
{
    (void)ctx;
    if (getenv("PAG_FAKE_LOG") != NULL) {
        (void)fprintf(stderr, "  %s %s %lld\n", event, text != NULL ? text : "-", (long long)value);
    }
}

static inline enum pag_health fake_health(void *ctx)
{
    return fake_of(ctx)->health;
}

/* ---- making ---- */

static inline void fake_key(EVP_PKEY *key, struct pag_trust_key *out)
{
    out->kinds = UINT32_MAX;
    out->epoch_max = 65536;
    if (pag_crypto_point(key, out->point) != PAG_OK || pag_crypto_key_id(key, out->id) != PAG_OK) {
        abort();
    }
}

/* Signs a set with the present keys into out. previous: bytes of the set before, or empty. */
static inline void fake_sign_trust(struct fake *f, uint32_t version, struct pag_span previous,
                                   struct pag_buf *out)
{
    struct fake_server *s = &f->srv;
    uint8_t payload[PAG_TRUST_MAX];
    uint8_t digest[PAG_SHA256_BYTES];
    struct pag_buf b = { payload, 0, sizeof payload };
    struct pag_trust_set t = { .version = version,
                               .root_threshold = 1,
                               .root_n = 1,
                               .release_threshold = 1,
                               .release_n = 1,
                               .freshness_n = 1,
                               .expires_at = s->trust_expires_s };
    struct pag_trust_signature sig;
    memcpy(t.product, f->set.product, sizeof t.product);
    if (previous.n > 0) {
        pag_sha256_of(pag_crypto_openssl(), previous, t.previous);
    }
    fake_key(s->root, &t.root[0]);
    fake_key(s->release, &t.release[0]);
    t.release[0].kinds = 1U << PAG_KIND_FIRMWARE | 1U << PAG_KIND_ROLLBACK_PERMIT | 1U << PAG_KIND_COMMAND;
    fake_key(s->fresh, &t.freshness[0]);
    memcpy(sig.key_id, t.root[0].id, sizeof sig.key_id);
    struct pag_fail why = { 0 };
    if (pag_trust_payload(&t, &b, &why) != PAG_OK ||
        pag_trust_signing_digest(pag_crypto_openssl(), pag_buf_span(&b), sig.key_id, digest) != PAG_OK ||
        pag_crypto_sign(s->root, digest, sig.sig) != PAG_OK ||
        pag_trust_envelope(pag_buf_span(&b), &sig, 1, out) != PAG_OK) {
        (void)fprintf(stderr, "trust: %s\n", why.what != NULL ? why.what : "-");
        abort();
    }
}

static inline void fake_make_trust(struct fake *f)
{
    struct fake_server *s = &f->srv;
    struct pag_buf out = { s->trust, 0, sizeof s->trust };
    s->root = pag_crypto_key_new();
    s->release = pag_crypto_key_new();
    s->fresh = pag_crypto_key_new();
    fake_sign_trust(f, 1, (struct pag_span){ 0 }, &out);
    s->trust_n = out.n;
    s->trust_version = 1;
    pag_sha256_of(pag_crypto_openssl(), pag_buf_span(&out), f->set.trust_pin);
    f->set.has_trust_pin = true;
}

/* A new release key in a new set; the old one is worth nothing any more. */
static inline void fake_rotate(struct fake *f)
{
    struct fake_server *s = &f->srv;
    struct pag_buf out = { s->next, 0, sizeof s->next };
    EVP_PKEY_free(s->release);
    s->release = pag_crypto_key_new();
    fake_sign_trust(f, 2, pag_span_of(s->trust, s->trust_n), &out);
    s->next_n = out.n;
    s->trust_version = 2;
}

/* Signs image as release number sequence; change may be NULL or alter the manifest before signing. */
static inline void fake_release(struct fake *f, const uint8_t *image, uint32_t n, uint32_t sequence,
                                void (*change)(struct pag_manifest *m))
{
    struct fake_server *s = &f->srv;
    struct pag_buf out = { s->manifest, 0, sizeof s->manifest };
    struct pag_manifest m = { .chip = PAG_CHIP_POSIX,
                              .hardware_n = 1,
                              .hardware = { { 5, "posix" } },
                              .image = "firmware",
                              .version = "1.1.0",
                              .sequence = sequence,
                              .size = n,
                              .issued_at = 1700000000,
                              .trust_version_min = 1 };
    memcpy(m.product, f->set.product, sizeof m.product);
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(image, n), m.digest);
    if (change != NULL) {
        change(&m);
    }
    struct pag_fail why = { 0 };
    if (pag_crypto_key_id(s->release, m.key_id) != PAG_OK ||
        pag_manifest_sign(pag_crypto_openssl(), &m, pag_crypto_sign, s->release, &out, &why) != PAG_OK) {
        (void)fprintf(stderr, "manifest: %s\n", why.what != NULL ? why.what : "-");
        abort();
    }
    s->manifest_n = out.n;
    s->image = image;
    s->image_n = n;
    s->offering = true;
    s->action_id = 77;
}

/* The way down to what is offered, from release 10. */
static inline void fake_permit(struct fake *f, void (*change)(struct pag_manifest *m))
{
    struct pag_manifest p;
    struct pag_buf out = { f->srv.permit, 0, sizeof f->srv.permit };
    if (pag_manifest_parse(pag_span_of(f->srv.manifest, f->srv.manifest_n), &p, NULL) != PAG_OK) {
        abort();
    }
    p.kind = PAG_KIND_ROLLBACK_PERMIT;
    p.has_stone = true;
    p.stone_sequence = 10;
    p.stone_epoch = 0;
    p.expires_at = 2000000000;
    if (change != NULL) {
        change(&p);
    }
    if (pag_manifest_sign(pag_crypto_openssl(), &p, pag_crypto_sign, f->srv.release, &out, NULL) != PAG_OK) {
        abort();
    }
    f->srv.permit_n = out.n;
}

static inline void fake_factory_as(struct fake *f, const uint8_t *image, uint32_t n, uint32_t sequence,
                                   uint32_t epoch)
{
    struct pag_slot slot = { .size = n, .sequence = sequence, .epoch = epoch };
    uint8_t record[PAG_SLOT_FACTORY_BYTES];
    struct pag_buf b = { record, 0, sizeof record };
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(image, n), slot.digest);
    memcpy(f->area[PAG_AREA_SLOT_A], image, n);
    if (pag_slot_factory_put(&slot, &b) != PAG_OK) {
        abort();
    }
    memcpy(f->area[PAG_AREA_SLOT_A] + FAKE_SLOT - FAKE_SECTOR, record, sizeof record);
}

static inline void fake_factory(struct fake *f, const uint8_t *image, uint32_t n)
{
    fake_factory_as(f, image, n, 1, 0);
}

static inline struct fake *fake_new(uint64_t seed)
{
    struct fake *f = calloc(1, sizeof *f);
    if (f == NULL) {
        abort();
    }
    f->rx = malloc(FAKE_IMAGE_MAX + 4096);
    f->seed = seed;
    f->health = PAG_HEALTH_PASS;
    f->port = (struct pag_port){ .ctx = f,
                                 .flash = { .sector_bytes = FAKE_SECTOR,
                                            .erase = fake_erase,
                                            .program = fake_program,
                                            .read = fake_read },
                                 .net = { fake_open, fake_ready, fake_net_read, fake_net_write, fake_close },
                                 .crypto = pag_crypto_openssl(),
                                 .now_ms = fake_now_ms,
                                 .now_unix_s = fake_unix,
                                 .random = fake_random,
                                 .make_csr = fake_make_csr,
                                 .running_slot = fake_running,
                                 .reboot = fake_reboot,
                                 .log = fake_log };
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        uint32_t n = a == PAG_AREA_SLOT_A || a == PAG_AREA_SLOT_B ? FAKE_SLOT : 2 * FAKE_SECTOR;
        f->port.flash.area_bytes[a] = n;
        f->area[a] = malloc(n);
        memset(f->area[a], 0xFF, n);
        f->weak[a] = calloc(1, n);
    }
    static const uint8_t der[] = { 0x30, 0 }; /* the fake network looks at no certificate */
    pag_settings_default(&f->set);
    memcpy(f->set.host, "server", sizeof "server");
    memcpy(f->set.id, "dev-1", sizeof "dev-1");
    memcpy(f->set.product, "product1", 8);
    memcpy(f->set.hardware, "posix", 5);
    f->set.hardware_n = 5;
    f->set.chip = PAG_CHIP_POSIX;
    f->set.mqtt_off = true;
    f->set.certificate = pag_span_of(der, sizeof der);
    f->set.key = pag_span_of(der, sizeof der);
    fake_make_trust(f);
    return f;
}

static inline void fake_free(struct fake *f)
{
    for (int a = 0; a < PAG_AREA_COUNT; a++) {
        free(f->area[a]);
        free(f->weak[a]);
    }
    EVP_PKEY_free(f->srv.root);
    EVP_PKEY_free(f->srv.release);
    EVP_PKEY_free(f->srv.fresh);
    free(f->rx);
    free(f);
}

/* ---- running ---- */

/* Power on: boot decision, then a new agent. False: the loader finds nothing to boot, or power fails in it.
 */
static inline bool fake_boot(struct fake *f)
{
    static const struct pag_agent_hooks hooks = { .self_test = fake_health };
    alignas(8) static uint8_t work[PAG_BOOT_WORK_BYTES];
    f->dead = false;
    f->rebooted = false;
    f->open = false;
    f->leaning_seed = fake_mix(&f->read_seed);
    uint64_t before = f->ops;
    memset(&f->boot, 0, sizeof f->boot);
    enum pag_err err = pag_boot_decide(&f->port, (struct pag_buf){ work, 0, sizeof work }, &f->boot);
    f->loader_ops = f->ops - before;
    if (err != PAG_OK) {
        return false;
    }
    f->slot = f->boot.slot;
    if (f->dead || pag_agent_init(&f->agent, &f->port, &f->set,
                                  (struct pag_buf){ f->scratch, 0, sizeof f->scratch }) != PAG_OK) {
        return false;
    }
    pag_agent_set_hooks(&f->agent, &hooks, f);
    return true;
}

/* Steps until the device reboots, dies or for so long. */
static inline void fake_run(struct fake *f, uint32_t seconds)
{
    uint32_t end = f->now_ms + seconds * 1000;
    for (uint32_t guard = 0; guard < 4000000 && (int32_t)(end - f->now_ms) > 0; guard++) {
        uint32_t ms = pag_agent_step(&f->agent);
        f->now_ms += ms;
        if (f->dead || f->rebooted) {
            return;
        }
    }
}

/* Power cycles and reboots as they come, for so long. Returns boots. */
static inline unsigned fake_live(struct fake *f, uint32_t seconds)
{
    uint32_t end = f->now_ms + seconds * 1000;
    unsigned boots = 0;
    while ((int32_t)(end - f->now_ms) > 0 && boots < 50) {
        boots++;
        f->now_ms += 10;
        if (fake_boot(f)) {
            fake_run(f, (end - f->now_ms) / 1000 + 1);
        } else if (!f->dead) {
            return 1000; /* nothing to boot: a brick */
        }
    }
    return boots;
}

static inline void fake_image(uint8_t *out, uint32_t n, uint32_t seed)
{
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 1664525U + 1013904223U;
        out[i] = (uint8_t)(seed >> 24);
    }
}

/* ---- what tests ask ---- */

static inline struct pag_agent_status fake_status(const struct fake *f)
{
    struct pag_agent_status s;
    pag_agent_status(&f->agent, &s);
    return s;
}

/* Whether the server was told of this state. */
static inline bool fake_said(const struct fake *f, enum pag_report_state s)
{
    return (f->srv.states >> s & 1U) != 0;
}

/* Teardown of a test whose state is the device. */
static inline int fake_gone(void **state)
{
    fake_free(*state);
    return 0;
}

#endif
