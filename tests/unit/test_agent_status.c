/* The status object, name by name as docs/spec/native.md 3 has it, and as the server reads it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agent/inner.h"
#include "server/api/mqtt/status.h"
#include "tests/support/agent_fake.h"

static int32_t rssi(void *ctx)
{
    (void)ctx;
    return -61;
}

static uint32_t heap(void *ctx)
{
    (void)ctx;
    return UINT32_MAX;
}

static const char *reason(void *ctx)
{
    (void)ctx;
    return "watchdog";
}

static struct fake *device(void)
{
    struct fake *f = fake_new(3);
    static uint8_t image[100];
    fake_image(image, sizeof image, 1);
    fake_factory(f, image, sizeof image);
    f->port.rssi_dbm = rssi;
    f->port.free_heap = heap;
    f->port.restarts = heap;
    f->port.reset_reason = reason;
    memcpy(f->set.version, "1.0.0", sizeof "1.0.0");
    assert_true(fake_boot(f));
    fake_run(f, 5);
    return f;
}

static struct pag_inner *inner(struct fake *f)
{
    return (struct pag_inner *)(void *)f->agent.opaque;
}

static json_t *status_of(struct fake *f, uint8_t *text, size_t cap)
{
    struct pag_buf b = { text, 0, cap };
    struct pag_status s;
    assert_int_equal(pag_in_status_put(inner(f), &b), PAG_OK);
    assert_int_equal(pag_status_read(pag_buf_span(&b), &s, NULL), PAG_OK);
    assert_string_equal(s.version, "1.0.0");
    assert_true(s.has_rssi && s.rssi_dbm == -61);
    assert_true(s.has_heap && s.free_heap == UINT32_MAX);
    assert_true(s.has_uptime && s.uptime_ms == inner(f)->now_ms - inner(f)->boot_ms);
    return s.object;
}

static void every_member_has_the_name_and_type_of_the_spec(void **state)
{
    (void)state;
    static const char *const numbers[] = { "sequence", "slot", "boot_state", "uptime_ms", "loop_max_ms",
                                           "mqtt_ms",  "rssi", "free_heap",  "restarts" };
    uint8_t text[512];
    struct fake *f = device();
    f->srv.status = 302;
    fake_run(f, 400);
    inner(f)->stale = true;
    json_t *o = status_of(f, text, sizeof text);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        assert_true(json_is_integer(json_object_get(o, numbers[i])));
    }
    assert_int_equal(json_string_length(json_object_get(o, "sha256")), 64);
    assert_string_equal(json_string_value(json_object_get(o, "reset_reason")), "watchdog");
    assert_string_equal(json_string_value(json_object_get(o, "error")), "redirect_refused");
    assert_true(json_is_true(json_object_get(o, "stale")));
    assert_int_equal(json_object_size(o), 14);
    json_decref(o);
    fake_free(f);
}

static void nothing_wrong_is_not_said(void **state)
{
    (void)state;
    uint8_t text[512];
    struct fake *f = device();
    json_t *o = status_of(f, text, sizeof text);
    assert_null(json_object_get(o, "error"));
    assert_null(json_object_get(o, "stale"));
    json_decref(o);
    fake_free(f);
}

static void the_longest_step_is_of_the_time_since_the_last_status(void **state)
{
    (void)state;
    uint8_t text[512];
    struct fake *f = device();
    inner(f)->loop_max_ms = 123;
    json_t *o = status_of(f, text, sizeof text);
    assert_int_equal(json_integer_value(json_object_get(o, "loop_max_ms")), 123);
    json_decref(o);
    o = status_of(f, text, sizeof text);
    assert_int_equal(json_integer_value(json_object_get(o, "loop_max_ms")), 0);
    json_decref(o);
    fake_free(f);
}

static void texts_that_json_would_have_to_escape_are_cut_there(void **state)
{
    (void)state;
    uint8_t text[512];
    struct fake *f = device();
    inner(f)->last_error = PAG_E_IO;
    inner(f)->last_what = "a \"quoted\" word";
    json_t *o = status_of(f, text, sizeof text);
    assert_string_equal(json_string_value(json_object_get(o, "error")), "a ");
    json_decref(o);
    fake_free(f);
}

static void the_largest_status_fits_a_packet_with_the_longest_id(void **state)
{
    (void)state;
    struct fake *f = device();
    struct pag_inner *a = inner(f);
    static const char longest[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    memset(f->set.version, 'v', PAG_VERSION_MAX);
    a->run.sequence = a->loop_max_ms = UINT32_MAX;
    a->boot_ms = a->up_ms = a->now_ms + 1;
    a->stale = true;
    a->last_error = PAG_E_IO;
    a->last_what = longest;
    struct pag_buf b = pag_mqttc_room(&a->mqtt, sizeof "pg/v1/d//up/status" - 1 + PAG_DEVICE_ID_MAX);
    assert_int_equal(pag_in_status_put(a, &b), PAG_OK);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_has_the_name_and_type_of_the_spec),
        cmocka_unit_test(nothing_wrong_is_not_said),
        cmocka_unit_test(the_longest_step_is_of_the_time_since_the_last_status),
        cmocka_unit_test(texts_that_json_would_have_to_escape_are_cut_there),
        cmocka_unit_test(the_largest_status_fits_a_packet_with_the_longest_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
