/*
 * The smallest firmware of a posix device: a thermometer that keeps itself up to date. Started by
 * pagurus-posix-loader, which sets PAG_DIR, PAG_SLOT and PAG_LOADER. Configuration: PAG_DIR/device.conf.
 *
 * PAG_DEVICE_VERSION is its version text. PAG_DEVICE_CRASHES and PAG_DEVICE_UNHEALTHY build images that must
 * be gone back from.
 */
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagurus/agent.h>
#include <pagurus/identity.h>

#include "core/bytes.h"
#include "ports/posix/posix_port.h"

#ifndef PAG_DEVICE_VERSION
#define PAG_DEVICE_VERSION "1.0.0"
#endif
#ifndef PAG_DEVICE_CRASHES
#define PAG_DEVICE_CRASHES 0
#endif
#ifndef PAG_DEVICE_UNHEALTHY
#define PAG_DEVICE_UNHEALTHY 0
#endif

const struct pag_identity pag_identity __attribute__((used, aligned(4))) =
    PAG_IDENTITY("thermometer", PAG_DEVICE_VERSION, "posix");

enum { CONFIG_MAX = 16384, READING_MS = 1000 };

static volatile sig_atomic_t stop_wanted;

static void on_stop(int signal_number)
{
    (void)signal_number;
    stop_wanted = 1;
}

struct thermometer {
    struct pag_posix *board;
    uint32_t last_ms;
    uint32_t readings;
};

static void publish_reading(void *ctx, struct pag_agent *agent)
{
    struct thermometer *t = ctx;
    uint32_t now_ms = t->board->port.now_ms(t->board);
    char text[32];
    if (now_ms - t->last_ms < READING_MS) {
        return;
    }
    t->last_ms = now_ms;
    t->readings++;
    int n = snprintf(text, sizeof text, "%.1f", 20.0 + (double)(t->readings % 50) / 10.0);
    (void)pag_agent_publish(agent, "temp", pag_span_of(text, n > 0 ? (size_t)n : 0));
}

static enum pag_health self_test(void *ctx)
{
    (void)ctx;
    return PAG_DEVICE_UNHEALTHY ? PAG_HEALTH_UNKNOWN : PAG_HEALTH_PASS;
}

static enum pag_err on_command(void *ctx, const struct pag_agent_command *command, struct pag_buf *text)
{
    const struct thermometer *t = ctx;
    (void)fprintf(stderr, "thermometer: command %u\n", command->kind);
    enum pag_err err = pag_buf_put_str(text, "readings ");
    return err == PAG_OK ? pag_buf_put_dec(text, t->readings) : err;
}

static bool open_board(struct pag_posix *board, const char *dir)
{
    if (pag_posix_open(board, dir, 0) != PAG_OK) {
        (void)fprintf(stderr, "thermometer: %s is not a device\n", dir);
        return false;
    }
    pag_posix_take_environment(board);
    return true;
}

int main(void)
{
    static struct pag_agent agent;
    static struct pag_posix board;
    static struct pag_settings settings;
    static uint8_t config[CONFIG_MAX];
    static alignas(8) uint8_t scratch[PAG_AGENT_SCRATCH_BYTES];
    static const struct pag_agent_hooks hooks = {
        .loop = publish_reading,
        .self_test = self_test,
        .on_command = on_command,
    };
    const char *dir = getenv("PAG_DIR");
    if (PAG_DEVICE_CRASHES) {
        (void)raise(SIGSEGV); /* what this image is for */
    }
    struct thermometer t = { .board = &board };
    struct pag_buf text = { config, 0, sizeof config };
    if (dir == NULL) {
        (void)fprintf(stderr, "thermometer: pagurus-posix-loader starts this\n");
        return 1;
    }
    if (pag_posix_config(dir, &text, &settings) != PAG_OK) {
        return PAG_POSIX_EXIT_CONFIG;
    }
    memcpy(settings.version, PAG_DEVICE_VERSION, sizeof PAG_DEVICE_VERSION);
    if (!open_board(&board, dir)) {
        return 1;
    }
    struct pag_buf lent = { scratch, 0, sizeof scratch };
    if (pag_agent_init(&agent, &board.port, &settings, lent) != PAG_OK) {
        (void)fprintf(stderr, "thermometer: the agent does not start\n");
        return 1;
    }
    pag_agent_set_hooks(&agent, &hooks, &t);
    (void)signal(SIGTERM, on_stop);
    (void)signal(SIGINT, on_stop);
    (void)fprintf(stderr, "thermometer %s in slot %c\n", PAG_DEVICE_VERSION, board.slot == 0 ? 'A' : 'B');
    while (stop_wanted == 0) {
        uint32_t ms = pag_agent_step(&agent);
        if (ms > 0) {
            pag_posix_wait(&board, ms);
        }
    }
    pag_posix_close(&board);
    return 0;
}
