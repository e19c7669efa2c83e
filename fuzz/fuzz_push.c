/* What a device that is pushed to may answer. The first byte picks the protocol; the rest lies in the socket.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/bytes.h"
#include "relay/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef enum pag_err (*session_fn)(int fd, const struct pag_push_order *o, struct pag_push_result *r);

static void check(enum pag_err err, const struct pag_push_result *r)
{
    bool said = err == PAG_OK || r->text[0] != '\0';
    bool ended = memchr(r->text, '\0', sizeof r->text) != NULL;
    if (!said || !ended || err != r->err || (err == PAG_OK && r->phase != PAG_PUSH_TAKEN)) {
        abort();
    }
}

static void run(session_fn session, enum pag_push_protocol protocol, struct pag_span said)
{
    static const uint8_t image[3000] = { 0xE9 };
    int pair[2];
    const struct pag_push_order o = { .protocol = protocol,
                                      .host = "x",
                                      .image = { image, sizeof image },
                                      .password = "secret",
                                      .silence_ms = 20 };
    struct pag_push_result r = { .code = -1 };
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        return;
    }
    if (said.n == 0 || send(pair[1], said.p, said.n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        (void)shutdown(pair[1], SHUT_WR);
        check(session(pair[0], &o, &r), &r);
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void judge_page(struct pag_span page, enum pag_push_protocol protocol)
{
    const struct pag_push_order o = { .protocol = protocol, .host = "x" };
    static const long status[] = { 200, 401, 403, 404, 500 };
    (void)pag_web_form_of(page);
    for (size_t i = 0; i < sizeof status / sizeof status[0]; i++) {
        struct pag_push_result r = { .code = -1 };
        enum pag_err err = pag_web_judge(&o, status[i], page, &r);
        if (err != r.err || (err != PAG_OK && r.text[0] == '\0') || (err == PAG_OK && status[i] != 200)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_espota_answer a;
    struct pag_push_info info;
    if (size == 0) {
        return 0;
    }
    struct pag_span said = pag_span_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        run(pag_esphome_session, PAG_PUSH_ESPHOME, said);
        break;
    case 1:
        run(pag_espota_session, PAG_PUSH_ESPOTA, said);
        break;
    case 2:
        pag_espota_answer_read(said, &a);
        if ((a.kind == PAG_ESPOTA_MD5 && strlen(a.nonce) != 32) ||
            (a.kind == PAG_ESPOTA_SHA256 && strlen(a.nonce) != 64)) {
            abort();
        }
        break;
    case 3:
        judge_page(said, PAG_PUSH_WEB);
        judge_page(said, PAG_PUSH_WLED);
        break;
    default:
        if (pag_wled_info_read(said, &info) == PAG_OK &&
            memchr(info.version, '\0', sizeof info.version) == NULL) {
            abort();
        }
        break;
    }
    return 0;
}
