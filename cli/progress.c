#include "cli/progress.h"

#include <string.h>

#include "cli/text.h"

enum { BAR_CELLS = 24, REDRAW_MS = 80, LINE_MS = 30000 };

static uint64_t now_ms(const struct pag_progress *p)
{
    return p->cli->clock.now_ms(p->cli->clock.ctx);
}

void pag_progress_begin(struct pag_progress *p, struct pag_cli *cli, const char *label)
{
    memset(p, 0, sizeof *p);
    p->cli = cli;
    p->label = label;
    p->began_ms = now_ms(p);
    p->drawn_ms = p->began_ms;
}

static void draw(struct pag_progress *p, unsigned percent)
{
    char bar[BAR_CELLS * 3 + 1];
    char done[24];
    size_t at = 0;
    unsigned full = percent * BAR_CELLS / 100;
    for (unsigned i = 0; i < BAR_CELLS; i++) {
        memcpy(bar + at, i < full ? "\xe2\x96\x88" : "\xe2\x96\x91", 3);
        at += 3;
    }
    bar[at] = 0;
    pag_text_bytes(p->done, done);
    (void)fprintf(stderr, "\r\033[K%s %s %3u %% %s", p->label, bar, percent, done);
    (void)fflush(stderr);
    p->drawn = true;
}

void pag_progress_step(struct pag_progress *p, uint64_t done, uint64_t all)
{
    if (p->cli->quiet || all == 0) {
        return;
    }
    uint64_t now = now_ms(p);
    unsigned percent = (unsigned)(done >= all ? 100 : done * 100 / all);
    p->done = done;
    p->all = all;
    if (p->cli->err_tty) {
        if (now - p->drawn_ms >= REDRAW_MS || (percent == 100 && p->tenth != 10) || !p->drawn) {
            p->drawn_ms = now;
            p->tenth = percent / 10;
            draw(p, percent);
        }
        return;
    }
    if (percent / 10 > p->tenth || (now - p->drawn_ms >= LINE_MS && percent < 100)) {
        p->tenth = percent / 10;
        p->drawn_ms = now;
        (void)fprintf(stderr, "%s %u %%\n", p->label, p->tenth * 10 > percent ? percent : p->tenth * 10);
    }
}

void pag_progress_end(struct pag_progress *p, bool ok)
{
    if (p->drawn) {
        (void)fputs(ok ? "\r\033[K" : "\n", stderr);
        (void)fflush(stderr);
    }
}
