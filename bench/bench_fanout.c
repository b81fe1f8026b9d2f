/* One cancel to 1,000 replicas: when has the last one decided, when has the last client been told?
 *
 * decided  1,000 agent cores, each with its own connection to Redis, in one process; the clock
 * stops when the last has emitted the notice. told: 1,000 whole agentds in 4 processes, each with a
 *          client's event stream; the clock stops when the last stream has it. Beside them, in the
 * same round: a bare PUBLISH to 1,000 connections of one process. */
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "agentd/agentd.h"
#include "agentd/options.h"
#include "api/api_codec.h"
#include "base/log.h"
#include "client.h"
#include "core/agent.h"
#include "stage.h"
#include "store/store.h"

enum { REPLICAS = 1000, ROUNDS = 5, CANCELS_PER_ROUND = 12, PROCESSES = 4 };

/* ---- the bare transport -------------------------------------------------------------------- */

struct bare {
    redisContext *connection[REPLICAS];
    int epoll;
};

static void bare_open(struct bare *bare, const struct stage *stage)
{
    bare->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < REPLICAS; i++) {
        bare->connection[i] = stage_redis(stage);
        freeReplyObject(redisCommand(bare->connection[i], "SUBSCRIBE bare"));
        struct epoll_event wish = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(bare->epoll, EPOLL_CTL_ADD, bare->connection[i]->fd, &wish);
    }
}

static unsigned bare_take(redisContext *connection)
{
    void *reply = NULL;
    if (redisBufferRead(connection) != REDIS_OK)
        give_up("a bare subscriber lost its connection");
    if (redisGetReplyFromReader(connection, &reply) != REDIS_OK)
        give_up("a bare subscriber was sent garbage");
    if (reply == NULL)
        return 0;
    freeReplyObject(reply);
    return 1;
}

/* us from PUBLISH until the last connection has the message. */
static double bare_publish(struct bare *bare, redisContext *publisher)
{
    struct epoll_event event[256];
    char message[120];
    memset(message, 'x', sizeof message);
    uint64_t start = now_ns();
    redisAppendCommand(publisher, "PUBLISH bare %b", message, sizeof message);
    for (int done = 0; !done;)
        redisBufferWrite(publisher, &done);
    for (unsigned got = 0; got < REPLICAS;) {
        int n = epoll_wait(bare->epoll, event, 256, 5000);
        if (n <= 0)
            give_up("the bare message did not arrive within 5 s");
        for (int i = 0; i < n; i++)
            got += bare_take(bare->connection[event[i].data.u32]);
    }
    double took = (double)(now_ns() - start) / 1e3;
    void *reply;
    redisGetReply(publisher, &reply);
    freeReplyObject(reply);
    return took;
}

/* ---- cores alone --------------------------------------------------------------------------- */

struct replica {
    struct agent *agent;
    struct agent_effects todo;
    struct store *store;
    uv_timer_t alarm;
    struct cores *cores;
    char name[16], client[33];
};
struct cores {
    uv_loop_t loop;
    struct replica replica[REPLICAS];
    char root[80];
    unsigned up, started, told;
    uint64_t told_at;
};

static struct wall wall_now(void)
{
    uv_timeval64_t t;
    uv_gettimeofday(&t);
    return (struct wall){t.tv_sec * 1000 + t.tv_usec / 1000};
}

static void feed(struct replica *r, struct agent_event event);

static void answered(void *owner, uint64_t token, const struct store_answer *answer)
{
    feed(owner, (struct agent_event){.kind = AGENT_ANSWER, .token = token, .answer = answer});
}

static void start_answered(struct replica *r, const struct agent_reply *reply)
{
    if (reply->problem != PROBLEM_NONE)
        give_up("%s was refused: %s", r->name, reply->detail == NULL ? "" : reply->detail);
    r->cores->started++;
    if (r->cores->root[0] == '\0') {
        snprintf(r->cores->root, sizeof r->cores->root, "%.*s", (int)reply->root.len,
                 reply->root.at);
    }
}

static void carry_out(struct replica *r, const struct agent_effect *effect)
{
    switch (effect->kind) {
    case DO_CALL:
        if (store_send(r->store, &effect->call, answered, r, effect->token) != ERR_OK)
            give_up("the store takes no more");
        break;
    case DO_SUBSCRIBE:
        if (store_subscribe(r->store, effect->root, false) != ERR_OK)
            give_up("the store takes no more");
        break;
    case DO_UNSUBSCRIBE:
        store_unsubscribe(r->store, effect->root, false);
        break;
    case DO_ANSWER:
        start_answered(r, &effect->reply);
        break;
    case DO_NOTIFY:
        r->cores->told++;
        r->cores->told_at = now_ns();
        break;
    default: /* logs, metrics: nobody looks */
        break;
    }
}

static void alarm_rang(uv_timer_t *timer)
{
    feed(timer->data, (struct agent_event){.kind = AGENT_TIME_PASSED});
}

static void feed(struct replica *r, struct agent_event event)
{
    event.at = (struct instant){(int64_t)(uv_hrtime() / 1000000)};
    event.wall = wall_now();
    if (agent_step(r->agent, &event, &r->todo) != ERR_OK)
        give_up("out of memory");
    for (size_t i = 0; i < r->todo.count; i++)
        carry_out(r, &r->todo.item[i]);
    struct instant due = agent_deadline(r->agent);
    int64_t wait = due.ms == INT64_MAX ? INT64_C(3600000) : due.ms - event.at.ms;
    uv_timer_start(&r->alarm, alarm_rang, wait > 0 ? (uint64_t)wait : 0, 0);
}

static void link_up(void *owner, const struct redis_server *server)
{
    struct replica *r = owner;
    r->cores->up++;
    feed(r, (struct agent_event){.kind = AGENT_LINK_UP, .text = server->run_id});
    feed(r,
         (struct agent_event){.kind = AGENT_CLIENT_CAME, .caller.token_hash = str_of(r->client)});
}

static void link_down(void *owner, struct str why)
{
    (void)owner;
    give_up("a link went down: %.*s", (int)why.len, why.at);
}

static void message_came(void *owner, struct str root, bool watch, struct str bytes)
{
    struct cancel_record record;
    if (!watch && api_decode_record(bytes, &record))
        feed(owner,
             (struct agent_event){.kind = AGENT_CANCEL_SEEN, .root = root, .record = &record});
}

static void nothing(void *owner)
{
    (void)owner;
}
static const struct store_events upstream = {
    .on_up = link_up, .on_down = link_down, .on_message = message_came, .on_closed = nothing};

static void replica_open(struct cores *cores, struct replica *r, int i, const struct stage *stage)
{
    snprintf(r->name, sizeof r->name, "core%d", i);
    snprintf(r->client, sizeof r->client, "%032d", i);
    r->cores = cores;
    struct agent_options options = {.replica = str_of(r->name),
                                    .mode = MODE_ENFORCE,
                                    .lease = SECONDS(15),
                                    .reconcile_every = SECONDS(300),
                                    .lost_grace = SECONDS(5),
                                    .grace_notify = SECONDS(10),
                                    .grace_term = SECONDS(5),
                                    .grace_http = SECONDS(5),
                                    .kill_patience = SECONDS(5),
                                    .remember = SECONDS(1),
                                    .tombstone_ttl = SECONDS(86400),
                                    .max_runs = 10000,
                                    .max_tree_runs = 10000,
                                    .max_children = 10000,
                                    .max_clients = 10,
                                    .seed = (uint64_t)i + 1,
                                    .encode_record = api_encode_record,
                                    .decode_record = api_decode_record,
                                    .encode_meta = api_encode_meta,
                                    .decode_meta = api_decode_meta,
                                    .decode_order = api_decode_order,
                                    .encode_link = api_encode_link,
                                    .encode_story = api_encode_story};
    struct store_options store = {
        .namespace = "bw", .tombstone_ttl = SECONDS(60), .audit_max = 1000};
    struct redis_target target = {.url = stage->redis_path, .client_name = r->name};
    target.seed = options.seed;
    r->agent = agent_new(&options);
    r->alarm.data = r;
    uv_timer_init(&cores->loop, &r->alarm);
    if (r->agent == NULL
        || store_open(&cores->loop, &target, &store, &upstream, r, &r->store) != ERR_OK)
        give_up("cannot open core %d", i);
}

static void run_until(struct cores *cores, const unsigned *counter, unsigned wanted)
{
    uint64_t until = now_ns() + 20000000000u;
    while (*counter < wanted) {
        uv_run(&cores->loop, UV_RUN_ONCE);
        if (now_ns() > until)
            give_up("only %u of %u after 20 s", *counter, wanted);
    }
}

/* What a cancel leaves to do (1,000 reports) is over before anything else is measured: a bare
 * message among them would be slow for our sake. */
static void calm_down(struct cores *cores)
{
    for (uint64_t until = now_ns() + 200000000u; now_ns() < until;)
        if (uv_run(&cores->loop, UV_RUN_NOWAIT) != 0)
            poll(NULL, 0, 1);
}

static void start_one(struct replica *r, struct str parent)
{
    struct ask_start start = {.path = parent,
                              .path_was_given = parent.len > 0,
                              .entry = parent.len == 0,
                              .deadline = SPAN_NONE};
    feed(r, (struct agent_event){.kind = AGENT_ASKED_START,
                                 .ask = 1,
                                 .caller.token_hash = str_of(r->client),
                                 .start = &start});
}

/* us from the cancel script until the last core has decided. */
static double cores_cancel(struct cores *cores, redisContext *redis)
{
    cores->started = cores->told = 0;
    cores->root[0] = '\0';
    start_one(&cores->replica[0], STR_NONE);
    run_until(cores, &cores->started, 1);
    for (int i = 1; i < REPLICAS; i++)
        start_one(&cores->replica[i], str_of(cores->root));
    run_until(cores, &cores->started, REPLICAS);
    struct cancel_record record = {.root = str_of(cores->root),
                                   .target = str_of(cores->root),
                                   .reason = STR("bench"),
                                   .by = STR("bench"),
                                   .at = wall_now(),
                                   .grace = SPAN_NONE};
    char bytes[MESSAGE_MAX_BYTES];
    size_t len = api_encode_record(&record, bytes);
    calm_down(cores);
    uint64_t start = now_ns();
    redisAppendCommand(redis, "PUBLISH bw:{%s} %b", cores->root, bytes, len);
    for (int done = 0; !done;)
        redisBufferWrite(redis, &done);
    run_until(cores, &cores->told, REPLICAS);
    double took = (double)(cores->told_at - start) / 1e3;
    void *reply;
    redisGetReply(redis, &reply);
    freeReplyObject(reply);
    return took;
}

static void measure_cores(const struct stage *stage)
{
    static struct cores cores;
    static struct bare bare;
    struct samples ratio = {0}, decided = {0}, raw = {0};
    redisContext *redis = stage_redis(stage);
    uv_loop_init(&cores.loop);
    for (int i = 0; i < REPLICAS; i++)
        replica_open(&cores, &cores.replica[i], i, stage);
    run_until(&cores, &cores.up, REPLICAS);
    bare_open(&bare, stage);
    for (int round = 0; round < ROUNDS; round++) {
        struct samples a = {0}, z = {0};
        for (int i = 0; i < CANCELS_PER_ROUND; i++) {
            samples_add(&a, cores_cancel(&cores, redis));
            calm_down(&cores);
            samples_add(&z, bare_publish(&bare, redis));
        }
        samples_add(&ratio, samples_percentile(&a, 50) / samples_percentile(&z, 50));
        samples_add(&decided, samples_percentile(&a, 50));
        samples_add(&raw, samples_percentile(&z, 50));
        samples_fini(&a);
        samples_fini(&z);
    }
    char note[96];
    snprintf(note, sizeof note, "a bare PUBLISH to 1,000 connections: %.0f us",
             samples_percentile(&raw, 50));
    row_print(&(struct row){"1 cancel to 1,000 replicas: the last one decided, p50", "us",
                            samples_percentile(&decided, 50), samples_percentile(&ratio, 50), 1.5,
                            false, note});
}

/* ---- whole agentds ------------------------------------------------------------------------- */

static void serve_agentds(const struct stage *stage, int first, int count)
{
    uv_loop_t loop;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    log_setup(LOG_ERROR, false, "agentd");
    uv_loop_init(&loop);
    for (int i = first; i < first + count; i++) {
        char socket_flag[160], redis_flag[160], *why_not = NULL;
        snprintf(socket_flag, sizeof socket_flag, "--socket=%s/f%d.sock", stage->dir, i);
        snprintf(redis_flag, sizeof redis_flag, "--redis-url=%s", stage->redis_path);
        char *argv[] = {"agentd", socket_flag, redis_flag, "--log-level=error", why_not};
        struct settings *settings = calloc(1, sizeof *settings);
        struct agentd *agentd;
        const char *why = "";
        if (settings == NULL
            || conf_read(settings_program(), 4, argv, settings, NULL, stdout, stderr) != CONF_GO
            || agentd_open(&loop, settings, &agentd, &why) != ERR_OK)
            give_up("agentd %d does not open: %s", i, why);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

struct fleet {
    pid_t process[PROCESSES];
    struct client *call[REPLICAS], *events[REPLICAS];
    int epoll;
};

static bool is_ready(const char *where)
{
    struct client *client = client_open(where, "");
    int status = client_call(client, "GET", "/readyz", "", NULL);
    client_close(client);
    return status == 200;
}

static void fleet_open(struct fleet *fleet, const struct stage *stage)
{
    enum { EACH = REPLICAS / PROCESSES };
    for (int p = 0; p < PROCESSES; p++) {
        fleet->process[p] = fork();
        if (fleet->process[p] == 0)
            serve_agentds(stage, p * EACH, EACH);
    }
    fleet->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < REPLICAS; i++) {
        char where[160], token[32];
        snprintf(where, sizeof where, "unix:%s/f%u.sock", stage->dir, i);
        snprintf(token, sizeof token, "bench-client-token-%04u", i);
        stage_wait_for(where);
        for (uint64_t until = now_ns() + 10000000000u; !is_ready(where);)
            if (now_ns() > until)
                give_up("%s is not ready after 10 s", where);
        fleet->call[i] = client_open(where, token);
        fleet->events[i] = client_open(where, token);
        client_stream_open(fleet->events[i], "/v1/events");
        struct epoll_event wish = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(fleet->epoll, EPOLL_CTL_ADD, fleet->events[i]->fd, &wish);
    }
}

static void fleet_close(struct fleet *fleet)
{
    for (int p = 0; p < PROCESSES; p++) {
        kill(fleet->process[p], SIGKILL);
        waitpid(fleet->process[p], NULL, 0);
    }
}

static void collect(struct fleet *fleet, bool told[REPLICAS], unsigned *count)
{
    struct epoll_event event[256];
    int n = epoll_wait(fleet->epoll, event, 256, 5000);
    if (n <= 0)
        give_up("only %u of 1,000 clients were told within 5 s", *count);
    for (int i = 0; i < n; i++) {
        uint32_t at = event[i].data.u32;
        if (client_stream_wait(fleet->events[at], "event: cancel", 1) && !told[at]) {
            told[at] = true;
            ++*count;
        }
    }
}

static double fleet_cancel(struct fleet *fleet, struct client *broker)
{
    static struct name {
        char text[80];
    } run[REPLICAS];
    bool told[REPLICAS] = {false};
    char body[256] = "{\"entry\":true}", path[160];
    for (int i = 0; i < REPLICAS; i++) {
        json_t *answer = client_json(fleet->call[i], "POST", "/v1/runs", body, 201);
        snprintf(run[i].text, sizeof run[i].text, "%s",
                 json_string_value(json_object_get(answer, "run_id")));
        snprintf(body, sizeof body, "{\"parent\":\"%s\",\"root\":\"%s\"}", run[0].text,
                 run[0].text);
        json_decref(answer);
    }
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run[0].text);
    uint64_t start = now_ns();
    client_send(broker, "POST", path, "{}");
    for (unsigned count = 0; count < REPLICAS;) {
        collect(fleet, told, &count);
        if (now_ns() - start > 5000000000u) /* heartbeats come all the time */
            give_up("only %u of 1,000 clients were told within 5 s", count);
    }
    double took = (double)(now_ns() - start) / 1e3;
    if (client_answer(broker, NULL) != 202)
        give_up("the cancel was refused");
    for (int i = 0; i < REPLICAS; i++) {
        snprintf(path, sizeof path, "/v1/runs/%s/end", run[i].text);
        client_call(fleet->call[i], "POST", path, "{\"epoch\":1,\"state\":\"cancelled\"}", NULL);
    }
    return took;
}

static void measure_fleet(const struct stage *stage)
{
    static struct fleet fleet;
    static struct bare bare;
    struct samples ratio = {0}, last = {0};
    redisContext *redis = stage_redis(stage);
    fleet_open(&fleet, stage);
    bare_open(&bare, stage);
    struct client *broker = client_open(stage->broker, "");
    for (int round = 0; round < ROUNDS; round++) {
        struct samples a = {0}, z = {0};
        for (int i = 0; i < CANCELS_PER_ROUND; i++) {
            samples_add(&a, fleet_cancel(&fleet, broker));
            samples_add(&z, bare_publish(&bare, redis));
        }
        samples_add(&ratio, samples_percentile(&a, 50) / samples_percentile(&z, 50));
        samples_add(&last, samples_percentile(&a, 50));
        samples_fini(&a);
        samples_fini(&z);
    }
    row_print(&(struct row){"1 cancel to 1,000 replicas: the last client told, p50", "us",
                            samples_percentile(&last, 50), samples_percentile(&ratio, 50), 2.2,
                            false, "1,000 agentds in 4 processes, 1,000 event streams"});
    fleet_close(&fleet);
}

/* Each part in a process of its own: its connections go with it. */
static void apart(void (*measure)(const struct stage *stage), const struct stage *stage)
{
    pid_t child = fork();
    if (child == 0) {
        measure(stage);
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status != 0)
        give_up("a part of it failed");
}

int main(void)
{
    struct stage stage;
    stage_open(&stage, 0, true, NULL);
    apart(measure_cores, &stage);
    apart(measure_fleet, &stage);
    stage_close(&stage);
    return 0;
}
