/* The rules for devices that acknowledge nothing, and what is kept of what they say. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include <sys/stat.h>

#include "host/seal.h"
#include "server/api/mqtt/sample.h"
#include "server/api/secureesp/config.h"
#include "server/store/rows_dialect.h"
#include "server/store/rows_series.h"
#include "tests/support/app_fixture.h"

enum { SENT = 1000000 };

static struct pag_command sent(int kind, int32_t code)
{
    return (struct pag_command){
        .kind = (enum pag_command_kind)kind, .state = PAG_COMMAND_SENT, .sent_ms = SENT, .code = code
    };
}

static struct pag_sample said(int64_t after_ms, int64_t uptime_ms, int64_t mqtt_ms, const char *message)
{
    struct pag_sample s = { .at_ms = SENT + after_ms,
                            .given = 1U << PAG_SERIES_UPTIME | 1U << PAG_SERIES_MQTT };
    s.number[PAG_SERIES_UPTIME] = uptime_ms;
    s.number[PAG_SERIES_MQTT] = mqtt_ms;
    (void)snprintf(s.word[PAG_SERIES_MESSAGE - PAG_SERIES_NUMBERS], PAG_SERIES_WORD_MAX, "%s", message);
    return s;
}

static void a_command_is_over_when_the_device_shows_it(void **state)
{
    static const struct {
        int kind;
        int32_t code;
        int64_t after, uptime, mqtt;
        const char *message;
        enum pag_evidence want;
    } rows[] = {
        { PAG_WORD_FIRMWARE, 200, 3000, 90000, 100, "", PAG_EVIDENCE_DONE },
        { PAG_WORD_FIRMWARE, 304, 3000, 90000, 100, "", PAG_EVIDENCE_DONE },
        { PAG_WORD_FIRMWARE, 200, 3000, 90000, 50000, "", PAG_EVIDENCE_NONE }, /* said before it left */
        { PAG_WORD_FIRMWARE, 206, 3000, 90000, 100, "", PAG_EVIDENCE_LOST },
        { PAG_WORD_FIRMWARE, 503, 3000, 90000, 100, "", PAG_EVIDENCE_LOST },
        { PAG_WORD_FIRMWARE, 0, 3000, 90000, 100, "", PAG_EVIDENCE_NONE }, /* it may still ask */
        { PAG_WORD_FIRMWARE, 0, 6000, 90000, 100, "", PAG_EVIDENCE_LOST },
        { PAG_WORD_FIRMWARE, 0, 6000, 90000, 100, "Updateserver-certificate doesn't match",
          PAG_EVIDENCE_FAILED },
        { PAG_WORD_FIRMWARE, 0, 200, 90000, 50000, "an older message", PAG_EVIDENCE_NONE },
        { PAG_COMMAND_CONFIG, 200, 3000, 90000, 100, "", PAG_EVIDENCE_DONE },
        { PAG_WORD_KEY, 0, 121000, 900000, 900000, "", PAG_EVIDENCE_LOST },
        { PAG_WORD_FLASH, 0, 500, 90000, 90000, "", PAG_EVIDENCE_NONE },
        { PAG_WORD_FLASH, 0, 5000, 90000, 90000, "", PAG_EVIDENCE_DONE },
        { PAG_WORD_FLASH, 0, 5000, 90000, 90000, "ERROR[12]: x", PAG_EVIDENCE_FAILED },
        { PAG_COMMAND_REBOOT, 0, 5000, 90000, 90000, "", PAG_EVIDENCE_NONE },
        { PAG_COMMAND_REBOOT, 0, 5000, 4000, 1000, "", PAG_EVIDENCE_DONE },
        { PAG_COMMAND_REBOOT, 0, 5000, 5100, 1000, "", PAG_EVIDENCE_DONE }, /* obeyed before it was stamped */
        { PAG_COMMAND_REBOOT, 0, 130000, 900000, 900000, "", PAG_EVIDENCE_LOST },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct pag_command c = sent(rows[i].kind, rows[i].code);
        const struct pag_sample s = said(rows[i].after, rows[i].uptime, rows[i].mqtt, rows[i].message);
        char why[PAG_WHY_MAX + 1];
        enum pag_evidence e = pag_secureesp_evidence(&c, &s, why);
        if (e != rows[i].want) {
            fail_msg("row %zu gives %d", i, (int)e);
        }
        assert_int_equal(why[0] != '\0', e == PAG_EVIDENCE_FAILED || e == PAG_EVIDENCE_LOST);
    }
}

static void flash_follows_a_whole_download_only(void **state)
{
    (void)state;
    struct pag_action a = { .state = PAG_REPORT_OFFERED };
    assert_int_equal(pag_secureesp_step(&a, 0), PAG_STEP_FIRMWARE);
    assert_int_equal(pag_secureesp_step(&a, PAG_SECUREESP_TRIES_MAX), PAG_STEP_GIVE_UP);
    a.state = PAG_REPORT_DOWNLOADING;
    assert_int_equal(pag_secureesp_step(&a, 0), PAG_STEP_FIRMWARE);
    a.state = PAG_REPORT_DOWNLOADED;
    assert_int_equal(pag_secureesp_step(&a, 0), PAG_STEP_FLASH);
    a.state = pag_secureesp_reached((enum pag_command_kind)PAG_WORD_FLASH, a.state);
    assert_int_equal(pag_secureesp_step(&a, 0), PAG_STEP_REBOOT);
    a.state = pag_secureesp_reached(PAG_COMMAND_REBOOT, a.state);
    assert_int_equal(a.state, PAG_REPORT_REBOOTING);
    assert_int_equal(pag_secureesp_step(&a, 0), PAG_STEP_WAIT);
    assert_int_equal(pag_secureesp_reached((enum pag_command_kind)PAG_WORD_FLASH, PAG_REPORT_OFFERED),
                     PAG_REPORT_OFFERED);
}

static void an_image_is_named_by_board_and_version(void **state)
{
    static const char *const rows[][3] = {
        { "ESP8266_WEMOS_D1MINIPRO-00.00.08.g", "ESP8266_WEMOS_D1MINIPRO", "00.00.08.g" },
        { "a-b-1", "a-b", "1" },
        { "1.0", "", "1.0" },
        { "a-", "a", "" },
        { "", "", "" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pag_span name;
        struct pag_span version;
        pag_secureesp_image(pag_span_str(rows[i][0]), &name, &version);
        assert_true(pag_span_eq_str(name, rows[i][1]));
        assert_true(pag_span_eq_str(version, rows[i][2]));
    }
}

static void every_known_message_says_what_to_do(void **state)
{
    (void)state;
    assert_true(strlen(pag_secureesp_advice("Updateserver-certificate doesn't match")) > 20);
    assert_true(strlen(pag_secureesp_advice("ERROR[12]: Signature verification failed")) > 20);
    assert_string_equal(pag_secureesp_advice("ERROR[1]: Flash Write Failed"), "");
    assert_string_equal(pag_secureesp_advice(""), "");
}

static void a_counter_of_32_bits_goes_on_after_its_turn(void **state)
{
    static const int64_t turn = INT64_C(1) << 32;
    bool restarted = true;
    (void)state;
    assert_int_equal(pag_series_unwrap(turn - 500, 1200, 700, &restarted), turn + 700);
    assert_false(restarted);
    assert_int_equal(pag_series_unwrap(5 * turn - 30000, 60000, 30000, &restarted), 5 * turn + 30000);
    assert_false(restarted);
    assert_int_equal(pag_series_unwrap(100000, 60000, 160000, &restarted), 160000);
    assert_false(restarted);
    assert_int_equal(pag_series_unwrap(turn + 900000, 60000, 40000, &restarted), 40000); /* booted */
    assert_true(restarted);
    assert_int_equal(pag_series_unwrap(10000, 5000, 3000, &restarted), 3000);
    assert_true(restarted);
    /* silent for longer than a turn */
    assert_int_equal(pag_series_unwrap(1000, 2 * turn, 1000, &restarted), 2 * turn + 1000);
    assert_false(restarted);
    assert_int_equal(pag_series_unwrap(1000, -5, 1000, &restarted), 1000); /* a clock set back */
}

/* ---- settings ---- */

static struct pag_span rendered(struct fixture *f, const char *product, const char *device, enum pag_err want)
{
    const struct pag_secureesp_place place = {
        .server = "here", .port = 8444, .path = pag_span_str("/fw"), .mqtt_server = "", .mqtt_port = 8883
    };
    json_t *p = pag_secureesp_config_load(pag_span_str(product));
    json_t *d = pag_secureesp_config_load(pag_span_str(device));
    struct pag_span out = { NULL, 0 };
    assert_int_equal(pag_secureesp_config_render(f->arena, p, d, &place, &out), want);
    json_decref(p);
    json_decref(d);
    return out;
}

static void config_json_has_every_key_in_the_sketchs_order(void **state)
{
    struct fixture *f = *state;
    assert_true(pag_span_eq_str(
        rendered(f, "", "", PAG_OK),
        "{\"downloadserver\":\"here\",\"downloadport\":8444,\"downloadpath\":\"/fw\",\"mqttserver\":\"here\","
        "\"mqttport\":8883,\"mqtttls\":true,\"ntpserver\":\"pool.ntp.org\",\"statusinterval\":60000,"
        "\"waittimeout\":20000,\"retrytimeout\":3000}"));
}

static void a_devices_word_goes_over_its_products(void **state)
{
    struct fixture *f = *state;
    struct pag_span s = rendered(f, "{\"mqttserver\":\"a\",\"ntpserver\":\"n\"}",
                                 "{\"mqttserver\":\"b\",\"variant\":\"f\"}", PAG_OK);
    json_t *o = json_loadb((const char *)s.p, s.n, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "mqttserver")), "b");
    assert_string_equal(json_string_value(json_object_get(o, "ntpserver")), "n");
    assert_string_equal(json_string_value(json_object_get(o, "updateserverurl")), "https://here:8444/fw/");
    json_decref(o);
}

static void a_config_that_the_sketch_cannot_hold_is_told(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    (void)snprintf(
        text, sizeof text,
        "{\"wifi\":[{\"ssid\":\"%032d\",\"password\":\"%063d\"},{\"ssid\":\"%032d\",\"password\":\"%063d\"},"
        "{\"ssid\":\"%032d\",\"password\":\"%063d\"}],\"ntpserver\":\"%064d\",\"mqttserver\":\"%064d\","
        "\"updateserverurl\":\"%0128d\"}",
        1, 2, 3, 4, 5, 6, 7, 8, 9);
    assert_true(rendered(f, text, "", PAG_E_LIMIT).n > PAG_SECUREESP_CONFIG_MAX);
}

/* ---- samples ---- */

static void a_status_may_lack_and_misspell_anything(void **state)
{
    struct fixture *f = *state;
    struct pag_secureesp_status out;
    const char *text = "{\"uptimemillis\":4294967296,\"rssi\":-65,\"espfreeheap\":\"x\",\"espname\":1,"
                       "\"espip\":\"a\\u001bb\",\"maxmillis\":4294967295,\"other\":{\"a\":[1]}}";
    memset(&out, 0, sizeof out);
    assert_int_equal(pag_sample_read(f->arena, pag_span_str(text), &out, NULL), PAG_OK);
    assert_int_equal(out.sample.given, 1U << PAG_SERIES_RSSI | 1U << PAG_SERIES_MAX);
    assert_int_equal(out.sample.number[PAG_SERIES_RSSI], -65);
    assert_string_equal(pag_sample_word(&out.sample, PAG_SERIES_IP), "a b");
    assert_string_equal(pag_sample_word(&out.sample, PAG_SERIES_NAME), "");
    assert_int_equal(pag_sample_read(f->arena, pag_span_str("[]"), &out, NULL), PAG_E_SYNTAX);
    assert_int_equal(pag_sample_read(f->arena, pag_span_str(""), &out, NULL), PAG_E_SYNTAX);
}

struct filling {
    struct pag_intent intent;
    unsigned n;
    uint32_t keep;
    int64_t before_ms;
    size_t left;
};

static enum pag_err fill(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct filling *i = intent->ctx;
    struct pag_db *db = pag_store_tx_db(tx);
    struct pag_sample s = { .given = 1U << PAG_SERIES_RSSI };
    struct pag_sample last;
    enum pag_err err = PAG_OK;
    for (unsigned k = 0; k < i->n && err == PAG_OK; k++) {
        s.at_ms = 1000 + k;
        s.number[PAG_SERIES_RSSI] = -(int64_t)k;
        (void)snprintf(s.word[0], sizeof s.word[0], "name %u", k / 10);
        err = pag_series_put(db, "84f3eb000001", &s, k > 0 ? &last : NULL);
        last = s;
    }
    return err == PAG_OK ? pag_series_trim(db, "84f3eb000001", i->before_ms, i->keep) : err;
}

static size_t points(struct fixture *f, enum pag_series_field field, int64_t *first)
{
    struct pag_store_reader *r = NULL;
    const struct pag_series_filter q = {
        .device = "84f3eb000001", .field = field, .to_ms = INT64_MAX, .limit = 1000
    };
    struct pag_series_point *list = NULL;
    size_t n = 0;
    assert_int_equal(pag_store_reader_new(f->store, &r, NULL), PAG_OK);
    assert_int_equal(pag_series_list(pag_store_reader_db(r), f->arena, &q, &list, &n), PAG_OK);
    *first = n > 0 ? list[0].at_ms : 0;
    pag_store_reader_free(r);
    return n;
}

static void a_series_keeps_the_newest_and_its_words(void **state)
{
    struct fixture *f = *state;
    struct pag_check_in in = { .protocol = PAG_PROTOCOL_SECUREESP,
                               .proof = PAG_PROOF_CERTIFICATE,
                               .device = "84f3eb000001",
                               .product = "meter" };
    struct pag_check_reply reply;
    struct filling i = { .intent = { .apply = fill }, .n = 100, .keep = 25, .before_ms = 1080 };
    int64_t first = 0;
    pag_app_check_in(fixture_call(f), &in, &reply);
    assert_int_equal(fixture_wait(f), PAG_OK);
    i.intent.ctx = &i;
    assert_int_equal(pag_store_apply(f->store, &i.intent), PAG_OK);
    assert_int_equal(points(f, PAG_SERIES_RSSI, &first), 20); /* by age; by number it would be 25 */
    assert_int_equal(first, 1080);
    assert_int_equal(points(f, PAG_SERIES_NAME, &first), 20);
    assert_int_equal(points(f, PAG_SERIES_HEAP, &first), 0);
}

/* ---- sealing ---- */

/* A fetch has read the key before an operator's new one came in its place. */
static enum pag_err fetch_late(struct pag_store_tx *tx, struct pag_intent *intent)
{
    struct fixture *f = intent->ctx;
    struct pag_db *db = pag_store_tx_db(tx);
    const struct pag_sealed_key old = { .device = "84f3eb000001",
                                        .serial = { 1 },
                                        .serial_n = 1,
                                        .sealed = pag_span_str("old"),
                                        .claim = pag_span_str("") };
    struct pag_sealed_key fresh = old;
    struct pag_sealed_key there;
    fresh.serial[0] = 2;
    fresh.sealed = pag_span_str("fresh");
    assert_int_equal(pag_sealed_key_put(db, &old), PAG_OK);
    assert_int_equal(pag_sealed_key_put(db, &fresh), PAG_OK);
    assert_int_equal(pag_sealed_key_erase(db, &old), PAG_E_CONFLICT);
    assert_int_equal(pag_sealed_key_get(db, f->arena, old.device, &there), PAG_OK);
    assert_true(pag_span_eq_str(there.sealed, "fresh"));
    assert_int_equal(pag_sealed_key_erase(db, &fresh), PAG_OK);
    assert_int_equal(pag_sealed_key_erase(db, &fresh), PAG_E_CONFLICT);
    assert_int_equal(pag_sealed_key_get(db, f->arena, old.device, &there), PAG_OK);
    assert_int_equal(there.sealed.n, 0);
    return PAG_OK;
}

static void a_late_fetch_erases_no_newer_key(void **state)
{
    struct fixture *f = *state;
    struct pag_check_in in = { .protocol = PAG_PROTOCOL_SECUREESP,
                               .proof = PAG_PROOF_CERTIFICATE,
                               .device = "84f3eb000001",
                               .product = "meter" };
    struct pag_check_reply reply;
    struct pag_intent intent = { .apply = fetch_late, .ctx = f };
    pag_app_check_in(fixture_call(f), &in, &reply);
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_int_equal(pag_store_apply(f->store, &intent), PAG_OK);
}

static void what_is_sealed_opens_for_its_owner_only(void **state)
{
    uint8_t key[PAG_SEAL_KEY_BYTES] = { 1 };
    uint8_t sealed_room[64];
    uint8_t plain_room[64];
    struct pag_buf sealed = { sealed_room, 0, sizeof sealed_room };
    struct pag_buf plain = { plain_room, 0, sizeof plain_room };
    const struct pag_span mine = pag_span_str("device/a");
    (void)state;
    assert_int_equal(pag_seal(key, mine, pag_span_str("secret"), &sealed), PAG_OK);
    assert_int_equal(sealed.n, 6 + PAG_SEAL_EXTRA);
    assert_int_equal(pag_unseal(key, mine, pag_buf_span(&sealed), &plain), PAG_OK);
    assert_true(pag_span_eq_str(pag_buf_span(&plain), "secret"));
    plain.n = 0;
    assert_int_equal(pag_unseal(key, pag_span_str("device/b"), pag_buf_span(&sealed), &plain), PAG_E_DIGEST);
    for (size_t i = 0; i < sealed.n; i++) {
        sealed_room[i] ^= 1;
        assert_int_equal(pag_unseal(key, mine, pag_buf_span(&sealed), &plain), PAG_E_DIGEST);
        assert_int_equal(pag_unseal(key, mine, pag_span_of(sealed_room, i), &plain), PAG_E_DIGEST);
        sealed_room[i] ^= 1;
    }
    key[31] ^= 1;
    assert_int_equal(pag_unseal(key, mine, pag_buf_span(&sealed), &plain), PAG_E_DIGEST);
    struct pag_buf small = { sealed_room, 0, PAG_SEAL_EXTRA };
    assert_int_equal(pag_seal(key, mine, pag_span_str("x"), &small), PAG_E_SPACE);
}

static void the_key_to_seal_with_is_made_once_and_kept_private(void **state)
{
    struct fixture *f = *state;
    uint8_t a[PAG_SEAL_KEY_BYTES];
    uint8_t b[PAG_SEAL_KEY_BYTES];
    char path[128];
    (void)snprintf(path, sizeof path, "%s/devices.key", f->dir);
    assert_int_equal(pag_seal_key_file(path, a, NULL), PAG_OK);
    assert_int_equal(pag_seal_key_file(path, b, NULL), PAG_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_not_equal(pag_seal_key_file(path, b, NULL), PAG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_over_when_the_device_shows_it),
        cmocka_unit_test(flash_follows_a_whole_download_only),
        cmocka_unit_test(an_image_is_named_by_board_and_version),
        cmocka_unit_test(every_known_message_says_what_to_do),
        cmocka_unit_test(a_counter_of_32_bits_goes_on_after_its_turn),
        cmocka_unit_test_setup_teardown(config_json_has_every_key_in_the_sketchs_order, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_devices_word_goes_over_its_products, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_config_that_the_sketch_cannot_hold_is_told, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_status_may_lack_and_misspell_anything, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_series_keeps_the_newest_and_its_words, fixture_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(a_late_fetch_erases_no_newer_key, fixture_set_up, fixture_tear_down),
        cmocka_unit_test(what_is_sealed_opens_for_its_owner_only),
        cmocka_unit_test_setup_teardown(the_key_to_seal_with_is_made_once_and_kept_private, fixture_set_up,
                                        fixture_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
