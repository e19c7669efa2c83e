#include "cli/commands.h"

/* clang-format off: one row a flag, one block a command */

static const struct pag_flag global_flags[] = {
    { "context", 0, "NAME", "which server, out of config.ini (PAGURUS_CONTEXT)" },
    { "server", 0, "URL", "https://host:port, instead of the context's (PAGURUS_SERVER)" },
    { "ca", 0, "FILE", "PEM file to trust instead of the system's store (PAGURUS_CA)" },
    { "token-file", 0, "FILE", "file with the token, mode 0600 (PAGURUS_TOKEN_FILE)" },
    { "token-stdin", 0, NULL, "read the token from standard input" },
    { "json", 0, NULL, "one JSON document on stdout, errors as problem+json on stderr" },
    { "jsonl", 0, NULL, "one JSON object a line" },
    { "columns", 0, "A,B", "columns to show: headings or paths such as running.version" },
    { "no-header", 0, NULL, "no heading line" },
    { "quiet", 'q', NULL, "no messages, only data and errors" },
    { "verbose", 'v', NULL, "say more; twice shows requests without secrets" },
    { "timeout", 0, "30s", "time for one call with its retries" },
    { "no-input", 0, NULL, "never ask: exit 2 and name the flag instead" },
    { "yes", 'y', NULL, "answer questions with yes" },
    { "confirm", 0, "NAME", "name of what is destroyed, beside --yes" },
    { "color", 0, "WHEN", "auto, always or never (NO_COLOR, CLICOLOR_FORCE)" },
    { "request-id", 0, "ID", "sent as X-Request-Id, to find the call in the server's log" },
    { "help", 'h', NULL, "examples and flags" },
    { "version", 0, NULL, "version of this program" },
    { NULL, 0, NULL, NULL },
};

#define FLAGS(name, ...) static const struct pag_flag name[] = { __VA_ARGS__, { NULL, 0, NULL, NULL } }
#define LIST_FLAGS                                                                                           \
    { "limit", 0, "N", "at most N rows (100)" },                                                             \
    {                                                                                                        \
        "all", 0, NULL, "all rows"                                                                           \
    }
#define OUTPUT_FLAG                                                                                          \
    {                                                                                                        \
        "output", 'o', "FILE", "write there instead of stdout"                                               \
    }
#define PRODUCT_FLAG                                                                                         \
    {                                                                                                        \
        "product", 'p', "NAME", "product"                                                                    \
    }
#define PASSPHRASE_FLAGS                                                                                     \
    { "passphrase-file", 0, "FILE", "file with the passphrase, mode 0600" },                                 \
    {                                                                                                        \
        "passphrase-fd", 0, "N", "descriptor to read the passphrase from"                                    \
    }
#define STRAND_FLAG                                                                                          \
    {                                                                                                        \
        "strand-anyway", 0, "REASON", "cut devices off that could not verify what follows"                   \
    }
#define NO_PASSPHRASE_FLAG                                                                                   \
    {                                                                                                        \
        "no-passphrase", 0, NULL, "keep new keys unprotected (only for CI machines)"                         \
    }

FLAGS(login_flags,
      { "trust-fingerprint", 0, "SHA256", "pin the server's certificate or CA with this fingerprint" },
      { "name", 0, "NAME", "name of the context (the host)" });
FLAGS(add_flags, { "token-command", 0, "COMMAND", "command that prints the token (password managers)" });
FLAGS(list_flags, LIST_FLAGS);
FLAGS(dialect_flags, { "off", 0, NULL, "take it away" });
FLAGS(series_flags, { "field", 0, "NAME", "uptimemillis, rssi, espfreeheap, espimage, errormessage …" },
      { "from", 0, "TIME", "2026-01-31T12:00:00Z or Unix seconds" }, { "to", 0, "TIME", "the same" },
      { "limit", 0, "N", "at most N values (1000)" });
FLAGS(device_list_flags, PRODUCT_FLAG,
      { "state", 0, "STATE",
        "new, up_to_date, update_offered, updating, on_trial, failed, reverted, blocked, stale, revoked" },
      { "running", 0, "VERSION", "devices that run this version" },
      { "find", 'f', "TEXT", "beginning of id, MAC or name" }, LIST_FLAGS);
FLAGS(device_show_flags, { "history", 0, NULL, "what happened to it instead" }, LIST_FLAGS);
FLAGS(watch_flags, { "interval", 0, "2s", "how often to look" },
      { "wait", 0, "10m", "give up after this time (exit 7)" },
      { "forever", 0, NULL, "go on when the update has ended" });
FLAGS(ttl_flags, { "ttl", 0, "1h", "how long the command is worth doing" });
FLAGS(revoke_flags, { "reason", 0, "TEXT", "why, for the record" });
FLAGS(order_flags,
      { "sign", 's', "KEY", "release key that signs (the only key here that the trust set allows)" },
      { "ttl", 0, "1h", "the device obeys until then" }, PASSPHRASE_FLAGS);
FLAGS(reenroll_flags,
      { "sign", 's', "KEY", "release key that signs (the only key here that the trust set allows)" },
      { "ttl", 0, "1h", "the device obeys until then, and a new code is good until then" },
      { "code", 0, "CODE", "code to enrol with (a new one for this device)" }, PASSPHRASE_FLAGS);
FLAGS(create_flags, { "chip", 0, "CHIP", "esp8266, esp32, esp32-c3 … or posix" },
      { "hardware", 0, "ID", "board that it runs on, repeatable" }, { "flash", 0, "BYTES", "flash size" },
      { "slot", 0, "BYTES", "room for one image" }, { "set", 0, "KEY=VALUE", "setting, repeatable" });
FLAGS(release_list_flags, PRODUCT_FLAG, { "state", 0, "STATE", "draft, published or withdrawn" }, LIST_FLAGS);
FLAGS(release_flags, PRODUCT_FLAG);
FLAGS(change_flags, PRODUCT_FLAG, STRAND_FLAG);
FLAGS(push_flags, PRODUCT_FLAG, { "version", 0, "TEXT", "version, when the firmware says none" },
      { "channel", 0, "NAME", "channel (stable)" },
      { "sign", 's', "KEY",
        "release key that signs (the only key here that the trust set allows); \"first\" makes what is "
        "missing" },
      { "notes", 0, "TEXT", "what is new" }, { "epoch", 0, "N", "security epoch" },
      { "expires", 0, "365d", "the manifest is not valid after this time (never)" },
      { "permit", 0, "180d", "how long going back to the release before is allowed; 0s: not at all" },
      { "allow-downgrade", 0, "REASON", "publish a version that is not the highest" },
      { "core", 0, "2.7.4", "Arduino core it was built with: from 2.7 on its devices unpack gzip" },
      { "arduino-key", 0, "KEY", "RSA key: puts its signature behind each image (.bin.signed)" },
      { "arduino-legacy", 0, NULL, "in the form of Arduino core 2.5" },
      { "detach", 0, "KEY", "RSA or P-256 key: keeps a signature beside each image" },
      { "signature", 0, "FILE", "signature over the first file, made with openssl dgst -sha256 -sign" },
      { "verify-key", 0, "ID",
        "key inside the image that checks the next one, or none; when it has several" },
      STRAND_FLAG, { "draft", 0, NULL, "do not publish" }, PASSPHRASE_FLAGS, NO_PASSPHRASE_FLAG);
FLAGS(sign_flags, PRODUCT_FLAG,
      { "sign", 's', "KEY", "release key that signs (the only key here that the trust set allows)" },
      { "epoch", 0, "N", "security epoch" },
      { "expires", 0, "365d", "the manifest is not valid after this time (never)" },
      { "permit", 0, "180d", "how long going back is allowed" }, PASSPHRASE_FLAGS);
FLAGS(verify_flags, PRODUCT_FLAG,
      { "pub", 0, "KEY", "local key or PEM file that must have signed the manifest" },
      { "trust", 0, "FILE", "trust set that must allow it" },
      { "image", 0, "FILE", "image that must be the signed one" });
FLAGS(download_flags, PRODUCT_FLAG, { "image", 0, "NAME", "image of the release (firmware)" }, OUTPUT_FLAG);
FLAGS(generate_flags, { "rsa", 0, "BITS", "an RSA key of 2048 to 4096 bits, which signs images" },
      PRODUCT_FLAG, { "use", 0, "USE", "release, root or arduino, for --register" },
      { "register", 0, NULL, "send the public key to the server" }, PASSPHRASE_FLAGS, NO_PASSPHRASE_FLAG);
FLAGS(import_flags, PASSPHRASE_FLAGS, NO_PASSPHRASE_FLAG);
FLAGS(key_list_flags, { "remote", 0, NULL, "public keys that the server knows" }, LIST_FLAGS);
FLAGS(public_flags, { "arduino", 0, NULL, "as a C header for a sketch" }, PRODUCT_FLAG,
      { "use", 0, "USE", "release, root or arduino, for --register" },
      { "register", 0, NULL, "send it to the server" }, OUTPUT_FLAG);
FLAGS(trust_create_flags, PRODUCT_FLAG, { "root", 0, "KEY[,KEY]", "root keys, repeatable" },
      { "release", 0, "KEY[,KEY]", "release keys, repeatable" },
      { "threshold", 0, "N", "roots that must sign (1)" },
      { "expires", 0, "3650d", "end of the set (never)" }, OUTPUT_FLAG, PASSPHRASE_FLAGS);
FLAGS(trust_show_flags, PRODUCT_FLAG);
FLAGS(trust_rotate_flags, PRODUCT_FLAG, { "add-root", 0, "KEY", "new root, repeatable" },
      { "drop-root", 0, "KEY", "name or key id, repeatable" },
      { "add-release", 0, "KEY", "new release key, repeatable" },
      { "drop-release", 0, "KEY", "name or key id, repeatable" },
      { "freshness", 0, NULL, "take the server's present freshness key" },
      { "threshold", 0, "N", "roots that must sign from now on" },
      { "expires", 0, "3650d", "end of the set" }, OUTPUT_FLAG, PASSPHRASE_FLAGS);
FLAGS(output_flags, OUTPUT_FLAG);
FLAGS(issue_flags, PRODUCT_FLAG, { "csr", 0, "FILE", "certificate request (PEM)" },
      { "days", 0, "N", "lifetime" }, { "chain", 0, NULL, "with the issuing authority" }, OUTPUT_FLAG);
FLAGS(code_flags, PRODUCT_FLAG, { "uses", 0, "N", "devices that may use it (1)" },
      { "ttl", 0, "7d", "how long it is good" }, { "mac", 0, "MAC", "only this device" });
FLAGS(roll_flags, { "root", 0, "FILE", "the exported root key, root-export.pem" }, PASSPHRASE_FLAGS);
FLAGS(retire_flags, { "force", 0, NULL, "cut off the devices that have not renewed" });
FLAGS(batch_flags, PRODUCT_FLAG, { "output", 'o', "FOLDER", "a folder below it for each device" },
      { "certificates", 0, NULL, "keys made here and certificates, instead of codes" },
      { "rsa", 0, NULL, "RSA-2048 keys, for products of old sketches" },
      { "days", 0, "N", "lifetime of certificates" }, { "ttl", 0, "30d", "how long codes are good" });
FLAGS(config_flags, PRODUCT_FLAG, { "uses", 0, "N", "devices that may use the code (1)" },
      { "ttl", 0, "7d", "how long the code is good" },
      { "mac", 0, "MAC", "the device: its mac= line, and a code for it alone" },
      { "code", 0, "CODE", "use this code instead of making one" },
      { "device-server", 0, "HOST[:PORT]",
        "address that devices use (the server's host and its port for devices)" },
      { "hardware", 0, "ID", "board, when the product lists several" }, OUTPUT_FLAG);
FLAGS(fs_image_flags, PRODUCT_FLAG,
      { "format", 0, "WORD", "littlefs, spiffs or nvs: what the firmware mounts" },
      { "layout", 0, "NAME", "flash layout: 4m1m, 1m64 … of the ESP8266 core, esp32-default …" },
      { "size", 0, "BYTES", "size of the partition instead: 1024000, 0xFA000, 1000k" },
      { "block", 0, "BYTES", "erase block (8192 in ESP8266 layouts from 512k on, else 4096)" },
      { "page", 0, "BYTES", "SPIFFS: page (256); LittleFS: unit of programming (64, ESP32 128)" },
      { "chip", 0, "NAME", "esp8266 or esp32 … (the product's)" },
      { "dir", 0, "FOLDER", "files of yours that go along" },
      { "only-dir", 0, NULL, "nothing but the files of --dir: no server is asked" },
      { "namespace", 0, "NAME", "NVS: of files in no folder (pagurus)" },
      { "device", 0, "ID", "a known device, repeatable" }, { "mac", 0, "MAC", "a new device, repeatable" },
      { "uses", 0, "N", "devices that may use the code (1)" },
      { "ttl", 0, "7d", "how long the code is good" },
      { "code", 0, "CODE", "use this code instead of making one" },
      { "cert", 0, "FILE", "secureESP8266: certificate that the device has, with --key" },
      { "key", 0, "FILE", "its private key" },
      { "device-server", 0, "HOST[:PORT]",
        "address that devices use (the server's host and its port for devices)" },
      { "hardware", 0, "ID", "board, when the product lists several" },
      { "output", 'o', "FILE", "the image; % in it becomes the MAC" });
FLAGS(explain_flags, { "as", 0, "CLIENT", "esp8266 or esp32: numbers that both have differ" });
FLAGS(mount_flags, { "as", 0, "KIND", "httpupdate, tag-emonesp, tag-squix, files, secureesp8266" },
      { "auth", 0, "WORD", "certificate, token or none, instead of the product's legacy_auth" },
      { "not-modified", 0, NULL, "its clients understand 304 (ESP-IDF 5.5 and newer)" },
      { "any-name", 0, NULL, "every name that ends in .bin is the firmware" },
      { "option", 0, "K=V", "of the kind's own, repeatable" });
FLAGS(broker_user_flags,
      { "device", 0, "ID", "device that it speaks for (NAME); a MAC where the product speaks Tasmota" },
      { "topic", 0, "NAME", "what the Tasmota has as Topic (tasmota_ and the end of its MAC)" });
FLAGS(broker_acl_flags, { "for", 0, "BROKER", "mosquitto or rabbitmq" });
FLAGS(event_flags, { "after", 0, "SEQ", "only later events" }, { "limit", 0, "N", "at most N" });
FLAGS(events_flags, { "follow", 'f', NULL, "go on as they happen" },
      { "after", 0, "SEQ", "only later events" }, { "limit", 0, "N", "at most N" });
FLAGS(lan_flags, { "protocol", 0, "WORD", "espota, esphome, web or wled (what the device announces)" },
      { "port", 0, "N", "where it listens (the protocol's and chip's usual one)" },
      { "password-file", 0, "FILE", "file with its password, mode 0600; else it is asked for" },
      { "user", 0, "NAME", "user of an upload page (admin)" },
      { "path", 0, "PATH", "of an upload page (/update)" },
      { "version", 0, "TEXT", "version that it must say afterwards" },
      { "listen-port", 0, "N", "port here that an ArduinoOTA device connects back to (any)" },
      { "wait", 0, "60s", "how long to wait until it is back; 0s: not at all" },
      { "mdns", 0, "ADDRESS[:PORT]", "ask this responder instead of the whole network; none: do not ask" });
FLAGS(relay_flags, { "products", 0, "A,B", "products whose devices are pushed to" },
      { "devices", 0, "FILE", "which device is which product's, addresses and passwords" },
      { "find", 0, NULL, "only show which devices announce themselves" },
      { "once", 0, NULL, "one round, then end" }, { "interval", 0, "60s", "time between rounds" },
      { "jobs", 0, "N", "pushes at once, one a device (4)" },
      { "cache", 0, "FOLDER", "where images are kept (~/.cache/pagurus/relay)" },
      { "wait", 0, "90s", "how long a device may take to come back" },
      { "mdns", 0, "ADDRESS[:PORT]", "ask this responder instead of the whole network; none: do not look" });
FLAGS(tasmota_backup_flags, { "output", 'o', "PATH", "the file (HOST.dmp), with --all the folder (.)" },
      { "all", 0, NULL, "every device of the server whose product speaks Tasmota" },
      { "product", 'p', "NAME", "with --all: of this product" },
      { "jobs", 0, "N", "with --all: devices at once (8)" },
      { "password-file", 0, "FILE",
        "file with the password of the web page, mode 0600; else it is asked for" },
      { "port", 0, "N", "of the web page (80)" },
      { "mdns", 0, "ADDRESS[:PORT]", "ask this responder instead of the whole network; none: do not ask" });
FLAGS(tasmota_restore_flags,
      { "password-file", 0, "FILE",
        "file with the password of the web page, mode 0600; else it is asked for" },
      { "port", 0, "N", "of the web page (80)" },
      { "wait", 0, "60s", "how long to wait until it is back; 0s: not at all" },
      { "mdns", 0, "ADDRESS[:PORT]", "ask this responder instead of the whole network; none: do not ask" });
FLAGS(api_flags, { "field", 'F', "K=V", "member of the JSON body, repeatable; V may be @FILE" },
      { "input", 0, "FILE", "body as it is; - is stdin" },
      { "type", 0, "TYPE", "content type of --input (application/json)" });

static const struct pag_command table[] = {
    { "login", "[URL]", "sign in to a server and remember it",
      "pagurus login https://ota.example.net:8443\npass show ota | pagurus login "
      "https://ota.example.net:8443 --token-stdin\npagurus login https://10.0.0.5:8443 --trust-fingerprint "
      "3f9a…",
      login_flags, NULL, 0, 1, false, false, false, pag_cmd_login },
    { "logout", NULL, "forget the token of the context", "pagurus logout\npagurus logout --context lab", NULL,
      NULL, 0, 0, false, false, false, pag_cmd_logout },
    { "whoami", NULL, "who the token says you are", "pagurus whoami\npagurus whoami --json", NULL, NULL, 0, 0,
      false, false, false, pag_cmd_whoami },
    { "status", NULL, "how the server does", "pagurus status\npagurus status --json | jq .devices", NULL,
      NULL, 0, 0, false, false, false, pag_cmd_status },
    { "doctor", NULL, "look for what is wrong, and say how to mend it",
      "pagurus doctor\npagurus doctor --json   # for monitoring: exit 1 if anything failed", NULL, NULL, 0, 0,
      false, false, false, pag_cmd_doctor },
    { "version", NULL, "version of this program", "pagurus version\npagurus version --json", NULL, NULL, 0, 0,
      false, false, false, pag_cmd_version },
    { "completion", "bash|zsh|fish", "script that completes commands in a shell",
      "pagurus completion bash > /etc/bash_completion.d/pagurus\nsource <(pagurus completion zsh)", NULL,
      "shell", 1, 1, false, false, false, pag_cmd_completion },

    { "context list", NULL, "servers that are remembered",
      "pagurus context list\npagurus context list --json", NULL, NULL, 0, 0, false, false, false,
      pag_cmd_context_list },
    { "context use", "NAME", "work with this one from now on",
      "pagurus context use prod\npagurus --context lab device list   # only once", NULL, "context", 1, 1,
      false, false, false, pag_cmd_context_use },
    { "context add", "NAME URL", "remember a server",
      "pagurus context add prod https://ota.example.net:8443 --ca root.pem\npagurus context add ci "
      "https://ota:8443 --token-command 'pass show ota'",
      add_flags, NULL, 2, 2, false, false, false, pag_cmd_context_add },
    { "context remove", "NAME", "forget a server and its token",
      "pagurus context remove lab\npagurus context list", NULL, "context", 1, 1, false, false, false,
      pag_cmd_context_remove },
    { "context show", "[NAME]", "one server, or the present one",
      "pagurus context show\npagurus context show prod --json", NULL, "context", 0, 1, false, false, false,
      pag_cmd_context_show },

    { "device list", NULL, "devices",
      "pagurus device list --product meter --state failed\npagurus device list --all --jsonl | jq -r "
      ".id\npagurus device list --columns ID,running.version",
      device_list_flags, NULL, 0, 0, false, false, false, pag_cmd_device_list },
    { "device show", "ID", "all about one device",
      "pagurus device show pump-0107\npagurus device show 5ccf7f112233 --history", device_show_flags,
      "device", 1, 1, false, false, false, pag_cmd_device_show },
    { "device history", "ID", "what happened to it, newest first",
      "pagurus device history pump-0107 --limit 20\npagurus device history pump-0107 --jsonl", list_flags,
      "device", 1, 1, false, false, false, pag_cmd_device_history },
    { "device watch", "ID", "follow it until its update has ended",
      "pagurus device watch pump-0107\npagurus device watch pump-0107 --wait 10m --jsonl", watch_flags,
      "device", 1, 1, false, false, false, pag_cmd_device_watch },
    { "device check", "ID", "ask it to look for an update now",
      "pagurus device check pump-0107\npagurus device check pump-0107 --ttl 10m", ttl_flags, "device", 1, 1,
      false, false, false, pag_cmd_device_check },
    { "device reboot", "ID", "restart it",
      "pagurus device reboot pump-0107\npagurus device reboot pump-0107 --ttl 10m", ttl_flags, "device", 1, 1,
      false, false, false, pag_cmd_device_reboot },
    { "device reset", "ID", "have it forget its application's settings: signed",
      "pagurus device reset pump-0107 --sign release\npagurus device reset pump-0107 --yes --confirm "
      "pump-0107",
      order_flags, "device", 1, 1, false, false, false, pag_cmd_device_reset },
    { "device wipe", "ID", "have it forget its data, key and certificate: signed",
      "pagurus device wipe pump-0107 --sign release\npagurus device wipe pump-0107 --yes --confirm pump-0107",
      order_flags, "device", 1, 1, false, false, false, pag_cmd_device_wipe },
    { "device re-enroll", "ID", "have it make a new key and enrol again: signed",
      "pagurus device re-enroll pump-0107 --sign release\npagurus device re-enroll pump-0107 --code "
      "XXXX-XXXX",
      reenroll_flags, "device", 1, 1, false, false, false, pag_cmd_device_reenroll },
    { "device identify", "ID", "make it blink",
      "pagurus device identify pump-0107\npagurus device identify pump-0107 --ttl 1m", ttl_flags, "device", 1,
      1, false, false, false, pag_cmd_device_identify },
    { "device command", "ID KIND [ARG]",
      "send check, reboot, identify, config or app; firmware, flash, ca, cert or key",
      "pagurus device command pump-0107 config 'interval=60'\npagurus device command pump-0107 app 'valve "
      "open'",
      ttl_flags, "device", 2, 3, false, false, false, pag_cmd_device_command },
    { "device commands", "ID", "commands sent to it and what came of them",
      "pagurus device commands pump-0107\npagurus device commands pump-0107 --json", list_flags, "device", 1,
      1, false, false, false, pag_cmd_device_commands },
    { "device series", "ID", "what a secureESP8266 device said over time",
      "pagurus device series 84f3eb012345 --field rssi\npagurus device series 84f3eb012345 --field "
      "uptimemillis "
      "--from 2026-01-31T00:00:00Z --json",
      series_flags, "device", 1, 1, false, false, false, pag_cmd_device_series },
    { "device dialect", "ID [KEY=VALUE…]", "settings of its config.json over the product's",
      "pagurus device dialect 84f3eb012345 statusinterval=10000\npagurus device dialect 84f3eb012345 "
      "wifi=@wifi.json",
      dialect_flags, "device", 1, 32, false, false, false, pag_cmd_device_dialect },
    { "device key", "ID", "have a new key and certificate made, to be fetched once",
      "pagurus device key 84f3eb012345\npagurus device command 84f3eb012345 key", NULL, "device", 1, 1, false,
      false, false, pag_cmd_device_key },
    { "device data", "ID", "last status and last measured data",
      "pagurus device data pump-0107\npagurus device data pump-0107 --json | jq .status", NULL, "device", 1,
      1, false, false, false, pag_cmd_device_data },
    { "device pin", "ID VERSION", "keep it on one version",
      "pagurus device pin pump-0107 1.8.1\npagurus device unpin pump-0107", NULL, "device", 2, 2, false,
      false, false, pag_cmd_device_pin },
    { "device unpin", "ID", "let it follow its product again",
      "pagurus device unpin pump-0107\npagurus device check pump-0107", NULL, "device", 1, 1, false, false,
      false, pag_cmd_device_unpin },
    { "device tag", "ID +TAG -TAG…", "add and remove tags",
      "pagurus device tag pump-0107 +cellar -attic\npagurus device tag pump-0107 +beta", NULL, "device", 2,
      32, false, true, false, pag_cmd_device_tag },
    { "device rename", "ID NAME", "give it a name",
      "pagurus device rename 5ccf7f112233 pump-0107\npagurus device show pump-0107", NULL, "device", 2, 2,
      false, false, false, pag_cmd_device_rename },
    { "device retry", "ID", "clear its blacklist and loop breaker",
      "pagurus device retry pump-0107\npagurus device show pump-0107", NULL, "device", 1, 1, false, false,
      false, pag_cmd_device_retry },
    { "device revoke", "ID", "cut it off for good",
      "pagurus device revoke pump-0107 --reason stolen\npagurus device revoke pump-0107 --yes --confirm "
      "pump-0107",
      revoke_flags, "device", 1, 1, false, false, false, pag_cmd_device_revoke },

    { "product list", NULL, "products", "pagurus product list\npagurus product list --json", list_flags, NULL,
      0, 0, false, false, false, pag_cmd_product_list },
    { "product show", "NAME", "one product with its settings",
      "pagurus product show meter\npagurus product show meter --json", NULL, "product", 1, 1, false, false,
      false, pag_cmd_product_show },
    { "product create", "NAME", "make a product",
      "pagurus product create meter --chip esp8266 --hardware d1mini --slot 1044464\npagurus product create "
      "lamp --chip esp32-c3 --hardware lamp-r4",
      create_flags, NULL, 1, 1, false, false, false, pag_cmd_product_create },
    { "product set", "NAME KEY=VALUE…", "change settings",
      "pagurus product set meter poll_s=300\npagurus product set old legacy_auth=none "
      "plain_http=true --yes\npagurus product set old topics.status=/status/{id}",
      NULL, "product", 2, 32, false, false, false, pag_cmd_product_set },
    { "product dialect", "NAME [DIALECT] [KEY=VALUE…]", "speak secureESP8266 with its devices",
      "pagurus product dialect measure secureesp8266\npagurus product dialect measure "
      "ntpserver=ntp.example.net "
      "key=rsa2048",
      dialect_flags, "product", 1, 32, false, false, false, pag_cmd_product_dialect },
    { "product mount list", "NAME", "paths of other servers that it answers",
      "pagurus product mount list meter\npagurus product mount list meter --json", list_flags, "product", 1,
      1, false, false, false, pag_cmd_product_mount_list },
    { "product mount add", "NAME PATH", "answer a path that devices know already",
      "pagurus product mount add meter /esp/firmware.php --as tag-emonesp\npagurus product mount add lamp "
      "/ota "
      "--as files --auth none",
      mount_flags, "product", 2, 2, false, false, false, pag_cmd_product_mount_add },
    { "product mount rm", "NAME PATH", "answer it no more",
      "pagurus product mount rm meter /esp/firmware.php\npagurus product mount list meter", NULL, "product",
      2, 2, false, false, false, pag_cmd_product_mount_rm },

    { "broker user list", "PRODUCT", "clients of the broker with a password",
      "pagurus broker user list lamp\npagurus broker user list lamp --json", list_flags, "product", 1, 1,
      false, false, false, pag_cmd_broker_user_list },
    { "broker user add", "PRODUCT NAME", "a password for firmware that can have no certificate",
      "pagurus broker user add lamp kitchen --device dc4f22001234\npagurus broker user add lamp dc4f22001235 "
      "--topic "
      "hall",
      broker_user_flags, "product", 2, 2, false, false, false, pag_cmd_broker_user_add },
    { "broker user password", "PRODUCT NAME", "another password for it",
      "pagurus broker user password lamp kitchen\npagurus broker user password lamp kitchen --json", NULL,
      "product", 2, 2, false, false, false, pag_cmd_broker_user_password },
    { "broker user rm", "PRODUCT NAME", "cut it and let it in no more",
      "pagurus broker user rm lamp kitchen\npagurus broker user list lamp", NULL, "product", 2, 2, false,
      false, false, pag_cmd_broker_user_rm },
    { "broker acl", NULL, "access list for a broker of your own",
      "pagurus broker acl --for mosquitto >pagurus.acl\npagurus broker acl --for rabbitmq "
      ">pagurus-rabbitmq.sh",
      broker_acl_flags, NULL, 0, 0, false, false, false, pag_cmd_broker_acl },

    { "explain", "NUMBER", "what an error number of a device means, and what to do",
      "pagurus explain -101\npagurus explain 8 --as esp32", explain_flags, NULL, 1, 1, false, true, false,
      pag_cmd_explain },

    { "release list", NULL, "releases",
      "pagurus release list --product meter\npagurus release list --state draft", release_list_flags, NULL, 0,
      0, false, false, false, pag_cmd_release_list },
    { "release show", "ID|VERSION", "one release, its images and how far it got",
      "pagurus release show 1.8.2\npagurus release show rel_9f2c --json", release_flags, "release", 1, 1,
      false, false, false, pag_cmd_release_show },
    { "release push", "FILE…", "read, check, sign, upload and publish firmware",
      "pagurus release push .pio/build/d1_mini/firmware.bin --sign ci-2026\npagurus release push "
      "firmware.bin filesystem=littlefs.bin --version 1.8.2 --draft\npagurus release push firmware.bin "
      "--product meter --sign first",
      push_flags, "file", 1, 8, false, false, false, pag_cmd_release_push },
    { "release verify", "FILE|ID", "check an image, a signed manifest, or a release on the server",
      "pagurus release verify firmware.bin\npagurus release verify manifest.cose --pub ci-2026 --image "
      "firmware.bin\npagurus release verify 1.8.2",
      verify_flags, "release", 1, 1, false, false, false, pag_cmd_release_verify },
    { "release sign", "ID FILE…", "sign the images of a draft",
      "pagurus release sign rel_9f2c firmware.bin --sign ci-2026\npagurus release publish rel_9f2c",
      sign_flags, "release", 2, 5, false, false, false, pag_cmd_release_sign },
    { "release publish", "ID|VERSION", "offer a signed draft to devices",
      "pagurus release publish rel_9f2c\npagurus release publish 1.8.2 --product meter", change_flags,
      "release", 1, 1, false, false, false, pag_cmd_release_publish },
    { "release withdraw", "ID|VERSION", "stop all offers of a release",
      "pagurus release withdraw 1.8.2\npagurus release withdraw rel_9f2c --yes", change_flags, "release", 1,
      1, false, false, false, pag_cmd_release_withdraw },
    { "release download", "ID|VERSION", "fetch an image and check its digest",
      "pagurus release download 1.8.2 -o firmware.bin\npagurus release download rel_9f2c --image filesystem",
      download_flags, "release", 1, 1, false, false, false, pag_cmd_release_download },

    { "key generate", "NAME", "make a signing key; it stays on this machine",
      "pagurus key generate ci-2026\npagurus key generate root-a --use root\npagurus key generate ci "
      "--no-passphrase",
      generate_flags, NULL, 1, 1, false, false, false, pag_cmd_key_generate },
    { "key create", "NAME", "the same under another name",
      "pagurus key create home-1 --rsa 2048 --register --product plug\npagurus key create ci-2026",
      generate_flags, NULL, 1, 1, false, false, false, pag_cmd_key_generate },
    { "key list", NULL, "keys of this machine", "pagurus key list\npagurus key list --remote", key_list_flags,
      NULL, 0, 0, false, false, false, pag_cmd_key_list },
    { "key import", "NAME FILE", "take over a P-256 or RSA private key",
      "pagurus key import ci-2026 old-key.pem\npagurus key import ci key.pem --passphrase-file pass.txt",
      import_flags, NULL, 2, 2, false, false, false, pag_cmd_key_import },
    { "key public", "[NAME]", "the public part, as PEM or as a C header",
      "pagurus key public ci-2026 > ci-2026.pub\npagurus key public --arduino home-1 -o signing_key.h",
      public_flags, NULL, 0, 1, false, false, false, pag_cmd_key_public },
    { "key trust create", NULL, "say which keys a product's devices believe",
      "pagurus key trust create --product meter --root root-a --release ci-2026\npagurus key trust create "
      "--product meter --root a,b,c --threshold 2 --release ci-2026",
      trust_create_flags, NULL, 0, 0, false, false, false, pag_cmd_trust_create },
    { "key trust show", "[PRODUCT|FILE]", "newest trust set, checked against the copy kept here",
      "pagurus key trust show meter\npagurus key trust show meter --json", trust_show_flags, "product", 0, 1,
      false, false, false, pag_cmd_trust_show },
    { "key trust rotate", NULL, "next trust set: other keys, signed by old and new roots",
      "pagurus key trust rotate --product meter --add-release ci-2027\npagurus key trust rotate --product "
      "meter --drop-release 9c41aa0102030405",
      trust_rotate_flags, NULL, 0, 0, false, false, false, pag_cmd_trust_rotate },
    { "key trust push", "FILE", "send a trust set that was made elsewhere",
      "pagurus key trust push meter.2.cose --product meter\npagurus key trust show meter", trust_show_flags,
      "file", 1, 1, false, false, false, pag_cmd_trust_push },

    { "ca show", NULL, "authorities of the installation", "pagurus ca show\npagurus ca show --json", NULL,
      NULL, 0, 0, false, false, false, pag_cmd_ca_show },
    { "ca trust-bundle", NULL, "the root certificate that devices pin",
      "pagurus ca trust-bundle -o ca.pem\npagurus ca trust-bundle | openssl x509 -noout -fingerprint -sha256",
      output_flags, NULL, 0, 0, false, false, false, pag_cmd_ca_bundle },
    { "ca issue", "DEVICE", "certificate for a device's request",
      "pagurus ca issue pump-0107 --product meter --csr device.csr -o device.crt\npagurus ca issue pump-0107 "
      "-p meter --csr device.csr --chain",
      issue_flags, NULL, 1, 1, false, false, false, pag_cmd_ca_issue },
    { "ca roll", "device|server", "a new authority in place of the present one, signed by the root here",
      "pagurus ca roll device --root root-export.pem\npagurus ca roll server --root root-export.pem "
      "--passphrase-file pass.txt",
      roll_flags, NULL, 1, 1, false, false, false, pag_cmd_ca_roll },
    { "ca retire", NULL, "trust the device authority from before the last roll-over no more",
      "pagurus ca retire\npagurus ca retire --force", retire_flags, NULL, 0, 0, false, false, false,
      pag_cmd_ca_retire },
    { "ca crl", NULL, "list of revoked device certificates",
      "pagurus ca crl -o device.crl\npagurus ca crl | openssl crl -noout -text", output_flags, NULL, 0, 0,
      false, false, false, pag_cmd_ca_crl },
    { "ca revoke", "DEVICE", "cut a device off for good",
      "pagurus ca revoke pump-0107 --reason stolen\npagurus ca revoke pump-0107 --yes --confirm pump-0107",
      revoke_flags, "device", 1, 1, false, false, false, pag_cmd_ca_revoke },

    { "enroll code create", NULL, "code with which devices get their certificate",
      "pagurus enroll code create --product meter\npagurus enroll code create --product meter --uses 50 "
      "--ttl 2d",
      code_flags, NULL, 0, 0, false, false, false, pag_cmd_code_create },
    { "enroll code list", NULL, "codes that are still good",
      "pagurus enroll code list\npagurus enroll code list --json", list_flags, NULL, 0, 0, false, false,
      false, pag_cmd_code_list },
    { "enroll code revoke", "ID", "make a code useless",
      "pagurus enroll code revoke code_9f2c\npagurus enroll code list", NULL, NULL, 1, 1, false, false, false,
      pag_cmd_code_revoke },
    { "enroll request list", NULL, "devices that ask for a certificate without a code",
      "pagurus enroll request list\npagurus enroll request list --json", list_flags, NULL, 0, 0, false, false,
      false, pag_cmd_request_list },
    { "enroll request approve", "ID", "let a device in that asks without a code",
      "pagurus enroll request list\npagurus enroll request approve req_9f2c", NULL, NULL, 1, 1, false, false,
      false, pag_cmd_request_approve },
    { "enroll request deny", "ID", "keep a device out that asks without a code",
      "pagurus enroll request list\npagurus enroll request deny req_9f2c", NULL, NULL, 1, 1, false, false,
      false, pag_cmd_request_deny },
    { "enroll batch", "FILE.csv", "codes or certificates for a table of devices",
      "pagurus enroll batch devices.csv --product meter -o batch-7\npagurus enroll batch devices.csv "
      "--product sketch --certificates --rsa -o batch-8",
      batch_flags, "file", 1, 1, false, false, false, pag_cmd_enroll_batch },
    { "enroll device-config", NULL, "configuration text for a device, with a fresh code",
      "pagurus enroll device-config --product meter --mac 84:f3:eb:00:00:03 -o device.conf\npagurus enroll "
      "device-config --product meter --uses 50 --device-server ota.example.net:8444",
      config_flags, NULL, 0, 0, false, false, false, pag_cmd_device_config },
    { "enroll fs-image", NULL, "file-system image that a device boots with",
      "pagurus enroll fs-image --product measure --mac 84:f3:eb:00:00:03 --format spiffs --layout 4m1m -o "
      "data.bin\npagurus enroll fs-image --product meter --uses 20 --format littlefs --layout esp32-default "
      "--dir "
      "data -o data.bin\npagurus enroll fs-image --only-dir --dir data --format nvs --layout esp32-nvs -o "
      "nvs.bin",
      fs_image_flags, NULL, 0, 0, false, false, false, pag_cmd_fs_image },

    { "events", NULL, "what happened, oldest first",
      "pagurus events --follow\npagurus events --after 1200 --jsonl", events_flags, NULL, 0, 0, false, false,
      false, pag_cmd_events },
    { "event list", NULL, "what happened, oldest first",
      "pagurus event list --limit 20\npagurus event list --jsonl", event_flags, NULL, 0, 0, false, false,
      false, pag_cmd_events },
    { "event follow", NULL, "what happens, as it happens",
      "pagurus event follow\npagurus event follow --jsonl | jq .type", event_flags, NULL, 0, 0, false, false,
      false, pag_cmd_event_follow },

    { "push", "HOST FILE", "push an image to a device in this network, without a server",
      "pagurus push 192.168.1.40 firmware.bin\npagurus push lamp.local firmware.bin --protocol esphome "
      "--password-file ota.txt\npagurus push 192.168.1.41 filesystem=littlefs.bin --protocol espota",
      lan_flags, "file", 2, 2, false, false, false, pag_cmd_push },
    { "tasmota backup", "[HOST]", "save the configuration of a Tasmota in this network",
      "pagurus tasmota backup 192.168.1.40 -o kitchen.dmp\npagurus tasmota backup --all -o backups "
      "--password-file web.txt",
      tasmota_backup_flags, NULL, 0, 1, false, false, false, pag_cmd_tasmota_backup },
    { "tasmota restore", "HOST FILE", "give a Tasmota its configuration back",
      "pagurus tasmota restore 192.168.1.40 kitchen.dmp\npagurus tasmota restore 192.168.1.40 kitchen.dmp "
      "--yes --wait 2m",
      tasmota_restore_flags, "file", 2, 2, false, false, false, pag_cmd_tasmota_restore },
    { "relay", NULL, "push a server's releases to devices in this network that never ask",
      "pagurus relay --products lamp,meter --devices devices.ini\npagurus relay --products lamp --once\n"
      "pagurus relay --find",
      relay_flags, NULL, 0, 0, false, false, false, pag_cmd_relay },
    { "sim", "run …", "a fleet of virtual devices (pagurus-sim)",
      "pagurus sim --help\npagurus sim run --server https://ota:8444 --ca root.pem --trust-set meter.1.cose "
      "--product meter "
      "--claim-code XXXX-XXXX --image meter-1.0.0.bin --devices 50",
      NULL, NULL, 0, 0, true, false, false, pag_cmd_sim },
    { "api", "METHOD PATH", "any call of the REST API",
      "pagurus api GET /devices\npagurus api POST /tokens -F name=ci -F role=releaser -F "
      "ttl_s=7776000\npagurus api PATCH /devices/pump-0107 --input patch.json",
      api_flags, NULL, 2, 2, false, false, false, pag_cmd_api },

    { "__complete", NULL, "candidates for a shell", "", NULL, NULL, 0, 0, true, false, true,
      pag_cmd_complete },
    { "__table", NULL, "the command table as JSON", "", NULL, NULL, 0, 0, false, false, true, pag_cmd_table },
    { NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, false, false, false, NULL },
};

/* clang-format on */

const struct pag_command *pag_commands(void)
{
    return table;
}

const struct pag_flag *pag_global_flags(void)
{
    return global_flags;
}
