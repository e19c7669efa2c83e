#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/certificate.h"
#include "host/x509.h"

/* A certificate as a lying server hands it out: what a library takes for one has the same dates for the
 * agent. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_span in = { data, size };
    struct pag_certificate_life life;
    struct pag_x509_info info;
    enum pag_err mine = pag_certificate_life(in, &life);
    if (mine == PAG_OK && life.from_s >= life.until_s) {
        abort();
    }
    if (mine == PAG_OK && size > 0 && data[0] == 0x30 && pag_x509_info(in, &info) == PAG_OK &&
        (info.not_before != life.from_s || info.not_after != life.until_s)) {
        abort();
    }
    (void)pag_certificate_of_request(in, in);
    return 0;
}
