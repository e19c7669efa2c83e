#ifndef PAG_CLI_RELAY_H
#define PAG_CLI_RELAY_H

#include "cli/relay_job.h"
#include "cli/relay_rules.h"

/* State of pagurus relay: relay.c (what runs when) and relay_round.c (what is found, and what follows). */

enum { PAG_RELAY_JOBS_MAX = 32, PAG_RELAY_PRODUCTS_MAX = 16, PAG_RELAY_WAITS = 1024 };

/* A device that failed, and when it is tried again. */
struct pag_relay_wait {
    char device[PAG_DEVICE_ID_MAX + 1];
    unsigned failures;
    uint64_t until_ms;
};

/* A word to the server that must not be lost. */
struct pag_relay_word {
    char device[PAG_DEVICE_ID_MAX + 1];
    uint32_t action;
    const char *state; /* literal */
    int code;
    char text[PAG_PUSH_TEXT];
    char version[PAG_VERSION_MAX + 1];
    bool has_version;
};

struct pag_relay {
    struct pag_cli *cli;
    struct pag_relay_rules rules;
    const char *product[PAG_RELAY_PRODUCTS_MAX];
    bool warned[PAG_RELAY_PRODUCTS_MAX];
    size_t product_n;
    const char *cache;
    const char *mdns; /* NULL: the multicast group */
    uint64_t interval_ms, wait_ms;
    size_t job_n; /* slots */
    uint16_t listen_port;
    bool once;
    struct pag_job *job;
    struct pag_relay_wait *wait;
    struct pag_mdns_found *found; /* PAG_MDNS_FOUND_MAX */
    struct pag_relay_word *word;  /* job_n that are still to be said; device "" : free */
    bool server_gone;
    uint64_t pushed, confirmed, failed;
};

/* One look around and what follows. A code other than OK ends the relay. */
int pag_relay_round(struct pag_relay *r);

/* Says a state. False: the server was not to be had. */
bool pag_relay_tell(struct pag_relay *r, const struct pag_relay_word *word, unsigned percent);
struct pag_job *pag_relay_job_of(struct pag_relay *r, const char *device);
/* ok: forget; else the next try comes later each time. */
void pag_relay_put_off(struct pag_relay *r, const char *device, bool ok);
bool pag_relay_is_off(const struct pag_relay *r, const char *device);
/* "device<TAB>state<TAB>text" on stdout, or one JSON object with --json and --jsonl. */
void pag_relay_say(struct pag_relay *r, const char *device, const char *state, const char *text);

#endif
