#include "cli/push_lan.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/firmware.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/text.h"
#include "core/bytes.h"
#include "host/fs.h"
#include "relay/mdns.h"

enum { LOOK_MS = 3000 };

/* A handler can reach nothing but a global. */
static atomic_bool stop;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stop, true);
}

const atomic_bool *pag_lan_stop(void)
{
    return &stop;
}

void pag_lan_catch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    atomic_store(&stop, false);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

int pag_lan_secret(struct pag_cli *cli, const char *file, const char **out)
{
    char secret[PAG_SECRET_MAX];
    if (pag_fs_private(file, NULL) != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "chmod 600 it", "%s is missing, or others can read it",
                            file);
    }
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    enum pag_err err = fd < 0 ? PAG_E_IO : pag_read_line(fd, secret, sizeof secret);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (err != PAG_OK || secret[0] == '\0') {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "%s holds no password in its first line", file);
    }
    *out = pag_cli_text(cli, "%s", secret);
    return PAG_EXIT_OK;
}

int pag_lan_exit(const struct pag_push_result *r)
{
    if (r->err == PAG_OK) {
        return PAG_EXIT_OK;
    }
    if (r->err == PAG_E_CONDITION && atomic_load(&stop)) {
        return PAG_EXIT_INTERRUPTED;
    }
    if (r->err == PAG_E_DENIED || r->err == PAG_E_UNAUTHENTICATED) {
        return PAG_EXIT_DENIED;
    }
    bool away = r->err == PAG_E_NOT_FOUND || r->err == PAG_E_TIMEOUT || r->err == PAG_E_CLOSED;
    return away && r->phase == PAG_PUSH_KNOCKING ? PAG_EXIT_UNREACHABLE : PAG_EXIT_FAILED;
}

/* ---- pagurus push ---- */

struct lan {
    struct pag_cli *cli;
    struct pag_firmware f;
    struct pag_push_order o;
    struct pag_push_result r;
    struct pag_push_info before, after;
    struct pag_progress bar;
    enum pag_push_phase phase;
    bool drawn;
    uint64_t wait_s;
    const char *expected; /* version that it should say afterwards; NULL: none known */
};

static void on_progress(void *ctx, enum pag_push_phase phase, uint64_t done, uint64_t all)
{
    struct lan *p = ctx;
    if (phase == PAG_PUSH_SENDING) {
        if (!p->drawn) {
            pag_progress_begin(&p->bar, p->cli, pag_cli_text(p->cli, "pushing to %s", p->o.host));
        }
        p->drawn = true;
        pag_progress_step(&p->bar, done, all);
    }
    p->phase = phase;
}

static int read_port(struct pag_cli *cli, const char *flag, uint16_t *out)
{
    uint64_t port = 0;
    int rc = pag_opt_number(cli, flag, 0, &port);
    if (rc == PAG_EXIT_OK && port > 65535) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--%s: ports end at 65535", flag);
    }
    *out = (uint16_t)port;
    return rc;
}

static int read_flags(struct lan *p)
{
    struct pag_cli *cli = p->cli;
    const char *file = pag_opt(cli, "password-file");
    int rc = read_port(cli, "port", &p->o.port);
    rc = rc == PAG_EXIT_OK ? read_port(cli, "listen-port", &p->o.listen_port) : rc;
    rc = rc == PAG_EXIT_OK ? pag_opt_seconds(cli, "wait", 60, &p->wait_s) : rc;
    if (rc == PAG_EXIT_OK && file != NULL) {
        rc = pag_lan_secret(cli, file, &p->o.password);
    }
    p->o.host = pag_word(cli, 0);
    p->o.user = pag_opt(cli, "user");
    p->o.path = pag_opt(cli, "path");
    p->o.mdns = pag_opt(cli, "mdns");
    p->o.progress = on_progress;
    p->o.ctx = p;
    p->o.stop = &stop;
    if (rc == PAG_EXIT_OK && p->wait_s > 3600) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "--wait: an hour at most");
    }
    return rc;
}

/* A protocol of its own before a mere web page. */
static const struct pag_mdns_found *best_of(const struct pag_mdns_list *list, const char *host)
{
    const struct pag_mdns_found *best = NULL;
    for (size_t i = 0; i < list->n; i++) {
        bool better = best == NULL || best->protocol == PAG_PUSH_WEB;
        if (pag_mdns_is(&list->item[i], host) && better) {
            best = &list->item[i];
        }
    }
    return best;
}

/* The device's own announcement says what it speaks, and where. */
static int guess_protocol(struct lan *p)
{
    struct pag_mdns_list *list = pag_mdns_list_new();
    const struct pag_mdns_query q = { .to = p->o.mdns, .until_host = p->o.host, .stop = &stop };
    const struct pag_mdns_found *best = NULL;
    if (list != NULL && pag_mdns_browse(&q, LOOK_MS, list) == PAG_OK) {
        best = best_of(list, p->o.host);
    }
    if (best != NULL) {
        p->o.protocol = best->protocol;
        p->o.port = p->o.port != 0 ? p->o.port : best->port;
        p->o.host = pag_cli_text(p->cli, "%s", best->address);
        pag_cli_say(p->cli, "%s announces itself: %s at %s:%u\n", best->name, pag_push_word(best->protocol),
                    best->address, (unsigned)best->port);
    }
    bool found = best != NULL;
    pag_mdns_list_free(list);
    if (found) {
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(p->cli, PAG_EXIT_USAGE, "--protocol espota, esphome, web or wled",
                        "%s does not announce what it speaks", p->o.host);
}

static int choose_protocol(struct lan *p)
{
    const char *word = pag_opt(p->cli, "protocol");
    if (word == NULL) {
        return guess_protocol(p);
    }
    if (pag_push_by_word(word, &p->o.protocol) != PAG_OK) {
        return pag_cli_fail(p->cli, PAG_EXIT_USAGE, "espota, esphome, web or wled", "no protocol \"%s\"",
                            word);
    }
    return PAG_EXIT_OK;
}

static int read_image(struct lan *p)
{
    const char *version = pag_opt(p->cli, "version");
    int rc = pag_firmware_read(p->cli, pag_word(p->cli, 1), &p->f);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    p->o.image = p->f.bytes;
    p->o.filesystem = p->f.filesystem;
    p->o.chip = p->f.filesystem ? PAG_CHIP_UNKNOWN : p->f.image.chip;
    p->expected = version != NULL ? version : p->f.image.has_identity ? p->f.image.version : NULL;
    pag_cli_say(p->cli, "%s\n", pag_firmware_line(p->cli, &p->f));
    return rc;
}

static int fits(struct lan *p)
{
    (void)pag_push_look(&p->o, &p->before);
    if (p->before.version[0] != '\0') {
        pag_cli_say(p->cli, "%s runs %s\n", p->o.host, p->before.version);
    }
    enum pag_chip chip = p->before.chip;
    if (chip != PAG_CHIP_UNKNOWN && p->o.chip != PAG_CHIP_UNKNOWN && chip != p->o.chip) {
        return pag_cli_fail(p->cli, PAG_EXIT_USAGE, "build it for that chip",
                            "%s is built for %s, %s has an %s", p->f.file, pag_chip_name(p->o.chip),
                            p->o.host, pag_chip_name(chip));
    }
    return PAG_EXIT_OK;
}

static void push(struct lan *p)
{
    p->drawn = false;
    enum pag_err err = pag_push_run(&p->o, &p->r);
    if (p->drawn) {
        pag_progress_end(&p->bar, err == PAG_OK);
    }
}

/* A password that is asked for on the terminal when the device wants one. */
static int push_with_password(struct lan *p)
{
    char secret[PAG_SECRET_MAX] = "";
    push(p);
    if (p->r.err != PAG_E_UNAUTHENTICATED || p->o.password != NULL) {
        return pag_lan_exit(&p->r);
    }
    int rc = pag_prompt_secret(p->cli, "--password-file FILE",
                               pag_cli_text(p->cli, "Password of %s", p->o.host), secret, sizeof secret);
    if (rc != PAG_EXIT_OK) {
        p->r.text[0] = '\0'; /* said already */
        return rc;
    }
    p->o.password = secret;
    push(p);
    p->o.password = NULL;
    return pag_lan_exit(&p->r);
}

static int come_back(struct lan *p)
{
    if (p->wait_s == 0) {
        return PAG_EXIT_OK;
    }
    enum pag_err err = pag_push_back(&p->o, &p->before, (uint32_t)p->wait_s * 1000, &p->after);
    const char *now = p->after.version;
    if (err == PAG_E_CONDITION) {
        return PAG_EXIT_INTERRUPTED;
    }
    if (err == PAG_E_TIMEOUT) {
        return pag_cli_fail(
            p->cli, PAG_EXIT_TIMEOUT, "look at it: it may have crashed, or changed its network",
            "%s took the image and has not come back in %u s", p->o.host, (unsigned)p->wait_s);
    }
    if (err != PAG_OK || now[0] == '\0') {
        pag_cli_say(p->cli, "%s took the image%s; it says no version, so nobody can tell what it runs\n",
                    p->o.host, err == PAG_OK ? " and is back" : "");
        return PAG_EXIT_OK;
    }
    if (p->expected != NULL && strcmp(now, p->expected) != 0) {
        return pag_cli_fail(p->cli, PAG_EXIT_ENDED_BADLY,
                            "if it says another text than its release, push without --version",
                            "%s took the image and runs %s, not %s", p->o.host, now, p->expected);
    }
    pag_cli_say(p->cli, "%s is back and runs %s\n", p->o.host, now);
    return PAG_EXIT_OK;
}

static int say_result(struct lan *p, int rc)
{
    json_t *out = pag_cli_keep(p->cli, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:i}", "host",
                                                 p->o.host, "protocol", pag_push_word(p->o.protocol),
                                                 "sha256", p->f.sha256, "bytes", (json_int_t)p->f.bytes.n,
                                                 "sent_bytes", (json_int_t)p->r.sent_bytes, "before",
                                                 p->before.version, "after", p->after.version, "exit", rc));
    if (!pag_out_json(p->cli, out) && rc == PAG_EXIT_OK) {
        (void)printf("%s\n", p->after.version[0] != '\0' ? p->after.version : "taken");
    }
    return rc;
}

int pag_cmd_push(struct pag_cli *cli)
{
    struct lan *p = pag_cli_alloc(cli, sizeof *p);
    memset(p, 0, sizeof *p);
    p->cli = cli;
    int rc = read_flags(p);
    rc = rc == PAG_EXIT_OK ? read_image(p) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    pag_lan_catch();
    rc = choose_protocol(p);
    rc = rc == PAG_EXIT_OK ? fits(p) : rc;
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    rc = push_with_password(p);
    if (rc != PAG_EXIT_OK) {
        return p->r.text[0] == '\0' ? rc : pag_cli_fail(cli, rc, NULL, "%s: %s", p->o.host, p->r.text);
    }
    pag_cli_say(cli, "%s has taken it and restarts\n", p->o.host);
    return say_result(p, come_back(p));
}
