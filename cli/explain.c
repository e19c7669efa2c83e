/* Error numbers that devices report: docs/spec/legacy-http.md 8. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/out.h"
#include "core/bytes.h"

enum { BOTH, ESP8266, ESP32 };

struct meaning {
    int number;
    int who;
    const char *text, *remedy;
};

static const struct meaning meanings[] = {
    { -1, BOTH, "The connection failed: nobody answers at that address and port, or TLS did not come about.",
      "Look whether the device trusts the server's certificate, knows the time and reaches the port." },
    { -2, BOTH, "The request could not be sent.", "The network broke off; it tries again." },
    { -3, BOTH, "The body of the request could not be sent.", "The network broke off; it tries again." },
    { -4, BOTH, "Not connected any more.", "The network broke off; it tries again." },
    { -5, BOTH, "The connection was lost before the answer was there.",
      "Look at the radio, and at the server's log." },
    { -6, BOTH, "There was no stream to read from.", "A fault of the application; it tries again." },
    { -7, BOTH, "What answered is no HTTP server.",
      "Plain HTTP was spoken to the TLS port, or the other way round: compare address and port." },
    { -8, BOTH, "Too little memory for the answer.", "The application must free memory before it updates." },
    { -9, BOTH, "The answer came in a transfer coding that the client does not know.",
      "Something between device and server changes answers; go around that proxy." },
    { -10, BOTH, "Writing to flash failed while reading.",
      "The flash may be worn; try again, then replace it." },
    { -11, BOTH, "Nothing came in time.", "Look at the radio and at the load of the server." },
    { -100, BOTH, "The image is larger than the space that is free.",
      "Make it smaller, or use a packed image, or a stand-in (-minimal) first." },
    { -101, BOTH, "The answer had no length, or nothing in it.",
      "Something between device and server changes answers; this server always says the length." },
    { -102, BOTH, "Not found (404).",
      "Compare the path: pagurus product mount list NAME; is the release published?" },
    { -103, BOTH, "Forbidden (403): revoked, or of another device, or fetched again and again.",
      "pagurus device show ID says why." },
    { -104, BOTH, "Another status than 200, 304, 403 and 404; before core 3.0, and on ESP32, 401 too.",
      "Is it a certificate or token that is missing? The server's log has the status." },
    { -105, BOTH, "The MD5 that came with the image has another length than 32: not a mismatch.",
      "Something between device and server doubles headers." },
    { -106, BOTH, "The first byte is none of an image that this client takes.",
      "A packed image came to a core before 2.7, or an error page came with status 200." },
    { -107, ESP8266, "The image was built for more flash than the chip has.",
      "Build it for the flash that is there." },
    { -108, ESP8266, "Unauthorized (401), core 3.0 and newer.",
      "The certificate or token is missing or not valid." },
    { -108, ESP32, "There is no partition for the update.", "The partition table needs two app slots." },
    { -109, ESP8266, "The answer to a request for the version had none.", "Is a release published?" },
    { 1, BOTH, "Writing to flash failed.", "The flash may be worn; try again, then replace it." },
    { 2, BOTH, "Erasing flash failed.", "The flash may be worn; try again, then replace it." },
    { 3, BOTH, "Reading flash failed.", "The flash may be worn; try again, then replace it." },
    { 4, BOTH, "Not enough space.", "Make the image smaller." },
    { 5, BOTH, "The size does not fit.", "Fewer bytes came than were said; it tries again." },
    { 6, BOTH, "The stream stopped.", "Nothing came for too long; look at the radio." },
    { 7, BOTH, "The MD5 of what came is another one.", "The download was damaged; it tries again." },
    { 8, ESP8266, "The flash is configured for more than the chip has.",
      "Flash it once by cable with the right size." },
    { 8, ESP32, "The first byte is none of an image.", "An error page or a packed image came." },
    { 9, ESP8266, "The new image is configured for more flash than the chip has.",
      "Build it for the flash that is there." },
    { 9, ESP32, "The new image could not be made the one to start.",
      "Its checksum, signature or chip is wrong." },
    { 10, ESP8266, "The first byte is none of an image.",
      "An error page came, or a packed one to an old core." },
    { 10, ESP32, "There is no such partition.", "The partition table needs two app slots." },
    { 11, ESP8266, "It was started by cable (boot pins): after an update it would not start.",
      "Press reset once." },
    { 11, ESP32, "A wrong argument.", "A fault of the application." },
    { 12, ESP8266, "The signature is not by the key in the running image.",
      "pagurus device show ID; was an image that brings the next key left out?" },
    { 12, ESP32, "The update was given up.", "It tries again." },
    { 13, ESP8266, "No data.", "Nothing came; it tries again." },
    { 13, ESP32, "The image could not be decrypted.", "It was encrypted with another key." },
    { 14, ESP8266, "Out of memory.", "The application must free memory before it updates." },
    { 15, ESP8266, "An update is running already.", "Wait for it." },
};

static bool number_of(const char *text, int *out)
{
    uint64_t n = 0;
    bool minus = text[0] == '-';
    if (pag_parse_u64(pag_span_str(text + (minus ? 1 : 0)), &n) != PAG_OK || n > 100000) {
        return false;
    }
    *out = minus ? -(int)n : (int)n;
    return true;
}

int pag_cmd_explain(struct pag_cli *cli)
{
    static const char *const names[] = { NULL, "esp8266", "esp32" };
    const char *as = pag_opt(cli, "as");
    int number = 0;
    if (!number_of(pag_word(cli, 0), &number)) {
        return pag_cli_fail(cli, PAG_EXIT_USAGE, "pagurus explain -101", "\"%s\" is no number",
                            pag_word(cli, 0));
    }
    json_t *items = pag_cli_keep(cli, json_array());
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        const struct meaning *m = &meanings[i];
        bool asked = as == NULL || m->who == BOTH || strcmp(as, names[m->who]) == 0;
        if (m->number == number && asked) {
            (void)json_array_append_new(items,
                                        json_pack("{s:i, s:s?, s:s, s:s}", "number", number, "client",
                                                  names[m->who], "text", m->text, "remedy", m->remedy));
        }
    }
    if (json_array_size(items) == 0) {
        return pag_cli_fail(cli, PAG_EXIT_NOT_FOUND, "docs/spec/legacy-http.md 8 has them all",
                            "no client that is known here reports %d", number);
    }
    if (pag_out_json(cli, items)) {
        return PAG_EXIT_OK;
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *one = json_array_get(items, i);
        const char *client = pag_out_text(one, "client");
        (void)printf("%s%s%s\n  %s\n", client, client[0] != '\0' ? ": " : "", pag_out_text(one, "text"),
                     pag_out_text(one, "remedy"));
    }
    return PAG_EXIT_OK;
}
