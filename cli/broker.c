/* Clients of the broker with a password, and access lists for brokers of one's own: docs/operating/broker.md.
 */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/find.h"
#include "cli/out.h"

static const struct pag_column columns[] = {
    { "USER", "user", PAG_CELL_TEXT },        { "DEVICE", "device", PAG_CELL_TEXT },
    { "TOPIC", "topic", PAG_CELL_TEXT },      { "REFUSED", "refused", PAG_CELL_TEXT },
    { "SINCE", "created_at", PAG_CELL_TIME }, { NULL, NULL, PAG_CELL_TEXT },
};

static const char *users_path(struct pag_cli *cli, const char *tail)
{
    return pag_cli_text(cli, "/products/%s/broker-users%s", pag_client_escape(cli, pag_word(cli, 0)), tail);
}

static const char *user_path(struct pag_cli *cli, const char *tail)
{
    const char *name = pag_word(cli, 1);
    const char *dot = strrchr(name, '.'); /* the whole name is fine too */
    return users_path(cli,
                      pag_cli_text(cli, "/%s%s", pag_client_escape(cli, dot != NULL ? dot + 1 : name), tail));
}

int pag_cmd_broker_user_list(struct pag_cli *cli)
{
    return pag_out_api_list(cli, users_path(cli, ""), columns);
}

static int show_secret(struct pag_cli *cli, json_t *reply)
{
    if (pag_out_json(cli, reply)) {
        return PAG_EXIT_OK;
    }
    (void)printf("user      %s\npassword  %s\n", pag_out_text(reply, "user"),
                 pag_out_text(reply, "password"));
    if (json_is_string(json_object_get(reply, "topic"))) {
        (void)printf("topic     %s\n", pag_out_text(reply, "topic"));
    }
    pag_cli_say(cli, "The password is shown this once. Whoever has it is device %s until it is changed.\n",
                pag_out_text(reply, "device"));
    return PAG_EXIT_OK;
}

int pag_cmd_broker_user_add(struct pag_cli *cli)
{
    json_t *reply = NULL;
    json_t *body = pag_cli_keep(cli, json_pack("{s:s}", "name", pag_word(cli, 1)));
    if (pag_opt(cli, "device") != NULL) {
        (void)json_object_set_new(body, "device", json_string(pag_opt(cli, "device")));
    }
    if (pag_opt(cli, "topic") != NULL) {
        (void)json_object_set_new(body, "topic", json_string(pag_opt(cli, "topic")));
    }
    int rc = pag_client_send(cli, "POST", users_path(cli, ""), body, &reply);
    return rc == PAG_EXIT_OK ? show_secret(cli, reply) : rc;
}

int pag_cmd_broker_user_password(struct pag_cli *cli)
{
    json_t *reply = NULL;
    int rc = pag_client_send(cli, "POST", user_path(cli, "/password"), NULL, &reply);
    return rc == PAG_EXIT_OK ? show_secret(cli, reply) : rc;
}

int pag_cmd_broker_user_rm(struct pag_cli *cli)
{
    json_t *reply = NULL;
    int rc = pag_client_send(cli, "DELETE", user_path(cli, ""), NULL, &reply);
    if (rc == PAG_EXIT_OK && !cli->json) {
        pag_cli_say(cli, "%s is cut and does not come in again\n", pag_word(cli, 1));
    }
    return rc;
}

/* ---- brokers of one's own ---- */

static const char mosquitto_acl[] =
    "# mosquitto: acl_file, with use_identity_as_username and use_username_as_clientid true\n"
    "user svc-pagurusd\n"
    "topic readwrite pg/v1/#\n"
    "\n"
    "pattern read pg/v1/d/%u/cmd\n"
    "pattern write pg/v1/d/%u/up/#\n"
    "pattern write pg/v1/d/%u/will\n";

/* In RabbitMQ a "/" of a topic is a "." of the routing key; {username} is the name in the certificate. Ids
 * have no ".", so nothing needs escaping. */
static const char rabbitmq_sh[] =
    "#!/bin/sh\n"
    "# RabbitMQ: rights of the server and, as {username} is the certificate's name, of one device.\n"
    "# Run it as:  sh pagurus-rabbitmq.sh svc-pagurusd   and for each device:   sh pagurus-rabbitmq.sh <id>\n"
    "set -eu\n"
    "who=$1\n"
    ": \"${RABBITMQCTL:=rabbitmqctl}\"\n"
    "case $who in *[!0-9a-z-]*|'') echo \"not a device id: $who\" >&2; exit 2;; esac\n"
    "password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \\n') # nobody uses it: the certificate logs in\n"
    "$RABBITMQCTL add_user \"$who\" \"$password\" 2>/dev/null || true\n"
    "$RABBITMQCTL clear_password \"$who\"\n"
    "$RABBITMQCTL set_permissions -p / \"$who\" '^mqtt-subscription-.*' "
    "'^(mqtt-subscription-.*|amq\\.topic)$' "
    "'^(mqtt-subscription-.*|amq\\.topic)$'\n"
    "if [ \"$who\" = svc-pagurusd ]; then\n"
    "  $RABBITMQCTL set_topic_permissions -p / \"$who\" amq.topic '^pg\\.v1\\.' '^pg\\.v1\\.'\n"
    "else\n"
    "  $RABBITMQCTL set_topic_permissions -p / \"$who\" amq.topic "
    "'^pg\\.v1\\.d\\.{username}\\.(up\\..*|will)$' "
    "'^pg\\.v1\\.d\\.{username}\\.cmd$'\n"
    "fi\n";

int pag_cmd_broker_acl(struct pag_cli *cli)
{
    const char *kind = pag_opt(cli, "for");
    if (kind != NULL && strcmp(kind, "mosquitto") == 0) {
        (void)fputs(mosquitto_acl, stdout);
        return PAG_EXIT_OK;
    }
    if (kind != NULL && strcmp(kind, "rabbitmq") == 0) {
        (void)fputs(rabbitmq_sh, stdout);
        return PAG_EXIT_OK;
    }
    return pag_cli_fail(cli, PAG_EXIT_USAGE, "--for mosquitto or --for rabbitmq", "which broker is it for?");
}
