#include "server/config.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/fs.h"

#define DEFAULT_FILE "/etc/pagurus/pagurusd.ini"

static const char *const log_levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
static const char *const mqtt_modes[] = { "managed", "external", "off", NULL };

static const char *check_address(const char *value)
{
    struct in6_addr a;
    bool fine = inet_pton(AF_INET, value, &a) == 1 || inet_pton(AF_INET6, value, &a) == 1;
    return fine ? NULL : "is not an IPv4 or IPv6 address";
}

static const char *check_names(const char *value)
{
    struct pag_config_names names;
    return pag_config_names_of(value, false, &names) == PAG_OK
               ? NULL
               : "is not a comma-separated list of at most 24 host names and addresses";
}

/* NOLINTBEGIN(bugprone-macro-parentheses): member names cannot stand in parentheses */
#define AT(part, field) .offset = offsetof(struct pag_config, part.field)
#define TEXT_AT(part, field)                                                                                 \
    AT(part, field), .size = sizeof(((struct pag_config *)0)->part.field), .type = PAG_INI_TEXT
#define ADDRESS(part, what)                                                                                  \
    {                                                                                                        \
        .section = #part, .key = "address", .preset = "0.0.0.0", .check = check_address,                     \
        TEXT_AT(part, address),                                                                              \
        .doc = "Address that " what " are served on; `::` is every IPv4 and IPv6 address."                   \
    }
#define PORT(part, number, what)                                                                             \
    {                                                                                                        \
        .section = #part, .key = "port", .preset = number, .type = PAG_INI_PORT, AT(part, port),             \
        .doc = what " 0 lets the kernel pick; the port is then in `run/ports.json`."                         \
    }

/* NOLINTEND(bugprone-macro-parentheses) */

static const struct pag_ini_key keys[] = {
    { .section = "server",
      .key = "data",
      .preset = "/var/lib/pagurus",
      TEXT_AT(server, data),
      .doc = "Folder of the database, images, keys and the broker's files. Made by `pagurusd init`, mode "
             "0700." },
    { .section = "server",
      .key = "names",
      .preset = "",
      TEXT_AT(server, names),
      .check = check_names,
      .doc =
          "Names and addresses under which devices and people reach this server, comma-separated, the "
          "main one first. They go into the server certificate beside the host name, localhost and this "
          "machine's addresses, and devices are told the main one for MQTT. Empty: those of the certificate "
          "that is there, as `init --names` or `renew-server-cert --names` made it." },
    { .section = "server",
      .key = "threads",
      .preset = "0",
      .type = PAG_INI_NUMBER,
      .max = 256,
      AT(server, threads),
      .doc = "Network threads; 0 is one for each processor." },
    { .section = "server",
      .key = "log_level",
      .preset = "info",
      .type = PAG_INI_CHOICE,
      .words = log_levels,
      AT(server, log_level),
      .doc = "Least level that is logged." },
    { .section = "server",
      .key = "log_format",
      .preset = "text",
      .type = PAG_INI_CHOICE,
      .words = log_formats,
      AT(server, log_format),
      .doc = "One line of text or one JSON object for each event." },

    ADDRESS(console, "REST and the console"),
    PORT(console, "8443", "Port of REST and the console (TLS, no client certificate)."),

    ADDRESS(device, "devices"),
    PORT(device, "8444", "Port for devices (TLS that asks for the device's certificate)."),
    { .section = "device",
      .key = "record_bytes",
      .preset = "1400",
      .type = PAG_INI_NUMBER,
      .min = 512,
      .max = 16384,
      AT(device, record_bytes),
      .doc = "Largest TLS record sent to a device. Small devices have small receive buffers." },
    { .section = "device",
      .key = "session_cache",
      .preset = "20000",
      .type = PAG_INI_NUMBER,
      .max = 10000000,
      AT(device, session_cache),
      .doc = "TLS sessions kept for devices that resume by session id; about 1 KiB each when used." },
    { .section = "device",
      .key = "session_time",
      .preset = "1d",
      .type = PAG_INI_DURATION,
      .min = 60,
      .max = 604800,
      AT(device, session_s),
      .doc = "How long a TLS session can be resumed. Every resumption is checked against revocation." },
    { .section = "device",
      .key = "poll",
      .preset = "1h",
      .type = PAG_INI_DURATION,
      .min = 10,
      .max = 604800,
      AT(device, poll_s),
      .doc = "How often a device is told to look for an update by itself; MQTT makes it look at once." },
    { .section = "device",
      .key = "silence",
      .preset = "1d",
      .type = PAG_INI_DURATION,
      .max = 2592000,
      AT(device, silence_s),
      .doc = "An offered or begun update of which nothing is heard for so long is given up, and offered anew "
             "when the device asks. 0 is never." },

    { .section = "legacy",
      .key = "enabled",
      .preset = "no",
      .type = PAG_INI_BOOL,
      AT(legacy, enabled),
      .doc = "Plain HTTP for old firmware. Nothing on it is secret; a product must allow it too." },
    ADDRESS(legacy, "old devices over plain HTTP"),
    PORT(legacy, "8080", "Port of plain HTTP."),

    { .section = "mqtt",
      .key = "mode",
      .preset = "managed",
      .type = PAG_INI_CHOICE,
      .words = mqtt_modes,
      AT(mqtt, mode),
      .doc = "`managed` runs a mosquitto with a generated configuration, `external` connects to a broker of "
             "yours, `off` leaves devices to polling." },
    ADDRESS(mqtt, "devices over MQTT (managed)"),
    PORT(mqtt, "8883", "Port of MQTT over TLS, of the managed or the external broker."),
    { .section = "mqtt",
      .key = "password",
      .preset = "no",
      .type = PAG_INI_BOOL,
      AT(mqtt, password),
      .doc =
          "A listener of the managed broker over TLS for firmware that has a password instead of a "
          "certificate (`pagurus broker user add`). Whoever learns the password is that device until it is "
          "changed, and a device that does not check the server's certificate gives it to anybody." },
    { .section = "mqtt",
      .key = "password_port",
      .preset = "8884",
      .type = PAG_INI_PORT,
      AT(mqtt, password_port),
      .doc = "Its port. 0 lets the kernel pick." },
    { .section = "mqtt",
      .key = "plain",
      .preset = "no",
      .type = PAG_INI_BOOL,
      AT(mqtt, plain),
      .doc =
          "The same without TLS. Passwords, readings and commands can be read and changed by everybody on "
          "the way, who can then update the device with whatever they like: only inside a network that you "
          "trust." },
    { .section = "mqtt",
      .key = "plain_address",
      .preset = "0.0.0.0",
      .check = check_address,
      TEXT_AT(mqtt, plain_address),
      .doc = "Address of the listener without TLS: that of the inner network." },
    { .section = "mqtt",
      .key = "plain_port",
      .preset = "1883",
      .type = PAG_INI_PORT,
      AT(mqtt, plain_port),
      .doc = "Its port. 0 lets the kernel pick." },
    { .section = "mqtt",
      .key = "host",
      .preset = "",
      TEXT_AT(mqtt, host),
      .doc = "Name of the external broker, as in its certificate." },
    { .section = "mqtt",
      .key = "mosquitto",
      .preset = "/usr/sbin/mosquitto",
      TEXT_AT(mqtt, mosquitto),
      .doc = "Program that `managed` runs." },
    { .section = "mqtt",
      .key = "plugin",
      .preset = "",
      TEXT_AT(mqtt, plugin),
      .doc = "Path of `pagurus_mosquitto.so`, which cuts live sessions of revoked devices. Empty: looked for "
             "beside pagurusd, then in `/usr/lib/pagurus`." },
    { .section = "mqtt",
      .key = "max_connections",
      .preset = "20000",
      .type = PAG_INI_NUMBER,
      .min = 2,
      .max = 1000000,
      AT(mqtt, max_connections),
      .doc = "Clients of the managed broker at the same time." },
    { .section = "mqtt",
      .key = "max_packet",
      .preset = "64K",
      .type = PAG_INI_BYTES,
      .min = 1024,
      .max = 268435455,
      AT(mqtt, max_packet),
      .doc = "Largest MQTT packet that the managed broker takes." },
    { .section = "mqtt",
      .key = "max_keepalive",
      .preset = "10m",
      .type = PAG_INI_DURATION,
      .min = 10,
      .max = 65535,
      AT(mqtt, max_keepalive_s),
      .doc = "Longest keepalive a client may ask for; a device that vanishes is noticed after one and a half "
             "of it." },
    { .section = "mqtt",
      .key = "max_queued",
      .preset = "100",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 100000,
      AT(mqtt, max_queued),
      .doc = "Messages kept for a client that is away, each." },
    { .section = "mqtt",
      .key = "session_time",
      .preset = "14d",
      .type = PAG_INI_DURATION,
      .min = 3600,
      .max = 31536000,
      AT(mqtt, session_s),
      .doc = "After this time a durable session of an absent client is forgotten; counted in whole hours." },
    { .section = "mqtt",
      .key = "ca_file",
      .preset = "",
      TEXT_AT(mqtt, ca_file),
      .doc = "External broker: PEM with the authority of its certificate. Empty: this installation's root." },
    { .section = "mqtt",
      .key = "cert_file",
      .preset = "",
      TEXT_AT(mqtt, cert_file),
      .doc = "External broker: client certificate of the server. Empty: `tls/svc.pem`." },
    { .section = "mqtt",
      .key = "key_file",
      .preset = "",
      TEXT_AT(mqtt, key_file),
      .doc = "External broker: key of that certificate, mode 0600." },

    { .section = "store",
      .key = "queue",
      .preset = "4096",
      .type = PAG_INI_NUMBER,
      .min = 16,
      .max = 1000000,
      AT(store, queue),
      .doc = "Writes that may wait for the database; beyond it requests are answered 503 with Retry-After." },
    { .section = "store",
      .key = "last_seen",
      .preset = "15s",
      .type = PAG_INI_DURATION,
      .min = 1,
      .max = 3600,
      AT(store, last_seen_s),
      .doc = "How often the times at which devices were last seen are written." },
    { .section = "store",
      .key = "events",
      .preset = "90d",
      .type = PAG_INI_DURATION,
      .max = 315360000,
      AT(store, events_s),
      .doc = "How long events are kept. 0 is for ever. The audit chain is always kept." },

    { .section = "limits",
      .key = "image",
      .preset = "16M",
      .type = PAG_INI_BYTES,
      .min = 4096,
      .max = 1073741824,
      AT(limits, image),
      .doc = "Largest image that can be uploaded." },
    { .section = "limits",
      .key = "body",
      .preset = "1M",
      .type = PAG_INI_BYTES,
      .min = 16384,
      .max = 16777216,
      AT(limits, body),
      .doc = "Largest request body other than an image." },
    { .section = "limits",
      .key = "connections",
      .preset = "20000",
      .type = PAG_INI_NUMBER,
      .min = 16,
      .max = 1000000,
      AT(limits, connections),
      .doc = "Open connections of each network thread." },
    { .section = "limits",
      .key = "per_address",
      .preset = "64",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 1000000,
      AT(limits, per_address),
      .doc = "Connections of one address without a client certificate, for each network thread; loopback is "
             "exempt." },
    { .section = "limits",
      .key = "header_time",
      .preset = "10s",
      .type = PAG_INI_DURATION,
      .min = 1,
      .max = 300,
      AT(limits, header_s),
      .doc = "Time for a complete request head." },
    { .section = "limits",
      .key = "handshake_time",
      .preset = "20s",
      .type = PAG_INI_DURATION,
      .min = 2,
      .max = 300,
      AT(limits, handshake_s),
      .doc = "Time for a TLS handshake. An ESP8266 needs several seconds." },
    { .section = "limits",
      .key = "idle_time",
      .preset = "75s",
      .type = PAG_INI_DURATION,
      .min = 1,
      .max = 3600,
      AT(limits, idle_s),
      .doc = "Time a kept connection may wait for its next request." },
    { .section = "limits",
      .key = "write_time",
      .preset = "30s",
      .type = PAG_INI_DURATION,
      .min = 1,
      .max = 3600,
      AT(limits, write_s),
      .doc = "Time without progress while sending." },
    { .section = "limits",
      .key = "body_rate",
      .preset = "256",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 1000000,
      AT(limits, body_rate),
      .doc = "Least bytes a second of a request body, over 5 seconds." },
    { .section = "limits",
      .key = "claims_per_minute",
      .preset = "10",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 100000,
      AT(limits, claims_per_minute),
      .doc = "Refused attempts to redeem a claim from one address. Right ones are not counted." },
    { .section = "limits",
      .key = "unproven_devices",
      .preset = "10000",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 100000000,
      AT(limits, unproven_devices),
      .doc = "Devices of a product with `legacy_auth: none` that nothing but their own word stands for. Over "
             "it "
             "a new one hears 404, and once an hour the event `product.full` says so." },

    { .section = "limits",
      .key = "transfers",
      .preset = "512",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 100000,
      AT(limits, transfers),
      .doc = "Image downloads at the same time. Over it a native device hears 503 with Retry-After, an old "
             "one 304: "
             "it asks again at its next poll. At most three quarters of them go to clients without a "
             "certificate." },
    { .section = "limits",
      .key = "device_requests",
      .preset = "5",
      .type = PAG_INI_NUMBER,
      .max = 100000,
      AT(limits, device_requests),
      .doc = "Checks and reports of one device, a second. Over it a native device hears 429 with "
             "Retry-After, an old "
             "one 304. 0 is no limit." },
    { .section = "limits",
      .key = "device_requests_burst",
      .preset = "60",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 1000000,
      AT(limits, device_requests_burst),
      .doc = "So many of them at once after a quiet time." },
    { .section = "limits",
      .key = "device_messages",
      .preset = "1",
      .type = PAG_INI_NUMBER,
      .max = 100000,
      AT(limits, device_messages),
      .doc = "Status and data messages of one device over MQTT, a second. What comes over it is dropped and "
             "counted; "
             "once an hour the event `device.limited` says so. 0 is no limit." },
    { .section = "limits",
      .key = "device_messages_burst",
      .preset = "20",
      .type = PAG_INI_NUMBER,
      .min = 1,
      .max = 1000000,
      AT(limits, device_messages_burst),
      .doc = "So many of them at once after a quiet time." },
    { .section = "limits",
      .key = "device_text",
      .preset = "64K",
      .type = PAG_INI_BYTES,
      .max = 1073741824,
      AT(limits, device_text),
      .doc = "Words that one device adds to its history with reports and results, bytes an hour. Over it a "
             "report "
             "is taken without its words. 0 is no limit." },

    { .section = "certificates",
      .key = "device_time",
      .preset = "730d",
      .type = PAG_INI_DURATION,
      .min = 1800,
      .max = 315360000,
      AT(certificates, device_s),
      .doc = "Lifetime of a device certificate; never longer than its authority's." },
    { .section = "certificates",
      .key = "server_time",
      .preset = "397d",
      .type = PAG_INI_DURATION,
      .min = 3600,
      .max = 157680000,
      AT(certificates, server_s),
      .doc = "Lifetime of the server certificate." },
    { .section = "certificates",
      .key = "crl_time",
      .preset = "24h",
      .type = PAG_INI_DURATION,
      .min = 600,
      .max = 2592000,
      AT(certificates, crl_s),
      .doc = "Validity of the broker's revocation list. A broker with an expired list refuses everybody." },
    { .section = "certificates",
      .key = "crl_every",
      .preset = "6h",
      .type = PAG_INI_DURATION,
      .min = 1,
      .max = 1296000,
      AT(certificates, crl_every_s),
      .doc = "How often that list is made anew, besides at each revocation. At most half of `crl_time`." },
};

static const char *const sections[] = {
    "server",       "The daemon as a whole.",
    "console",      "What people and the command line talk to.",
    "device",       "What devices talk to.",
    "legacy",       "Plain HTTP for firmware that knows nothing better.",
    "mqtt",         "The broker.",
    "store",        "The database.",
    "limits",       "Bounds that keep one client from hurting the others.",
    "certificates", "Lifetimes. See [certificates.md](certificates.md).",
    NULL,
};

const struct pag_ini_table *pag_config_table(void)
{
    static const struct pag_ini_table table = { keys, sizeof keys / sizeof keys[0], sections };
    return &table;
}

static const char *const live[][2] = {
    { "server", "log_level" },
    { "server", "log_format" },
    { "device", "poll" },
    { "device", "silence" },
    { "store", "events" },
    { "limits", "transfers" },
    { "limits", "claims_per_minute" },
    { "limits", "unproven_devices" },
    { "limits", "device_requests" },
    { "limits", "device_requests_burst" },
    { "limits", "device_messages" },
    { "limits", "device_messages_burst" },
    { "limits", "device_text" },
};

bool pag_config_live(const struct pag_ini_key *key)
{
    for (size_t i = 0; i < sizeof live / sizeof live[0]; i++) {
        if (strcmp(key->section, live[i][0]) == 0 && strcmp(key->key, live[i][1]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- loading ---- */

static enum pag_err refuse(struct pag_ini_error *error, const char *text)
{
    (void)snprintf(error->text, sizeof error->text, "%s", text);
    error->line = 0;
    return PAG_E_CONFIG;
}

enum pag_err pag_config_check(const struct pag_config *c, struct pag_ini_error *error)
{
    if (c->server.data[0] == '\0' || strlen(c->server.data) > 200) {
        return refuse(error, "[server] data must name a folder of at most 200 characters");
    }
    if (c->mqtt.mode == PAG_MQTT_EXTERNAL && c->mqtt.host[0] == '\0') {
        return refuse(error, "[mqtt] mode = external needs host");
    }
    if (c->mqtt.mode == PAG_MQTT_EXTERNAL && c->mqtt.port == 0) {
        return refuse(error, "[mqtt] mode = external needs a port other than 0");
    }
    if ((c->mqtt.password || c->mqtt.plain) && c->mqtt.mode != PAG_MQTT_MANAGED) {
        return refuse(error, "[mqtt] password and plain are listeners of the managed broker");
    }
    if ((c->mqtt.cert_file[0] == '\0') != (c->mqtt.key_file[0] == '\0')) {
        return refuse(error, "[mqtt] cert_file and key_file belong together");
    }
    if (c->certificates.crl_every_s > c->certificates.crl_s / 2) {
        return refuse(
            error,
            "[certificates] crl_every must be at most half of crl_time: a late list locks everybody out");
    }
    return PAG_OK;
}

static enum pag_err read_one_file(const struct pag_config_args *args, struct pag_config *out,
                                  struct pag_ini_error *error)
{
    const char *file = args->file != NULL ? args->file : getenv("PAGURUS_CONFIG");
    if (file == NULL || file[0] == '\0') {
        if (access(DEFAULT_FILE, F_OK) != 0) {
            return PAG_OK;
        }
        file = DEFAULT_FILE;
    }
    enum pag_err err = pag_ini_read_file(pag_config_table(), file, out, error);
    return err == PAG_OK ? PAG_OK : PAG_E_CONFIG;
}

/* --set section.key=value */
static enum pag_err set_one(const char *text, struct pag_config *out, struct pag_ini_error *error)
{
    char name[130];
    const char *equals = strchr(text, '=');
    if (equals == NULL || (size_t)(equals - text) >= sizeof name) {
        return refuse(error, "--set wants section.key=value");
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    return pag_ini_set(pag_config_table(), name, equals + 1, "--set", out, error);
}

static enum pag_err read_arguments(const struct pag_config_args *args, struct pag_config *out,
                                   struct pag_ini_error *error)
{
    for (size_t i = 0; i < args->set_n; i++) {
        enum pag_err err = set_one(args->set[i], out, error);
        if (err != PAG_OK) {
            return err;
        }
    }
    if (args->data == NULL) {
        return PAG_OK;
    }
    return pag_ini_set(pag_config_table(), "server.data", args->data, "--data", out, error);
}

enum pag_err pag_config_load(const struct pag_config_args *args, struct pag_config *out,
                             struct pag_ini_error *error)
{
    memset(out, 0, sizeof *out);
    error->text[0] = '\0';
    error->line = 0;
    enum pag_err err = pag_ini_presets(pag_config_table(), out, error);
    if (err == PAG_OK) {
        err = read_one_file(args, out, error);
    }
    if (err == PAG_OK) {
        err = pag_ini_read_env(pag_config_table(), "PAGURUS", out, error);
    }
    if (err == PAG_OK) {
        err = read_arguments(args, out, error);
    }
    return err == PAG_OK ? pag_config_check(out, error) : err;
}

/* ---- files ---- */

enum pag_err pag_ports_write(const char *data, const struct pag_ports *ports, struct pag_fail *why)
{
    char path[512];
    char text[200];
    int n = snprintf(text, sizeof text,
                     "{\"console\":%u,\"device\":%u,\"legacy\":%u,\"mqtt\":%u,\"mqtt_password\":%u,"
                     "\"mqtt_plain\":%u}\n",
                     (unsigned)ports->console, (unsigned)ports->device, (unsigned)ports->legacy,
                     (unsigned)ports->mqtt, (unsigned)ports->mqtt_password, (unsigned)ports->mqtt_plain);
    if (n < 0 || pag_fs_join(path, sizeof path, data, "run/ports.json") != PAG_OK) {
        return pag_fail_set(why, PAG_E_CONFIG, "data folder's path is too long", 0);
    }
    return pag_fs_write(path, (struct pag_span){ (const uint8_t *)text, (size_t)n }, 0644, why);
}

void pag_config_print_manual(FILE *out)
{
    (void)fputs(
        "# Configuration of pagurusd\n"
        "<!-- Generated from the table in server/config.c by `pagurusd check-config --manual`; a test "
        "compares. "
        "-->\n\n"
        "No file is needed: these are the defaults that are built in. A file is read from `--config FILE`, "
        "else `$PAGURUS_CONFIG`, else\n"
        "`" DEFAULT_FILE "` if it exists. What comes later wins:\n\n"
        "1. the default,\n"
        "2. the file,\n"
        "3. the environment: `PAGURUS_<SECTION>_<KEY>`, for instance `PAGURUS_MQTT_PORT=18883`,\n"
        "4. the command line: `--data DIR`, `--set section.key=value`.\n\n"
        "The file is INI: `[section]`, `key = value`, comments after `;` or `#` at the start of a line, and "
        "after ` ;` behind a value.\n"
        "An unknown section or key, a key set twice and a value out of range are refused with file and line; "
        "`pagurusd check-config`\n"
        "checks without starting and prints what is in force.\n\n"
        "`kill -HUP` lets the running server read it again. It then takes",
        out);
    for (size_t i = 0; i < sizeof live / sizeof live[0]; i++) {
        (void)fprintf(out, "%s `%s.%s`", i == 0 ? "" : ",", live[i][0], live[i][1]);
    }
    (void)fputs(" and new certificates;\nof other keys that have changed it says in its log that they need a "
                "restart.\n\n",
                out);
    pag_ini_print_markdown(pag_config_table(), out);
}
