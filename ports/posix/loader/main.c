#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): GNU functions */
/*
 * The boot loader of a posix device: reads the journal, decides (agent/boot.h), verifies, copies the slot's
 * image into a memory file and executes it. docs/porting/posix.md.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/boot.h"
#include "core/bytes.h"
#include "ports/posix/posix_port.h"

enum {
    EXIT_USAGE = 2,
    EXIT_RESCUE = 69,
    EXIT_FAILED = 70,
    RESTART_MS = 500,
    CONFIG_FIRST_S = 2,
    CONFIG_LAST_S = 60
};

static const char usage[] =
    "usage: pagurus-posix-loader [--once] DIR\n"
    "       pagurus-posix-loader --install FILE [--slot-bytes N] DIR\n"
    "Boots the device in DIR. Without --once it stays and starts the device again when it dies, as a reset "
    "would.\n"
    "--install puts FILE into slot A of a new device, as a programmer on the bench does.\n";

struct options {
    bool once;
    const char *install;
    const char *dir;
    uint32_t slot_bytes;
};

/* value may be NULL. Returns the words used up, 0: not understood. */
static int take_word(const char *word, const char *value, struct options *o)
{
    if (strcmp(word, "--once") == 0) {
        o->once = true;
        return 1;
    }
    if (strcmp(word, "--install") == 0 && value != NULL) {
        o->install = value;
        return 2;
    }
    if (strcmp(word, "--slot-bytes") == 0 && value != NULL) {
        return pag_parse_u32(pag_span_str(value), &o->slot_bytes) == PAG_OK ? 2 : 0;
    }
    if (word[0] == '-' || o->dir != NULL) {
        return 0;
    }
    o->dir = word;
    return 1;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc;) {
        int used = take_word(argv[i], i + 1 < argc ? argv[i + 1] : NULL, o);
        if (used == 0) {
            return false;
        }
        i += used;
    }
    return o->dir != NULL;
}

/* ---- installing ---- */

static enum pag_err program_image(struct pag_posix *p, struct pag_span image, struct pag_slot *slot)
{
    const struct pag_flash *f = &p->port.flash;
    uint32_t room = f->area_bytes[PAG_AREA_SLOT_A] - f->sector_bytes;
    uint8_t tail[4] = { 0xFF, 0xFF, 0xFF, 0xFF };
    size_t whole = image.n & ~(size_t)3;
    if (image.n == 0 || image.n > room) {
        return PAG_E_SPACE;
    }
    slot->size = (uint32_t)image.n;
    pag_sha256_of(p->port.crypto, image, slot->digest);
    enum pag_err err = f->erase(p, PAG_AREA_SLOT_A, 0, f->area_bytes[PAG_AREA_SLOT_A]);
    if (err == PAG_OK && whole > 0) {
        err = f->program(p, PAG_AREA_SLOT_A, 0, pag_span_of(image.p, whole));
    }
    if (err == PAG_OK && whole < image.n) {
        memcpy(tail, image.p + whole, image.n - whole);
        err = f->program(p, PAG_AREA_SLOT_A, (uint32_t)whole, pag_span_of(tail, sizeof tail));
    }
    uint8_t record[PAG_SLOT_FACTORY_BYTES];
    struct pag_buf b = { record, 0, sizeof record };
    if (err == PAG_OK) {
        err = pag_slot_factory_put(slot, &b);
    }
    return err == PAG_OK ? f->program(p, PAG_AREA_SLOT_A, room, pag_buf_span(&b)) : err;
}

static int install(const struct options *o)
{
    struct pag_posix p;
    struct pag_slot slot = { .factory = true };
    struct stat st;
    enum pag_err err = PAG_E_IO;
    (void)mkdir(o->dir, 0700);
    int fd = open(o->install, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        void *image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        err = image != MAP_FAILED ? pag_posix_open(&p, o->dir, o->slot_bytes) : PAG_E_IO;
        if (err == PAG_OK) {
            err = program_image(&p, pag_span_of(image, (size_t)st.st_size), &slot);
            pag_posix_close(&p);
        }
        if (image != MAP_FAILED) {
            (void)munmap(image, (size_t)st.st_size);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    if (err != PAG_OK) {
        (void)fprintf(stderr, "loader: %s cannot be installed in %s: %s\n", o->install, o->dir,
                      pag_err_word(err));
        return EXIT_FAILED;
    }
    return 0;
}

/* ---- booting ---- */

static int copy_image(struct pag_posix *p, const struct pag_boot *boot)
{
    uint8_t part[PAG_POSIX_SECTOR];
    int fd = memfd_create("firmware", MFD_CLOEXEC);
    for (uint32_t at = 0; fd >= 0 && at < boot->image.size;) {
        uint32_t n = boot->image.size - at < sizeof part ? boot->image.size - at : (uint32_t)sizeof part;
        if (p->port.flash.read(p, pag_slot_area(boot->slot), at, part, n) != PAG_OK ||
            write(fd, part, n) != (ssize_t)n) {
            close(fd);
            return -1;
        }
        at += n;
    }
    return fd;
}

/* A counter as chips keep it in memory that a reset leaves alone; DIR/restarts. */
static void count_restart(const char *dir)
{
    char path[PAG_POSIX_PATH + 16];
    char text[16] = "";
    (void)snprintf(path, sizeof path, "%s/restarts", dir);
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(text, sizeof text, f) == NULL) {
            text[0] = 0;
        }
        (void)fclose(f);
    }
    unsigned long n = text[0] != 0 ? strtoul(text, NULL, 10) + 1 : 0;
    (void)snprintf(text, sizeof text, "%lu", n & UINT32_MAX);
    (void)setenv("PAG_RESTARTS", text, 1);
    f = fopen(path, "we");
    if (f != NULL) {
        (void)fputs(text, f);
        (void)fclose(f);
    }
}

static void set_environment(const struct options *o, const struct pag_boot *boot)
{
    char self[PAG_POSIX_PATH];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        (void)setenv("PAG_LOADER", self, 1);
    }
    (void)setenv("PAG_DIR", o->dir, 1);
    (void)setenv("PAG_SLOT", boot->slot == 0 ? "A" : "B", 1);
    (void)setenv("PAG_RESET_REASON", "power", 0);
    count_restart(o->dir);
}

static int boot_once(const struct options *o)
{
    static alignas(8) uint8_t work[PAG_BOOT_WORK_BYTES];
    struct pag_posix p;
    struct pag_boot boot;
    enum pag_err err = pag_posix_open(&p, o->dir, 0);
    if (err != PAG_OK) {
        (void)fprintf(stderr, "loader: %s: %s\n", o->dir, pag_err_word(err));
        return EXIT_FAILED;
    }
    p.watchdog = true;
    err = pag_boot_decide(&p.port, (struct pag_buf){ work, 0, sizeof work }, &boot);
    if (err != PAG_OK) {
        (void)fprintf(stderr, "loader: no image may be booted: %s\n", pag_err_word(err));
        return EXIT_RESCUE;
    }
    int fd = copy_image(&p, &boot);
    pag_posix_close(&p);
    if (fd < 0) {
        (void)fprintf(stderr, "loader: image cannot be copied\n");
        return EXIT_FAILED;
    }
    (void)fprintf(stderr, "loader: slot %c%s, sequence %u, %u bytes\n", boot.slot == 0 ? 'A' : 'B',
                  boot.trial ? " on trial" : "", boot.image.sequence, boot.image.size);
    set_environment(o, &boot);
    char name[] = "firmware";
    char *argv[] = { name, NULL };
    (void)alarm(PAG_POSIX_WATCHDOG_S); /* survives exec: firmware that hangs before it feeds is reset */
    (void)fexecve(fd, argv, environ);
    (void)fprintf(stderr, "loader: image cannot be executed: %d\n", errno);
    return EXIT_FAILED;
}

/* ---- power supply: starts the device again when it dies ---- */

static bool stop_wanted;

/* Held back all the time and asked for where the loader waits, so that none comes between look and wait. */
static void hold_signals(sigset_t *held)
{
    (void)sigemptyset(held);
    (void)sigaddset(held, SIGTERM);
    (void)sigaddset(held, SIGINT);
    (void)sigaddset(held, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, held, NULL);
}

/* Until the child is gone; passes the wish to stop on to it. */
static int wait_child(pid_t child, const sigset_t *held)
{
    int raw = 0;
    while (waitpid(child, &raw, WNOHANG) != child) {
        int got = sigwaitinfo(held, NULL);
        if (got == SIGTERM || got == SIGINT) {
            stop_wanted = true;
            (void)kill(child, SIGTERM);
        }
    }
    return raw;
}

/* True: the device stopped and is not to be started again. */
static bool run_child(const struct options *o, const sigset_t *held, int *status)
{
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)sigprocmask(SIG_UNBLOCK, held, NULL);
        _exit(getppid() == parent ? boot_once(o) : EXIT_FAILED);
    }
    if (child < 0) {
        *status = EXIT_FAILED;
        return true;
    }
    int raw = wait_child(child, held);
    *status = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    bool hung = WIFSIGNALED(raw) && WTERMSIG(raw) == SIGALRM;
    (void)setenv("PAG_RESET_REASON", hung ? "watchdog" : "crash", 1);
    return stop_wanted || *status == 0 || *status == EXIT_RESCUE;
}

static void nap(const sigset_t *held)
{
    const struct timespec pause = { 0, RESTART_MS * 1000000L };
    int got = sigtimedwait(held, NULL, &pause);
    stop_wanted = stop_wanted || got == SIGTERM || got == SIGINT;
}

static struct timespec changed_at(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mtim : (struct timespec){ 0 };
}

/* A start on the same wrong file says the same again: wait until it changes, or for longer each time. */
static void wait_for_config(const struct options *o, const sigset_t *held, unsigned *pause_s)
{
    char path[PAG_POSIX_PATH + 16];
    (void)snprintf(path, sizeof path, "%s/device.conf", o->dir);
    struct timespec before = changed_at(path);
    *pause_s = *pause_s == 0 ? CONFIG_FIRST_S : *pause_s < CONFIG_LAST_S / 2 ? *pause_s * 2 : CONFIG_LAST_S;
    (void)fprintf(stderr,
                  "loader: the configuration stops the device: mend it; again in %u s, or when %s changes\n",
                  *pause_s, path);
    for (unsigned i = 0; i < *pause_s * 1000 / RESTART_MS && !stop_wanted; i++) {
        nap(held);
        struct timespec now = changed_at(path);
        if (now.tv_sec != before.tv_sec || now.tv_nsec != before.tv_nsec) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = { 0 };
    int status = 0;
    if (!read_options(argc, argv, &o)) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (o.install != NULL) {
        return install(&o);
    }
    if (o.once) {
        return boot_once(&o);
    }
    sigset_t held;
    hold_signals(&held);
    unsigned pause_s = 0; /* after the last wrong configuration */
    while (!stop_wanted && !run_child(&o, &held, &status)) {
        if (status == PAG_POSIX_EXIT_CONFIG) {
            wait_for_config(&o, &held, &pause_s);
            continue;
        }
        pause_s = 0;
        (void)fprintf(stderr, "loader: device ended with %d, reset\n", status);
        nap(&held);
    }
    return stop_wanted ? 0 : status;
}
