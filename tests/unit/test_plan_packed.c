/* Packed images: offered only where what is on record says that unpacking them harms nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bytes.h"
#include "server/domain/planner.h"

enum { MODE_DIO = 2 };

struct world {
    struct pag_release release[2];
    struct pag_plan_release plan[2];
    struct pag_plan_md5 md5;
    struct pag_catalog catalog;
    struct pag_device device;
    struct pag_plan_in in;
    struct pag_plan out;
};

/* A device on release 1, and release 2 with one packed image: the numbers of the safe rule at its edge. */
static void begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    for (uint32_t i = 0; i < 2; i++) {
        struct pag_release *r = &w->release[i];
        r->state = PAG_RELEASE_PUBLISHED;
        r->sequence = i + 1;
        r->image_n = 1;
        r->version[0] = (char)('1' + i);
        r->image[0].chip = PAG_CHIP_ESP8266;
        r->image[0].sha256[0] = (uint8_t)(i + 1);
        r->image[0].flash_mode = MODE_DIO;
        (void)pag_text_copy(r->image[0].name, sizeof r->image[0].name, pag_span_str("firmware"));
        w->plan[i].release = r;
    }
    w->release[0].image[0].core = PAG_CORE(3, 0, 0);
    struct pag_release_image *packed = &w->release[1].image[0];
    packed->gzip = true;
    packed->bytes = 307200;
    packed->unpacked_bytes = 655360;
    w->md5 = (struct pag_plan_md5){ .md5 = { 7 }, .flash_mode = MODE_DIO };
    w->catalog.product.chip = PAG_CHIP_ESP8266;
    w->catalog.product.settings.max_serves = 3;
    w->catalog.release = w->plan;
    w->catalog.release_n = 2;
    w->catalog.md5 = &w->md5;
    w->catalog.md5_n = 1;
    struct pag_facts *f = &w->device.facts;
    w->device.protocol = PAG_PROTOCOL_HTTP_UPDATE;
    f->running.source = PAG_LEARNED;
    f->running.value[0] = 1;
    f->running_md5.source = PAG_SAID;
    f->running_md5.value[0] = 7;
    f->slot_bytes = (struct pag_fact_u32){ PAG_SAID, 450560 };
    f->sketch_bytes = (struct pag_fact_u32){ PAG_SAID, 512000 };
    w->in = (struct pag_plan_in){ .catalog = &w->catalog, .device = &w->device, .slot = "firmware" };
}

static enum pag_plan_reason next(struct world *w)
{
    pag_plan_next(&w->in, &w->out);
    return w->out.reason;
}

static void it_is_offered_up_to_the_last_byte_that_fits(void **state)
{
    (void)state;
    static struct world w;
    begin(&w);
    assert_int_equal(next(&w), PAG_PLAN_OFFER);
    w.release[1].image[0].unpacked_bytes = 655361;
    assert_int_equal(next(&w), PAG_PLAN_UNPACK);
    assert_int_equal(w.out.have, 655360);
    w.release[1].image[0].unpacked_bytes = 0;
    assert_int_equal(next(&w), PAG_PLAN_UNPACK);
}

static void sizes_that_nobody_said_are_no_room(void **state)
{
    (void)state;
    static struct world w;
    begin(&w);
    w.device.facts.sketch_bytes.source = PAG_ABSENT;
    assert_int_equal(next(&w), PAG_PLAN_GZIP);
    begin(&w);
    w.device.facts.slot_bytes.source = PAG_ABSENT;
    assert_int_equal(next(&w), PAG_PLAN_GZIP);
}

static void only_what_runs_can_say_which_core_it_is(void **state)
{
    (void)state;
    static struct world w;
    begin(&w);
    w.release[0].image[0].core = PAG_CORE(2, 6, 3);
    w.catalog.product.settings.core = PAG_CORE(3, 0, 0);
    assert_int_equal(next(&w), PAG_PLAN_GZIP);
    w.release[0].image[0].core = 0;
    assert_int_equal(next(&w), PAG_PLAN_OFFER);
    w.in.no_gzip = true;
    assert_int_equal(next(&w), PAG_PLAN_GZIP);
    w.in.no_gzip = false;
    memset(&w.device.facts.running, 0, sizeof w.device.facts.running);
    w.release[0].state = PAG_RELEASE_WITHDRAWN;
    assert_int_equal(next(&w), PAG_PLAN_GZIP);
}

static void signed_and_packed_needs_core_3(void **state)
{
    (void)state;
    static struct world w;
    begin(&w);
    w.release[1].image[0].trailer = true;
    assert_int_equal(next(&w), PAG_PLAN_OFFER);
    w.release[0].image[0].core = PAG_CORE(2, 7, 4);
    assert_int_equal(next(&w), PAG_PLAN_GZIP_SIGNED);
    w.in.file = "firmware.bin.gz";
    assert_int_equal(next(&w), PAG_PLAN_GZIP_SIGNED);
}

static void another_flash_mode_is_never_unpacked(void **state)
{
    (void)state;
    static struct world w;
    begin(&w);
    w.md5.flash_mode = 3;
    assert_int_equal(next(&w), PAG_PLAN_FLASH_MODE);
    assert_int_equal(w.out.have, 3);
    assert_int_equal(w.out.need, MODE_DIO);
    w.md5.flash_mode = PAG_FLASH_MODE_UNKNOWN;
    assert_int_equal(next(&w), PAG_PLAN_GZIP);
    w.in.file = "firmware.bin.gz";
    assert_int_equal(next(&w), PAG_PLAN_OFFER);
}

static void a_stand_in_is_on_its_way_to_the_same_release(void **state)
{
    (void)state;
    static struct world w;
    begin(&w);
    struct pag_release_image *small = &w.release[1].image[1];
    *small = w.release[1].image[0];
    small->gzip = false;
    small->sha256[0] = 9;
    (void)pag_text_copy(small->name, sizeof small->name, pag_span_str("minimal"));
    w.release[1].image[0].gzip = false;
    w.release[1].image_n = 2;
    w.device.facts.running.value[0] = 9;
    assert_int_equal(next(&w), PAG_PLAN_OFFER);
    assert_int_equal(w.out.image, 0);
    w.device.facts.running.value[0] = 2;
    assert_int_equal(next(&w), PAG_PLAN_UP_TO_DATE);
    w.in.file = "x-minimal.bin";
    w.in.side = true;
    assert_int_equal(next(&w), PAG_PLAN_OFFER);
    assert_int_equal(w.out.image, 1);
    w.in.file = "other.bin";
    assert_int_equal(next(&w), PAG_PLAN_NO_IMAGE);
}

static void a_core_is_read_as_a_version_and_shown_as_one(void **state)
{
    (void)state;
    uint32_t core = 0;
    char text[PAG_CORE_TEXT];
    assert_int_equal(pag_core_read(pag_span_str("2.7.4"), &core), PAG_OK);
    assert_int_equal(core, PAG_CORE(2, 7, 4));
    pag_core_text(core, text);
    assert_string_equal(text, "2.7.4");
    assert_int_equal(pag_core_read(pag_span_str("3.1"), &core), PAG_OK);
    assert_int_equal(core, PAG_CORE(3, 1, 0));
    static const char *const bad[] = { "", "2", "2.", ".7", "2.7.4.1", "2.x", "100.0.0", "0.7.0", "2.7.4 " };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(pag_core_read(pag_span_str(bad[i]), &core), PAG_E_SYNTAX);
    }
    pag_core_text(PAG_CORE(99, 99, 99), text);
    assert_string_equal(text, "99.99.99");
    pag_core_text(0, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_offered_up_to_the_last_byte_that_fits),
        cmocka_unit_test(sizes_that_nobody_said_are_no_room),
        cmocka_unit_test(only_what_runs_can_say_which_core_it_is),
        cmocka_unit_test(signed_and_packed_needs_core_3),
        cmocka_unit_test(another_flash_mode_is_never_unpacked),
        cmocka_unit_test(a_stand_in_is_on_its_way_to_the_same_release),
        cmocka_unit_test(a_core_is_read_as_a_version_and_shown_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
