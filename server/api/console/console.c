#include "server/api/console/console.h"

#include "server/api/console/assets.h"
#include "server/api/reply.h"

static void send(struct pag_http_request *req, const char *type, struct pag_span body)
{
    struct pag_api_headers headers = { .n = 0 };
    pag_api_header(&headers, "Cache-Control", "no-cache");
    pag_api_reply(req, 200, type, body, &headers);
}

void pag_console_page(struct pag_http_request *req)
{
    send(req, "text/html; charset=utf-8", pag_asset_index_html);
}

void pag_console_script(struct pag_http_request *req)
{
    send(req, "text/javascript; charset=utf-8", pag_asset_console_js);
}

void pag_console_style(struct pag_http_request *req)
{
    send(req, "text/css; charset=utf-8", pag_asset_console_css);
}
