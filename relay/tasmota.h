#ifndef PAG_RELAY_TASMOTA_H
#define PAG_RELAY_TASMOTA_H

#include "relay/push.h"

/*
 * The configuration of a Tasmota by its web pages, as its own page saves and restores it:
 * docs/spec/tasmota.md 5. Blocking; any thread, nothing is shared. Of an order these take: protocol
 * (PAG_PUSH_WEB), host, port, user, password, image (the file to restore), mdns, silence_ms, stop.
 */

enum { PAG_TASMOTA_FILE_MAX = 64 << 10, PAG_TASMOTA_VERSION_MAX = 20 };

/* A configuration file (.dmp) without what is secret in it. */
struct pag_tasmota_dump {
    uint32_t version; /* of the firmware that wrote it: 0x0d040000 is 13.4.0 */
    uint8_t chip;     /* pag_tasmota_chip */
    unsigned drivers; /* files of drivers beside the settings */
    unsigned damaged; /* of these: ones that a device leaves out */
};
/* PAG_E_SYNTAX: no such file, PAG_E_DIGEST: it is broken; *why is a sentence then. */
enum pag_err pag_tasmota_dump_read(struct pag_span file, struct pag_tasmota_dump *out, const char **why);
/* "13.4.0", or "13.4.0.2" of a build between releases. */
void pag_tasmota_number_text(uint32_t version, char out[PAG_TASMOTA_VERSION_MAX]);
/* "13.4.0(tasmota)" or "13.4.0.2(lite)" as a number; 0: no version. */
uint32_t pag_tasmota_number(const char *text);
/* "ESP8266", "ESP32", "ESP32-S3" … for the number in a file; NULL: none that is known. */
const char *pag_tasmota_chip(uint8_t chip);
/* The number for what a device says of its hardware, as "ESP8266EX" or "ESP32-D0WD-V3"; -1: not known. */
int pag_tasmota_chip_of(const char *hardware);

/* What it says of itself. */
struct pag_tasmota_info {
    char version[64];  /* "13.4.0(tasmota)" */
    char hardware[40]; /* "" : not said */
    uint64_t uptime_s; /* UINT64_MAX: not said */
};
/* Errors of these three as pag_push_run; *r is always filled. */
enum pag_err pag_tasmota_ask(const struct pag_push_order *o, struct pag_tasmota_info *out,
                             struct pag_push_result *r);
/* Its configuration into file, checked; file has room for PAG_TASMOTA_FILE_MAX. */
enum pag_err pag_tasmota_backup(const struct pag_push_order *o, struct pag_buf *file,
                                struct pag_tasmota_dump *dump, struct pag_push_result *r);
/* PAG_OK: it has taken the file and says so, and is about to restart. */
enum pag_err pag_tasmota_restore(const struct pag_push_order *o, struct pag_push_result *r);
/*
 * Waits at most ms until it has restarted: it was away, or says that it runs for a shorter time.
 * PAG_E_TIMEOUT; PAG_E_DENIED: it is back and its password is another one; PAG_E_CONDITION: stopped.
 */
enum pag_err pag_tasmota_back(const struct pag_push_order *o, const struct pag_tasmota_info *before,
                              uint32_t ms, struct pag_tasmota_info *after);

#endif
