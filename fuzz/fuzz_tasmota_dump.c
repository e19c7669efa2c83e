/* A configuration file of a Tasmota: what a device sent, or what somebody wants to give one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "relay/tasmota.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_tasmota_dump dump;
    char text[PAG_TASMOTA_VERSION_MAX];
    char head[32];
    const char *why = NULL;
    enum pag_err err = pag_tasmota_dump_read(pag_span_of(data, size), &dump, &why);
    if (why == NULL || dump.damaged > dump.drivers || (err == PAG_OK && size > PAG_TASMOTA_FILE_MAX)) {
        abort();
    }
    pag_tasmota_number_text(dump.version, text);
    if (pag_tasmota_number(text) != dump.version) {
        abort();
    }
    size_t n = size < sizeof head - 1 ? size : sizeof head - 1;
    if (n > 0) {
        memcpy(head, data, n);
    }
    head[n] = '\0';
    (void)pag_tasmota_number(head);
    (void)pag_tasmota_chip_of(head);
    return 0;
}
