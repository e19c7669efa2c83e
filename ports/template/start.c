/*
 * The smallest program of a board, to see what a device links (make device): with PAG_START_LOADER the boot
 * loader's decision, else the agent with nothing around it. The four functions below come from the C library
 * or the chip's ROM on a real board.
 */
#include <pagurus/agent.h>

#include "agent/boot.h"
#include "core/mem.h"
#include "ports/template/template_port.h"

void start(void); /* NOLINT(readability-identifier-naming): the linker's word for it */

void *memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    uint8_t *out = dst;
    const uint8_t *in = src;
    while (n-- > 0) {
        *out++ = *in++;
    }
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    uint8_t *out = dst;
    const uint8_t *in = src;
    if ((uintptr_t)out <= (uintptr_t)in) {
        while (n-- > 0) {
            *out++ = *in++;
        }
        return dst;
    }
    while (n-- > 0) {
        out[n] = in[n];
    }
    return dst;
}

void *memset(void *dst, int c, size_t n)
{
    uint8_t *out = dst;
    while (n-- > 0) {
        *out++ = (uint8_t)c;
    }
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *p = a;
    const uint8_t *q = b;
    for (; n > 0; n--, p++, q++) {
        if (*p != *q) {
            return *p < *q ? -1 : 1;
        }
    }
    return 0;
}

#ifdef PAG_START_LOADER
void start(void)
{
    static struct pag_template board;
    static struct pag_port port;
    static uint8_t work[PAG_BOOT_WORK_BYTES] __attribute__((aligned(8)));
    struct pag_boot boot;
    pag_template_port(&port, &board);
    while (pag_boot_decide(&port, (struct pag_buf){ work, 0, sizeof work }, &boot) != PAG_OK) {
    }
}
#else
void start(void)
{
    static struct pag_template board;
    static struct pag_port port;
    static struct pag_settings settings;
    static struct pag_agent agent;
    static uint8_t scratch[PAG_AGENT_SCRATCH_BYTES] __attribute__((aligned(8)));
    pag_template_port(&port, &board);
    pag_settings_default(&settings);
    if (pag_agent_init(&agent, &port, &settings, (struct pag_buf){ scratch, 0, sizeof scratch }) != PAG_OK) {
        return;
    }
    for (;;) {
        (void)pag_agent_step(&agent);
    }
}
#endif
