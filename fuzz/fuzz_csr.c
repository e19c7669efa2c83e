#include <stdint.h>
#include <stdlib.h>

#include "host/x509.h"

/* Certificate requests as a stranger sends them, to the end: whatever is accepted is issued, and what is
 * issued says what was ordered. The same bytes also go through the certificate reader. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pag_ca *root;
    static struct pag_ca *ca;
    static const uint8_t product[PAG_PRODUCT_ID_BYTES] = { 1 };
    if (ca == NULL && (pag_ca_root_new("Fuzz", 1767225600, &root, NULL) != PAG_OK ||
                       pag_ca_issuing_new(root, PAG_CA_DEVICE, 1767225600, &ca, NULL) != PAG_OK)) {
        abort();
    }
    const struct pag_cert_order order = {
        .cn = "dev-a", .product = product, .now = 1767225600, .lifetime_s = 3600
    };
    struct pag_span in = { data, size };
    struct pag_x509_info info;
    struct pag_issued issued;
    uint8_t key[PAG_SHA256_BYTES];
    (void)pag_x509_info(in, &info);
    enum pag_err checked = pag_x509_csr_check(in, key, NULL);
    enum pag_err made = pag_ca_issue_client(ca, in, &order, &issued, NULL);
    if (checked != made) {
        abort();
    }
    char cn[PAG_DEVICE_ID_MAX + 1] = "";
    bool rsa = false;
    enum pag_err any = pag_x509_csr_key(in, true, key, &rsa, NULL);
    enum pag_err named = pag_x509_csr_cn(in, cn, NULL);
    enum pag_err modest = pag_x509_csr_modest(in, "dev-a", product, NULL);
    if ((any != PAG_OK && (named == PAG_OK || modest == PAG_OK)) ||
        (any == PAG_OK && rsa == (made == PAG_OK))) {
        abort();
    }
    if (made == PAG_OK && (pag_x509_info((struct pag_span){ issued.der, issued.der_n }, &info) != PAG_OK ||
                           info.is_ca || info.cn[0] != 'd')) {
        abort();
    }
    return 0;
}
