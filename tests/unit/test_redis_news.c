/* How often the log says that Redis is away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "io/redis_news.h"

static int real_stderr, pipe_end[2];
static struct redis_news news;

static int set_up(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false, "here");
    redis_news_init(&news, "redis://:secret@redis.example:6380");
    if (pipe(pipe_end) != 0)
        return -1;
    real_stderr = dup(STDERR_FILENO);
    return dup2(pipe_end[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(pipe_end[0]);
    (void)close(pipe_end[1]);
    redis_news_fini(&news);
    return 0;
}

/* What was logged since; a mark behind it, so that nothing written is nothing to wait for. */
static const char *logged(void)
{
    static char text[4096];
    assert_int_equal(write(pipe_end[1], "!", 1), 1);
    ssize_t len = read(pipe_end[0], text, sizeof text - 1);
    assert_true(len > 0 && text[len - 1] == '!');
    text[len - 1] = '\0';
    return text;
}

static void away(const char *why, int64_t second)
{
    redis_news_away(&news, str_of(why), (struct instant){second * 1000});
}

static void expect_logged(const char *words)
{
    const char *line = logged();
    assert_non_null(strstr(line, words));
    assert_int_equal(strchr(line, '\n')[1], '\0');
}

static void expect_silence(void)
{
    assert_string_equal(logged(), "");
}

static void what_lasts_is_said_once_a_minute(void **state)
{
    (void)state;
    away("connection refused", 100);
    expect_logged("msg=\"redis is away\" redis=\"redis://redis.example:6380\" "
                  "because=\"connection refused\"");
    for (int64_t second = 100; second < 160; second++)
        away("connection refused", second);
    expect_silence();
    away("connection refused", 160);
    expect_logged("connection refused");
    away("connection refused", 161);
    expect_silence();
}

static void a_change_is_said_at_once_but_not_every_turn(void **state)
{
    (void)state;
    away("it hung up", 0);
    expect_logged("it hung up");
    away("WRONGPASS", 1);
    expect_logged("WRONGPASS");
    away("it hung up", 2);
    away("WRONGPASS", 3);
    expect_silence();
    away("no such host", 4);
    expect_logged("no such host");
}

static void after_a_link_it_is_news_again(void **state)
{
    (void)state;
    const struct redis_server server = {
        .name = STR("valkey"), .version = STR("8.0.1"), .role = STR("master")};
    away("it hung up", 0);
    expect_logged("it hung up");
    redis_news_there(&news, &server, true);
    expect_logged("msg=\"redis is there\" redis=\"redis://redis.example:6380\" server=valkey "
                  "version=8.0.1 role=master another=1");
    away("it hung up", 1);
    expect_logged("it hung up");
}

static void a_redis_that_takes_no_writes_is_named_with_its_words(void **state)
{
    (void)state;
    for (int64_t second = 0; second < 50; second++)
        redis_news_refuses(&news, STR("MISCONF it cannot save"), (struct instant){second * 1000});
    expect_logged("msg=\"redis takes no writes\" redis=\"redis://redis.example:6380\" "
                  "because=\"MISCONF it cannot save\"");
}

int main(void)
{
#define T(story) cmocka_unit_test_setup_teardown(story, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(what_lasts_is_said_once_a_minute),
        T(a_change_is_said_at_once_but_not_every_turn),
        T(after_a_link_it_is_news_again),
        T(a_redis_that_takes_no_writes_is_named_with_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
