#include "relay/push.h"

#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "relay/mdns.h"
#include "relay/net.h"
#include "relay/session.h"

enum { LOOK_MS = 3000, BACK_EVERY_MS = 1000, SETTLE_MS = 8000, KNOCK_MS = 3000 };

static const char *const words[PAG_PUSH_PROTOCOLS] = { "espota", "esphome", "web", "wled" };

const char *pag_push_word(enum pag_push_protocol p)
{
    return words[p];
}

enum pag_err pag_push_by_word(const char *word, enum pag_push_protocol *out)
{
    for (int i = 0; i < PAG_PUSH_PROTOCOLS; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = (enum pag_push_protocol)i;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

uint16_t pag_push_port(enum pag_push_protocol p, enum pag_chip chip)
{
    switch (p) {
    case PAG_PUSH_ESPOTA:
    case PAG_PUSH_ESPHOME:
        return chip == PAG_CHIP_ESP8266 ? 8266 : 3232;
    case PAG_PUSH_WEB:
    case PAG_PUSH_WLED:
        break;
    }
    return 80;
}

const char *pag_push_phase_word(enum pag_push_phase p)
{
    switch (p) {
    case PAG_PUSH_KNOCKING:
        return "connecting";
    case PAG_PUSH_SENDING:
        return "sending";
    case PAG_PUSH_INSTALLING:
        return "installing";
    case PAG_PUSH_TAKEN:
        return "taken";
    }
    return "";
}

/* ---- what the protocols share ---- */

enum pag_err pag_push_fail(struct pag_push_result *r, enum pag_err err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(r->text, sizeof r->text, fmt, args);
    va_end(args);
    r->err = err;
    r->code = code;
    return err;
}

enum pag_err pag_push_lost(struct pag_push_result *r, enum pag_err err, const char *what)
{
    if (err == PAG_E_TIMEOUT) {
        return pag_push_fail(r, err, -1, "the device fell silent %s", what);
    }
    if (err == PAG_E_CONDITION) {
        return pag_push_fail(r, err, -1, "stopped %s", what);
    }
    return pag_push_fail(r, err, -1, "the connection was lost %s", what);
}

void pag_push_step(const struct pag_push_order *o, struct pag_push_result *r, enum pag_push_phase phase,
                   uint64_t done, uint64_t all)
{
    r->phase = phase;
    if (phase == PAG_PUSH_SENDING) {
        r->sent_bytes = done;
    }
    if (o->progress != NULL) {
        o->progress(o->ctx, phase, done, all);
    }
}

void pag_push_clean(struct pag_span said, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < said.n && n + 1 < cap; i++) {
        uint8_t c = said.p[i] > 0x20 && said.p[i] < 0x7F ? said.p[i] : (uint8_t)' ';
        if (c != ' ' || (n > 0 && out[n - 1] != ' ')) {
            out[n++] = (char)c;
        }
    }
    while (n > 0 && out[n - 1] == ' ') {
        n--;
    }
    out[n] = '\0';
}

static void hex_of(const uint8_t *digest, size_t n, char out[PAG_HEX_MAX])
{
    struct pag_buf hex = { (uint8_t *)out, 0, PAG_HEX_MAX - 1 };
    (void)pag_buf_put_hex(&hex, pag_span_of(digest, n));
    out[hex.n] = '\0';
}

enum pag_err pag_push_hash(const EVP_MD *md, const char *const *text, char out[PAG_HEX_MAX])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    bool ok = h != NULL && EVP_DigestInit_ex(h, md, NULL) == 1;
    for (; ok && *text != NULL; text++) {
        ok = EVP_DigestUpdate(h, *text, strlen(*text)) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(h, digest, &n) == 1 && n <= PAG_SHA256_BYTES;
    EVP_MD_CTX_free(h);
    if (!ok) {
        out[0] = '\0';
        return PAG_E_INTERNAL;
    }
    hex_of(digest, n, out);
    return PAG_OK;
}

void pag_push_md5(struct pag_span data, char out[PAG_HEX_MAX])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    out[0] = '\0';
    if (EVP_Digest(data.p, data.n, digest, &n, EVP_md5(), NULL) == 1) {
        hex_of(digest, n, out);
    }
}

enum pag_err pag_push_resolve(const struct pag_push_order *o, struct pag_net_address *out,
                              struct pag_push_result *r)
{
    size_t n = strlen(o->host);
    uint16_t port = o->port != 0 ? o->port : pag_push_port(o->protocol, o->chip);
    enum pag_err err = pag_net_resolve(o->host, port, out);
    bool local = n > 6 && pag_span_eq_nocase(pag_span_str(o->host + n - 6), ".local");
    struct pag_mdns_list *list = err != PAG_OK && local ? pag_mdns_list_new() : NULL;
    const struct pag_mdns_query q = { .to = o->mdns, .only_host = o->host, .stop = o->stop };
    if (list != NULL && pag_mdns_browse(&q, LOOK_MS, list) == PAG_OK &&
        pag_mdns_host(list, o->host) != NULL) {
        err = pag_net_resolve(pag_mdns_host(list, o->host), port, out);
    }
    pag_mdns_list_free(list);
    if (err != PAG_OK && r != NULL) {
        (void)pag_push_fail(r, PAG_E_NOT_FOUND, -1, "no host \"%.60s\" is known", o->host);
    }
    return err;
}

/* ---- pushing ---- */

enum pag_err pag_push_run(const struct pag_push_order *o, struct pag_push_result *r)
{
    memset(r, 0, sizeof *r);
    r->code = -1;
    if (o->filesystem && (o->protocol == PAG_PUSH_ESPHOME || o->protocol == PAG_PUSH_WLED)) {
        return pag_push_fail(r, PAG_E_UNSUPPORTED, -1, "%s takes firmware only, no file system",
                             pag_push_word(o->protocol));
    }
    switch (o->protocol) {
    case PAG_PUSH_ESPOTA:
        return pag_espota_push(o, r);
    case PAG_PUSH_ESPHOME:
        return pag_esphome_push(o, r);
    case PAG_PUSH_WEB:
    case PAG_PUSH_WLED:
        return pag_web_push(o, r);
    }
    return PAG_E_INTERNAL;
}

/* ---- looking ---- */

static void copy(char *dst, size_t cap, const char *src)
{
    (void)snprintf(dst, cap, "%s", src);
}

static enum pag_err look_by_record(const struct pag_push_order *o, struct pag_push_info *info)
{
    struct pag_mdns_list *list = pag_mdns_list_new();
    const struct pag_mdns_query q = { .to = o->mdns, .until_host = o->host, .stop = o->stop };
    enum pag_err err = list == NULL ? PAG_E_NO_MEMORY : pag_mdns_browse(&q, LOOK_MS, list);
    bool found = false;
    for (size_t i = 0; err == PAG_OK && !found && i < list->n; i++) {
        const struct pag_mdns_found *f = &list->item[i];
        if (f->protocol == o->protocol && pag_mdns_is(f, o->host)) {
            found = true;
            info->answers = true;
            copy(info->version, sizeof info->version, f->version);
            copy(info->project, sizeof info->project, f->project);
            copy(info->name, sizeof info->name, f->name);
            copy(info->build, sizeof info->build, f->build);
            copy(info->mac, sizeof info->mac, f->mac);
            info->chip = f->chip;
        }
    }
    pag_mdns_list_free(list);
    return err == PAG_OK && !found ? PAG_E_TIMEOUT : err;
}

/* ESPHome listens for updates all the time: that it answers shows even where its record does not. */
static bool port_is_open(const struct pag_push_order *o)
{
    struct pag_net_address a;
    int fd = -1;
    if (pag_push_resolve(o, &a, NULL) != PAG_OK ||
        pag_net_connect(&a, pag_wait_for(KNOCK_MS, o->stop), &fd) != PAG_OK) {
        return false;
    }
    uint8_t last[16];
    size_t n = 0;
    (void)shutdown(fd, SHUT_WR);
    (void)pag_net_recv(fd, last, sizeof last, pag_wait_for(KNOCK_MS, o->stop), &n);
    (void)close(fd);
    return true;
}

enum pag_err pag_push_look(const struct pag_push_order *o, struct pag_push_info *info)
{
    memset(info, 0, sizeof *info);
    if (o->protocol == PAG_PUSH_WEB || o->protocol == PAG_PUSH_WLED) {
        return pag_web_look(o, info);
    }
    enum pag_err err = look_by_record(o, info);
    if (err == PAG_E_TIMEOUT && o->protocol == PAG_PUSH_ESPHOME && port_is_open(o)) {
        info->answers = true;
        err = PAG_OK;
    }
    return err;
}

enum pag_err pag_push_back(const struct pag_push_order *o, const struct pag_push_info *before, uint32_t ms,
                           struct pag_push_info *after)
{
    uint64_t began = pag_net_now_ms();
    bool was_away = false;
    if (!before->answers && ms > SETTLE_MS) {
        ms = SETTLE_MS; /* who could not be asked before can hardly be asked now */
    }
    while (pag_net_now_ms() - began < ms) {
        enum pag_err err = pag_push_look(o, after);
        if (err == PAG_E_CONDITION) {
            return err;
        }
        bool here = err == PAG_OK && after->answers;
        bool other = here && (strcmp(after->version, before->version) != 0 ||
                              strcmp(after->build, before->build) != 0);
        if (here && (was_away || other || pag_net_now_ms() - began >= SETTLE_MS)) {
            return PAG_OK;
        }
        was_away |= !here;
        if (!pag_wait_pause(BACK_EVERY_MS, o->stop)) {
            return PAG_E_CONDITION;
        }
    }
    return before->answers ? PAG_E_TIMEOUT : PAG_E_UNSUPPORTED;
}
