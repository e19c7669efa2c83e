#ifndef PAG_SIM_HTTPUPDATE_H
#define PAG_SIM_HTTPUPDATE_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "sim/flash.h"

/*
 * ESP8266httpUpdate of the Arduino cores 2.3 to 3.1 and HTTPUpdate of the ESP32 ones, to the byte: the
 * request, what they make of a reply, and the checks of the Update class. Pure. Facts:
 * docs/spec/httpupdate.md.
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
    PAG_SIM_UPDATE_UNAUTHORIZED = -108, /* core 3.0 and newer; -104 before */
    PAG_SIM_UPDATE_ERROR_MD5 = 7,
    PAG_SIM_UPDATE_ERROR_MAGIC = 10,
    PAG_SIM_UPDATE_ERROR_SIGN = 12,
};

struct pag_sim_update_ask {
    const char *host;
    uint16_t port;
    const char *path; /* sent as it is */
    char mac[13];     /* 12 hex digits of the station */
    const struct pag_sim_sketch *running;
    const char *version; /* the application's own text; "": the header is absent */
    uint32_t free_space; /* room for another sketch */
    uint32_t chip_bytes;
    uint16_t core; /* major * 100 + minor, of the ESP8266 or ESP32 core */
    bool esp32;
};
/* The whole request. PAG_E_SPACE. */
enum pag_err pag_sim_update_request(struct pag_buf *out, const struct pag_sim_update_ask *ask);

enum { PAG_SIM_UPDATE_HEAD_MAX = 2048, PAG_SIM_MD5_HEX = 32 };

/* The head of any reply. Header names count in any case; the last of doubled ones does. */
struct pag_sim_head {
    uint32_t bytes; /* of the head, blank line included */
    bool is_http;
    unsigned status;
    bool has_length;
    uint32_t length; /* of the body */
    bool chunked, other_coding;
    unsigned md5_n;        /* x-MD5 headers */
    struct pag_span md5;   /* into the bytes given */
    uint32_t first, total; /* of Content-Range, while has_range */
    bool has_range;
};
/* PAG_E_SHORT until the blank line is in. */
enum pag_err pag_sim_head_read(struct pag_span in, struct pag_sim_head *out);

struct pag_sim_update_head {
    uint32_t bytes;  /* of the head, blank line included */
    uint32_t length; /* of the body */
    bool has_md5;
    char md5[PAG_SIM_MD5_HEX]; /* as it was sent */
};
/* What the library makes of a head; PAG_E_SHORT until the blank line is in. *verdict: GO or why not. */
enum pag_err pag_sim_update_head(struct pag_span in, const struct pag_sim_update_ask *ask,
                                 struct pag_sim_update_head *out, enum pag_sim_update *verdict);
/* The body's first 4 bytes. */
enum pag_sim_update pag_sim_update_peek(const uint8_t first[4], const struct pag_sim_update_ask *ask);
/* The complete body, as Update.end() sees it. A body that carries a signature is checked by that alone when
 * the sketch has a verifier: then verified is true, and the MD5 does not count. */
enum pag_sim_update pag_sim_update_end(struct pag_span body, const struct pag_sim_update_head *head,
                                       const struct pag_sim_update_ask *ask, bool verified);

#endif
