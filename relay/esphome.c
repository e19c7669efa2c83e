#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/gzip.h"
#include "host/rand.h"
#include "relay/net.h"
#include "relay/session.h"

/* docs/operating/relay.md, "ESPHome". Device: one byte a step; sizes are big-endian. */

enum {
    SAY_OK = 0x00,
    ASK_MD5 = 0x01,
    ASK_SHA256 = 0x02,
    SAY_HEADER = 0x40,
    SAY_AUTH = 0x41,
    SAY_PREPARED = 0x42,
    SAY_MD5 = 0x43,
    SAY_RECEIVED = 0x44,
    SAY_ENDED = 0x45,
    SAY_PACKED = 0x46, /* instead of HEADER: takes gzip */
    SAY_CHUNK = 0x47,
    ERROR_FIRST = 0x80,
    WANT_GZIP = 0x01,
    WANT_SHA256 = 0x02,
    CHUNK_BYTES = 8192,
    QUICK_MS = 20000, /* a device that draws or measures answers late */
    LONG_MS = 90000,  /* erasing and checking flash */
};

static const struct {
    uint8_t code;
    enum pag_err err;
    const char *text;
} errors[] = {
    { 0x80, PAG_E_SYNTAX, "the device does not take us for an updater: is it really ESPHome at this port?" },
    { 0x81, PAG_E_SPACE,
      "the device could not prepare its flash: is the image too large? Restart it and try again" },
    { 0x82, PAG_E_DENIED, "the password is wrong" },
    { 0x83, PAG_E_IO, "the device could not write its flash" },
    { 0x84, PAG_E_IO, "the device could not finish the update; its own log says why" },
    { 0x85, PAG_E_BUSY, "press the reset button once: after flashing by cable the first update needs it" },
    { 0x86, PAG_E_HARDWARE,
      "the device was flashed with a wrong flash size: set the right board and flash it by cable" },
    { 0x87, PAG_E_HARDWARE,
      "the image wants another flash size than the device has: build it for this board" },
    { 0x88, PAG_E_SPACE, "not enough room beside the running image: push a minimal image first" },
    { 0x89, PAG_E_SPACE, "the update partition is too small: flash by cable with a larger one" },
    { 0x8A, PAG_E_SPACE, "the device has no update partition: flash by cable once" },
    { 0x8B, PAG_E_DIGEST, "the image arrived broken (MD5)" },
    { 0x8C, PAG_E_SPACE, "not enough room for the image" },
    { 0x8D, PAG_E_SIGNATURE, "the device refuses the image's signature" },
    { 0x8E, PAG_E_UNSUPPORTED, "the device does not take this kind of update" },
    { 0x8F, PAG_E_UNSUPPORTED, "the device refuses the partition table" },
    { 0x90, PAG_E_IO, "the device could not change its partition table: do not restart it" },
    { 0xFF, PAG_E_IO, "the device had an error that it has no code for; its own log may say more" },
};

const char *pag_esphome_error(uint8_t code, enum pag_err *err)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code == code) {
            *err = errors[i].err;
            return errors[i].text;
        }
    }
    *err = PAG_E_SYNTAX;
    return code >= ERROR_FIRST ? "the device said an error that is not known here" : NULL;
}

struct esphome {
    int fd;
    const struct pag_push_order *o;
    struct pag_push_result *r;
    uint8_t version;
    struct pag_span body; /* what is sent: the image or its gzip */
    struct pag_buf packed;
};

static struct pag_wait patience(const struct esphome *e, uint32_t ms)
{
    return pag_wait_for(e->o->silence_ms != 0 ? e->o->silence_ms : ms, e->o->stop);
}

static enum pag_err strange(struct esphome *e, uint8_t got, const char *what)
{
    enum pag_err err = PAG_OK;
    const char *text = pag_esphome_error(got, &err);
    if (text != NULL) {
        return pag_push_fail(e->r, err, got, "%s (0x%02X)", text, (unsigned)got);
    }
    return pag_push_fail(e->r, PAG_E_SYNTAX, got,
                         "the device answered 0x%02X %s: that is not ESPHome's protocol", (unsigned)got,
                         what);
}

/* One byte, which is an answer or an error. what: "after the size". */
static enum pag_err hear(struct esphome *e, uint32_t ms, const char *what, uint8_t *got)
{
    enum pag_err err = pag_net_recv_all(e->fd, got, 1, patience(e, ms));
    return err == PAG_OK ? PAG_OK : pag_push_lost(e->r, err, what);
}

static enum pag_err expect(struct esphome *e, uint8_t want, uint32_t ms, const char *what)
{
    uint8_t got = 0;
    enum pag_err err = hear(e, ms, what, &got);
    return err != PAG_OK || got == want ? err : strange(e, got, what);
}

static enum pag_err say(struct esphome *e, const void *p, size_t n, const char *what)
{
    enum pag_err err = pag_net_send(e->fd, pag_span_of(p, n), patience(e, QUICK_MS));
    uint8_t got = 0;
    if (err != PAG_E_CLOSED) {
        return err == PAG_OK ? PAG_OK : pag_push_lost(e->r, err, what);
    }
    /* It hung up: what it said before is the reason. */
    if (pag_net_recv_all(e->fd, &got, 1, pag_wait_for(1, e->o->stop)) == PAG_OK && got >= ERROR_FIRST) {
        return strange(e, got, what);
    }
    return pag_push_lost(e->r, err, what);
}

/* ---- steps ---- */

static enum pag_err greet(struct esphome *e)
{
    static const uint8_t magic[] = { 0x6C, 0x26, 0xF7, 0x5C, 0x45 };
    static const uint8_t features = WANT_GZIP | WANT_SHA256;
    uint8_t got = 0;
    enum pag_err err = say(e, magic, sizeof magic, "at the greeting");
    err = err == PAG_OK ? expect(e, SAY_OK, QUICK_MS, "at the greeting") : err;
    err = err == PAG_OK ? hear(e, QUICK_MS, "at the greeting", &e->version) : err;
    if (err == PAG_OK && e->version != 1 && e->version != 2) {
        return pag_push_fail(e->r, PAG_E_UNSUPPORTED, e->version,
                             "the device speaks version %u of ESPHome's protocol; 1 and 2 are known here",
                             (unsigned)e->version);
    }
    err = err == PAG_OK ? say(e, &features, 1, "at the features") : err;
    err = err == PAG_OK ? hear(e, QUICK_MS, "at the features", &got) : err;
    if (err == PAG_OK && got != SAY_HEADER && got != SAY_PACKED) {
        return strange(e, got, "to the features");
    }
    e->body = e->o->image;
    if (err == PAG_OK && got == SAY_PACKED && !pag_gzip_is(e->o->image)) {
        if (pag_gzip_pack(e->o->image, &e->packed) != PAG_OK) {
            return pag_push_fail(e->r, PAG_E_NO_MEMORY, -1, "no memory to pack the image");
        }
        e->body = pag_buf_span(&e->packed);
    }
    return err;
}

static bool is_hex(const char *text, size_t n)
{
    return strspn(text, "0123456789abcdefABCDEF") == n && text[n] == '\0';
}

static enum pag_err prove(struct esphome *e, const EVP_MD *md, size_t n)
{
    char nonce[PAG_HEX_MAX] = "";
    char cnonce[PAG_HEX_MAX];
    char result[PAG_HEX_MAX];
    if (e->o->password == NULL) {
        return pag_push_fail(e->r, PAG_E_UNAUTHENTICATED, -1, "the device wants a password");
    }
    enum pag_err err = pag_net_recv_all(e->fd, nonce, n, patience(e, QUICK_MS));
    if (err != PAG_OK) {
        return pag_push_lost(e->r, err, "at the password");
    }
    if (!is_hex(nonce, n)) {
        return pag_push_fail(e->r, PAG_E_SYNTAX, -1, "the device's challenge is not %u hex digits",
                             (unsigned)n);
    }
    pag_rand_hex(cnonce, n / 2);
    const char *const parts[] = { e->o->password, nonce, cnonce, NULL };
    if (pag_push_hash(md, parts, result) != PAG_OK) {
        return pag_push_fail(e->r, PAG_E_INTERNAL, -1, "the password cannot be hashed");
    }
    err = say(e, cnonce, n, "at the password");
    err = err == PAG_OK ? say(e, result, n, "at the password") : err;
    return err == PAG_OK ? expect(e, SAY_AUTH, QUICK_MS, "to the password") : err;
}

static enum pag_err authenticate(struct esphome *e)
{
    uint8_t got = 0;
    enum pag_err err = hear(e, QUICK_MS, "before the password", &got);
    if (err != PAG_OK || got == SAY_AUTH) {
        return err;
    }
    if (got == ASK_MD5) {
        return prove(e, EVP_md5(), 32);
    }
    return got == ASK_SHA256 ? prove(e, EVP_sha256(), 64) : strange(e, got, "before the password");
}

static enum pag_err announce(struct esphome *e)
{
    uint8_t size[4];
    char md5[PAG_HEX_MAX];
    pag_put_u32be(size, (uint32_t)e->body.n);
    pag_push_md5(e->body, md5);
    enum pag_err err = say(e, size, sizeof size, "at the size");
    err = err == PAG_OK ? expect(e, SAY_PREPARED, LONG_MS, "while it made room") : err;
    err = err == PAG_OK ? say(e, md5, 32, "at the MD5") : err;
    return err == PAG_OK ? expect(e, SAY_MD5, QUICK_MS, "at the MD5") : err;
}

static enum pag_err send_body(struct esphome *e)
{
    enum pag_err err = PAG_OK;
    for (size_t at = 0; err == PAG_OK && at < e->body.n;) {
        size_t n = e->body.n - at < CHUNK_BYTES ? e->body.n - at : CHUNK_BYTES;
        err = say(e, e->body.p + at, n, "while it was sent the image");
        if (err == PAG_OK && e->version >= 2) {
            err = expect(e, SAY_CHUNK, QUICK_MS, "while it was sent the image");
        }
        at += n;
        pag_push_step(e->o, e->r, PAG_PUSH_SENDING, at, e->body.n);
    }
    return err;
}

static enum pag_err finish(struct esphome *e)
{
    static const uint8_t done = SAY_OK;
    pag_push_step(e->o, e->r, PAG_PUSH_INSTALLING, e->body.n, e->body.n);
    enum pag_err err = expect(e, SAY_RECEIVED, LONG_MS, "after the image");
    err = err == PAG_OK ? expect(e, SAY_ENDED, LONG_MS, "while it checked the image") : err;
    if (err == PAG_OK) {
        /* It restarts on this or without it. */
        (void)pag_net_send(e->fd, pag_span_of(&done, 1), pag_wait_for(1000, e->o->stop));
        pag_push_step(e->o, e->r, PAG_PUSH_TAKEN, e->body.n, e->body.n);
    }
    return err;
}

enum pag_err pag_esphome_session(int fd, const struct pag_push_order *o, struct pag_push_result *r)
{
    struct esphome e = { .fd = fd, .o = o, .r = r };
    pag_push_step(o, r, PAG_PUSH_KNOCKING, 0, o->image.n);
    enum pag_err err = greet(&e);
    err = err == PAG_OK ? authenticate(&e) : err;
    err = err == PAG_OK ? announce(&e) : err;
    err = err == PAG_OK ? send_body(&e) : err;
    err = err == PAG_OK ? finish(&e) : err;
    free(e.packed.p);
    r->err = err;
    return err;
}

enum pag_err pag_esphome_push(const struct pag_push_order *o, struct pag_push_result *r)
{
    struct pag_net_address a;
    int fd = -1;
    if (pag_push_resolve(o, &a, r) != PAG_OK) {
        return r->err;
    }
    enum pag_err err = pag_net_connect(&a, pag_wait_for(QUICK_MS, o->stop), &fd);
    if (err != PAG_OK) {
        return pag_push_fail(
            r, err, -1, "%s",
            err == PAG_E_CLOSED
                ? "nothing listens at the port: is ota: in its configuration, and is it this port?"
                : "the device does not answer: is it on, and in this network?");
    }
    err = pag_esphome_session(fd, o, r);
    (void)close(fd);
    return err;
}
