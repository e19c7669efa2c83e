#include "server/domain/broker_user.h"

enum { NAME_PART_MAX = 31 };

bool pag_broker_user_name_ok(struct pag_span name)
{
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return false;
        }
    }
    return name.n > 0 && name.n <= NAME_PART_MAX;
}
