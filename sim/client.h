#ifndef PAG_SIM_CLIENT_H
#define PAG_SIM_CLIENT_H

#include "agent/mqtt_client.h"
#include "sim/fetch.h"
#include "sim/fleet.h"

/*
 * A device with firmware that was never made for this project. The driver (client.c) is what all have in
 * common: enrolment, one exchange at a time, installation by copying over the running image, MQTT. A script
 * is what one family of clients says and makes of the answers.
 */

enum { PAG_SIM_DER_MAX = 2048, PAG_SIM_PATH_MAX = 200, PAG_SIM_STORE_MAX = 4 << 20 };

enum pag_sim_phase {
    PAG_SIM_PHASE_ENROLL,
    PAG_SIM_PHASE_IDLE,
    PAG_SIM_PHASE_FETCH,
    PAG_SIM_PHASE_RESTART,
    PAG_SIM_PHASE_DEAD,
};

/* What follows when a script has seen an answer. */
enum pag_sim_next {
    PAG_SIM_NEXT_READ,    /* a head: read the body that it announces */
    PAG_SIM_NEXT_ASK,     /* another exchange of the same round */
    PAG_SIM_NEXT_CURRENT, /* there is nothing newer: the round is over */
    PAG_SIM_NEXT_OVER,    /* the round is over, and says nothing about what runs */
    PAG_SIM_NEXT_INSTALL, /* client->image is what to install */
    PAG_SIM_NEXT_FAIL,    /* fetch.code and fetch.what say why */
};

struct pag_sim_script {
    bool waits; /* for commands: does not ask by itself */
    /* The next request of a round into fetch.wire; step counts from 0. */
    enum pag_err (*ask)(struct pag_sim_device *d);
    /* A head is in. */
    enum pag_sim_next (*head)(struct pag_sim_device *d);
    uint32_t peek; /* bytes of a body after which peek is called; 0: never */
    enum pag_sim_next (*peek_at)(struct pag_sim_device *d); /* READ: go on */
    /* The body is in. */
    enum pag_sim_next (*body)(struct pag_sim_device *d);
    /* MQTT; may be NULL. */
    void (*message)(struct pag_sim_device *d, const struct pag_mqttc_packet *m);
    /* A new image runs. */
    void (*restarted)(struct pag_sim_device *d);
    /* Its first message after a restart has left. */
    void (*told)(struct pag_sim_device *d);
    /* An exchange broke off; the body so far is in fetch. */
    void (*broken)(struct pag_sim_device *d);
};
const struct pag_sim_script *pag_sim_script_of(enum pag_sim_family family);

struct pag_sim_enrolment; /* client_enroll.c */

struct pag_sim_client {
    struct pag_port port;
    const struct pag_sim_script *script;
    enum pag_sim_phase phase;
    uint64_t due_ms; /* of the phase: next poll, end of a restart */
    uint64_t ntp_ms; /* with a wrong clock: when it gets the time */
    struct pag_sim_fetch fetch;
    unsigned step;
    uint64_t booted_ms;
    bool to_confirm; /* restarted into another sketch; the server has not seen it yet */
    uint32_t losses;
    uint8_t *old; /* of PAG_SIM_LOOP: the sketch that comes back again and again */
    uint32_t old_n;
    /* what a round has put together, or what a file system holds */
    uint8_t *image;
    uint32_t image_n, image_cap;
    uint32_t total; /* of an image in pieces */
    char path[PAG_SIM_PATH_MAX];
    char extra[PAG_SIM_PATH_MAX]; /* a script's own: a path, a URL */
    char md5[PAG_SIM_MD5_HEX];
    char offered[PAG_VERSION_MAX + 1];
    struct pag_sim_update_head announced; /* of image */
    uint8_t word;                         /* a script's own: the command it is at */
    bool detour;                          /* on the way over a smaller image */
    bool is_stand_in;                     /* that image runs */
    bool flashed;                         /* installed; runs after the restart that somebody commands */
    /* identity */
    struct pag_sim_enrolment *enrolment; /* while it goes on */
    uint8_t certificate[PAG_SIM_DER_MAX], key[PAG_SIM_DER_MAX];
    size_t certificate_n, key_n;
    /* MQTT */
    unsigned to_say; /* bits of said.h: messages that do not wait for their time */
    bool mqtt_open, subscribed;
    uint64_t mqtt_due_ms, reading_due_ms, up_since_ms;
    char mqtt_host[PAG_DEVICE_ID_MAX];
    uint16_t mqtt_port;
    struct pag_mqttc mqtt;
    char said[64]; /* the error that its status tells */
};

/* client.c */
uint64_t pag_sim_client_now(const struct pag_sim_device *d);
void pag_sim_client_go(struct pag_sim_device *d, enum pag_sim_phase phase, uint32_t after_ms);
/* Begins a round: the first ask. */
void pag_sim_client_begin(struct pag_sim_device *d);
/* client->image over the running one. GO, or why not; state and outcome are the caller's. */
enum pag_sim_update pag_sim_client_install(struct pag_sim_device *d);
/* Runs what install has written. */
void pag_sim_client_restart(struct pag_sim_device *d);
/* Takes the body of the fetch over as client->image, or appends to it. PAG_E_NO_MEMORY, PAG_E_LIMIT. */
enum pag_err pag_sim_client_take(struct pag_sim_device *d, bool append);
struct pag_sim_update_ask pag_sim_client_about(const struct pag_sim_device *d);
struct pag_net_trust pag_sim_client_trust(const struct pag_sim_device *d);
bool pag_sim_client_is_plain(const struct pag_sim_device *d);
enum pag_sim_next pag_sim_client_fail(struct pag_sim_device *d, const char *what, int code);
/* Path below the place of the personality: "/files/plug/firmware.bin". */
void pag_sim_client_path(struct pag_sim_device *d, const char *rest);
/* "GET <path> HTTP/1.1", Host, then more (whole lines), and the blank line. PAG_E_SPACE. */
enum pag_err pag_sim_client_request(struct pag_sim_device *d, const char *method, const char *more);

/* client_enroll.c: PAG_E_AGAIN while it goes on. */
enum pag_err pag_sim_enroll_step(struct pag_sim_device *d);
void pag_sim_enroll_close(struct pag_sim_device *d);

/* client_mqtt.c */
void pag_sim_link_step(struct pag_sim_device *d);
void pag_sim_link_close(struct pag_sim_device *d, bool goodbye); /* comes back after a while */

#endif
