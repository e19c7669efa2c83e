#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/http.h"

/*
 * The server side of `make bench-http`: host/ and nothing else. One thread, one plain and one TLS port, files
 * of one folder opened for each request as a web server does.
 *
 *     serve FOLDER PORT TLS_PORT CERT KEY CLIENT_CA
 */

static struct pag_loop *the_loop; /* for the signal handler */

static void on_signal(int number)
{
    (void)number;
    pag_loop_stop(the_loop); /* NOLINT(bugprone-signal-handler,cert-sig30-c): made for it, host/loop.h */
}

static void handle_file(struct pag_http_request *req)
{
    const char *folder = req->listener_ctx;
    struct pag_span name;
    struct stat st;
    int fd = -1;
    if (pag_http_decode(req, req->param[0], &name) == PAG_OK) {
        const char *path = pag_arena_printf(req->arena, "%s/%.*s", folder, (int)name.n, (const char *)name.p);
        fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0 || fstat(fd, &st) != 0) {
        pag_http_reply(req, &(struct pag_http_reply){ .status = 404 });
        return;
    }
    const char *etag = pag_arena_printf(req->arena, "\"%llx-%llx\"", (unsigned long long)st.st_mtime,
                                        (unsigned long long)st.st_size); /* as nginx makes it */
    pag_http_reply_file(req, &(struct pag_http_file){ .fd = fd,
                                                      .bytes = (uint64_t)st.st_size,
                                                      .content_type = "application/octet-stream",
                                                      .etag = etag });
}

static const struct pag_http_route routes[] = {
    { .methods = PAG_HTTP_GET, .pattern = "/{file}", .handle = handle_file },
};

static int fail(const struct pag_fail *why)
{
    (void)fprintf(stderr, "serve: %s (%llu)\n", why->what, (unsigned long long)why->detail);
    return 1;
}

int main(int argc, char **argv)
{
    struct pag_fail why = { .what = "usage: serve FOLDER PORT TLS_PORT CERT KEY CLIENT_CA" };
    if (argc != 7) {
        return fail(&why);
    }
    const struct pag_tls_config tls_config = { .cert_file = argv[4],
                                               .key_file = argv[5],
                                               .client_ca_file = argv[6],
                                               .id_context = "bench",
                                               .session_cache = 20000,
                                               .session_timeout_s = 300 };
    struct pag_http_config config = { .routes = routes, .route_n = 1, .ctx = argv[1] };
    struct pag_tls *tls = NULL;
    struct pag_http *plain = NULL;
    struct pag_http *secure = NULL;
    struct pag_http_listener *listener = NULL;
    the_loop = pag_loop_new(pag_clock_system());
    if (the_loop == NULL || pag_tls_new(&tls_config, &tls, &why) != PAG_OK ||
        pag_http_new(&config, &plain, &why) != PAG_OK) {
        return fail(&why);
    }
    config.tls = tls;
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    uint16_t port = (uint16_t)strtoul(argv[2], NULL, 10);
    uint16_t tls_port = (uint16_t)strtoul(argv[3], NULL, 10);
    if (pag_http_new(&config, &secure, &why) != PAG_OK ||
        pag_http_attach(plain, the_loop, "127.0.0.1", port, NULL, &listener, &why) != PAG_OK ||
        pag_http_attach(secure, the_loop, "127.0.0.1", tls_port, NULL, &listener, &why) != PAG_OK) {
        return fail(&why);
    }
    enum pag_err err = pag_loop_run(the_loop);
    pag_http_free(plain);
    pag_http_free(secure);
    pag_tls_free(tls);
    pag_loop_free(the_loop);
    return err == PAG_OK ? 0 : 1;
}
