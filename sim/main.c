#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "host/clock.h"
#include "sim/saved.h"
#include "sim/table.h"

enum { EXIT_LATE = 1, EXIT_USAGE = 2, EXIT_START = 3, EXIT_NOBODY = 4, SHOW_MS = 1000 };

/* Set by a signal only. */
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

/* Two connections a device, and some. */
static void raise_descriptors(uint32_t devices)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        const rlim_t want = (rlim_t)devices * 2 + 64;
        limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void add_up(struct pag_sim_world *world, uint32_t n, struct pag_sim_summary *sum)
{
    *sum = (struct pag_sim_summary){ 0 };
    for (uint32_t i = 0; i < n; i++) {
        pthread_mutex_lock(&world[i].lock);
        pag_sim_summary_add(sum, &world[i].summary);
        pthread_mutex_unlock(&world[i].lock);
    }
}

/* Until the time is over, all is settled, or a signal. True when every device is as expected. */
static bool watch(struct pag_sim_world *world, const struct pag_sim_options *o)
{
    const struct pag_clock clock = pag_clock_system();
    const uint64_t start = clock.now_ms(clock.ctx);
    struct pag_sim_table table = { .to = stdout, .tty = isatty(STDOUT_FILENO) != 0 };
    uint64_t shown = 0;
    for (;;) {
        struct pag_sim_summary sum;
        const uint64_t now = clock.now_ms(clock.ctx);
        add_up(world, o->threads, &sum);
        const bool settled = sum.devices == o->devices && sum.settled == sum.devices;
        const bool over =
            stopped != 0 || now - start >= (uint64_t)o->seconds * 1000 || (o->until_settled && settled);
        if (over || now - shown >= SHOW_MS) {
            pag_sim_table_show(&table, &sum, now);
            shown = now;
        }
        if (over) {
            return settled;
        }
        (void)nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    }
}

static enum pag_err start(struct pag_sim_world *world, const struct pag_sim_options *o)
{
    enum pag_err err = PAG_OK;
    for (uint32_t i = 0, first = 0; i < o->threads && err == PAG_OK; i++) {
        const uint32_t n = o->devices / o->threads + (i < o->devices % o->threads ? 1 : 0);
        err = pag_sim_world_init(&world[i], o, first, n);
        first += n;
    }
    for (uint32_t i = 0; i < o->threads && err == PAG_OK; i++) {
        err = pag_sim_world_start(&world[i]);
    }
    return err;
}

static int report(const struct pag_sim_world *world, const struct pag_sim_options *o, double seconds)
{
    FILE *to = o->report != NULL ? fopen(o->report, "w") : stdout;
    enum pag_err err = to != NULL ? pag_sim_report_write(to, o, world, o->threads, seconds) : PAG_E_IO;
    if (o->report != NULL && to != NULL && fclose(to) != 0) {
        err = PAG_E_IO;
    }
    if (err != PAG_OK) {
        (void)fprintf(stderr, "pagurus-sim: cannot write the report\n");
    }
    return err == PAG_OK ? 0 : EXIT_START;
}

static int keep(struct pag_sim_world *world, const struct pag_sim_options *o)
{
    struct pag_fail why = { 0 };
    if (pag_sim_saved_write(o->devices_file, o, world, &why) == PAG_OK) {
        return 0;
    }
    (void)fprintf(stderr, "pagurus-sim: cannot write %s: %s\n", o->devices_file, why.what);
    return EXIT_START;
}

/* The one of the two that says more about why a run fails; either may be NULL. */
static const struct pag_sim_device *worse(const struct pag_sim_device *a, const struct pag_sim_device *b)
{
    if (b == NULL || b->last_error == PAG_OK || pag_sim_device_settled(b)) {
        return a;
    }
    return a == NULL || (a->reached && !b->reached) ? b : a;
}

/* A device that is not as expected and has an error to tell, or NULL; one that never got through first. */
static const struct pag_sim_device *unhappy(const struct pag_sim_world *world, uint32_t n)
{
    const struct pag_sim_device *found = NULL;
    for (uint32_t w = 0; w < n; w++) {
        for (uint32_t i = 0; i < world[w].device_n; i++) {
            found = worse(found, &world[w].device[i]);
        }
    }
    return found;
}

/* After the worlds have stopped: why it went no better. Returns the exit code. */
static int explain(struct pag_sim_world *world, const struct pag_sim_options *o, bool settled)
{
    struct pag_sim_summary sum;
    char text[320];
    add_up(world, o->threads, &sum);
    const struct pag_sim_device *d = unhappy(world, o->threads);
    if (settled || (d == NULL && !o->until_settled)) {
        return 0;
    }
    if (d != NULL) {
        pag_sim_device_say(d, text, sizeof(text));
    }
    if (d != NULL && sum.reached == 0) {
        (void)fprintf(stderr,
                      "pagurus-sim: none of %u devices got through to the server; the last error, of %s\n",
                      (unsigned)sum.devices, text);
        if (d->last_error == PAG_E_DENIED || d->last_error == PAG_E_NOT_FOUND) {
            (void)fprintf(stderr,
                          "  fix: is the claim code still good, for this product and so many devices? "
                          "pagurus enroll code list\n");
        }
        return EXIT_NOBODY;
    }
    if (o->until_settled) {
        (void)fprintf(stderr, "pagurus-sim: %u of %u devices came to what they should%s%s\n",
                      (unsigned)sum.settled, (unsigned)sum.devices,
                      d != NULL ? "; the last error of one that did not, " : "", d != NULL ? text : "");
    }
    return o->until_settled ? EXIT_LATE : 0;
}

static int run(const struct pag_sim_options *o)
{
    struct pag_sim_world *world = calloc(o->threads, sizeof(*world));
    if (world == NULL) {
        return EXIT_START;
    }
    const struct pag_clock clock = pag_clock_system();
    const uint64_t began = clock.now_ms(clock.ctx);
    bool settled = false;
    const enum pag_err err = start(world, o);
    if (err == PAG_OK) {
        settled = watch(world, o);
    } else {
        (void)fprintf(stderr, "pagurus-sim: cannot start: %s\n", pag_err_word(err));
    }
    for (uint32_t i = 0; i < o->threads; i++) {
        pag_sim_world_stop(&world[i]);
    }
    int code = err == PAG_OK ? explain(world, o, settled) : EXIT_START;
    if (err == PAG_OK && o->json) {
        const int written = report(world, o, (double)(clock.now_ms(clock.ctx) - began) / 1000.0);
        code = written != 0 ? written : code;
    }
    if (err == PAG_OK && o->devices_file != NULL) {
        const int kept = keep(world, o);
        code = kept != 0 ? kept : code;
    }
    for (uint32_t i = 0; i < o->threads; i++) {
        pag_sim_world_free(&world[i]);
    }
    free(world);
    return code;
}

int main(int argc, char **argv)
{
    struct pag_sim_options options;
    const bool asked = argc > 1 && strcmp(argv[1], "run") == 0;
    const enum pag_err err =
        pag_sim_options_parse(&options, argc - (asked ? 1 : 0), argv + (asked ? 1 : 0), stderr);
    int code = err == PAG_E_NOT_FOUND ? 0 : EXIT_USAGE;
    if (err == PAG_OK) {
        (void)signal(SIGPIPE, SIG_IGN);
        (void)signal(SIGINT, on_signal);
        (void)signal(SIGTERM, on_signal);
        raise_descriptors(options.devices);
        code = run(&options);
    }
    pag_sim_options_free(&options);
    return code;
}
