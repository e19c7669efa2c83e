#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "sim/httpupdate.h"
#include "sim/options.h"

static const struct pag_sim_sketch sketch = { .bytes = 204800,
                                              .version = "1.0.0",
                                              .md5 = { 0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9,
                                                       0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e } };
static const struct pag_sim_update_ask ask = {
    .host = "localhost",
    .port = 8444,
    .path = "/update/meter?tag=1.0+abc",
    .mac = "5ccf7f5e7f74",
    .running = &sketch,
    .version = "1.0.0",
    .core = 300,
    .free_space = 2469888,
    .chip_bytes = 4194304,
};

static enum pag_sim_update verdict_of(const char *head)
{
    struct pag_sim_update_head out;
    enum pag_sim_update verdict = PAG_SIM_UPDATE_NO_SERVER;
    assert_int_equal(pag_sim_update_head(pag_span_str(head), &ask, &out, &verdict), PAG_OK);
    return verdict;
}

static void request_is_that_of_core_3_to_the_byte(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    struct pag_buf out = { bytes, 0, sizeof(bytes) };
    assert_int_equal(pag_sim_update_request(&out, &ask), PAG_OK);
    static const char want[] = "GET /update/meter?tag=1.0+abc HTTP/1.0\r\n"
                               "Host: localhost:8444\r\n"
                               "User-Agent: ESP8266-http-Update\r\n"
                               "Connection: close\r\n"
                               "x-ESP8266-Chip-ID: 6193012\r\n"
                               "x-ESP8266-STA-MAC: 5C:CF:7F:5E:7F:74\r\n"
                               "x-ESP8266-AP-MAC: 5E:CF:7F:5E:7F:74\r\n"
                               "x-ESP8266-free-space: 2469888\r\n"
                               "x-ESP8266-sketch-size: 204800\r\n"
                               "x-ESP8266-sketch-md5: d41d8cd98f00b204e9800998ecf8427e\r\n"
                               "x-ESP8266-chip-size: 4194304\r\n"
                               "x-ESP8266-sdk-version: 2.2.2-dev(38a443e)\r\n"
                               "x-ESP8266-mode: sketch\r\n"
                               "x-ESP8266-version: 1.0.0\r\n"
                               "Content-Length: 0\r\n\r\n";
    assert_int_equal(out.n, sizeof(want) - 1);
    assert_memory_equal(bytes, want, out.n);
}

static void request_that_does_not_fit_is_an_error(void **state)
{
    (void)state;
    uint8_t bytes[300];
    struct pag_buf out = { bytes, 0, sizeof(bytes) };
    assert_int_equal(pag_sim_update_request(&out, &ask), PAG_E_SPACE);
}

static void reply_with_size_and_md5_starts_the_update(void **state)
{
    (void)state;
    struct pag_sim_update_head head;
    enum pag_sim_update verdict = PAG_SIM_UPDATE_NO_SERVER;
    static const char text[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 16\r\nX-md5: d41d8cd98f00b204e9800998ecf8427e\r\n\r\n\xe9";
    assert_int_equal(pag_sim_update_head(pag_span_of(text, sizeof(text) - 1), &ask, &head, &verdict), PAG_OK);
    assert_int_equal(verdict, PAG_SIM_UPDATE_GO);
    assert_int_equal(head.bytes, sizeof(text) - 2);
    assert_int_equal(head.length, 16);
    assert_true(head.has_md5);
    assert_memory_equal(head.md5, "d41d8cd98f00b204e9800998ecf8427e", 32);
}

static void half_a_head_waits_for_more(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 304 Not Modified\r\nDate: x\r\n\r\n";
    struct pag_sim_update_head head;
    enum pag_sim_update verdict = PAG_SIM_UPDATE_GO;
    for (size_t n = 0; n < sizeof(text) - 1; n++) {
        assert_int_equal(pag_sim_update_head(pag_span_of(text, n), &ask, &head, &verdict), PAG_E_SHORT);
    }
    assert_int_equal(verdict_of(text), PAG_SIM_UPDATE_NONE);
}

static void every_other_answer_gives_the_error_of_the_library(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        enum pag_sim_update want;
    } cases[] = {
        { "SSH-2.0\r\n\r\n", PAG_SIM_UPDATE_NO_SERVER },
        { "HTTP/1.1 200 OK\r\n\r\n", PAG_SIM_UPDATE_NO_SIZE },
        { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PAG_SIM_UPDATE_NO_SIZE },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n",
          PAG_SIM_UPDATE_NO_SIZE },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 9\r\n\r\n",
          PAG_SIM_UPDATE_ENCODING },
        { "HTTP/1.1 200 OK\r\nContent-Length: 2469889\r\n\r\n", PAG_SIM_UPDATE_SPACE },
        { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-MD5: abc\r\n\r\n", PAG_SIM_UPDATE_FAULTY_MD5 },
        { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nx-MD5: d41d8cd98f00b204e9800998ecf8427e\r\n"
          "x-MD5: d41d8cd98f00b204e9800998ecf8427e\r\n\r\n",
          PAG_SIM_UPDATE_FAULTY_MD5 },
        { "HTTP/1.1 401 Unauthorized\r\n\r\n", PAG_SIM_UPDATE_UNAUTHORIZED },
        { "HTTP/1.1 403 Forbidden\r\n\r\n", PAG_SIM_UPDATE_FORBIDDEN },
        { "HTTP/1.1 404 Not Found\r\n\r\n", PAG_SIM_UPDATE_NOT_FOUND },
        { "HTTP/1.1 204 No Content\r\n\r\n", PAG_SIM_UPDATE_WRONG_CODE },
        { "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", PAG_SIM_UPDATE_WRONG_CODE },
        { "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\n\r\n", PAG_SIM_UPDATE_WRONG_CODE },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(verdict_of(cases[i].head), cases[i].want);
    }
}

static void image_is_refused_by_first_byte_flash_size_and_md5(void **state)
{
    (void)state;
    const uint8_t good[4] = { 0xE9, 1, 2, 0x40 }, small_flash[4] = { 0xE9, 1, 2, 0x90 },
                  html[4] = { '<', 'h', 't', 'm' };
    assert_int_equal(pag_sim_update_peek(good, &ask), PAG_SIM_UPDATE_GO);
    assert_int_equal(pag_sim_update_peek(small_flash, &ask), PAG_SIM_UPDATE_FLASH_SIZE);
    assert_int_equal(pag_sim_update_peek(html, &ask), PAG_SIM_UPDATE_BAD_HEADER);
    struct pag_sim_update_head head = { .length = 4, .has_md5 = true };
    assert_int_equal(pag_sim_update_end(pag_span_of(good, 4), &head, &ask, false), PAG_SIM_UPDATE_ERROR_MD5);
    head.has_md5 = false;
    assert_int_equal(pag_sim_update_end(pag_span_of(good, 4), &head, &ask, false), PAG_SIM_UPDATE_GO);
    assert_int_equal(pag_sim_update_end(pag_span_of(html, 4), &head, &ask, false),
                     PAG_SIM_UPDATE_ERROR_MAGIC);
}

static void faults_are_numbers_or_shares_of_the_fleet(void **state)
{
    (void)state;
    uint32_t fault[PAG_SIM_FAULT_COUNT] = { 0 };
    assert_int_equal(pag_sim_faults_parse("power-cut=2,crash=10%,corrupt=1%", 50, 5, fault), PAG_OK);
    assert_int_equal(fault[PAG_SIM_POWER_CUT], 2);
    assert_int_equal(fault[PAG_SIM_CRASH], 5);
    assert_int_equal(fault[PAG_SIM_CORRUPT], 1);
    uint32_t count[PAG_SIM_FAULT_COUNT] = { 0 };
    for (uint32_t i = 0; i < 50; i++) {
        count[pag_sim_fault_of(fault, i)]++;
    }
    assert_int_equal(count[PAG_SIM_CRASH], 5);
    assert_int_equal(count[PAG_SIM_FAULT_NONE], 42);
    assert_int_equal(pag_sim_faults_parse("power-cut", 50, 5, fault), PAG_E_SYNTAX);
    assert_int_equal(pag_sim_faults_parse("power-cut=x", 50, 5, fault), PAG_E_SYNTAX);
    assert_int_equal(pag_sim_faults_parse("earthquake=1", 50, 5, fault), PAG_E_NOT_FOUND);
    assert_int_equal(pag_sim_faults_parse("foreign=60", 50, 5, fault), PAG_E_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_that_of_core_3_to_the_byte),
        cmocka_unit_test(request_that_does_not_fit_is_an_error),
        cmocka_unit_test(reply_with_size_and_md5_starts_the_update),
        cmocka_unit_test(half_a_head_waits_for_more),
        cmocka_unit_test(every_other_answer_gives_the_error_of_the_library),
        cmocka_unit_test(image_is_refused_by_first_byte_flash_size_and_md5),
        cmocka_unit_test(faults_are_numbers_or_shares_of_the_fleet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
