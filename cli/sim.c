#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"

/* Found as git finds its commands: beside the program, else in PATH. */
int pag_cmd_sim(struct pag_cli *cli)
{
    char self[1024];
    size_t n = 0;
    while (cli->rest[n] != NULL) {
        n++;
    }
    char **argv = pag_cli_alloc(cli, (n + 2) * sizeof *argv);
    argv[0] = pag_cli_text(cli, "pagurus-sim");
    memcpy(argv + 1, cli->rest, n * sizeof *argv);
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len > 0) {
        self[len] = 0;
        char *slash = strrchr(self, '/');
        if (slash != NULL) {
            *slash = 0;
            (void)execv(pag_cli_text(cli, "%s/pagurus-sim", self), argv);
        }
    }
    (void)execvp("pagurus-sim", argv);
    return pag_cli_fail(cli, PAG_EXIT_FAILED, "install it, or put its folder into PATH",
                        "pagurus-sim is neither beside pagurus nor in PATH");
}
