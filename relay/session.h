#ifndef PAG_RELAY_SESSION_H
#define PAG_RELAY_SESSION_H

#include <openssl/types.h>

#include "relay/net.h"
#include "relay/push.h"

/* The protocols of push.h on sockets that are open already: for push.c, tests and fuzzing. */

/* Sets *r and returns err. */
enum pag_err pag_push_fail(struct pag_push_result *r, enum pag_err err, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a failed read or write; what: "while it was sent the image". */
enum pag_err pag_push_lost(struct pag_push_result *r, enum pag_err err, const char *what);
void pag_push_step(const struct pag_push_order *o, struct pag_push_result *r, enum pag_push_phase phase,
                   uint64_t done, uint64_t all);

/* o->host at o->port (or the protocol's); .local also by multicast. PAG_E_NOT_FOUND, and *r says so (r may be
 * NULL). */
enum pag_err pag_push_resolve(const struct pag_push_order *o, struct pag_net_address *out,
                              struct pag_push_result *r);

/* Printable ASCII of what a device said, at most cap - 1 bytes, runs of blanks as one, without its ends. */
void pag_push_clean(struct pag_span said, char *out, size_t cap);

enum { PAG_HEX_MAX = 65 };
/* Lower-case hex of a digest over texts, NULL-terminated list; out holds PAG_HEX_MAX. */
enum pag_err pag_push_hash(const EVP_MD *md, const char *const *text, char out[PAG_HEX_MAX]);
void pag_push_md5(struct pag_span data, char out[PAG_HEX_MAX]);

/* ---- ESPHome ---- */
enum pag_err pag_esphome_session(int fd, const struct pag_push_order *o, struct pag_push_result *r);
/* An error byte as an error and a sentence; NULL: no error byte. */
const char *pag_esphome_error(uint8_t code, enum pag_err *err);

/* ---- espota ---- */
enum pag_espota_kind {
    PAG_ESPOTA_OK,
    PAG_ESPOTA_MD5,    /* nonce: 32 hex digits */
    PAG_ESPOTA_SHA256, /* nonce: 64 */
    PAG_ESPOTA_DENIED,
    PAG_ESPOTA_ERROR, /* text, code */
    PAG_ESPOTA_STRANGE,
};
struct pag_espota_answer {
    enum pag_espota_kind kind;
    char nonce[PAG_HEX_MAX];
    int code; /* of "ERROR[n]", -1: none */
    char text[100];
};
/* One datagram. */
void pag_espota_answer_read(struct pag_span datagram, struct pag_espota_answer *out);
/*
 * The response to a nonce, in hex. md5_inside: the SHA-256 form for a device that keeps the password's MD5
 * (setPasswordHash of older sketches).
 */
enum pag_err pag_espota_response(const struct pag_espota_answer *a, const char *password, bool md5_inside,
                                 const char *cnonce, char out[PAG_HEX_MAX]);
/* Data and result over the connection that the device made. */
enum pag_err pag_espota_session(int fd, const struct pag_push_order *o, struct pag_push_result *r);

enum pag_err pag_espota_push(const struct pag_push_order *o, struct pag_push_result *r);
enum pag_err pag_esphome_push(const struct pag_push_order *o, struct pag_push_result *r);

/* ---- web ---- */
enum pag_web_form { PAG_WEB_OLD, PAG_WEB_NEW }; /* field "update", or "firmware" and "filesystem" */
enum pag_web_form pag_web_form_of(struct pag_span page);
/* What the answer to an upload means. */
enum pag_err pag_web_judge(const struct pag_push_order *o, long status, struct pag_span body,
                           struct pag_push_result *r);
/* WLED's /json/info. PAG_E_SYNTAX. */
enum pag_err pag_wled_info_read(struct pag_span json, struct pag_push_info *out);
enum pag_err pag_web_push(const struct pag_push_order *o, struct pag_push_result *r);
enum pag_err pag_web_look(const struct pag_push_order *o, struct pag_push_info *info);

#endif
