#ifndef PAG_SERVER_BROKER_H
#define PAG_SERVER_BROKER_H

#include <stdbool.h>

#include <pagurus/errors.h>

#include "host/clock.h"
#include "host/log.h"
#include "host/x509.h"

/*
 * The managed mosquitto: writes its configuration, access list and revocation list into a folder of its own,
 * starts it, watches it, starts it again with back-off. One thread. docs/operating/broker.md.
 */
struct pag_broker;

/* As the device sees it. COMMAND: it reads; the server writes, and reads to find what is retained there. */
enum pag_broker_access { PAG_BROKER_READ = 1, PAG_BROKER_WRITE = 2, PAG_BROKER_COMMAND = 3 };

/* A product's own topics: "/command/{id}/+". {id} is a whole level and appears exactly once. */
struct pag_broker_topic {
    const char *pattern;
    enum pag_broker_access access;
};

/* A client with a password: firmware that can have no certificate. */
struct pag_broker_user {
    const char *name;                     /* with a '.', as no certificate's is: "lamp.kitchen" */
    const char *hash;                     /* "$7$…", host/broker_hash.h */
    const struct pag_broker_topic *right; /* whole filters, without {id}; as it sees them */
    size_t right_n;
};
struct pag_broker_users {
    struct pag_broker_user *user;
    size_t n;
    struct pag_broker_topic
        *own; /* filters of all of them together, for the server itself; as they see them */
    size_t own_n;
};

enum pag_broker_state {
    PAG_BROKER_STOPPED,
    PAG_BROKER_STARTING, /* the process runs, its port does not answer yet */
    PAG_BROKER_RUNNING,
    PAG_BROKER_WAITING, /* ended; started again at retry_ms */
};

struct pag_broker_status {
    enum pag_broker_state state;
    int pid;
    uint16_t port;
    uint16_t password_port, plain_port; /* 0: off */
    uint32_t restarts;                  /* since pag_broker_start */
    uint64_t started_unix_ms;           /* of this process */
    uint32_t retry_ms;                  /* WAITING: until the next start */
    bool plugin;                        /* the kick plugin is loaded */
    uint64_t crl_number;
    uint64_t crl_until_s; /* Unix s; past it the broker refuses everybody */
    char last_error[160]; /* "" when there was none; last line of the broker's log for an exit */
};

struct pag_broker_config {
    const char *dir;       /* the broker's folder, made 0700 */
    const char *mosquitto; /* path of the program */
    const char *plugin; /* path of pagurus_mosquitto.so; NULL or missing: revocation without kick, logged */
    const char *address;
    uint16_t port; /* 0: the kernel picks */
    /* listeners for clients with a password: over TLS, and without it; ports as above */
    bool password, plain;
    uint16_t password_port, plain_port;
    const char *plain_address;
    uint32_t max_connections;
    uint64_t max_packet;
    uint32_t max_keepalive_s;
    uint32_t max_queued;
    uint32_t session_s;      /* a durable session of an absent client is forgotten */
    const char *anchor_file; /* PEM with the device CA, and old_ca, and no other (ca/device-anchor.pem) */
    const char *cert_file, *key_file;
    const struct pag_ca *device_ca; /* signs the CRL; outlives the broker, as does: */
    const struct pag_ca *old_ca;    /* the one before, while both are in force; NULL: none */
    uint32_t crl_s, crl_every_s;
    const struct pag_broker_topic *topics;
    size_t topics_n;
    struct pag_clock clock;
    struct pag_log *log;
    /* On the broker's thread at each change; may be NULL. */
    void (*on_state)(void *ctx, const struct pag_broker_status *status);
    void *ctx;
};

/* Who is kept out. The store is the truth; call at start with everything. */
struct pag_broker_denials {
    const struct pag_revoked *revoked; /* certificates not yet expired */
    size_t revoked_n;
    const char *const *denied; /* client names (CN) without any valid certificate */
    size_t denied_n;
};

/* Other ones from now on: their lists and, with anchor_file, what clients must be signed by. */
struct pag_broker;
void pag_broker_set_authorities(struct pag_broker *b, const struct pag_ca *ca, const struct pag_ca *old);

/* Copies config (not what it outlives). PAG_E_CONFIG: a topic pattern is bad, anchor_file has not exactly one
 * authority, a file is missing; text[256] (may be NULL) says which. */
enum pag_err pag_broker_new(const struct pag_broker_config *config, struct pag_broker **out, char text[256],
                            struct pag_fail *why);
/* Writes the files, starts the thread and the process; returns when the port answers, or after wait_ms with
 * PAG_E_TIMEOUT (it goes on trying). */
enum pag_err pag_broker_start(struct pag_broker *b, uint32_t wait_ms);
/* Ends the process and the thread, frees. NULL is fine. */
void pag_broker_free(struct pag_broker *b);

/* All below: any thread. Files are on disk and the broker is told when they return; a revoked client's live
 * session is cut within 5 s. */
enum pag_err pag_broker_set_denials(struct pag_broker *b, const struct pag_broker_denials *all);
/* revoked or cn may be NULL: a serial only (an old certificate of a device that has a new one), or a name
 * only. */
enum pag_err pag_broker_deny(struct pag_broker *b, const struct pag_revoked *revoked, const char *cn);
/* Cuts the live session without keeping the name out: it comes back if its certificate is still good. */
void pag_broker_kick(struct pag_broker *b, const char *cn);
/* The name has a valid certificate again. */
enum pag_err pag_broker_allow(struct pag_broker *b, const char *cn);
/* Other product topics; PAG_E_CONFIG as in pag_broker_new. */
enum pag_err pag_broker_set_topics(struct pag_broker *b, const struct pag_broker_topic *topics, size_t n,
                                   char text[256]);
/* Those with a password, all of them; copied. PAG_E_CONFIG: a name, hash or topic that must not be in its
 * file. Who is not among them any more, or has another password, is cut. */
enum pag_err pag_broker_set_users(struct pag_broker *b, const struct pag_broker_users *users);
/* Whether it may be among a user's rights: a whole filter, outside pg/, without "+" at its front; own: among
 * the server's. */
bool pag_broker_right_ok(const struct pag_broker_topic *r, bool own);
void pag_broker_status_get(struct pag_broker *b, struct pag_broker_status *out);
/* Reads the server certificate again (SIGHUP). */
enum pag_err pag_broker_reload(struct pag_broker *b);

/* The files' text, for tests and for people with a broker of their own. out->p is allocated; free() it. */
enum pag_err pag_broker_acl_text(const struct pag_broker_topic *topics, size_t topics_n,
                                 const char *const *denied, size_t denied_n, struct pag_buf *out);

const char *pag_broker_state_word(enum pag_broker_state state);

#endif
