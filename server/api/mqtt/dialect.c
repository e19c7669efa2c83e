/* secureESP8266 over MQTT: topics by MAC, commands as the last word of a topic. docs/spec/secureesp8266.md 4.
 */
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/head_priv.h"
#include "server/app/secureesp.h"

size_t pag_head_dialect_filters(const struct pag_mqtt_head *head,
                                const char *filter[PAG_HEAD_DIALECT_FILTERS])
{
    static const char *const all[PAG_HEAD_DIALECT_FILTERS] = { "/status/+", "/will/+", "/will/+/will",
                                                               "/command/+/+" };
    for (size_t i = 0; head->dialect && i < PAG_HEAD_DIALECT_FILTERS; i++) {
        filter[i] = all[i];
    }
    return head->dialect ? PAG_HEAD_DIALECT_FILTERS : 0;
}

/* Without its last level; empty when it has one only. */
static struct pag_span parent(struct pag_span topic)
{
    size_t n = topic.n;
    while (n > 0 && topic.p[n - 1] != '/') {
        n--;
    }
    return (struct pag_span){ topic.p, n > 0 ? n - 1 : 0 };
}

static enum pag_topic_kind kind_of(const struct pag_dialect_topic *t)
{
    if (t->device_reads) {
        return PAG_TOPIC_COMMAND;
    }
    return t->will ? PAG_TOPIC_GONE : PAG_TOPIC_SAMPLE;
}

bool pag_head_dialect_topic(struct pag_span topic, struct pag_topic *out)
{
    const struct pag_dialect_topic *list = NULL;
    size_t n = pag_dialect_topics(PAG_DIALECT_SECUREESP, &list);
    struct pag_span device;
    for (size_t i = 0; i < n; i++) {
        struct pag_span pattern = pag_span_str(list[i].pattern);
        bool reads = list[i].device_reads; /* its last level is the command */
        if (pag_topic_template_match(reads ? parent(pattern) : pattern, reads ? parent(topic) : topic,
                                     &device)) {
            *out = (struct pag_topic){ .kind = kind_of(&list[i]), .device = device };
            return true;
        }
    }
    return false;
}

bool pag_head_dialect_changed(struct pag_mqtt_head *head, struct pag_call *call)
{
    bool used = head->dialect;
    if (pag_app_dialect_used(call, PAG_DIALECT_SECUREESP, &used) != PAG_OK || used == head->dialect) {
        return false;
    }
    head->dialect = used;
    return true;
}

void pag_head_dialect_retained(struct pag_mqtt_head *head, const char *topic)
{
    const struct pag_span nothing = { NULL, 0 };
    pag_log_warn(head->config.api->log, "mqtt.retained_command_removed", PAG_F_STR("topic", topic));
    (void)pag_mqtt_publish(head->client, topic, nothing, 1, true);
}

void pag_head_dialect_push(struct pag_mqtt_head *head, struct pag_call *call, const char *device)
{
    char topic[PAG_TOPIC_MAX];
    const struct pag_span nothing = { NULL, 0 };
    struct pag_command c;
    if (pag_app_secureesp_due(call, device, &c) != PAG_OK) {
        return;
    }
    const char *word = pag_dialect_command(PAG_DIALECT_SECUREESP, c.kind);
    for (size_t i = 0; i < PAG_HEAD_AWAITED_MAX; i++) {
        if (head->awaited[i].command == c.id) {
            return; /* on its way; the store does not know yet */
        }
    }
    (void)snprintf(topic, sizeof topic, "/command/%s/%s", device, word != NULL ? word : "");
    if (word != NULL && pag_mqtt_publish(head->client, topic, nothing, 0, false) == PAG_OK) {
        pag_head_mark_sent(head, c.id);
    }
}
