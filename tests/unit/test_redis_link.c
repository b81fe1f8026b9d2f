/* redis_link against a real server: order, pub/sub on one connection, and every way to lose it. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/redis_url.h"
#include "support/link_scene.h"

static int set_up(void **state)
{
    struct scene *scene = scene_new();
    redis_process_start(&scene->server, KIND_REDIS, NULL);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    struct redis_process server = scene->server;
    bool clean = scene_free(scene);
    redis_process_end(&server);
    return clean ? 0 : -1;
}

static void open_link(struct scene *scene)
{
    scene_open_until_up(scene, (struct redis_target){.client_name = "story"});
}

static void it_comes_up_knowing_the_server(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    assert_int_equal(strlen(scene->run_id), 40);
    assert_string_equal(scene->role, "master");
    assert_true(strcmp(scene->name, "redis") == 0 || strcmp(scene->name, "valkey") == 0);
    scene_ask(scene, "CLIENT GETNAME");
    assert_string_equal(scene_answer(scene), "story");
}

static void it_speaks_over_tcp_and_selects_its_database(void **state)
{
    struct scene *scene = *state;
    char url[TEXT];
    snprintf(url, sizeof url, "redis://localhost:%d/3", scene->server.port);
    scene_open_until_up(scene, (struct redis_target){.url = url});
    scene_ask(scene, "SET here 1");
    scene_ask(scene, "SELECT 3");
    scene_ask(scene, "GET here");
    assert_string_equal(scene_answer(scene), "1");
    assert_true(redis_link_stats(scene->link)->bytes_out > 0);
}

static void a_valkey_says_its_own_name(void **state)
{
    struct scene *scene = *state;
    if (!redis_kind_is_installed(KIND_VALKEY)) {
        print_message("skipped: valkey-server is not installed\n");
        skip();
    }
    redis_process_end(&scene->server);
    redis_process_start(&scene->server, KIND_VALKEY, NULL);
    open_link(scene);
    assert_string_equal(scene->name, "valkey");
}

static void answers_come_in_the_order_of_the_commands(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    char words[TEXT], number[TEXT];
    for (int i = 0; i < REPLIES; i++) {
        snprintf(words, sizeof words, "ECHO %d", i);
        assert_int_equal(scene_say(scene, words), ERR_OK);
    }
    WAIT_FOR(scene, scene->answers == REPLIES);
    for (int i = 0; i < REPLIES; i++) {
        snprintf(number, sizeof number, "%d", i);
        assert_string_equal(scene->answer[i], number);
    }
}

static void commands_and_subscriptions_share_the_connection(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    assert_int_equal(scene_say(scene, "ECHO before"), ERR_OK);
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "news"), ERR_OK);
    assert_int_equal(scene_subscribe(scene, "SSUBSCRIBE", "shard"), ERR_OK);
    assert_int_equal(scene_say(scene, "PUBLISH news hello"), ERR_OK);
    assert_int_equal(scene_say(scene, "ECHO after"), ERR_OK);
    WAIT_FOR(scene, scene->answers == 5 && scene->pushes == 1);
    assert_string_equal(scene->answer[0], "before");
    assert_string_equal(scene->answer[1], "push subscribe");
    assert_string_equal(scene->answer[2], "push ssubscribe");
    assert_string_equal(scene->answer[3], "1");
    assert_string_equal(scene->answer[4], "after");
    assert_string_equal(scene->push_channel, "news");
    assert_string_equal(scene->push_bytes, "hello");

    scene_ask(scene, "SPUBLISH shard low");
    WAIT_FOR(scene, scene->pushes == 2);
    assert_string_equal(scene->push_kind, "smessage");
    assert_int_equal(scene_subscribe(scene, "UNSUBSCRIBE", "news"), ERR_OK);
    assert_int_equal(scene_subscribe(scene, "UNSUBSCRIBE", "never"), ERR_OK);
    scene_ask(scene, "ECHO end");
    WAIT_FOR(scene, scene->answers == 9);
    assert_string_equal(scene_answer(scene), "end");
    assert_int_equal(scene->downs, 0);
}

/* The server ends it just as we do: there are two answers to one command then. */
static void ending_a_subscription_that_moves_away_confuses_no_answer(void **state)
{
    struct scene *scene = *state;
    char bus[16], url[64];
    snprintf(bus, sizeof bus, "%d", redis_free_port());
    const char *const alone[] = {"--cluster-enabled", "yes", "--cluster-port", bus, NULL};
    redis_process_end(&scene->server);
    redis_process_start(&scene->server, KIND_REDIS, alone);
    redis_process_do(&scene->server, "CLUSTER ADDSLOTSRANGE 0 16383");
    long long slot = redis_process_do(&scene->server, "CLUSTER KEYSLOT moving");
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", scene->server.port);
    scene_open_until_up(
        scene, (struct redis_target){.url = url, .host = "127.0.0.1", .port = scene->server.port});
    assert_int_equal(scene_subscribe(scene, "SSUBSCRIBE", "moving"), ERR_OK);
    WAIT_FOR(scene, scene->answers == 1);
    assert_int_equal(scene_subscribe(scene, "SUNSUBSCRIBE", "moving"), ERR_OK);
    redis_process_do(&scene->server, "CLUSTER DELSLOTS %lld", slot);
    assert_int_equal(scene_say(scene, "ECHO one"), ERR_OK);
    assert_int_equal(scene_say(scene, "ECHO two"), ERR_OK);
    WAIT_FOR(scene, scene->answers == 4);
    assert_string_equal(scene->answer[1], "push sunsubscribe");
    assert_string_equal(scene->answer[2], "one");
    assert_string_equal(scene->answer[3], "two");
}

static void a_server_of_another_kind_than_the_url_says_is_named(void **state)
{
    struct scene *scene = *state;
    const char *const clustered[] = {"--cluster-enabled", "yes", "--port", "0", NULL};
    scene_open(scene, (struct redis_target){.url = "redis+cluster://127.0.0.1",
                                            .host = "127.0.0.1",
                                            .port = scene->server.port});
    WAIT_FOR(scene, scene->downs > 0);
    assert_non_null(strstr(scene->why, "not of a cluster: begin the url with redis://"));
    redis_link_close(scene->link);
    redis_process_end(&scene->server);
    redis_process_start(&scene->server, KIND_REDIS, clustered);
    scene->downs = 0;
    scene_open(scene, (struct redis_target){0});
    WAIT_FOR(scene, scene->downs > 0);
    assert_non_null(strstr(scene->why, "in cluster mode: begin the url with redis+cluster://"));
}

static void a_refused_subscribe_is_answered_and_costs_nothing_else(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    scene_ask(scene, "ACL SETUSER half on >pass ~* +@all resetchannels &mine");
    scene_ask(scene, "AUTH half pass");
    assert_string_equal(scene_answer(scene), "OK");
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "other"), ERR_OK);
    scene_ask(scene, "ECHO still");
    WAIT_FOR(scene, scene->answers == 4);
    assert_non_null(strstr(scene->answer[2], "NOPERM"));
    assert_string_equal(scene->answer[3], "still");
    assert_int_equal(scene->downs, 0);
}

static void a_killed_connection_is_back_within_a_moment(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    uint64_t start = uv_hrtime();
    assert_int_equal(scene_say(scene, "CLIENT KILL TYPE normal SKIPME no"), ERR_OK);
    assert_int_equal(scene_say(scene, "ECHO lost"), ERR_OK);
    WAIT_FOR(scene, scene->ups == 2);
    double took_ms = (double)(uv_hrtime() - start) / 1e6;
    print_message("back after %.1f ms\n", took_ms);
    assert_int_equal(scene->downs, 1);
    assert_true(scene->lost >= 1);
    assert_true(took_ms < 1000);
    assert_int_equal(redis_link_stats(scene->link)->reconnects, 1);
    scene_ask(scene, "ECHO again");
    assert_string_equal(scene_answer(scene), "again");
}

static void a_restarted_server_is_found_again(void **state)
{
    struct scene *scene = *state;
    char first_run_id[TEXT];
    open_link(scene);
    strcpy(first_run_id, scene->run_id);
    redis_process_kill(&scene->server);
    WAIT_FOR(scene, scene->downs >= 3);
    assert_string_equal(scene->why, "cannot connect: Connection refused");
    assert_false(redis_link_is_up(scene->link));
    assert_int_equal(scene_say(scene, "PING"), ERR_OFFLINE);
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "news"), ERR_OFFLINE);
    redis_process_again(&scene->server);
    WAIT_FOR(scene, scene->ups == 2);
    assert_string_not_equal(scene->run_id, first_run_id);
}

static void a_silent_server_is_noticed_by_ping(void **state)
{
    struct scene *scene = *state;
    scene_open_until_up(scene, (struct redis_target){.ping_every = MILLIS(40)});
    redis_process_pause(&scene->server);
    WAIT_FOR(scene, scene->downs == 1);
    assert_string_equal(scene->why, "the server is silent");
    redis_process_resume(&scene->server);
    WAIT_FOR(scene, scene->ups == 2);
}

static void a_quiet_but_living_server_is_kept(void **state)
{
    struct scene *scene = *state;
    /* Long enough that a machine which does not run us for a while is not taken for silence. */
    scene_open_until_up(scene, (struct redis_target){.ping_every = MILLIS(250)});
    uint64_t bytes = redis_link_stats(scene->link)->bytes_in;
    WAIT_FOR(scene, redis_link_stats(scene->link)->bytes_in >= bytes + 4 * strlen("+PONG\r\n"));
    assert_int_equal(scene->downs, 0);
}

static void one_command_too_many_is_refused_and_harms_nobody(void **state)
{
    struct scene *scene = *state;
    scene_open_until_up(scene, (struct redis_target){.queue_max = 3});
    assert_int_equal(scene_say(scene, "ECHO 1"), ERR_OK);
    assert_int_equal(scene_say(scene, "ECHO 2"), ERR_OK);
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "news"), ERR_OK);
    assert_int_equal(scene_say(scene, "ECHO 4"), ERR_FULL);
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "more"), ERR_FULL);
    WAIT_FOR(scene, scene->answers == 3);
    scene_ask(scene, "ECHO 5");
    assert_string_equal(scene_answer(scene), "5");
}

static void a_wrong_password_says_so(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    scene_ask(scene, "CONFIG SET requirepass right");
    redis_link_close(scene->link);
    scene_open(scene, (struct redis_target){.password = "wrong"});
    WAIT_FOR(scene, strstr(scene->why, "WRONGPASS") != NULL);
    redis_link_close(scene->link);
    scene_open(scene, (struct redis_target){0});
    WAIT_FOR(scene, strstr(scene->why, "NOAUTH") != NULL);
    redis_link_close(scene->link);
    scene_open(scene, (struct redis_target){.password = "right"});
    WAIT_FOR(scene, scene->ups == 2);
}

static void a_reset_answers_all_with_null_and_reconnects(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    assert_int_equal(scene_say(scene, "ECHO 1"), ERR_OK);
    redis_link_reset(scene->link, "READONLY");
    assert_int_equal(scene->downs, 0); /* never from inside */
    assert_false(redis_link_is_up(scene->link));
    assert_int_equal(scene_say(scene, "ECHO 2"), ERR_OFFLINE);
    WAIT_FOR(scene, scene->ups == 2);
    assert_int_equal(scene->lost, 1);
    assert_string_equal(scene->why, "READONLY");
}

static void closing_in_the_middle_answers_what_is_in_flight(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    assert_int_equal(scene_say(scene, "ECHO 1"), ERR_OK);
    redis_link_close(scene->link);
    scene->link = NULL;
    assert_int_equal(scene->lost, 1);
    assert_int_equal(scene->closed, 0);
    WAIT_FOR(scene, scene->closed == 1);
    assert_int_equal(scene->downs, 0);
}

static void it_may_be_closed_from_its_own_callback(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    scene->close_on_down = true;
    assert_int_equal(scene_say(scene, "CLIENT KILL TYPE normal SKIPME no"), ERR_OK);
    WAIT_FOR(scene, scene->closed == 1);
    assert_int_equal(scene->ups, 1);
}

static void a_huge_message_and_a_deep_reply_do_no_harm(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "news"), ERR_OK);
    scene_ask(scene, "EVAL return(redis.call('publish','news',string.rep('x',3000000))) 0");
    WAIT_FOR(scene, scene->pushes == 1);
    scene_ask(scene, "EVAL local(t)='x';for(i)=1,40(do)t={t}(end)return(t) 0");
    static const char deep[] = "local t='x' for i=1,40 do t={t} end return t";
    const struct str argv[] = {STR("EVAL"), {deep, sizeof deep - 1}, STR("0")};
    assert_int_equal(redis_link_command(scene->link, 3, argv, NULL, NULL), ERR_OK);
    scene_ask(scene, "ECHO alive");
    assert_string_equal(scene_answer(scene), "alive");
}

static void a_subscription_that_the_server_ends_is_renewed(void **state)
{
    struct scene *scene = *state;
    open_link(scene);
    assert_int_equal(scene_subscribe(scene, "SUBSCRIBE", "news"), ERR_OK);
    WAIT_FOR(scene, scene->answers == 1);
    /* RESET, sent as a plain command, ends the subscription without a push; so let the server
     * believe that somebody asked: an UNSUBSCRIBE that has no slot of ours. */
    const struct str argv[] = {STR("UNSUBSCRIBE"), STR("news")};
    assert_int_equal(redis_link_command(scene->link, 2, argv, scene_answered, scene), ERR_OK);
    WAIT_FOR(scene, scene->ups == 2);
    assert_string_equal(scene->why, "the server ended a subscription");
}

static void a_host_name_is_resolved_and_a_dead_port_is_told(void **state)
{
    struct scene *scene = *state;
    scene_open(scene, (struct redis_target){.url = "redis://localhost:1"});
    WAIT_FOR(scene, scene->downs >= 2);
    assert_string_equal(scene->why, "cannot connect: Connection refused");
    redis_link_close(scene->link);
    unsigned downs = scene->downs;
    scene_open(scene, (struct redis_target){.url = "redis://[::1]:1"});
    WAIT_FOR(scene, scene->downs > downs);
    redis_link_close(scene->link);
    scene_open(scene, (struct redis_target){.url = "redis://no-such-host.invalid"});
    WAIT_FOR(scene, strstr(scene->why, "cannot resolve no-such-host.invalid") != NULL);
}

static void urls_are_read(void **state)
{
    (void)state;
    const char *why = NULL;
    struct redis_url url;
    assert_int_equal(redis_url_parse("redis://a%40b:p%3Aq@h.example:7000/3", &url, &why), ERR_OK);
    assert_string_equal(url.user, "a@b");
    assert_string_equal(url.password, "p:q");
    assert_string_equal(url.host[0].name, "h.example");
    assert_int_equal(url.host[0].port, 7000);
    assert_int_equal(url.db, 3);
    redis_url_fini(&url);
    assert_int_equal(redis_url_parse("redis://:secret@[::1]", &url, &why), ERR_OK);
    assert_null(url.user);
    assert_string_equal(url.password, "secret");
    assert_string_equal(url.host[0].name, "::1");
    assert_int_equal(url.host[0].port, 6379);
    redis_url_fini(&url);
    assert_int_equal(redis_url_parse("unix:///run/r.sock?db=2", &url, &why), ERR_OK);
    assert_string_equal(url.path, "/run/r.sock");
    assert_int_equal(url.db, 2);
    redis_url_fini(&url);
}

static void urls_of_several_servers_are_read(void **state)
{
    (void)state;
    const char *why = NULL;
    struct redis_url url;
    assert_int_equal(redis_url_parse("SENTINELS://u:p@s1,[::1]:7,s3:8/my%20master/4", &url, &why),
                     ERR_OK);
    assert_int_equal(url.kind, REDIS_SENTINEL);
    assert_true(url.is_tls);
    assert_int_equal(url.host_count, 3);
    assert_string_equal(url.host[0].name, "s1");
    assert_int_equal(url.host[0].port, 26379);
    assert_string_equal(url.host[1].name, "::1");
    assert_int_equal(url.host[2].port, 8);
    assert_string_equal(url.master, "my master");
    assert_int_equal(url.db, 4);
    redis_url_fini(&url);
    assert_int_equal(redis_url_parse("redis+cluster://a,b:7001", &url, &why), ERR_OK);
    assert_int_equal(url.kind, REDIS_CLUSTER);
    assert_false(url.is_tls);
    assert_int_equal(url.host[0].port, 6379);
    assert_int_equal(url.host[1].port, 7001);
    redis_url_fini(&url);
}

static void a_printed_url_says_the_same_without_the_login(void **state)
{
    (void)state;
    static const char *const said[][2] = {
        {"redis://u:p@h", "redis://h:6379"},
        {"rediss://[::1]:7/3", "rediss://[::1]:7/3"},
        {"/run/r?db=1", "unix:///run/r?db=1"},
        {"sentinel://:p@a,b/m%2Fn/2", "sentinel://a:26379,b:26379/m%2Fn/2"},
        {"rediss+cluster://a,b:1", "rediss+cluster://a:6379,b:1"},
    };
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        const char *why = NULL;
        struct redis_url url;
        struct buf out = {0};
        assert_int_equal(redis_url_parse(said[i][0], &url, &why), ERR_OK);
        redis_url_print(&url, &out);
        assert_string_equal(out.bytes, said[i][1]);
        buf_fini(&out);
        redis_url_fini(&url);
    }
}

static void urls_that_make_no_sense_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "localhost:6379",
        "redis://",
        "redis://h:0",
        "redis://h:x",
        "redis://a,b",
        "redis://h:1/x",
        "redis://h/70000",
        "redis://[::1",
        "redis://[::1]x",
        "unix://",
        "unix:///a?base=1",
        "redis://a%zz:b@h:1",
        "http://h",
        "redis://a%00@h",
        "redis://a b",
        "redis://[abc]",
        "redis://a;b",
        "sentinel://h",
        "sentinel://h/",
        "sentinel:///m",
        "sentinel://h,/m",
        "sentinel://h/m/x",
        "redis+cluster://h/0",
        "redis+cluster://,h",
        "sentinel://1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7/m",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = NULL;
        struct redis_url url = {0};
        if (redis_url_parse(bad[i], &url, &why) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
        assert_int_equal(url.host_count, 0);
    }
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(it_comes_up_knowing_the_server),
        STORY(it_speaks_over_tcp_and_selects_its_database),
        STORY(a_valkey_says_its_own_name),
        STORY(answers_come_in_the_order_of_the_commands),
        STORY(commands_and_subscriptions_share_the_connection),
        STORY(ending_a_subscription_that_moves_away_confuses_no_answer),
        STORY(a_server_of_another_kind_than_the_url_says_is_named),
        STORY(a_refused_subscribe_is_answered_and_costs_nothing_else),
        STORY(a_killed_connection_is_back_within_a_moment),
        STORY(a_restarted_server_is_found_again),
        STORY(a_silent_server_is_noticed_by_ping),
        STORY(a_quiet_but_living_server_is_kept),
        STORY(one_command_too_many_is_refused_and_harms_nobody),
        STORY(a_wrong_password_says_so),
        STORY(a_reset_answers_all_with_null_and_reconnects),
        STORY(closing_in_the_middle_answers_what_is_in_flight),
        STORY(it_may_be_closed_from_its_own_callback),
        STORY(a_huge_message_and_a_deep_reply_do_no_harm),
        STORY(a_subscription_that_the_server_ends_is_renewed),
        STORY(a_host_name_is_resolved_and_a_dead_port_is_told),
        cmocka_unit_test(urls_are_read),
        cmocka_unit_test(urls_of_several_servers_are_read),
        cmocka_unit_test(a_printed_url_says_the_same_without_the_login),
        cmocka_unit_test(urls_that_make_no_sense_are_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
