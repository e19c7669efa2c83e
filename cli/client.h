#ifndef PAG_CLI_CLIENT_H
#define PAG_CLI_CLIENT_H

#include "cli/cli.h"

/* Another server than the console: the address for devices, spoken to as one of them. */
struct pag_peer {
    const char *base;     /* "https://host:port" */
    struct pag_span ca;   /* PEM: the only authority that it is checked against */
    struct pag_span cert; /* PEM of the client, n 0: none */
    struct pag_span key;  /* PEM, with cert */
};

struct pag_call {
    const char *method;
    const char *path;     /* "/devices" below /api/v1, or "/healthz" with root set; with query */
    bool root;            /* path is from the server's root */
    json_t *body;         /* sent as JSON; borrowed */
    struct pag_span raw;  /* sent as it is when body is NULL and type is not */
    const char *type;     /* content type of raw */
    const char *digest;   /* value of Repr-Digest, or NULL */
    const char *progress; /* label of a progress bar for the upload or download, or NULL */
    FILE *sink;           /* a 2xx body goes here and not into memory; with one try only */
    bool no_token;
    bool silent; /* errors are not said, only returned */
    bool once;   /* no retries */
    /* Only for looking at certificates before anything is trusted: nothing secret is sent. */
    bool probe;
    const struct pag_peer *peer; /* path is from its root, and no token is sent; NULL: the console */
};

struct pag_answer {
    long status; /* 0: no answer */
    struct pag_span body;
    json_t *json; /* parsed body of a JSON type, kept by cli; or NULL */
    char type[64];
    char date[48];
    char request_id[64];
    char error[256]; /* of the connection, when status is 0 */
    int curl;        /* its CURLcode then, 0: the call was not made */
    long os_errno;   /* of its last connect, 0: none failed */
    uint32_t retry_after_s;
};

/*
 * One call with retries: safe ones and POSTs (which carry an Idempotency-Key) are tried up to four times
 * over unreachable, 429, 502, 503 and 504 within --timeout. Returns an exit code; not OK has been said unless
 * silent. out is filled as far as an answer came.
 */
int pag_client_call(struct pag_cli *cli, const struct pag_call *call, struct pag_answer *out);

/* Shorthands; *json is the reply (NULL when it had none). */
int pag_client_get(struct pag_cli *cli, const char *path, json_t **json);
int pag_client_send(struct pag_cli *cli, const char *method, const char *path, json_t *body, json_t **json);

/* "true", "null" and decimal numbers as such, all else as text; the caller owns it. */
json_t *pag_client_value(const char *text);

/* Text escaped for a path segment or a query value. */
char *pag_client_escape(struct pag_cli *cli, const char *text);

/* Certificates of the server as PEM, leaf first, as the handshake of the last probe call showed them. */
const char *pag_client_chain(struct pag_cli *cli, size_t at);

void pag_client_close(struct pag_cli *cli);

/* Says why a call that returned rc got no answer (a->status is 0), and what to do. Returns rc. */
int pag_unreached_say(struct pag_cli *cli, const struct pag_call *call, const struct pag_answer *a, int rc);
/* Says that something else than the console answers there. Returns PAG_EXIT_UNREACHABLE. */
int pag_unreached_not_console(struct pag_cli *cli);

/* Exit code of an HTTP status. */
int pag_problem_exit(long status);
/* Says what, where and what to do of a problem+json (or of any other answer). Returns the exit code. */
int pag_problem_say(struct pag_cli *cli, const struct pag_call *call, const struct pag_answer *a);

#endif
