/* What a Tasmota publishes, topic and payload: refused or read, and what is made of it can be matched again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/tasmota.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void judge_topic(struct pag_span full, struct pag_span topic)
{
    struct pag_tasmota_topic t;
    char mac[13];
    struct pag_span leaf;
    char name[PAG_TASMOTA_NAME_MAX + 1];
    char again[PAG_TASMOTA_TOPIC_MAX];
    (void)pag_tasmota_discovery_match(topic, mac, &leaf);
    if (!pag_tasmota_full_topic_ok(full) || !pag_tasmota_topic_match(full, topic, &t)) {
        return;
    }
    if (!pag_tasmota_name_ok(t.name) || t.leaf.n == 0 || pag_text_copy(name, sizeof name, t.name) != PAG_OK) {
        abort();
    }
    const struct pag_tasmota_place at = { t.prefix, name, "dc4f22001234", "X" };
    if (pag_tasmota_topic_put(full, &at, again) == PAG_OK &&
        !pag_tasmota_topic_match(full, pag_span_str(again), &t)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[PAG_TASMOTA_TEXT_MAX + 1];
    struct pag_tasmota_settings s;
    struct pag_tasmota_version v;
    const char *bad = NULL;
    const struct pag_span in = { data, size };
    size_t half = size / 2;
    if (pag_tasmota_text_read(in, "StatusFWR", "Version", text) == PAG_OK ||
        pag_tasmota_text_read(in, NULL, "Upgrade", text) == PAG_OK) {
        if (!pag_utf8_ok(pag_span_str(text))) {
            abort();
        }
        pag_tasmota_version_read(pag_span_str(text), &v);
        (void)pag_tasmota_upgrade_read(pag_span_str(text));
    }
    if (pag_tasmota_settings_read(in, &s, &bad) == PAG_OK &&
        !pag_tasmota_full_topic_ok(pag_span_str(s.full_topic))) {
        abort();
    }
    pag_tasmota_version_read(in, &v);
    judge_topic(pag_span_str("%prefix%/%topic%/"), in);
    judge_topic((struct pag_span){ data, half }, (struct pag_span){ data + half, size - half });
    return 0;
}
