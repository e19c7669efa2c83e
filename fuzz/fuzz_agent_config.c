/* A device's configuration text. What is accepted passes the check that the agent makes at start. */
#include <stdint.h>
#include <stdlib.h>

#include "agent/config.h"
#include "core/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_settings s;
    struct pag_fail why = { 0 };
    pag_settings_default(&s);
    enum pag_err err = pag_settings_parse(pag_span_of(data, size), &s, &why);
    if (err == PAG_OK && pag_settings_check(&s, NULL) != PAG_OK) {
        abort();
    }
    if (err != PAG_OK && (err != PAG_E_CONFIG || why.what == NULL)) {
        abort();
    }
    if (s.ca.n > 0 && (s.ca.p < data || s.ca.p + s.ca.n > data + size)) {
        abort();
    }
    return 0;
}
