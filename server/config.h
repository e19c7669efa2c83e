#ifndef PAG_SERVER_CONFIG_H
#define PAG_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdio.h>

#include <pagurus/errors.h>

#include "host/ini.h"
#include "host/log.h"

/*
 * Every setting of pagurusd. The defaults need no file. Order of precedence: command line, environment
 * (PAGURUS_<SECTION>_<KEY>), file, default. Meaning of each: docs/operating/configuration.md, generated from
 * the table in config.c.
 */
enum pag_mqtt_mode { PAG_MQTT_MANAGED, PAG_MQTT_EXTERNAL, PAG_MQTT_OFF };

struct pag_config {
    struct {
        char data[256];
        char names[1024];    /* comma-separated; see pag_config_names */
        uint32_t threads;    /* 0: one a processor */
        uint32_t log_level;  /* enum pag_log_level */
        uint32_t log_format; /* 0 text, 1 json */
    } server;
    struct {
        char address[64];
        uint16_t port;
    } console;
    struct {
        char address[64];
        uint16_t port;
        uint32_t record_bytes;
        uint32_t session_cache;
        uint32_t session_s;
        uint32_t poll_s;    /* what devices are told when nothing is due */
        uint32_t silence_s; /* an update that says nothing for so long is given up; 0: never */
    } device;
    struct {
        bool enabled;
        char address[64];
        uint16_t port;
    } legacy;
    struct {
        uint32_t mode; /* enum pag_mqtt_mode */
        char address[64];
        uint16_t port;
        bool password, plain; /* listeners with passwords: over TLS, and without it */
        uint16_t password_port, plain_port;
        char plain_address[64];
        char host[256]; /* external only */
        char mosquitto[256];
        char plugin[256]; /* "": beside the program, then the library folder */
        uint32_t max_connections;
        uint64_t max_packet;
        uint32_t max_keepalive_s;
        uint32_t max_queued;
        uint32_t session_s;
        char ca_file[256], cert_file[256], key_file[256]; /* external only */
    } mqtt;
    struct {
        uint32_t queue;       /* writes waiting, at most; more is 503 */
        uint32_t last_seen_s; /* how often last_seen is written */
        uint32_t events_s;    /* events are kept so long; 0: for ever */
    } store;
    struct {
        uint64_t image;       /* bytes of one uploaded image */
        uint64_t body;        /* bytes of any other request body */
        uint32_t connections; /* a thread */
        uint32_t per_address; /* connections of one address without a certificate, a thread */
        uint32_t header_s, handshake_s, idle_s, write_s;
        uint32_t body_rate;         /* bytes a second */
        uint32_t claims_per_minute; /* refused attempts to redeem a claim, an address */
        uint32_t unproven_devices;  /* a product */
        uint32_t device_requests, device_requests_burst;
        uint32_t device_messages, device_messages_burst;
        uint64_t device_text;
        uint32_t transfers; /* downloads at once */
    } limits;
    struct {
        uint32_t device_s, server_s, crl_s; /* lifetimes */
        uint32_t crl_every_s;
    } certificates;
};

/* The one table of keys. */
const struct pag_ini_table *pag_config_table(void);

struct pag_config_args {
    const char *file;       /* --config; NULL: $PAGURUS_CONFIG, then /etc/pagurus/pagurusd.ini if it exists */
    const char *data;       /* --data; NULL: as configured */
    const char *const *set; /* --set section.key=value, set_n of them */
    size_t set_n;
};

/* Fills *out completely. error->text says what to change when not PAG_OK. */
enum pag_err pag_config_load(const struct pag_config_args *args, struct pag_config *out,
                             struct pag_ini_error *error);

/* Conditions between keys ("external needs a host"). Called by pag_config_load. */
enum pag_err pag_config_check(const struct pag_config *config, struct pag_ini_error *error);

/* May change while serving, at HUP. */
bool pag_config_live(const struct pag_ini_key *key);

/* docs/operating/configuration.md, whole. */
void pag_config_print_manual(FILE *out);

enum { PAG_CONFIG_NAMES_MAX = 24, PAG_CONFIG_NAME_CHARS = 128 };

struct pag_config_names {
    char name[PAG_CONFIG_NAMES_MAX][PAG_CONFIG_NAME_CHARS];
    size_t n;
};

/*
 * Splits a comma-separated list into names, adds host name, localhost, 127.0.0.1, ::1 and this machine's
 * global addresses when detect; without doubles, the configured ones first. PAG_E_CONFIG: too many or too
 * long.
 */
enum pag_err pag_config_names_of(const char *list, bool detect, struct pag_config_names *out);
/* One name more, if it is not there yet. PAG_E_CONFIG: it is none, too long, or there is no room. */
enum pag_err pag_config_names_add(struct pag_config_names *names, const char *name);
/* Adds what pag_config_names_of detects; what does not fit any more is left out. */
void pag_config_names_detect(struct pag_config_names *names);

/* Ports that were really bound (0 in the configuration: the kernel picked), as JSON in <data>/run/ports.json.
 */
struct pag_ports {
    uint16_t console, device, legacy, mqtt, mqtt_password, mqtt_plain; /* 0: not open */
};
enum pag_err pag_ports_write(const char *data, const struct pag_ports *ports, struct pag_fail *why);

#endif
