#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "sim/httpupdate.h"
#include "sim/options.h"
#include "sim/scripts.h"

static const struct pag_sim_sketch sketch = { .bytes = 204800,
                                              .md5 = { 0xd4, 0x1d, 0x8c, 0xd9 },
                                              .app_sha256 = { 0xab, 0xcd } };

static struct pag_sim_update_ask ask_of(uint16_t core, bool esp32)
{
    return (struct pag_sim_update_ask){ .host = "h",
                                        .port = 80,
                                        .path = "/u",
                                        .mac = "5ccf7f5e7f74",
                                        .running = &sketch,
                                        .version = "1.0.0",
                                        .free_space = 1000,
                                        .chip_bytes = 4194304,
                                        .core = core,
                                        .esp32 = esp32 };
}

static bool says(uint16_t core, bool esp32, const char *text)
{
    char bytes[1024];
    const struct pag_sim_update_ask ask = ask_of(core, esp32);
    struct pag_buf out = { (uint8_t *)bytes, 0, sizeof(bytes) - 1 };
    assert_int_equal(pag_sim_update_request(&out, &ask), PAG_OK);
    bytes[out.n] = '\0';
    return strstr(bytes, text) != NULL;
}

static void headers_appear_with_the_core_that_brought_them(void **state)
{
    (void)state;
    assert_false(says(203, false, "sketch-md5"));
    assert_true(says(204, false, "x-ESP8266-sketch-md5: d41d8cd9"));
    assert_false(says(205, false, "Chip-ID"));
    assert_true(says(206, false, "x-ESP8266-Chip-ID: 6193012\r\n"));
    assert_false(says(205, false, "Content-Length"));
    assert_true(says(206, false, "Content-Length: 0\r\n\r\n"));
    assert_true(says(203, false, "x-ESP8266-sdk-version: 1.5.3(aec24ac9)\r\n"));
    assert_true(
        says(203, false,
             "GET /u HTTP/1.0\r\nHost: h\r\nUser-Agent: ESP8266-http-Update\r\nConnection: close\r\n"));
}

static void an_esp32_says_its_own_headers(void **state)
{
    (void)state;
    assert_true(says(
        100, true, "User-Agent: ESP32-http-Update\r\nConnection: keep-alive\r\nCache-Control: no-cache\r\n"));
    assert_true(says(200, true, "Connection: close\r\n"));
    assert_false(says(100, true, "sketch-md5"));
    assert_true(says(200, true, "x-ESP32-sketch-md5: d41d8cd9"));
    assert_true(says(300, true, "x-ESP32-sketch-sha256: ABCD0000"));
    assert_false(says(300, true, "Chip-ID"));
}

static enum pag_sim_update verdict_of(uint16_t core, bool esp32, const char *head)
{
    struct pag_sim_update_head out;
    enum pag_sim_update verdict = PAG_SIM_UPDATE_GO;
    const struct pag_sim_update_ask ask = ask_of(core, esp32);
    assert_int_equal(pag_sim_update_head(pag_span_str(head), &ask, &out, &verdict), PAG_OK);
    return verdict;
}

static void old_cores_have_another_number_for_401_and_take_a_doubled_md5(void **state)
{
    (void)state;
    static const char denied[] = "HTTP/1.1 401 Unauthorized\r\n\r\n";
    static const char twice[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-MD5: d41d8cd98f00b204e9800998ecf8427e\r\n"
        "x-MD5: d41d8cd98f00b204e9800998ecf8427e\r\n\r\n";
    assert_int_equal(verdict_of(207, false, denied), PAG_SIM_UPDATE_WRONG_CODE);
    assert_int_equal(verdict_of(300, false, denied), PAG_SIM_UPDATE_UNAUTHORIZED);
    assert_int_equal(verdict_of(300, true, denied), PAG_SIM_UPDATE_WRONG_CODE);
    assert_int_equal(verdict_of(204, false, twice), PAG_SIM_UPDATE_GO);
    assert_int_equal(verdict_of(205, false, twice), PAG_SIM_UPDATE_FAULTY_MD5);
}

static void packed_images_are_for_core_2_7_and_newer_esp8266_only(void **state)
{
    (void)state;
    static const uint8_t packed[4] = { 0x1F, 0x8B, 8, 0 };
    struct pag_sim_update_ask ask = ask_of(206, false);
    assert_int_equal(pag_sim_update_peek(packed, &ask), PAG_SIM_UPDATE_BAD_HEADER);
    ask.core = 207;
    assert_int_equal(pag_sim_update_peek(packed, &ask), PAG_SIM_UPDATE_GO);
    ask = ask_of(300, true);
    assert_int_equal(pag_sim_update_peek(packed, &ask), PAG_SIM_UPDATE_BAD_HEADER);
}

static void an_md5_in_capitals_is_taken_from_core_2_5_on(void **state)
{
    (void)state;
    static const uint8_t body[4] = { 0xE9, 1, 2, 0x40 };
    struct pag_sim_update_head head = { .length = 4, .has_md5 = true };
    memcpy(head.md5, "B97CF0A1D0B6FDCB2A0A3DCA2DF4D9AF", sizeof(head.md5)); /* not its MD5 */
    struct pag_sim_update_ask ask = ask_of(205, false);
    assert_int_equal(pag_sim_update_end(pag_span_of(body, 4), &head, &ask, false), PAG_SIM_UPDATE_ERROR_MD5);
    assert_int_equal(pag_sim_update_end(pag_span_of(body, 4), &head, &ask, true), PAG_SIM_UPDATE_GO);
}

static void a_range_is_read_out_of_a_head(void **state)
{
    (void)state;
    struct pag_sim_head h;
    static const char text[] =
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-19/1000\r\nContent-Length: 10\r\n\r\n";
    assert_int_equal(pag_sim_head_read(pag_span_str(text), &h), PAG_OK);
    assert_true(h.has_range);
    assert_int_equal(h.first, 10);
    assert_int_equal(h.total, 1000);
    static const char unknown[] = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-19/*\r\n\r\n";
    assert_int_equal(pag_sim_head_read(pag_span_str(unknown), &h), PAG_OK);
    assert_false(h.has_range);
}

static void the_stand_in_of_tasmota_lies_beside_its_image(void **state)
{
    (void)state;
    static const struct {
        const char *url, *want;
    } cases[] = { { "/ota/tasmota-DE.bin.gz", "/ota/tasmota-minimal.bin.gz" },
                  { "/ota/tasmota.bin", "/ota/tasmota-minimal.bin" },
                  { "/my-ota/tasmota-a-b.bin", "/my-ota/tasmota-a-minimal.bin" },
                  { "/ota/tasmota", "/ota/tasmota-minimal" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[64];
        pag_sim_tasmota_minimal(cases[i].url, out, sizeof(out));
        assert_string_equal(out, cases[i].want);
    }
}

static void each_personality_is_found_by_its_name_and_has_a_script(void **state)
{
    (void)state;
    for (size_t i = 0; pag_sim_personality_at(i) != NULL; i++) {
        const struct pag_sim_personality *p = pag_sim_personality_at(i);
        assert_ptr_equal(pag_sim_personality_find(pag_span_str(p->name)), p);
        assert_int_equal(pag_sim_script_of(p->family) == NULL, p->family == PAG_SIM_F_NATIVE);
        assert_true(p->mfln == 0 || p->record_max >= p->mfln);
        assert_true(p->flash_ms[0] <= p->flash_ms[1]);
    }
    assert_null(pag_sim_personality_find(pag_span_str("nobody")));
}

static void a_fault_is_for_those_who_can_have_it(void **state)
{
    (void)state;
    const struct pag_sim_personality *native = pag_sim_personality_find(pag_span_str("native"));
    const struct pag_sim_personality *esp32 = pag_sim_personality_find(pag_span_str("esp32-3.0"));
    const struct pag_sim_personality *esphome = pag_sim_personality_find(pag_span_str("esphome"));
    assert_true(pag_sim_fault_fits(PAG_SIM_CRASH, native, false));
    assert_false(pag_sim_fault_fits(PAG_SIM_CRASH, esp32, false));
    assert_false(pag_sim_fault_fits(PAG_SIM_EBOOT_CUT, esp32, false));
    assert_true(pag_sim_fault_fits(PAG_SIM_CLOCK, esp32, false));
    assert_false(pag_sim_fault_fits(PAG_SIM_CLOCK, esp32, true));
    assert_false(pag_sim_fault_fits(PAG_SIM_CLOCK, esphome, false));
    assert_false(pag_sim_fault_fits(PAG_SIM_LINK_LOSS, native, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_appear_with_the_core_that_brought_them),
        cmocka_unit_test(an_esp32_says_its_own_headers),
        cmocka_unit_test(old_cores_have_another_number_for_401_and_take_a_doubled_md5),
        cmocka_unit_test(packed_images_are_for_core_2_7_and_newer_esp8266_only),
        cmocka_unit_test(an_md5_in_capitals_is_taken_from_core_2_5_on),
        cmocka_unit_test(a_range_is_read_out_of_a_head),
        cmocka_unit_test(the_stand_in_of_tasmota_lies_beside_its_image),
        cmocka_unit_test(each_personality_is_found_by_its_name_and_has_a_script),
        cmocka_unit_test(a_fault_is_for_those_who_can_have_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
