/* Anything on /status/<id>, as settings of a product, or as curimage: refused or read within its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/mqtt/sample.h"
#include "server/api/secureesp/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void settings(struct pag_arena *arena, struct pag_span in)
{
    const struct pag_secureesp_place place = { .server = "host", .port = 1, .mqtt_server = "" };
    struct pag_problem problem = { .code = PAG_PROBLEM_INVALID_FIELD };
    struct pag_span out;
    json_t *o = pag_secureesp_config_load(in);
    if (pag_secureesp_config_check(arena, o, false, &problem) &&
        pag_secureesp_config_render(arena, o, NULL, &place, &out) == PAG_OK &&
        out.n > PAG_SECUREESP_CONFIG_MAX) {
        abort();
    }
    json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pag_span in = { data, size };
    struct pag_arena_pool *pool = pag_arena_pool_new(0);
    struct pag_arena *arena = pag_arena_open(pool, 1 << 20);
    struct pag_secureesp_status s;
    struct pag_span name;
    struct pag_span version;
    if (pag_sample_read(arena, in, &s, NULL) == PAG_OK) {
        for (size_t i = 0; i < PAG_SERIES_WORDS; i++) {
            if (memchr(s.sample.word[i], 0, sizeof s.sample.word[i]) == NULL) {
                abort();
            }
        }
        (void)pag_secureesp_advice(pag_secureesp_message(&s.sample));
    }
    settings(arena, in);
    pag_secureesp_image(in, &name, &version);
    if (name.n + version.n > in.n) {
        abort();
    }
    pag_arena_close(arena);
    pag_arena_pool_free(pool);
    return 0;
}
