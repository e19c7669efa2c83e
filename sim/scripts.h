#ifndef PAG_SIM_SCRIPTS_H
#define PAG_SIM_SCRIPTS_H

#include "sim/client.h"

/* The families' scripts, and what several of them share. */
extern const struct pag_sim_script pag_sim_script_update, pag_sim_script_tag, pag_sim_script_tasmota,
    pag_sim_script_secureesp, pag_sim_script_idf, pag_sim_script_esphome, pag_sim_script_webtools,
    pag_sim_script_detached;

/* What ESP8266httpUpdate makes of the head; fills client->announced. */
enum pag_sim_update pag_sim_script_judge(struct pag_sim_device *d);
/* The body is the image: install it. */
enum pag_sim_next pag_sim_script_whole(struct pag_sim_device *d);
/* What Tasmota calls the build that runs: "tasmota32", or that of a stand-in. */
const char *pag_sim_tasmota_build(const struct pag_sim_device *d);
/* The name of the stand-in beside an image: ".../tasmota-DE.bin.gz" gives ".../tasmota-minimal.bin.gz". */
void pag_sim_tasmota_minimal(const char *url, char *out, size_t cap);

#endif
