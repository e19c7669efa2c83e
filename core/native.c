#include "core/native.h"

#include "core/bytes.h"
#include "core/cbor.h"
#include "core/command.h"
#include "core/manifest.h"
#include "core/mem.h"
#include "core/trust.h"

/*
 * Every message is a table of its fields: one putter and one getter serve all, so that both directions cannot
 * part company. Keys ascend in a table.
 */
enum field_type {
    FIELD_U8,
    FIELD_U16,
    FIELD_U32,
    FIELD_U64,
    FIELD_I32,
    FIELD_BYTES,
    FIELD_TEXT,
    FIELD_COMMANDS,
    FIELD_RESULT
};

enum { NEEDED = 1, CRITICAL_KEYS = 64, FIELDS_MAX = 16, TEXT_MAX = 200, ARG_MAX = 512, CSR_MAX = 1024 };
enum { CERTIFICATE_MAX = 1400, HOST_MAX = 253, ACTION_MAX = 0x7FFFFFFF };

struct field {
    uint8_t key;
    uint8_t type; /* enum field_type */
    uint8_t need; /* NEEDED: always written, missing is refused; else left out when 0 or empty */
    uint16_t at;  /* offset in the struct */
    uint32_t min; /* number, or bytes of a string that is there */
    uint32_t max;
};

struct message {
    const struct field *field;
    size_t n;
    size_t bytes; /* of the struct */
};

#define FIELD(key_, type_, need_, struct_, member_, min_, max_)                                              \
    {                                                                                                        \
        .key = (key_), .type = (type_), .need = (need_), .at = offsetof(struct struct_, member_),            \
        .min = (min_), .max = (max_)                                                                         \
    }
#define MESSAGE(fields_, struct_)                                                                            \
    {                                                                                                        \
        .field = (fields_), .n = sizeof(fields_) / sizeof((fields_)[0]), .bytes = sizeof(struct struct_)     \
    }

/* clang-format off */
static const struct field check_fields[] = {
    FIELD(1, FIELD_BYTES, NEEDED, pag_native_check, running_digest, PAG_SHA256_BYTES, PAG_SHA256_BYTES),
    FIELD(2, FIELD_TEXT, NEEDED, pag_native_check, version, 0, PAG_VERSION_MAX),
    FIELD(3, FIELD_U32, NEEDED, pag_native_check, sequence, 0, UINT32_MAX),
    FIELD(4, FIELD_U32, NEEDED, pag_native_check, epoch, 0, UINT32_MAX),
    FIELD(5, FIELD_U32, NEEDED, pag_native_check, trust_version, 0, UINT32_MAX),
    FIELD(6, FIELD_U8, NEEDED, pag_native_check, slot, 0, 1),
    FIELD(7, FIELD_U8, NEEDED, pag_native_check, boot_state, 0, 2),
    FIELD(8, FIELD_U32, NEEDED, pag_native_check, slot_bytes, 0, UINT32_MAX),
    FIELD(9, FIELD_U8, NEEDED, pag_native_check, chip, 0, UINT8_MAX),
    FIELD(10, FIELD_BYTES, NEEDED, pag_native_check, hardware, 4, PAG_HARDWARE_ID_MAX),
    FIELD(11, FIELD_U32, NEEDED, pag_native_check, boot_count, 0, UINT32_MAX),
    FIELD(12, FIELD_BYTES, 0, pag_native_check, nonce, PAG_NONCE_BYTES, PAG_NONCE_BYTES),
    FIELD(13, FIELD_U32, 0, pag_native_check, capabilities, 1, UINT32_MAX),
    FIELD(14, FIELD_BYTES, 0, pag_native_check, last_failed, PAG_SHA256_BYTES, PAG_SHA256_BYTES),
};
static const struct field command_fields[] = {
    FIELD(1, FIELD_U8, NEEDED, pag_native_command, kind, PAG_COMMAND_CHECK, PAG_COMMAND_REENROLL),
    FIELD(2, FIELD_U32, NEEDED, pag_native_command, id, 0, ACTION_MAX),
    FIELD(3, FIELD_U64, NEEDED, pag_native_command, expires_at, 0, 0),
    FIELD(4, FIELD_BYTES, 0, pag_native_command, arg, 1, ARG_MAX),
    FIELD(5, FIELD_BYTES, 0, pag_native_command, order, 1, PAG_SIGNED_COMMAND_MAX),
};
static const struct field result_fields[] = {
    FIELD(1, FIELD_U32, NEEDED, pag_native_result, id, 1, ACTION_MAX),
    FIELD(2, FIELD_I32, NEEDED, pag_native_result, code, 0, 0),
    FIELD(3, FIELD_TEXT, 0, pag_native_result, text, 1, TEXT_MAX),
};
static const struct field offer_fields[] = {
    FIELD(1, FIELD_U32, 0, pag_native_offer, action_id, 1, ACTION_MAX),
    FIELD(2, FIELD_BYTES, 0, pag_native_offer, manifest, 1, PAG_MANIFEST_MAX),
    FIELD(3, FIELD_U32, 0, pag_native_offer, poll_s, 1, UINT32_MAX),
    FIELD(4, FIELD_BYTES, 0, pag_native_offer, token, 1, PAG_TOKEN_MAX),
    FIELD(5, FIELD_U32, 0, pag_native_offer, trust_version, 1, UINT32_MAX),
    FIELD(6, FIELD_COMMANDS, 0, pag_native_offer, command, 1, PAG_NATIVE_COMMANDS_MAX),
    FIELD(7, FIELD_BYTES, 0, pag_native_offer, permit, 1, PAG_MANIFEST_MAX),
};
static const struct field report_fields[] = {
    FIELD(1, FIELD_U32, NEEDED, pag_native_report, action_id, 0, ACTION_MAX),
    FIELD(2, FIELD_U8, NEEDED, pag_native_report, state, 0, PAG_REPORT_CANCELLED),
    FIELD(3, FIELD_U8, 0, pag_native_report, progress_pct, 1, 100),
    FIELD(4, FIELD_I32, 0, pag_native_report, code, 0, 0),
    FIELD(5, FIELD_TEXT, 0, pag_native_report, text, 1, TEXT_MAX),
    FIELD(6, FIELD_BYTES, 0, pag_native_report, manifest_digest, PAG_SHA256_BYTES, PAG_SHA256_BYTES),
    FIELD(7, FIELD_BYTES, 0, pag_native_report, running_digest, PAG_SHA256_BYTES, PAG_SHA256_BYTES),
    FIELD(8, FIELD_U32, NEEDED, pag_native_report, seq, 0, UINT32_MAX),
    FIELD(10, FIELD_RESULT, 0, pag_native_report, result, 0, 0),
};
static const struct field enroll_fields[] = {
    FIELD(1, FIELD_TEXT, 0, pag_native_enroll, claim, 1, 64),
    FIELD(2, FIELD_BYTES, NEEDED, pag_native_enroll, csr, 1, CSR_MAX),
    FIELD(3, FIELD_TEXT, NEEDED, pag_native_enroll, mac, 12, 12),
    FIELD(4, FIELD_U8, NEEDED, pag_native_enroll, chip, 0, UINT8_MAX),
    FIELD(5, FIELD_BYTES, NEEDED, pag_native_enroll, hardware, 4, PAG_HARDWARE_ID_MAX),
    FIELD(6, FIELD_TEXT, 0, pag_native_enroll, version, 1, PAG_VERSION_MAX),
};
static const struct field enrolled_fields[] = {
    FIELD(1, FIELD_TEXT, NEEDED, pag_native_enrolled, device_id, 1, PAG_DEVICE_ID_MAX),
    FIELD(2, FIELD_BYTES, NEEDED, pag_native_enrolled, certificate, 1, CERTIFICATE_MAX),
    FIELD(3, FIELD_BYTES, NEEDED, pag_native_enrolled, issuer, 1, CERTIFICATE_MAX),
    FIELD(4, FIELD_BYTES, NEEDED, pag_native_enrolled, product, PAG_PRODUCT_ID_BYTES, PAG_PRODUCT_ID_BYTES),
    FIELD(5, FIELD_TEXT, 0, pag_native_enrolled, mqtt_host, 1, HOST_MAX),
    FIELD(6, FIELD_U16, 0, pag_native_enrolled, mqtt_port, 1, UINT16_MAX),
    FIELD(7, FIELD_U32, 0, pag_native_enrolled, trust_version, 1, UINT32_MAX),
};
/* clang-format on */

static const struct message check_message = MESSAGE(check_fields, pag_native_check);
static const struct message command_message = MESSAGE(command_fields, pag_native_command);
static const struct message result_message = MESSAGE(result_fields, pag_native_result);
static const struct message offer_message = MESSAGE(offer_fields, pag_native_offer);
static const struct message report_message = MESSAGE(report_fields, pag_native_report);
static const struct message enroll_message = MESSAGE(enroll_fields, pag_native_enroll);
static const struct message enrolled_message = MESSAGE(enrolled_fields, pag_native_enrolled);

/* ---- members by offset ---- */

static struct pag_span member_span(const void *m, const struct field *f)
{
    struct pag_span s;
    memcpy(&s, (const uint8_t *)m + f->at, sizeof s);
    return s;
}

static uint64_t member_number(const void *m, const struct field *f)
{
    const uint8_t *p = (const uint8_t *)m + f->at;
    uint16_t v16 = 0;
    uint32_t v32 = 0;
    uint64_t v64 = 0;
    switch ((enum field_type)f->type) {
    case FIELD_U8:
        return *p;
    case FIELD_U16:
        memcpy(&v16, p, sizeof v16);
        return v16;
    case FIELD_U32:
    case FIELD_I32:
        memcpy(&v32, p, sizeof v32);
        return v32;
    case FIELD_U64:
        memcpy(&v64, p, sizeof v64);
        return v64;
    case FIELD_BYTES:
    case FIELD_TEXT:
    case FIELD_COMMANDS:
    case FIELD_RESULT:
        break;
    }
    return 0;
}

static void set_member_number(void *m, const struct field *f, uint64_t v)
{
    uint8_t *p = (uint8_t *)m + f->at;
    uint16_t v16 = (uint16_t)v;
    uint32_t v32 = (uint32_t)v;
    switch ((enum field_type)f->type) {
    case FIELD_U8:
        *p = (uint8_t)v;
        break;
    case FIELD_U16:
        memcpy(p, &v16, sizeof v16);
        break;
    case FIELD_U32:
    case FIELD_I32:
        memcpy(p, &v32, sizeof v32);
        break;
    case FIELD_U64:
        memcpy(p, &v, sizeof v);
        break;
    case FIELD_BYTES:
    case FIELD_TEXT:
    case FIELD_COMMANDS:
    case FIELD_RESULT:
        break;
    }
}

/* ---- putting ---- */

static enum pag_err put_message(struct pag_buf *out, const struct message *msg, const void *m);

static bool is_there(const struct field *f, const void *m)
{
    switch ((enum field_type)f->type) {
    case FIELD_BYTES:
    case FIELD_TEXT:
        return f->need == NEEDED || member_span(m, f).n != 0;
    case FIELD_COMMANDS:
        return ((const struct pag_native_offer *)m)->command_n != 0;
    case FIELD_RESULT:
        return ((const struct pag_native_report *)m)->has_result;
    case FIELD_U8:
    case FIELD_U16:
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_I32:
        break;
    }
    return f->need == NEEDED || member_number(m, f) != 0;
}

static enum pag_err put_string(struct pag_cbor_writer *w, const struct field *f, struct pag_span s)
{
    if (s.n < f->min || s.n > f->max) {
        return PAG_E_RANGE;
    }
    if (f->type == FIELD_BYTES) {
        pag_cbor_put_bytes(w, s);
        return w->err;
    }
    if (!pag_utf8_ok(s)) {
        return PAG_E_RANGE;
    }
    pag_cbor_put_text(w, s);
    return w->err;
}

static enum pag_err put_commands(struct pag_cbor_writer *w, const struct pag_native_offer *m)
{
    if (m->command_n > PAG_NATIVE_COMMANDS_MAX) {
        return PAG_E_RANGE;
    }
    pag_cbor_put_array(w, m->command_n);
    for (size_t i = 0; i < m->command_n && w->err == PAG_OK; i++) {
        w->err = put_message(w->out, &command_message, &m->command[i]);
    }
    return w->err;
}

static enum pag_err put_field(struct pag_cbor_writer *w, const struct field *f, const void *m)
{
    uint64_t v = member_number(m, f);
    switch ((enum field_type)f->type) {
    case FIELD_BYTES:
    case FIELD_TEXT:
        return put_string(w, f, member_span(m, f));
    case FIELD_COMMANDS:
        return put_commands(w, m);
    case FIELD_RESULT:
        return w->err != PAG_OK
                   ? w->err
                   : put_message(w->out, &result_message, &((const struct pag_native_report *)m)->result);
    case FIELD_I32:
        pag_cbor_put_int(w, (int32_t)(uint32_t)v);
        return w->err;
    case FIELD_U64:
        pag_cbor_put_uint(w, v);
        return w->err;
    case FIELD_U8:
    case FIELD_U16:
    case FIELD_U32:
        break;
    }
    if (v < f->min || v > f->max) {
        return PAG_E_RANGE;
    }
    pag_cbor_put_uint(w, v);
    return w->err;
}

static enum pag_err put_message(struct pag_buf *out, const struct message *msg, const void *m)
{
    size_t start = out->n;
    size_t pairs = 0;
    for (size_t i = 0; i < msg->n; i++) {
        pairs += is_there(&msg->field[i], m);
    }
    struct pag_cbor_writer w = pag_cbor_write(out);
    pag_cbor_put_map(&w, pairs);
    enum pag_err err = w.err;
    for (size_t i = 0; i < msg->n && err == PAG_OK; i++) {
        if (is_there(&msg->field[i], m)) {
            pag_cbor_put_uint(&w, msg->field[i].key);
            err = put_field(&w, &msg->field[i], m);
        }
    }
    if (err == PAG_OK && out->n - start > PAG_NATIVE_MAX) {
        err = PAG_E_RANGE;
    }
    if (err != PAG_OK) {
        out->n = start;
    }
    return err;
}

/* ---- getting ---- */

static enum pag_err get_message(struct pag_cbor_reader *r, const struct message *msg, void *m);

static enum pag_err get_string(struct pag_cbor_reader *r, const struct field *f, void *m)
{
    struct pag_span s = { 0 };
    enum pag_err err = f->type == FIELD_TEXT ? pag_cbor_get_text(r, f->min, f->max, &s)
                                             : pag_cbor_get_bytes(r, f->min, f->max, &s);
    if (err == PAG_OK) {
        memcpy((uint8_t *)m + f->at, &s, sizeof s);
    }
    return err;
}

static enum pag_err get_number(struct pag_cbor_reader *r, const struct field *f, void *m)
{
    uint64_t v = 0;
    uint64_t max = f->type == FIELD_U64 ? UINT64_MAX : f->max;
    enum pag_err err = pag_cbor_get_uint(r, max, &v);
    if (err != PAG_OK) {
        return err;
    }
    if (v < f->min) {
        return PAG_E_RANGE;
    }
    set_member_number(m, f, v);
    return PAG_OK;
}

static enum pag_err get_code(struct pag_cbor_reader *r, const struct field *f, void *m)
{
    int64_t v = 0;
    enum pag_err err = pag_cbor_get_int(r, &v);
    if (err != PAG_OK) {
        return err;
    }
    if (v < INT32_MIN || v > INT32_MAX || (v == 0 && f->need != NEEDED)) {
        return PAG_E_RANGE;
    }
    set_member_number(m, f, (uint32_t)(int32_t)v);
    return PAG_OK;
}

static enum pag_err get_commands(struct pag_cbor_reader *r, struct pag_native_offer *m)
{
    size_t n = 0;
    enum pag_err err = pag_cbor_get_array(r, PAG_NATIVE_COMMANDS_MAX, &n);
    if (err == PAG_OK && n == 0) {
        err = PAG_E_RANGE;
    }
    for (size_t i = 0; i < n && err == PAG_OK; i++) {
        err = get_message(r, &command_message, &m->command[i]);
    }
    m->command_n = (uint8_t)n;
    return err;
}

static enum pag_err get_field(struct pag_cbor_reader *r, const struct field *f, void *m)
{
    switch ((enum field_type)f->type) {
    case FIELD_BYTES:
    case FIELD_TEXT:
        return get_string(r, f, m);
    case FIELD_COMMANDS:
        return get_commands(r, m);
    case FIELD_RESULT:
        ((struct pag_native_report *)m)->has_result = true;
        return get_message(r, &result_message, &((struct pag_native_report *)m)->result);
    case FIELD_I32:
        return get_code(r, f, m);
    case FIELD_U8:
    case FIELD_U16:
    case FIELD_U32:
    case FIELD_U64:
        break;
    }
    return get_number(r, f, m);
}

/* Index of the field with that key, msg->n when there is none. */
static size_t field_of(const struct message *msg, uint64_t key)
{
    size_t i = 0;
    while (i < msg->n && msg->field[i].key != key) {
        i++;
    }
    return i;
}

static enum pag_err get_message(struct pag_cbor_reader *r, const struct message *msg, void *m)
{
    struct pag_cbor_map map;
    uint32_t seen = 0; /* bit i: field i */
    uint64_t key = 0;
    enum pag_err err = pag_cbor_map_begin(r, (size_t)FIELDS_MAX * 2, &map);
    while (err == PAG_OK && pag_cbor_map_next(&map, &key)) {
        size_t i = field_of(msg, key);
        if (i < msg->n) {
            err = get_field(r, &msg->field[i], m);
            seen |= (uint32_t)1 << i;
        } else if (key < CRITICAL_KEYS) {
            err = PAG_E_SYNTAX;
        } else {
            err = pag_cbor_skip(r);
        }
    }
    if (err == PAG_OK) {
        err = map.err;
    }
    for (size_t i = 0; i < msg->n && err == PAG_OK; i++) {
        if (msg->field[i].need == NEEDED && (seen >> i & 1U) == 0) {
            err = PAG_E_SYNTAX;
        }
    }
    return err;
}

/* *m is all zero after a failure. */
static enum pag_err get_whole(struct pag_span in, const struct message *msg, void *m)
{
    struct pag_cbor_reader r = pag_cbor_read(in);
    memset(m, 0, msg->bytes);
    enum pag_err err = in.n > PAG_NATIVE_MAX ? PAG_E_RANGE : get_message(&r, msg, m);
    if (err == PAG_OK && !pag_cbor_at_end(&r)) {
        err = PAG_E_SYNTAX;
    }
    if (err != PAG_OK) {
        memset(m, 0, msg->bytes);
    }
    return err;
}

/* ---- the messages ---- */

const char *pag_report_state_word(enum pag_report_state s)
{
    static const char *const words[] = {
        "offered", "downloading", "downloaded", "installing", "rebooting", "confirmed",
        "failed",  "reverted",    "deferred",   "rejected",   "cancelled",
    };
    _Static_assert(sizeof words / sizeof words[0] == PAG_REPORT_CANCELLED + 1, "one word per state");
    unsigned at = (unsigned)s;
    return at < sizeof words / sizeof words[0] ? words[at] : "unknown";
}

enum pag_err pag_native_check_put(struct pag_buf *out, const struct pag_native_check *m)
{
    if (m->has_nonce != (m->nonce.n != 0)) {
        return PAG_E_RANGE;
    }
    return put_message(out, &check_message, m);
}

enum pag_err pag_native_check_get(struct pag_span in, struct pag_native_check *m)
{
    enum pag_err err = get_whole(in, &check_message, m);
    m->has_nonce = m->nonce.n != 0;
    return err;
}

enum pag_err pag_native_command_put(struct pag_buf *out, const struct pag_native_command *m)
{
    return put_message(out, &command_message, m);
}

enum pag_err pag_native_command_get(struct pag_span in, struct pag_native_command *m)
{
    return get_whole(in, &command_message, m);
}

enum pag_err pag_native_result_put(struct pag_buf *out, const struct pag_native_result *m)
{
    return put_message(out, &result_message, m);
}

enum pag_err pag_native_result_get(struct pag_span in, struct pag_native_result *m)
{
    return get_whole(in, &result_message, m);
}

/* A manifest and the action it belongs to come together or not at all. */
static bool offer_ok(const struct pag_native_offer *m)
{
    return m->has_manifest == (m->manifest.n != 0) && m->has_manifest == (m->action_id != 0);
}

enum pag_err pag_native_offer_put(struct pag_buf *out, const struct pag_native_offer *m)
{
    if (!offer_ok(m)) {
        return PAG_E_RANGE;
    }
    return put_message(out, &offer_message, m);
}

enum pag_err pag_native_offer_get(struct pag_span in, struct pag_native_offer *m)
{
    enum pag_err err = get_whole(in, &offer_message, m);
    m->has_manifest = m->manifest.n != 0;
    if (err == PAG_OK && !offer_ok(m)) {
        memset(m, 0, sizeof *m);
        err = PAG_E_SYNTAX;
    }
    return err;
}

enum pag_err pag_native_report_put(struct pag_buf *out, const struct pag_native_report *m)
{
    return put_message(out, &report_message, m);
}

enum pag_err pag_native_report_get(struct pag_span in, struct pag_native_report *m)
{
    return get_whole(in, &report_message, m);
}

enum pag_err pag_native_enroll_put(struct pag_buf *out, const struct pag_native_enroll *m)
{
    return put_message(out, &enroll_message, m);
}

enum pag_err pag_native_enroll_get(struct pag_span in, struct pag_native_enroll *m)
{
    return get_whole(in, &enroll_message, m);
}

enum pag_err pag_native_enrolled_put(struct pag_buf *out, const struct pag_native_enrolled *m)
{
    return put_message(out, &enrolled_message, m);
}

enum pag_err pag_native_enrolled_get(struct pag_span in, struct pag_native_enrolled *m)
{
    return get_whole(in, &enrolled_message, m);
}
