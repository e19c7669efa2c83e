#ifndef PAG_SERVER_DOMAIN_COMMAND_H
#define PAG_SERVER_DOMAIN_COMMAND_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

#include "core/native.h"
#include "server/domain/access.h"

enum pag_command_state {
    PAG_COMMAND_QUEUED = 0,
    PAG_COMMAND_SENT,
    PAG_COMMAND_DONE,
    PAG_COMMAND_FAILED,
    PAG_COMMAND_EXPIRED,
};
const char *pag_command_state_word(enum pag_command_state s);
const char *pag_command_kind_word(enum pag_command_kind k); /* "check" …; "unknown" */
/* 0: no such kind that an operator may send. */
unsigned pag_command_kind_by_word(struct pag_span word);

/* Command kinds of secureESP8266 besides reboot and config: never on the native wire. */
enum pag_command_word {
    PAG_WORD_FIRMWARE = 32,
    PAG_WORD_FLASH,
    PAG_WORD_CA,
    PAG_WORD_CERT,
    PAG_WORD_KEY,
};

enum { PAG_COMMAND_ARG_MAX = 1024, PAG_COMMAND_RESULT_MAX = 200 };

struct pag_command {
    uint32_t id; /* positive 31 bits; "cmd_<8 hex>" in REST */
    char device[PAG_DEVICE_ID_MAX + 1];
    char product[PAG_PRODUCT_HEX];
    enum pag_command_kind kind;
    struct pag_span arg;
    enum pag_command_state state;
    int64_t created_ms, expires_ms, sent_ms, done_ms; /* sent: last handed over */
    int32_t code;
    uint32_t tries; /* times handed over */
    char result[PAG_COMMAND_RESULT_MAX + 1];
    char actor[PAG_ACTOR_MAX + 1];
    struct pag_span order; /* signed bytes (core/command.h), handed over unchanged; empty: none */
    uint32_t counter;      /* in them, 0: none */
};

/*
 * Whether it is to be handed over now: a waiting one at once; one that was handed over and has no result
 * again after PAG_COMMAND_AGAIN_MS, because it may have been lost with a session. The device knows an id it
 * has had. A reboot makes it forget, so that one is repeated PAG_COMMAND_REBOOTS_MAX times only.
 */
enum { PAG_COMMAND_AGAIN_MS = 10000, PAG_COMMAND_REBOOTS_MAX = 3 };
bool pag_command_due(const struct pag_command *c, int64_t now_ms);
/* State at a time: queued and sent ones expire. */
enum pag_command_state pag_command_state_at(const struct pag_command *c, int64_t now_ms);
/* PAG_OK, PAG_E_RANGE (argument too long, not allowed or missing for this kind). */
enum pag_err pag_command_check(enum pag_command_kind kind, struct pag_span arg);

#endif
