/* Three texts apart by NUL: the order within a scheme is total (antisymmetric, transitive, reflexive). */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/bytes.h"
#include "core/version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int compare(struct pag_span a, struct pag_span b, int *ab)
{
    int ba = 0;
    enum pag_err err = pag_version_compare(a, b, ab);
    if (pag_version_compare(b, a, &ba) != err || (err == PAG_OK && *ab != -ba)) {
        abort();
    }
    return err == PAG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct pag_span in = pag_span_of(data, n);
    size_t first = pag_span_find(in, 0, 0);
    size_t second = first < n ? pag_span_find(in, first + 1, 0) : n;
    if (second == n) {
        return 0;
    }
    struct pag_span a = pag_span_of(data, first);
    struct pag_span b = pag_span_of(data + first + 1, second - first - 1);
    struct pag_span c = pag_span_of(data + second + 1, n - second - 1);
    int ab = 0;
    int bc = 0;
    int ac = 0;
    if (!compare(a, a, &ab) || ab != 0) {
        abort();
    }
    if (compare(a, b, &ab) && compare(b, c, &bc)) {
        if (!compare(a, c, &ac)) {
            abort();
        }
        if ((ab <= 0 && bc <= 0 && ac > 0) || (ab >= 0 && bc >= 0 && ac < 0) ||
            (ab == 0 && bc == 0 && ac != 0)) {
            abort();
        }
    }
    (void)pag_version_ok(a);
    return 0;
}
