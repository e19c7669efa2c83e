#include <pagurus/identity.h>

#include "rom.h"
#include "watts.h"

/*
 * Counts the pulses of an electricity meter on GPIO4 (D2), blinks the LED with each and prints power and
 * energy every ten seconds on the serial line, 74,880 baud as the ROM left it.
 */

/* NOLINTNEXTLINE(readability-identifier-naming): found by its content, not its name */
const struct pag_identity pag_identity __attribute__((used, aligned(4))) =
    PAG_IDENTITY(METER_PRODUCT, METER_VERSION, METER_HARDWARE);

/* NOLINTNEXTLINE(performance-no-int-to-ptr): registers of the part */
#define REG(address) (*(volatile uint32_t *)(address))

enum {
    GPIO_OUT_SET = 0x60000304,
    GPIO_OUT_CLEAR = 0x60000308,
    GPIO_ENABLE_SET = 0x60000310,
    GPIO_IN = 0x60000318,
    MUX_GPIO2 = 0x60000838,
    MUX_GPIO4 = 0x6000083C,
    WATCHDOG_FEED = 0x60000914,
    WATCHDOG_WORD = 0x73,
    MUX_PULL_UP = 1 << 7,
    LED = 1 << 2, /* low lights it */
    PULSE = 1 << 4,
    REPORT_MS = 10000,
    DEBOUNCE_MS = 20,
};

struct meter {
    uint32_t pulses;      /* since start: 1 = 1 Wh */
    uint32_t distance_ms; /* between the last two pulses; 0 before */
    uint32_t since_ms;    /* the last pulse */
    uint32_t level;
};

static void count_pulse(struct meter *m)
{
    if (m->since_ms < DEBOUNCE_MS) {
        return;
    }
    m->pulses++;
    m->distance_ms = m->since_ms;
    m->since_ms = 0;
    REG(GPIO_OUT_CLEAR) = LED;
}

static uint32_t power_w(const struct meter *m)
{
    /* While no pulse comes the power is at most what the waiting time says. */
    const uint32_t ms = m->since_ms > m->distance_ms ? m->since_ms : m->distance_ms;
    return m->distance_ms > 0 && ms < WATTS_N ? watts[ms] : 0;
}

static void tick_1ms(struct meter *m)
{
    const uint32_t level = REG(GPIO_IN) & PULSE;
    if (m->level != 0 && level == 0) {
        count_pulse(m);
    }
    m->level = level;
    if (m->since_ms < WATTS_N) {
        m->since_ms++;
    }
    if (m->since_ms == DEBOUNCE_MS) {
        REG(GPIO_OUT_SET) = LED;
    }
}

int main(void);

int main(void)
{
    struct meter m = { .level = PULSE };
    REG(MUX_GPIO2) = 0;
    REG(MUX_GPIO4) = MUX_PULL_UP;
    REG(GPIO_ENABLE_SET) = LED;
    ets_printf("\n%s %s on %s\n", pag_identity.product, pag_identity.version, pag_identity.hardware);
    for (uint32_t ms = 0;; ms++) {
        tick_1ms(&m);
        REG(WATCHDOG_FEED) = WATCHDOG_WORD;
        if (ms == REPORT_MS) {
            ms = 0;
            ets_printf("power %d W, energy %d Wh\n", power_w(&m), m.pulses);
        }
        ets_delay_us(1000);
    }
}
