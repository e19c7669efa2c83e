#include "sim/scripts.h"

const struct pag_sim_script *pag_sim_script_of(enum pag_sim_family family)
{
    switch (family) {
    case PAG_SIM_F_NATIVE:
        break;
    case PAG_SIM_F_UPDATE:
        return &pag_sim_script_update;
    case PAG_SIM_F_TAG:
        return &pag_sim_script_tag;
    case PAG_SIM_F_TASMOTA:
        return &pag_sim_script_tasmota;
    case PAG_SIM_F_SECUREESP:
        return &pag_sim_script_secureesp;
    case PAG_SIM_F_IDF:
        return &pag_sim_script_idf;
    case PAG_SIM_F_ESPHOME:
        return &pag_sim_script_esphome;
    case PAG_SIM_F_WEBTOOLS:
        return &pag_sim_script_webtools;
    case PAG_SIM_F_DETACHED:
        return &pag_sim_script_detached;
    }
    return NULL;
}
