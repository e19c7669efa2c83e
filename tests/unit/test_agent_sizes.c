/* What a device spends on RAM: printed here, documented for 32 bits in docs/porting/README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/boot.h"
#include "agent/inner.h"
#include "core/manifest.h"

struct row {
    const char *name;
    size_t bytes;
};

static void the_sizes_are_printed_and_what_is_promised_is_not_padded(void **state)
{
    static const struct row inside[] = {
        { "struct pag_mqttc", sizeof(struct pag_mqttc) },
        { "struct pag_in_target", sizeof(struct pag_in_target) },
        { "struct pag_httpc", sizeof(struct pag_httpc) },
        { "struct pag_journal", sizeof(struct pag_journal) },
        { "struct pag_in_result", sizeof(struct pag_in_result) },
        { "struct pag_in_order", sizeof(struct pag_in_order) },
        { "struct pag_slot", sizeof(struct pag_slot) },
    };
    static const struct row beside[] = {
        { "struct pag_settings", sizeof(struct pag_settings) },
        { "struct pag_port", sizeof(struct pag_port) },
        { "struct pag_trust_set", sizeof(struct pag_trust_set) },
        { "struct pag_manifest", sizeof(struct pag_manifest) },
        { "PAG_BOOT_WORK_BYTES", PAG_BOOT_WORK_BYTES },
        { "PAG_AGENT_SCRATCH_BYTES", PAG_AGENT_SCRATCH_BYTES },
    };
    size_t sum = 0;
    (void)state;
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        (void)printf("in struct pag_agent: %-24s %5zu\n", inside[i].name, inside[i].bytes);
        sum += inside[i].bytes;
    }
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        (void)printf("beside it:           %-24s %5zu\n", beside[i].name, beside[i].bytes);
    }
    (void)printf("struct pag_agent %zu, used %zu\n", sizeof(struct pag_agent), sizeof(struct pag_inner));
    assert_true(sum < sizeof(struct pag_inner));
    assert_true(sizeof(struct pag_agent) - sizeof(struct pag_inner) < 32);
    /* 32 bits are smaller than 64: the figures of the document hold here with room for pointers */
    assert_true(sizeof(struct pag_agent) <= 3760 + (sizeof(void *) - 4) * 30);
    assert_true(PAG_AGENT_SCRATCH_BYTES <= 4864);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sizes_are_printed_and_what_is_promised_is_not_padded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
