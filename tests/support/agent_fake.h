#ifndef PAG_TESTS_SUPPORT_AGENT_FAKE_H
#define PAG_TESTS_SUPPORT_AGENT_FAKE_H

/*
 * A device in memory for tests of agent/: NOR flash that can lose power at any operation, a clock that only
 * moves when told, and a server that speaks native v1 with real signatures. Header only: every test program
 * is one file.
 */
#include <openssl/evp.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagurus/agent.h>

#include "agent/boot.h"
#include "agent/port.h"
#include "core/bytes.h"
#include "core/cbor.h"
#include "core/manifest.h"
#include "core/native.h"
#include "host/crypto.h"

enum {
    FAKE_SECTOR = 4096,
    FAKE_SLOT = 48 * FAKE_SECTOR,
    FAKE_RX = 70000,
    FAKE_TX = 8192,
    FAKE_IMAGE_MAX = 47 * FAKE_SECTOR
};

enum fake_cut { FAKE_CUT_BEFORE, FAKE_CUT_HALF, FAKE_CUT_AFTER, FAKE_CUT_KINDS };

struct fake_server {
    EVP_PKEY *root, *release, *fresh;
    uint8_t trust[PAG_TRUST_MAX];
    size_t trust_n;
    uint8_t next[PAG_TRUST_MAX];
    size_t next_n;
    uint32_t trust_version;
    uint8_t manifest[PAG_MANIFEST_MAX];
    size_t manifest_n;
    const uint8_t *image;
    uint32_t image_n;
    bool offering;
    uint32_t action_id;
    uint32_t checks, blobs, report_n;
    uint32_t states; /* bit i: a report of state i came */
    struct pag_native_report last;
    uint32_t last_report_seq;
    bool seq_sank; /* a report came with a number not above the one before */
    int32_t last_code;
    /* misbehaviour */
    uint16_t status;    /* answer everything with this, 0 = be good */
    const char *raw;    /* answer everything with these bytes */
    uint32_t cut_after; /* close the connection after so many body bytes of a blob, 0 = never */
    uint32_t flip_at;   /* bit error in the blob at this offset, 0 = none */
    bool too_long;      /* announces more than asked */
    bool token;
    uint8_t commands[64];
    size_t commands_n;
    /* the claim: worth one public key */
    uint8_t claimed[PAG_SHA256_BYTES];
    bool claim_used;
    uint32_t enrolled, turned_away;
};

struct fake {
    struct pag_port port;
    struct pag_settings set;
    uint8_t *area[PAG_AREA_COUNT];
    uint32_t now_ms;
    uint64_t unix_s;
    uint64_t seed;
    uint8_t slot;
    bool rebooted;
    uint32_t keys_made;
    /* power */
    uint64_t ops;    /* flash operations so far */
    uint64_t cut_at; /* power fails at this one, 0 = never */
    enum fake_cut cut_kind;
    bool dead;
    uint64_t writes_at_boot;
    /* network */
    uint8_t certificate[64], key[64]; /* shown on the last connection */
    size_t certificate_n, key_n;
    bool open, ready_slow, down;
    uint8_t tx[FAKE_TX]; /* what the device has sent of the present request */
    size_t tx_n;
    uint8_t *rx; /* what it has not read yet */
    size_t rx_n, rx_at;
    size_t rx_end; /* after this the server closes; SIZE_MAX: stays open */
    struct fake_server srv;
    struct pag_agent agent;
    alignas(8) uint8_t scratch[PAG_AGENT_SCRATCH_BYTES];
    enum pag_health health;
};

/* ---- flash ---- */

static inline struct fake *fake_of(void *ctx)
{
    return ctx;
}

static inline bool fake_power_fails(struct fake *f)
{
    f->ops++;
    if (f->cut_at != 0 && f->ops == f->cut_at) {
        f->dead = true;
    }
    return f->dead;
}

static inline enum pag_err fake_erase(void *ctx, enum pag_area area, uint32_t off, uint32_t n)
{
    struct fake *f = fake_of(ctx);
    if (off % FAKE_SECTOR != 0 || n % FAKE_SECTOR != 0 || off > f->port.flash.area_bytes[area] ||
        n > f->port.flash.area_bytes[area] - off) {
        abort(); /* the agent must never ask for that */
    }
    if (f->dead) {
        return PAG_E_IO;
    }
    if (fake_power_fails(f)) {
        uint32_t part = f->cut_kind == FAKE_CUT_BEFORE ? 0 : f->cut_kind == FAKE_CUT_HALF ? n / 2 : n;
        memset(f->area[area] + off, 0xFF, part);
        return PAG_E_IO;
    }
    memset(f->area[area] + off, 0xFF, n);
    return PAG_OK;
}

static inline enum pag_err fake_program(void *ctx, enum pag_area area, uint32_t off, struct pag_span data)
{
    struct fake *f = fake_of(ctx);
    if (off % 4 != 0 || data.n % 4 != 0 || off > f->port.flash.area_bytes[area] ||
        data.n > f->port.flash.area_bytes[area] - off) {
        abort();
    }
    if (f->dead) {
        return PAG_E_IO;
    }
    size_t n = data.n;
    bool cut = fake_power_fails(f);
    if (cut) {
        n = f->cut_kind == FAKE_CUT_BEFORE ? 0 : f->cut_kind == FAKE_CUT_HALF ? n / 2 : n;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t *cell = f->area[area] + off + i;
        if ((data.p[i] & (uint8_t) ~*cell) != 0) {
            abort(); /* programming cannot set a bit */
        }
        *cell = (uint8_t)(*cell & data.p[i]);
    }
    return cut ? PAG_E_IO : PAG_OK;
}

static inline enum pag_err fake_read(void *ctx, enum pag_area area, uint32_t off, uint8_t *out, uint32_t n)
{
    struct fake *f = fake_of(ctx);
    if (off > f->port.flash.area_bytes[area] || n > f->port.flash.area_bytes[area] - off) {
        abort();
    }
    memcpy(out, f->area[area] + off, n);
    return f->dead ? PAG_E_IO : PAG_OK;
}

/* ---- the server ---- */

static inline void fake_answer(struct fake *f, uint16_t status, const char *extra, const uint8_t *body,
                               size_t n)
{
    char head[256];
    int head_n =
        snprintf(head, sizeof head, "HTTP/1.1 %u X\r\n%sContent-Length: %zu\r\n\r\n", status, extra, n);
    memcpy(f->rx, head, (size_t)head_n);
    if (n > 0) {
        memcpy(f->rx + head_n, body, n);
    }
    f->rx_n = (size_t)head_n + n;
    f->rx_at = 0;
    f->rx_end = SIZE_MAX;
}

static inline void fake_on_check(struct fake *f, struct pag_span body)
{
    struct pag_native_check m;
    struct fake_server *s = &f->srv;
    uint8_t reply[4096];
    uint8_t token[PAG_TOKEN_MAX];
    struct pag_buf out = { reply, 0, sizeof reply };
    struct pag_buf token_out = { token, 0, sizeof token };
    s->checks++;
    if (pag_native_check_get(body, &m) != PAG_OK) {
        abort();
    }
    bool newer = s->offering && m.running_digest.n == 32 && s->image_n > 0;
    struct pag_native_offer o = { .trust_version = s->trust_version, .poll_s = 60 };
    if (newer) {
        o.has_manifest = true;
        o.action_id = s->action_id;
        o.manifest = pag_span_of(s->manifest, s->manifest_n);
    }
    if (m.has_nonce && s->token) {
        struct pag_token t = {
            .server_time = 1800000000, .trust_version = 1, .highest_sequence = 9, .valid_s = 86400
        };
        memcpy(t.product, f->set.product, sizeof t.product);
        memcpy(t.nonce, m.nonce.p, sizeof t.nonce);
        if (pag_crypto_key_id(s->fresh, t.key_id) != PAG_OK ||
            pag_token_sign(pag_crypto_openssl(), &t, pag_crypto_sign, s->fresh, &token_out) != PAG_OK) {
            abort();
        }
        o.token = pag_buf_span(&token_out);
    }
    if (s->commands_n > 0) {
        o.command_n = 1;
        if (pag_native_command_get(pag_span_of(s->commands, s->commands_n), &o.command[0]) != PAG_OK) {
            abort();
        }
    }
    if (!newer && o.token.n == 0 && o.command_n == 0) {
        fake_answer(f, 204, "", NULL, 0);
        return;
    }
    if (pag_native_offer_put(&out, &o) != PAG_OK) {
        abort();
    }
    fake_answer(f, 200, "", out.p, out.n);
}

static inline void fake_on_blob(struct fake *f, const char *head)
{
    struct fake_server *s = &f->srv;
    char extra[96] = "";
    uint32_t from = 0;
    uint32_t to = s->image_n - 1;
    uint16_t status = 200;
    const char *range = strstr(head, "\r\nRange: bytes=");
    s->blobs++;
    if (range != NULL) {
        char *end = NULL;
        from = (uint32_t)strtoul(range + 15, &end, 10);
        to = (uint32_t)strtoul(end + 1, NULL, 10);
        status = 206;
        (void)snprintf(extra, sizeof extra, "Content-Range: bytes %u-%u/%u\r\n", from, to, s->image_n);
    }
    if (s->too_long) { /* a byte more than was signed */
        status = 206;
        (void)snprintf(extra, sizeof extra, "Content-Range: bytes %u-%u/%u\r\n", from, s->image_n,
                       s->image_n + 1);
        to = s->image_n;
    }
    fake_answer(f, status, extra, s->image + from, to - from + 1);
    if (s->flip_at >= from && s->flip_at <= to && s->flip_at != 0) {
        f->rx[f->rx_n - (to - s->flip_at) - 1] ^= 1;
    }
    if (s->cut_after > 0 && to - from + 1 > s->cut_after) {
        f->rx_end = f->rx_n - (to - from + 1) + s->cut_after;
    }
}

static inline void fake_on_report(struct fake *f, struct pag_span body)
{
    struct pag_native_report m;
    struct fake_server *s = &f->srv;
    if (pag_native_report_get(body, &m) != PAG_OK) {
        abort();
    }
    s->report_n++;
    s->states |= 1U << m.state;
    s->seq_sank |= m.seq <= s->last_report_seq;
    s->last_report_seq = m.seq;
    s->last = m;
    s->last_code = m.code;
    fake_answer(f, 204, "", NULL, 0);
}

/* The request of the fake is the digest of the key: what the public key is to a real one. */
static inline enum pag_err fake_make_csr(void *ctx, const char *id, struct pag_buf *key_der,
                                         struct pag_buf *csr_der)
{
    struct fake *f = fake_of(ctx);
    uint8_t digest[PAG_SHA256_BYTES];
    (void)id;
    if (key_der->n == 0) {
        f->port.random(f, key_der->p, 32);
        key_der->n = 32;
        f->keys_made++;
    }
    pag_sha256_of(f->port.crypto, pag_buf_span(key_der), digest);
    return pag_buf_put(csr_der, pag_span_of(digest, sizeof digest));
}

/* The certificate is the request again. */
static inline void fake_on_enroll(struct fake *f, struct pag_span body)
{
    struct pag_native_enroll m;
    struct fake_server *s = &f->srv;
    uint8_t reply[256];
    struct pag_buf out = { reply, 0, sizeof reply };
    if (pag_native_enroll_get(body, &m) != PAG_OK || m.csr.n != sizeof s->claimed) {
        abort();
    }
    if (s->claim_used && memcmp(s->claimed, m.csr.p, m.csr.n) != 0) {
        s->turned_away++;
        fake_answer(f, 410, "", NULL, 0);
        return;
    }
    s->claim_used = true;
    memcpy(s->claimed, m.csr.p, m.csr.n);
    struct pag_native_enrolled e = { .device_id = pag_span_str("enrolled-1"),
                                     .certificate = m.csr,
                                     .issuer = m.csr,
                                     .product = pag_span_of(f->set.product, sizeof f->set.product) };
    if (pag_native_enrolled_put(&out, &e) != PAG_OK) {
        abort();
    }
    s->enrolled++;
    fake_answer(f, 200, "", out.p, out.n);
}

static inline void fake_serve(struct fake *f)
{
    struct fake_server *s = &f->srv;
    f->tx[f->tx_n] = 0;
    char *end = strstr((char *)f->tx, "\r\n\r\n");
    if (end == NULL) {
        return;
    }
    const char *length = strstr((char *)f->tx, "Content-Length: ");
    size_t body_n = length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0;
    size_t head_n = (size_t)(end - (char *)f->tx) + 4;
    if (f->tx_n < head_n + body_n) {
        return;
    }
    struct pag_span body = pag_span_of(f->tx + head_n, body_n);
    f->tx_n = 0;
    if (s->raw != NULL) {
        f->rx_n = strlen(s->raw);
        memcpy(f->rx, s->raw, f->rx_n);
        f->rx_at = 0;
        f->rx_end = f->rx_n;
    } else if (s->status != 0) {
        fake_answer(f, s->status, "Location: http://elsewhere/\r\n", NULL, 0);
    } else if (strncmp((char *)f->tx, "POST /v1/check ", 15) == 0) {
        fake_on_check(f, body);
    } else if (strncmp((char *)f->tx, "POST /v1/report ", 16) == 0) {
        fake_on_report(f, body);
    } else if (strncmp((char *)f->tx, "POST /v1/enroll ", 16) == 0) {
        fake_on_enroll(f, body);
    } else if (strncmp((char *)f->tx, "GET /v1/trust/", 14) == 0) {
        bool next = strstr((char *)f->tx, "/2 HTTP") != NULL;
        fake_answer(f, 200, "", next ? s->next : s->trust, next ? s->next_n : s->trust_n);
    } else if (strncmp((char *)f->tx, "GET /v1/blob/", 13) == 0) {
        fake_on_blob(f, (char *)f->tx);
    } else {
        fake_answer(f, 404, "", NULL, 0);
    }
}

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
                               .freshness_n = 1 };
    struct pag_trust_signature sig;
    memcpy(t.product, f->set.product, sizeof t.product);
    if (previous.n > 0) {
        pag_sha256_of(pag_crypto_openssl(), previous, t.previous);
    }
    fake_key(s->root, &t.root[0]);
    fake_key(s->release, &t.release[0]);
    t.release[0].kinds = 1; /* firmware */
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

static inline void fake_factory(struct fake *f, const uint8_t *image, uint32_t n)
{
    struct pag_slot slot = { .size = n, .sequence = 1 };
    uint8_t record[PAG_SLOT_FACTORY_BYTES];
    struct pag_buf b = { record, 0, sizeof record };
    pag_sha256_of(pag_crypto_openssl(), pag_span_of(image, n), slot.digest);
    memcpy(f->area[PAG_AREA_SLOT_A], image, n);
    if (pag_slot_factory_put(&slot, &b) != PAG_OK) {
        abort();
    }
    memcpy(f->area[PAG_AREA_SLOT_A] + FAKE_SLOT - FAKE_SECTOR, record, sizeof record);
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
    struct pag_boot boot;
    f->dead = false;
    f->rebooted = false;
    f->open = false;
    f->writes_at_boot = f->ops;
    if (pag_boot_decide(&f->port, (struct pag_buf){ work, 0, sizeof work }, &boot) != PAG_OK) {
        return false;
    }
    f->slot = boot.slot;
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

#endif
