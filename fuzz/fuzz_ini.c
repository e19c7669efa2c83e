#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

/* Configuration files. What is accepted and printed reads back as the same settings. */
static void print_and_read(const struct pag_config *before)
{
    struct pag_config after;
    struct pag_ini_error error;
    char *text = NULL;
    size_t n = 0;
    memset(&after, 0, sizeof after);
    FILE *out = open_memstream(&text, &n);
    if (out == NULL) {
        return;
    }
    pag_ini_print(pag_config_table(), before, true, out);
    if (fclose(out) != 0 || pag_ini_presets(pag_config_table(), &after, &error) != PAG_OK ||
        pag_ini_read_text(pag_config_table(), "printed", text, &after, &error) != PAG_OK ||
        memcmp(before, &after, sizeof after) != 0) {
        abort();
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_config config;
    struct pag_ini_error error;
    memset(&config, 0, sizeof config);
    char *text = malloc(size + 1);
    if (text == NULL || pag_ini_presets(pag_config_table(), &config, &error) != PAG_OK) {
        free(text);
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    enum pag_err err = pag_ini_read_text(pag_config_table(), "fuzz", text, &config, &error);
    if (err == PAG_OK) {
        print_and_read(&config);
    } else if (err == PAG_E_CONFIG && error.text[0] == '\0') {
        abort();
    }
    free(text);
    return 0;
}
