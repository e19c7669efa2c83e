#ifndef PAG_SERVER_DAEMON_H
#define PAG_SERVER_DAEMON_H

#include <openssl/types.h>
#include <pthread.h>

#include "server/api/api.h"
#include "server/api/mqtt/head.h"
#include "server/app/admin.h"
#include "server/broker.h"
#include "server/crl.h"
#include "server/network.h"
#include "server/program.h"
#include "server/store/store.h"

/* Who is kept out, and what must happen from time to time: daemon_keep.c. On the daemon's loop but for the
 * atomic members. */
enum { PAG_PAST_CA_MAX = 32 };

struct pag_daemon_keep {
    atomic_bool stale;                     /* the authorities have changed */
    struct pag_crl crl;                    /* without a managed broker; with one the list is the broker's */
    atomic_ullong crl_number, crl_until_s; /* of crl */
    struct pag_subscription subscription;
    bool subscribed;
    int64_t cursor;      /* last event seen */
    uint64_t deny_epoch; /* handed on up to here */
    bool due;            /* must be handed on (again) */
    struct pag_timer timer;
    atomic_uint silence_s;
    atomic_uint events_s;
    uint64_t sweep_due_ms;
    bool sweeping;
};

/*
 * The running daemon: everything in the order in which it is made, so that it can be taken down in reverse.
 * Zeroed at first; each part knows from its pointer whether it is there.
 */
struct pag_daemon {
    struct pag_args args;
    struct pag_config config;
    struct pag_paths paths;
    struct pag_clock clock;
    uint64_t started_unix_ms;
    int lock_fd;
    struct pag_log *log;
    /* Both as they are now, under certificate_lock. Those before stay, for who is using them. */
    struct pag_ca *device_ca, *old_ca;
    struct pag_ca *past_ca[PAG_PAST_CA_MAX];
    size_t past_ca_n;
    pthread_mutex_t roll_lock; /* files of a roll-over */
    EVP_PKEY *freshness;
    char freshness_pem[512];
    struct pag_store *store;
    struct pag_app *app;
    struct pag_tls *console_tls, *device_tls;
    struct pag_api api;
    struct pag_http *console, *device, *legacy;
    struct pag_network *network;
    struct pag_app_thread *net_thread[PAG_NETWORK_THREADS_MAX];
    /* events and MQTT: one loop, one thread */
    struct pag_loop *loop;
    struct pag_app_thread *loop_thread;
    struct pag_arena_pool *pool; /* of that loop */
    pthread_t loop_id;
    bool loop_runs;
    struct pag_broker *broker;
    struct pag_mqtt_head *mqtt;
    struct pag_daemon_keep keep;
    /* read at start and at HUP */
    pthread_mutex_t certificate_lock;
    struct pag_api_certificate certificate[PAG_API_CERTIFICATES_MAX];
    size_t certificate_n;
};

/* Makes everything and serves. 0, or the exit code after having said why; then call pag_daemon_down all the
 * same. */
int pag_daemon_up(struct pag_daemon *d);
/* Finishes requests (at most finish_ms), commits, ends the broker, frees. */
void pag_daemon_down(struct pag_daemon *d, uint32_t finish_ms);
/* HUP: certificates again, and what the configuration may change while running; what needs a restart is
 * logged by name. daemon_reload.c */
void pag_daemon_reload(struct pag_daemon *d);

/* Completes a roll-over that was taken (server/roll.h), then reads the device authorities; *old: NULL, when
 * there is one only. */
enum pag_err pag_daemon_authorities(struct pag_daemon *d, struct pag_ca **ca, struct pag_ca **old,
                                    struct pag_fail *why);

/* daemon_mqtt.c: broker, MQTT head and their loop */
int pag_daemon_mqtt_up(struct pag_daemon *d);
void pag_daemon_mqtt_stop(struct pag_daemon *d); /* the loop and its memory stay */
/* When nothing written is under way: calls of the MQTT head live in its memory. */
void pag_daemon_mqtt_free(struct pag_daemon *d);

/* What the configuration says about limits, to the heads. */
void pag_daemon_set_limits(struct pag_daemon *d);

/* A call by the daemon itself, on its loop. */
struct pag_call pag_daemon_call(struct pag_daemon *d, struct pag_arena *arena);
/* daemon_users.c: hands the clients with a password, and what each may do, to the managed broker. */
enum pag_err pag_daemon_users(struct pag_daemon *d, struct pag_call *call);

/*
 * daemon_keep.c: hands everybody who is kept out to the broker and into the revocation list, now and after
 * each change, whatever state the broker and our client there are in; sweeps what has grown old. _first is
 * called once broker and store are there and before the broker takes clients; _start once the loop's
 * subscriptions may begin.
 */
int pag_daemon_keep_first(struct pag_daemon *d);
int pag_daemon_keep_start(struct pag_daemon *d);
void pag_daemon_keep_stop(struct pag_daemon *d); /* after the loop has ended */

/* daemon_info.c: what the heads may know of the process */
extern const struct pag_api_process pag_daemon_process;
void pag_daemon_read_certificates(struct pag_daemon *d);

#endif
