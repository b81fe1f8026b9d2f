/* libbrakewire as programs use it, beside real agentds on a real Redis. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "brakewire/brakewire.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct service agentd, other; /* other: where somebody else is */

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    sidecar_start(&agentd, &redis, NULL);
    sidecar_start(&other, &redis, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&other);
    redis_process_end(&redis);
    return 0;
}

/* ---- a program ----------------------------------------------------------------------------- */

struct program {
    struct bw_client *client;
    atomic_int warnings, notices;
    char warning[512], reason[64];
    enum bw_action action;
};

static void on_log(void *owner, enum bw_log_level level, const char *text)
{
    struct program *program = owner;
    if (level != BW_LOG_WARNING)
        return;
    snprintf(program->warning, sizeof program->warning, "%s", text);
    atomic_fetch_add(&program->warnings, 1);
}

static void on_cancel(void *owner, struct bw_run *run, const struct bw_cancel *cancel)
{
    struct program *program = owner;
    assert_true(bw_run_is_cancelled(run));
    snprintf(program->reason, sizeof program->reason, "%s", cancel->reason);
    program->action = cancel->action;
    atomic_fetch_add(&program->notices, 1);
}

static void program_open_at(struct program *program, const char *where)
{
    *program = (struct program){0};
    struct bw_client_options options = {.agentd = where, .on_log = on_log, .owner = program};
    assert_int_equal(bw_client_open(&options, &program->client), BW_OK);
}

static void program_open(struct program *program)
{
    program_open_at(program, agentd.where);
}

static struct bw_run *start(struct program *program, struct bw_run_params params)
{
    struct bw_run *run = NULL;
    enum bw_err err = bw_run_start(program->client, &params, &run);
    if (err != BW_OK)
        fail_msg("not started: %s: %s", bw_err_text(err), bw_why());
    return run;
}

/* Who looks from outside, as an operator. */
static json_t *shown(const struct service *at, const char *run)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", run);
    return sidecar_call(at, NULL, 200, "GET", path, "%s", "");
}

static void expect_state(const struct service *at, const char *run, const char *wanted)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", run);
    service_wait_for(at, NULL, path, "state", wanted);
}

static void cancel_at(const struct service *at, const char *run, const char *body)
{
    char path[160];
    json_t *answer;
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run);
    assert_in_range(service_call(at, NULL, "POST", path, body, &answer), 200, 202);
    json_decref(answer);
}

#define WAIT_UNTIL(condition)                           \
    for (struct waiting wait_ = WAITING; !(condition);) \
    waiting_turn(&wait_)

/* ---- a run's life -------------------------------------------------------------------------- */

static void a_run_starts_has_children_and_ends(void **state)
{
    (void)state;
    struct program program;
    const struct bw_label labels[] = {{"version", "1.4"}};
    program_open(&program);
    struct bw_run *top = start(&program, (struct bw_run_params){.agent = "planner",
                                                                .thread_id = "t-1",
                                                                .labels = labels,
                                                                .label_count = 1,
                                                                .entry = true});
    struct bw_run *child = start(&program, (struct bw_run_params){.baggage = bw_run_baggage(top)});
    assert_string_equal(bw_run_root(top), bw_run_id(top));
    assert_string_equal(bw_run_root(child), bw_run_id(top));
    assert_int_equal(bw_run_epoch(child), 1);
    assert_true(bw_run_is_protected(child));
    assert_false(bw_run_is_cancelled(child));
    struct bw_cancel cancel;
    assert_false(bw_run_cancel(child, &cancel));
    json_t *seen = shown(&agentd, bw_run_id(top));
    assert_string_equal(json_word(seen, "agent"), "planner");
    assert_string_equal(json_word(seen, "thread_id"), "t-1");
    json_decref(seen);
    char ids[2][80];
    snprintf(ids[0], sizeof ids[0], "%s", bw_run_id(top));
    snprintf(ids[1], sizeof ids[1], "%s", bw_run_id(child));
    assert_int_equal(bw_run_end(child, BW_ERROR), BW_OK);
    assert_int_equal(bw_run_end(top, BW_SUCCESS), BW_OK);
    expect_state(&agentd, ids[1], "error");
    expect_state(&agentd, ids[0], "success");
    assert_int_equal(atomic_load(&program.warnings), 0);
    bw_client_close(program.client);
}

static void where_it_belongs_comes_from_the_environment_too(void **state)
{
    (void)state;
    struct program program;
    program_open(&program);
    struct bw_run *top = start(&program, (struct bw_run_params){.entry = true});
    setenv("BAGGAGE", bw_run_baggage(top), 1);
    struct bw_run *child = start(&program, (struct bw_run_params){0});
    struct bw_run *entry = start(&program, (struct bw_run_params){.entry = true});
    unsetenv("BAGGAGE");
    assert_string_equal(bw_run_root(child), bw_run_id(top));
    assert_string_equal(bw_run_root(entry), bw_run_id(entry));
    struct bw_run *named = start(&program, (struct bw_run_params){.parent = bw_run_id(child)});
    assert_string_equal(bw_run_root(named), bw_run_id(top));
    struct bw_run *const all[] = {named, entry, child, top};
    for (int i = 0; i < 4; i++)
        assert_int_equal(bw_run_end(all[i], BW_SUCCESS), BW_OK);
    bw_client_close(program.client);
}

static void a_request_that_has_baggage_gets_one_header(void **state)
{
    (void)state;
    struct program program;
    char header[8193], expected[512], short_one[8];
    program_open(&program);
    struct bw_run *run =
        start(&program, (struct bw_run_params){.baggage = "x=1,y=2", .deadline_ms = 60000});
    size_t len = bw_run_baggage_for(run, "brakewire=1.stale,y=3", header, sizeof header);
    assert_int_equal(len, strlen(header));
    snprintf(expected, sizeof expected, "brakewire=1.%s,brakewire-ttl=", bw_run_id(run));
    assert_memory_equal(header, expected, strlen(expected));
    int left = 0;
    char rest[32] = "";
    assert_int_equal(sscanf(header + strlen(expected), "%d,%31s", &left, rest), 2);
    assert_in_range(left, 1, 60000);
    assert_string_equal(rest, "y=3,x=1");
    assert_int_equal(bw_run_baggage_for(run, NULL, short_one, sizeof short_one) > 8, true);
    assert_string_equal(short_one, "brakewi");
    assert_int_equal(bw_run_end(run, BW_SUCCESS), BW_OK);
    bw_client_close(program.client);
}

/* ---- being told ---------------------------------------------------------------------------- */

static void a_cancel_is_told_once_and_acknowledged(void **state)
{
    (void)state;
    struct program program;
    program_open(&program);
    struct bw_run *run =
        start(&program,
              (struct bw_run_params){.entry = true, .on_cancel = on_cancel, .owner = &program});
    char id[80];
    snprintf(id, sizeof id, "%s", bw_run_id(run));
    cancel_at(&other, id, "{\"action\":\"rollback\",\"reason\":\"too expensive\"}");
    WAIT_UNTIL(atomic_load(&program.notices) == 1);
    assert_string_equal(program.reason, "too expensive");
    assert_int_equal(program.action, BW_ROLLBACK);
    struct bw_cancel cancel;
    assert_true(bw_run_cancel(run, &cancel));
    assert_string_equal(cancel.run_id, id);
    assert_in_range(cancel.grace_ms, 1, 10000);
    struct waiting wait = WAITING;
    for (bool is_acknowledged = false; !is_acknowledged; waiting_turn(&wait)) {
        json_t *seen = shown(&agentd, id);
        is_acknowledged = json_word(seen, "stop.acknowledged_at")[0] != '\0';
        json_decref(seen);
    }
    assert_int_equal(bw_run_ack(run, BW_CLEANED_UP), BW_OK);
    assert_int_equal(bw_run_end(run, BW_ROLLED_BACK), BW_OK);
    expect_state(&agentd, id, "rolled_back");
    assert_int_equal(atomic_load(&program.notices), 1);
    bw_client_close(program.client);
}

static void of_two_runs_one_is_told(void **state)
{
    (void)state;
    struct program program;
    program_open(&program);
    struct bw_run *run[2];
    for (int i = 0; i < 2; i++)
        run[i] = start(&program, (struct bw_run_params){.entry = true});
    cancel_at(&other, bw_run_id(run[0]), "{}");
    WAIT_UNTIL(bw_run_is_cancelled(run[0])); /* without a callback */
    assert_false(bw_run_is_cancelled(run[1]));
    assert_int_equal(bw_run_end(run[1], BW_CANCELLED), BW_ERR_NOT_CANCELLED);
    assert_true(bw_why()[0] != '\0');
    assert_int_equal(bw_run_end(run[1], BW_SUCCESS), BW_OK);
    char id[80];
    snprintf(id, sizeof id, "%s", bw_run_id(run[0]));
    assert_int_equal(bw_run_end(run[0], BW_SUCCESS), BW_OK);
    expect_state(&agentd, id, "cancelled");
    bw_client_close(program.client);
}

static void nothing_starts_below_a_cancel(void **state)
{
    (void)state;
    struct program program;
    struct bw_run *child = NULL;
    program_open(&program);
    struct bw_run *top = start(&program, (struct bw_run_params){.entry = true});
    cancel_at(&other, bw_run_id(top), "{\"reason\":\"enough\"}");
    WAIT_UNTIL(bw_run_is_cancelled(top));
    struct bw_run_params params = {.baggage = bw_run_baggage(top)};
    assert_int_equal(bw_run_start(program.client, &params, &child), BW_ERR_CANCELLED);
    assert_null(child);
    assert_true(bw_why()[0] != '\0');
    assert_int_equal(bw_run_end(top, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
}

static void what_is_wrong_with_a_run_is_said(void **state)
{
    (void)state;
    struct program program;
    struct bw_run *run = NULL;
    program_open(&program);
    struct bw_run_params bad_id = {.run_id = "not an id"}, bad_text = {.agent = "\xff"};
    assert_int_equal(bw_run_start(program.client, &bad_id, &run), BW_ERR_REFUSED);
    assert_non_null(strstr(bw_why(), "run_id"));
    assert_int_equal(bw_run_start(program.client, &bad_text, &run), BW_ERR_INVALID);
    assert_null(run);
    run = start(&program, (struct bw_run_params){0});
    struct bw_cancel_params elsewhere = {.run_id = "../x"};
    assert_int_equal(bw_run_cancel_children(run, &elsewhere, NULL), BW_ERR_INVALID);
    assert_int_equal(bw_run_fence(run, NULL, NULL, 0, NULL), BW_ERR_INVALID);
    assert_int_equal(bw_run_fence(run, "\xff", NULL, 0, NULL), BW_ERR_INVALID);
    assert_int_equal(bw_run_end(run, BW_SUCCESS), BW_OK);
    bw_client_close(program.client);
}

static void what_is_wrong_with_a_client_is_said(void **state)
{
    (void)state;
    struct bw_client *client;
    char long_path[128];
    snprintf(long_path, sizeof long_path, "/%0107d", 0); /* a byte too many for a socket */
    const char *const bad[] = {"ftp://x", "unix:",   "unix:x",    "x",
                               "",        "http://", "http://[x", long_path};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (bw_client_open(&(struct bw_client_options){.agentd = bad[i]}, &client)
            != BW_ERR_INVALID)
            fail_msg("%s is taken", bad[i]);
        assert_non_null(strstr(bw_why(), "unix:/path"));
    }
    assert_int_equal(bw_client_open(&(struct bw_client_options){.token = "short"}, &client),
                     BW_ERR_INVALID);
}

/* ---- what a run may ask -------------------------------------------------------------------- */

static void one_last_checkpoint_is_granted(void **state)
{
    (void)state;
    struct program program;
    bool is_last = true;
    program_open(&program);
    struct bw_run *run = start(&program, (struct bw_run_params){.entry = true});
    assert_int_equal(bw_run_fence(run, "w1", NULL, 0, &is_last), BW_OK);
    assert_false(is_last);
    cancel_at(&other, bw_run_id(run), "{}");
    WAIT_UNTIL(bw_run_is_cancelled(run));
    assert_int_equal(bw_run_fence(run, "w2", "a state of 5", 12, &is_last), BW_OK);
    assert_true(is_last);
    assert_int_equal(bw_run_fence(run, "w2", NULL, 0, &is_last), BW_OK);
    assert_int_equal(bw_run_fence(run, "w3", NULL, 0, NULL), BW_ERR_FROZEN);
    assert_int_equal(bw_run_end(run, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
}

static void children_are_cancelled_and_the_run_goes_on(void **state)
{
    (void)state;
    struct program program;
    bool is_complete = true;
    program_open(&program);
    struct bw_run *top = start(&program, (struct bw_run_params){.entry = true});
    struct bw_run *child[2];
    for (int i = 0; i < 2; i++)
        child[i] = start(&program, (struct bw_run_params){.baggage = bw_run_baggage(top)});
    struct bw_cancel_params one = {.run_id = bw_run_id(child[0]), .reason = "slow"};
    assert_int_equal(bw_run_cancel_children(top, &one, &is_complete), BW_OK);
    assert_false(is_complete);
    WAIT_UNTIL(bw_run_is_cancelled(child[0]));
    assert_false(bw_run_is_cancelled(child[1]));
    assert_int_equal(bw_run_cancel_children(top, NULL, NULL), BW_OK);
    WAIT_UNTIL(bw_run_is_cancelled(child[1]));
    assert_false(bw_run_is_cancelled(top));
    for (int i = 0; i < 2; i++)
        assert_int_equal(bw_run_end(child[i], BW_CANCELLED), BW_OK);
    struct bw_cancel_params all = {.wait = BW_WAIT_STOPPED, .timeout_ms = 20000};
    assert_int_equal(bw_run_cancel_children(top, &all, &is_complete), BW_OK);
    assert_true(is_complete);
    assert_int_equal(bw_run_end(top, BW_SUCCESS), BW_OK);
    bw_client_close(program.client);
}

static void a_link_leads_into_another_tree(void **state)
{
    (void)state;
    struct program program;
    char from[160];
    program_open(&program);
    struct bw_run *here = start(&program, (struct bw_run_params){.entry = true});
    assert_int_equal(bw_run_link(here, &(struct bw_link){.to = "there-by-link"}), BW_OK);
    struct bw_link graph = {.kind = "langgraph", .url = "http://127.0.0.1:1", .thread_id = "t"};
    assert_int_equal(bw_run_link(here, &graph), BW_ERR_REFUSED);
    assert_non_null(strstr(bw_why(), "run_id"));
    snprintf(from, sizeof from, "%s/%s", bw_run_root(here), bw_run_id(here));
    struct bw_run *there = start(&program, (struct bw_run_params){.entry = true,
                                                                  .run_id = "there-by-link",
                                                                  .linked_from = from});
    cancel_at(&other, bw_run_id(here), "{}");
    WAIT_UNTIL(bw_run_is_cancelled(here) && bw_run_is_cancelled(there));
    assert_int_equal(bw_run_link(here, &(struct bw_link){.to = "too-late"}), BW_ERR_CANCELLED);
    assert_int_equal(bw_run_end(there, BW_CANCELLED), BW_OK);
    assert_int_equal(bw_run_end(here, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
}

/* ---- agentds that go and come -------------------------------------------------------------- */

static void an_agentd_that_was_restarted_is_told_of_the_runs(void **state)
{
    (void)state;
    struct program program;
    program_open(&program);
    struct bw_run *run[2];
    for (int i = 0; i < 2; i++)
        run[i] =
            start(&program,
                  (struct bw_run_params){.entry = true, .on_cancel = on_cancel, .owner = &program});
    WAIT_UNTIL(bw_client_is_linked(program.client));
    service_signal(&agentd, SIGKILL);
    service_wait(&agentd);
    WAIT_UNTIL(!bw_client_is_linked(program.client));
    cancel_at(&other, bw_run_id(run[0]), "{\"reason\":\"while it was away\"}");
    const char *baggage = bw_run_baggage(run[1]);
    sidecar_start_again(&agentd, &redis, NULL);
    WAIT_UNTIL(bw_client_is_linked(program.client) && atomic_load(&program.notices) == 1);
    assert_true(bw_run_is_cancelled(run[0]));
    assert_string_equal(program.reason, "while it was away");
    assert_false(bw_run_is_cancelled(run[1]));
    expect_state(&agentd, bw_run_id(run[1]), "running");
    assert_int_equal(bw_run_epoch(run[1]), 1);
    assert_ptr_equal(bw_run_baggage(run[1]), baggage); /* said once more is kept once */
    assert_int_equal(bw_run_fence(run[1], "w", NULL, 0, NULL), BW_OK);
    assert_int_equal(bw_run_end(run[0], BW_CANCELLED), BW_OK);
    assert_int_equal(bw_run_end(run[1], BW_SUCCESS), BW_OK);
    assert_int_equal(atomic_load(&program.notices), 1);
    bw_client_close(program.client);
}

static void note_answer(void *owner, const struct bw_answer *answer)
{
    atomic_store((atomic_int *)owner, (int)answer->err + 1);
}

static void an_end_is_told_when_the_agentd_is_back(void **state)
{
    (void)state;
    struct program program;
    atomic_int ended = 0;
    char id[80];
    program_open(&program);
    struct bw_run *run = start(&program, (struct bw_run_params){.entry = true});
    snprintf(id, sizeof id, "%s", bw_run_id(run));
    WAIT_UNTIL(bw_client_is_linked(program.client));
    service_signal(&agentd, SIGKILL);
    service_wait(&agentd);
    assert_int_equal(bw_run_end_then(run, BW_SUCCESS, note_answer, &ended), BW_OK);
    sidecar_start_again(&agentd, &redis, NULL);
    WAIT_UNTIL(atomic_load(&ended) != 0);
    assert_int_equal(atomic_load(&ended), BW_OK + 1);
    expect_state(&agentd, id, "success");
    bw_client_close(program.client);
}

static void without_an_agentd_runs_go_on_until_there_is_one(void **state)
{
    (void)state;
    struct program program;
    struct service late;
    /* a socket that nobody serves yet: of an agentd that was here before */
    sidecar_start(&late, &redis, NULL);
    service_signal(&late, SIGKILL);
    service_wait(&late);
    program_open_at(&program, late.where);
    struct bw_run *run[2];
    for (int i = 0; i < 2; i++)
        run[i] = start(&program, (struct bw_run_params){.baggage = "brakewire=1.a.b,x=1"});
    assert_int_equal(atomic_load(&program.warnings), 1);
    assert_non_null(strstr(program.warning, late.where));
    assert_string_equal(bw_run_id(run[0]), "");
    assert_false(bw_run_is_protected(run[0]) || bw_run_is_cancelled(run[0]));
    assert_string_equal(bw_run_baggage(run[0]), "brakewire=1.a.b,x=1");
    assert_int_equal(bw_run_fence(run[0], "w", NULL, 0, NULL), BW_OK);
    assert_int_equal(bw_run_link(run[0], &(struct bw_link){.to = "r"}), BW_ERR_OFFLINE);
    assert_int_equal(bw_run_end(run[1], BW_SUCCESS), BW_OK);
    sidecar_start_again(&late, &redis, NULL);
    WAIT_UNTIL(bw_run_id(run[0])[0] != '\0' && bw_client_is_linked(program.client));
    assert_string_equal(bw_run_root(run[0]), "a");
    assert_non_null(strstr(bw_run_baggage(run[0]), bw_run_id(run[0])));
    cancel_at(&other, bw_run_id(run[0]), "{}");
    WAIT_UNTIL(bw_run_is_cancelled(run[0]));
    assert_int_equal(bw_run_end(run[0], BW_CANCELLED), BW_OK);
    assert_int_equal(atomic_load(&program.warnings), 1);
    bw_client_close(program.client);
    service_stop(&late);
}

/* The tree of a run that nobody could register was cancelled meanwhile. */
static void a_run_that_registers_too_late_is_told(void **state)
{
    (void)state;
    struct program program;
    struct service late;
    sidecar_start(&late, &redis, NULL);
    service_signal(&late, SIGKILL);
    service_wait(&late);
    struct started top = sidecar_run(&other, NULL, "{}");
    program_open_at(&program, late.where);
    struct bw_run *run = start(&program, (struct bw_run_params){.baggage = top.baggage,
                                                                .on_cancel = on_cancel,
                                                                .owner = &program});
    cancel_at(&other, top.run, "{\"reason\":\"gone by\"}");
    sidecar_start_again(&late, &redis, NULL);
    WAIT_UNTIL(bw_run_is_cancelled(run) && atomic_load(&program.notices) == 1);
    assert_string_equal(program.reason, "gone by");
    assert_int_equal(bw_run_end(run, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
    service_stop(&late);
}

static void a_program_may_insist_on_an_agentd(void **state)
{
    (void)state;
    struct bw_client *client;
    struct bw_run *run = NULL;
    struct bw_client_options options = {.agentd = "/nowhere/agentd.sock", .require_agentd = true};
    assert_int_equal(bw_client_open(&options, &client), BW_OK);
    assert_int_equal(bw_run_start(client, NULL, &run), BW_ERR_OFFLINE);
    assert_null(run);
    assert_false(bw_client_is_linked(client));
    bw_client_close(client);
}

/* A run that another life has taken over is not ours to carry any more. */
static void a_run_that_was_taken_over_stops(void **state)
{
    (void)state;
    struct program program;
    program_open(&program);
    struct bw_run *run = start(&program, (struct bw_run_params){.entry = true,
                                                                .on_lost = BW_ON_LOST_TAKEOVER,
                                                                .on_cancel = on_cancel,
                                                                .owner = &program});
    WAIT_UNTIL(bw_client_is_linked(program.client));
    json_t *taken =
        sidecar_call(&other, NULL, 201, "POST", "/v1/runs",
                     "{\"run_id\":\"%s\",\"epoch\":1,\"takeover\":true}", bw_run_id(run));
    assert_int_equal(json_integer_value(json_member(taken, "epoch")), 2);
    json_decref(taken);
    assert_int_equal(bw_run_fence(run, "w", NULL, 0, NULL), BW_ERR_FENCED);
    WAIT_UNTIL(bw_run_is_cancelled(run));
    WAIT_UNTIL(atomic_load(&program.notices) == 1);
    assert_string_equal(program.reason, "fenced");
    assert_int_equal(bw_run_end(run, BW_SUCCESS), BW_ERR_FENCED);
    bw_client_close(program.client);
}

/* Two threads: what one of them asks is answered, whatever the end that the other sent did to the
 * run. Both wait for an agentd that does not hold the run any more when it is back. */
static void an_end_answers_what_else_was_asked(void **state)
{
    (void)state;
    struct program program;
    atomic_int ended = 0, acknowledged = 0;
    program_open(&program);
    struct bw_run *run =
        start(&program, (struct bw_run_params){.entry = true, .on_lost = BW_ON_LOST_TAKEOVER});
    WAIT_UNTIL(bw_client_is_linked(program.client));
    service_signal(&agentd, SIGKILL);
    service_wait(&agentd);
    WAIT_UNTIL(!bw_client_is_linked(program.client));
    json_decref(sidecar_call(&other, NULL, 201, "POST", "/v1/runs",
                             "{\"run_id\":\"%s\",\"epoch\":1,\"takeover\":true}", bw_run_id(run)));
    assert_int_equal(bw_run_end_then(run, BW_SUCCESS, note_answer, &ended), BW_OK);
    assert_int_equal(bw_run_ack_then(run, BW_CLEANED_UP, note_answer, &acknowledged), BW_OK);
    sidecar_start_again(&agentd, &redis, NULL);
    WAIT_UNTIL(atomic_load(&ended) != 0 && atomic_load(&acknowledged) != 0);
    /* A conflict, for who carries it now is elsewhere, and then that the run has ended; unless it
     * was registered before that agentd could ask Redis. */
    if (atomic_load(&ended) != BW_OK + 1 && atomic_load(&ended) != BW_ERR_FENCED + 1) {
        assert_int_equal(atomic_load(&ended), BW_ERR_REFUSED + 1);
        assert_int_equal(atomic_load(&acknowledged), BW_ERR_OFFLINE + 1);
    }
    bw_client_close(program.client);
}

/* What is not ended when the client is closed is cancelled by `on_client_gone`. */
static void runs_of_a_client_that_was_closed_are_found(void **state)
{
    (void)state;
    struct program program;
    struct service strict;
    char id[80];
    sidecar_start(&strict, &redis, (const char *const[]){"--lost-grace=100ms", NULL});
    program_open_at(&program, strict.where);
    struct bw_run *run = start(&program, (struct bw_run_params){.entry = true});
    snprintf(id, sizeof id, "%s", bw_run_id(run));
    WAIT_UNTIL(bw_client_is_linked(program.client));
    bw_client_close(program.client);
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", id);
    service_wait_for(&strict, NULL, path, "cancel.reason", "client_gone");
    service_stop(&strict);
}

/* A process that carries a run alone and does not listen is ended by its agentd. */
_Noreturn static void carry_a_run_and_hang(int tell)
{
    struct bw_client *client;
    struct bw_run *run;
    struct bw_client_options options = {.agentd = agentd.where};
    struct bw_run_params params = {.entry = true, .grace_ms = 50, .kills_process = true};
    if (bw_client_open(&options, &client) != BW_OK || bw_run_start(client, &params, &run) != BW_OK
        || write(tell, bw_run_id(run), strlen(bw_run_id(run))) < 0)
        _exit(1);
    for (;;)
        pause();
}

static void a_process_that_does_not_listen_is_ended(void **state)
{
    (void)state;
    int pipes[2], status = 0;
    char id[80] = "";
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0)
        carry_a_run_and_hang(pipes[1]);
    assert_true(read(pipes[0], id, sizeof id - 1) > 0);
    cancel_at(&other, id, "{}");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    expect_state(&agentd, id, "cancelled");
    close(pipes[0]);
    close(pipes[1]);
}

static bool leads_to_the_agentd(int fd)
{
    struct sockaddr_un peer = {0};
    socklen_t len = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX
           && strncmp(peer.sun_path, agentd.folder, strlen(agentd.folder)) == 0;
}

/* A process that outlives the program must not hold its event stream open. */
static void no_connection_is_inherited_by_other_programs(void **state)
{
    (void)state;
    enum { FILES_MAX = 256 };
    struct program program;
    int connections = 0;
    program_open(&program);
    struct bw_run *run = start(&program, (struct bw_run_params){.entry = true});
    WAIT_UNTIL(bw_client_is_linked(program.client));
    for (int fd = 0; fd < FILES_MAX; fd++)
        if (leads_to_the_agentd(fd)) {
            connections++;
            assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        }
    assert_true(connections >= 1); /* the stream */
    assert_int_equal(bw_run_end(run, BW_SUCCESS), BW_OK);
    bw_client_close(program.client);
}

/* As a program that forks without exec, and whose child exits through the same exit handlers. */
static void a_forked_child_is_told_and_does_no_harm(void **state)
{
    (void)state;
    struct program program;
    int status = 0;
    program_open(&program);
    struct bw_run *run =
        start(&program,
              (struct bw_run_params){.entry = true, .on_cancel = on_cancel, .owner = &program});
    WAIT_UNTIL(bw_client_is_linked(program.client));
    pid_t child = fork();
    if (child == 0) {
        struct bw_run *own = NULL;
        bool is_told = bw_run_end(run, BW_SUCCESS) == BW_ERR_INVALID
                       && strstr(bw_why(), "fork") != NULL
                       && bw_run_start(program.client, NULL, &own) == BW_ERR_INVALID && own == NULL;
        bw_client_close(program.client);
        _exit(is_told ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cancel_at(&other, bw_run_id(run), "{}");
    WAIT_UNTIL(atomic_load(&program.notices) == 1);
    assert_int_equal(bw_run_end(run, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
}

/* ---- loops and threads --------------------------------------------------------------------- */

struct looped {
    uv_loop_t loop;
    struct bw_client *client;
    struct bw_run *run, *child;
    bool was_told, is_closed;
    enum bw_err waited, last;
    int steps;
};

static void step(void *owner, const struct bw_answer *answer);

static void on_looped_cancel(void *owner, struct bw_run *run, const struct bw_cancel *cancel)
{
    struct looped *looped = owner;
    (void)cancel;
    looped->was_told = true;
    looped->waited = bw_run_end(run, BW_CANCELLED);
    assert_int_equal(bw_run_end_then(run, BW_CANCELLED, step, looped), BW_OK);
}

static void on_looped_closed(void *owner)
{
    ((struct looped *)owner)->is_closed = true;
}

static void child_started(void *owner, const struct bw_answer *answer)
{
    struct looped *looped = owner;
    assert_int_equal(answer->err, BW_OK);
    looped->child = answer->run;
    assert_int_equal(bw_run_cancel_children_then(looped->run, NULL, NULL, NULL), BW_OK);
}

static void run_started(void *owner, const struct bw_answer *answer)
{
    struct looped *looped = owner;
    assert_int_equal(answer->err, BW_OK);
    looped->run = answer->run;
    struct bw_run_params params = {
        .baggage = bw_run_baggage(looped->run), .on_cancel = on_looped_cancel, .owner = looped};
    assert_int_equal(bw_run_start_then(looped->client, &params, child_started, looped), BW_OK);
}

/* The child has ended: the run, then the client. */
static void step(void *owner, const struct bw_answer *answer)
{
    struct looped *looped = owner;
    assert_int_equal(answer->err, BW_OK);
    if (looped->steps++ == 0)
        assert_int_equal(bw_run_end_then(looped->run, BW_SUCCESS, step, looped), BW_OK);
    else
        bw_client_close(looped->client);
}

static void all_of_it_on_the_callers_loop(void **state)
{
    (void)state;
    struct looped looped = {0};
    struct bw_run *none = NULL;
    struct bw_client_options options = {
        .agentd = agentd.where, .on_closed = on_looped_closed, .owner = &looped};
    assert_int_equal(uv_loop_init(&looped.loop), 0);
    assert_int_equal(bw_client_open_on_loop(&looped.loop, &options, &looped.client), BW_OK);
    assert_int_equal(bw_run_start(looped.client, NULL, &none), BW_ERR_WOULD_BLOCK);
    struct bw_run_params params = {.entry = true};
    assert_int_equal(bw_run_start_then(looped.client, &params, run_started, &looped), BW_OK);
    uv_run(&looped.loop, UV_RUN_DEFAULT);
    assert_true(looped.was_told && looped.is_closed);
    assert_int_equal(looped.waited, BW_ERR_WOULD_BLOCK);
    assert_int_equal(looped.steps, 2);
    assert_int_equal(uv_loop_close(&looped.loop), 0);
}

enum { THREADS = 6, RUNS_EACH = 40 };

struct crowd {
    struct bw_client *client;
    const char *baggage;
    atomic_int failed, told;
};

static void be_many(void *owner)
{
    struct crowd *crowd = owner;
    for (int i = 0; i < RUNS_EACH; i++) {
        struct bw_run *run;
        struct bw_run_params params = {.baggage = crowd->baggage};
        if (bw_run_start(crowd->client, &params, &run) != BW_OK
            || bw_run_fence(run, "w", NULL, 0, NULL) != BW_OK
            || bw_run_end(run, BW_SUCCESS) != BW_OK)
            atomic_fetch_add(&crowd->failed, 1);
    }
    struct bw_run *last;
    struct bw_run_params params = {.baggage = crowd->baggage};
    if (bw_run_start(crowd->client, &params, &last) != BW_OK) {
        atomic_fetch_add(&crowd->failed, 1);
        return;
    }
    atomic_fetch_add(&crowd->told, 1);
    while (!bw_run_is_cancelled(last))
        sched_yield();
    if (bw_run_end(last, BW_CANCELLED) != BW_OK)
        atomic_fetch_add(&crowd->failed, 1);
}

static void many_threads_share_a_client(void **state)
{
    (void)state;
    struct program program;
    uv_thread_t thread[THREADS];
    program_open(&program);
    struct bw_run *top = start(&program, (struct bw_run_params){.entry = true});
    struct crowd crowd = {.client = program.client, .baggage = bw_run_baggage(top)};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(uv_thread_create(&thread[i], be_many, &crowd), 0);
    WAIT_UNTIL(atomic_load(&crowd.told) + atomic_load(&crowd.failed) >= THREADS);
    cancel_at(&other, bw_run_id(top), "{}");
    for (int i = 0; i < THREADS; i++)
        uv_thread_join(&thread[i]);
    assert_int_equal(atomic_load(&crowd.failed), 0);
    assert_int_equal(bw_run_end(top, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
}

/* What every thread may do with a run while it is registered again, and cancelled. */
static void look_at_it(void *owner)
{
    struct bw_run *run = owner;
    char header[8193];
    struct bw_cancel cancel;
    while (!bw_run_is_cancelled(run)) {
        if (bw_run_cancel(run, &cancel))
            break;
        bw_run_baggage_for(run, "x=1", header, sizeof header);
        if (strstr(header, bw_run_id(run)) == NULL
            || strstr(bw_run_baggage(run), "brakewire=") == NULL || bw_run_epoch(run) == 0
            || strcmp(bw_run_id(run), bw_run_root(run)) != 0)
            abort();
    }
    if (!bw_run_cancel(run, &cancel) || strcmp(cancel.reason, "seen by all") != 0)
        abort();
}

static void every_thread_may_look_at_a_run(void **state)
{
    (void)state;
    struct program program;
    uv_thread_t thread[THREADS];
    program_open(&program);
    struct bw_run *run = start(&program, (struct bw_run_params){.entry = true,
                                                                .deadline_ms = 600000,
                                                                .on_cancel = on_cancel,
                                                                .owner = &program});
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(uv_thread_create(&thread[i], look_at_it, run), 0);
    WAIT_UNTIL(bw_client_is_linked(program.client));
    service_signal(&agentd, SIGKILL);
    service_wait(&agentd);
    WAIT_UNTIL(!bw_client_is_linked(program.client));
    sidecar_start_again(&agentd, &redis, NULL);
    WAIT_UNTIL(bw_client_is_linked(program.client));
    cancel_at(&other, bw_run_id(run), "{\"reason\":\"seen by all\"}");
    for (int i = 0; i < THREADS; i++)
        uv_thread_join(&thread[i]);
    assert_int_equal(bw_run_end(run, BW_CANCELLED), BW_OK);
    bw_client_close(program.client);
}

struct stubborn {
    struct program program;
    atomic_int answers;
};

static void start_another(void *owner, const struct bw_answer *answer)
{
    struct stubborn *stubborn = owner;
    assert_int_equal(answer->err, BW_ERR_OFFLINE);
    if (atomic_fetch_add(&stubborn->answers, 1) < 3)
        assert_int_equal(bw_run_start_then(stubborn->program.client, NULL, start_another, owner),
                         BW_OK);
}

/* An agentd that accepts and never answers: who waits is told, when the client is closed, and told
 * again when that makes it ask once more. */
static void who_waits_is_told_that_the_client_was_closed(void **state)
{
    (void)state;
    struct stubborn stubborn = {.answers = 0};
    service_signal(&agentd, SIGSTOP);
    program_open(&stubborn.program);
    assert_int_equal(bw_run_start_then(stubborn.program.client, NULL, start_another, &stubborn),
                     BW_OK);
    bw_client_close(stubborn.program.client);
    service_signal(&agentd, SIGCONT);
    assert_int_equal(atomic_load(&stubborn.answers), 4);
}

static void a_client_that_is_closed_at_once_leaves_nothing(void **state)
{
    (void)state;
    struct program program;
    program_open(&program);
    bw_client_close(program.client);
    program_open_at(&program, "http://127.0.0.1:1");
    struct bw_run *run = start(&program, (struct bw_run_params){0});
    assert_int_equal(atomic_load(&program.warnings), 1);
    bw_client_close(program.client); /* frees the run */
    (void)run;
    bw_client_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_starts_has_children_and_ends),
        cmocka_unit_test(where_it_belongs_comes_from_the_environment_too),
        cmocka_unit_test(a_request_that_has_baggage_gets_one_header),
        cmocka_unit_test(a_cancel_is_told_once_and_acknowledged),
        cmocka_unit_test(of_two_runs_one_is_told),
        cmocka_unit_test(nothing_starts_below_a_cancel),
        cmocka_unit_test(what_is_wrong_with_a_run_is_said),
        cmocka_unit_test(what_is_wrong_with_a_client_is_said),
        cmocka_unit_test(one_last_checkpoint_is_granted),
        cmocka_unit_test(children_are_cancelled_and_the_run_goes_on),
        cmocka_unit_test(a_link_leads_into_another_tree),
        cmocka_unit_test(an_agentd_that_was_restarted_is_told_of_the_runs),
        cmocka_unit_test(an_end_is_told_when_the_agentd_is_back),
        cmocka_unit_test(without_an_agentd_runs_go_on_until_there_is_one),
        cmocka_unit_test(a_run_that_registers_too_late_is_told),
        cmocka_unit_test(a_program_may_insist_on_an_agentd),
        cmocka_unit_test(a_run_that_was_taken_over_stops),
        cmocka_unit_test(an_end_answers_what_else_was_asked),
        cmocka_unit_test(runs_of_a_client_that_was_closed_are_found),
        cmocka_unit_test(a_process_that_does_not_listen_is_ended),
        cmocka_unit_test(no_connection_is_inherited_by_other_programs),
        cmocka_unit_test(a_forked_child_is_told_and_does_no_harm),
        cmocka_unit_test(all_of_it_on_the_callers_loop),
        cmocka_unit_test(many_threads_share_a_client),
        cmocka_unit_test(every_thread_may_look_at_a_run),
        cmocka_unit_test(who_waits_is_told_that_the_client_was_closed),
        cmocka_unit_test(a_client_that_is_closed_at_once_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
