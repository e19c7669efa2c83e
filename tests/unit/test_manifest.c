/* The device's rules on a verified manifest (docs/spec/manifest.md 5), one table row each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/manifest.h"

static struct pag_manifest offered(void)
{
    struct pag_manifest m = { .chip = PAG_CHIP_ESP8266,
                              .hardware_n = 2,
                              .hardware = { { 6, "d1mini" }, { 5, "nodem" } },
                              .image = "firmware",
                              .version = "2",
                              .epoch = 2,
                              .sequence = 11,
                              .digest = { 1 },
                              .size = 1000,
                              .trust_version_min = 1 };
    return m;
}

static struct pag_manifest_target device(void)
{
    struct pag_manifest_target t = { .hardware = { 5, "nodem" },
                                     .chip = PAG_CHIP_ESP8266,
                                     .image = "firmware",
                                     .epoch = 2,
                                     .sequence = 10,
                                     .trust_version = 1,
                                     .slot_bytes = 1000,
                                     .now_unix_s = 5000,
                                     .installed = { 9 } };
    return t;
}

/* Permit from sequence 10 down to the image of m. */
static struct pag_manifest permit_for(const struct pag_manifest *m)
{
    struct pag_manifest p = *m;
    p.kind = PAG_KIND_ROLLBACK_PERMIT;
    p.has_stone = true;
    p.stone_sequence = 10;
    p.expires_at = 6000;
    return p;
}

static enum pag_err admit(const struct pag_manifest *m, const struct pag_manifest_target *t)
{
    return pag_manifest_admit(m, t, NULL);
}

static void a_fitting_newer_manifest_is_admitted(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    assert_int_equal(admit(&m, &t), PAG_OK);
}

static void what_is_not_meant_for_this_device_is_refused(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    m.kind = PAG_KIND_FILESYSTEM;
    assert_int_equal(admit(&m, &t), PAG_E_UNSUPPORTED);
    m = offered();
    m.product[7] = 1;
    assert_int_equal(admit(&m, &t), PAG_E_PRODUCT);
    m = offered();
    m.hardware_n = 1;
    assert_int_equal(admit(&m, &t), PAG_E_HARDWARE);
    m = offered();
    m.chip = PAG_CHIP_ESP32;
    assert_int_equal(admit(&m, &t), PAG_E_HARDWARE);
    m = offered();
    memcpy(m.image, "firmwarf", 8);
    assert_int_equal(admit(&m, &t), PAG_E_NOT_FOUND);
    m = offered();
    m.has_layout = true;
    assert_int_equal(admit(&m, &t), PAG_E_HARDWARE);
    t.has_layout = true;
    assert_int_equal(admit(&m, &t), PAG_OK);
    m.layout[0] = 1;
    assert_int_equal(admit(&m, &t), PAG_E_HARDWARE);
}

static void a_filesystem_slot_takes_filesystems_only(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    t.kind = PAG_KIND_FILESYSTEM;
    assert_int_equal(admit(&m, &t), PAG_E_UNSUPPORTED);
    m.kind = PAG_KIND_FILESYSTEM;
    assert_int_equal(admit(&m, &t), PAG_OK);
}

static void installed_ten_refuses_nine_ignores_ten_and_takes_eight_by_permit(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    m.sequence = 9;
    assert_int_equal(admit(&m, &t), PAG_E_ROLLBACK);
    m.sequence = 10;
    assert_int_equal(admit(&m, &t), PAG_E_ROLLBACK);
    memcpy(m.digest, t.installed, sizeof m.digest);
    assert_int_equal(admit(&m, &t), PAG_E_EXISTS);
    m = offered();
    m.sequence = 8;
    struct pag_manifest permit = permit_for(&m);
    t.permit = &permit;
    assert_int_equal(admit(&m, &t), PAG_OK);
    m.epoch = 1;
    permit.epoch = 1;
    assert_int_equal(admit(&m, &t), PAG_E_ROLLBACK);
}

static void a_permit_opens_one_way_only(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    m.sequence = 8;
    struct pag_manifest_target t = device();
    for (int change = 0; change < 8; change++) {
        struct pag_manifest p = permit_for(&m);
        p.kind = change == 0 ? PAG_KIND_FIRMWARE : p.kind;
        p.sequence = change == 1 ? 7 : p.sequence;
        p.digest[31] = change == 2;
        p.product[0] = change == 3;
        p.chip = change == 4 ? PAG_CHIP_ESP32 : p.chip;
        p.hardware_n = change == 5 ? 1 : 2;
        p.stone_sequence = change == 6 ? 9 : 10;
        p.expires_at = change == 7 ? 4999 : 6000;
        t.permit = &p;
        assert_int_equal(admit(&m, &t), PAG_E_ROLLBACK);
    }
}

static void a_huge_step_of_the_sequence_is_refused(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    m.sequence = 10 + PAG_SEQUENCE_STEP_MAX;
    assert_int_equal(admit(&m, &t), PAG_OK);
    m.sequence++;
    assert_int_equal(admit(&m, &t), PAG_E_RANGE);
    m.sequence = UINT32_MAX;
    assert_int_equal(admit(&m, &t), PAG_E_RANGE);
}

static void a_newer_trust_set_or_a_stepping_stone_comes_first(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    m.trust_version_min = 2;
    assert_int_equal(admit(&m, &t), PAG_E_STALE);
    m = offered();
    m.has_stone = true;
    m.stone_sequence = 11;
    assert_int_equal(admit(&m, &t), PAG_E_STALE);
    m.stone_sequence = 10;
    assert_int_equal(admit(&m, &t), PAG_OK);
    m.stone_epoch = 3;
    assert_int_equal(admit(&m, &t), PAG_E_STALE);
}

static void expiry_counts_only_against_a_known_time(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    m.expires_at = 4999;
    assert_int_equal(admit(&m, &t), PAG_E_EXPIRED);
    m.expires_at = 5000;
    assert_int_equal(admit(&m, &t), PAG_OK);
    m.expires_at = 1;
    t.now_unix_s = 0;
    assert_int_equal(admit(&m, &t), PAG_OK);
}

static void a_condition_that_was_not_measured_is_not_met(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    const struct pag_conditions want = { 0x7F, 30, 20, -80, 2, 3, 60, true };
    const struct pag_conditions exact = want;
    m.has_conditions = true;
    m.conditions = want;
    assert_int_equal(admit(&m, &t), PAG_E_CONDITION);
    t.state = &exact;
    assert_int_equal(admit(&m, &t), PAG_OK);
    const struct pag_conditions worse[] = {
        { 0x7E, 30, 20, -80, 2, 3, 60, true }, { 0x7F, 29, 20, -80, 2, 3, 60, true },
        { 0x7F, 30, 19, -80, 2, 3, 60, true }, { 0x7F, 30, 20, -81, 2, 3, 60, true },
        { 0x7F, 30, 20, -80, 1, 3, 60, true }, { 0x7F, 30, 20, -80, 2, 2, 60, true },
        { 0x7F, 30, 20, -80, 2, 3, 61, true }, { 0x7F, 30, 20, -80, 2, 3, 60, false },
    };
    for (size_t i = 0; i < sizeof worse / sizeof worse[0]; i++) {
        t.state = &worse[i];
        assert_int_equal(admit(&m, &t), PAG_E_CONDITION);
    }
}

static void a_dependency_must_be_met_by_an_image_of_the_device(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    struct pag_manifest_installed web = { "web", 3 };
    m.dependency_n = 1;
    m.dependency[0] = (struct pag_dependency){ "web", 3, 5 };
    assert_int_equal(admit(&m, &t), PAG_E_CONFLICT);
    t.other = &web;
    t.other_n = 1;
    assert_int_equal(admit(&m, &t), PAG_OK);
    web.sequence = 6;
    assert_int_equal(admit(&m, &t), PAG_E_CONFLICT);
}

static void an_image_larger_than_the_slot_is_refused(void **state)
{
    (void)state;
    struct pag_manifest m = offered();
    struct pag_manifest_target t = device();
    m.size = 1001;
    assert_int_equal(admit(&m, &t), PAG_E_SPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fitting_newer_manifest_is_admitted),
        cmocka_unit_test(what_is_not_meant_for_this_device_is_refused),
        cmocka_unit_test(a_filesystem_slot_takes_filesystems_only),
        cmocka_unit_test(installed_ten_refuses_nine_ignores_ten_and_takes_eight_by_permit),
        cmocka_unit_test(a_permit_opens_one_way_only),
        cmocka_unit_test(a_huge_step_of_the_sequence_is_refused),
        cmocka_unit_test(a_newer_trust_set_or_a_stepping_stone_comes_first),
        cmocka_unit_test(expiry_counts_only_against_a_known_time),
        cmocka_unit_test(a_condition_that_was_not_measured_is_not_met),
        cmocka_unit_test(a_dependency_must_be_met_by_an_image_of_the_device),
        cmocka_unit_test(an_image_larger_than_the_slot_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
