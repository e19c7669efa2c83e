#ifndef PAG_SERVER_API_CONSOLE_ASSETS_H
#define PAG_SERVER_API_CONSOLE_ASSETS_H

#include <pagurus/types.h>

/* Filled by cmake/pag_embed.cmake from the files in assets/. */
extern const struct pag_span pag_asset_index_html;
extern const struct pag_span pag_asset_console_js;
extern const struct pag_span pag_asset_console_css;

#endif
