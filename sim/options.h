#ifndef PAG_SIM_OPTIONS_H
#define PAG_SIM_OPTIONS_H

#include <stdio.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "sim/flash.h"

/* What is wrong with a device. At most one each. */
enum pag_sim_fault {
    PAG_SIM_FAULT_NONE,
    PAG_SIM_POWER_CUT,  /* the power fails in some flash operation of its first download */
    PAG_SIM_CORRUPT,    /* bits of its first download arrive flipped */
    PAG_SIM_CRASH,      /* the new image crashes or fails its self-test */
    PAG_SIM_FOREIGN,    /* its certificate is of another authority */
    PAG_SIM_UNTRUSTED,  /* does not trust the key that releases are signed with */
    PAG_SIM_WRONG_CHIP, /* is another chip than it told the server */
    PAG_SIM_AHEAD,      /* has run a later release: whatever it is offered is a replayed manifest */
    PAG_SIM_LOOP,       /* ESP8266httpUpdate: every new image is lost, the old one boots again */
    PAG_SIM_FAULT_COUNT,
};
const char *pag_sim_fault_word(enum pag_sim_fault fault); /* "power-cut" … */

struct pag_sim_saved; /* sim/saved.h */

struct pag_sim_options {
    /* the server, and what devices believe */
    char host[64];
    struct pag_buf ca; /* PEM */
    uint8_t pin[PAG_SHA256_BYTES];
    bool has_pin;
    uint8_t chip; /* enum pag_chip */
    uint16_t port;
    uint8_t product_id[PAG_PRODUCT_ID_BYTES]; /* native devices need it */
    const char *product;
    const char *hardware;
    const char *claim;
    /* what they were flashed with */
    struct pag_buf image;
    struct pag_sim_sketch sketch;
    uint32_t slot_bytes;
    /* how many of which kind */
    uint32_t devices, legacy; /* legacy: of them, ESP8266httpUpdate */
    uint32_t
        fault[PAG_SIM_FAULT_COUNT]; /* number of devices each; PAG_SIM_LOOP: of legacy ones, else native */
    uint32_t threads, seed;
    const char *legacy_path; /* NULL: /update/<product> */
    char legacy_host[64];
    uint16_t legacy_port;
    bool legacy_plain; /* without TLS and certificate */
    /* the run */
    bool until_settled;
    bool json;
    bool verbose; /* what each agent logs, on standard error */
    uint32_t poll_s, reading_ms, jitter_s, backoff_s, trial_s, status_s;
    const char *devices_file;    /* where devices are kept between runs, or NULL */
    struct pag_sim_saved *saved; /* what that file held; NULL: a new fleet */
    uint32_t seconds;            /* it ends after so long, whatever happens */
    const char *report;          /* file, or NULL: standard output */
};

/*
 * Reads the words after `run`. Files are read here; the caller frees with pag_sim_options_free. On an error
 * it has said why on say. PAG_E_CONFIG (a word), PAG_E_IO (a file), PAG_E_NOT_FOUND: help was asked for and
 * given.
 */
enum pag_err pag_sim_options_parse(struct pag_sim_options *o, int argc, char **argv, FILE *say);
void pag_sim_options_free(struct pag_sim_options *o);

/* "power-cut=2,crash=1%": numbers or shares of the devices of the kind that can have it, a share at least 1.
 * PAG_E_SYNTAX, PAG_E_NOT_FOUND (word), PAG_E_RANGE (more faults than devices of a kind). */
enum pag_err pag_sim_faults_parse(const char *text, uint32_t natives, uint32_t legacy,
                                  uint32_t fault[PAG_SIM_FAULT_COUNT]);
/* Fault of the i-th native device, and of the i-th legacy one; the first devices have them. */
enum pag_sim_fault pag_sim_fault_of(const uint32_t fault[PAG_SIM_FAULT_COUNT], bool legacy, uint32_t i);

#endif
