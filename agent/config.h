#ifndef PAG_AGENT_CONFIG_H
#define PAG_AGENT_CONFIG_H

#include <pagurus/agent.h>

/*
 * Reads a device's configuration (docs/spec/device-config.md): lines key=value, '#' comments, and one PEM
 * block of the authority anywhere between lines. Only the keys given change *s; call pag_settings_default
 * before. s->ca points into text. Checks at the end that what is needed is there. PAG_E_CONFIG: why->what
 * says what, why->detail is the line (0: something is missing).
 */
enum pag_err pag_settings_parse(struct pag_span text, struct pag_settings *s, struct pag_fail *why);

/*
 * Appends what a key takes, in words ("a whole number from 1 to 65535"), for the message of a port that has a
 * screen. PAG_E_NOT_FOUND: there is no such key. PAG_E_SPACE.
 */
enum pag_err pag_settings_wants(struct pag_span key, struct pag_buf *out);

/* What pag_agent_init checks: host, product, hardware, image. PAG_E_CONFIG with why->what. */
enum pag_err pag_settings_check(const struct pag_settings *s, struct pag_fail *why);

#endif
