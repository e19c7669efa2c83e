#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): mkdtemp, O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/fs.h"
#include "host/gzip.h"
#include "host/rand.h"
#include "host/spawn.h"

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/pag-fs-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    const char *const argv[] = { "/bin/rm", "-rf", folder, NULL };
    const struct pag_child_config config = { .argv = argv, .dir = "/" };
    struct pag_child child;
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(pag_child_start(&config, &child, NULL), PAG_OK);
    while (!pag_child_poll(&child)) {
        (void)usleep(1000);
    }
    return 0;
}

static struct pag_span text(const char *s)
{
    return (struct pag_span){ (const uint8_t *)s, strlen(s) };
}

static void a_file_is_replaced_as_a_whole_with_the_mode_asked_for(void **state)
{
    (void)state;
    struct pag_buf got = { NULL, 0, 0 };
    struct stat st;
    assert_int_equal(pag_fs_write("a", text("old"), 0644, NULL), PAG_OK);
    assert_int_equal(pag_fs_write("a", text("new text"), 0600, NULL), PAG_OK);
    assert_int_equal(pag_fs_read("a", 100, &got, NULL), PAG_OK);
    assert_int_equal(got.n, 8);
    assert_string_equal((const char *)got.p, "new text");
    assert_int_equal(stat("a", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    pag_fs_buf_free(&got);
    assert_int_equal(pag_fs_read("a", 7, &got, NULL), PAG_E_LIMIT);
    assert_int_equal(pag_fs_read("none", 7, &got, NULL), PAG_E_NOT_FOUND);
    assert_int_equal(pag_fs_read("/dev/zero", 7, &got, NULL), PAG_E_IO);
    assert_null(got.p);
}

static void a_failed_write_leaves_the_old_file_and_no_rest(void **state)
{
    (void)state;
    struct pag_fail why = { PAG_OK, "", 0 };
    assert_int_equal(mkdir("full", 0700), 0);
    assert_int_equal(mkdir("full/a", 0700), 0); /* a folder cannot be replaced by a file */
    assert_int_not_equal(pag_fs_write("full/a", text("x"), 0600, &why), PAG_OK);
    assert_int_equal(rmdir("full/a"), 0);
    assert_int_equal(rmdir("full"), 0); /* so no temporary file is left */
    assert_int_equal(pag_fs_write("nowhere/a", text("x"), 0600, &why), PAG_E_NOT_FOUND);
    assert_int_equal(why.detail, ENOENT);
    assert_int_equal(pag_fs_write("/dev/full/x", text("x"), 0600, &why), PAG_E_NOT_FOUND);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    assert_int_equal(pag_fs_mkdirs("p/q/r", 0700, NULL), PAG_OK);
    assert_int_equal(pag_fs_mkdirs("p/q/r/", 0700, NULL), PAG_OK);
    assert_int_equal(pag_fs_write("p/file", text("x"), 0600, NULL), PAG_OK);
    assert_int_equal(pag_fs_mkdirs("p/file", 0700, NULL), PAG_E_EXISTS);
    assert_int_not_equal(pag_fs_mkdirs("p/file/q", 0700, NULL), PAG_OK);
    assert_int_equal(pag_fs_mkdirs("", 0700, NULL), PAG_E_CONFIG);
}

static void a_secret_open_to_others_is_refused(void **state)
{
    (void)state;
    assert_int_equal(pag_fs_write("s", text("x"), 0600, NULL), PAG_OK);
    assert_int_equal(pag_fs_private("s", NULL), PAG_OK);
    static const mode_t open_modes[] = { 0640, 0604, 0620, 0602, 0610 };
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        assert_int_equal(chmod("s", open_modes[i]), 0);
        assert_int_equal(pag_fs_private("s", NULL), PAG_E_DENIED);
    }
    assert_int_equal(pag_fs_private("none", NULL), PAG_E_NOT_FOUND);
    assert_int_equal(pag_fs_private(".", NULL), PAG_E_DENIED);
}

static void nothing_outside_the_folder_can_be_opened(void **state)
{
    (void)state;
    int fd = -1;
    assert_int_equal(pag_fs_mkdirs("root/in", 0700, NULL), PAG_OK);
    assert_int_equal(pag_fs_write("root/in/f", text("x"), 0600, NULL), PAG_OK);
    assert_int_equal(pag_fs_write("outside", text("x"), 0600, NULL), PAG_OK);
    assert_int_equal(symlink("../outside", "root/link"), 0);
    assert_int_equal(symlink("in/f", "root/inner"), 0);
    int dir = open("root", O_RDONLY | O_DIRECTORY);
    assert_true(dir >= 0);
    static const char *const bad[] = { "../outside", "in/../../outside",  "/etc/passwd", "link",
                                       "inner",      "in/../../root/in/f" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(pag_fs_open_beneath(dir, bad[i], O_RDONLY, 0, &fd), PAG_E_DENIED);
    }
    assert_int_equal(fd, -1);
    assert_int_equal(pag_fs_open_beneath(dir, "none", O_RDONLY, 0, &fd), PAG_E_NOT_FOUND);
    assert_int_equal(pag_fs_open_beneath(dir, "in/f", O_RDONLY, 0, &fd), PAG_OK);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(close(fd), 0);
    assert_int_equal(pag_fs_open_beneath(dir, "in/f", O_WRONLY | O_CREAT | O_EXCL, 0600, &fd), PAG_E_EXISTS);
    assert_int_equal(pag_fs_open_beneath(dir, "in/g", O_WRONLY | O_CREAT | O_EXCL, 0600, &fd), PAG_OK);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(dir), 0);
}

static void numbers_below_a_bound_are_all_reached_and_never_it(void **state)
{
    (void)state;
    unsigned seen[7] = { 0 };
    for (int i = 0; i < 7000; i++) {
        uint32_t x = pag_rand_below(7);
        assert_true(x < 7);
        seen[x]++;
    }
    for (int i = 0; i < 7; i++) {
        assert_in_range(seen[i], 800, 1200); /* expected 1000, sigma 29 */
    }
}

/* ---- children ---- */

static void a_child_gets_its_arguments_untouched_and_no_descriptor_of_ours(void **state)
{
    (void)state;
    const char *const argv[] = { "/bin/sh", "-c",       "echo \"$1\"; ls /proc/self/fd | wc -l; exit 3",
                                 "sh",      "a b;$(x)", NULL };
    const struct pag_child_config config = { .argv = argv, .pipe = true };
    struct pag_child child;
    char out[128] = "";
    size_t n = 0;
    int spare = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_int_equal(pag_child_start(&config, &child, NULL), PAG_OK);
    while (!pag_child_poll(&child)) {
        (void)usleep(1000);
    }
    ssize_t got = read(child.out_fd, out, sizeof out - 1);
    assert_true(got > 0);
    n = (size_t)got;
    out[n] = '\0';
    assert_string_equal(out, "a b;$(x)\n4\n"); /* 0 1 2 and the one ls reads the folder with */
    assert_true(WIFEXITED(child.status));
    assert_int_equal(WEXITSTATUS(child.status), 3);
    pag_child_stop(&child, 0);
    (void)close(spare);
}

static void a_program_that_is_not_there_is_told_at_start(void **state)
{
    (void)state;
    const char *const argv[] = { "/nonexistent/x", NULL };
    const struct pag_child_config config = { .argv = argv };
    struct pag_child child;
    struct pag_fail why = { PAG_OK, "", 0 };
    assert_int_equal(pag_child_start(&config, &child, &why), PAG_E_NOT_FOUND);
    assert_int_equal(why.detail, ENOENT);
}

static void a_child_that_ignores_the_polite_signal_is_killed(void **state)
{
    (void)state;
    const char *const argv[] = { "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done",
                                 NULL };
    const struct pag_child_config config = { .argv = argv, .pipe = true };
    struct pag_child child;
    assert_int_equal(pag_child_start(&config, &child, NULL), PAG_OK);
    struct pollfd p = { .fd = child.out_fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 5000), 1);
    pag_child_stop(&child, 100);
    assert_int_equal(child.pid, 0);
    assert_true(WIFSIGNALED(child.status));
    assert_int_equal(WTERMSIG(child.status), SIGKILL);
}

/* ---- gzip ---- */

static void packing_and_unpacking_give_the_same_bytes(void **state)
{
    (void)state;
    uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * i >> 3);
    }
    struct pag_buf packed = { NULL, 0, 0 };
    struct pag_buf again = { NULL, 0, 0 };
    struct pag_buf back = { NULL, 0, 0 };
    assert_int_equal(pag_gzip_pack((struct pag_span){ data, sizeof data }, &packed), PAG_OK);
    assert_int_equal(pag_gzip_pack((struct pag_span){ data, sizeof data }, &again), PAG_OK);
    assert_int_equal(packed.n, again.n);
    assert_memory_equal(packed.p, again.p, packed.n); /* same input, same bytes */
    assert_int_equal(pag_gunzip_all((struct pag_span){ packed.p, packed.n }, sizeof data, 0, &back), PAG_OK);
    assert_int_equal(back.n, sizeof data);
    assert_memory_equal(back.p, data, sizeof data);
    free(back.p);
    assert_int_equal(pag_gunzip_all((struct pag_span){ packed.p, packed.n }, sizeof data - 1, 0, &back),
                     PAG_E_LIMIT);
    for (size_t n = 0; n < packed.n; n++) {
        assert_int_equal(pag_gunzip_all((struct pag_span){ packed.p, n }, sizeof data, 0, &back),
                         PAG_E_SHORT);
    }
    packed.p[packed.n - 6] ^= 1;
    assert_int_equal(pag_gunzip_all((struct pag_span){ packed.p, packed.n }, sizeof data, 0, &back),
                     PAG_E_CHECKSUM);
    packed.p[0] ^= 1;
    assert_int_equal(pag_gunzip_all((struct pag_span){ packed.p, packed.n }, sizeof data, 0, &back),
                     PAG_E_MAGIC);
    free(packed.p);
    free(again.p);
}

static enum pag_err count(void *ctx, struct pag_span piece)
{
    *(uint64_t *)ctx += piece.n;
    return PAG_OK;
}

static void a_bomb_is_stopped_early(void **state)
{
    (void)state;
    size_t n = 64U << 20;
    uint8_t *zeros = calloc(1, n);
    struct pag_buf packed = { NULL, 0, 0 };
    assert_non_null(zeros);
    assert_int_equal(pag_gzip_pack((struct pag_span){ zeros, n }, &packed), PAG_OK); /* about 1000 : 1 */
    free(zeros);
    uint64_t seen = 0;
    const struct pag_gunzip_config config = {
        .out_max = UINT64_MAX, .ratio_max = 20, .sink = count, .ctx = &seen
    };
    struct pag_gunzip *z = pag_gunzip_new(&config);
    enum pag_err err = PAG_OK;
    for (size_t at = 0; at < packed.n && err == PAG_OK; at += 100) {
        size_t left = packed.n - at;
        err = pag_gunzip_feed(z, (struct pag_span){ packed.p + at, left < 100 ? left : 100 });
    }
    assert_int_equal(err, PAG_E_LIMIT);
    assert_true(seen <= 200000); /* 64 KiB are free, then 20 times what came in */
    assert_int_equal(pag_gunzip_feed(z, (struct pag_span){ packed.p, 1 }), PAG_E_LIMIT);
    pag_gunzip_free(z);
    free(packed.p);
}

static void bytes_behind_the_stream_are_refused(void **state)
{
    (void)state;
    struct pag_buf packed = { NULL, 0, 0 };
    struct pag_buf back = { NULL, 0, 0 };
    uint8_t both[256];
    assert_int_equal(pag_gzip_pack(text("hello"), &packed), PAG_OK);
    memcpy(both, packed.p, packed.n);
    memcpy(both + packed.n, packed.p, packed.n);
    assert_int_equal(pag_gunzip_all((struct pag_span){ both, 2 * packed.n }, 100, 0, &back), PAG_E_SYNTAX);
    assert_int_equal(pag_gunzip_all((struct pag_span){ both, packed.n + 1 }, 100, 0, &back), PAG_E_SYNTAX);
    free(packed.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_replaced_as_a_whole_with_the_mode_asked_for),
        cmocka_unit_test(a_failed_write_leaves_the_old_file_and_no_rest),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(a_secret_open_to_others_is_refused),
        cmocka_unit_test(nothing_outside_the_folder_can_be_opened),
        cmocka_unit_test(numbers_below_a_bound_are_all_reached_and_never_it),
        cmocka_unit_test(a_child_gets_its_arguments_untouched_and_no_descriptor_of_ours),
        cmocka_unit_test(a_program_that_is_not_there_is_told_at_start),
        cmocka_unit_test(a_child_that_ignores_the_polite_signal_is_killed),
        cmocka_unit_test(packing_and_unpacking_give_the_same_bytes),
        cmocka_unit_test(a_bomb_is_stopped_early),
        cmocka_unit_test(bytes_behind_the_stream_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
