#ifndef PAG_CLI_COMMANDS_H
#define PAG_CLI_COMMANDS_H

#include "cli/cli.h"
#include "cli/out.h"

/* What the rows of the command table run; each returns an exit code. One file a noun. */

extern const struct pag_column pag_event_columns[];

/* Writes data to the file of -o/--output, or to stdout without one; says where. */
int pag_cmd_output(struct pag_cli *cli, struct pag_span data);
/* The same, and the file is the user's alone. */
int pag_cmd_output_secret(struct pag_cli *cli, struct pag_span data);

int pag_cmd_login(struct pag_cli *cli);
int pag_cmd_logout(struct pag_cli *cli);
int pag_cmd_whoami(struct pag_cli *cli);
int pag_cmd_status(struct pag_cli *cli);
int pag_cmd_doctor(struct pag_cli *cli);
int pag_cmd_version(struct pag_cli *cli);
int pag_cmd_completion(struct pag_cli *cli);
int pag_cmd_complete(struct pag_cli *cli);
int pag_cmd_table(struct pag_cli *cli);
int pag_cmd_context_list(struct pag_cli *cli);
int pag_cmd_context_use(struct pag_cli *cli);
int pag_cmd_context_add(struct pag_cli *cli);
int pag_cmd_context_remove(struct pag_cli *cli);
int pag_cmd_context_show(struct pag_cli *cli);
int pag_cmd_device_list(struct pag_cli *cli);
int pag_cmd_device_show(struct pag_cli *cli);
int pag_cmd_device_history(struct pag_cli *cli);
int pag_cmd_device_watch(struct pag_cli *cli);
int pag_cmd_device_reboot(struct pag_cli *cli);
int pag_cmd_device_reset(struct pag_cli *cli);
int pag_cmd_device_wipe(struct pag_cli *cli);
int pag_cmd_device_reenroll(struct pag_cli *cli);
int pag_cmd_device_identify(struct pag_cli *cli);
int pag_cmd_device_check(struct pag_cli *cli);
int pag_cmd_device_revoke(struct pag_cli *cli);
int pag_cmd_device_retry(struct pag_cli *cli);
int pag_cmd_device_pin(struct pag_cli *cli);
int pag_cmd_device_unpin(struct pag_cli *cli);
int pag_cmd_device_tag(struct pag_cli *cli);
int pag_cmd_device_rename(struct pag_cli *cli);
int pag_cmd_device_data(struct pag_cli *cli);
int pag_cmd_device_command(struct pag_cli *cli);
int pag_cmd_device_commands(struct pag_cli *cli);
int pag_cmd_device_dialect(struct pag_cli *cli);
int pag_cmd_device_key(struct pag_cli *cli);
int pag_cmd_device_series(struct pag_cli *cli);
int pag_cmd_product_list(struct pag_cli *cli);
int pag_cmd_product_show(struct pag_cli *cli);
int pag_cmd_product_create(struct pag_cli *cli);
int pag_cmd_product_set(struct pag_cli *cli);
int pag_cmd_product_dialect(struct pag_cli *cli);
int pag_cmd_explain(struct pag_cli *cli);
int pag_cmd_product_mount_list(struct pag_cli *cli);
int pag_cmd_product_mount_add(struct pag_cli *cli);
int pag_cmd_product_mount_rm(struct pag_cli *cli);
int pag_cmd_broker_user_list(struct pag_cli *cli);
int pag_cmd_broker_user_add(struct pag_cli *cli);
int pag_cmd_broker_user_password(struct pag_cli *cli);
int pag_cmd_broker_user_rm(struct pag_cli *cli);
int pag_cmd_broker_acl(struct pag_cli *cli);
int pag_cmd_release_list(struct pag_cli *cli);
int pag_cmd_release_show(struct pag_cli *cli);
int pag_cmd_release_push(struct pag_cli *cli);
int pag_cmd_release_verify(struct pag_cli *cli);
int pag_cmd_release_withdraw(struct pag_cli *cli);
int pag_cmd_release_publish(struct pag_cli *cli);
int pag_cmd_release_sign(struct pag_cli *cli);
int pag_cmd_release_download(struct pag_cli *cli);
int pag_cmd_key_generate(struct pag_cli *cli);
int pag_cmd_key_list(struct pag_cli *cli);
int pag_cmd_key_import(struct pag_cli *cli);
int pag_cmd_key_public(struct pag_cli *cli);
int pag_cmd_trust_create(struct pag_cli *cli);
int pag_cmd_trust_show(struct pag_cli *cli);
int pag_cmd_trust_rotate(struct pag_cli *cli);
int pag_cmd_trust_push(struct pag_cli *cli);
int pag_cmd_ca_show(struct pag_cli *cli);
int pag_cmd_ca_bundle(struct pag_cli *cli);
int pag_cmd_ca_issue(struct pag_cli *cli);
int pag_cmd_ca_crl(struct pag_cli *cli);
int pag_cmd_ca_revoke(struct pag_cli *cli);
int pag_cmd_ca_roll(struct pag_cli *cli);
int pag_cmd_ca_retire(struct pag_cli *cli);
int pag_cmd_code_create(struct pag_cli *cli);
int pag_cmd_code_list(struct pag_cli *cli);
int pag_cmd_code_revoke(struct pag_cli *cli);
int pag_cmd_request_list(struct pag_cli *cli);
int pag_cmd_request_approve(struct pag_cli *cli);
int pag_cmd_request_deny(struct pag_cli *cli);
int pag_cmd_enroll_batch(struct pag_cli *cli);
int pag_cmd_device_config(struct pag_cli *cli);
int pag_cmd_fs_image(struct pag_cli *cli);
int pag_cmd_events(struct pag_cli *cli);
int pag_cmd_event_follow(struct pag_cli *cli);
int pag_cmd_push(struct pag_cli *cli);
int pag_cmd_tasmota_backup(struct pag_cli *cli);
int pag_cmd_tasmota_restore(struct pag_cli *cli);
int pag_cmd_relay(struct pag_cli *cli);
int pag_cmd_sim(struct pag_cli *cli);
int pag_cmd_api(struct pag_cli *cli);

#endif
