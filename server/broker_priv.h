#ifndef PAG_SERVER_BROKER_PRIV_H
#define PAG_SERVER_BROKER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "host/spawn.h"
#include "server/broker.h"
#include "server/crl.h"

/* Shared by server/broker*.c only. */

enum { PAG_BROKER_PATH = 512, PAG_BROKER_LINE = 400 };

/* Who is kept out, and the product topics; all sorted and owned. */
struct pag_broker_lists {
    struct pag_revoked *revoked;
    size_t revoked_n;
    char **denied;
    size_t denied_n;
    struct pag_broker_topic *topics;
    size_t topics_n;
    struct pag_broker_users users;
};

/* ---- broker_users.c ---- */
void pag_broker_users_free(struct pag_broker_users *u);
void pag_broker_rights_free(struct pag_broker_topic *right, size_t n);
enum pag_err pag_broker_users_copy(const struct pag_broker_users *from, struct pag_broker_users *to);
bool pag_broker_users_has(const struct pag_broker_users *u, const char *name, const char *hash);
bool pag_broker_user_ok(const char *name);
enum pag_broker_file { PAG_BROKER_FILE_PASSWORDS, PAG_BROKER_FILE_RIGHTS };
/* out->p is allocated; free() it. */
enum pag_err pag_broker_users_text(const struct pag_broker_users *u, enum pag_broker_file which,
                                   struct pag_buf *out);
/* The server's own side of it, lines of its access list. */
void pag_broker_users_put_own(FILE *out, const struct pag_broker_users *u);

void pag_broker_lists_free(struct pag_broker_lists *lists);
/* Adding what is there already is fine. PAG_E_NO_MEMORY. */
enum pag_err pag_broker_lists_revoke(struct pag_broker_lists *lists, const struct pag_revoked *entry);
enum pag_err pag_broker_lists_deny(struct pag_broker_lists *lists, const char *cn);
bool pag_broker_lists_denies(const struct pag_broker_lists *lists, const char *cn);
void pag_broker_lists_allow(struct pag_broker_lists *lists, const char *cn);
/* Copies the topics after checking them; PAG_E_CONFIG with text. */
enum pag_err pag_broker_lists_topics(struct pag_broker_lists *lists, const struct pag_broker_topic *topics,
                                     size_t n, char text[256]);

/* The access list of the listener with certificates. out->p is allocated; free() it. */
enum pag_err pag_broker_lists_text(const struct pag_broker_lists *lists, struct pag_buf *out);

/* What goes into mosquitto.conf. */
struct pag_broker_conf {
    const struct pag_broker_config *config;
    uint16_t port, password_port, plain_port; /* the latter two 0: off */
    const char *acl, *crl, *kick_dir, *users_acl, *passwords;
    const char *plugin; /* NULL: none */
};
/* out->p is allocated; free() it. PAG_E_CONFIG: a path with a line break. */
enum pag_err pag_broker_conf_text(const struct pag_broker_conf *conf, struct pag_buf *out);

/*
 * mosquitto forgets a SIGHUP that comes while it reads: its flag falls afterwards. So one is on its way at a
 * time, counts when its log says so, and is repeated when it does not.
 */
struct pag_broker_reload {
    bool pending; /* files have changed since the last SIGHUP */
    bool asked;   /* SIGHUP sent, "Reloading config." not seen yet */
    unsigned tries;
    uint64_t sent_ms;
    uint64_t rest_ms; /* until then it may still be reading */
};

struct pag_broker {
    struct pag_broker_config config; /* its texts are those below */
    char dir[PAG_BROKER_PATH], mosquitto[PAG_BROKER_PATH], plugin[PAG_BROKER_PATH];
    char anchor[PAG_BROKER_PATH], cert[PAG_BROKER_PATH], key[PAG_BROKER_PATH];
    char address[64], plain_address[64];
    char conf[PAG_BROKER_PATH], acl[PAG_BROKER_PATH], kick[PAG_BROKER_PATH];
    char users_acl[PAG_BROKER_PATH], passwords[PAG_BROKER_PATH];
    uint16_t port, password_port, plain_port;

    pthread_mutex_t files; /* lists, the files made of them, crl; taken before lock */
    struct pag_broker_lists lists;
    struct pag_crl crl;

    pthread_mutex_t lock; /* child, status, reload */
    pthread_cond_t changed;
    struct pag_child child;
    struct pag_broker_status status;
    struct pag_broker_reload reload;

    pthread_t thread;
    bool has_thread;
    atomic_bool stop;
    int wake;

    /* the thread's own */
    char line[PAG_BROKER_LINE];
    size_t line_n;
    char last_line[160];
    uint64_t started_ms;
    uint32_t backoff_ms;
};

/* Lists to disk, then SIGHUP (now, or when the broker has come up). files is held. */
enum pag_err pag_broker_write_lists(struct pag_broker *b);
/* SIGHUP when one is due; before its handler is there it would end the broker. lock is held. */
void pag_broker_tell(struct pag_broker *b);
/* The thread: starts the process again and again until stop. */
void *pag_broker_run(void *broker);

#endif
