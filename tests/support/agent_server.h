#ifndef PAG_TESTS_SUPPORT_AGENT_SERVER_H
#define PAG_TESTS_SUPPORT_AGENT_SERVER_H

/* The server of a device in memory: native v1 with real signatures, and whatever may go wrong with it. */
#include "tests/support/agent_flash.h"

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
        o.permit = pag_span_of(s->permit, s->permit_n);
    }
    s->nonces += m.has_nonce;
    if (m.has_nonce && s->token) {
        struct pag_token t = { .server_time = 1800000000,
                               .trust_version =
                                   s->token_trust_version > 0 ? s->token_trust_version : s->trust_version,
                               .highest_sequence = 9,
                               .valid_s = s->token_valid_s > 0 ? s->token_valid_s : 86400 };
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
    if (m.has_result) {
        s->results++;
        s->result_id = m.result.id;
        s->result_code = m.result.code;
    }
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
    uint8_t reply[512];
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
    (void)pag_text_copy(s->claim, sizeof s->claim, m.claim);
    memcpy(s->claimed, m.csr.p, m.csr.n);
    struct pag_native_enrolled e = { .device_id = pag_span_str("enrolled-1"),
                                     .certificate = m.csr,
                                     .issuer = m.csr,
                                     .product = pag_span_of(f->set.product, sizeof f->set.product),
                                     .mqtt_host = pag_span_str(s->broker) };
    if (pag_native_enrolled_put(&out, &e) != PAG_OK) {
        abort();
    }
    s->enrolled++;
    fake_answer(f, 200, "", out.p, out.n);
}

static inline bool fake_is_bad(struct fake *f)
{
    struct fake_server *s = &f->srv;
    if (s->status == 0 ||
        (s->status_on != NULL && strncmp((char *)f->tx, s->status_on, strlen(s->status_on)) != 0)) {
        return false;
    }
    if (s->status_times > 0 && s->bad_answers == s->status_times) {
        return false;
    }
    s->bad_answers++;
    return true;
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
    } else if (fake_is_bad(f)) {
        char extra[80];
        (void)snprintf(extra, sizeof extra, "Location: http://elsewhere/\r\nRetry-After: %u\r\n",
                       s->retry_after_s);
        fake_answer(f, s->status, extra, NULL, 0);
    } else if (strncmp((char *)f->tx, "POST /v1/check ", 15) == 0) {
        fake_on_check(f, body);
    } else if (strncmp((char *)f->tx, "POST /v1/report ", 16) == 0) {
        fake_on_report(f, body);
    } else if (strncmp((char *)f->tx, "POST /v1/enroll ", 16) == 0) {
        (f->srv.on_enroll != NULL ? f->srv.on_enroll : fake_on_enroll)(f, body);
    } else if (strncmp((char *)f->tx, "GET /v1/trust/", 14) == 0) {
        bool next = strstr((char *)f->tx, "/2 HTTP") != NULL;
        fake_answer(f, 200, "", next ? s->next : s->trust, next ? s->next_n : s->trust_n);
    } else if (strncmp((char *)f->tx, "GET /v1/blob/", 13) == 0) {
        fake_on_blob(f, (char *)f->tx);
    } else {
        fake_answer(f, 404, "", NULL, 0);
    }
}

#endif
