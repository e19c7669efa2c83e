#include "sim/httpupdate.h"

#include <openssl/evp.h>
#include <string.h>

#include "core/bytes.h"

enum { HTTP_PORT = 80, HTTPS_PORT = 443, STATUS_AT = 9, MAGIC = 0xE9, GZIP = 0x1F };

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
    (void)pag_buf_put_str(out, "\r\nUser-Agent: ESP8266-http-Update\r\nConnection: close\r\n");
    put_number(out, "x-ESP8266-Chip-ID: ", chip_id(ask->mac));
    (void)pag_buf_put_str(out, "x-ESP8266-STA-MAC: ");
    put_mac(out, ask->mac, 0);
    (void)pag_buf_put_str(out, "\r\nx-ESP8266-AP-MAC: ");
    put_mac(out, ask->mac, 2);
    (void)pag_buf_put_str(out, "\r\n");
    put_number(out, "x-ESP8266-free-space: ", ask->free_space);
    put_number(out, "x-ESP8266-sketch-size: ", ask->running->bytes);
    (void)pag_buf_put_str(out, "x-ESP8266-sketch-md5: ");
    (void)pag_buf_put_hex(out, pag_span_of(ask->running->md5, sizeof(ask->running->md5)));
    (void)pag_buf_put_str(out, "\r\n");
    put_number(out, "x-ESP8266-chip-size: ", ask->chip_bytes);
    (void)pag_buf_put_str(out, "x-ESP8266-sdk-version: 2.2.2-dev(38a443e)\r\nx-ESP8266-mode: sketch\r\n");
    if (ask->running->version[0] != '\0') {
        (void)pag_buf_put_str(out, "x-ESP8266-version: ");
        (void)pag_buf_put_str(out, ask->running->version);
        (void)pag_buf_put_str(out, "\r\n");
    }
    /* The last one does not fit when any before it did not. */
    return pag_buf_put_str(out, "Content-Length: 0\r\n\r\n");
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

struct reply {
    unsigned status;
    uint32_t length;
    unsigned md5_n; /* headers of that name: the library joins their values, which is no MD5 any more */
    struct pag_span md5;
    bool other_coding, chunked;
};

static void take_header(struct reply *r, struct pag_span line)
{
    const size_t colon = pag_span_find(line, 0, ':');
    if (colon == line.n) {
        return;
    }
    const struct pag_span name = pag_span_of(line.p, colon);
    const struct pag_span value = trim(pag_span_of(line.p + colon + 1, line.n - colon - 1));
    if (pag_span_eq_nocase(name, "content-length")) {
        (void)pag_parse_u32(value, &r->length);
    } else if (pag_span_eq_nocase(name, "x-md5")) {
        r->md5_n++;
        r->md5 = value;
    } else if (pag_span_eq_nocase(name, "transfer-encoding")) {
        r->chunked = pag_span_eq_nocase(value, "chunked");
        r->other_coding = !r->chunked;
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

static enum pag_sim_update judge_status(unsigned status)
{
    switch (status) {
    case 200:
        return PAG_SIM_UPDATE_GO;
    case 304:
        return PAG_SIM_UPDATE_NONE;
    case 401:
        return PAG_SIM_UPDATE_UNAUTHORIZED;
    case 403:
        return PAG_SIM_UPDATE_FORBIDDEN;
    case 404:
        return PAG_SIM_UPDATE_NOT_FOUND;
    default:
        return PAG_SIM_UPDATE_WRONG_CODE;
    }
}

static enum pag_sim_update judge(const struct reply *r, const struct pag_sim_update_ask *ask,
                                 struct pag_sim_update_head *out)
{
    if (r->other_coding) {
        return PAG_SIM_UPDATE_ENCODING;
    }
    if (r->md5_n > 0) {
        if (r->md5_n > 1 || r->md5.n != 32 || pag_parse_hex(r->md5, out->md5, sizeof(out->md5)) != PAG_OK) {
            return PAG_SIM_UPDATE_FAULTY_MD5;
        }
        out->has_md5 = true;
    }
    const enum pag_sim_update verdict = judge_status(r->status);
    if (verdict != PAG_SIM_UPDATE_GO) {
        return verdict;
    }
    if (r->length == 0 || r->chunked) {
        return PAG_SIM_UPDATE_NO_SIZE;
    }
    return r->length <= ask->free_space ? PAG_SIM_UPDATE_GO : PAG_SIM_UPDATE_SPACE;
}

enum pag_err pag_sim_update_head(struct pag_span in, const struct pag_sim_update_ask *ask,
                                 struct pag_sim_update_head *out, enum pag_sim_update *verdict)
{
    struct reply r = { 0 };
    *out = (struct pag_sim_update_head){ 0 };
    bool first = true;
    for (size_t at = 0;;) {
        const size_t end = pag_span_find(in, at, '\n');
        if (end == in.n) {
            return PAG_E_SHORT;
        }
        const struct pag_span line = trim(pag_span_of(in.p + at, end - at));
        at = end + 1;
        if (first && !pag_span_starts(line, "HTTP/1.")) {
            out->bytes = (uint32_t)at;
            *verdict = PAG_SIM_UPDATE_NO_SERVER;
            return PAG_OK;
        }
        if (line.n == 0) {
            out->bytes = (uint32_t)at;
            break;
        }
        if (first) {
            r.status = status_of(line);
        } else {
            take_header(&r, line);
        }
        first = false;
    }
    out->length = r.length;
    *verdict = judge(&r, ask, out);
    return PAG_OK;
}

/* ---- the Update class ---- */

static uint32_t flash_bytes(uint8_t id)
{
    static const uint32_t kib[] = { 512, 256, 1024, 2048, 4096, 2048, 4096, 0, 8192, 16384 };
    return id < sizeof(kib) / sizeof(kib[0]) ? kib[id] * 1024 : 0;
}

enum pag_sim_update pag_sim_update_peek(const uint8_t first[4], const struct pag_sim_update_ask *ask)
{
    if (first[0] != MAGIC && first[0] != GZIP) {
        return PAG_SIM_UPDATE_BAD_HEADER;
    }
    if (first[0] == MAGIC && flash_bytes(first[3] >> 4) > ask->chip_bytes) {
        return PAG_SIM_UPDATE_FLASH_SIZE;
    }
    return PAG_SIM_UPDATE_GO;
}

enum pag_sim_update pag_sim_update_end(struct pag_span body, const struct pag_sim_update_head *head)
{
    uint8_t md5[16] = { 0 };
    if (head->has_md5 && (EVP_Digest(body.p, body.n, md5, NULL, EVP_md5(), NULL) != 1 ||
                          memcmp(md5, head->md5, sizeof(md5)) != 0)) {
        return PAG_SIM_UPDATE_ERROR_MD5;
    }
    return body.n > 0 && body.p[0] == MAGIC ? PAG_SIM_UPDATE_GO : PAG_SIM_UPDATE_ERROR_MAGIC;
}
