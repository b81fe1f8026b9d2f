/* redis_link over TLS against real servers: whom it believes, and what it says when it does not. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "support/certificates.h"
#include "support/link_scene.h"
#include "support/service.h"

struct stage {
    struct scene *scene;
    enum redis_kind kind;
    char folder[64];
    struct certificate ca, cert;
    bool started;
    int port;
};

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    stage->kind = *(enum redis_kind *)*state;
    stage->scene = scene_new();
    strcpy(stage->folder, "/tmp/bw-tls-XXXXXX");
    assert_non_null(mkdtemp(stage->folder));
    stage->ca = certificate_authority(stage->folder, "Example-CA");
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    struct redis_process server = stage->scene->server;
    bool clean = scene_free(stage->scene);
    if (stage->started)
        redis_process_end(&server);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", stage->folder);
    clean = system(command) == 0 && clean;
    free(stage);
    return clean ? 0 : -1;
}

static void start_server_with(struct stage *stage, const struct certificate *ca,
                              const char *clients, const char *protocols)
{
    char port[16];
    stage->port = redis_free_port();
    snprintf(port, sizeof port, "%d", stage->port);
    const char *const extra[] = {"--tls-port",
                                 port,
                                 "--tls-cert-file",
                                 stage->cert.cert_file,
                                 "--tls-key-file",
                                 stage->cert.key_file,
                                 "--tls-ca-cert-file",
                                 ca->cert_file,
                                 "--tls-auth-clients",
                                 clients,
                                 "--tls-protocols",
                                 protocols,
                                 NULL};
    redis_process_start(&stage->scene->server, stage->kind, extra);
    stage->started = true;
}

static void start_server(struct stage *stage, const char *names, int days)
{
    stage->cert = certificate_signed_by(&stage->ca, stage->folder, "server", names, days);
    start_server_with(stage, &stage->ca, "no", "TLSv1.2 TLSv1.3");
}

static void open_at(struct stage *stage, const char *scheme, const char *host, int port,
                    struct redis_tls_options tls)
{
    char url[TEXT];
    snprintf(url, sizeof url, "%s://%s:%d", scheme, host, port);
    stage->scene->why[0] = '\0';
    scene_open(stage->scene, (struct redis_target){.url = url, .tls = tls});
}

static void open_tls(struct stage *stage, const char *host, struct redis_tls_options tls)
{
    if (tls.ca_file == NULL)
        tls.ca_file = stage->ca.cert_file;
    open_at(stage, "rediss", host, stage->port, tls);
}

static void expect_up(struct stage *stage, const char *host, struct redis_tls_options tls)
{
    unsigned before = stage->scene->ups;
    open_tls(stage, host, tls);
    WAIT_FOR(stage->scene, stage->scene->ups > before);
    scene_close(stage->scene);
}

/* It never comes up, and says all of this. */
static void expect_refusal(struct stage *stage, const char *host, struct redis_tls_options tls,
                           const char *said)
{
    unsigned before = stage->scene->ups;
    open_tls(stage, host, tls);
    WAIT_FOR(stage->scene, strstr(stage->scene->why, said) != NULL);
    assert_int_equal(stage->scene->ups, before);
    scene_close(stage->scene);
}

static void commands_and_messages_go_over_tls(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    start_server(stage, "DNS:localhost,IP:127.0.0.1", 30);
    open_tls(stage, "localhost", (struct redis_tls_options){0});
    WAIT_FOR(scene, scene->ups == 1);
    assert_string_equal(scene->role, "master");
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "news"), ERR_OK);
    scene_ask(scene, "EVAL return(redis.call('publish','news',string.rep('x',3000000))) 0");
    WAIT_FOR(scene, scene->pushes == 1);
    char words[TEXT];
    for (int i = 0; i < 5000; i++) {
        snprintf(words, sizeof words, "ECHO %d", i);
        assert_int_equal(scene_say(scene, words), ERR_OK);
    }
    WAIT_FOR(scene, scene->answers == 5002);
    assert_string_equal(scene_answer(scene), "4999");
    assert_int_equal(scene->downs, 0);
    scene_close(scene);
    expect_up(stage, "127.0.0.1", (struct redis_tls_options){0});
}

static void many_large_commands_pass_in_order(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    enum { LARGE = 4 << 20 };
    start_server(stage, "DNS:localhost", 30);
    open_tls(stage, "localhost", (struct redis_tls_options){0});
    WAIT_FOR(scene, scene->ups == 1);
    char *large = malloc(LARGE);
    memset(large, 'y', LARGE);
    for (int i = 0; i < 8; i++) {
        const struct str argv[] = {STR("APPEND"), STR("k"), {large, LARGE}};
        assert_int_equal(redis_link_command(scene->link, 3, argv, scene_answered, scene), ERR_OK);
    }
    free(large);
    WAIT_FOR(scene, scene->answers == 8);
    assert_int_equal(atoll(scene_answer(scene)), 8ll * LARGE);
    assert_int_equal(scene->downs, 0);
}

static void a_lost_connection_is_renewed_over_tls(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    start_server(stage, "DNS:localhost", 30);
    open_tls(stage, "localhost", (struct redis_tls_options){0});
    WAIT_FOR(scene, scene->ups == 1);
    assert_int_equal(scene_say(scene, "CLIENT KILL TYPE normal SKIPME no"), ERR_OK);
    WAIT_FOR(scene, scene->ups == 2);
    redis_process_kill(&scene->server);
    WAIT_FOR(scene, strstr(scene->why, "Connection refused") != NULL);
    redis_process_again(&scene->server);
    WAIT_FOR(scene, scene->ups == 3);
}

static void a_certificate_for_another_host_is_refused(void **state)
{
    struct stage *stage = *state;
    start_server(stage, "DNS:redis.internal,DNS:*.redis.example,IP:10.0.0.7", 30);
    expect_refusal(
        stage, "localhost", (struct redis_tls_options){0},
        "the certificate is for redis.internal, *.redis.example, 10.0.0.7, not for localhost: "
        "name that host, or set redis_tls_name");
    expect_refusal(stage, "127.0.0.1", (struct redis_tls_options){0}, "not for 127.0.0.1");
    expect_refusal(stage, "localhost", (struct redis_tls_options){.name = "a.b.redis.example"},
                   "not for a.b.redis.example");
    expect_up(stage, "localhost", (struct redis_tls_options){.name = "redis.internal"});
    expect_up(stage, "localhost", (struct redis_tls_options){.name = "a.redis.example"});
    expect_up(stage, "localhost", (struct redis_tls_options){.name = "10.0.0.7"});
}

static void an_unknown_authority_is_refused(void **state)
{
    struct stage *stage = *state;
    start_server(stage, "DNS:localhost", 30);
    struct certificate other = certificate_authority(stage->folder, "Other-CA");
    expect_refusal(stage, "localhost", (struct redis_tls_options){.ca_file = other.cert_file},
                   "the certificate is signed by Example-CA, which is not trusted here: set "
                   "redis_ca_file to the CA of the server");
    expect_refusal(stage, "localhost", (struct redis_tls_options){.ca_file = ""},
                   "signed by Example-CA");
    /* The same name, and other keys. */
    char folder[96];
    snprintf(folder, sizeof folder, "%s/false", stage->folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    struct certificate twin = certificate_authority(folder, "Example-CA");
    expect_refusal(stage, "localhost", (struct redis_tls_options){.ca_file = twin.cert_file},
                   "certificate");
}

static void an_expired_certificate_is_refused(void **state)
{
    struct stage *stage = *state;
    start_server(stage, "DNS:localhost", -2);
    expect_refusal(stage, "localhost", (struct redis_tls_options){0},
                   "the certificate for localhost expired on ");
}

static void a_server_without_tls_is_named_as_such(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    start_server(stage, "DNS:localhost", 30);
    uint64_t start = uv_hrtime();
    open_at(stage, "rediss", "127.0.0.1", scene->server.port,
            (struct redis_tls_options){.ca_file = stage->ca.cert_file});
    WAIT_FOR(scene, scene->downs > 0);
    assert_true(uv_hrtime() - start < 5000 * 1000000ull);
    assert_true(strstr(scene->why, "is it a TLS port?") != NULL
                || strstr(scene->why, "is not TLS") != NULL);
    scene_close(scene);
    assert_int_equal(scene->ups, 0);
}

static void a_url_without_tls_at_a_tls_port_is_named_as_such(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    start_server(stage, "DNS:localhost", 30);
    open_at(stage, "redis", "127.0.0.1", stage->port, (struct redis_tls_options){0});
    WAIT_FOR(scene, scene->downs > 0);
    assert_non_null(strstr(scene->why, "rediss://"));
    scene_close(scene);
    assert_int_equal(scene->ups, 0);
}

static void ask_for_clients(struct stage *stage, const char *protocols)
{
    stage->cert = certificate_signed_by(&stage->ca, stage->folder, "server", "DNS:localhost", 30);
    start_server_with(stage, &stage->ca, "yes", protocols);
    struct certificate mine =
        certificate_signed_by(&stage->ca, stage->folder, "mine", "DNS:agentd", 30);
    struct certificate other = certificate_authority(stage->folder, "Other-CA");
    struct certificate strange =
        certificate_signed_by(&other, stage->folder, "strange", "DNS:agentd", 30);
    expect_refusal(stage, "localhost", (struct redis_tls_options){0},
                   "the server wants a certificate of ours: set redis_cert_file and "
                   "redis_key_file");
    expect_refusal(stage, "localhost",
                   (struct redis_tls_options){.cert_file = strange.cert_file,
                                              .key_file = strange.key_file},
                   "the server does not accept our certificate: look at redis_cert_file");
    expect_up(stage, "localhost",
              (struct redis_tls_options){.cert_file = mine.cert_file, .key_file = mine.key_file});
}

static void a_server_may_ask_who_we_are(void **state)
{
    ask_for_clients(*state, "TLSv1.3");
}

static void a_server_may_ask_who_we_are_in_tls_1_2(void **state)
{
    ask_for_clients(*state, "TLSv1.2");
}

/* The authority is exchanged while we run: no restart. */
static void renewed_files_are_read_again(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    start_server(stage, "DNS:localhost", 30);
    open_tls(stage, "localhost", (struct redis_tls_options){0});
    WAIT_FOR(scene, scene->ups == 1);
    redis_process_kill(&scene->server);
    stage->ca = certificate_authority(stage->folder, "Example-CA");
    stage->cert = certificate_signed_by(&stage->ca, stage->folder, "server", "DNS:localhost", 30);
    redis_process_again(&scene->server);
    WAIT_FOR(scene, scene->ups == 2);
    /* What cannot be read leaves what was read, and is complained of. */
    char log[4096] = "";
    int pipe_end[2], real_stderr = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_end), 0);
    assert_true(dup2(pipe_end[1], STDERR_FILENO) >= 0);
    assert_int_equal(truncate(stage->ca.cert_file, 10), 0);
    assert_int_equal(scene_say(scene, "CLIENT KILL TYPE normal SKIPME no"), ERR_OK);
    WAIT_FOR(scene, scene->ups == 3);
    assert_int_equal(write(pipe_end[1], "!", 1), 1);
    assert_true(read(pipe_end[0], log, sizeof log - 1) > 0);
    (void)dup2(real_stderr, STDERR_FILENO);
    close(pipe_end[0]);
    close(pipe_end[1]);
    close(real_stderr);
    assert_non_null(strstr(log, "changed TLS files are not used"));
    assert_non_null(strstr(log, stage->ca.cert_file));
}

/* sentinels://: with the sentinel over TLS, and with the server that it names. */
static void sentinels_and_their_master_speak_tls(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    struct redis_process sentinel;
    char line[5][TEXT], url[TEXT];
    int port = redis_free_port();
    start_server(stage, "DNS:localhost,IP:127.0.0.1", 30);
    snprintf(line[0], TEXT, "tls-port %d", port);
    snprintf(line[1], TEXT, "tls-cert-file %s", stage->cert.cert_file);
    snprintf(line[2], TEXT, "tls-key-file %s", stage->cert.key_file);
    snprintf(line[3], TEXT, "tls-ca-cert-file %s", stage->ca.cert_file);
    snprintf(line[4], TEXT, "tls-auth-clients no");
    const char *const extra[] = {line[0], line[1], line[2], line[3], line[4], "tls-replication yes",
                                 NULL};
    redis_sentinel_start(&sentinel, stage->kind, "mine", stage->port, 1, extra);
    snprintf(url, sizeof url, "sentinels://localhost:%d/mine", port);
    struct redis_target target = {.url = url, .tls = {.ca_file = stage->ca.cert_file}};
    scene_open(scene, target);
    WAIT_FOR(scene, scene->ups == 1);
    scene_close(scene);
    struct certificate other = certificate_authority(stage->folder, "Other-CA");
    target.tls.ca_file = other.cert_file;
    target.connect_timeout = MILLIS(300);
    scene_open(scene, target);
    WAIT_FOR(scene, strstr(scene->why, "signed by Example-CA") != NULL);
    assert_int_equal(scene->ups, 1);
    scene_close(scene);
    redis_process_end(&sentinel);
}

static void expect_fault(const char *url, struct redis_tls_options tls, const char *said)
{
    struct buf why = {0};
    struct redis_target target = {.url = url, .tls = tls};
    assert_int_equal(redis_target_check(&target, &why), ERR_INVALID);
    if (why.bytes == NULL || strstr(why.bytes, said) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.bytes, said);
    buf_fini(&why);
}

static void options_that_cannot_work_are_refused_at_once(void **state)
{
    struct stage *stage = *state;
    static const char url[] = "rediss://localhost";
    const char *ca = stage->ca.cert_file, *key = stage->ca.key_file;
    struct certificate other = certificate_authority(stage->folder, "Other-CA");
    expect_fault("redis://localhost", (struct redis_tls_options){.ca_file = ca},
                 "need a redis_url with TLS");
    expect_fault("rediss://", (struct redis_tls_options){0}, "redis_url: ");
    expect_fault(url, (struct redis_tls_options){.ca_file = "/no/such/file"},
                 "redis_ca_file: /no/such/file holds no certificates");
    expect_fault(url, (struct redis_tls_options){.ca_file = key}, "redis_ca_file: ");
    expect_fault(url, (struct redis_tls_options){.cert_file = ca},
                 "redis_cert_file needs redis_key_file");
    expect_fault(url, (struct redis_tls_options){.key_file = key},
                 "redis_key_file needs redis_cert_file");
    expect_fault(url, (struct redis_tls_options){.cert_file = ca, .key_file = other.key_file},
                 "is not the key of the certificate in ");
    assert_int_equal(chmod(ca, 0600), 0);
    expect_fault(url, (struct redis_tls_options){.cert_file = ca, .key_file = ca},
                 "holds no private key");
    char sealed[TEXT], command[3 * TEXT];
    snprintf(sealed, sizeof sealed, "%s/sealed.key", stage->folder);
    snprintf(command, sizeof command, "openssl ec -in %s -out %s -aes128 -passout pass:x 2>&1", key,
             sealed);
    assert_int_equal(system(command), 0);
    assert_int_equal(chmod(sealed, 0600), 0);
    expect_fault(url, (struct redis_tls_options){.cert_file = ca, .key_file = sealed},
                 "holds no private key (PEM, without passphrase)");
    assert_int_equal(chmod(key, 0644), 0);
    expect_fault(url, (struct redis_tls_options){.cert_file = ca, .key_file = key}, "chmod 600 ");
}

/* The exit code of brakectl check. */
static int doctor_says(const char *url, const char *option)
{
    char command[3 * TEXT];
    snprintf(command, sizeof command,
             BRAKEWIRE_BIN "/brakectl check --no-agentd --no-broker --redis %s %s", url, option);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_daemons_and_the_doctor_speak_tls(void **state)
{
    struct stage *stage = *state;
    static struct service agentd, broker;
    char url[TEXT], ca[TEXT], option[TEXT];
    start_server(stage, "DNS:localhost", 30);
    snprintf(url, sizeof url, "rediss://localhost:%d", stage->port);
    snprintf(option, sizeof option, "--redis-url=%s", url);
    snprintf(ca, sizeof ca, "--redis-ca-file=%s", stage->ca.cert_file);
    const char *const flags[] = {option, ca, "--listen=", NULL};
    service_start(&agentd, "brakewire-agentd", true, flags);
    service_start(&broker, "brakewire-broker", true, flags);
    service_wait_for(&agentd, NULL, "/v1/version", "redis.linked", "true");
    service_wait_for(&agentd, NULL, "/v1/version", "redis.url", url);
    assert_int_equal(doctor_says(url, ca), 1); /* doubtful: nothing is saved */
    assert_int_equal(doctor_says(url, ""), 2);
    const char *const no_ca[] = {option, "--redis-ca-file=/no/such/file", NULL};
    assert_int_equal(service_run("brakewire-agentd", no_ca), 2);
    assert_int_equal(service_run("brakewire-broker", no_ca), 2);
    service_stop(&agentd);
    service_stop(&broker);
}

#define STORY(name) {#name, name, set_up, tear_down, server}

static int stories_with(enum redis_kind kind)
{
    static enum redis_kind kinds[] = {KIND_REDIS, KIND_VALKEY};
    void *const server = &kinds[kind];
    const struct CMUnitTest tests[] = {
        STORY(commands_and_messages_go_over_tls),
        STORY(many_large_commands_pass_in_order),
        STORY(a_lost_connection_is_renewed_over_tls),
        STORY(a_certificate_for_another_host_is_refused),
        STORY(an_unknown_authority_is_refused),
        STORY(an_expired_certificate_is_refused),
        STORY(a_server_without_tls_is_named_as_such),
        STORY(a_url_without_tls_at_a_tls_port_is_named_as_such),
        STORY(a_server_may_ask_who_we_are),
        STORY(a_server_may_ask_who_we_are_in_tls_1_2),
        STORY(renewed_files_are_read_again),
        STORY(sentinels_and_their_master_speak_tls),
        STORY(the_daemons_and_the_doctor_speak_tls),
        STORY(options_that_cannot_work_are_refused_at_once),
    };
    if (!redis_kind_is_installed(kind)) {
        print_message("skipped: %s is not installed\n", redis_kind_name(kind));
        return 0;
    }
    return _cmocka_run_group_tests(redis_kind_name(kind), tests, sizeof tests / sizeof *tests, NULL,
                                   NULL);
}

int main(void)
{
    int failed = stories_with(KIND_REDIS);
    return failed + stories_with(KIND_VALKEY);
}
