#ifndef PAG_SIM_HTTPUPDATE_H
#define PAG_SIM_HTTPUPDATE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "sim/flash.h"

/*
 * ESP8266httpUpdate of the Arduino core 3.0, to the byte: the request, what it makes of a reply, and the
 * checks of its Update class. Pure. Facts: docs/spec/httpupdate.md.
 */

/* getLastError of the library; positive ones are the Update class's. */
enum pag_sim_update {
    PAG_SIM_UPDATE_GO = 0,
    PAG_SIM_UPDATE_NONE = 1000, /* 304: HTTP_UPDATE_NO_UPDATES */
    PAG_SIM_UPDATE_NO_SERVER = -7,
    PAG_SIM_UPDATE_ENCODING = -9,
    PAG_SIM_UPDATE_SPACE = -100,
    PAG_SIM_UPDATE_NO_SIZE = -101,
    PAG_SIM_UPDATE_NOT_FOUND = -102,
    PAG_SIM_UPDATE_FORBIDDEN = -103,
    PAG_SIM_UPDATE_WRONG_CODE = -104,
    PAG_SIM_UPDATE_FAULTY_MD5 = -105,
    PAG_SIM_UPDATE_BAD_HEADER = -106,
    PAG_SIM_UPDATE_FLASH_SIZE = -107,
    PAG_SIM_UPDATE_UNAUTHORIZED = -108,
    PAG_SIM_UPDATE_ERROR_MD5 = 7,
    PAG_SIM_UPDATE_ERROR_MAGIC = 10,
};

struct pag_sim_update_ask {
    const char *host;
    uint16_t port;
    const char *path; /* sent as it is */
    char mac[13];     /* 12 hex digits of the station */
    const struct pag_sim_sketch *running;
    uint32_t free_space; /* room for another sketch */
    uint32_t chip_bytes;
};
/* The whole request. PAG_E_SPACE. */
enum pag_err pag_sim_update_request(struct pag_buf *out, const struct pag_sim_update_ask *ask);

enum { PAG_SIM_UPDATE_HEAD_MAX = 2048 };

struct pag_sim_update_head {
    uint32_t bytes;  /* of the head, blank line included */
    uint32_t length; /* of the body */
    bool has_md5;
    uint8_t md5[16];
};
/* What the library makes of a head; PAG_E_SHORT until the blank line is in. *verdict: GO or why not. */
enum pag_err pag_sim_update_head(struct pag_span in, const struct pag_sim_update_ask *ask,
                                 struct pag_sim_update_head *out, enum pag_sim_update *verdict);
/* The body's first 4 bytes. */
enum pag_sim_update pag_sim_update_peek(const uint8_t first[4], const struct pag_sim_update_ask *ask);
/* The complete body, as Update.end() sees it. */
enum pag_sim_update pag_sim_update_end(struct pag_span body, const struct pag_sim_update_head *head);

#endif
