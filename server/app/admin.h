#ifndef PAG_SERVER_APP_ADMIN_H
#define PAG_SERVER_APP_ADMIN_H

#include "server/app/app.h"
#include "server/domain/event.h"

/* Tokens, keys, events, the state of the whole. */

/* ---- tokens ---- */
struct pag_token_in {
    const char *name;
    enum pag_role role;
    const char *product; /* name or hex id, NULL: all */
    uint64_t ttl_s;      /* 60 .. 365 days */
};
struct pag_token_out {
    struct pag_access_token row;
    char text[80]; /* "pgt_…"; shown once, then wiped by the head */
};
void pag_app_token_create(struct pag_call *call, const struct pag_token_in *in, struct pag_token_out *out);
void pag_app_token_delete(struct pag_call *call, const char *id);
enum pag_err pag_app_tokens(struct pag_call *call, struct pag_access_token **list, size_t *n);

/* ---- public keys ---- */
struct pag_public_key {
    char id[PAG_ID_TEXT]; /* hex key id: first 8 bytes of SHA-256 of the SubjectPublicKeyInfo */
    char name[PAG_NAME_MAX + 1];
    char use[12];                  /* "root", "release", "arduino" */
    char product[PAG_PRODUCT_HEX]; /* signs images of this product; "": of all */
    const char *pem;
    int64_t created_ms;
};
struct pag_key_in {
    const char *name, *use;
    const char *product; /* name or id; NULL: all */
    struct pag_span pem; /* SubjectPublicKeyInfo PEM */
};
/* PAG_E_DENIED "private-key"; PAG_E_SYNTAX; the same key again: PAG_OK. */
void pag_app_key_put(struct pag_call *call, const struct pag_key_in *in, struct pag_public_key *out);
enum pag_err pag_app_keys(struct pag_call *call, struct pag_public_key **list, size_t *n);

/* ---- events ---- */

/* Ascending from after (not included), at most limit; of the scope's product only. *next is the cursor to go
 * on with (never skips a late commit). */
enum pag_err pag_app_events(struct pag_call *call, int64_t after, uint32_t limit, struct pag_event **list,
                            size_t *n, int64_t *next);
/* The place to read from for the newest limit events of the scope. */
enum pag_err pag_app_events_tail(struct pag_call *call, uint32_t limit, int64_t *after);
/* The newest seq, for a pusher that starts now. */
enum pag_err pag_app_events_newest(struct pag_call *call, int64_t *seq);

/*
 * Wake-up after commits that appended events. Placed by the caller, kept in place until unsubscribed. wake is
 * called on loop's thread (posted at most once until it runs), or on the writer's thread with loop NULL; it
 * then reads pag_app_events from its cursor until nothing comes.
 */
struct pag_subscription {
    struct pag_loop *loop;
    void (*wake)(struct pag_subscription *s);
    void *ctx;
    /* owned by the app */
    struct pag_task task;
    struct pag_store_watch watch;
    int pending;
};
void pag_app_subscribe(struct pag_app *app, struct pag_subscription *s);
void pag_app_unsubscribe(struct pag_app *app, struct pag_subscription *s); /* on loop's thread */

/* ---- the whole ---- */
struct pag_version_count {
    const char *product, *version;
    uint32_t count;
};
struct pag_summary {
    const char *store_path;
    uint64_t store_bytes; /* of the database file */
    uint32_t queue;       /* intents waiting */
    int64_t last_commit_ms;
    uint32_t devices, online;
    uint32_t by_state[16]; /* indexed by enum pag_device_state */
    struct pag_version_count *version;
    size_t version_n;
};
/* Devices of a product (hex id) by state. */
enum pag_err pag_app_device_states(struct pag_call *call, const char *product, uint32_t by_state[16]);
enum pag_err pag_app_summary(struct pag_call *call, struct pag_summary *out);

/* ---- the audit chain ---- */
struct pag_audit_state {
    bool intact;
    int64_t seq; /* intact: of the newest entry, 0 when there is none; else of the first that does not fit */
};
/* Works through the whole chain, off the network's threads. PAG_E_DENIED for a token of one product. */
void pag_app_audit_verify(struct pag_call *call, struct pag_audit_state *out);

struct pag_app_counters { /* since start; for /metrics */
    uint64_t check_ins, offers, reports, confirmed, failed, reverted, blocked, enrolled, commands, status,
        data;
    uint64_t commits, intents, busy, commit_ms_max;
    uint32_t queue;
};
struct pag_app_counters pag_app_counters_get(const struct pag_app *app);
/* PAG_OK while the writer works: for /readyz. PAG_E_STALE: memory lacks something that is committed. */
enum pag_err pag_app_ready(struct pag_app *app);

/* ---- repeated POSTs (Idempotency-Key) ---- */
struct pag_idempotent {
    const char *token; /* id */
    const char *route;
    const char *key; /* at most 64 bytes */
    uint8_t body_sha256[PAG_SHA256_BYTES];
    unsigned status;      /* out of get, in of put */
    struct pag_span body; /* the answer */
};
/* PAG_OK: carried out before (body set; status 0: the answer is not there, or not yet); PAG_E_NOT_FOUND: new;
 * PAG_E_CONFLICT: the key had another body. A call with once set takes the key. */
enum pag_err pag_app_idempotent_get(struct pag_call *call, struct pag_idempotent *io);
/* Keeps an answer for 24 h; a missing done is fine. Answers that show a secret once must not be kept. */
void pag_app_idempotent_put(struct pag_call *call, const struct pag_idempotent *in);

#endif
