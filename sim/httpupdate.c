#include "sim/httpupdate.h"

#include <openssl/evp.h>
#include <string.h>

#include "core/bytes.h"

enum { HTTP_PORT = 80, HTTPS_PORT = 443, STATUS_AT = 9, MAGIC = 0xE9, GZIP = 0x1F };

/* Versions of the ESP8266 core from which something differs. */
enum {
    SENDS_MD5 = 204,
    MD5_ANY_CASE = 205,
    SENDS_CHIP_ID = 206,
    TAKES_GZIP = 207,
    KNOWS_401 = 300,
    ESP32_2 = 200
};

/* ---- request ---- */

static void put_mac(struct pag_buf *out, const char *mac, uint8_t add_to_first)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t raw[6] = { 0 };
    (void)pag_parse_hex(pag_span_str(mac), raw, sizeof(raw));
    raw[0] = (uint8_t)(raw[0] + add_to_first);
    for (size_t i = 0; i < sizeof(raw); i++) {
        (void)pag_buf_put_str(out, i > 0 ? ":" : "");
        (void)pag_buf_put_u8(out, (uint8_t)digits[raw[i] >> 4]);
        (void)pag_buf_put_u8(out, (uint8_t)digits[raw[i] & 15]);
    }
}

static void put_number(struct pag_buf *out, const char *name, uint64_t value)
{
    (void)pag_buf_put_str(out, name);
    (void)pag_buf_put_dec(out, value);
    (void)pag_buf_put_str(out, "\r\n");
}

static uint32_t chip_id(const char *mac)
{
    uint8_t raw[6] = { 0 };
    (void)pag_parse_hex(pag_span_str(mac), raw, sizeof(raw));
    return (uint32_t)raw[3] << 16 | (uint32_t)raw[4] << 8 | raw[5];
}

static void put_mac_line(struct pag_buf *out, const struct pag_sim_update_ask *ask, const char *name,
                         uint8_t add)
{
    (void)pag_buf_put_str(out, ask->esp32 ? "x-ESP32-" : "x-ESP8266-");
    (void)pag_buf_put_str(out, name);
    (void)pag_buf_put_str(out, ": ");
    put_mac(out, ask->mac, add);
    (void)pag_buf_put_str(out, "\r\n");
}

static void put_hex_line(struct pag_buf *out, const char *name, const uint8_t *p, size_t n, bool upper)
{
    (void)pag_buf_put_str(out, name);
    const size_t at = out->n;
    (void)pag_buf_put_hex(out, pag_span_of(p, n));
    for (size_t i = at; upper && i < out->n; i++) {
        out->p[i] = (uint8_t)(out->p[i] >= 'a' ? out->p[i] - 'a' + 'A' : out->p[i]);
    }
    (void)pag_buf_put_str(out, "\r\n");
}

static const char *sdk_of(uint16_t core)
{
    if (core < SENDS_MD5) {
        return "1.5.3(aec24ac9)";
    }
    return core < MD5_ANY_CASE ? "2.2.1(cfd48f3)" : "2.2.2-dev(38a443e)";
}

static void put_esp8266(struct pag_buf *out, const struct pag_sim_update_ask *ask)
{
    (void)pag_buf_put_str(out, "\r\nUser-Agent: ESP8266-http-Update\r\nConnection: close\r\n");
    if (ask->core >= SENDS_CHIP_ID) {
        put_number(out, "x-ESP8266-Chip-ID: ", chip_id(ask->mac));
    }
    put_mac_line(out, ask, "STA-MAC", 0);
    put_mac_line(out, ask, "AP-MAC", 2);
    put_number(out, "x-ESP8266-free-space: ", ask->free_space);
    put_number(out, "x-ESP8266-sketch-size: ", ask->running->bytes);
    if (ask->core >= SENDS_MD5) {
        put_hex_line(out, "x-ESP8266-sketch-md5: ", ask->running->md5, sizeof(ask->running->md5), false);
    }
    put_number(out, "x-ESP8266-chip-size: ", ask->chip_bytes);
    (void)pag_buf_put_str(out, "x-ESP8266-sdk-version: ");
    (void)pag_buf_put_str(out, sdk_of(ask->core));
    (void)pag_buf_put_str(out, "\r\nx-ESP8266-mode: sketch\r\n");
}

static const char *idf_of(uint16_t core)
{
    if (core < ESP32_2) {
        return "v3.3.5-1-g85c43024c";
    }
    return core < KNOWS_401 ? "v4.4.7-dirty" : "v5.1.4-497-gdc859c1e67-dirty";
}

static void put_esp32(struct pag_buf *out, const struct pag_sim_update_ask *ask)
{
    (void)pag_buf_put_str(out, "\r\nUser-Agent: ESP32-http-Update\r\nConnection: ");
    /* 1.0: HTTP/1.0 and keep-alive at once. */
    (void)pag_buf_put_str(out, ask->core < ESP32_2 ? "keep-alive" : "close");
    (void)pag_buf_put_str(out, "\r\nCache-Control: no-cache\r\n");
    put_mac_line(out, ask, "STA-MAC", 0);
    put_mac_line(out, ask, "AP-MAC", 1);
    put_number(out, "x-ESP32-free-space: ", ask->free_space);
    put_number(out, "x-ESP32-sketch-size: ", ask->running->bytes);
    if (ask->core >= ESP32_2) {
        put_hex_line(out, "x-ESP32-sketch-md5: ", ask->running->md5, sizeof(ask->running->md5), false);
    }
    put_hex_line(out, "x-ESP32-sketch-sha256: ", ask->running->app_sha256, sizeof(ask->running->app_sha256),
                 true);
    put_number(out, "x-ESP32-chip-size: ", ask->chip_bytes);
    (void)pag_buf_put_str(out, "x-ESP32-sdk-version: ");
    (void)pag_buf_put_str(out, idf_of(ask->core));
    (void)pag_buf_put_str(out, "\r\nx-ESP32-mode: sketch\r\n");
}

enum pag_err pag_sim_update_request(struct pag_buf *out, const struct pag_sim_update_ask *ask)
{
    (void)pag_buf_put_str(out, "GET ");
    (void)pag_buf_put_str(out, ask->path);
    (void)pag_buf_put_str(out, " HTTP/1.0\r\nHost: ");
    (void)pag_buf_put_str(out, ask->host);
    if (ask->port != HTTP_PORT && ask->port != HTTPS_PORT) {
        (void)pag_buf_put_str(out, ":");
        (void)pag_buf_put_dec(out, ask->port);
    }
    if (ask->esp32) {
        put_esp32(out, ask);
    } else {
        put_esp8266(out, ask);
    }
    if (ask->version != NULL && ask->version[0] != '\0') {
        (void)pag_buf_put_str(out, ask->esp32 ? "x-ESP32-version: " : "x-ESP8266-version: ");
        (void)pag_buf_put_str(out, ask->version);
        (void)pag_buf_put_str(out, "\r\n");
    }
    /* The last one does not fit when any before it did not. */
    const bool length = ask->esp32 ? ask->core >= ESP32_2 : ask->core >= SENDS_CHIP_ID;
    return pag_buf_put_str(out, length ? "Content-Length: 0\r\n\r\n" : "\r\n");
}

/* ---- reply ---- */

static struct pag_span trim(struct pag_span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s = pag_span_of(s.p + 1, s.n - 1);
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r')) {
        s.n--;
    }
    return s;
}

/* "bytes 0-99/1000" */
static void take_range(struct pag_sim_head *h, struct pag_span value)
{
    static const char unit[] = "bytes ";
    const size_t dash = pag_span_find(value, 0, '-');
    const size_t slash = pag_span_find(value, 0, '/');
    h->has_range = pag_span_starts(value, unit) && dash < slash && slash < value.n &&
                   pag_parse_u32(pag_span_of(value.p + 6, dash - 6), &h->first) == PAG_OK &&
                   pag_parse_u32(pag_span_of(value.p + slash + 1, value.n - slash - 1), &h->total) == PAG_OK;
}

static void take_header(struct pag_sim_head *h, struct pag_span line)
{
    const size_t colon = pag_span_find(line, 0, ':');
    if (colon == line.n) {
        return;
    }
    const struct pag_span name = pag_span_of(line.p, colon);
    const struct pag_span value = trim(pag_span_of(line.p + colon + 1, line.n - colon - 1));
    if (pag_span_eq_nocase(name, "content-length")) {
        h->has_length = pag_parse_u32(value, &h->length) == PAG_OK;
    } else if (pag_span_eq_nocase(name, "x-md5")) {
        h->md5_n++;
        h->md5 = value;
    } else if (pag_span_eq_nocase(name, "content-range")) {
        take_range(h, value);
    } else if (pag_span_eq_nocase(name, "transfer-encoding")) {
        h->chunked = pag_span_eq_nocase(value, "chunked");
        h->other_coding = !h->chunked;
    }
}

static unsigned status_of(struct pag_span line)
{
    unsigned status = 0;
    for (size_t i = STATUS_AT; i < line.n && line.p[i] >= '0' && line.p[i] <= '9' && status < 1000; i++) {
        status = status * 10 + (unsigned)(line.p[i] - '0');
    }
    return status;
}

enum pag_err pag_sim_head_read(struct pag_span in, struct pag_sim_head *out)
{
    struct pag_sim_head h = { 0 };
    for (size_t at = 0;;) {
        const size_t end = pag_span_find(in, at, '\n');
        if (end == in.n) {
            return PAG_E_SHORT;
        }
        const struct pag_span line = trim(pag_span_of(in.p + at, end - at));
        const bool first = at == 0;
        at = end + 1;
        h.bytes = (uint32_t)at;
        if (first) {
            h.is_http = pag_span_starts(line, "HTTP/1.");
            h.status = status_of(line);
        } else if (line.n > 0) {
            take_header(&h, line);
        }
        if (line.n == 0 || !h.is_http) {
            *out = h;
            return PAG_OK;
        }
    }
}

static enum pag_sim_update judge_status(unsigned status, const struct pag_sim_update_ask *ask)
{
    switch (status) {
    case 200:
        return PAG_SIM_UPDATE_GO;
    case 304:
        return PAG_SIM_UPDATE_NONE;
    case 401:
        return !ask->esp32 && ask->core >= KNOWS_401 ? PAG_SIM_UPDATE_UNAUTHORIZED
                                                     : PAG_SIM_UPDATE_WRONG_CODE;
    case 403:
        return PAG_SIM_UPDATE_FORBIDDEN;
    case 404:
        return PAG_SIM_UPDATE_NOT_FOUND;
    default:
        return PAG_SIM_UPDATE_WRONG_CODE;
    }
}

/* Doubled headers: cores before 2.5 keep the last value, later ones join them, which is no MD5 any more. */
static bool take_md5(const struct pag_sim_head *h, const struct pag_sim_update_ask *ask,
                     struct pag_sim_update_head *out)
{
    const bool joins = ask->esp32 || ask->core >= MD5_ANY_CASE;
    if ((joins && h->md5_n > 1) || h->md5.n != sizeof(out->md5)) {
        return false;
    }
    memcpy(out->md5, h->md5.p, sizeof(out->md5));
    out->has_md5 = true;
    return true;
}

static enum pag_sim_update judge(const struct pag_sim_head *h, const struct pag_sim_update_ask *ask,
                                 struct pag_sim_update_head *out)
{
    if (!h->is_http) {
        return PAG_SIM_UPDATE_NO_SERVER;
    }
    if (h->other_coding) {
        return PAG_SIM_UPDATE_ENCODING;
    }
    if (h->md5_n > 0 && !take_md5(h, ask, out)) {
        return PAG_SIM_UPDATE_FAULTY_MD5;
    }
    const enum pag_sim_update verdict = judge_status(h->status, ask);
    if (verdict != PAG_SIM_UPDATE_GO) {
        return verdict;
    }
    if (h->length == 0 || h->chunked) {
        return PAG_SIM_UPDATE_NO_SIZE;
    }
    return h->length <= ask->free_space ? PAG_SIM_UPDATE_GO : PAG_SIM_UPDATE_SPACE;
}

enum pag_err pag_sim_update_head(struct pag_span in, const struct pag_sim_update_ask *ask,
                                 struct pag_sim_update_head *out, enum pag_sim_update *verdict)
{
    struct pag_sim_head h;
    *out = (struct pag_sim_update_head){ 0 };
    const enum pag_err err = pag_sim_head_read(in, &h);
    if (err == PAG_OK) {
        *verdict = judge(&h, ask, out);
        out->bytes = h.bytes;
        out->length = h.length;
    }
    return err;
}

/* ---- the Update class ---- */

static uint32_t flash_bytes(uint8_t id, const struct pag_sim_update_ask *ask)
{
    /* 2.3 reads other sizes out of 5 and 6, and none out of 8 and 9. */
    static const uint32_t kib[] = { 512, 256, 1024, 2048, 4096, 2048, 4096, 0, 8192, 16384 };
    static const uint32_t old[] = { 512, 256, 1024, 2048, 4096, 8192, 16384, 32768 };
    if (ask->core < SENDS_MD5) {
        return id < sizeof(old) / sizeof(old[0]) ? old[id] * 1024 : 0;
    }
    return id < sizeof(kib) / sizeof(kib[0]) ? kib[id] * 1024 : 0;
}

enum pag_sim_update pag_sim_update_peek(const uint8_t first[4], const struct pag_sim_update_ask *ask)
{
    const bool gzip = !ask->esp32 && ask->core >= TAKES_GZIP && first[0] == GZIP;
    if (first[0] != MAGIC && !gzip) {
        return PAG_SIM_UPDATE_BAD_HEADER;
    }
    if (!ask->esp32 && first[0] == MAGIC && flash_bytes(first[3] >> 4, ask) > ask->chip_bytes) {
        return PAG_SIM_UPDATE_FLASH_SIZE;
    }
    return PAG_SIM_UPDATE_GO;
}

static bool md5_is(struct pag_span body, const struct pag_sim_update_head *head,
                   const struct pag_sim_update_ask *ask)
{
    uint8_t md5[16] = { 0 };
    char text[PAG_SIM_MD5_HEX];
    struct pag_buf hex = { (uint8_t *)text, 0, sizeof(text) };
    if (EVP_Digest(body.p, body.n, md5, NULL, EVP_md5(), NULL) != 1 ||
        pag_buf_put_hex(&hex, pag_span_of(md5, sizeof(md5))) != PAG_OK) {
        return false;
    }
    uint8_t said[16];
    if (ask->esp32 || ask->core < MD5_ANY_CASE) { /* compared as text */
        return memcmp(text, head->md5, sizeof(text)) == 0;
    }
    return pag_parse_hex(pag_span_of(head->md5, sizeof(head->md5)), said, sizeof(said)) == PAG_OK &&
           memcmp(said, md5, sizeof(md5)) == 0;
}

enum pag_sim_update pag_sim_update_end(struct pag_span body, const struct pag_sim_update_head *head,
                                       const struct pag_sim_update_ask *ask, bool verified)
{
    if (!verified && head->has_md5 && !md5_is(body, head, ask)) {
        return PAG_SIM_UPDATE_ERROR_MD5;
    }
    if (body.n < 4 || pag_sim_update_peek(body.p, ask) == PAG_SIM_UPDATE_BAD_HEADER) {
        return PAG_SIM_UPDATE_ERROR_MAGIC;
    }
    return PAG_SIM_UPDATE_GO;
}
