/* conf: where a value comes from, what is refused and how, and that a printed configuration reads
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/mono.h"
#include "base/rng.h"
#include "io/conf.h"

struct settings {
    char *redis_url, *note, *password;
    int64_t max_runs, offset;
    bool eager;
    struct span lease, unset;
    int mode;
    struct conf_list tags, words;
};
#define AT(name) offsetof(struct settings, name)

static const struct conf_option options[] = {
    {"redis_url", CONF_TEXT, AT(redis_url), "redis://here", .unit = "URL", .letter = 'r',
     .help = "H"},
    {"note", CONF_TEXT, AT(note), NULL, .help = "H"},
    {"max_runs", CONF_INT, AT(max_runs), "10", 1, 1000, .help = "H"},
    {"offset", CONF_INT, AT(offset), "-3", .help = "H"},
    {"eager", CONF_BOOL, AT(eager), "false", .letter = 'e', .help = "H"},
    {"lease", CONF_SPAN, AT(lease), "15s", 500, 600000, .help = "H"},
    {"unset", CONF_SPAN, AT(unset), NULL, 500, 600000, .help = "H"},
    {"mode", CONF_CHOICE, AT(mode), "enforce", .choices = "observe|notify|enforce", .help = "H"},
    {"password_file", CONF_SECRET_FILE, AT(password), NULL, .help = "H"},
    {"tags", CONF_TEXT_LIST, AT(tags), NULL, .help = "H"},
    {"words", CONF_TEXT_LIST, AT(words), "a,b", .help = "H"},
};

static bool is_sound(const void *settings, const char **why)
{
    const struct settings *these = settings;
    *why = "max_runs: 13 brings bad luck";
    return these->max_runs != 13;
}

static const char *const ignored[] = {"BRAKEWIRE_RUN_TOKEN", NULL};
static struct conf_program program = {
    .name = "story",
    .about = "A program.",
    .usage = "story [OPTIONS]",
    .examples = "  story --help\n",
    .option = options,
    .option_count = sizeof options / sizeof *options,
    .env_ignored = ignored,
    .is_sound = is_sound,
    .takes_file = true,
};

struct scene {
    struct settings settings;
    enum conf_outcome outcome;
    int rest_at;
    char *out, *err;
    char file[64], secret[64];
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void forget(struct scene *scene)
{
    conf_fini(&program, &scene->settings);
    free(scene->out);
    free(scene->err);
    scene->out = scene->err = NULL;
}

/* `words`: the command line, words ended by '|'. */
static void run(struct scene *scene, const char *words)
{
    char text[512], *argv[32] = {(char[]){"story"}};
    int argc = 1;
    size_t out_len, err_len;
    forget(scene);
    strcpy(text, words);
    for (char *at = text, *end; (end = strchr(at, '|')) != NULL; at = end + 1) {
        *end = '\0';
        argv[argc++] = at;
    }
    FILE *out = open_memstream(&scene->out, &out_len), *err = open_memstream(&scene->err, &err_len);
    scene->outcome = conf_read(&program, argc, argv, &scene->settings, &scene->rest_at, out, err);
    fclose(out);
    fclose(err);
}

static void expect_refused(struct scene *scene, const char *words, const char *message)
{
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_BAD);
    assert_string_equal(scene->err, message);
    assert_null(scene->settings.redis_url);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    strcpy(scene->file, "/tmp/conf-file-XXXXXX");
    strcpy(scene->secret, "/tmp/conf-secret-XXXXXX");
    close(mkstemp(scene->file));
    close(mkstemp(scene->secret));
    program.takes_rest = false;
    clearenv();
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    forget(scene);
    unlink(scene->file);
    unlink(scene->secret);
    free(scene);
    clearenv();
    return 0;
}

static void nothing_given_means_the_defaults(void **state)
{
    struct scene *scene = *state;
    run(scene, "");
    assert_int_equal(scene->outcome, CONF_GO);
    assert_string_equal(scene->settings.redis_url, "redis://here");
    assert_null(scene->settings.note);
    assert_int_equal(scene->settings.max_runs, 10);
    assert_int_equal(scene->settings.offset, -3);
    assert_false(scene->settings.eager);
    assert_int_equal(scene->settings.lease.ms, 15000);
    assert_int_equal(scene->settings.mode, 2);
    assert_int_equal(scene->settings.words.count, 2);
    assert_int_equal(scene->settings.tags.count, 0);
}

static void a_flag_beats_the_environment_and_that_the_file(void **state)
{
    struct scene *scene = *state;
    char words[128];
    write_file(scene->file, "# comment\n\n max_runs = 20 \nlease = 20s\nmode=observe\n");
    snprintf(words, sizeof words, "--config=%s|--max-runs=40|", scene->file);
    setenv("BRAKEWIRE_MAX_RUNS", "30", 1);
    setenv("BRAKEWIRE_LEASE", "30s", 1);
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_GO);
    assert_int_equal(scene->settings.max_runs, 40);
    assert_int_equal(scene->settings.lease.ms, 30000);
    assert_int_equal(scene->settings.mode, 0);
    setenv("BRAKEWIRE_CONFIG", scene->file, 1);
    run(scene, "");
    assert_int_equal(scene->settings.max_runs, 30);
    assert_int_equal(scene->settings.mode, 0);
}

static void a_value_that_is_overridden_is_not_looked_at(void **state)
{
    struct scene *scene = *state;
    setenv("BRAKEWIRE_MAX_RUNS", "nonsense", 1);
    run(scene, "--max-runs=40|");
    assert_int_equal(scene->outcome, CONF_GO);
}

static void flags_have_several_spellings(void **state)
{
    struct scene *scene = *state;
    run(scene, "-r|u1|--max-runs|7|-e|--tags=a, b|--tags|c|--lease=250ms|--lease=1500|");
    assert_int_equal(scene->outcome, CONF_GO);
    assert_string_equal(scene->settings.redis_url, "u1");
    assert_int_equal(scene->settings.max_runs, 7);
    assert_true(scene->settings.eager);
    assert_int_equal(scene->settings.lease.ms, 1500);
    assert_int_equal(scene->settings.tags.count, 3);
    assert_string_equal(scene->settings.tags.item[1], "b");
    assert_string_equal(scene->settings.tags.item[2], "c");
    run(scene, "-ru2|--eager=no|--note=|--words=|");
    assert_string_equal(scene->settings.redis_url, "u2");
    assert_false(scene->settings.eager);
    assert_string_equal(scene->settings.note, "");
    assert_int_equal(scene->settings.words.count, 0);
}

static void words_after_the_options_are_left_or_refused(void **state)
{
    struct scene *scene = *state;
    expect_refused(scene, "-e|word|",
                   "story: word: only options are expected here (--help lists them)\n");
    program.takes_rest = true;
    run(scene, "-e|cancel|--force|");
    assert_int_equal(scene->outcome, CONF_GO);
    assert_int_equal(scene->rest_at, 2);
    run(scene, "-e|--|--force|");
    assert_int_equal(scene->rest_at, 3);
}

static void what_is_unknown_is_named_with_the_nearest(void **state)
{
    struct scene *scene = *state;
    char words[128], message[256];
    expect_refused(scene, "--redis-ulr=x|",
                   "story: --redis-ulr=x: no such option; did you mean "
                   "--redis-url? (--help lists them)\n");
    expect_refused(scene, "--qqqqqqqqqqqq|",
                   "story: --qqqqqqqqqqqq: no such option (--help lists them)\n");
    expect_refused(scene, "-x|", "story: -x: no such option (--help lists them)\n");
    expect_refused(scene, "--lease|", "story: --lease needs a value\n");
    write_file(scene->file, "\nmaxruns = 3\n");
    snprintf(words, sizeof words, "--config=%s|", scene->file);
    snprintf(message, sizeof message,
             "story: %s:2: maxruns: no such option; did you mean max_runs?\n", scene->file);
    expect_refused(scene, words, message);
    setenv("BRAKEWIRE_MODES", "x", 1);
    setenv("BRAKEWIRE_RUN_TOKEN", "is not ours to judge", 1);
    setenv("BRAKEWIRE_BROKER_SERVICE_HOST", "10.0.0.7", 1); /* Kubernetes says so to every pod */
    setenv("BRAKEWIRE_BROKER_PORT", "tcp://10.0.0.7:7319", 1);
    setenv("BRAKEWIRE_BROKER_PORT_7319_TCP_ADDR", "10.0.0.7", 1);
    expect_refused(scene, "",
                   "story: BRAKEWIRE_MODES in the environment: no such option; did you "
                   "mean BRAKEWIRE_MODE?\n");
}

static void a_bad_value_is_told_with_its_origin_and_what_would_be_right(void **state)
{
    struct scene *scene = *state;
    char words[128], message[256];
    expect_refused(scene, "--lease=2x|",
                   "story: --lease=2x is no length of time; write it like "
                   "500ms, 10s, 5m or 24h\n");
    expect_refused(scene, "--lease=1|", "story: --lease=1 must be from 500ms to 10m\n");
    expect_refused(scene, "--max-runs=0x1|", "story: --max-runs=0x1 is no whole number\n");
    expect_refused(scene, "--max-runs=1001|", "story: --max-runs=1001 must be from 1 to 1000\n");
    expect_refused(scene, "--eager=maybe|", "story: --eager=maybe must be true or false\n");
    expect_refused(scene, "--lease=9223372036854775807h|",
                   "story: --lease=9223372036854775807h is no length of time; write it like 500ms, "
                   "10s, 5m or 24h\n");
    expect_refused(scene, "--password-file=/nowhere|",
                   "story: --password-file=/nowhere cannot be read: No such file or directory\n");
    expect_refused(scene, "--max-runs=13|", "story: max_runs: 13 brings bad luck\n");
    setenv("BRAKEWIRE_MODE", "loud", 1);
    expect_refused(scene, "",
                   "story: BRAKEWIRE_MODE=loud in the environment must be one of "
                   "observe, notify, enforce\n");
    unsetenv("BRAKEWIRE_MODE");
    write_file(scene->file, "lease = 15s\nmax_runs = many\n");
    snprintf(words, sizeof words, "--config=%s|", scene->file);
    snprintf(message, sizeof message, "story: %s:2: max_runs = many is no whole number\n",
             scene->file);
    expect_refused(scene, words, message);
}

static void a_broken_file_is_refused_line_by_line(void **state)
{
    struct scene *scene = *state;
    char words[128], message[512];
    write_file(scene->file, "mode\nlease = 1s\nlease = 2s\nnote = \"open\n");
    snprintf(words, sizeof words, "--config=%s|", scene->file);
    snprintf(message, sizeof message,
             "story: %s:1: a line is written `name = value`\n"
             "story: %s:3: lease: was given further up already\n"
             "story: %s:4: note: a quote is not closed\n",
             scene->file, scene->file, scene->file);
    expect_refused(scene, words, message);
    expect_refused(scene, "--config=/nowhere|",
                   "story: /nowhere: cannot be read: No such file or directory\n");
}

static void a_secret_is_read_from_its_file_and_shown_as_its_path(void **state)
{
    struct scene *scene = *state;
    char words[128], line[128];
    write_file(scene->secret, "pass word\n");
    snprintf(words, sizeof words, "--password-file=%s|", scene->secret);
    snprintf(line, sizeof line, "password_file = %s\n", scene->secret);
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_GO);
    assert_string_equal(scene->settings.password, "pass word");
    strcat(words, "--print-config|");
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_DONE);
    assert_non_null(strstr(scene->out, line));
    assert_null(strstr(scene->out, "pass word"));
    write_file(scene->secret, "\n");
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_BAD);
    assert_non_null(strstr(scene->err, "is empty"));
}

static void a_file_that_others_may_change_or_spy_on_is_refused(void **state)
{
    struct scene *scene = *state;
    char words[128], message[192];
    snprintf(words, sizeof words, "--config=%s|", scene->file);
    write_file(scene->file, "redis_url = redis://me:secret@here/0\n");
    assert_int_equal(chmod(scene->file, 0640), 0);
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_GO);
    assert_int_equal(chmod(scene->file, 0644), 0);
    snprintf(message, sizeof message, "story: %s: can be read by everybody: chmod 600 %s\n",
             scene->file, scene->file);
    expect_refused(scene, words, message);
    write_file(scene->file, "redis_url = redis://me@here:1/0\nnote = a:b@c\n"); /* no secret */
    run(scene, words);
    assert_int_equal(scene->outcome, CONF_GO);
    assert_int_equal(chmod(scene->file, 0662), 0);
    snprintf(message, sizeof message, "story: %s: can be written by everybody: chmod o-w %s\n",
             scene->file, scene->file);
    expect_refused(scene, words, message);
}

static void help_tells_all_that_the_table_knows(void **state)
{
    struct scene *scene = *state;
    run(scene, "--help|");
    assert_int_equal(scene->outcome, CONF_DONE);
    assert_non_null(strstr(scene->out, "Usage: story [OPTIONS]\n\nA program.\n"));
    assert_non_null(strstr(scene->out, "  -r, --redis-url=URL\n        H\n"
                                       "        (default redis://here; BRAKEWIRE_REDIS_URL)\n"));
    assert_non_null(strstr(scene->out, "      --lease=TIME\n        H\n"
                                       "        (500ms to 10m; default 15s; BRAKEWIRE_LEASE)\n"));
    assert_non_null(strstr(scene->out, "(observe, notify, enforce; default enforce; "));
    assert_non_null(strstr(scene->out, "--config=PATH"));
    assert_non_null(strstr(scene->out, "\nExamples:\n  story --help\n"));
    run(scene, "--version|");
    assert_int_equal(scene->outcome, CONF_DONE);
    assert_memory_equal(scene->out, "story ", 6);
    run(scene, "--check-config|");
    assert_int_equal(scene->outcome, CONF_DONE);
    assert_string_equal(scene->out, "story: the configuration makes sense\n");
    expect_refused(scene, "--check-config|--max-runs=13|", "story: max_runs: 13 brings bad luck\n");
}

static char *random_text(struct rng *rng, const char *alphabet)
{
    char text[12];
    size_t len = rng_below(rng, sizeof text);
    for (size_t i = 0; i < len; i++)
        text[i] = alphabet[rng_below(rng, (uint32_t)strlen(alphabet))];
    return strndup(text, len);
}

static void make_random(struct rng *rng, const char *secret, struct settings *out)
{
    static const char any[] = "ab =#\"\\\n\r\t,'|";
    *out = (struct settings){
        .redis_url = random_text(rng, any),
        .note = rng_below(rng, 2) == 0 ? NULL : random_text(rng, any),
        .max_runs = 20 + (int64_t)rng_below(rng, 900),
        .offset = (int64_t)rng_next(rng),
        .eager = rng_below(rng, 2) == 1,
        .lease.ms = 500 + (int64_t)rng_below(rng, 10) * 1000 + rng_below(rng, 2),
        .unset.ms = rng_below(rng, 2) == 0 ? 0 : 60000,
        .mode = (int)rng_below(rng, 3),
    };
    struct conf_list *lists[] = {&out->tags, &out->words};
    for (int i = 0; i < 2; i++) {
        lists[i]->item = calloc(4, sizeof *lists[i]->item);
        for (uint32_t n = rng_below(rng, 4); n > 0; n--) {
            char *item = random_text(rng, "ab=#\"\\\n");
            lists[i]->item[lists[i]->count] = item;
            lists[i]->count += item[0] != '\0' ? 1 : 0;
            if (item[0] == '\0')
                free(item);
        }
    }
    /* as conf keeps it: the content, then the path */
    out->password = calloc(1, 200);
    strcpy(out->password, "s3cret");
    strcpy(out->password + strlen("s3cret") + 1, secret);
}

static void expect_same_list(const struct conf_list *a, const struct conf_list *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        assert_string_equal(a->item[i], b->item[i]);
}

static void expect_same(const struct settings *a, const struct settings *b)
{
    assert_string_equal(a->redis_url, b->redis_url);
    assert_int_equal(a->note == NULL, b->note == NULL);
    if (a->note != NULL)
        assert_string_equal(a->note, b->note);
    assert_string_equal(a->password, b->password);
    assert_true(a->max_runs == b->max_runs && a->offset == b->offset && a->eager == b->eager);
    assert_true(a->lease.ms == b->lease.ms && a->unset.ms == b->unset.ms && a->mode == b->mode);
    expect_same_list(&a->tags, &b->tags);
    expect_same_list(&a->words, &b->words);
}

static void whatever_is_printed_reads_back_the_same(void **state)
{
    struct scene *scene = *state;
    struct rng rng = {7};
    char words[128];
    write_file(scene->secret, "s3cret\n");
    snprintf(words, sizeof words, "--config=%s|", scene->file);
    for (int i = 0; i < 500; i++) {
        struct settings made;
        make_random(&rng, scene->secret, &made);
        FILE *file = fopen(scene->file, "w");
        conf_print(&program, &made, file);
        fclose(file);
        run(scene, words);
        if (scene->outcome != CONF_GO)
            fail_msg("round %d: %s", i, scene->err);
        expect_same(&made, &scene->settings);
        conf_fini(&program, &made);
    }
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(nothing_given_means_the_defaults),
        STORY(a_flag_beats_the_environment_and_that_the_file),
        STORY(a_value_that_is_overridden_is_not_looked_at),
        STORY(flags_have_several_spellings),
        STORY(words_after_the_options_are_left_or_refused),
        STORY(what_is_unknown_is_named_with_the_nearest),
        STORY(a_bad_value_is_told_with_its_origin_and_what_would_be_right),
        STORY(a_broken_file_is_refused_line_by_line),
        STORY(a_secret_is_read_from_its_file_and_shown_as_its_path),
        STORY(a_file_that_others_may_change_or_spy_on_is_refused),
        STORY(help_tells_all_that_the_table_knows),
        STORY(whatever_is_printed_reads_back_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
