#include "server/api/mqtt/inbox.h"

#include <stdio.h>

#include "core/bytes.h"
#include "core/native.h"
#include "server/api/json.h"
#include "server/api/limits.h"
#include "server/api/mqtt/sample.h"
#include "server/api/mqtt/status.h"
#include "server/api/report.h"

static void refuse(struct pag_inbox_message *m, const char *what, enum pag_err err)
{
    atomic_fetch_add(&m->api->mqtt_refused, 1);
    pag_log_warn(m->api->log, "mqtt.refused", PAG_F_STR("device", m->device), PAG_F_STR("what", what),
                 PAG_F_STR("error", pag_err_word(err)), PAG_F_U64("bytes", m->payload.n));
    m->call.done(&m->call, err);
}

static void take_status(struct pag_inbox_message *m)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_status s;
    struct pag_status_in *in = pag_arena_alloc(m->call.arena, sizeof *in);
    enum pag_err err = pag_status_read(m->payload, &s, &why);
    if (err != PAG_OK) {
        refuse(m, why.what, err);
        return;
    }
    char *version = pag_arena_text(m->call.arena, pag_span_str(s.version));
    struct pag_span json = pag_json_dump(m->call.arena, s.object);
    if (in == NULL || version == NULL || json.p == NULL) {
        refuse(m, "no memory for a status", PAG_E_NO_MEMORY);
        return;
    }
    *in = (struct pag_status_in){
        .device = m->device, .json = json, .version = version, .retained = m->retained
    };
    pag_app_status_in(&m->call, in);
}

static void take_report(struct pag_inbox_message *m)
{
    struct pag_report_in *in = pag_arena_alloc(m->call.arena, sizeof *in);
    enum pag_err err = in != NULL ? pag_native_report_get(m->payload, &in->report) : PAG_E_NO_MEMORY;
    if (err != PAG_OK) {
        refuse(m, "report does not parse", err);
        return;
    }
    in->device = m->device;
    if (!pag_limits_text(m->api, m->call.thread, m->device, pag_api_report_words(in))) {
        pag_api_report_silence(in);
    }
    pag_api_report(&m->call, in);
}

static void take_result(struct pag_inbox_message *m)
{
    struct pag_native_result *result = pag_arena_alloc(m->call.arena, sizeof *result);
    enum pag_err err = result != NULL ? pag_native_result_get(m->payload, result) : PAG_E_NO_MEMORY;
    if (err != PAG_OK) {
        refuse(m, "result does not parse", err);
        return;
    }
    if (!pag_limits_text(m->api, m->call.thread, m->device, result->text.n)) {
        result->text.n = 0;
    }
    pag_app_command_result(&m->call, m->device, result);
}

enum pag_err pag_inbox_presence(struct pag_span payload, bool *online)
{
    static const char *const yes[] = { "online", "1", "true" };
    static const char *const no[] = { "offline", "0", "false", "" };
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (pag_span_eq_nocase(payload, yes[i])) {
            *online = true;
            return PAG_OK;
        }
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        if (pag_span_eq_nocase(payload, no[i])) {
            *online = false;
            return PAG_OK;
        }
    }
    return PAG_E_SYNTAX;
}

static void take_will(struct pag_inbox_message *m)
{
    enum pag_err err = pag_inbox_presence(m->payload, &m->online);
    if (err != PAG_OK) {
        refuse(m, "will is neither online nor offline", err);
        return;
    }
    pag_app_presence(&m->call, m->device, m->online);
}

static void take_sample(struct pag_inbox_message *m)
{
    struct pag_fail why = { .code = PAG_OK };
    struct pag_secureesp_status *in = pag_arena_alloc(m->call.arena, sizeof *in);
    if (m->retained) { /* an old one: it proves nothing about now */
        refuse(m, "a retained status", PAG_E_STALE);
        return;
    }
    enum pag_err err = in != NULL ? pag_sample_read(m->call.arena, m->payload, in, &why) : PAG_E_NO_MEMORY;
    if (err != PAG_OK) {
        refuse(m, why.what != NULL ? why.what : "no memory for a status", err);
        return;
    }
    in->device = m->device;
    pag_app_secureesp_status(&m->call, in);
}

/* What tells of an update or of presence has more room than what flows. */
static bool within_limits(const struct pag_inbox_message *m)
{
    bool flows = m->kind == PAG_TOPIC_STATUS || m->kind == PAG_TOPIC_DATA || m->kind == PAG_TOPIC_SAMPLE ||
                 (m->kind == PAG_TOPIC_TASMOTA && m->tasmota->prefix == PAG_TASMOTA_TELE &&
                  !pag_span_eq_str(m->tasmota->leaf, "LWT"));
    return flows ? pag_limits_message(m->api, m->call.thread, m->device)
                 : pag_limits_request(m->api, m->call.thread, m->device, m->device) == 0;
}

void pag_inbox_take(struct pag_inbox_message *m)
{
    if (!within_limits(m)) {
        m->call.done(&m->call, PAG_E_LIMIT);
        return;
    }
    (void)snprintf(m->actor, sizeof m->actor, "device:%s", m->device);
    m->call.scope.actor = m->actor;
    switch (m->kind) {
    case PAG_TOPIC_STATUS:
        take_status(m);
        return;
    case PAG_TOPIC_REPORT:
        take_report(m);
        return;
    case PAG_TOPIC_RESULT:
        take_result(m);
        return;
    case PAG_TOPIC_DATA:
        pag_app_data_in(&m->call, m->device, m->topic, m->payload);
        return;
    case PAG_TOPIC_WILL:
        take_will(m);
        return;
    case PAG_TOPIC_SAMPLE:
        take_sample(m);
        return;
    case PAG_TOPIC_GONE:
        pag_app_presence(&m->call, m->device, false);
        return;
    case PAG_TOPIC_TASMOTA:
        pag_inbox_tasmota(m);
        return;
    case PAG_TOPIC_COMMAND:
        break; /* taken by the head */
    }
    refuse(m, "no such topic", PAG_E_INTERNAL);
}
