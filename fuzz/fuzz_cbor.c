/* What the checker accepts, the map walker and the raw getter take too; neither reads outside. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/cbor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pag_span in = pag_span_of(data, n);
    struct pag_cbor_reader r = pag_cbor_read(in);
    struct pag_span raw = { 0 };
    bool whole = pag_cbor_get_raw(&r, &raw) == PAG_OK;
    bool checked = pag_cbor_check(in) == PAG_OK;
    if (checked != (whole && raw.n == n)) {
        abort();
    }
    struct pag_cbor_item item;
    r = pag_cbor_read(in);
    while (pag_cbor_next(&r, &item) == PAG_OK) {
        if (r.at > n) {
            abort();
        }
    }
    struct pag_cbor_map map;
    uint64_t key = 0;
    r = pag_cbor_read(in);
    if (pag_cbor_map_begin(&r, n, &map) == PAG_OK) {
        while (pag_cbor_map_next(&map, &key) && pag_cbor_skip(&r) == PAG_OK) {
        }
    }
    return 0;
}
