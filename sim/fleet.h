#ifndef PAG_SIM_FLEET_H
#define PAG_SIM_FLEET_H

#include <pthread.h>

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "host/loop.h"
#include "sim/flash.h"
#include "sim/net.h"
#include "sim/options.h"

/*
 * A fleet of virtual devices. Each thread has a world: a loop, its share of the devices, their connections
 * and flash sectors. Nothing of a world is touched by another thread except its summary.
 */

/* What became of a device, compared with what it was flashed with. */
enum pag_sim_outcome {
    PAG_SIM_WAITING,   /* nothing final yet */
    PAG_SIM_CONFIRMED, /* boots another image than at the start, past its trial */
    PAG_SIM_REVERTED,  /* tried another image and boots the first one again */
    PAG_SIM_REFUSED,   /* turned an offer down and boots what it had */
    PAG_SIM_DENIED,    /* the server does not talk to it */
    PAG_SIM_DEAD,      /* does not boot any more */
    PAG_SIM_OUTCOME_COUNT,
};
const char *pag_sim_outcome_word(enum pag_sim_outcome outcome);

struct pag_sim_world;
struct pag_sim_saved_device; /* sim/saved.h */

enum { PAG_SIM_TRAIL_MAX = 16 };                      /* versions remembered of a device */
enum { PAG_SIM_CONNS_MAX = 4, PAG_SIM_SESSIONS = 2 }; /* of one device at a time */

struct pag_sim_device {
    struct pag_sim_world *world;
    uint32_t index; /* in the fleet */
    const struct pag_sim_personality *who;
    const struct pag_sim_user *user; /* of the listener with passwords, or NULL */
    const char *path;                /* where it asks, or NULL: as its personality does */
    struct pag_sim_shape shape;
    enum pag_sim_fault fault;
    char mac[13];
    char id[PAG_DEVICE_ID_MAX + 1]; /* the MAC until enrolment says otherwise */
    struct pag_sim_flash flash;
    struct pag_timer timer;
    struct pag_sim_conn *conn[PAG_SIM_CONNS_MAX]; /* open ones; NULL: free */
    SSL_SESSION *session[PAG_SIM_SESSIONS];       /* in RAM: to resume with the server, with the broker */
    const struct pag_sim_saved_device *saved;     /* while it is made: what an earlier run left; else NULL */
    void *body;                                   /* struct native of native.c, or struct pag_sim_client */
    const char *state;                            /* word for the table */
    /* what it boots: at the start, and now */
    struct pag_sim_sketch before, now;
    enum pag_sim_outcome outcome;
    char trail[PAG_SIM_TRAIL_MAX][PAG_VERSION_MAX + 1]; /* what it has booted after what it came with */
    uint32_t trail_n;
    bool silent;           /* sends no readings */
    bool waiting;          /* an image waits in slot B for the restart; not a native one's */
    uint32_t rounds;       /* of asking that have ended; not a native one's */
    uint32_t lose_link_at; /* byte of the download at which the link is lost; 0: it is not */
    uint32_t link_losses, clock_refusals;
    bool corrupt_now; /* the next large piece that arrives gets a flipped bit */
    uint32_t resets, power_cuts, corruptions, denials, refusals, downloads;
    uint32_t readings_now;                    /* since what it runs was installed */
    uint32_t readings_before, readings_after; /* after: since the outcome is final */
    bool reached; /* the server has taken it for one of its devices, at least once */
    enum pag_err last_error;
    char last_what[64];
    char last_where[72];            /* "host:port" of its last connection */
    char last_why[PAG_SIM_WHY_MAX]; /* of the last connection that failed; "" */
};

enum { PAG_SIM_ROWS_MAX = 24 };

struct pag_sim_summary { /* of one world, or added up */
    uint32_t devices, outcome[PAG_SIM_OUTCOME_COUNT], settled, reached;
    uint64_t readings, resets;
    struct pag_sim_row {
        char text[PAG_VERSION_MAX + 1];
        uint32_t n;
    } version[PAG_SIM_ROWS_MAX], state[PAG_SIM_ROWS_MAX], who[PAG_SIM_ROWS_MAX];
    uint32_t version_n, state_n, who_n; /* who: those that are as expected, by personality */
    struct pag_sim_net_stats net;
    size_t sectors;
};

struct pag_sim_world {
    const struct pag_sim_options *options;
    struct pag_loop *loop;
    struct pag_sim_pool *pool;
    struct pag_sim_net net;
    struct pag_sim_device *device;
    uint32_t device_n;
    uint32_t random; /* state of the world's own generator; not for keys */
    struct pag_timer tick;
    pthread_mutex_t lock; /* of summary */
    struct pag_sim_summary summary;
    pthread_t thread;
    bool is_started;
};

/* Devices first, first + 1 … of the fleet, flashed with the options' image. PAG_E_NO_MEMORY, PAG_E_CONFIG. */
enum pag_err pag_sim_world_init(struct pag_sim_world *world, const struct pag_sim_options *options,
                                uint32_t first, uint32_t n);
void pag_sim_world_free(struct pag_sim_world *world);
enum pag_err pag_sim_world_start(struct pag_sim_world *world); /* its own thread */
void pag_sim_world_stop(struct pag_sim_world *world);          /* and joins it */

uint32_t pag_sim_random(struct pag_sim_world *world, uint32_t below); /* 0 .. below-1; repeatable by --seed */

void pag_sim_summary_add(struct pag_sim_summary *sum, const struct pag_sim_summary *part);

/* ---- one device; the two kinds fill these in ---- */
enum pag_err pag_sim_native_init(struct pag_sim_device *d); /* arms its timer */
void pag_sim_native_free(struct pag_sim_device *d);
/* Fills in what is not in flash; it points into d. */
void pag_sim_native_save(const struct pag_sim_device *d, struct pag_sim_saved_device *out);
void pag_sim_client_save(const struct pag_sim_device *d, struct pag_sim_saved_device *out);
enum pag_err pag_sim_client_init(struct pag_sim_device *d);
void pag_sim_client_free(struct pag_sim_device *d);

bool pag_sim_device_is_native(const struct pag_sim_device *d);
/* Writes down what it boots now. */
void pag_sim_device_trail(struct pag_sim_device *d);
/* Counts a reading that left the device. */
void pag_sim_device_reading(struct pag_sim_device *d);
/* Keeps the first final outcome; a device that goes on to another image later is that image's. */
void pag_sim_device_outcome(struct pag_sim_device *d, enum pag_sim_outcome outcome);
void pag_sim_device_error(struct pag_sim_device *d, enum pag_err err, const char *what);
/* "pump-1 at host:8444, in state enroll: denied, server: not allowed" into text; the error that it had last.
 */
void pag_sim_device_say(const struct pag_sim_device *d, char *text, size_t cap);
/* What a device with this fault must come to. */
enum pag_sim_outcome pag_sim_expected(enum pag_sim_fault fault);
/* As expected, and its readings still flow. */
bool pag_sim_device_settled(const struct pag_sim_device *d);

#endif
