#include <signal.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/settings.h"
#include "cli/text.h"

/* The first Ctrl-C only ends the watching, never what is watched. A handler can reach nothing but a global.
 */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_interrupt(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_interrupt;
    interrupted = 0;
    (void)sigaction(SIGINT, &action, NULL);
}

/* False once Ctrl-C was pressed, also during the call before the pause. */
static bool wait_ms(uint64_t ms)
{
    struct timespec t = { (time_t)(ms / 1000), (long)(ms % 1000) * 1000000L };
    if (interrupted == 0) {
        (void)nanosleep(&t, NULL);
    }
    return interrupted == 0;
}

static const char *line_of(struct pag_cli *cli, const json_t *d)
{
    const char *action = pag_out_text(d, "action.state");
    const char *wanted = pag_out_text(d, "wanted.version");
    const char *text =
        pag_cli_text(cli, "%s  runs %s", pag_out_text(d, "state"), pag_out_text(d, "running.version"));
    if (wanted[0] != 0) {
        text = pag_cli_text(cli, "%s, wants %s", text, wanted);
    }
    if (action[0] != 0) {
        text =
            pag_cli_text(cli, "%s  %s %u %%", text, action, (unsigned)pag_out_number(d, "action.progress"));
    }
    if (pag_out_text(d, "why")[0] != 0) {
        text = pag_cli_text(cli, "%s  (%s)", text, pag_out_text(d, "why"));
    }
    return text;
}

/* 0 good end, 8 bad end, -1 goes on. */
static int end_of(const json_t *d)
{
    static const char *const bad[] = { "failed", "reverted", "blocked", "revoked" };
    const char *state = pag_out_text(d, "state");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (strcmp(state, bad[i]) == 0) {
            return PAG_EXIT_ENDED_BADLY;
        }
    }
    return strcmp(state, "up_to_date") == 0 ? PAG_EXIT_OK : -1;
}

static void show_change(struct pag_cli *cli, const json_t *device, const char *line)
{
    char clean[512];
    char now[40];
    char stamp[25];
    if (pag_out_json(cli, device)) {
        return;
    }
    pag_time_text(cli->clock.now_unix_ms(cli->clock.ctx), stamp);
    pag_text_local(stamp, now);
    (void)pag_text_clean(line, clean, sizeof clean);
    (void)printf("%s  %s\n", cli->out_tty ? now : stamp, clean);
    (void)fflush(stdout);
}

struct watching {
    const char *path;
    uint64_t end_ms; /* of --wait, 0: none */
    uint64_t pause_ms;
    char last[512];
};

/* Shows what has changed. 0 or 8: it has ended, -1: it goes on. */
static int look(struct pag_cli *cli, struct watching *w, const json_t *device)
{
    char line[sizeof w->last];
    (void)snprintf(line, sizeof line, "%s", line_of(cli, device));
    if (strcmp(line, w->last) != 0) {
        show_change(cli, device, line);
        memcpy(w->last, line, sizeof line);
    }
    return pag_opt_on(cli, "forever") ? -1 : end_of(device);
}

static int watch(struct pag_cli *cli, struct watching *w, const json_t *device)
{
    int over = look(cli, w, device);
    catch_interrupt();
    while (over < 0) {
        if (w->end_ms != 0 && cli->clock.now_ms(cli->clock.ctx) >= w->end_ms) {
            return pag_cli_fail(cli, PAG_EXIT_TIMEOUT, "the update goes on; watch again", "--wait is over");
        }
        if (!wait_ms(w->pause_ms)) {
            pag_cli_say(
                cli, "\nNo longer watching; the device goes on. pagurus release withdraw stops an update.\n");
            return PAG_EXIT_INTERRUPTED;
        }
        json_t *now = NULL;
        struct pag_arena *outer = pag_cli_round_begin(cli);
        int rc = pag_client_get(cli, w->path, &now);
        over = rc == PAG_EXIT_OK ? look(cli, w, now) : rc;
        pag_cli_round_end(cli, outer);
    }
    return over;
}

int pag_cmd_device_watch(struct pag_cli *cli)
{
    json_t *device = NULL;
    uint64_t every_s = 0;
    uint64_t wait_s = 0;
    struct watching w = { .path = NULL };
    int rc = pag_opt_seconds(cli, "interval", 2, &every_s);
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_seconds(cli, "wait", 0, &wait_s);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_find_device(cli, pag_word(cli, 0), &device);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    w.path = pag_cli_text(cli, "/devices/%s", pag_client_escape(cli, pag_out_text(device, "id")));
    w.end_ms = wait_s == 0 ? 0 : cli->clock.now_ms(cli->clock.ctx) + wait_s * 1000;
    w.pause_ms = every_s == 0 ? 200 : every_s * 1000;
    return watch(cli, &w, device);
}

/* ---- events ---- */

enum { PAGE = 1000 };

static int page_of_events(struct pag_cli *cli, uint64_t *after, uint64_t limit, json_t **items)
{
    json_t *reply = NULL;
    const char *url =
        pag_cli_text(cli, "/events?after=%llu&limit=%u", (unsigned long long)*after, (unsigned)limit);
    int rc = pag_client_get(cli, url, &reply);
    if (rc == PAG_EXIT_OK) {
        uint64_t next = pag_out_number(reply, "next_after");
        *items = json_object_get(reply, "items");
        *after = next > *after ? next : *after;
    }
    return rc;
}

static int list_events(struct pag_cli *cli, uint64_t after, uint64_t limit)
{
    json_t *all = pag_cli_keep(cli, json_array());
    while (json_array_size(all) < limit) {
        json_t *items = NULL;
        uint64_t left = limit - json_array_size(all);
        uint64_t room = left < PAGE ? left : PAGE;
        int rc = page_of_events(cli, &after, room, &items);
        if (rc != PAG_EXIT_OK) {
            return rc;
        }
        (void)json_array_extend(all, items);
        if (json_array_size(items) < room) {
            break;
        }
    }
    return pag_out_items(cli, all, pag_event_columns);
}

/* One heading is enough for a list that goes on. */
static void no_more_headings(struct pag_cli *cli)
{
    if (!pag_opt_on(cli, "no-header") && cli->option_n < PAG_CLI_OPTIONS) {
        cli->option[cli->option_n++] = (struct pag_option){ "no-header", "" };
    }
}

/* One look; *n is what came. */
static int follow_once(struct pag_cli *cli, uint64_t *after, uint64_t room, size_t *n)
{
    json_t *items = NULL;
    int rc = page_of_events(cli, after, room, &items);
    *n = json_array_size(items);
    if (rc == PAG_EXIT_OK && *n > 0) {
        (void)pag_out_items(cli, items, pag_event_columns);
        (void)fflush(stdout);
        no_more_headings(cli);
    }
    return rc;
}

static int follow_events(struct pag_cli *cli, uint64_t after, uint64_t limit)
{
    uint64_t shown = 0;
    int rc = pag_conf_load(cli);
    if (rc == PAG_EXIT_OK) {
        rc = pag_conf_need_server(cli);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_conf_token(cli);
    }
    catch_interrupt();
    while (rc == PAG_EXIT_OK && shown < limit) {
        size_t n = 0;
        struct pag_arena *outer = pag_cli_round_begin(cli);
        rc = follow_once(cli, &after, limit - shown < PAGE ? limit - shown : PAGE, &n);
        pag_cli_round_end(cli, outer);
        shown += n;
        if (rc == PAG_EXIT_OK && n == 0 && !wait_ms(1000)) {
            return PAG_EXIT_INTERRUPTED;
        }
    }
    return rc;
}

static int show_events(struct pag_cli *cli, bool follow)
{
    uint64_t after = 0;
    uint64_t limit = 0;
    int rc = pag_opt_number(cli, "after", 0, &after);
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_number(cli, "limit", follow ? UINT64_MAX : 100, &limit);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    return follow ? follow_events(cli, after, limit) : list_events(cli, after, limit);
}

int pag_cmd_events(struct pag_cli *cli)
{
    return show_events(cli, pag_opt_on(cli, "follow"));
}

int pag_cmd_event_follow(struct pag_cli *cli)
{
    return show_events(cli, true);
}
