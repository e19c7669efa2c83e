#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/relay_job.h"
#include "core/bytes.h"
#include "relay/session.h"
#include "relay/source.h"

/* ---- multicast DNS ---- */

/* One answer: PTR, SRV, TXT and A of "Lamp"._esphomelib._tcp, with compression. */
static const uint8_t answer[] = {
    0,
    7,
    0x84,
    0,
    0,
    0,
    0,
    4,
    0,
    0,
    0,
    0,
    /* 12: _esphomelib._tcp.local PTR */
    11,
    '_',
    'e',
    's',
    'p',
    'h',
    'o',
    'm',
    'e',
    'l',
    'i',
    'b',
    4,
    '_',
    't',
    'c',
    'p',
    5,
    'l',
    'o',
    'c',
    'a',
    'l',
    0,
    0,
    12,
    0,
    1,
    0,
    0,
    0,
    120,
    0,
    7,
    /* 46: Lamp.<12> */
    4,
    'L',
    'a',
    'm',
    'p',
    0xC0,
    12,
    /* SRV */
    0xC0,
    46,
    0,
    33,
    0x80,
    1,
    0,
    0,
    0,
    120,
    0,
    11,
    0,
    0,
    0,
    0,
    0x17,
    0xA5,
    /* 71: */ 2,
    'l',
    '1',
    0xC0,
    29,
    /* TXT */
    0xC0,
    46,
    0,
    16,
    0x80,
    1,
    0,
    0,
    0,
    120,
    0,
    51,
    20,
    'p',
    'r',
    'o',
    'j',
    'e',
    'c',
    't',
    '_',
    'v',
    'e',
    'r',
    's',
    'i',
    'o',
    'n',
    '=',
    '1',
    '.',
    '2',
    '.',
    16,
    'm',
    'a',
    'c',
    '=',
    '8',
    '4',
    'f',
    '3',
    'e',
    'b',
    '0',
    '0',
    '0',
    '0',
    'b',
    '7',
    12,
    'p',
    'l',
    'a',
    't',
    'f',
    'o',
    'r',
    'm',
    '=',
    'E',
    'S',
    'P',
    /* A of l1.local */
    0xC0,
    71,
    0,
    1,
    0x80,
    1,
    0,
    0,
    0,
    120,
    0,
    4,
    10,
    0,
    0,
    5,
};

static struct pag_mdns_list *list_of(struct pag_span packet, enum pag_err *err)
{
    struct pag_mdns_list *list = pag_mdns_list_new();
    assert_non_null(list);
    *err = pag_mdns_read(list, packet, "10.9.9.9");
    pag_mdns_list_make(list);
    return list;
}

static void an_announcement_names_device_address_and_port(void **state)
{
    (void)state;
    enum pag_err err = PAG_OK;
    struct pag_mdns_list *list = list_of(pag_span_of(answer, sizeof answer), &err);
    assert_int_equal(err, PAG_OK);
    assert_int_equal(list->n, 1);
    const struct pag_mdns_found *f = &list->item[0];
    assert_int_equal(f->protocol, PAG_PUSH_ESPHOME);
    assert_string_equal(f->name, "Lamp");
    assert_string_equal(f->host, "l1");
    assert_string_equal(f->address, "10.0.0.5");
    assert_string_equal(f->mac, "84f3eb0000b7");
    assert_true(pag_mdns_is(f, "L1.local") && pag_mdns_is(f, "lamp") && pag_mdns_is(f, "10.0.0.5"));
    assert_false(pag_mdns_is(f, "l2"));
    pag_mdns_list_free(list);
}

static void every_shorter_announcement_is_refused_or_incomplete(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof answer; n++) {
        enum pag_err err = PAG_OK;
        struct pag_mdns_list *list = list_of(pag_span_of(answer, n), &err);
        assert_int_not_equal(err, PAG_OK);
        pag_mdns_list_free(list);
    }
}

static void names_that_point_forwards_or_at_themselves_end(void **state)
{
    (void)state;
    uint8_t packet[64] = { 0,  7, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0,    0xC0,
                           12, 0, 12,   0, 1, 0, 0, 0, 0, 0, 2, 0xC0, 12 };
    for (unsigned to = 0; to < 64; to++) {
        enum pag_err err = PAG_OK;
        packet[13] = (uint8_t)to;
        struct pag_mdns_list *list = list_of(pag_span_of(packet, sizeof packet), &err);
        assert_int_equal(list->n, 0);
        if (to >= 12) {
            assert_int_equal(err, PAG_E_SYNTAX);
        }
        pag_mdns_list_free(list);
    }
}

static void a_good_bye_takes_a_device_off_the_list(void **state)
{
    (void)state;
    uint8_t bye[53];
    struct pag_mdns_list *list = pag_mdns_list_new();
    memcpy(bye, answer, sizeof bye);
    bye[7] = 1;             /* one record */
    memset(bye + 40, 0, 4); /* that lives no longer */
    assert_int_equal(pag_mdns_read(list, pag_span_of(answer, sizeof answer), "10.9.9.9"), PAG_OK);
    assert_int_equal(pag_mdns_read(list, pag_span_of(bye, sizeof bye), "10.9.9.9"), PAG_OK);
    pag_mdns_list_make(list);
    assert_int_equal(list->n, 0);
    pag_mdns_list_free(list);
}

static void what_is_missing_is_asked_for(void **state)
{
    (void)state;
    uint8_t room[512];
    uint8_t half[53];
    struct pag_buf first = { room, 0, sizeof room };
    struct pag_mdns_list *list = pag_mdns_list_new();
    assert_int_equal(pag_mdns_ask(list, 1, &first), PAG_OK);
    size_t without = first.n;
    memcpy(half, answer, sizeof half);
    half[7] = 1;
    assert_int_equal(pag_mdns_read(list, pag_span_of(half, sizeof half), "10.9.9.9"), PAG_OK);
    assert_int_equal(pag_mdns_ask(list, 1, &first), PAG_OK);
    assert_true(first.n > without);
    assert_int_equal(room[5], 5);
    pag_mdns_list_free(list);
}

/* ---- ids and patterns ---- */

static void ids_are_the_mac_or_a_clean_name(void **state)
{
    (void)state;
    static const struct {
        const char *mac, *host, *name, *id;
    } rows[] = {
        { "84f3eb0000b7", "lamp", "Lamp", "84f3eb0000b7" },
        { "", "ESP8266-A1B2", "x", "esp8266-a1b2" },
        { "", "",
          "K\xc3\xbc"
          "che  (oben)",
          "k-che-oben" },
        { "", "", "---", "" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pag_mdns_found f = { .port = 0 };
        char id[PAG_DEVICE_ID_MAX + 1];
        (void)snprintf(f.mac, sizeof f.mac, "%s", rows[i].mac);
        (void)snprintf(f.host, sizeof f.host, "%s", rows[i].host);
        (void)snprintf(f.name, sizeof f.name, "%s", rows[i].name);
        pag_relay_id(&f, id);
        assert_string_equal(id, rows[i].id);
    }
}

static void patterns_match_the_whole_name(void **state)
{
    (void)state;
    assert_true(pag_relay_matches("esp-*", "ESP-cellar"));
    assert_true(pag_relay_matches("*", ""));
    assert_true(pag_relay_matches("a*b*c", "aXXbYYbc"));
    assert_true(pag_relay_matches("lamp?", "lamp1"));
    assert_false(pag_relay_matches("lamp?", "lamp"));
    assert_false(pag_relay_matches("lamp", "lamp1"));
    assert_false(pag_relay_matches("a*b", "aXXc"));
}

/* ---- ArduinoOTA ---- */

static struct pag_espota_answer read_answer(const char *text)
{
    struct pag_espota_answer a;
    pag_espota_answer_read(pag_span_str(text), &a);
    return a;
}

#define HEX32   "00000000000000000000000000000001"
#define HEX64   HEX32_0 HEX32
#define HEX32_0 "00000000000000000000000000000000"

static void the_length_of_a_nonce_tells_the_form(void **state)
{
    (void)state;
    assert_int_equal(read_answer("OK").kind, PAG_ESPOTA_OK);
    assert_int_equal(read_answer("OK\n").kind, PAG_ESPOTA_OK);
    assert_int_equal(read_answer("AUTH " HEX32).kind, PAG_ESPOTA_MD5);
    assert_int_equal(read_answer("AUTH " HEX64).kind, PAG_ESPOTA_SHA256);
    assert_int_equal(read_answer("Authentication Failed").kind, PAG_ESPOTA_DENIED);
    assert_int_equal(read_answer("ERR: ERROR[4]: Not Enough Space\n").kind, PAG_ESPOTA_ERROR);
    assert_int_equal(read_answer("ERR: ERROR[4]: Not Enough Space\n").code, 4);
    for (size_t n = 0; n < 70; n++) {
        char text[80] = "AUTH ";
        memset(text + 5, 'a', n);
        enum pag_espota_kind want = n == 32   ? PAG_ESPOTA_MD5
                                    : n == 64 ? PAG_ESPOTA_SHA256
                                              : PAG_ESPOTA_STRANGE;
        /* without digits it is still no good-bye and no OK */
        enum pag_espota_kind got = read_answer(text).kind;
        assert_true(got == want || (n != 32 && n != 64 && got != PAG_ESPOTA_OK));
    }
    assert_int_equal(read_answer("AUTH zz000000000000000000000000000001").kind, PAG_ESPOTA_STRANGE);
}

/* Counted with Python's hashlib. */
static void responses_are_those_of_the_cores(void **state)
{
    (void)state;
    char out[PAG_HEX_MAX];
    char cnonce[PAG_HEX_MAX] = "";
    struct pag_espota_answer md5 = read_answer("AUTH " HEX32);
    struct pag_espota_answer sha = read_answer("AUTH " HEX64);
    memset(cnonce, 'a', 64);
    assert_int_equal(pag_espota_response(&sha, "blue sky", false, cnonce, out), PAG_OK);
    assert_string_equal(out, "b015f51f538c764a2aa30364e60556f4dfde3f2225b93dd4151e10d55e8a2a59");
    assert_int_equal(pag_espota_response(&sha, "blue sky", true, cnonce, out), PAG_OK);
    assert_string_equal(out, "e157304c8d10cdb8e63a063d552f8d49506166cdaeecaeb018e688305fbad74f");
    cnonce[32] = '\0';
    assert_int_equal(pag_espota_response(&md5, "blue sky", false, cnonce, out), PAG_OK);
    assert_string_equal(out, "4f134b8bf0b261dc58b13ef9455a6ce7");
}

/* ---- sessions over a pair of sockets: all that the device will say is there before ---- */

typedef enum pag_err (*session_fn)(int fd, const struct pag_push_order *o, struct pag_push_result *r);

static enum pag_err session(session_fn run, enum pag_push_protocol protocol, struct pag_span says,
                            struct pag_push_result *r)
{
    static const uint8_t image[3000] = { 0xE9 };
    int pair[2];
    const struct pag_push_order o = {
        .protocol = protocol, .host = "x", .image = { image, sizeof image }, .silence_ms = 200
    };
    memset(r, 0, sizeof *r);
    r->code = -1;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    if (says.n > 0) {
        assert_int_equal(send(pair[1], says.p, says.n, 0), (ssize_t)says.n);
    }
    (void)shutdown(pair[1], SHUT_WR);
    enum pag_err err = run(pair[0], &o, r);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return err;
}

static void an_esphome_session_cut_at_every_byte_is_no_success(void **state)
{
    (void)state;
    static const uint8_t good[] = { 0, 2, 0x40, 0x41, 0x42, 0x43, 0x47, 0x44, 0x45 };
    struct pag_push_result r;
    for (size_t n = 0; n < sizeof good; n++) {
        assert_int_equal(session(pag_esphome_session, PAG_PUSH_ESPHOME, pag_span_of(good, n), &r),
                         PAG_E_CLOSED);
        assert_non_null(strstr(r.text, "lost"));
    }
    assert_int_equal(session(pag_esphome_session, PAG_PUSH_ESPHOME, pag_span_of(good, sizeof good), &r),
                     PAG_OK);
    assert_int_equal(r.phase, PAG_PUSH_TAKEN);
}

static void every_other_byte_in_an_esphome_session_ends_it_with_a_sentence(void **state)
{
    (void)state;
    static const uint8_t good[] = { 0, 2, 0x40, 0x41, 0x42, 0x43, 0x47, 0x44, 0x45 };
    for (size_t at = 0; at < sizeof good; at++) {
        for (unsigned v = 0; v < 256; v += 5) {
            uint8_t says[sizeof good];
            struct pag_push_result r;
            memcpy(says, good, sizeof good);
            says[at] = (uint8_t)v;
            enum pag_err err =
                session(pag_esphome_session, PAG_PUSH_ESPHOME, pag_span_of(says, sizeof says), &r);
            bool same = v == good[at] || (at == 2 && v == 0x46); /* 0x46: the same, packed */
            assert_true(same ? err == PAG_OK : err != PAG_OK && r.text[0] != '\0');
        }
    }
}

static void an_espota_result_is_read_out_of_the_counts(void **state)
{
    (void)state;
    struct pag_push_result r;
    /* all in one piece: the counts of the first chunk would be the answer to all */
    assert_int_not_equal(session(pag_espota_session, PAG_PUSH_ESPOTA, pag_span_str("1460"), &r), PAG_OK);
    assert_int_not_equal(
        session(pag_espota_session, PAG_PUSH_ESPOTA, pag_span_str("ERROR[7]: MD5 Failed\n"), &r), PAG_OK);
    assert_int_equal(r.err, PAG_E_DIGEST);
    assert_int_equal(r.code, 7);
    assert_int_not_equal(session(pag_espota_session, PAG_PUSH_ESPOTA, pag_span_str("OK"), &r), PAG_OK);
}

/* ---- pages ---- */

static void a_page_says_which_form_it_has(void **state)
{
    (void)state;
    assert_int_equal(pag_web_form_of(pag_span_str("<input type='file' name='firmware'> ")), PAG_WEB_NEW);
    assert_int_equal(pag_web_form_of(pag_span_str("<input type='file' name=\"firmware\"> ")), PAG_WEB_NEW);
    assert_int_equal(pag_web_form_of(pag_span_str("<input type='file' name='update'>")), PAG_WEB_OLD);
    assert_int_equal(pag_web_form_of(pag_span_str("name=")), PAG_WEB_OLD);
    assert_int_equal(pag_web_form_of(pag_span_of(NULL, 0)), PAG_WEB_OLD);
}

static void status_200_alone_is_no_success(void **state)
{
    (void)state;
    const struct pag_push_order web = { .protocol = PAG_PUSH_WEB, .host = "x" };
    struct pag_push_result r = { .code = -1 };
    assert_int_equal(pag_web_judge(&web, 200, pag_span_str("<b>Update Success! Rebooting..."), &r), PAG_OK);
    assert_int_equal(pag_web_judge(&web, 200, pag_span_str("Update error: ERROR[4]: x"), &r), PAG_E_SPACE);
    assert_int_equal(pag_web_judge(&web, 200, pag_span_str("<html>Update Failed!"), &r), PAG_E_IO);
    assert_int_equal(pag_web_judge(&web, 200, pag_span_str("hello"), &r), PAG_E_SYNTAX);
    assert_int_equal(pag_web_judge(&web, 401, pag_span_str(""), &r), PAG_E_UNAUTHENTICATED);
}

static void wled_info_is_read_and_nonsense_refused(void **state)
{
    (void)state;
    struct pag_push_info info;
    char deep[200];
    const char *good = "{\"ver\":\"0.15.0\",\"vid\":2412100,\"arch\":\"ESP32-C3\",\"mac\":\"84F3EB0000A1\","
                       "\"name\":\"S\\u001b\"}";
    assert_int_equal(pag_wled_info_read(pag_span_str(good), &info), PAG_OK);
    assert_string_equal(info.version, "0.15.0");
    assert_string_equal(info.mac, "84f3eb0000a1");
    assert_string_equal(info.name, "S");
    assert_int_equal(info.chip, PAG_CHIP_ESP32_C3);
    memset(deep, '[', sizeof deep);
    assert_int_equal(pag_wled_info_read(pag_span_of(deep, sizeof deep), &info), PAG_E_SYNTAX);
    for (size_t n = 0; n < strlen(good); n++) {
        assert_int_equal(pag_wled_info_read(pag_span_of(good, n), &info), PAG_E_SYNTAX);
    }
}

/* ---- what an outcome means ---- */

static void what_a_device_says_afterwards_decides(void **state)
{
    (void)state;
    char text[PAG_PUSH_TEXT];
    assert_int_equal(pag_job_judge("2.0", "1.0", "2.0", text, sizeof text), PAG_JOB_CONFIRMED);
    assert_int_equal(pag_job_judge("2.0", "1.0", "1.0", text, sizeof text), PAG_JOB_REVERTED);
    assert_int_equal(pag_job_judge("2.0", "", "2025.10.1", text, sizeof text), PAG_JOB_CONFIRMED);
    assert_non_null(strstr(text, "no release"));
    assert_int_equal(pag_job_judge("2.0", "1.0", "", text, sizeof text), PAG_JOB_CONFIRMED);
    assert_non_null(strstr(text, "says no version"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_announcement_names_device_address_and_port),
        cmocka_unit_test(every_shorter_announcement_is_refused_or_incomplete),
        cmocka_unit_test(names_that_point_forwards_or_at_themselves_end),
        cmocka_unit_test(a_good_bye_takes_a_device_off_the_list),
        cmocka_unit_test(what_is_missing_is_asked_for),
        cmocka_unit_test(ids_are_the_mac_or_a_clean_name),
        cmocka_unit_test(patterns_match_the_whole_name),
        cmocka_unit_test(the_length_of_a_nonce_tells_the_form),
        cmocka_unit_test(responses_are_those_of_the_cores),
        cmocka_unit_test(an_esphome_session_cut_at_every_byte_is_no_success),
        cmocka_unit_test(every_other_byte_in_an_esphome_session_ends_it_with_a_sentence),
        cmocka_unit_test(an_espota_result_is_read_out_of_the_counts),
        cmocka_unit_test(a_page_says_which_form_it_has),
        cmocka_unit_test(status_200_alone_is_no_success),
        cmocka_unit_test(wled_info_is_read_and_nonsense_refused),
        cmocka_unit_test(what_a_device_says_afterwards_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
