#ifndef PAG_AGENT_INNER_H
#define PAG_AGENT_INNER_H

#include <pagurus/agent.h>

#include "agent/http_client.h"
#include "agent/mqtt_client.h"
#include "agent/port.h"
#include "agent/slot.h"
#include "agent/twin_store.h"
#include "core/command.h"
#include "core/journal.h"
#include "core/native.h"
#include "core/trust.h"

/* What struct pag_agent holds. Private to agent/. */

/*
 * Scratch. Between steps it holds one of: a request being sent (from 0, below TAIL), a reply being read or
 * judged (from 0), the sector being filled (from 0, one sector). The identity for a new connection is read
 * into the tail, which is free whenever pag_in_tail_free says so.
 */
enum {
    PAG_IN_TAIL = 2048, /* bytes at the end of scratch: identity, or key and CSR while enrolling */
    PAG_IN_REQUEST_MAX = PAG_AGENT_SCRATCH_BYTES - PAG_IN_TAIL,
    PAG_IN_BODY_MAX = PAG_NATIVE_MAX,
    PAG_IN_MARK_BYTES = 65536, /* a FETCH record at least that often (invariant I9) */
    PAG_IN_DOWNLOADS_MAX = 3,  /* whole downloads per digest (I9) */
    PAG_IN_SEEN_MAX = 8,       /* command ids remembered against doubles */
    PAG_IN_KEY_MAX = 192,
};

enum pag_in_phase {
    PAG_IN_X_IDLE,
    PAG_IN_X_OPEN,
    PAG_IN_X_READY,
    PAG_IN_X_SEND,
    PAG_IN_X_HEAD,
    PAG_IN_X_BODY, /* stream bodies stay here until the caller has read them */
    PAG_IN_X_DONE, /* whole body in scratch */
};

struct pag_in_exchange {
    uint8_t phase; /* enum pag_in_phase */
    bool stream;   /* the caller reads the body */
    bool retried;
    uint32_t since_ms; /* last progress */
    uint32_t begun_ms;
    uint32_t request_n;
    uint32_t body_n;
    struct pag_httpc_reply reply;
};

struct pag_in_report {
    uint8_t state; /* enum pag_report_state */
    uint8_t pct;
    bool must; /* kept until the server has it */
    bool owed; /* of the journal: CHECKPOINT follows the acknowledgement */
    bool with_result;
    int32_t code;
    const char *text; /* literal or NULL */
    uint32_t action_id;
    uint32_t seq;
    uint8_t manifest[PAG_SHA256_BYTES]; /* digest of the manifest served, zeros: none */
};

/* The image being fetched. */
struct pag_in_target {
    bool has;
    uint32_t action_id, size, sequence, epoch;
    uint8_t digest[PAG_SHA256_BYTES];
    uint8_t manifest_digest[PAG_SHA256_BYTES];
    uint16_t manifest_n;
    uint8_t manifest[512];
    uint32_t done;   /* bytes programmed, whole sectors */
    uint32_t fill;   /* bytes of the next sector in scratch */
    uint32_t marked; /* done at the last FETCH record */
    uint32_t piece_end;
    uint8_t downloads; /* whole ones begun before this one */
    uint8_t stalls;    /* failures in a row without progress */
    uint8_t shown_pct;
    bool started;
    bool claimed; /* the other slot is this image's: record written, seal gone */
    uint32_t start_ms, rate_ms, rate_bytes, wait_ms, wait_since;
};

struct pag_in_result {
    bool has;
    uint32_t id;
    int32_t code;
    uint16_t packet;            /* QoS 1 publish under way, 0 none */
    uint32_t since_ms, wait_ms; /* over HTTP when MQTT has not taken it after wait_ms */
    uint8_t text_n;
    uint8_t text[PAG_COMMAND_TEXT_MAX];
};

/* A signed command, until it can be judged: that takes scratch, and room for its answer. */
struct pag_in_order {
    uint16_t n; /* bytes of cose, 0 none */
    uint8_t kind;
    uint32_t id;
    uint8_t cose[PAG_SIGNED_COMMAND_MAX];
};

/* Of the certificate in the record (agent/renew.c). */
struct pag_in_renewal {
    bool active;
    uint32_t life_s;
    uint32_t since_ms, wait_ms; /* the last try that failed, and how long until the next */
    uint64_t at_s;              /* two thirds of the life are over, Unix s; 0: not known */
};

struct __attribute__((may_alias)) pag_inner {
    const struct pag_port *port;
    const struct pag_settings *set;
    const struct pag_agent_hooks *hooks;
    void *hooks_ctx;
    struct pag_agent *self;
    uint8_t *scratch;

    uint8_t state; /* enum pag_agent_state */
    uint8_t after; /* state after REPORT */
    bool entered;  /* the state function runs for the first time since it was entered */
    bool set_up, enrolled, has_record, own_certificate;
    bool trial, came_back, contacted, stale, cancel;
    bool reboot_wanted, want_nonce;
    bool checking_trust; /* in TRUST: the set is there, its signatures are being verified */
    bool claim_gone;     /* the server will not take this claim any more */
    uint8_t undo;        /* enum pag_command_kind that was obeyed and is carried out once the answer is out */
    uint8_t slot;        /* running */
    uint8_t try_n, arm_phase, fails, revert_reason;
    uint8_t last_report;
    uint8_t sub_next; /* subscriptions still to be sent in this session */
    bool online_sent;
    uint8_t session_fails;
    uint8_t journal_fails; /* in a row, on trial */
    uint8_t sub_n;
    uint8_t seen_at;

    uint32_t now_ms, boot_ms;
    uint32_t trial_ms;          /* deadline of the trial after boot_ms */
    uint32_t due_ms, due_after; /* next check: due_after ms after due_ms */
    uint32_t contact_ms;        /* server last answered */
    uint32_t token_ms;          /* last valid token in this power-up (or boot) */
    uint32_t floor_ms;          /* moment at which floor was true */
    uint32_t trigger_ms;
    uint32_t session_ms, session_after; /* MQTT: next attempt */
    uint32_t status_ms;
    uint32_t up_ms;       /* MQTT: connected since */
    uint32_t loop_max_ms; /* longest step since the last status */
    uint32_t fresh_ms;    /* begin of the day in which new images are counted */
    uint8_t fresh_n;
    uint32_t poll_s; /* from the server, 0 = settings */
    uint32_t retry_after_s;
    uint32_t report_record, report_n; /* numbers given since that journal record */
    uint32_t trust_version, trust_wanted;
    uint32_t counter;       /* of the last signed command obeyed, as kept in flash; 0 none */
    uint32_t undo_ms;       /* when it was obeyed */
    uint64_t floor_s;       /* clock floor, Unix s */
    uint64_t token_s;       /* server time of the last token ever, 0 never */
    uint32_t token_valid_s; /* of the last one in this power-up, 0 none */
    uint64_t saved_floor_s;
    uint32_t given_up_sequence; /* refused for good in this power-up */
    uint8_t given_up[PAG_JOURNAL_DIGEST_BYTES];
    bool has_given_up, triggered_before, contact_ever;

    enum pag_err last_error;
    const char *last_what;

    uint16_t mqtt_port;
    char mqtt_host[PAG_HOST_MAX + 1];
    char id[PAG_DEVICE_ID_MAX + 1];
    uint8_t nonce[PAG_NONCE_BYTES];
    uint8_t failed_digest[PAG_SHA256_BYTES];
    bool has_failed_digest;
    uint32_t failed_action;
    uint8_t failed_manifest[PAG_SHA256_BYTES];
    uint32_t seen[PAG_IN_SEEN_MAX];
    const char *sub[PAG_SUBSCRIPTIONS_MAX];

    struct pag_slot run;
    struct pag_journal_flash jflash;
    struct pag_journal j;
    struct pag_twin trust_twin, config_twin;
    struct pag_in_exchange x;
    struct pag_in_report report;
    struct pag_in_target target;
    struct pag_in_result result;
    struct pag_in_order order;
    struct pag_in_renewal renewal;
    struct pag_agent_figures fig;
    struct pag_httpc http;
    struct pag_mqttc mqtt;
};

_Static_assert(sizeof(struct pag_inner) <= PAG_AGENT_BYTES && PAG_AGENT_BYTES - sizeof(struct pag_inner) < 32,
               "include/pagurus/agent.h says what it takes, for 32 and for 64 bits");

/* ---- agent.c ---- */
void pag_in_enter(struct pag_inner *a, enum pag_agent_state s);
/* Keeps the failure for status and says it to the port's log. Returns err. */
enum pag_err pag_in_fail(struct pag_inner *a, enum pag_err err, const char *what);
void pag_in_log(const struct pag_inner *a, const char *event, const char *text, int64_t value);
uint32_t pag_in_random(const struct pag_inner *a, uint32_t below); /* 0 <= r < below; 0 for below 0 */
uint32_t pag_in_ms(uint32_t s);                                    /* seconds to ms, capped at 20 days */
bool pag_in_passed(const struct pag_inner *a, uint32_t since_ms, uint32_t ms);
/* Next check after ms. */
void pag_in_due(struct pag_inner *a, uint32_t ms);
/* After a failure: exponential, with jitter, not before the server's Retry-After. Goes to IDLE, or TRIAL. */
void pag_in_back_off(struct pag_inner *a);
/* After success: the ordinary interval. */
void pag_in_rest(struct pag_inner *a);
void pag_in_contact(struct pag_inner *a); /* the server has answered */
/* A hint from outside: obeyed once per gap, after jitter ms at most. PAG_E_LIMIT. */
enum pag_err pag_in_trigger(struct pag_inner *a, uint32_t jitter_ms);
/* Best lower bound of the time, Unix s, 0 unknown. */
uint64_t pag_in_floor(const struct pag_inner *a);
/* What it never passes, 20 years after the image was built: a wrong word of time must not lock out for ever.
 */
uint64_t pag_in_floor_max(const struct pag_inner *a);
/* Takes a time that was signed. */
void pag_in_raise_floor(struct pag_inner *a, uint64_t unix_s);
/* Appends to the journal what is said of the slot's image; epoch 0: the floor stays. */
enum pag_err pag_in_record(struct pag_inner *a, const struct pag_journal_record *r);
/* Does the application let us reboot now? Not asked when a trial ends. */
bool pag_in_may_reboot(const struct pag_inner *a);
void pag_in_feed(const struct pag_inner *a); /* the watchdog, between two things that each take long */
uint8_t pag_in_progress(const struct pag_in_target *t); /* percent written, 100 only at the end */
uint8_t pag_in_boot_state(const struct pag_inner *a);   /* 0 confirmed, 1 on trial, 2 came back */
struct pag_buf pag_in_scratch(const struct pag_inner *a, uint32_t from, uint32_t n);

/* ---- exchange.c ---- */
bool pag_in_tail_free(const struct pag_inner *a);
struct pag_in_request {
    const char *method, *path;
    bool stream;
    bool has_range;
    uint32_t from, to;
    struct pag_span body; /* anywhere but the first PAG_IN_REQUEST_MAX / 2 bytes of scratch */
};
/* Writes the request into scratch and starts. */
enum pag_err pag_in_ask(struct pag_inner *a, const struct pag_in_request *r);
/*
 * Goes on. PAG_E_AGAIN; PAG_OK: reply (and body, or the first chance to stream) is there; else the connection
 * is closed. Nothing is judged: see pag_in_judge.
 */
enum pag_err pag_in_answer(struct pag_inner *a);
void pag_in_forget(struct pag_inner *a, bool keep_connection);
/* The status of a finished exchange as an error; counts contact and keeps Retry-After. */
enum pag_err pag_in_judge(struct pag_inner *a, const char **what);
/* The server has closed what is being done: back to IDLE; after PAG_E_CONFLICT the next check comes at once.
 */
uint32_t pag_in_drop(struct pag_inner *a, enum pag_err err, const char *what);

/* ---- identity.c ---- */
struct pag_in_identity {
    struct pag_span id, certificate, key, mqtt_host;
    uint16_t mqtt_port;
    uint64_t floor_s, token_s;
    uint32_t counter;      /* written from struct pag_inner */
    struct pag_span claim; /* used instead of the settings' one; empty: none */
};
/* Reads the record into buf. */
enum pag_err pag_in_identity_get(const struct pag_inner *a, struct pag_buf *buf, struct pag_in_identity *out);
enum pag_err pag_in_identity_put(struct pag_inner *a, const struct pag_in_identity *in, struct pag_buf *buf);
/* Takes what is in the record into the agent, at start. */
enum pag_err pag_in_identity_load(struct pag_inner *a);
/* Writes floor and token time anew when the floor has risen by step_s. Needs scratch free. */
void pag_in_identity_keep_time(struct pag_inner *a, uint32_t step_s);
/* What a connection is opened with; certificate and key are read into the tail of scratch. */
enum pag_err pag_in_trust_of(struct pag_inner *a, struct pag_net_trust *out);

/* ---- renew.c ---- */
/* Notes when the certificate of the record is to be renewed. */
void pag_in_renew_plan(struct pag_inner *a, struct pag_span certificate);
/* In IDLE, after the server has answered: it is time. */
bool pag_in_renew_due(const struct pag_inner *a);
/* Goes to ENROLL, which then is pag_in_renew. Needs scratch free. */
void pag_in_renew_begin(struct pag_inner *a);
uint32_t pag_in_renew(struct pag_inner *a);

/* ---- states: each returns ms until the next call ---- */
uint32_t pag_in_state_start(struct pag_inner *a);
uint32_t pag_in_state_enroll(struct pag_inner *a);
uint32_t pag_in_state_idle(struct pag_inner *a);
uint32_t pag_in_state_poll(struct pag_inner *a);
uint32_t pag_in_state_trust(struct pag_inner *a);
uint32_t pag_in_state_manifest(struct pag_inner *a);
uint32_t pag_in_state_fetch(struct pag_inner *a);
uint32_t pag_in_state_verify(struct pag_inner *a);
uint32_t pag_in_state_arm(struct pag_inner *a);
uint32_t pag_in_state_report(struct pag_inner *a);
uint32_t pag_in_state_trial(struct pag_inner *a);
uint32_t pag_in_state_confirm(struct pag_inner *a);
uint32_t pag_in_state_revert(struct pag_inner *a);
uint32_t pag_in_state_reboot(struct pag_inner *a);

/* ---- check.c ---- */
/* Appends CHECKPOINT of the running image. */
enum pag_err pag_in_checkpoint(struct pag_inner *a);

/* ---- trial.c ---- */
/* Ends a trial whose deadline has passed, whatever the agent is doing. */
void pag_in_watch_trial(struct pag_inner *a);
/* On trial, after a record that could not be written: returns ms until the next attempt, or reboots. */
uint32_t pag_in_journal_refuses(struct pag_inner *a);
/* ms until that attempt, 0: now. */
uint32_t pag_in_journal_rests(const struct pag_inner *a);

/* ---- report.c ---- */
/* At start, once the journal stands as this power-up has found or settled it. */
void pag_in_numbers_begin(struct pag_inner *a);
/* Goes to REPORT and from there to after. must: kept until acknowledged. */
void pag_in_say(struct pag_inner *a, enum pag_report_state s, enum pag_err code, const char *text,
                enum pag_agent_state after);
/* The outcome that the journal owes, if any. */
bool pag_in_owed(const struct pag_inner *a);
void pag_in_say_owed(struct pag_inner *a);
void pag_in_say_result(struct pag_inner *a, enum pag_agent_state after);

/* ---- status.c ---- */
/* Writes the status object; PAG_E_SPACE. */
enum pag_err pag_in_status_put(struct pag_inner *a, struct pag_buf *b);

/* ---- command.c ---- */
/* From MQTT or an offer; doubles are ignored. */
void pag_in_command(struct pag_inner *a, const struct pag_native_command *c);
/* Was there a command with this id lately? It is remembered either way. */
bool pag_in_seen_before(struct pag_inner *a, uint32_t id);
/* Keeps the answer until the server has it. text: literal, or NULL when text_n bytes are in the result. */
void pag_in_answered(struct pag_inner *a, uint32_t id, enum pag_err code, const char *text);
/* Clock or clock floor, whichever is later; 0 unknown. */
uint64_t pag_in_now_s(const struct pag_inner *a);

/* ---- order.c ---- */
/* Takes a command of a kind that must be signed, or that came with a signature. */
void pag_in_order_take(struct pag_inner *a, const struct pag_native_command *c);
/*
 * In IDLE, where scratch is free: judges an order that waits, or carries out one that was obeyed. True: that
 * has been this step's work.
 */
bool pag_in_order_step(struct pag_inner *a);

/* ---- trust.c ---- */
/* Reads and parses the stored set; raw: at least PAG_TRUST_MAX. PAG_E_NOT_FOUND. */
enum pag_err pag_in_trust_get(const struct pag_inner *a, struct pag_buf *raw, struct pag_trust_set *out);

/* ---- session.c ---- */
/* One step of the MQTT session; returns ms until it wants to be called again. */
uint32_t pag_in_session(struct pag_inner *a);
void pag_in_session_close(struct pag_inner *a);

#endif
