#ifndef PAG_SIM_PERSONALITY_H
#define PAG_SIM_PERSONALITY_H

#include <stdio.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * Which client a virtual device is: one row a version whose behaviour differs. What the columns stand for is
 * in docs/operating/simulator.md; the facts are those of the clients' own sources.
 */

enum pag_sim_family {
    PAG_SIM_F_NATIVE,
    PAG_SIM_F_UPDATE,    /* ESP8266httpUpdate and ESP32 HTTPUpdate */
    PAG_SIM_F_TAG,       /* the same, asking with ?tag= */
    PAG_SIM_F_TASMOTA,   /* the same, told over MQTT, with a detour over a smaller image */
    PAG_SIM_F_SECUREESP, /* commands over MQTT, files over HTTPS */
    PAG_SIM_F_IDF,       /* esp_https_ota */
    PAG_SIM_F_ESPHOME,   /* manifest, MD5, image */
    PAG_SIM_F_WEBTOOLS,  /* manifest, parts: a browser with a device on its cable */
    PAG_SIM_F_DETACHED,  /* image and the signature beside it */
};

struct pag_sim_personality {
    const char *name;   /* "esp8266-2.7" */
    const char *client; /* what it stands for, with version */
    enum pag_sim_family family;
    uint16_t version; /* of the library: major * 100 + minor; 0: does not matter */
    bool esp32;
    bool early;           /* 00.00.08.f: its files are in a folder, its errors have another name */
    bool plain_only;      /* its TLS is too old for any server of today */
    bool one_tls;         /* memory for one TLS connection at a time */
    bool blind;           /* checks no certificate */
    bool any_status;      /* takes the body of any answer for an image */
    bool readings;        /* its application sends them over MQTT when it has a certificate */
    uint8_t attempts;     /* Tasmota: at one upgrade; from the middle on for the packed file */
    uint32_t free_max;    /* room for a sketch beside a full one; 0: the slot */
    uint16_t mfln;        /* maximum fragment length it asks for; 0: does not ask */
    uint32_t record_max;  /* bytes of a TLS record that its memory holds */
    uint32_t first_ms;    /* patience until the first byte of an answer */
    uint32_t stall_ms;    /* between two bytes of a body */
    uint16_t flash_ms[2]; /* how long writing flash stops it from reading: least, most */
};

/* NULL: unknown. */
const struct pag_sim_personality *pag_sim_personality_find(struct pag_span name);
/* The i-th, NULL behind the last. */
const struct pag_sim_personality *pag_sim_personality_at(size_t i);
/* One line each. */
void pag_sim_personality_list(FILE *to);

#endif
