#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): mkdtemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/fs.h"
#include "host/spawn.h"
#include "server/broker.h"
#include "server/init.h"

/* What needs a running mosquitto is in tests/system/test_broker.py. */

struct place {
    char data[64];
    struct pag_paths paths;
    struct pag_ca *ca;
    struct pag_broker_config config;
    char starter[128]; /* a program in mosquitto's place */
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct pag_init_result *result = calloc(1, sizeof *result);
    (void)snprintf(p->data, sizeof p->data, "/tmp/pag-broker-XXXXXX");
    assert_non_null(mkdtemp(p->data));
    const struct pag_init_order order = {
        .data = p->data, .passphrase = "only for tests", .now = (uint64_t)time(NULL), .server_s = 86400
    };
    assert_int_equal(pag_init(&order, result, NULL, NULL), PAG_OK);
    free(result);
    assert_int_equal(pag_paths_of(p->data, &p->paths), PAG_OK);
    assert_int_equal(pag_ca_load(p->paths.device_ca_pem, p->paths.device_ca_key, NULL, &p->ca, NULL), PAG_OK);
    (void)snprintf(p->starter, sizeof p->starter, "%s/starter", p->data);
    p->config = (struct pag_broker_config){ .dir = p->paths.broker_dir,
                                            .mosquitto = p->starter,
                                            .address = "127.0.0.1",
                                            .max_connections = 10,
                                            .max_packet = 65536,
                                            .max_keepalive_s = 600,
                                            .max_queued = 100,
                                            .session_s = 86400,
                                            .anchor_file = p->paths.device_anchor,
                                            .cert_file = p->paths.server_pem,
                                            .key_file = p->paths.server_key,
                                            .device_ca = p->ca,
                                            .crl_s = 86400,
                                            .crl_every_s = 21600,
                                            .clock = pag_clock_system() };
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    const char *const argv[] = { "/bin/rm", "-rf", p->data, NULL };
    const struct pag_child_config config = { .argv = argv };
    struct pag_child child;
    pag_ca_free(p->ca);
    assert_int_equal(pag_child_start(&config, &child, NULL), PAG_OK);
    while (!pag_child_poll(&child)) {
        (void)usleep(1000);
    }
    free(p);
    return 0;
}

static void access_list_refuses_first_and_binds_patterns_to_the_name(void **state)
{
    (void)state;
    static const struct pag_broker_topic topics[] = { { "/command/{id}/+", PAG_BROKER_READ },
                                                      { "tele/{id}/#", PAG_BROKER_WRITE } };
    static const char *const denied[] = { "dev-a" };
    struct pag_buf text = { NULL, 0, 0 };
    assert_int_equal(pag_broker_acl_text(topics, 2, denied, 1, &text), PAG_OK);
    const char *t = (const char *)text.p;
    const char *deny = strstr(t, "user dev-a\ntopic deny #\n");
    assert_non_null(deny);
    assert_true(deny < strstr(t, "user svc-pagurusd\n"));
    assert_true(strstr(t, "user svc-pagurusd\n") < strstr(t, "pattern "));
    assert_non_null(strstr(t, "\ntopic write /command/+/+\n"));
    assert_non_null(strstr(t, "\ntopic read tele/+/#\n"));
    assert_non_null(strstr(t, "\npattern read /command/%u/+\n"));
    assert_non_null(strstr(t, "\npattern write tele/%u/#\n"));
    assert_non_null(strstr(t, "\npattern read pg/v1/d/%u/cmd\n"));
    assert_null(strstr(t, "pattern write pg/v1/d/%u/cmd"));
    free(text.p);
}

static void a_topic_that_would_open_more_than_ones_own_is_refused(void **state)
{
    (void)state;
    const char *const bad[] = { "",           "#",
                                "a/#",        "a",
                                "a/{id}x/b",  "a/x{id}",
                                "{id}/{id}",  "$SYS/{id}",
                                "pg/v1/{id}", "a/{id}\nuser x",
                                "a/{id}/#/b", "a/{id}/b#",
                                "a/+b/{id}",  "a b/{id}",
                                "a/%u/{id}",  "a/{id",
                                "a/{ID}",     "a/{id}/\xc3\xa4",
                                "a/#/{id}" };
    struct pag_buf text = { NULL, 0, 0 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct pag_broker_topic topic = { bad[i], PAG_BROKER_READ };
        if (pag_broker_acl_text(&topic, 1, NULL, 0, &text) != PAG_E_CONFIG) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
    }
    const char *const good[] = { "{id}", "a/{id}", "{id}/#", "/a/{id}/+/b", "+/{id}", "//{id}//" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        const struct pag_broker_topic topic = { good[i], PAG_BROKER_READ };
        assert_int_equal(pag_broker_acl_text(&topic, 1, NULL, 0, &text), PAG_OK);
        free(text.p);
    }
    const char *const evil[] = { "dev-a\ntopic readwrite #" };
    assert_int_equal(pag_broker_acl_text(NULL, 0, evil, 1, &text), PAG_E_CONFIG);
}

static void a_bundle_with_more_than_the_device_authority_is_refused(void **state)
{
    struct place *p = *state;
    struct pag_broker *b = NULL;
    char text[256] = "";
    const char *const wrong[] = { p->paths.device_ca_pem /* and the root */, p->paths.operator_anchor,
                                  p->paths.root_pem };
    for (size_t i = 0; i < 3; i++) {
        struct pag_broker_config config = p->config;
        config.anchor_file = wrong[i];
        assert_int_equal(pag_broker_new(&config, &b, text, NULL), PAG_E_CONFIG);
        assert_non_null(strstr(text, "device authority and no other"));
    }
}

static void write_starter(struct place *p, const char *script)
{
    assert_int_equal(
        pag_fs_write(p->starter, (struct pag_span){ (const uint8_t *)script, strlen(script) }, 0700, NULL),
        PAG_OK);
}

static void a_broker_that_ends_at_once_is_started_again_ever_more_slowly(void **state)
{
    struct place *p = *state;
    struct pag_broker *b = NULL;
    struct pag_broker_status s;
    write_starter(p, "#!/bin/sh\necho '1: Error: Address already in use'\necho '1: bye'\nexit 1\n");
    assert_int_equal(pag_broker_new(&p->config, &b, NULL, NULL), PAG_OK);
    assert_int_equal(pag_broker_start(b, 1200), PAG_E_TIMEOUT);
    pag_broker_status_get(b, &s);
    assert_int_equal(s.state, PAG_BROKER_WAITING);
    assert_string_equal(s.last_error, "exit 1: Error: Address already in use");
    assert_in_range(s.restarts, 2, 4); /* after 0, 250, 750 ms */
    assert_true(s.retry_ms >= 500);
    assert_int_equal(s.pid, 0);
    pag_broker_free(b);
}

static void a_missing_program_is_said_and_tried_again(void **state)
{
    struct place *p = *state;
    struct pag_broker *b = NULL;
    struct pag_broker_status s;
    struct pag_broker_config config = p->config;
    config.mosquitto = "/nonexistent/mosquitto";
    assert_int_equal(pag_broker_new(&config, &b, NULL, NULL), PAG_OK);
    assert_int_equal(pag_broker_start(b, 100), PAG_E_TIMEOUT);
    pag_broker_status_get(b, &s);
    for (int i = 0; i < 2000 && s.state != PAG_BROKER_WAITING; i++) {
        (void)usleep(5000);
        pag_broker_status_get(b, &s);
    }
    assert_int_equal(s.state, PAG_BROKER_WAITING);
    assert_non_null(strstr(s.last_error, "/nonexistent/mosquitto"));
    pag_broker_free(b);
}

/* A stand-in that says it is up and writes a line for each SIGHUP. */
static const char STAND_IN[] =
    "#!/bin/sh\n"
    "trap 'echo hup >>\"$(dirname \"$2\")/hups\"; echo \"2: Reloading config.\"' HUP\n"
    "trap 'exit 0' TERM\n"
    "echo '1: mosquitto version 0 running'\n"
    "while :; do sleep 0.02; done\n";

static size_t hups(const struct place *p)
{
    char path[400];
    struct pag_buf text = { NULL, 0, 0 };
    size_t n = 0;
    (void)snprintf(path, sizeof path, "%s/hups", p->paths.broker_dir);
    if (pag_fs_read(path, 4096, &text, NULL) == PAG_OK) {
        n = text.n / 4;
    }
    pag_fs_buf_free(&text);
    return n;
}

static size_t hups_within(const struct place *p, size_t want, unsigned ms)
{
    for (unsigned i = 0; i < ms / 5 && hups(p) < want; i++) {
        (void)usleep(5000);
    }
    return hups(p);
}

static bool acl_says(const struct place *p, const char *what)
{
    char path[400];
    struct pag_buf text = { NULL, 0, 0 };
    (void)snprintf(path, sizeof path, "%s/acl", p->paths.broker_dir);
    assert_int_equal(pag_fs_read(path, 1 << 20, &text, NULL), PAG_OK);
    bool found = strstr((const char *)text.p, what) != NULL;
    pag_fs_buf_free(&text);
    return found;
}

static void refusals_are_on_disk_before_the_broker_is_told(void **state)
{
    struct place *p = *state;
    struct pag_broker *b = NULL;
    struct pag_broker_status s;
    write_starter(p, STAND_IN);
    assert_int_equal(pag_broker_new(&p->config, &b, NULL, NULL), PAG_OK);
    assert_int_equal(pag_broker_start(b, 5000), PAG_OK);
    pag_broker_status_get(b, &s);
    assert_int_equal(s.state, PAG_BROKER_RUNNING);
    uint64_t number = s.crl_number;
    assert_int_equal(hups(p), 0); /* a new process reads everything anyway */
    const struct pag_revoked entry = { { 1, 2, 3 }, 3, 1700000000 };
    assert_int_equal(pag_broker_deny(b, &entry, "dev-a"), PAG_OK);
    assert_true(acl_says(p, "user dev-a\ntopic deny #\n"));
    assert_int_equal(hups_within(p, 1, 3000), 1);
    pag_broker_status_get(b, &s);
    assert_true(s.crl_number > number);
    assert_int_equal(pag_broker_deny(b, NULL, "bad name"), PAG_E_DENIED);
    assert_int_equal(pag_broker_allow(b, "dev-a"), PAG_OK);
    assert_false(acl_says(p, "dev-a"));
    assert_int_equal(hups_within(p, 2, 3000), 2);
    pag_broker_free(b);
}

/* Like mosquitto 2.0: what comes while it reads is forgotten when it has read. */
static const char FORGETFUL[] = "#!/bin/sh\n"
                                "dir=$(dirname \"$2\")\n"
                                "due=0\n"
                                "trap 'due=1' HUP\n"
                                "trap 'exit 0' TERM\n"
                                "echo '1: mosquitto version 0 running'\n"
                                "while :; do\n"
                                "  if [ $due = 1 ]; then\n"
                                "    echo '2: Reloading config.'\n"
                                "    cp \"$dir/acl\" \"$dir/read\"\n"
                                "    sleep 0.4\n"
                                "    due=0\n"
                                "  fi\n"
                                "  sleep 0.02\n"
                                "done\n";

static bool has_read(const struct place *p, const char *what)
{
    char path[400];
    bool found = false;
    (void)snprintf(path, sizeof path, "%s/read", p->paths.broker_dir);
    for (int i = 0; i < 2000 && !found; i++) {
        struct pag_buf text = { NULL, 0, 0 };
        found = pag_fs_read(path, 1 << 20, &text, NULL) == PAG_OK && text.n > 0 &&
                memmem(text.p, text.n, what, strlen(what)) != NULL;
        pag_fs_buf_free(&text);
        (void)usleep(5000);
    }
    return found;
}

static void a_refusal_reaches_a_broker_that_is_reading_the_one_before(void **state)
{
    struct place *p = *state;
    struct pag_broker *b = NULL;
    write_starter(p, FORGETFUL);
    assert_int_equal(pag_broker_new(&p->config, &b, NULL, NULL), PAG_OK);
    assert_int_equal(pag_broker_start(b, 5000), PAG_OK);
    assert_int_equal(pag_broker_deny(b, NULL, "dev-a"), PAG_OK);
    assert_true(has_read(p, "user dev-a\n"));
    assert_int_equal(pag_broker_deny(b, NULL, "dev-b"), PAG_OK);
    assert_int_equal(pag_broker_deny(b, NULL, "dev-c"), PAG_OK);
    assert_true(has_read(p, "user dev-b\n"));
    assert_true(has_read(p, "user dev-c\n"));
    pag_broker_free(b);
}

static void the_store_s_list_replaces_what_was_there(void **state)
{
    struct place *p = *state;
    struct pag_broker *b = NULL;
    static const char *const first[] = { "zz", "dev-a", "mm", "dev-a" };
    static const char *const second[] = { "mm" };
    const struct pag_broker_denials one = { NULL, 0, first, 4 };
    const struct pag_broker_denials two = { NULL, 0, second, 1 };
    assert_int_equal(pag_broker_new(&p->config, &b, NULL, NULL), PAG_OK);
    assert_int_equal(pag_broker_set_denials(b, &one), PAG_OK);
    assert_true(acl_says(p, "user dev-a\ntopic deny #\nuser mm\ntopic deny #\nuser zz\ntopic deny #\n"));
    assert_int_equal(pag_broker_set_denials(b, &two), PAG_OK);
    assert_false(acl_says(p, "dev-a"));
    assert_true(acl_says(p, "user mm"));
    pag_broker_free(b);
}

static void init_refuses_to_run_twice_and_names_what_exists(void **state)
{
    struct place *p = *state;
    struct pag_init_result *result = calloc(1, sizeof *result);
    struct stat before;
    struct stat after;
    char found[320] = "";
    const struct pag_init_order order = {
        .data = p->data, .passphrase = "only for tests", .now = 1800000000, .server_s = 86400
    };
    assert_int_equal(stat(p->paths.root_pem, &before), 0);
    assert_int_equal(pag_init(&order, result, found, NULL), PAG_E_EXISTS);
    assert_string_equal(found, p->paths.root_pem);
    assert_int_equal(stat(p->paths.root_pem, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    free(result);
}

static void no_root_key_stays_and_the_export_is_nagged_about(void **state)
{
    struct place *p = *state;
    char path[400];
    char away[400];
    struct pag_buf pem = { NULL, 0, 0 };
    (void)snprintf(path, sizeof path, "%s/ca/root.key", p->data);
    assert_false(pag_fs_exists(path));
    assert_int_equal(pag_fs_read(p->paths.root_export, 8192, &pem, NULL), PAG_OK);
    assert_non_null(strstr((const char *)pem.p, "BEGIN ENCRYPTED PRIVATE KEY"));
    assert_null(strstr((const char *)pem.p, "BEGIN PRIVATE KEY"));
    pag_fs_buf_free(&pem);
    assert_int_equal(pag_init_root_state(&p->paths), PAG_ROOT_STILL_HERE);
    assert_int_equal(pag_init_root_confirm(&p->paths, false, NULL), PAG_E_CONFLICT);
    (void)snprintf(away, sizeof away, "%s/run/moved", p->data);
    assert_int_equal(pag_fs_rename(p->paths.root_export, away, NULL), PAG_OK);
    assert_int_equal(pag_init_root_state(&p->paths), PAG_ROOT_UNCONFIRMED);
    assert_int_equal(pag_init_root_confirm(&p->paths, false, NULL), PAG_OK);
    assert_int_equal(pag_init_root_state(&p->paths), PAG_ROOT_CONFIRMED);
}

static void a_server_certificate_is_renewed_with_a_new_key(void **state)
{
    struct place *p = *state;
    struct pag_x509_info before;
    struct pag_x509_info after;
    struct pag_buf pem = { NULL, 0, 0 };
    assert_int_equal(pag_fs_read(p->paths.server_pem, 8192, &pem, NULL), PAG_OK);
    assert_int_equal(pag_x509_info((struct pag_span){ pem.p, pem.n }, &before), PAG_OK);
    pag_fs_buf_free(&pem);
    assert_int_equal(pag_init_renew_server(&p->paths, "new.example.org", (uint64_t)time(NULL), 7200, NULL),
                     PAG_OK);
    assert_int_equal(pag_fs_read(p->paths.server_pem, 8192, &pem, NULL), PAG_OK);
    assert_int_equal(pag_x509_info((struct pag_span){ pem.p, pem.n }, &after), PAG_OK);
    assert_string_equal(after.subject, "CN=new.example.org");
    assert_memory_not_equal(before.key_sha256, after.key_sha256, sizeof after.key_sha256);
    assert_int_equal(pag_fs_private(p->paths.server_key, NULL), PAG_OK);
    pag_fs_buf_free(&pem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_list_refuses_first_and_binds_patterns_to_the_name),
        cmocka_unit_test(a_topic_that_would_open_more_than_ones_own_is_refused),
        cmocka_unit_test(a_bundle_with_more_than_the_device_authority_is_refused),
        cmocka_unit_test(a_broker_that_ends_at_once_is_started_again_ever_more_slowly),
        cmocka_unit_test(a_missing_program_is_said_and_tried_again),
        cmocka_unit_test(refusals_are_on_disk_before_the_broker_is_told),
        cmocka_unit_test(a_refusal_reaches_a_broker_that_is_reading_the_one_before),
        cmocka_unit_test(the_store_s_list_replaces_what_was_there),
        cmocka_unit_test(init_refuses_to_run_twice_and_names_what_exists),
        cmocka_unit_test(no_root_key_stays_and_the_export_is_nagged_about),
        cmocka_unit_test(a_server_certificate_is_renewed_with_a_new_key),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
