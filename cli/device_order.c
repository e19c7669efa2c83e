#include <openssl/evp.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/enroll.h"
#include "cli/find.h"
#include "cli/out.h"
#include "cli/prompt.h"
#include "cli/sign.h"
#include "cli/trust.h"
#include "core/bytes.h"
#include "core/command.h"
#include "core/native.h"
#include "host/crypto.h"

/* Commands that a device believes only when a release key has signed them: docs/spec/commands.md. */

enum { TTL_S = 3600, AHEAD_S = 86400, BASE64_MAX = (PAG_SIGNED_COMMAND_MAX + 2) / 3 * 4 + 1 };

struct order {
    const char *word;     /* kind in the API */
    const char *question; /* before it is signed, after "Have ID " */
    enum pag_command_kind kind;
    json_t *device;
    json_t *product;
    struct pag_trust_view trust;
    struct pag_key key;
    const char *claim; /* re-enroll: the code to enrol with */
    uint64_t now_s, ttl_s;
};

/* What other devices would do instead, whose channel is all that they check. */
static int refuse_unsigned(struct pag_cli *cli, const struct order *o)
{
    const char *protocol = pag_out_text(o->device, "protocol");
    const char *id = pag_out_text(o->device, "id");
    return pag_cli_fail(
        cli, PAG_EXIT_USAGE,
        pag_cli_text(cli,
                     "it believes its channel, so the broker's rules are its guard; secureESP8266: pagurus "
                     "device command %s cert, then key; Tasmota: pagurus device command %s app \"Reset 1\"",
                     id, id),
        "%s speaks %s and checks no signed commands", id, protocol);
}

/*
 * Unix seconds rise by themselves, so that no two machines need to agree on a number; a number that a server
 * says and that is far ahead of the clock would use up those that are left.
 */
static int next_counter(struct pag_cli *cli, const struct order *o, uint32_t *counter)
{
    uint64_t last = pag_out_number(o->device, "command_counter");
    uint64_t next = last >= o->now_s ? last + 1 : o->now_s;
    if (next > o->now_s + AHEAD_S || next > UINT32_MAX) {
        return pag_cli_fail(cli, PAG_EXIT_DENIED, "is the clock of this machine right?",
                            "the last command of %s has counter %llu, more than a day ahead of this clock",
                            pag_out_text(o->device, "id"), (unsigned long long)last);
    }
    *counter = (uint32_t)next;
    return PAG_EXIT_OK;
}

static int open_key(struct pag_cli *cli, struct order *o)
{
    const char *name = NULL;
    const char *product = pag_out_text(o->product, "name");
    uint32_t epoch = (uint32_t)pag_out_number(o->device, "epoch");
    int rc = pag_trust_load(cli, o->product, &o->trust);
    if (rc == PAG_EXIT_NOT_FOUND) {
        return pag_cli_fail(cli, PAG_EXIT_DENIED, "pagurus key trust create --product NAME",
                            "product %s has no trust set, so its devices would believe no signature",
                            product);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_sign_choose(cli, &o->trust.set, product, &name);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_key_open(cli, name, &o->key);
    }
    if (rc == PAG_EXIT_OK &&
        pag_trust_release_key(&o->trust.set, o->key.id, PAG_KIND_COMMAND, epoch) == NULL) {
        return pag_cli_fail(
            cli, PAG_EXIT_DENIED,
            pag_cli_text(cli, "pagurus key trust rotate --product %s --add-release %s", product, name),
            "trust set %u of %s does not let key %s (%s) sign commands to devices of epoch %u",
            (unsigned)o->trust.set.version, product, name, pag_key_id_text(cli, o->key.id), (unsigned)epoch);
    }
    return rc;
}

/* A code for this device alone, unless one is given. */
static int get_claim(struct pag_cli *cli, struct order *o)
{
    json_t *reply = NULL;
    const char *mac = pag_out_text(o->device, "mac");
    const struct pag_enroll_for who = { .product = pag_out_text(o->product, "name"),
                                        .mac = mac[0] != '\0' ? mac : NULL };
    o->claim = pag_opt(cli, "code");
    if (o->kind != PAG_COMMAND_REENROLL || o->claim != NULL) {
        return PAG_EXIT_OK;
    }
    int rc = pag_enroll_code(cli, &who, &reply);
    if (rc == PAG_EXIT_OK) {
        o->claim = pag_out_text(reply, "code");
    }
    return rc;
}

static int sign(struct pag_cli *cli, const struct order *o, char base64[BASE64_MAX])
{
    uint8_t room[PAG_SIGNED_COMMAND_MAX];
    struct pag_buf cose = { room, 0, sizeof room };
    struct pag_fail why = { PAG_OK, NULL, 0 };
    struct pag_signed_command c = {
        .device = pag_span_str(pag_out_text(o->device, "id")),
        .kind = (uint8_t)o->kind,
        .expires_at = o->now_s + o->ttl_s,
        .arg = pag_span_str(o->kind == PAG_COMMAND_REENROLL ? o->claim : NULL),
    };
    memcpy(c.key_id, o->key.id, sizeof c.key_id);
    int rc = pag_find_product_id(cli, o->product, c.product);
    if (rc == PAG_EXIT_OK) {
        rc = next_counter(cli, o, &c.counter);
    }
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    enum pag_err err =
        pag_signed_command_sign(pag_crypto_openssl(), &c, pag_crypto_sign, o->key.pkey, &cose, &why);
    if (err != PAG_OK) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, NULL, "the command cannot be signed: %s",
                            why.what != NULL ? why.what : pag_err_word(err));
    }
    (void)EVP_EncodeBlock((unsigned char *)base64, room, (int)cose.n);
    return PAG_EXIT_OK;
}

static int send(struct pag_cli *cli, const struct order *o)
{
    char base64[BASE64_MAX];
    json_t *reply = NULL;
    const char *id = pag_out_text(o->device, "id");
    int rc = sign(cli, o, base64);
    if (rc != PAG_EXIT_OK) {
        return rc;
    }
    json_t *body = pag_cli_keep(cli, json_pack("{s:s, s:s}", "kind", o->word, "signed", base64));
    rc = pag_client_send(cli, "POST", pag_cli_text(cli, "/devices/%s/commands", pag_client_escape(cli, id)),
                         body, &reply);
    if (rc == PAG_EXIT_OK && !pag_out_json(cli, reply)) {
        pag_cli_say(cli, "%s: %s is signed by %s and queued; pagurus device commands %s shows it\n", id,
                    o->word, o->key.name, id);
    }
    return rc;
}

static int prepare(struct pag_cli *cli, struct order *o)
{
    int rc = pag_find_device(cli, pag_word(cli, 0), &o->device);
    if (rc == PAG_EXIT_OK && strcmp(pag_out_text(o->device, "protocol"), "native") != 0) {
        return refuse_unsigned(cli, o);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_opt_seconds(cli, "ttl", TTL_S, &o->ttl_s);
    }
    if (rc == PAG_EXIT_OK) {
        rc = pag_find_product(cli, pag_out_text(o->device, "product"), &o->product);
    }
    const char *id = rc == PAG_EXIT_OK ? pag_out_text(o->device, "id") : "";
    if (rc == PAG_EXIT_OK) {
        rc = pag_prompt_confirm(cli, id, pag_cli_text(cli, "Have %s %s", id, o->question));
    }
    return rc == PAG_EXIT_OK ? open_key(cli, o) : rc;
}

static int order(struct pag_cli *cli, struct order *o)
{
    o->now_s = cli->clock.now_unix_ms(cli->clock.ctx) / 1000;
    int rc = prepare(cli, o);
    if (rc == PAG_EXIT_OK) {
        rc = get_claim(cli, o);
    }
    if (rc == PAG_EXIT_OK) {
        rc = send(cli, o);
    }
    pag_key_close(&o->key);
    return rc;
}

int pag_cmd_device_reset(struct pag_cli *cli)
{
    struct order o = { .word = "reset", .kind = PAG_COMMAND_RESET };
    o.question = "forget its application's settings?";
    return order(cli, &o);
}

int pag_cmd_device_wipe(struct pag_cli *cli)
{
    struct order o = { .word = "wipe", .kind = PAG_COMMAND_WIPE };
    o.question = "forget its data, its key and its certificate? Without a new code it cannot come back.";
    return order(cli, &o);
}

int pag_cmd_device_reenroll(struct pag_cli *cli)
{
    struct order o = { .word = "re-enroll", .kind = PAG_COMMAND_REENROLL };
    o.question = "give up its key and certificate and enrol anew?";
    return order(cli, &o);
}
