#ifndef PAG_SERVER_APP_APP_H
#define PAG_SERVER_APP_APP_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/crypto.h"
#include "core/manifest.h"
#include "host/arena.h"
#include "host/clock.h"
#include "host/log.h"
#include "host/loop.h"
#include "host/tls.h"
#include "server/domain/access.h"

/*
 * Use-cases of the server. A protocol head makes a struct pag_call, calls one function, and renders. There
 * are two shapes:
 *   enum pag_err pag_app_x_get(call, in…, out)    reads; answers at once, on this thread
 *   void pag_app_x_do(call, in, out)              writes; call->done(call, err) is called exactly once, on
 *                                                 call->thread's loop, after the commit (or directly, when
 *                                                 nothing had to be written). *out is filled by then.
 * call, in, out and all they point to live in call->arena (or elsewhere) until done was called; what out
 * points to lives in call->arena. Until done, the arena is lent: do not allocate from it. On an error
 * call->refusal may say more.
 */

struct pag_store;
struct pag_ca;
struct pag_idempotent; /* admin.h */

struct pag_app;        /* one a process */
struct pag_app_thread; /* one a network thread: its own read connection and catalog */

struct pag_app_config {
    struct pag_store *store; /* open; outlives the app */
    struct pag_clock clock;
    struct pag_log *log;
    const struct pag_crypto *crypto;
    const struct pag_ca *device_ca; /* NULL: enrolment answers PAG_E_UNSUPPORTED */
    uint64_t device_lifetime_s;     /* of device certificates */
    /* freshness tokens; sign NULL: none are given */
    pag_sign_fn freshness_sign;
    void *freshness_ctx;
    uint8_t freshness_key[PAG_KEY_ID_BYTES];
    bool has_seal;              /* seal is set: what devices are given in secret can be kept */
    uint8_t seal[32];           /* host/seal.h */
    uint32_t poll_s;            /* for products that do not say */
    const char *mqtt_host;      /* told to enrolled devices; NULL: "" */
    uint16_t mqtt_port;         /* 0: none */
    uint32_t unproven_devices;  /* of a product, that nothing but their own word stands for; 0: 10000 */
    uint32_t claims_per_minute; /* refused attempts to redeem, an address; 0: 10 */
};

enum pag_err pag_app_new(const struct pag_app_config *config, struct pag_app **out, struct pag_fail *why);
/* From now on; any thread. 0 as in the configuration. */
void pag_app_change(struct pag_app *app, uint32_t poll_s, uint32_t claims_per_minute,
                    uint32_t unproven_devices);
void pag_app_free(struct pag_app *app); /* NULL is fine; after all its threads */
/* Who signs device certificates from now on; the one before must stay until the app is freed. Any thread. */
void pag_app_ca_set(struct pag_app *app, const struct pag_ca *ca);
/* The port is known only after binding. Before threads run. */
void pag_app_mqtt_port(struct pag_app *app, uint16_t port);
/* Where devices find the broker: "" as the server itself; *port 0: there is none. */
const char *pag_app_mqtt_place(const struct pag_app *app, uint32_t *port);

/* loop NULL: done is called on the store's writer thread (for threads without a loop). */
enum pag_err pag_app_thread_new(struct pag_app *app, struct pag_loop *loop, struct pag_app_thread **out,
                                struct pag_fail *why);
void pag_app_thread_free(struct pag_app_thread *thread); /* NULL is fine */
struct pag_app *pag_app_of(const struct pag_app_thread *thread);

/* More about an error, for people. code: a problem code of docs/spec/rest.md, NULL: none better than the
 * error. Texts live in the arena or are literals. */
enum { PAG_REFUSAL_ERRORS_MAX = 12 };
struct pag_refusal {
    const char *code;
    const char *detail;
    const char *help;
    struct {
        const char *pointer, *code, *detail;
    } error[PAG_REFUSAL_ERRORS_MAX];
    size_t error_n;
    uint32_t retry_s;
};

struct pag_call {
    struct pag_app_thread *thread;
    struct pag_arena *arena;
    struct pag_scope scope;
    void (*done)(struct pag_call *call, enum pag_err err); /* NULL only for calls that answer at once */
    void *user;                                            /* the head's */
    struct pag_refusal refusal;
    /* Not NULL: carried out once only. The key is taken in the transaction of the change; when it is taken
     * already, done gets PAG_E_CONFLICT. Cleared when it is taken. */
    const struct pag_idempotent *once;
};

/* ---- who is there ---- */

/*
 * For pag_tls_config.admit (admit_ctx: the app) and for every request: false when the certificate is
 * revoked. In memory, any thread, no lock held across calls.
 */
bool pag_app_admit(void *app, const struct pag_tls_peer *peer);
/* Rises with every revocation: a cached yes of an older epoch must be asked again. */
uint64_t pag_app_deny_epoch(const struct pag_app *app);

struct pag_device_identity {
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
};
/* The device behind a certificate. PAG_E_UNAUTHENTICATED without one, PAG_E_DENIED revoked (certificate or
 * device), PAG_E_NOT_FOUND no such device here. */
enum pag_err pag_app_device_of(struct pag_call *call, const struct pag_tls_peer *peer,
                               struct pag_device_identity *out);

struct pag_actor {
    char id[13];
    char name[PAG_NAME_MAX + 1];
    char actor[PAG_ACTOR_MAX + 1]; /* "token:<name>" */
    enum pag_role role;
    char product[PAG_PRODUCT_HEX]; /* "" : all */
    int64_t expires_ms;
};
/* text: "pgt_…". PAG_E_UNAUTHENTICATED (shape, unknown, revoked), PAG_E_EXPIRED. last_used is written in
 * batches. */
enum pag_err pag_app_token_of(struct pag_call *call, struct pag_span text, struct pag_actor *out);

#endif
