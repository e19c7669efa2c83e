#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host/fs.h"
#include "host/ini.h"
#include "server/config.h"

static enum pag_err read_text(const char *text, struct pag_config *out, struct pag_ini_error *error)
{
    memset(out, 0, sizeof *out);
    assert_int_equal(pag_ini_presets(pag_config_table(), out, error), PAG_OK);
    return pag_ini_read_text(pag_config_table(), "x.ini", text, out, error);
}

static void refused(const char *text, unsigned line, const char *says)
{
    struct pag_config config;
    struct pag_ini_error error;
    assert_int_equal(read_text(text, &config, &error), PAG_E_CONFIG);
    assert_int_equal(error.line, line);
    if (strstr(error.text, says) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, says);
    }
}

static void every_default_is_acceptable_and_needs_no_file(void **state)
{
    (void)state;
    struct pag_config config;
    struct pag_ini_error error;
    const struct pag_config_args args = { .file = "/dev/null", .data = "./var" };
    /* /dev/null is no regular file: a configuration that was asked for must be readable */
    assert_int_equal(pag_config_load(&args, &config, &error), PAG_E_CONFIG);
    assert_int_equal(read_text("", &config, &error), PAG_OK);
    assert_int_equal(pag_config_check(&config, &error), PAG_OK);
    assert_int_equal(config.console.port, 8443);
    assert_int_equal(config.device.port, 8444);
    assert_int_equal(config.mqtt.port, 8883);
    assert_int_equal(config.mqtt.mode, PAG_MQTT_MANAGED);
    assert_false(config.legacy.enabled);
}

static void values_of_each_type_are_taken(void **state)
{
    (void)state;
    struct pag_config config;
    struct pag_ini_error error;
    assert_int_equal(
        read_text("; comment\n[server]\ndata = /srv/p\nlog_format = json\n# other\n[console]\nport=0\n"
                  "[legacy]\nenabled = YES ; really\n[limits]\nimage = 2M\nbody = 20000\nidle_time = 2m\n"
                  "[device]\npoll = 1d\n",
                  &config, &error),
        PAG_OK);
    assert_string_equal(config.server.data, "/srv/p");
    assert_int_equal(config.server.log_format, 1);
    assert_int_equal(config.console.port, 0);
    assert_true(config.legacy.enabled);
    assert_int_equal(config.limits.image, 2 << 20);
    assert_int_equal(config.limits.body, 20000);
    assert_int_equal(config.limits.idle_s, 120);
    assert_int_equal(config.device.poll_s, 86400);
}

static void mistakes_are_refused_with_their_line_and_a_hint(void **state)
{
    (void)state;
    refused("[mqtt]\n\nprot = 1\n", 3, "did you mean \"port\" in [mqtt]");
    refused("[server]\nport = 1\n", 2, "unknown key \"port\" in [server]");
    refused("[mqt]\nport = 1\n", 1, "did you mean [mqtt]?");
    refused("[console]\nport = 1\n[nonsense]\n", 3, "unknown section [nonsense]");
    refused("[console]\nport = 70000\n", 2, "out of range");
    refused("[console]\nport = -1\n", 2, "is not a number");
    refused("[console]\nport = 1x\n", 2, "known unit");
    refused("[console]\nport = 99999999999999999999999\n", 2, "out of range");
    refused("[limits]\nimage = 18446744073709551615G\n", 2, "out of range");
    refused("[console]\nport =\n", 2, "is not a number");
    refused("[console]\nport = 1\nport = 2\n", 3, "second time");
    refused("[console]\naddress = localhost\n", 2, "is not an IPv4 or IPv6 address");
    refused("[legacy]\nenabled = maybe\n", 2, "neither yes nor no");
    refused("[mqtt]\nmode = on\n", 2, "expected: managed, external, off");
    refused("[server]\nnames = a b\n", 2, "comma-separated");
    refused("port = 1\n", 1, "before the first [section]");
    refused("[console]\nport\n", 2, "neither a [section] nor key");
    refused("[console]\nport 8443\n", 2, "neither a [section] nor key");
    refused("[server]\ndata =;./var\n", 2, "begins a comment"); /* printed with a blank it would be one */
}

static void a_line_too_long_is_refused_not_cut(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text);
    memcpy(text, "[server]\ndata = ", 16);
    text[sizeof text - 1] = '\0';
    refused(text, 2, "too long");
    text[16 + 230] = '\0'; /* fits the line and the field */
    struct pag_config config;
    struct pag_ini_error error;
    assert_int_equal(read_text(text, &config, &error), PAG_OK);
    assert_int_equal(strlen(config.server.data), 230);
}

static void settings_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    struct pag_config config;
    struct pag_ini_error error;
    assert_int_equal(read_text("[mqtt]\nmode = external\n", &config, &error), PAG_OK);
    assert_int_equal(pag_config_check(&config, &error), PAG_E_CONFIG);
    assert_int_equal(read_text("[certificates]\ncrl_time = 1h\ncrl_every = 1h\n", &config, &error), PAG_OK);
    assert_int_equal(pag_config_check(&config, &error), PAG_E_CONFIG);
    assert_int_equal(read_text("[mqtt]\nmode = external\nhost = broker.example.org\n", &config, &error),
                     PAG_OK);
    assert_int_equal(pag_config_check(&config, &error), PAG_OK);
}

static void later_origins_win_over_earlier_ones(void **state)
{
    (void)state;
    struct pag_config config;
    struct pag_ini_error error;
    char path[] = "/tmp/pag-ini-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "[console]\nport = 1\n[device]\nport = 1\n[mqtt]\nport = 1\n";
    assert_true(fd >= 0);
    assert_int_equal(
        pag_fs_write(path, (struct pag_span){ (const uint8_t *)text, sizeof text - 1 }, 0600, NULL), PAG_OK);
    assert_int_equal(setenv("PAGURUS_DEVICE_PORT", "2", 1), 0);
    assert_int_equal(setenv("PAGURUS_MQTT_PORT", "2", 1), 0);
    const char *const set[] = { "mqtt.port=3" };
    const struct pag_config_args args = { .file = path, .data = "./var", .set = set, .set_n = 1 };
    assert_int_equal(pag_config_load(&args, &config, &error), PAG_OK);
    assert_int_equal(config.console.port, 1);
    assert_int_equal(config.device.port, 2);
    assert_int_equal(config.mqtt.port, 3);
    assert_string_equal(config.server.data, "./var");
    assert_int_equal(setenv("PAGURUS_MQTT_PROT", "2", 1), 0);
    assert_int_equal(pag_config_load(&args, &config, &error), PAG_E_CONFIG);
    assert_non_null(strstr(error.text, "PAGURUS_MQTT_PROT"));
    assert_int_equal(unsetenv("PAGURUS_MQTT_PROT"), 0);
    assert_int_equal(unsetenv("PAGURUS_MQTT_PORT"), 0);
    assert_int_equal(unsetenv("PAGURUS_DEVICE_PORT"), 0);
    (void)remove(path);
}

static void what_is_printed_reads_back_the_same(void **state)
{
    (void)state;
    struct pag_config before;
    struct pag_config after;
    struct pag_ini_error error;
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(
        read_text("[limits]\nimage = 3000001\nidle_time = 3599\n[server]\nnames = a.example, 192.0.2.1\n",
                  &before, &error),
        PAG_OK);
    for (int docs = 0; docs < 2; docs++) {
        FILE *out = open_memstream(&text, &n);
        pag_ini_print(pag_config_table(), &before, docs == 1, out);
        assert_int_equal(fclose(out), 0);
        assert_int_equal(read_text(text, &after, &error), PAG_OK);
        assert_memory_equal(&before, &after, sizeof before);
        free(text);
    }
}

static void the_manual_is_what_the_table_says(void **state)
{
    (void)state;
    struct pag_buf file = { NULL, 0, 0 };
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    pag_config_print_manual(out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(pag_fs_read("docs/operating/configuration.md", 1 << 20, &file, NULL), PAG_OK);
    assert_string_equal((const char *)file.p, text); /* make it anew: pagurusd check-config --manual */
    pag_fs_buf_free(&file);
    free(text);
}

static void names_come_out_once_and_in_order(void **state)
{
    (void)state;
    struct pag_config_names names;
    assert_int_equal(pag_config_names_of(" b.example , a.example,,B.example,::1 ", false, &names), PAG_OK);
    assert_int_equal(names.n, 3);
    assert_string_equal(names.name[0], "b.example");
    assert_string_equal(names.name[1], "a.example");
    assert_string_equal(names.name[2], "::1");
    assert_int_equal(pag_config_names_of("x.example", true, &names), PAG_OK);
    assert_string_equal(names.name[0], "x.example");
    assert_true(names.n >= 4); /* localhost, 127.0.0.1, ::1 */
    assert_int_equal(pag_config_names_of("a,b c", false, &names), PAG_E_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_acceptable_and_needs_no_file),
        cmocka_unit_test(values_of_each_type_are_taken),
        cmocka_unit_test(mistakes_are_refused_with_their_line_and_a_hint),
        cmocka_unit_test(a_line_too_long_is_refused_not_cut),
        cmocka_unit_test(settings_that_contradict_each_other_are_refused),
        cmocka_unit_test(later_origins_win_over_earlier_ones),
        cmocka_unit_test(what_is_printed_reads_back_the_same),
        cmocka_unit_test(the_manual_is_what_the_table_says),
        cmocka_unit_test(names_come_out_once_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
