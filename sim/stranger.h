#ifndef PAG_SIM_STRANGER_H
#define PAG_SIM_STRANGER_H

#include <pagurus/errors.h>
#include <pagurus/types.h>

/*
 * A valid trust set, version 1 of product, whose root and release key nobody else holds: a device that trusts
 * it must refuse every manifest of the real fleet by its signature. out: appended, at most PAG_TRUST_MAX.
 * PAG_E_NO_MEMORY and errors of core/trust.h.
 */
enum pag_err pag_sim_stranger_set(const uint8_t product[PAG_PRODUCT_ID_BYTES], struct pag_buf *out);

#endif
