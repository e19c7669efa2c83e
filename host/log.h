#ifndef PAG_HOST_LOG_H
#define PAG_HOST_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagurus/types.h>

#include "host/clock.h"

/*
 * Events with fields, one line each, as text or JSON. Never a key, token or payload. Control characters in
 * values are escaped, so a value cannot start a line or drive a terminal. Thread-safe: a line is one
 * write(2).
 */
enum pag_log_level { PAG_LOG_DEBUG, PAG_LOG_INFO, PAG_LOG_WARN, PAG_LOG_ERROR };

struct pag_log;

struct pag_field {
    const char *key;
    enum { PAG_FIELD_STR, PAG_FIELD_U64, PAG_FIELD_I64, PAG_FIELD_SPAN, PAG_FIELD_HEX } type;
    const char *str;
    uint64_t u64;
    int64_t i64;
    struct pag_span span;
};
#define PAG_F_STR(k, v)  ((struct pag_field){ .key = (k), .type = PAG_FIELD_STR, .str = (v) })
#define PAG_F_U64(k, v)  ((struct pag_field){ .key = (k), .type = PAG_FIELD_U64, .u64 = (v) })
#define PAG_F_I64(k, v)  ((struct pag_field){ .key = (k), .type = PAG_FIELD_I64, .i64 = (v) })
#define PAG_F_SPAN(k, v) ((struct pag_field){ .key = (k), .type = PAG_FIELD_SPAN, .span = (v) })
#define PAG_F_HEX(k, v)  ((struct pag_field){ .key = (k), .type = PAG_FIELD_HEX, .span = (v) })

/* fd is borrowed. json: one object a line, else "2026-…Z WARN rollout.paused rollout=ro_17 failures=3". */
struct pag_log *pag_log_new(int fd, enum pag_log_level least, bool json, struct pag_clock clock);
void pag_log_free(struct pag_log *log);
/* From now on; any thread. */
void pag_log_change(struct pag_log *log, enum pag_log_level least, bool json);

/* log may be NULL: nothing is written. event: "noun.verb", a literal. */
void pag_log_event(struct pag_log *log, enum pag_log_level level, const char *event,
                   const struct pag_field *fields, size_t n);

#define PAG_LOG_FIELDS_(...)                                                                                 \
    (const struct pag_field[])                                                                               \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define PAG_LOG_(log, level, event, ...)                                                                     \
    pag_log_event(log, level, event, PAG_LOG_FIELDS_(__VA_ARGS__),                                           \
                  sizeof(PAG_LOG_FIELDS_(__VA_ARGS__)) / sizeof(struct pag_field))
#define pag_log_debug(log, event, ...) PAG_LOG_(log, PAG_LOG_DEBUG, event, __VA_ARGS__)
#define pag_log_info(log, event, ...)  PAG_LOG_(log, PAG_LOG_INFO, event, __VA_ARGS__)
#define pag_log_warn(log, event, ...)  PAG_LOG_(log, PAG_LOG_WARN, event, __VA_ARGS__)
#define pag_log_error(log, event, ...) PAG_LOG_(log, PAG_LOG_ERROR, event, __VA_ARGS__)

#endif
