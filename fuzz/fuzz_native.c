/* First byte picks the message; what is read can be written, and reads back the same length. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/native.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define TRY(index_, name_)                                                                                   \
    case index_: {                                                                                           \
        struct pag_native_##name_ m;                                                                         \
        if (pag_native_##name_##_get(in, &m) == PAG_OK) {                                                    \
            if (pag_native_##name_##_put(&out, &m) != PAG_OK || out.n > in.n ||                              \
                pag_native_##name_##_get(pag_buf_span(&out), &m) != PAG_OK) {                                \
                abort();                                                                                     \
            }                                                                                                \
        }                                                                                                    \
        break;                                                                                               \
    }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static uint8_t room[PAG_NATIVE_MAX];
    struct pag_buf out = { .p = room, .n = 0, .cap = sizeof room };
    if (n == 0) {
        return 0;
    }
    struct pag_span in = pag_span_of(data + 1, n - 1);
    switch (data[0] % 7) {
        TRY(0, check)
        TRY(1, command)
        TRY(2, result)
        TRY(3, offer)
        TRY(4, report)
        TRY(5, enroll)
        TRY(6, enrolled)
    default:
        break;
    }
    return 0;
}
