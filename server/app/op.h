#ifndef PAG_SERVER_APP_OP_H
#define PAG_SERVER_APP_OP_H

#include "server/app/admin.h"
#include "server/app/app.h"
#include "server/app/serves.h"
#include "server/domain/clone.h"
#include "server/domain/planner.h"
#include "server/store/rows.h"
#include "server/store/tx.h"

/* Of this room only. */

enum { PAG_CLAIM_BUCKETS = 256, PAG_FULL_SLOTS = 64 };

/* Where a device that only says who it is came from: the last two addresses, as hashes. */
struct pag_twin {
    uint32_t device, last, before;
    uint32_t hour;
    uint32_t turns; /* how often it went back to the one before, in this hour */
};
enum { PAG_TWINS = 4096 };

/* What is remembered of a device that shows certificates. */
struct pag_clone_slot {
    uint32_t device; /* hash of its id */
    uint32_t told;   /* hour */
    struct pag_clone_trace trace;
};
enum { PAG_CLONE_SLOTS = 8192 };

struct pag_app {
    struct pag_app_config config;
    struct pag_arena_pool *pool;
    struct pag_arena *arena; /* this struct and copies of the configuration's texts */
    struct pag_app_counters counters;
    uint64_t
        full[PAG_FULL_SLOTS]; /* products with too many unproven devices: hash of the id, second it ends */
    uint32_t told[PAG_FULL_SLOTS]; /* hour of the last event about it */
    bool twin_lock;                /* of twin: held for a few instructions */
    struct pag_twin twin[PAG_TWINS];
    bool serve_lock; /* of serve: as twin_lock */
    struct pag_serve_slot serve[PAG_SERVE_SLOTS];
    bool clone_lock; /* of clone: as twin_lock */
    struct pag_clone_slot clone[PAG_CLONE_SLOTS];
    struct pag_claim_bucket {
        uint32_t minute, failed;
    } claims[PAG_CLAIM_BUCKETS]; /* refused attempts to redeem, by hash of the address */
    struct {
        uint32_t minute, told;
    } refusals;                        /* events about them */
    uint64_t suspects[PAG_FULL_SLOTS]; /* told of: hash of the device, hour */
};

struct pag_app_thread {
    struct pag_app *app;
    struct pag_loop *loop;
    struct pag_store_reader *reader;
    struct pag_db *db;
    struct pag_arena_pool *pool;
    struct pag_arena *arena; /* this struct */
};

#define PAG_COUNT(app, what) ((void)__atomic_fetch_add(&(app)->counters.what, 1, __ATOMIC_RELAXED))

const struct pag_ca *pag_app_ca(const struct pag_app *app); /* NULL: no device certificates are made */
int64_t pag_app_now_ms(const struct pag_app *app);
struct pag_shown pag_app_shown(const struct pag_app *app);

/* One change on its way: in the call's arena. */
struct pag_op {
    struct pag_intent intent;
    struct pag_work work;
    struct pag_call *call;
    enum pag_err (*apply)(struct pag_store_tx *tx, struct pag_op *op);
    enum pag_err (*run)(struct pag_op *op);
    void (*after)(struct pag_op *op, enum pag_err err); /* NULL: call->done */
    const void *in;
    void *out;
    void *data;
};
/* NULL: no memory (for this, or before for in), and done was called with PAG_E_NO_MEMORY. */
struct pag_op *pag_op_new(struct pag_call *call, const void *in, void *out);
void pag_op_submit(struct pag_op *op, enum pag_err (*step)(struct pag_store_tx *tx, struct pag_op *op));
void pag_op_work(struct pag_op *op, enum pag_err (*run)(struct pag_op *op),
                 void (*after)(struct pag_op *op, enum pag_err err));

/* Fills call->refusal and returns err. Texts must be literals or in the arena. */
enum pag_err pag_refuse(struct pag_call *call, enum pag_err err, const char *code, const char *detail);
enum pag_err pag_refuse_field(struct pag_call *call, const char *pointer, const char *detail);
/* PAG_E_DENIED for a token of one product, in calls that reach beyond products. */
enum pag_err pag_refuse_scoped(struct pag_call *call);

/* By name or id ("prd_…" or hex), inside the scope. PAG_E_NOT_FOUND else, with a refusal. */
enum pag_err pag_find_product(struct pag_call *call, struct pag_db *db, const char *name,
                              struct pag_product *out);
enum pag_err pag_find_release(struct pag_call *call, struct pag_db *db, const char *id,
                              struct pag_release *out);
enum pag_err pag_find_device(struct pag_call *call, struct pag_db *db, const char *id,
                             struct pag_device *out);

/* prefix and 2n random hex digits. */
void pag_make_id(char out[PAG_ID_TEXT], const char *prefix, size_t n);
uint32_t pag_make_id31(void);

const char *pag_actor_of(const struct pag_call *call);

/* What an operator may call and tag a device. */
bool pag_device_name_ok(struct pag_span name);
bool pag_device_tags_ok(struct pag_span tags);

enum pag_err pag_device_event(struct pag_store_tx *tx, const struct pag_device *d, const char *type,
                              const char *actor);
/* Marks it as sent, once more if need be. Nothing when it has a result or has expired. */
enum pag_err pag_command_handed_over(struct pag_store_tx *tx, struct pag_command *c);
/* Draws an id where there is none, and again where it is taken. */
enum pag_err pag_command_add(struct pag_db *db, struct pag_command *c);
/* As an event alone: what the server does by itself is no operator's action. */
enum pag_err pag_command_event(struct pag_store_tx *tx, const struct pag_command *c, const char *type);
struct pag_native_result;
enum pag_err pag_command_end(struct pag_store_tx *tx, struct pag_op *op, const char *device,
                             const struct pag_native_result *result);
/* secureesp.c: a connected device that has nothing to do is told to fetch the image that is due; others have
 * it with their next status. Counts in *d and writes its row then. */
enum pag_err pag_secureesp_tell(struct pag_store_tx *tx, struct pag_arena *arena, struct pag_device *d);
/* A command of the server's own for a day, with its event; counts in *d and writes its row. */
enum pag_err pag_secureesp_queue(struct pag_store_tx *tx, struct pag_device *d, enum pag_command_kind kind);
/* secureesp_renew.c: the next step towards the device's next certificate, when one is due. */
void pag_secureesp_renew(struct pag_call *call, const char *device);
/* The device's row after its action has moved on. */
enum pag_err pag_settle_device(struct pag_store_tx *tx, struct pag_op *op, struct pag_device *d,
                               const struct pag_action *a);
struct pag_status_in;
/* The newest status, and that the device is there. */
enum pag_err pag_status_keep(struct pag_store_tx *tx, const struct pag_status_in *in);
/* action.<state> */
enum pag_err pag_action_event(struct pag_store_tx *tx, const struct pag_action *a);

/* ---- strangers.c: devices that nothing but their own word stands for ---- */

/* True: the product was full a moment ago. */
bool pag_strangers_refused(struct pag_app *app, const char *product);
/* One more? When not, the event product.full says so once an hour. */
enum pag_err pag_strangers_admit(struct pag_store_tx *tx, struct pag_app *app, const char *product,
                                 bool *admitted);

/* ---- suspects.c: what looks like guessing or like a copy ---- */

/* Event enrollment.refused, in its own time; in a flood only some. mac: as pag_mac_text makes it, or "". */
void pag_suspect_enrollment(struct pag_app_thread *thread, const char *mac, const char *address,
                            const char *why);
/* True once an hour for a device. */
bool pag_suspect_due(struct pag_app *app, const char *device);
/* Event device.suspect: d says the MAC that belongs to owner. */
enum pag_err pag_suspect_event(struct pag_store_tx *tx, const struct pag_device *d, const char *mac,
                               const char *owner);

/* It asks from two addresses in turn, again and again within an hour: two devices may say one MAC. Any
 * thread; devices of one slot push each other out. */
bool pag_suspect_twin(struct pag_app *app, const char *device, const char *address);
enum pag_err pag_twin_event(struct pag_store_tx *tx, const struct pag_device *d, const char *address);

/* ---- rejudge.c: states that follow from what is published ---- */

/* The devices of this product are to be judged anew: in the transaction of what has changed. */
enum pag_err pag_rejudge_want(struct pag_store_tx *tx, const char *product);
/* A bounded number of them, as an intent of its own. *more: some are left. */
enum pag_err pag_rejudge_some(struct pag_store_tx *tx, struct pag_app *app, bool *more);
/*
 * For op->after of such a change: the first few thousand before done is called, the rest by pag_app_sweep.
 * The change stands, whatever becomes of this.
 */
void pag_rejudge_then_done(struct pag_op *op, enum pag_err err);

#endif
