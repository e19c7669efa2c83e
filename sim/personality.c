#include "sim/personality.h"

#include "core/bytes.h"

enum { WHOLE = 16384, BROWSER_MS = 60000 };

/* Windows of flash writing, in ms. */
#define SLOW                                                                                                 \
    {                                                                                                        \
        500, 2000                                                                                            \
    }
#define QUICK                                                                                                \
    {                                                                                                        \
        100, 500                                                                                             \
    }
#define NO_FLASH                                                                                             \
    {                                                                                                        \
        0, 0                                                                                                 \
    }

/* Arduino core 2.5 and newer: BearSSL; older ones can only speak plain HTTP to a server of today. */
#define BEARSSL .one_tls = true, .readings = true, .flash_ms = SLOW
#define AXTLS   .plain_only = true, .record_max = WHOLE, .flash_ms = SLOW
#define MBEDTLS .esp32 = true, .readings = true, .record_max = WHOLE, .flash_ms = QUICK

static const struct pag_sim_personality rows[] = {
    { .name = "native", .client = "the agent of this project", .family = PAG_SIM_F_NATIVE, .readings = true },
    { "esp8266-2.3", "ESP8266httpUpdate 2.3.0", PAG_SIM_F_UPDATE, 203, AXTLS, .first_ms = 8000,
      .stall_ms = 16000 },
    { "esp8266-2.4", "ESP8266httpUpdate 2.4.2", PAG_SIM_F_UPDATE, 204, AXTLS, .first_ms = 8000,
      .stall_ms = 16000 },
    { "esp8266-2.5", "ESP8266httpUpdate 2.5.2", PAG_SIM_F_UPDATE, 205, BEARSSL, .record_max = WHOLE,
      .first_ms = 8000, .stall_ms = 16000 },
    { "esp8266-2.6", "ESP8266httpUpdate 2.6.3", PAG_SIM_F_UPDATE, 206, BEARSSL, .mfln = 1024,
      .record_max = 1024, .first_ms = 8000, .stall_ms = 16000 },
    { "esp8266-2.7", "ESP8266httpUpdate 2.7.4", PAG_SIM_F_UPDATE, 207, BEARSSL, .mfln = 512,
      .record_max = 512, .first_ms = 8000, .stall_ms = 16000 },
    { "esp8266-3.0", "ESP8266httpUpdate 3.0.2", PAG_SIM_F_UPDATE, 300, BEARSSL, .record_max = WHOLE,
      .first_ms = 8000, .stall_ms = 60000 },
    { "esp8266-3.1", "ESP8266httpUpdate 3.1.2", PAG_SIM_F_UPDATE, 301, BEARSSL, .mfln = 512,
      .record_max = 512, .first_ms = 8000, .stall_ms = 60000 },
    { "esp32-1.0", "ESP32 HTTPUpdate 1.0.6", PAG_SIM_F_UPDATE, 100, MBEDTLS, .first_ms = 8000,
      .stall_ms = 16000 },
    { "esp32-2.0", "ESP32 HTTPUpdate 2.0.17", PAG_SIM_F_UPDATE, 200, MBEDTLS, .first_ms = 8000,
      .stall_ms = 16000 },
    { "esp32-3.0", "ESP32 HTTPUpdate 3.0.7", PAG_SIM_F_UPDATE, 300, MBEDTLS, .first_ms = 8000,
      .stall_ms = 16000 },
    { "emonesp", "EmonESP 2020", PAG_SIM_F_TAG, 203, AXTLS, .first_ms = 8000, .stall_ms = 16000 },
    { "squix", "squix esp8266-ci-ota 2016", PAG_SIM_F_TAG, 203, AXTLS, .first_ms = 8000, .stall_ms = 16000 },
    { "esp-idf-4.4", "esp_https_ota 4.4", PAG_SIM_F_IDF, 404, MBEDTLS, .first_ms = 5000, .stall_ms = 5000 },
    { "esp-idf-5.3", "esp_https_ota 5.3, partial download", PAG_SIM_F_IDF, 503, MBEDTLS, .first_ms = 5000,
      .stall_ms = 5000 },
    { "esp-idf-5.5", "esp_https_ota 5.5, resumes, reads 304", PAG_SIM_F_IDF, 505, MBEDTLS, .first_ms = 5000,
      .stall_ms = 5000 },
    { "native_ota_example", "native_ota_example of ESP-IDF 5.3", PAG_SIM_F_IDF, 503, .any_status = true,
      MBEDTLS, .first_ms = 5000, .stall_ms = 5000 },
    { "secureesp8266-f", "secureESP8266 00.00.08.f", PAG_SIM_F_SECUREESP, 206, .early = true, BEARSSL,
      .record_max = WHOLE, .first_ms = 5000, .stall_ms = 5000 },
    { "secureesp8266-i", "secureESP8266 00.00.08.i", PAG_SIM_F_SECUREESP, 206, BEARSSL, .record_max = WHOLE,
      .first_ms = 5000, .stall_ms = 5000 },
    { "tasmota-8.1", "Tasmota ESP8266 8.1", PAG_SIM_F_TASMOTA, 207, AXTLS, .attempts = 10, .first_ms = 8000,
      .stall_ms = 16000 },
    { "tasmota", "Tasmota ESP8266 13.4", PAG_SIM_F_TASMOTA, 207, AXTLS, .attempts = 5, .first_ms = 8000,
      .stall_ms = 16000 },
    { "tasmota-1m", "Tasmota ESP8266 13.4, 1 MB of flash: goes over -minimal", PAG_SIM_F_TASMOTA, 207, AXTLS,
      .attempts = 5, .free_max = 40960, .first_ms = 8000, .stall_ms = 16000 },
    { "tasmota32", "Tasmota ESP32 13.4", PAG_SIM_F_TASMOTA, 200, MBEDTLS, .plain_only = true, .attempts = 5,
      .first_ms = 8000, .stall_ms = 16000 },
    { "esphome", "ESPHome http_request 2024.10", PAG_SIM_F_ESPHOME, 207, .one_tls = true, .blind = true,
      .mfln = 512, .record_max = 512, .flash_ms = SLOW, .first_ms = 4500, .stall_ms = 4500 },
    { "web-tools", "ESP Web Tools 10", PAG_SIM_F_WEBTOOLS, 0, .record_max = WHOLE, .flash_ms = NO_FLASH,
      .first_ms = BROWSER_MS, .stall_ms = BROWSER_MS },
    { "detached", "a sketch that checks an OpenSSL signature", PAG_SIM_F_DETACHED, 300, .one_tls = true,
      .record_max = WHOLE, .flash_ms = SLOW, .first_ms = 8000, .stall_ms = 60000 },
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

const struct pag_sim_personality *pag_sim_personality_at(size_t i)
{
    return i < ROWS ? &rows[i] : NULL;
}

const struct pag_sim_personality *pag_sim_personality_find(struct pag_span name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (pag_span_eq_str(name, rows[i].name)) {
            return &rows[i];
        }
    }
    return NULL;
}

void pag_sim_personality_list(FILE *to)
{
    for (size_t i = 0; i < ROWS; i++) {
        (void)fprintf(to, "%-18s %s%s\n", rows[i].name, rows[i].client,
                      rows[i].plain_only ? " (plain HTTP only)" : "");
    }
}
