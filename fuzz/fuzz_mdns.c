/* Answers of whoever is in the network: several packets, each with its length in front. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "relay/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t room[1400];
    struct pag_buf ask = { room, 0, sizeof room };
    struct pag_mdns_list *list = pag_mdns_list_new();
    if (list == NULL) {
        return 0;
    }
    for (size_t at = 0; at + 2 <= size;) {
        size_t n = pag_u16be(data + at);
        size_t have = size - at - 2;
        n = n < have ? n : have;
        (void)pag_mdns_read(list, pag_span_of(data + at + 2, n), "10.0.0.9");
        at += 2 + n;
    }
    pag_mdns_list_make(list);
    for (size_t i = 0; i < list->n; i++) {
        const struct pag_mdns_found *f = &list->item[i];
        char id[PAG_DEVICE_ID_MAX + 1];
        pag_relay_id(f, id);
        bool plain = id[0] == '\0' || pag_device_id_ok(pag_span_str(id));
        if (!plain || !pag_utf8_ok(pag_span_str(f->name)) || !pag_utf8_ok(pag_span_str(f->version)) ||
            memchr(f->address, '\0', sizeof f->address) == NULL || strpbrk(f->name, "\x1b\n\r\t") != NULL) {
            abort();
        }
    }
    if (pag_mdns_ask(list, 7, &ask) == PAG_OK &&
        pag_mdns_read(list, pag_buf_span(&ask), "x") != PAG_E_SYNTAX) {
        abort(); /* our own question taken for an answer */
    }
    pag_mdns_list_free(list);
    return 0;
}
