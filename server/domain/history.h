#ifndef PAG_SERVER_DOMAIN_HISTORY_H
#define PAG_SERVER_DOMAIN_HISTORY_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/native.h"
#include "server/domain/device.h"
#include "server/domain/release.h"

/* What happened between a device and an image: actions, the loop breaker and the blacklist. Pure. */

struct pag_action {
    uint32_t id; /* positive 31 bits; stable until final */
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    char release[PAG_ID_TEXT];
    char image[PAG_ID_TEXT];
    char version[PAG_VERSION_MAX + 1];         /* of the release */
    uint8_t manifest_digest[PAG_SHA256_BYTES]; /* legacy: SHA-256 of the image */
    uint8_t target[PAG_SHA256_BYTES];          /* SHA-256 of the image to be running */
    uint8_t from[PAG_SHA256_BYTES];            /* running when it was offered, zeros: not known */
    enum pag_report_state state;
    uint8_t progress_pct;
    int32_t code;
    char text[PAG_WHY_MAX + 1];
    int64_t created_ms, changed_ms;
    uint32_t report_seq; /* of the last one applied; what is not newer is a duplicate; 0 none */
};

static inline bool pag_action_final(enum pag_report_state s)
{
    return s == PAG_REPORT_CONFIRMED || s == PAG_REPORT_FAILED || s == PAG_REPORT_REVERTED ||
           s == PAG_REPORT_REJECTED || s == PAG_REPORT_CANCELLED;
}

/* One image of one device: how often it was served, how often it failed. */
struct pag_device_image {
    char device[PAG_DEVICE_ID_MAX + 1];
    uint8_t sha256[PAG_SHA256_BYTES];
    char version[PAG_VERSION_MAX + 1];
    uint32_t serves;   /* since it was last seen running, or since retry */
    uint32_t failures; /* came back on another image, or said that it failed */
    bool blocked;      /* not offered until retry */
    char reason[PAG_WHY_MAX + 1];
    int64_t changed_ms;
    int64_t held_ms; /* file systems: when it was sent whole and the device asked again; 0: never */
};

enum pag_report_verdict {
    PAG_REPORT_APPLY,     /* *next is to be stored */
    PAG_REPORT_DUPLICATE, /* seen already: acknowledge, store nothing */
    PAG_REPORT_LATE,      /* the action is final: acknowledge, store nothing */
};

/*
 * Applies a report to an action. CONFIRMED counts only when the device says that it runs the target
 * (running_digest equals action->target); else PAG_E_CONFLICT and nothing changes. PAG_E_DIGEST: the report
 * names another manifest than this action's. PAG_E_RANGE: no such state. A state never goes back from a later
 * to an earlier one, except to DOWNLOADING and DEFERRED (a new try).
 */
enum pag_err pag_action_report(const struct pag_action *a, const struct pag_native_report *r, int64_t now_ms,
                               struct pag_action *next, enum pag_report_verdict *verdict,
                               struct pag_fail *why);

enum { PAG_FAILURES_MAX = 3 }; /* of one image, then it is not offered again */

/* What an outcome means for the image's history. native: a device with a trial boot, which blacklists an
 * image that it went back from: so do we, at once. So is what it refused for a reason that stays (signature,
 * product, hardware, rollback, form). Others are blocked after PAG_FAILURES_MAX. */
void pag_history_outcome(struct pag_device_image *h, const struct pag_action *final, bool native,
                         int64_t now_ms);

/* It ran this image and now runs an older one, and nobody told it to: counted like a failure. */
void pag_history_regressed(struct pag_device_image *h, int64_t now_ms);

/* A transfer begins (legacy) or an action is opened (native). */
void pag_history_served(struct pag_device_image *h, int64_t now_ms);
/* True when serving once more would be the loop that max_serves is to break. */
bool pag_history_looping(const struct pag_device_image *h, uint32_t max_serves);

/*
 * What a check-in proves about an open action: CONFIRMED when the target runs (legacy, where there is no
 * report; native on boot_state confirmed), REBOOTING when it runs on trial, REVERTED when the device says it
 * came back from a failed trial or a legacy device that had been served everything asks with the old image
 * again. Otherwise the action's own state.
 */
enum pag_report_state pag_action_seen(const struct pag_action *a, const struct pag_device *d);

/* State of a device and its sentence, from what is known after a check-in or report. action: the open one or
 * the last one, may be NULL. why: PAG_WHY_MAX + 1 bytes. plan_why: sentence of the planner, "" when an update
 * is due or none exists. */
struct pag_device_view {
    const struct pag_device *device;
    const struct pag_action *action;        /* open or last, may be NULL */
    const struct pag_device_image *blocked; /* why the wanted image is not offered, may be NULL */
    const char *plan_why;
    bool up_to_date;
    const char
        *due_version; /* to be offered when it asks, no action yet; NULL: nothing, or an action is open */
    const uint8_t *due_sha256; /* its image; a failure of another one is past then */
};
enum pag_device_state pag_device_judge(const struct pag_device_view *v, char why[PAG_WHY_MAX + 1]);

#endif
