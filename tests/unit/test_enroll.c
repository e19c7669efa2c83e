/* Claims, certificates, revocation, commands, and a native device from offer to confirmed. */
#define _GNU_SOURCE /* NOLINT(bugprone-reserved-identifier): nftw */
#include <openssl/evp.h>

#include "core/manifest.h"
#include "core/trust.h"
#include "tests/support/app_fixture.h"

static const char id[] = "aabbccddeeff";

struct world {
    struct fixture f;
    EVP_PKEY *root, *release, *device;
    uint8_t csr[512];
    size_t csr_n;
    char claim[40];
    struct pag_release_image image; /* of the published 1.0.0 */
    struct pag_buf manifest;
    uint8_t manifest_room[PAG_MANIFEST_MAX];
};

static void put_trust(struct world *w)
{
    static struct pag_trust_set t;
    uint8_t room[PAG_TRUST_MAX];
    uint8_t whole[PAG_TRUST_MAX];
    uint8_t digest[32];
    struct pag_buf payload = { room, 0, sizeof room };
    struct pag_buf cose = { whole, 0, sizeof whole };
    struct pag_trust_signature sig;
    memset(&t, 0, sizeof t);
    t.version = 1;
    memcpy(t.product, w->f.product.id_bytes, sizeof t.product);
    t.root_threshold = t.release_threshold = 1;
    t.root_n = t.release_n = 1;
    assert_int_equal(pag_crypto_key_id(w->root, t.root[0].id), PAG_OK);
    assert_int_equal(pag_crypto_point(w->root, t.root[0].point), PAG_OK);
    assert_int_equal(pag_crypto_key_id(w->release, t.release[0].id), PAG_OK);
    assert_int_equal(pag_crypto_point(w->release, t.release[0].point), PAG_OK);
    t.release[0].kinds = 1 << PAG_KIND_FIRMWARE | 1 << PAG_KIND_ROLLBACK_PERMIT;
    t.release[0].epoch_max = 100;
    assert_int_equal(pag_trust_payload(&t, &payload, NULL), PAG_OK);
    memcpy(sig.key_id, t.root[0].id, sizeof sig.key_id);
    assert_int_equal(
        pag_trust_signing_digest(pag_crypto_openssl(), pag_buf_span(&payload), sig.key_id, digest), PAG_OK);
    assert_int_equal(pag_crypto_sign(w->root, digest, sig.sig), PAG_OK);
    assert_int_equal(pag_trust_envelope(pag_buf_span(&payload), &sig, 1, &cose), PAG_OK);
    pag_app_trust_put(fixture_call(&w->f), "meter", 1, pag_buf_span(&cose));
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    pag_app_trust_put(fixture_call(&w->f), "meter", 1, pag_buf_span(&cose));
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
}

static void sign(struct world *w, const struct pag_release *r, const struct pag_release_image *i)
{
    static struct pag_manifest m;
    memset(&m, 0, sizeof m);
    m.kind = PAG_KIND_FIRMWARE;
    memcpy(m.product, w->f.product.id_bytes, sizeof m.product);
    m.hardware_n = 1;
    m.hardware[0].n = 6;
    memcpy(m.hardware[0].id, "d1mini", 6);
    m.chip = PAG_CHIP_ESP8266;
    memcpy(m.image, i->name, sizeof m.image);
    memcpy(m.version, r->version, sizeof m.version);
    m.sequence = r->sequence;
    memcpy(m.digest, i->sha256, sizeof m.digest);
    m.size = (uint32_t)i->bytes;
    m.issued_at = 1790000000;
    m.trust_version_min = 1;
    assert_int_equal(pag_crypto_key_id(w->release, m.key_id), PAG_OK);
    w->manifest = (struct pag_buf){ w->manifest_room, 0, sizeof w->manifest_room };
    assert_int_equal(
        pag_manifest_sign(pag_crypto_openssl(), &m, pag_crypto_sign, w->release, &w->manifest, NULL), PAG_OK);
}

/* *unsigned_err: what publishing says before the manifest is there; NULL: not asked. */
static void publish_signed(struct world *w, const char *version, uint8_t fill, enum pag_err *unsigned_err)
{
    static uint8_t file[FIXTURE_IMAGE_MAX];
    char release[PAG_ID_TEXT];
    struct pag_release_view view;
    fixture_draft(&w->f, version, release);
    size_t n = fixture_image(file, 4, fill);
    assert_int_equal(fixture_upload(&w->f, release, "firmware", pag_span_of(file, n), &w->image), PAG_OK);
    if (unsigned_err != NULL) {
        *unsigned_err = fixture_publish(&w->f, release);
    }
    assert_int_equal(pag_app_release(fixture_call(&w->f), release, &view), PAG_OK);
    sign(w, &view.release, &w->image);
    pag_app_manifest_put(fixture_call(&w->f), release, pag_buf_span(&w->manifest), &view);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    assert_int_equal(fixture_publish(&w->f, release), PAG_OK);
}

static int begin(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    fixture_begin(&w->f);
    fixture_product(&w->f, PAG_LEGACY_CERTIFICATE);
    w->root = pag_crypto_key_new();
    w->release = pag_crypto_key_new();
    w->device = pag_crypto_key_new();
    struct pag_buf csr = { w->csr, 0, sizeof w->csr };
    assert_int_equal(pag_x509_csr_make(w->device, "x", &csr), PAG_OK);
    w->csr_n = csr.n;
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    fixture_end(&w->f);
    EVP_PKEY_free(w->root);
    EVP_PKEY_free(w->release);
    EVP_PKEY_free(w->device);
    free(w);
    return 0;
}

static void make_code(struct world *w, uint32_t uses, const char *mac)
{
    struct pag_code_out out;
    const struct pag_code_in in = { .product = "meter", .uses = uses, .ttl_s = 3600, .mac = mac };
    pag_app_code_create(fixture_call(&w->f), &in, &out);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    memcpy(w->claim, out.text, sizeof w->claim);
}

static enum pag_err enroll(struct world *w, const char *mac, struct pag_span csr, struct pag_enroll_out *out)
{
    struct pag_enroll_in in = { .address = "127.0.0.1" };
    in.enroll.claim = pag_span_str(w->claim);
    in.enroll.csr = csr;
    in.enroll.mac = pag_span_str(mac);
    pag_app_enroll(fixture_call(&w->f), &in, out);
    return fixture_wait(&w->f);
}

static struct pag_tls_peer peer_of(struct pag_span der)
{
    struct pag_x509_info info;
    struct pag_tls_peer peer = { .has_certificate = true };
    assert_int_equal(pag_x509_info(der, &info), PAG_OK);
    memcpy(peer.cn, info.cn, sizeof peer.cn);
    memcpy(peer.product, info.product, sizeof peer.product);
    memcpy(peer.serial, info.serial, sizeof peer.serial);
    peer.serial_n = info.serial_n;
    return peer;
}

static void claim_works_once_and_again_for_the_same_key(void **state)
{
    struct world *w = *state;
    struct pag_enroll_out out;
    uint8_t first[PAG_CERT_DER_MAX];
    make_code(w, 1, NULL);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_OK);
    size_t n = out.enrolled.certificate.n;
    memcpy(first, out.enrolled.certificate.p, n);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_OK);
    assert_int_equal(out.enrolled.certificate.n, n);
    assert_memory_equal(out.enrolled.certificate.p, first, n);
    EVP_PKEY *other = pag_crypto_key_new();
    uint8_t room[512];
    struct pag_buf csr = { room, 0, sizeof room };
    assert_int_equal(pag_x509_csr_make(other, "x", &csr), PAG_OK);
    EVP_PKEY_free(other);
    assert_int_equal(enroll(w, "aabbccddee00", pag_buf_span(&csr), &out), PAG_E_EXPIRED);
    fixture_pass(&w->f, PAG_CLAIM_REPEAT_MS + 1);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_E_EXPIRED);
}

static void claim_of_another_device_is_refused(void **state)
{
    struct world *w = *state;
    struct pag_enroll_out out;
    make_code(w, 1, "00:00:00:00:00:01");
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_E_EXPIRED);
    assert_string_equal(w->f.call.refusal.code, "claim-refused");
}

static struct pag_span fresh_csr(uint8_t *room, size_t cap)
{
    struct pag_buf csr = { room, 0, cap };
    EVP_PKEY *key = pag_crypto_key_new();
    assert_int_equal(pag_x509_csr_make(key, "x", &csr), PAG_OK);
    EVP_PKEY_free(key);
    return pag_buf_span(&csr);
}

static void guessing_claims_is_slowed_down(void **state)
{
    struct world *w = *state;
    struct pag_enroll_out out;
    make_code(w, 1, NULL);
    char right = w->claim[0];
    w->claim[0] = right == '2' ? '3' : '2';
    for (int i = 0; i < 10; i++) {
        assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_E_EXPIRED);
    }
    w->claim[0] = right; /* also for who has guessed at last */
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_E_LIMIT);
    assert_string_equal(w->f.call.refusal.code, "rate-limited");
    fixture_pass(&w->f, 60000);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_OK);
}

/* A factory: one address, one code of many uses. */
static void claims_that_are_right_are_limited_by_their_code_alone(void **state)
{
    enum { N = 60 };
    struct world *w = *state;
    struct pag_enroll_out out;
    uint8_t room[512];
    make_code(w, N, NULL);
    for (int i = 0; i < N; i++) {
        char mac[13];
        (void)snprintf(mac, sizeof mac, "aabbcc%06x", i);
        assert_int_equal(enroll(w, mac, fresh_csr(room, sizeof room), &out), PAG_OK);
    }
    assert_int_equal(enroll(w, "aabbccffffff", fresh_csr(room, sizeof room), &out), PAG_E_EXPIRED);
}

static void deleted_code_redeems_nothing_and_is_gone_from_the_list(void **state)
{
    struct world *w = *state;
    struct pag_enroll_out out;
    struct pag_claim_code *list = NULL;
    size_t n = 0;
    char code[PAG_ID_TEXT];
    make_code(w, 5, NULL);
    assert_int_equal(pag_app_codes(fixture_call(&w->f), &list, &n), PAG_OK);
    assert_int_equal(n, 1);
    memcpy(code, list[0].id, sizeof code);
    pag_app_code_delete(fixture_call(&w->f), code);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_E_EXPIRED);
    assert_int_equal(pag_app_codes(fixture_call(&w->f), &list, &n), PAG_OK);
    assert_int_equal(n, 0);
    pag_app_code_delete(fixture_call(&w->f), code);
    assert_int_equal(fixture_wait(&w->f), PAG_E_NOT_FOUND);
}

static void code_of_another_product_cannot_be_deleted(void **state)
{
    struct world *w = *state;
    struct pag_claim_code *list = NULL;
    size_t n = 0;
    make_code(w, 5, NULL);
    assert_int_equal(pag_app_codes(fixture_call(&w->f), &list, &n), PAG_OK);
    char code[PAG_ID_TEXT];
    memcpy(code, list[0].id, sizeof code);
    struct pag_call *call = fixture_call(&w->f);
    call->scope.product = "00000000000000ff";
    pag_app_code_delete(call, code);
    assert_int_equal(fixture_wait(&w->f), PAG_E_NOT_FOUND);
    assert_int_equal(pag_app_codes(fixture_call(&w->f), &list, &n), PAG_OK);
    assert_int_equal(n, 1);
}

static void revoked_device_is_out_at_once_and_after_a_restart(void **state)
{
    struct world *w = *state;
    struct fixture *f = &w->f;
    struct pag_enroll_out out;
    struct pag_device_identity who;
    struct pag_denials denials;
    make_code(w, 1, NULL);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_OK);
    struct pag_tls_peer peer = peer_of(out.enrolled.certificate);
    assert_true(pag_app_admit(f->app, &peer));
    assert_int_equal(pag_app_device_of(fixture_call(f), &peer, &who), PAG_OK);
    uint64_t epoch = pag_app_deny_epoch(f->app);
    pag_app_device_revoke(fixture_call(f), id, "stolen");
    assert_int_equal(fixture_wait(f), PAG_OK);
    assert_false(pag_app_admit(f->app, &peer));
    assert_true(pag_app_deny_epoch(f->app) > epoch);
    assert_int_equal(pag_app_denials(fixture_call(f), &denials), PAG_OK);
    assert_int_equal(denials.revoked_n, 1);
    assert_int_equal(denials.device_n, 1);
    fixture_close(f);
    fixture_open(f, NULL);
    assert_false(pag_app_admit(f->app, &peer));
    assert_int_equal(pag_app_device_of(fixture_call(f), &peer, &who), PAG_E_DENIED);
}

static struct pag_check_in native_check(const uint8_t running[32], uint32_t sequence)
{
    struct pag_check_in in = { .protocol = PAG_PROTOCOL_NATIVE,
                               .proof = PAG_PROOF_CERTIFICATE,
                               .mode = PAG_CHECK_FIRMWARE,
                               .device = id };
    struct pag_facts *f = &in.facts;
    f->chip = (struct pag_fact_u32){ PAG_SAID, PAG_CHIP_ESP8266 };
    f->hardware.source = PAG_SAID;
    memcpy(f->hardware.value, "d1mini", 7);
    f->running.source = PAG_SAID;
    memcpy(f->running.value, running, 32);
    f->sequence = (struct pag_fact_u32){ PAG_SAID, sequence };
    f->trust_version = (struct pag_fact_u32){ PAG_SAID, 1 };
    f->boot_state = (struct pag_fact_u32){ PAG_SAID, 0 };
    f->slot_bytes = (struct pag_fact_u32){ PAG_SAID, 1 << 20 };
    return in;
}

static enum pag_err check(struct world *w, const struct pag_check_in *in, struct pag_check_reply *reply)
{
    pag_app_check_in(fixture_call(&w->f), in, reply);
    return fixture_wait(&w->f);
}

static enum pag_err report(struct world *w, uint32_t action, enum pag_report_state s, const uint8_t *running)
{
    struct pag_report_in in = { .device = id };
    in.report.action_id = action;
    in.report.state = (uint8_t)s;
    if (running != NULL) {
        in.report.running_digest = pag_span_of(running, 32);
    }
    pag_app_report(fixture_call(&w->f), &in);
    return fixture_wait(&w->f);
}

static void ready_device(struct world *w)
{
    struct pag_enroll_out out;
    enum pag_err unsigned_err = PAG_OK;
    put_trust(w);
    make_code(w, 1, NULL);
    assert_int_equal(enroll(w, id, pag_span_of(w->csr, w->csr_n), &out), PAG_OK);
    publish_signed(w, "1.0.0", 1, &unsigned_err);
    assert_int_equal(unsigned_err, PAG_E_CONDITION);
}

static struct pag_device_row row(struct world *w)
{
    struct pag_device_row r;
    assert_int_equal(pag_app_device(fixture_call(&w->f), id, &r), PAG_OK);
    return r;
}

static void native_device_is_done_only_when_it_runs_the_image(void **state)
{
    struct world *w = *state;
    struct pag_check_reply reply;
    const uint8_t factory[32] = { 9 };
    ready_device(w);
    struct pag_check_in in = native_check(factory, 0);
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    assert_true(pag_span_eq(reply.manifest, pag_buf_span(&w->manifest)));
    uint32_t action = reply.action_id;
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(reply.action_id, action);
    assert_int_equal(report(w, action, PAG_REPORT_DOWNLOADING, NULL), PAG_OK);
    assert_int_equal(report(w, action, PAG_REPORT_CONFIRMED, factory), PAG_E_CONFLICT);
    assert_int_equal(row(w).device.state, PAG_DEVICE_UPDATING);
    assert_int_equal(report(w, action, PAG_REPORT_CONFIRMED, w->image.sha256), PAG_OK);
    assert_int_equal(report(w, action, PAG_REPORT_CONFIRMED, w->image.sha256), PAG_OK);
    assert_int_equal(row(w).device.state, PAG_DEVICE_UP_TO_DATE);
    in = native_check(w->image.sha256, 1);
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
}

static void image_that_a_device_went_back_from_is_not_offered_again(void **state)
{
    struct world *w = *state;
    struct pag_check_reply reply;
    const uint8_t factory[32] = { 9 };
    ready_device(w);
    struct pag_check_in in = native_check(factory, 0);
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(report(w, reply.action_id, PAG_REPORT_REVERTED, factory), PAG_OK);
    assert_int_equal(row(w).device.state, PAG_DEVICE_REVERTED);
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    assert_int_equal(reply.reason, PAG_PLAN_BLACKLISTED);
    assert_int_equal(row(w).device.state, PAG_DEVICE_REVERTED);
    assert_int_equal(row(w).blocked_n, 1);
}

static void say_version(struct pag_check_in *in, const char *version)
{
    in->facts.version.source = PAG_SAID;
    (void)snprintf(in->facts.version.value, sizeof in->facts.version.value, "%s", version);
}

/* What a device says of a trial is what runs; that it went back is known before it checks again. */
static void trial_that_ends(struct world *w, enum pag_report_state how)
{
    struct pag_check_reply reply;
    ready_device(w);
    const struct pag_release_image old = w->image;
    struct pag_check_in in = native_check(old.sha256, 1);
    say_version(&in, "1.0.0");
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_NONE);
    publish_signed(w, "2.0.0", 2, NULL);
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    assert_int_equal(reply.verdict, PAG_CHECK_OFFER);
    uint32_t action = reply.action_id;
    if (how == PAG_REPORT_FAILED) { /* the other has told nothing before its trial */
        assert_int_equal(report(w, action, PAG_REPORT_REBOOTING, old.sha256), PAG_OK);
    }
    in = native_check(w->image.sha256, 2);
    say_version(&in, "2.0.0");
    in.facts.boot_state.value = 1;
    assert_int_equal(check(w, &in, &reply), PAG_OK);
    struct pag_device d = row(w).device;
    assert_int_equal(d.state, PAG_DEVICE_ON_TRIAL);
    assert_memory_equal(d.facts.running.value, w->image.sha256, 32);
    assert_int_equal(report(w, action, how, old.sha256), PAG_OK);
    d = row(w).device;
    assert_memory_equal(d.facts.running.value, old.sha256, 32);
    assert_string_equal(d.facts.version.value, "1.0.0");
    assert_int_equal(d.facts.sequence.value, 1);
    assert_int_not_equal(d.facts.boot_state.value, 1);
}

static void device_that_went_back_runs_the_old_image_at_once(void **state)
{
    trial_that_ends(*state, PAG_REPORT_REVERTED);
}

static void device_that_failed_on_trial_runs_the_old_image_at_once(void **state)
{
    trial_that_ends(*state, PAG_REPORT_FAILED);
}

static void command_comes_with_the_next_check_and_its_result_is_kept(void **state)
{
    struct world *w = *state;
    struct pag_command out;
    struct pag_check_reply reply;
    const struct pag_command_in in = { .device = id, .kind = "reboot", .ttl_s = 60 };
    ready_device(w);
    pag_app_command(fixture_call(&w->f), &in, &out);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    struct pag_check_in ask = native_check(w->image.sha256, 1);
    assert_int_equal(check(w, &ask, &reply), PAG_OK);
    assert_int_equal(reply.command_n, 1);
    assert_int_equal(reply.command[0].id, out.id);
    assert_int_equal(check(w, &ask, &reply), PAG_OK);
    assert_int_equal(reply.command_n, 0);
    const struct pag_native_result result = { .id = out.id, .text = { (const uint8_t *)"ok", 2 } };
    pag_app_command_result(fixture_call(&w->f), id, &result);
    assert_int_equal(fixture_wait(&w->f), PAG_OK);
    struct pag_command *list = NULL;
    size_t n = 0;
    assert_int_equal(pag_app_commands(fixture_call(&w->f), &(struct pag_command_query){ .device = id }, &list,
                                      &n, &(uint64_t){ 0 }),
                     PAG_OK);
    assert_int_equal(list[0].state, PAG_COMMAND_DONE);
    assert_string_equal(list[0].result, "ok");
}

static void data_topics_of_a_device_are_bounded(void **state)
{
    struct world *w = *state;
    ready_device(w);
    enum pag_err err = PAG_OK;
    for (int i = 0; i < 65; i++) {
        char topic[32];
        (void)snprintf(topic, sizeof topic, "data/%d", i);
        pag_app_data_in(fixture_call(&w->f), id, topic, pag_span_str("1"));
        err = fixture_wait(&w->f);
        assert_int_equal(err, i < 64 ? PAG_OK : PAG_E_LIMIT);
    }
    pag_app_data_in(fixture_call(&w->f), "stranger", "data/1", pag_span_str("1"));
    assert_int_equal(fixture_wait(&w->f), PAG_E_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(claim_works_once_and_again_for_the_same_key),
        TEST(claim_of_another_device_is_refused),
        TEST(guessing_claims_is_slowed_down),
        TEST(claims_that_are_right_are_limited_by_their_code_alone),
        TEST(deleted_code_redeems_nothing_and_is_gone_from_the_list),
        TEST(code_of_another_product_cannot_be_deleted),
        TEST(device_that_went_back_runs_the_old_image_at_once),
        TEST(device_that_failed_on_trial_runs_the_old_image_at_once),
        TEST(revoked_device_is_out_at_once_and_after_a_restart),
        TEST(native_device_is_done_only_when_it_runs_the_image),
        TEST(image_that_a_device_went_back_from_is_not_offered_again),
        TEST(command_comes_with_the_next_check_and_its_result_is_kept),
        TEST(data_topics_of_a_device_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
