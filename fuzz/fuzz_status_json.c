/* Anything a device may publish as status: refused or read, never more than it says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/api/mqtt/status.h"
#include "server/api/mqtt/topic.h"
#include "server/domain/product.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_status s;
    struct pag_topic t;
    struct pag_span device;
    const struct pag_span in = { data, size };
    if (pag_status_read(in, &s, NULL) == PAG_OK) {
        if (!json_is_object(s.object) || strlen(s.version) > 32 || size > PAG_STATUS_BYTES_MAX) {
            abort();
        }
        json_decref(s.object);
    }
    (void)pag_topic_read(in, &t);
    size_t half = size / 2;
    const struct pag_span tmpl = { data, half };
    const struct pag_span topic = { data + half, size - half };
    if (tmpl.n > 0 && pag_product_template_ok(tmpl)) {
        (void)pag_topic_template_match(tmpl, topic, &device);
    }
    return 0;
}
