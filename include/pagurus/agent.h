#ifndef PAG_AGENT_H
#define PAG_AGENT_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * What an application on a device includes. The agent keeps the device up to date (signed, A/B, with a way
 * back), answers commands and carries the application's own messages over the same MQTT session. It never
 * allocates, never blocks longer than its port does, and does one bounded piece of work a call. Not
 * thread-safe: one task calls everything.
 *
 *     static struct pag_agent agent;
 *     static uint8_t scratch[PAG_AGENT_SCRATCH_BYTES] __attribute__((aligned(8)));
 *     pag_agent_init(&agent, &board, &settings, (struct pag_buf){ scratch, 0, sizeof scratch });
 *     pag_agent_set_hooks(&agent, &hooks, NULL);
 *     for (;;) {
 *         sleep_ms(pag_agent_step(&agent));
 *     }
 */

struct pag_port; /* agent/port.h: what the board supplies */

enum {
    PAG_AGENT_SCRATCH_BYTES = 4864, /* one sector, or trust sets being compared; aligned to 8 */
    /* pointers count; tests/unit/test_agent_sizes.c prints what is in it */
    PAG_AGENT_BYTES = sizeof(void *) == 8 ? 3872 : 3760,
    PAG_HOST_MAX = 63,          /* bytes of a host name or address */
    PAG_CLAIM_MAX = 64,         /* bytes of a claim code */
    PAG_TOPIC_REST_MAX = 64,    /* bytes of an application's topic */
    PAG_PUBLISH_MAX = 320,      /* bytes of one published payload */
    PAG_RECEIVE_MAX = 640,      /* bytes of one received MQTT packet; larger ones are skipped */
    PAG_SUBSCRIPTIONS_MAX = 4,  /* product topics */
    PAG_COMMAND_TEXT_MAX = 120, /* bytes of the text a command gives back */
};

/* Placed by the caller (static, zeroed or not), opaque, no allocation behind it. */
struct pag_agent {
    uint64_t opaque[PAG_AGENT_BYTES / 8];
};

/*
 * What the device is and whom it talks to. Constant while the agent runs; may lie in flash. Filled by hand or
 * by pag_settings_parse (agent/config.h) from key=value lines (docs/spec/device-config.md); start from
 * pag_settings_default. Texts are NUL-terminated.
 */
struct pag_settings {
    char host[PAG_HOST_MAX + 1];        /* server's name or address: certificate is checked against it */
    uint16_t port;                      /* 8444 */
    char mqtt_host[PAG_HOST_MAX + 1];   /* "": what enrolment said, else host */
    uint16_t mqtt_port;                 /* 0: what enrolment said, else 8883 */
    bool mqtt_off;                      /* poll only */
    char id[PAG_DEVICE_ID_MAX + 1];     /* used until enrolment names the device; "" = mac */
    char mac[13];                       /* 12 hex digits, lower case */
    char version[PAG_VERSION_MAX + 1];  /* version text of the running image, for display */
    char image[PAG_IMAGE_NAME_MAX + 1]; /* "firmware" */
    char claim[PAG_CLAIM_MAX + 1];      /* one-time code for enrolment, or "" */
    uint8_t product[PAG_PRODUCT_ID_BYTES];
    uint8_t hardware_n; /* 4..16 */
    uint8_t hardware[PAG_HARDWARE_ID_MAX];
    uint8_t chip; /* enum pag_chip */
    bool has_layout;
    uint8_t layout[4];
    uint32_t build_time; /* Unix s of the running image, lowest clock floor; 0 unknown */

    struct pag_span ca;                  /* PEM or DER: the only authority that servers are checked against */
    struct pag_span certificate;         /* DER, when the device was made with one; else empty: enrols */
    struct pag_span key;                 /* DER, as above */
    bool has_trust_pin;                  /* without: no update is ever accepted */
    uint32_t trust_pin_version;          /* version of the first trust set, 1 */
    uint8_t trust_pin[PAG_SHA256_BYTES]; /* SHA-256 of that set's bytes */

    uint32_t poll_s;           /* 300; the server's poll_s wins when it sends one */
    uint32_t status_s;         /* 60: status over MQTT; 0 = never */
    uint32_t trial_s;          /* 600: deadline of a trial */
    uint32_t backoff_min_s;    /* 60 */
    uint32_t backoff_max_s;    /* 86400 */
    uint32_t trigger_gap_s;    /* 60: one trigger per that long is obeyed */
    uint32_t trigger_jitter_s; /* 300: a trigger is obeyed after 0..n s */
    uint32_t lonely_reboot_s;  /* 86400: reboot when the server was not reached for so long; 0 = never */
    uint32_t fresh_every_s;    /* 86400: ask for a freshness token */
    uint32_t fresh_window_s;   /* 1209600: without a token for so long the device says "stale" */
    uint32_t download_s;       /* 3600: deadline of one download attempt */
    uint32_t min_rate_bps;     /* 256: bytes a second over 60 s, slower is given up */
    uint32_t io_timeout_s;     /* 20: an answer that does not come */
    uint16_t keepalive_s;      /* 60: MQTT */
};
void pag_settings_default(struct pag_settings *s); /* the numbers above, everything else empty */

enum pag_health {
    PAG_HEALTH_UNKNOWN, /* not yet decided: asked again */
    PAG_HEALTH_PASS,
    PAG_HEALTH_FAIL, /* revert now */
};

enum pag_agent_state {
    PAG_AGENT_START,    /* reading journal, trust and identity */
    PAG_AGENT_ENROLL,   /* no certificate yet */
    PAG_AGENT_IDLE,     /* waiting for the next check */
    PAG_AGENT_POLL,     /* POST /v1/check */
    PAG_AGENT_TRUST,    /* GET /v1/trust */
    PAG_AGENT_MANIFEST, /* judging an offer */
    PAG_AGENT_FETCH,    /* GET /v1/blob, sector by sector */
    PAG_AGENT_VERIFY,   /* hashing what flash gives back */
    PAG_AGENT_ARM,      /* programming the manifest, journalling STAGED */
    PAG_AGENT_REPORT,   /* POST /v1/report */
    PAG_AGENT_TRIAL,    /* running on trial */
    PAG_AGENT_CONFIRM,  /* writing CONFIRM a, b, EPOCH */
    PAG_AGENT_REVERT,   /* trial failed: writing REVERT */
    PAG_AGENT_REBOOT,   /* saying goodbye, then port.reboot */
    PAG_AGENT_HALTED,   /* port.reboot has returned (simulator): nothing more happens */
    PAG_AGENT_STATE_COUNT,
};
const char *pag_agent_state_word(enum pag_agent_state s); /* "fetch" … never NULL */

struct pag_agent_command {
    uint8_t kind; /* enum pag_command_kind (core/native.h) */
    uint32_t id;
    struct pag_span arg; /* valid during the call */
};

/*
 * What the application supplies. Every member may be NULL. All are called out of pag_agent_step and should
 * return within milliseconds.
 */
struct pag_agent_hooks {
    void (*setup)(void *ctx, struct pag_agent *agent); /* once, in the first step */
    void (*loop)(void *ctx, struct pag_agent *agent);  /* in every step; may publish */
    /* During a trial, after the server was reached, until it decides. NULL counts as PAG_HEALTH_PASS. */
    enum pag_health (*self_test)(void *ctx);
    /* identify, config and app commands; reset and wipe, whose signature has been verified: the device
     * restarts when it has answered. text: for the answer, at most its cap. PAG_OK or why not. */
    enum pag_err (*on_command)(void *ctx, const struct pag_agent_command *command, struct pag_buf *text);
    /* A message on a topic of pag_agent_subscribe. */
    void (*on_message)(void *ctx, struct pag_span topic, struct pag_span payload);
    /* The application's word before an update is fetched or the device reboots: false defers (asked again
     * later). */
    bool (*may_update)(void *ctx);
    void (*on_state)(void *ctx, enum pag_agent_state state);
};

/*
 * port, settings: kept, must outlive the agent. scratch: at least PAG_AGENT_SCRATCH_BYTES, aligned to 8, used
 * by the agent alone. PAG_E_SPACE, PAG_E_CONFIG (flash geometry, host, hardware id). Does no I/O.
 */
enum pag_err pag_agent_init(struct pag_agent *agent, const struct pag_port *port,
                            const struct pag_settings *settings, struct pag_buf scratch);
void pag_agent_set_hooks(struct pag_agent *agent, const struct pag_agent_hooks *hooks, void *ctx);

/*
 * One bounded piece of work: at most one flash sector or one packet. Returns the milliseconds until it wants
 * to be called again (0: at once; at most 1000). Calling earlier is harmless.
 */
uint32_t pag_agent_step(struct pag_agent *agent);

/*
 * Sends payload to pg/v1/d/<id>/up/data/<topic>, QoS 0, also while a download runs. topic: at most
 * PAG_TOPIC_REST_MAX bytes of [0-9A-Za-z_/.-]. PAG_E_CLOSED no session now, PAG_E_BUSY the last one is still
 * being written, PAG_E_RANGE too long, PAG_E_SYNTAX topic.
 */
enum pag_err pag_agent_publish(struct pag_agent *agent, const char *topic, struct pag_span payload);
/* The same on a whole topic of the product's own templates. */
enum pag_err pag_agent_publish_raw(struct pag_agent *agent, const char *topic, struct pag_span payload);

/* Adds a whole topic (of the product's templates, containing the id) to every session. filter: kept, not
 * copied. PAG_E_SPACE after PAG_SUBSCRIPTIONS_MAX. */
enum pag_err pag_agent_subscribe(struct pag_agent *agent, const char *filter);

/* Looks for an update now, without jitter; within the trigger budget. PAG_E_BUSY when one is under way,
 * PAG_E_LIMIT. */
enum pag_err pag_agent_check_now(struct pag_agent *agent);

struct pag_agent_figures { /* since init */
    uint32_t checks, check_failures, offers, refused, downloads, resumes, reports;
    uint32_t fetched_bytes;
    uint32_t mqtt_connects, published, publish_drops, received, receive_drops, commands, triggers_dropped;
};

struct pag_agent_status {
    enum pag_agent_state state;
    const char *id; /* lives as long as the agent */
    uint8_t slot;   /* 0 = A */
    bool on_trial, came_back, enrolled, mqtt_up, stale, has_trust;
    uint8_t progress_pct;
    uint8_t last_report;      /* enum pag_report_state last acknowledged */
    uint32_t action_id;       /* open action, 0 = none */
    uint32_t sequence, epoch; /* of the running image; floor in force */
    uint32_t trust_version;
    uint8_t running[PAG_SHA256_BYTES];
    enum pag_err last_error; /* of the last thing that failed, PAG_OK when nothing did */
    const char *last_what;   /* literal, "" when nothing */
    uint32_t contact_age_s;  /* since the server answered; UINT32_MAX: never since init */
    uint64_t now_unix_s;     /* best knowledge, 0 unknown */
    struct pag_agent_figures figures;
};
void pag_agent_status(const struct pag_agent *agent, struct pag_agent_status *out);

#endif
