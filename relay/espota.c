#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "host/rand.h"
#include "relay/net.h"
#include "relay/session.h"

/* docs/operating/relay.md, "ArduinoOTA". */

enum {
    COMMAND_FLASH = 0,
    COMMAND_FILESYSTEM = 100,
    COMMAND_AUTH = 200,
    INVITATIONS = 5,
    INVITE_MS = 4000, /* a device that is busy answers late; a second invitation confuses one that waits */
    AUTH_MS = 10000,  /* 10,000 rounds of SHA-256 take an ESP32 a second or two */
    CONNECT_MS = 15000,
    CHUNK_BYTES = 1460,
    CHUNK_MS = 15000,
    RESULT_MS = 60000,
    ROUNDS = 10000,
    REPLIES_MAX = 1 << 20, /* bytes of counts, far more than any image makes */
};

/* ---- datagrams ---- */

static bool is_hex(struct pag_span s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) {
            return false;
        }
    }
    return true;
}

/* n of "…ERROR[n]…", -1 without one. */
static int error_number(struct pag_span said)
{
    static const char mark[] = "ERROR[";
    size_t m = sizeof mark - 1;
    for (size_t i = 0; i + m < said.n; i++) {
        if (memcmp(said.p + i, mark, m) != 0) {
            continue;
        }
        uint32_t n = 0;
        size_t end = pag_span_find(said, i + m, ']');
        struct pag_span digits = { said.p + i + m, end - i - m };
        return digits.n <= 3 && pag_parse_u32(digits, &n) == PAG_OK ? (int)n : -1;
    }
    return -1;
}

static struct pag_span trimmed(struct pag_span s)
{
    while (s.n > 0 && (s.p[s.n - 1] <= ' ')) {
        s.n--;
    }
    return s;
}

void pag_espota_answer_read(struct pag_span datagram, struct pag_espota_answer *out)
{
    struct pag_span s = trimmed(datagram);
    struct pag_span nonce = { NULL, 0 };
    memset(out, 0, sizeof *out);
    out->code = -1;
    out->kind = PAG_ESPOTA_STRANGE;
    if (pag_span_eq_str(s, "OK")) {
        out->kind = PAG_ESPOTA_OK;
        return;
    }
    if (pag_span_starts(s, "AUTH ")) {
        nonce = (struct pag_span){ s.p + 5, s.n - 5 };
    }
    if ((nonce.n == 32 || nonce.n == 64) && is_hex(nonce)) {
        out->kind = nonce.n == 32 ? PAG_ESPOTA_MD5 : PAG_ESPOTA_SHA256;
        (void)pag_text_copy(out->nonce, sizeof out->nonce, nonce);
        return;
    }
    pag_push_clean(s, out->text, sizeof out->text);
    if (pag_span_starts(s, "ERR")) {
        out->kind = PAG_ESPOTA_ERROR;
        out->code = error_number(s);
    } else if (pag_span_starts(s, "Auth")) {
        out->kind = PAG_ESPOTA_DENIED;
    }
}

static enum pag_err response_sha256(const char *nonce, const char *password, bool md5_inside,
                                    const char *cnonce, char out[PAG_HEX_MAX])
{
    char kept[PAG_HEX_MAX];
    char salt[2 * PAG_HEX_MAX];
    char hex[PAG_HEX_MAX];
    uint8_t key[PAG_SHA256_BYTES];
    const char *const secret[] = { password, NULL };
    enum pag_err err = pag_push_hash(md5_inside ? EVP_md5() : EVP_sha256(), secret, kept);
    int salt_n = snprintf(salt, sizeof salt, "%s:%s", nonce, cnonce);
    if (err != PAG_OK || PKCS5_PBKDF2_HMAC(kept, (int)strlen(kept), (const unsigned char *)salt, salt_n,
                                           ROUNDS, EVP_sha256(), sizeof key, key) != 1) {
        return PAG_E_INTERNAL;
    }
    struct pag_buf b = { (uint8_t *)hex, 0, sizeof hex - 1 };
    (void)pag_buf_put_hex(&b, pag_span_of(key, sizeof key));
    hex[b.n] = '\0';
    const char *const parts[] = { hex, ":", nonce, ":", cnonce, NULL };
    return pag_push_hash(EVP_sha256(), parts, out);
}

enum pag_err pag_espota_response(const struct pag_espota_answer *a, const char *password, bool md5_inside,
                                 const char *cnonce, char out[PAG_HEX_MAX])
{
    char kept[PAG_HEX_MAX];
    if (a->kind == PAG_ESPOTA_SHA256) {
        return response_sha256(a->nonce, password, md5_inside, cnonce, out);
    }
    const char *const secret[] = { password, NULL };
    enum pag_err err = pag_push_hash(EVP_md5(), secret, kept);
    const char *const parts[] = { kept, ":", a->nonce, ":", cnonce, NULL };
    return err == PAG_OK ? pag_push_hash(EVP_md5(), parts, out) : err;
}

/* ---- invitation ---- */

struct espota {
    const struct pag_push_order *o;
    struct pag_push_result *r;
    struct pag_net_address device;
    int listener;
    uint16_t port;   /* of listener */
    bool md5_inside; /* second try of the SHA-256 form */
};

enum step { STEP_CONNECTS, STEP_AGAIN, STEP_OVER }; /* OVER: r says why */

static enum pag_err datagram(int fd, struct espota *e, uint32_t ms, struct pag_espota_answer *a,
                             bool *connects)
{
    uint8_t said[256];
    size_t n = 0;
    int which = 0;
    struct pag_wait wait = pag_wait_for(ms, e->o->stop);
    enum pag_err err = pag_net_readable(fd, e->listener, wait, &which);
    *connects = err == PAG_OK && which == 1; /* its OK was lost on the way: the connection says the same */
    if (err == PAG_OK && !*connects) {
        err = pag_net_recv(fd, said, sizeof said, wait, &n);
    }
    if (err == PAG_OK && !*connects) {
        pag_espota_answer_read(pag_span_of(said, n), a);
    }
    return err;
}

static enum step over(struct espota *e, enum pag_err err, int code, const char *text)
{
    (void)pag_push_fail(e->r, err, code, "%s", text);
    return STEP_OVER;
}

static enum step refused(struct espota *e, const struct pag_espota_answer *a)
{
    static const struct {
        int code;
        enum pag_err err;
        const char *text;
    } known[] = {
        { 4, PAG_E_SPACE, "not enough room for the image" },
        { 8, PAG_E_HARDWARE, "the device was flashed with a wrong flash size: flash it by cable once" },
        { 9, PAG_E_HARDWARE, "the image is for another flash size: build it for this board" },
        { 10, PAG_E_HARDWARE, "this is no image for its chip" },
        { 11, PAG_E_BUSY, "press the reset button once: after flashing by cable the first update needs it" },
        { 12, PAG_E_SIGNATURE, "the device refuses the image's signature" },
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].code == a->code) {
            (void)pag_push_fail(e->r, known[i].err, a->code, "%s (%s)", known[i].text, a->text);
            return STEP_OVER;
        }
    }
    (void)pag_push_fail(e->r, PAG_E_IO, a->code, "the device refuses: %s", a->text);
    return STEP_OVER;
}

/* What follows from an answer other than a challenge. */
static enum step settle(struct espota *e, const struct pag_espota_answer *a)
{
    switch (a->kind) {
    case PAG_ESPOTA_OK:
        return STEP_CONNECTS;
    case PAG_ESPOTA_ERROR:
        return refused(e, a);
    case PAG_ESPOTA_DENIED:
        return over(e, PAG_E_DENIED, -1, "the password is wrong");
    case PAG_ESPOTA_MD5:
    case PAG_ESPOTA_SHA256:
    case PAG_ESPOTA_STRANGE:
        break;
    }
    (void)pag_push_fail(e->r, PAG_E_SYNTAX, -1, "the device answered \"%.60s\": that is not ArduinoOTA",
                        a->text);
    return STEP_OVER;
}

static enum step prove(int fd, struct espota *e, const struct pag_espota_answer *challenge)
{
    char cnonce[PAG_HEX_MAX];
    char response[PAG_HEX_MAX];
    char message[160];
    bool connects = false;
    struct pag_espota_answer a;
    if (e->o->password == NULL) {
        return over(e, PAG_E_UNAUTHENTICATED, -1, "the device wants a password");
    }
    pag_rand_hex(cnonce, challenge->kind == PAG_ESPOTA_MD5 ? 16 : 32);
    if (pag_espota_response(challenge, e->o->password, e->md5_inside, cnonce, response) != PAG_OK) {
        return over(e, PAG_E_INTERNAL, -1, "the password cannot be hashed");
    }
    int n = snprintf(message, sizeof message, "%d %s %s\n", COMMAND_AUTH, cnonce, response);
    enum pag_err err = pag_net_send(fd, pag_span_of(message, (size_t)n), pag_wait_for(AUTH_MS, e->o->stop));
    err = err == PAG_OK ? datagram(fd, e, AUTH_MS, &a, &connects) : err;
    if (err == PAG_E_CONDITION) {
        return over(e, err, -1, "stopped at the password");
    }
    if (err != PAG_OK) {
        (void)pag_push_fail(e->r, PAG_E_TIMEOUT, -1, "the device does not answer to the password");
        return STEP_AGAIN;
    }
    if (!connects && a.kind == PAG_ESPOTA_DENIED && challenge->kind == PAG_ESPOTA_SHA256 && !e->md5_inside) {
        e->md5_inside = true;
        return STEP_AGAIN;
    }
    return connects ? STEP_CONNECTS : settle(e, &a);
}

static enum step invite_on(int fd, struct espota *e, const char *message, size_t n)
{
    struct pag_espota_answer a;
    bool connects = false;
    enum pag_err err = pag_net_send(fd, pag_span_of(message, n), pag_wait_for(INVITE_MS, e->o->stop));
    err = err == PAG_OK ? datagram(fd, e, INVITE_MS, &a, &connects) : err;
    if (err == PAG_E_CONDITION) {
        return over(e, err, -1, "stopped before the device answered");
    }
    if (err != PAG_OK) {
        (void)pag_push_fail(e->r, err == PAG_E_CLOSED ? err : PAG_E_TIMEOUT, -1, "%s",
                            err == PAG_E_CLOSED
                                ? "nothing listens at the port: does its sketch call ArduinoOTA.handle()?"
                                : "the device does not answer: is it on, and in this network?");
        if (err == PAG_E_CLOSED && !pag_wait_pause(500, e->o->stop)) {
            return STEP_OVER;
        }
        return STEP_AGAIN;
    }
    if (connects) {
        return STEP_CONNECTS;
    }
    return a.kind == PAG_ESPOTA_MD5 || a.kind == PAG_ESPOTA_SHA256 ? prove(fd, e, &a) : settle(e, &a);
}

static enum pag_err invite(struct espota *e)
{
    char message[128];
    char md5[PAG_HEX_MAX];
    enum step step = STEP_AGAIN;
    pag_push_md5(e->o->image, md5);
    int n = snprintf(message, sizeof message, "%d %u %zu %s\n",
                     e->o->filesystem ? COMMAND_FILESYSTEM : COMMAND_FLASH, (unsigned)e->port, e->o->image.n,
                     md5);
    for (int i = 0; step == STEP_AGAIN && i < INVITATIONS; i++) {
        int fd = -1;
        /* A socket of its own, so that a late answer to the last try is not taken for one to this. */
        enum pag_err err = pag_net_udp(&e->device, &fd);
        if (err != PAG_OK) {
            return pag_push_fail(e->r, err, -1, "the device cannot be reached from here");
        }
        step = invite_on(fd, e, message, (size_t)n);
        (void)close(fd);
    }
    return step == STEP_CONNECTS ? PAG_OK : e->r->err;
}

/* ---- data ---- */

struct replies {
    char text[160]; /* what is not a count */
    size_t n;
    size_t bytes;
};

/* Counts are digits alone; the first other byte begins "OK" or an error. */
static void take(struct replies *t, const uint8_t *p, size_t n)
{
    t->bytes += n;
    for (size_t i = 0; i < n; i++) {
        bool begins = !(p[i] >= '0' && p[i] <= '9') && p[i] > ' ';
        if ((t->n > 0 || begins) && t->n + 1 < sizeof t->text) {
            t->text[t->n++] = (char)p[i];
        }
    }
}

static bool said_ok(const struct replies *t)
{
    return t->n >= 2 && memcmp(t->text, "OK", 2) == 0;
}

/* One piece of replies. */
static enum pag_err hear(int fd, const struct pag_push_order *o, uint32_t ms, struct replies *t)
{
    uint8_t said[256];
    size_t n = 0;
    struct pag_wait wait = pag_wait_for(o->silence_ms != 0 ? o->silence_ms : ms, o->stop);
    enum pag_err err = pag_net_recv(fd, said, sizeof said, wait, &n);
    if (err == PAG_OK) {
        take(t, said, n);
    }
    return err == PAG_OK && t->bytes > REPLIES_MAX ? PAG_E_LIMIT : err;
}

static enum pag_err judge(const struct replies *t, struct pag_push_result *r)
{
    char text[100];
    struct pag_span said = pag_span_of(t->text, t->n);
    pag_push_clean(said, text, sizeof text);
    int code = error_number(said);
    bool md5 = code == 7 || strstr(text, "MD5") != NULL;
    return pag_push_fail(r, md5 ? PAG_E_DIGEST : PAG_E_IO, code, "%s%s",
                         md5 ? "the image arrived broken: " : "the device gave up: ", text);
}

/* Room for the rest of an error text that has begun. */
static enum pag_err hear_out(int fd, const struct pag_push_order *o, struct replies *t,
                             struct pag_push_result *r)
{
    while (t->n + 1 < sizeof t->text && hear(fd, o, 1000, t) == PAG_OK) {
    }
    return judge(t, r);
}

static enum pag_err send_body(int fd, const struct pag_push_order *o, struct pag_push_result *r,
                              struct replies *t)
{
    for (size_t at = 0; at < o->image.n;) {
        size_t n = o->image.n - at < CHUNK_BYTES ? o->image.n - at : CHUNK_BYTES;
        uint32_t ms = o->silence_ms != 0 ? o->silence_ms : CHUNK_MS;
        enum pag_err err = pag_net_send(fd, pag_span_of(o->image.p + at, n), pag_wait_for(ms, o->stop));
        bool sent = err == PAG_OK;
        if (err == PAG_OK || err == PAG_E_CLOSED) {
            /* Also after it hung up: what it said before is the reason. */
            enum pag_err heard = hear(fd, o, CHUNK_MS, t);
            err = heard != PAG_OK ? heard : err;
        }
        bool last = at + n == o->image.n;
        if (t->n > 0 && !(last && said_ok(t)) && !(t->n == 1 && last)) {
            return hear_out(fd, o, t, r);
        }
        if (err == PAG_E_LIMIT) {
            return pag_push_fail(r, PAG_E_SYNTAX, -1, "the device answers without end");
        }
        if (err != PAG_OK || !sent) {
            return pag_push_lost(r, err, "while it was sent the image");
        }
        at += n;
        pag_push_step(o, r, PAG_PUSH_SENDING, at, o->image.n);
    }
    return PAG_OK;
}

enum pag_err pag_espota_session(int fd, const struct pag_push_order *o, struct pag_push_result *r)
{
    struct replies t = { .n = 0 };
    enum pag_err err = send_body(fd, o, r, &t);
    if (err != PAG_OK) {
        return err;
    }
    pag_push_step(o, r, PAG_PUSH_INSTALLING, o->image.n, o->image.n);
    while (err == PAG_OK && t.n < 2) {
        err = hear(fd, o, RESULT_MS, &t);
    }
    if (said_ok(&t)) {
        pag_push_step(o, r, PAG_PUSH_TAKEN, o->image.n, o->image.n);
        r->err = PAG_OK;
        return PAG_OK;
    }
    if (t.n > 0) {
        return hear_out(fd, o, &t, r);
    }
    if (err == PAG_E_LIMIT) {
        return pag_push_fail(r, PAG_E_SYNTAX, -1, "the device answers without end");
    }
    return pag_push_lost(r, err, "before it said that the image is whole");
}

enum pag_err pag_espota_push(const struct pag_push_order *o, struct pag_push_result *r)
{
    struct espota e = { .o = o, .r = r, .listener = -1 };
    int fd = -1;
    if (pag_push_resolve(o, &e.device, r) != PAG_OK) {
        return r->err;
    }
    if (pag_net_listen(e.device.at.ss_family, o->listen_port, &e.listener, &e.port) != PAG_OK) {
        return pag_push_fail(r, PAG_E_IO, -1, "no port to listen at (%u): the device connects back to it",
                             (unsigned)o->listen_port);
    }
    pag_push_step(o, r, PAG_PUSH_KNOCKING, 0, o->image.n);
    enum pag_err err = invite(&e);
    if (err == PAG_OK) {
        err = pag_net_accept(e.listener, &e.device, pag_wait_for(CONNECT_MS, o->stop), &fd);
        if (err != PAG_OK) {
            err = pag_push_fail(
                r, err, -1,
                "the device took the invitation and did not connect to port %u here: is a firewall "
                "between?",
                (unsigned)e.port);
        }
    }
    if (err == PAG_OK) {
        err = pag_espota_session(fd, o, r);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)close(e.listener);
    return err;
}
