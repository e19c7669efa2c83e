#ifndef PAG_SERVER_API_LEGACY_HTTP_SERVE_H
#define PAG_SERVER_API_LEGACY_HTTP_SERVE_H

#include "server/api/legacy_http/headers.h"
#include "server/api/legacy_http/mount.h"
#include "server/app/check_in.h"
#include "server/app/files.h"

/*
 * What all clients that exist already share, from who asks to the last byte sent. A head makes one of these,
 * fills what it knows about the device, asks, and renders the verdict.
 */
struct pag_serve {
    struct pag_http_request *req;
    struct pag_device_call *d;
    const struct pag_mount_at *at;
    bool anonymous; /* nobody in particular: in.device is NULL */
    struct pag_check_in in;
    struct pag_check_reply out;
    bool ranges;                         /* Range is honoured, and the bytes carry an ETag */
    void (*render)(struct pag_serve *s); /* after PAG_OK */
    enum pag_err err;
};

/* NULL: no memory, or too many downloads at once; then 304 was sent (busy 403 for clients that cannot read
 * it). */
struct pag_serve *pag_serve_new(struct pag_http_request *req, const struct pag_mount_at *at);

/*
 * Who asks: the certificate, else a token, else what it says. mac: 12 hex digits, "" : it says nothing, which
 * is refused but for anonymous_ok. False: refused and replied. Limits are taken here too.
 */
bool pag_serve_who(struct pag_serve *s, const char *mac, bool anonymous_ok);

/* What the x-ESP8266- and x-ESP32- headers say, as facts of s->in. */
void pag_serve_facts(struct pag_serve *s, const struct pag_legacy_request *said);

/* Asks; render is called with s->out, or the status that fits the error is sent. */
void pag_serve_ask(struct pag_serve *s);

/* ---- replies, exactly one ---- */
void pag_serve_status(struct pag_serve *s, unsigned status);
/* The offer's bytes with one x-MD5. */
void pag_serve_image(struct pag_serve *s);
void pag_serve_text(struct pag_serve *s, const char *content_type, const char *text);

#endif
