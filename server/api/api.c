#include "server/api/api.h"

struct pag_call pag_api_call(const struct pag_http_request *req)
{
    return (struct pag_call){
        .thread = req->thread_ctx,
        .arena = req->arena,
        .scope = { .actor = "system", .role = PAG_ROLE_NONE },
    };
}
