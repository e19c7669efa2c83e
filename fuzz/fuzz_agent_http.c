/* Reply heads as a hostile server sends them: any cut of the bytes gives the same answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/http_client.h"
#include "core/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_httpc_parser whole;
    struct pag_httpc_parser parts;
    size_t used = 0;
    size_t at = 0;
    pag_httpc_parser_begin(&whole);
    enum pag_err err = pag_httpc_parser_feed(&whole, pag_span_of(data, size), &used);
    pag_httpc_parser_begin(&parts);
    enum pag_err again = PAG_E_SHORT;
    while (at < size && again == PAG_E_SHORT) {
        size_t n = 1 + at % 7;
        size_t took = 0;
        n = n < size - at ? n : size - at;
        again = pag_httpc_parser_feed(&parts, pag_span_of(data + at, n), &took);
        at += took;
    }
    if (used > size || err != again || at != used) {
        abort();
    }
    if (err == PAG_OK &&
        (memcmp(&whole.reply, &parts.reply, sizeof whole.reply) != 0 || whole.reply.status < 200)) {
        abort();
    }
    return 0;
}
