#ifndef PAG_SERVER_API_SECUREESP_VISIT_H
#define PAG_SERVER_API_SECUREESP_VISIT_H

#include "server/api/json.h"
#include "server/api/legacy_http/mount.h"
#include "server/app/check_in.h"
#include "server/app/device_key.h"
#include "server/app/secureesp.h"

/*
 * One request for one of the files below a mount, from who asks to the answer: docs/spec/secureesp8266.md 2.
 * Every function that answers does it once, and releases the settings.
 */
struct pag_secureesp_visit {
    struct pag_device_call *d;
    const struct pag_mount_at *at;
    json_t *settings; /* of the product; released with the answer */
    bool der;
    const char *label; /* of the PEM block */
    enum pag_command_kind kind;
    struct pag_check_in in;
    struct pag_check_reply out;
    struct pag_device_file_in file_in;
    struct pag_span file_out;
};

/* ---- answering: the sketch shows nothing but the status, people who look read the sentence ---- */

/* body: arena or static. type: may be NULL when there is no body. */
void pag_secureesp_answer(struct pag_secureesp_visit *v, unsigned status, const char *type,
                          struct pag_span body);
void pag_secureesp_refuse(struct pag_secureesp_visit *v, unsigned status, const char *sentence);
/* 304. code: a PAG_FETCH_…, kept with the command that asked for it. */
void pag_secureesp_not_modified(struct pag_secureesp_visit *v, int32_t code);
/* Of a use-case that said no. */
unsigned pag_secureesp_code(enum pag_err err);
/* Keeps what became of this fetch, for the command that asked for it. */
void pag_secureesp_fetched(const struct pag_secureesp_visit *v, int32_t code);
/* Whether it shows its certificate. False: refused. */
bool pag_secureesp_identity(struct pag_secureesp_visit *v);
/* Releases what the visit holds, for a reply that goes another way. */
void pag_secureesp_release(struct pag_secureesp_visit *v);

/* ---- the files ---- */

void pag_secureesp_send_ca(struct pag_secureesp_visit *v);
/* A device's own certificate or key. id: as the path says. */
void pag_secureesp_send_own(struct pag_secureesp_visit *v, struct pag_span id, enum pag_device_file file);
/* url: for sketches that join the address of files from it. */
void pag_secureesp_send_config(struct pag_secureesp_visit *v, bool url);
void pag_secureesp_send_firmware(struct pag_secureesp_visit *v);

#endif
