/* Addresses that clients without our agent ask for: the first line is the path below a mount, the rest the
 * query. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "server/api/legacy_http/filename.h"
#include "server/api/legacy_http/headers.h"
#include "server/api/legacy_http/tag.h"
#include "server/domain/mount.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pag_span in = { data, size };
    size_t end = pag_span_find(in, 0, '\n');
    struct pag_span path = { data, end };
    struct pag_span query =
        end < size ? (struct pag_span){ data + end + 1, size - end - 1 } : (struct pag_span){ NULL, 0 };
    struct pag_file_request file;
    struct pag_span tag;
    char text[PAG_DEVICE_ID_MAX + 1];
    for (int beside = 0; beside < 2; beside++) {
        if (pag_file_request_read(path, beside != 0, query, &file) == PAG_OK) {
            size_t mac = strlen(file.mac);
            check(strlen(file.name) <= PAG_FILE_NAME_MAX && strchr(file.name, '/') == NULL &&
                  (mac == 0 || mac == 12));
        }
    }
    if (pag_tag_of(query, &tag)) {
        check(tag.n > 0 && tag.p >= query.p && tag.p + tag.n <= query.p + query.n);
        for (int form = 0; form < PAG_TAG_FORMS; form++) {
            check(!pag_tag_read(tag, (enum pag_tag_form)form, text) || strlen(text) <= tag.n);
        }
    }
    struct pag_mount m = { .path = "/a", .kind = PAG_MOUNT_FILES };
    struct pag_span rest;
    if (pag_mount_takes(&m, path, &rest)) {
        check(rest.n <= path.n);
    }
    if (pag_mount_path_check(path, NULL) == PAG_OK) {
        check(path.n > 0 && path.n <= PAG_MOUNT_PATH_MAX && path.p[0] == '/');
    }
    if (pag_legacy_mac(path, file.mac) == PAG_OK) {
        check(strlen(file.mac) == 12);
    }
    return 0;
}
