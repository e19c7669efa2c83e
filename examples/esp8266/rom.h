#ifndef PAG_EXAMPLES_ESP8266_ROM_H
#define PAG_EXAMPLES_ESP8266_ROM_H

#include <stdint.h>

/* Functions of the ESP8266's mask ROM (call0 ABI); the linker scripts hold their addresses. */

/* Reads n bytes of flash at addr. addr, dst and n are multiples of 4. 0: done. */
int SPIRead(uint32_t addr, uint32_t *dst, uint32_t n);
/* Shows MiB 2*pair+odd of the flash at 0x40200000; cache32k 0: 16 KiB of cache. */
void Cache_Read_Enable(uint32_t odd, uint32_t pair, uint32_t cache32k);
void Cache_Read_Disable(void);
void ets_delay_us(uint32_t us);
int ets_printf(const char *format, ...);

#endif
