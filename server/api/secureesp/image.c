#include <unistd.h>

#include "core/bytes.h"
#include "server/api/secureesp/config.h"
#include "server/api/secureesp/visit.h"
#include "server/api/transfer.h"

static void sent(const struct pag_api_transfer *t)
{
    pag_app_secureesp_fetched(t->thread, t->device, (enum pag_command_kind)PAG_WORD_FIRMWARE,
                              t->what.complete ? PAG_FETCH_OK : PAG_FETCH_SHORT);
}

static void send_image(struct pag_secureesp_visit *v)
{
    int fd = -1;
    uint64_t bytes = 0;
    enum pag_err err = pag_app_offer_open(&v->d->call, &v->out, &fd, &bytes);
    struct pag_api_transfer *t =
        err == PAG_OK ? pag_api_transfer_new(v->d->req, v->d->call.thread, v->in.device, &v->out) : NULL;
    if (t == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        pag_secureesp_not_modified(v, PAG_FETCH_BUSY);
        return;
    }
    t->after = sent;
    struct pag_http_header header = { pag_span_str("Cache-Control"), pag_span_str("no-store") };
    struct pag_http_file file = { .fd = fd,
                                  .bytes = bytes,
                                  .content_type = "application/octet-stream",
                                  .header = &header,
                                  .header_n = 1,
                                  .no_range = true,
                                  .close = true,
                                  .done = pag_api_transfer_done,
                                  .done_ctx = t };
    pag_secureesp_release(v);
    pag_http_reply_file(v->d->req, &file);
}

static void checked(struct pag_call *call, enum pag_err err)
{
    struct pag_secureesp_visit *v = ((struct pag_device_call *)call->user)->out;
    if (err != PAG_OK) {
        pag_secureesp_refuse(v, pag_secureesp_code(err),
                             err == PAG_E_BUSY
                                 ? "Not now: try again.\n"
                                 : "The device is not of this product, or its certificate was revoked.\n");
        return;
    }
    switch (v->out.verdict) {
    case PAG_CHECK_OFFER:
        send_image(v);
        return;
    case PAG_CHECK_NO_IMAGE:
        pag_secureesp_refuse(v, 404,
                             "The product has no firmware for this device yet: pagurus release push.\n");
        return;
    case PAG_CHECK_NONE:
    case PAG_CHECK_TEXT:
        break;
    }
    pag_secureesp_not_modified(v, PAG_FETCH_CURRENT);
}

static bool read_image(struct pag_secureesp_visit *v)
{
    struct pag_span id;
    struct pag_span name;
    struct pag_span version;
    struct pag_fact_text *f = &v->in.facts.version;
    if (!pag_http_query_get(v->d->req, "curimage", &id) || id.n == 0) {
        pag_secureesp_refuse(v, 400, "Say what runs: firmware.bin?curimage=BOARD-00.00.08.g\n");
        return false;
    }
    pag_secureesp_image(id, &name, &version);
    if (version.n == 0 || pag_text_copy(f->value, sizeof f->value, version) != PAG_OK) {
        pag_secureesp_refuse(v, 400,
                             "curimage is BOARD-VERSION: what follows its last - is the version, at most 64 "
                             "characters.\n");
        return false;
    }
    f->source = PAG_SAID;
    const char *board = pag_secureesp_config_board(v->settings);
    if (board[0] != '\0' && !pag_span_eq_str(name, board)) {
        const char *text = pag_arena_printf(v->d->req->arena,
                                            "This product is for boards %s. Move the device to a product of "
                                            "its own, or change the setting board.\n",
                                            board);
        pag_secureesp_refuse(v, 409, text != NULL ? text : "another board\n");
        return false;
    }
    return true;
}

void pag_secureesp_send_firmware(struct pag_secureesp_visit *v)
{
    v->kind = (enum pag_command_kind)PAG_WORD_FIRMWARE;
    if (!pag_secureesp_identity(v) || !read_image(v)) {
        return;
    }
    if (pag_api_transfers_full(pag_api_of(v->d->req))) {
        pag_secureesp_not_modified(v, PAG_FETCH_BUSY);
        return;
    }
    char mac[13];
    const char *id = v->d->identity.device;
    v->in.protocol = PAG_PROTOCOL_SECUREESP;
    v->in.proof = PAG_PROOF_CERTIFICATE;
    v->in.mode = PAG_CHECK_FIRMWARE;
    v->in.device = id;
    v->in.product = v->at->product;
    v->in.mac = pag_mac_text(pag_span_str(id), mac) == PAG_OK ? id : NULL;
    v->in.facts.chip = (struct pag_fact_u32){ PAG_ASSUMED, PAG_CHIP_ESP8266 };
    v->in.only_look = v->d->req->method == PAG_HTTP_HEAD;
    v->d->call.done = checked;
    pag_app_check_in(&v->d->call, &v->in, &v->out);
}
