#ifndef PAG_SIM_OPTIONS_H
#define PAG_SIM_OPTIONS_H

#include <stdio.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "sim/flash.h"
#include "sim/personality.h"

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
    /* of clients that are not native */
    PAG_SIM_LOOP,      /* every new image is lost, the old one boots again */
    PAG_SIM_CLOCK,     /* its clock is at 1970 until NTP answers */
    PAG_SIM_FULL,      /* no room for another sketch */
    PAG_SIM_LINK_LOSS, /* its first download breaks off */
    PAG_SIM_FLIP,      /* a bit of every image arrives flipped */
    PAG_SIM_EBOOT_CUT, /* the power fails while eboot copies */
    PAG_SIM_FAULT_COUNT,
};
const char *pag_sim_fault_word(enum pag_sim_fault fault); /* "power-cut" … */

struct pag_sim_saved; /* sim/saved.h */

/* An address of a server. */
struct pag_sim_place {
    char host[64];
    uint16_t port;
    const char *path; /* NULL: as the personality has it */
    bool plain;       /* without TLS and certificate */
};

enum { PAG_SIM_GROUPS_MAX = 32, PAG_SIM_IMAGES_MAX = 16, PAG_SIM_FASTER = 20 };

/* Devices of one personality. */
struct pag_sim_group {
    const struct pag_sim_personality *who;
    uint32_t n;
    const char *path; /* its own, or NULL */
};

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
    struct pag_sim_flashed {
        struct pag_buf bytes;
        struct pag_sim_sketch sketch;
    } image[PAG_SIM_IMAGES_MAX]; /* each device has one for its chip, in turn */
    uint32_t image_n;
    struct pag_buf verify_key; /* PEM: of detached signatures */
    uint32_t slot_bytes;
    /* how many of which kind */
    uint32_t devices, legacy;                       /* legacy: of them, the last ones: not native */
    struct pag_sim_group group[PAG_SIM_GROUPS_MAX]; /* of those, one after the other */
    uint32_t group_n;
    uint32_t fault[PAG_SIM_FAULT_COUNT]; /* number of devices each; PAG_SIM_LOOP and later: of legacy ones */
    uint8_t *client_fault;               /* enum pag_sim_fault of each of those, or NULL */
    uint32_t threads, seed;
    struct pag_sim_place legacy_at; /* where clients ask that are not native */
    struct pag_sim_place plain;     /* where those do that can only speak plain HTTP; host "": the same */
    struct pag_sim_place mqtt_at;   /* listener with passwords; host "": none */
    struct pag_sim_user {           /* of that listener, for the devices that use it, in turn */
        char mac[13], name[48], password[48], topic[48];
    } * mqtt_user;
    uint32_t mqtt_user_n;
    uint32_t faster; /* flash and restarts take so much less time than real ones */
    /* the run */
    bool until_settled;
    bool json;
    bool verbose; /* what each agent logs, on standard error */
    uint32_t poll_s, reading_ms, jitter_s, backoff_s, trial_s, status_s;
    const char *devices_file;    /* where devices are kept between runs, or NULL */
    struct pag_sim_saved *saved; /* what that file held; NULL: a new fleet */
    const char *target;          /* version to come to, or NULL: any other */
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
/* Fault of the i-th native device; the first ones have them. */
enum pag_sim_fault pag_sim_fault_of(const uint32_t fault[PAG_SIM_FAULT_COUNT], uint32_t i);
/* Whether a device can have it. plain: it asks without TLS. */
bool pag_sim_fault_fits(enum pag_sim_fault fault, const struct pag_sim_personality *who, bool plain);

/* The user of the broker that the i-th device that is not native is, or NULL. */
const struct pag_sim_user *pag_sim_user_of(const struct pag_sim_options *o, uint32_t i);
/* The group of the i-th device that is not native. */
const struct pag_sim_group *pag_sim_group_of(const struct pag_sim_options *o, uint32_t i);

#endif
