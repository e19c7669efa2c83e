#include "rom.h"

/*
 * Second stage, in the place of the Arduino core's eboot (first 4 KiB of the flash): loads the application
 * image at 0x1000 into RAM and returns its entry address. Segments in the flash window are left where they
 * are.
 */

enum { APP_AT = 0x1000, SEGMENTS_MAX = 16 };

static int is_ram(uint32_t address)
{
    return address < 0x40000000 || (address >= 0x40100000 && address < 0x4010C000);
}

/* Hands the part back to the ROM by its watchdog; without a valid application there is nothing to run. */
static void stay(void)
{
    for (;;) {
    }
}

uint32_t boot_load(void);

uint32_t boot_load(void)
{
    uint32_t head[2];
    uint32_t at = APP_AT;
    if (SPIRead(at, head, sizeof(head)) != 0 || (head[0] & 0xFF) != 0xE9) {
        stay();
    }
    const uint32_t entry = head[1];
    uint32_t left = (head[0] >> 8) & 0xFF;
    at += sizeof(head);
    for (; left > 0 && left <= SEGMENTS_MAX; left--) {
        uint32_t segment[2]; /* load address, bytes */
        if (SPIRead(at, segment, sizeof(segment)) != 0) {
            stay();
        }
        at += sizeof(segment);
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): an address of the part */
        if (is_ram(segment[0]) && SPIRead(at, (uint32_t *)segment[0], segment[1]) != 0) {
            stay();
        }
        at += segment[1];
    }
    return entry;
}
