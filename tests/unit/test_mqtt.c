#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): mkdtemp */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/fs.h"
#include "host/mqtt.h"
#include "host/spawn.h"

/* Against a real mosquitto on loopback without TLS; TLS and rights are in tests/system/test_broker.py. */

#define MOSQUITTO "/usr/sbin/mosquitto"

struct bench {
    char folder[64];
    char conf[128];
    struct pag_child broker;
    uint16_t port;
    atomic_int ups, downs, messages;
    pthread_mutex_t lock;
    char last[64];
    bool last_retained;
};

static uint16_t free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static bool answers(uint16_t port)
{
    const struct sockaddr_in a = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine = connect(fd, (const struct sockaddr *)&a, sizeof a) == 0;
    (void)close(fd);
    return fine;
}

static void start_broker(struct bench *b)
{
    const char *const argv[] = { MOSQUITTO, "-c", b->conf, NULL };
    const struct pag_child_config config = { .argv = argv, .death_signal = SIGTERM };
    assert_int_equal(pag_child_start(&config, &b->broker, NULL), PAG_OK);
    for (int i = 0; i < 1000 && !answers(b->port); i++) {
        (void)usleep(5000);
    }
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    char text[128];
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)snprintf(b->folder, sizeof b->folder, "/tmp/pag-mqtt-XXXXXX");
    assert_non_null(mkdtemp(b->folder));
    b->port = free_port();
    (void)snprintf(b->conf, sizeof b->conf, "%s/conf", b->folder);
    int n = snprintf(text, sizeof text, "listener %u 127.0.0.1\nallow_anonymous true\n", (unsigned)b->port);
    assert_int_equal(pag_fs_write(b->conf, (struct pag_span){ (const uint8_t *)text, (size_t)n }, 0644, NULL),
                     PAG_OK);
    (void)chmod(b->folder, 0755); /* as root, mosquitto changes to a user of its own */
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    (void)unlink(b->conf);
    (void)rmdir(b->folder);
    (void)pthread_mutex_destroy(&b->lock);
    free(b);
    return 0;
}

static void on_state(void *ctx, enum pag_mqtt_state state, const char *why)
{
    struct bench *b = ctx;
    assert_non_null(why);
    atomic_fetch_add(&b->ups, state == PAG_MQTT_UP ? 1 : 0);
    atomic_fetch_add(&b->downs, state == PAG_MQTT_DOWN ? 1 : 0);
}

static void on_message(void *ctx, const struct pag_mqtt_message *message)
{
    struct bench *b = ctx;
    (void)pthread_mutex_lock(&b->lock);
    (void)snprintf(b->last, sizeof b->last, "%s %.*s", message->topic, (int)message->payload.n,
                   (const char *)message->payload.p);
    b->last_retained = message->retained;
    (void)pthread_mutex_unlock(&b->lock);
    atomic_fetch_add(&b->messages, 1);
}

static bool reaches(atomic_int *value, int want, int ms)
{
    for (int i = 0; i < ms / 2 && atomic_load(value) < want; i++) {
        (void)usleep(2000);
    }
    return atomic_load(value) >= want;
}

static struct pag_span text(const char *s)
{
    return (struct pag_span){ (const uint8_t *)s, strlen(s) };
}

static struct pag_mqtt *client(struct bench *b)
{
    static const char *const filters[] = { "t/#", NULL };
    const struct pag_mqtt_config config = { .host = "127.0.0.1",
                                            .port = b->port,
                                            .client_id = "tester",
                                            .filters = filters,
                                            .on_message = on_message,
                                            .on_state = on_state,
                                            .ctx = b };
    struct pag_mqtt *m = NULL;
    assert_int_equal(pag_mqtt_new(&config, &m, NULL), PAG_OK);
    return m;
}

/* Subscriptions are in force a moment after UP. */
static void echo_once(struct bench *b, struct pag_mqtt *m)
{
    int before = atomic_load(&b->messages);
    for (int i = 0; i < 100 && atomic_load(&b->messages) == before; i++) {
        assert_int_equal(pag_mqtt_publish(m, "t/echo", text("x"), 1, false), PAG_OK);
        (void)reaches(&b->messages, before + 1, 50);
    }
    assert_true(atomic_load(&b->messages) > before);
}

static void a_message_comes_back_and_is_counted(void **state)
{
    struct bench *b = *state;
    struct pag_mqtt_stats s;
    start_broker(b);
    struct pag_mqtt *m = client(b);
    assert_int_equal(pag_mqtt_publish(m, "t/a", text("early"), 1, false), PAG_E_CLOSED);
    assert_int_equal(pag_mqtt_start(m, 0), PAG_OK);
    assert_true(reaches(&b->ups, 1, 5000));
    echo_once(b, m);
    int before = atomic_load(&b->messages);
    assert_int_equal(pag_mqtt_publish(m, "t/a", text("hello"), 1, false), PAG_OK);
    assert_true(reaches(&b->messages, before + 1, 2000));
    assert_string_equal(b->last, "t/a hello");
    assert_false(b->last_retained);
    assert_int_equal(pag_mqtt_publish(m, "other", text("hello"), 0, false), PAG_OK);
    pag_mqtt_stats_get(m, &s);
    assert_int_equal(s.state, PAG_MQTT_UP);
    assert_int_equal(s.connects, 1);
    assert_int_equal(s.refused, 1);
    assert_true(s.published >= 3 && s.received >= 2);
    pag_mqtt_free(m);
    pag_child_stop(&b->broker, 5000);
}

static void topics_that_are_none_are_refused(void **state)
{
    struct bench *b = *state;
    start_broker(b);
    struct pag_mqtt *m = client(b);
    assert_int_equal(pag_mqtt_start(m, 0), PAG_OK);
    assert_true(reaches(&b->ups, 1, 5000));
    static const char *const bad[] = { "", "a/#", "a/+/b", "\xff", "\xc3" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(pag_mqtt_publish(m, bad[i], text("x"), 0, false), PAG_E_SYNTAX);
    }
    uint8_t *big = calloc(1, 262145);
    assert_int_equal(pag_mqtt_publish(m, "t/a", (struct pag_span){ big, 262145 }, 0, false), PAG_E_LIMIT);
    assert_int_equal(pag_mqtt_publish(m, "t/a", text("x"), 2, false), PAG_E_SYNTAX);
    free(big);
    pag_mqtt_free(m);
    pag_child_stop(&b->broker, 5000);
}

static void a_lost_broker_is_noticed_and_found_again_with_its_subscriptions(void **state)
{
    struct bench *b = *state;
    struct pag_mqtt_stats s;
    start_broker(b);
    struct pag_mqtt *m = client(b);
    assert_int_equal(pag_mqtt_start(m, 0), PAG_OK);
    assert_true(reaches(&b->ups, 1, 5000));
    pag_child_signal(&b->broker, SIGKILL);
    pag_child_stop(&b->broker, 0);
    assert_true(reaches(&b->downs, 1, 2000));
    assert_int_equal(pag_mqtt_publish(m, "t/a", text("x"), 1, false), PAG_E_CLOSED);
    start_broker(b);
    assert_true(reaches(&b->ups, 2, 8000));
    echo_once(b, m);
    pag_mqtt_stats_get(m, &s);
    assert_int_equal(s.connects, 2);
    assert_int_equal(s.disconnects, 1);
    assert_true(s.last_error[0] != '\0');
    pag_mqtt_free(m);
    pag_child_stop(&b->broker, 5000);
}

static void ending_without_a_broker_takes_no_time(void **state)
{
    struct bench *b = *state;
    struct pag_mqtt *m = client(b);
    assert_int_equal(pag_mqtt_start(m, 0), PAG_OK);
    assert_true(reaches(&b->downs, 1, 3000));
    pag_mqtt_free(m); /* cmocka's time-out is the test */
    pag_mqtt_free(NULL);
}

int main(void)
{
    if (access(MOSQUITTO, X_OK) != 0) {
        print_message("skipped: no %s\n", MOSQUITTO);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_comes_back_and_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(topics_that_are_none_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_broker_is_noticed_and_found_again_with_its_subscriptions,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(ending_without_a_broker_takes_no_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
