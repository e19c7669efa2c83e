/* Headers of ESP8266httpUpdate: input is lines "name: value". */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/legacy_http/headers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t split(struct pag_span in, struct pag_http_header *header)
{
    size_t n = 0;
    size_t at = 0;
    while (at < in.n && n < PAG_HTTP_HEADERS_MAX) {
        size_t end = pag_span_find(in, at, '\n');
        size_t colon = pag_span_find(in, at, ':');
        if (colon < end) {
            size_t value = colon + 1 < end && in.p[colon + 1] == ' ' ? colon + 2 : colon + 1;
            header[n].name = (struct pag_span){ in.p + at, colon - at };
            header[n].value = (struct pag_span){ in.p + value, end - value };
            n++;
        }
        at = end + 1;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_http_header header[PAG_HTTP_HEADERS_MAX];
    struct pag_legacy_request r;
    size_t n = split((struct pag_span){ data, size }, header);
    if (pag_legacy_headers_read(header, n, &r, NULL) == PAG_OK) {
        size_t mac = strlen(r.mac);
        if ((mac != 0 && mac != 12) || r.version.n > 64 || r.sdk.n > 64) {
            abort();
        }
    }
    return 0;
}
