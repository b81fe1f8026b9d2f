/* Happy path: redis_link_open -> begin_attempt -> (host_resolved) -> connect_to_address ->
 * socket_connected -> greeted, once per answer -> come_up -> reply_arrived …
 * Whatever fails in between goes to drop(), which waits and begins again. */
#include "io/redis_link.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "io/redis_greeting.h"
#include "io/redis_queue.h"
#include "io/redis_resolver.h"
#include "io/redis_sentinel.h"
#include "io/redis_socket.h"
#include "io/redis_url.h"

enum phase {
    LINK_WAITING, /* for the next attempt */
    LINK_SEEKING, /* a sentinel that says where the master is */
    LINK_RESOLVING,
    LINK_CONNECTING,
    LINK_GREETING,
    LINK_UP,
    LINK_LEAVING, /* redis_link_reset() was called; drop() follows on the next turn */
    LINK_CLOSED
};

enum {
    QUEUE_MAX = 100000,
    BACKOFF_FIRST_MS = 10,
    JITTER_MS = 5,
    STEADY_MS = 1000,  /* a link that is lost again and again within this backs off too */
    BEATS_TO_PING = 2, /* a beat is half of ping_every */
    BEATS_TO_DEATH = 4,
    WHY_ROOM = 320
};

struct redis_link {
    uv_loop_t *loop;
    const struct redis_link_events *events;
    void *owner;
    enum phase phase;
    unsigned alive; /* handles, sockets and requests that still point here */

    struct redis_url url;
    struct redis_trust *trust; /* NULL: no TLS */
    bool is_to_sentinel;
    struct redis_sentinels *sentinels; /* NULL: the place is known without them */
    struct redis_host place;           /* where to connect; name NULL: to the path of the url */
    char *client_name;
    struct span connect_timeout, ping_every, backoff_max;
    size_t queue_max;
    struct rng rng;

    uv_timer_t alarm; /* until the next attempt, or until this one has lasted too long */
    uv_timer_t pulse; /* listens for silence */
    struct resolver resolver;
    bool resolver_is_late; /* it is busy with the name of a place where we no longer want to go */
    size_t address_at;
    struct redis_socket *socket; /* NULL: none */
    struct redis_queue queue;
    enum greeting awaited;
    struct greeting_answers answers;

    unsigned failures, short_lives; /* in a row */
    bool was_up;                    /* once, ever */
    uint64_t up_since_ms;
    unsigned silent_beats;
    uint64_t bytes_in_at_last_beat;
    struct redis_link_stats stats;
};

static void begin_attempt(struct redis_link *link);
static void resolve(struct redis_link *link);

static void free_link(struct redis_link *link)
{
    redis_url_fini(&link->url);
    redis_trust_free(link->trust);
    redis_queue_fini(&link->queue);
    mem_free(link->place.name);
    mem_free(link->client_name);
    mem_free(link);
}

static void release(struct redis_link *link)
{
    if (--link->alive > 0)
        return;
    const struct redis_link_events *events = link->events;
    void *owner = link->owner;
    free_link(link);
    events->on_closed(owner);
}

static void timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void socket_closed(void *owner)
{
    release(owner);
}

static void answer_all_with_null(struct redis_link *link)
{
    while (link->queue.count > 0)
        redis_queue_answer(&link->queue, NULL);
}

static void close_socket(struct redis_link *link)
{
    if (link->socket != NULL)
        redis_socket_close(link->socket);
    link->socket = NULL;
}

static uint32_t next_wait_ms(struct redis_link *link)
{
    if (link->failures == 0)
        return rng_below(&link->rng, JITTER_MS + 1);
    unsigned doublings = link->failures - 1 < 20 ? link->failures - 1 : 20;
    int64_t wait = (int64_t)BACKOFF_FIRST_MS << doublings;
    if (wait > link->backoff_max.ms)
        wait = link->backoff_max.ms;
    uint32_t half = (uint32_t)(wait / 2);
    return half + rng_below(&link->rng, half + 1);
}

static void alarm_rang(uv_timer_t *timer);

static void wait_for_next_attempt(struct redis_link *link)
{
    bool is_up = link->phase == LINK_UP || link->phase == LINK_LEAVING;
    if (is_up && uv_now(link->loop) - link->up_since_ms >= STEADY_MS)
        link->short_lives = 0;
    if (is_up)
        link->failures = link->short_lives++;
    link->phase = LINK_WAITING;
    uv_timer_stop(&link->pulse);
    uv_timer_start(&link->alarm, alarm_rang, next_wait_ms(link), 0);
    link->failures++;
}

/* `why` may live in the socket, which is about to go. */
static void drop(struct redis_link *link, const char *why)
{
    char kept[WHY_ROOM];
    int len = snprintf(kept, sizeof kept, "%s", why[0] != '\0' ? why : "an error without words");
    wait_for_next_attempt(link);
    close_socket(link);
    answer_all_with_null(link);
    if (link->phase == LINK_CLOSED) /* by one of those it answered */
        return;
    size_t shown = (size_t)len < sizeof kept ? (size_t)len : sizeof kept - 1;
    link->events->on_down(link->owner, (struct str){kept, shown});
}

static void give_up_seeking(struct redis_link *link)
{
    char why[WHY_ROOM];
    redis_sentinels_why(link->sentinels, why, sizeof why);
    drop(link, why);
}

static void alarm_rang(uv_timer_t *timer)
{
    struct redis_link *link = timer->data;
    static const char *const late[] = {
        [LINK_RESOLVING] = "timed out while resolving the host",
        [LINK_CONNECTING] = "timed out while connecting",
        [LINK_GREETING] = "timed out while greeting the server",
    };
    if (link->phase == LINK_WAITING)
        begin_attempt(link);
    else if (link->phase == LINK_SEEKING)
        give_up_seeking(link);
    else if (link->phase == LINK_CONNECTING && redis_socket_is_shaking_hands(link->socket))
        drop(link, "timed out during the TLS handshake: is it a TLS port?");
    else
        drop(link, late[link->phase]);
}

static void ping(struct redis_link *link)
{
    static const struct str words[] = {{"PING", 4}};
    if (redis_queue_reserve(&link->queue) == ERR_OK
        && redis_socket_send(link->socket, 1, words) == ERR_OK)
        redis_queue_put(&link->queue, (struct redis_slot){0});
}

/* Counts beats, not milliseconds: a process that was stopped for a minute has missed one beat only,
 * and finds the server's bytes waiting when it wakes. */
static void beat(uv_timer_t *timer)
{
    struct redis_link *link = timer->data;
    if (link->phase != LINK_UP)
        return;
    bool heard = link->stats.bytes_in != link->bytes_in_at_last_beat;
    link->bytes_in_at_last_beat = link->stats.bytes_in;
    link->silent_beats = heard ? 0 : link->silent_beats + 1;
    if (link->silent_beats >= BEATS_TO_DEATH && link->queue.count > 0)
        drop(link, "the server is silent");
    else if (link->silent_beats >= BEATS_TO_PING && link->queue.count == 0)
        ping(link);
}

static void come_up(struct redis_link *link)
{
    uint64_t half = (uint64_t)(link->ping_every.ms / 2);
    link->phase = LINK_UP;
    link->stats.reconnects += link->was_up ? 1 : 0;
    link->was_up = true;
    link->up_since_ms = uv_now(link->loop);
    link->silent_beats = 0;
    uv_timer_stop(&link->alarm);
    uv_timer_start(&link->pulse, beat, half > 0 ? half : 1, half > 0 ? half : 1);
    const struct redis_server server = {
        .run_id = str_of(link->answers.run_id),
        .history = str_of(link->answers.history),
        .version = str_of(link->answers.version),
        .name = str_of(link->answers.name),
        .role = str_of(link->answers.role),
    };
    link->events->on_up(link->owner, &server);
}

static enum greeting greeting_after(const struct redis_link *link, enum greeting which)
{
    bool skips_select = which == GREET_HELLO && link->url.db == 0;
    return skips_select ? GREET_INFO : which + 1;
}

/* NULL: it is of the kind that the url says. */
static const char *wrong_kind(const struct redis_link *link)
{
    bool is_cluster = strcmp(link->answers.mode, "cluster") == 0;
    bool is_sentinel = strcmp(link->answers.mode, "sentinel") == 0;
    if (link->is_to_sentinel && !is_sentinel)
        return "this is no sentinel: sentinel:// names the sentinels (port 26379), not the servers";
    if (!link->is_to_sentinel && is_sentinel)
        return "this is a sentinel: begin the url with sentinel:// and end it with /NAME";
    if (link->url.kind == REDIS_CLUSTER && !is_cluster)
        return "this server is not of a cluster: begin the url with redis:// "
               "instead of redis+cluster://";
    if (link->url.kind != REDIS_CLUSTER && is_cluster)
        return "this server is in cluster mode: begin the url with redis+cluster://";
    return NULL;
}

static void greeted(void *owner, const struct redisReply *reply)
{
    struct redis_link *link = owner;
    char why[WHY_ROOM];
    if (reply == NULL) /* drop() is at work */
        return;
    if (greeting_answered(link->awaited, reply, &link->answers, why, sizeof why) != ERR_OK) {
        drop(link, why);
        return;
    }
    if (link->awaited == GREET_HELLO && wrong_kind(link) != NULL) {
        drop(link, wrong_kind(link));
        return;
    }
    if (link->awaited == GREET_ROLE && link->sentinels != NULL
        && strcmp(link->answers.role, "master") != 0) {
        drop(link, "the sentinels name a server that is a replica: a failover is under way");
        return;
    }
    link->awaited = greeting_after(link, link->awaited);
    if (link->awaited == GREET_COUNT)
        come_up(link);
}

static void socket_connected(void *owner)
{
    struct redis_link *link = owner;
    struct greeting_words words = {
        .user = link->url.user,
        .password = link->url.password,
        .client_name = link->client_name,
    };
    snprintf(words.db, sizeof words.db, "%d", link->url.db);
    link->phase = LINK_GREETING;
    link->awaited = GREET_HELLO;
    link->answers = (struct greeting_answers){0};
    for (enum greeting i = GREET_HELLO; i != GREET_COUNT; i = greeting_after(link, i)) {
        struct str argv[GREETING_ARGS];
        int argc = greeting_command(i, &words, argv);
        if (redis_queue_reserve(&link->queue) != ERR_OK
            || redis_socket_send(link->socket, argc, argv) != ERR_OK) {
            redis_socket_break(link->socket, err_text(ERR_NOMEM));
            return;
        }
        redis_queue_put(&link->queue, (struct redis_slot){.done = greeted, .owner = link});
    }
}

static void server_unsubscribed(struct redis_link *link, struct str channel)
{
    if (link->events->on_unsubscribed != NULL)
        link->events->on_unsubscribed(link->owner, channel);
    else
        redis_link_reset(link, "the server ended a subscription");
}

/* SUBSCRIBE's acknowledgement is a push in the place of a reply. One that no command asked for
 * means that the server ended the subscription. */
static void subscription_changed(struct redis_link *link, struct redisReply *push)
{
    const redisReply *kind = push->element[0], *channel = push->element[1];
    const struct redis_slot *oldest = redis_queue_peek(&link->queue);
    bool is_answer = oldest != NULL && oldest->kind != NULL && strcmp(oldest->kind, kind->str) == 0
                     && channel->str != NULL && strcmp(oldest->channel, channel->str) == 0;
    if (is_answer)
        redis_queue_answer(&link->queue, push);
    else if (strstr(kind->str, "unsubscribe") != NULL && channel->str != NULL)
        server_unsubscribed(link, (struct str){channel->str, channel->len});
}

static void push_arrived(struct redis_link *link, struct redisReply *push)
{
    const redisReply *kind = push->elements == 3 ? push->element[0] : NULL;
    if (kind == NULL || kind->str == NULL)
        return;
    size_t len = kind->len;
    if (len >= 9 && strcmp(kind->str + len - 9, "subscribe") == 0) {
        subscription_changed(link, push);
        return;
    }
    const redisReply *channel = push->element[1], *bytes = push->element[2];
    bool is_message = strcmp(kind->str, "message") == 0 || strcmp(kind->str, "smessage") == 0;
    if (!is_message || channel->str == NULL || bytes->str == NULL)
        return;
    link->stats.pushes++;
    link->events->on_push(link->owner, (struct str){kind->str, kind->len},
                          (struct str){channel->str, channel->len},
                          (struct str){bytes->str, bytes->len});
}

/* A slot that moves away as its SUNSUBSCRIBE is under way ends the subscription first, which looks
 * like the acknowledgement, and then the command is answered with MOVED, which answers nothing. */
static bool is_before_fence(const struct redis_link *link, const struct redisReply *reply)
{
    const struct redis_slot *oldest = redis_queue_peek(&link->queue);
    return oldest != NULL && oldest->is_fence && reply->type == REDIS_REPLY_ERROR
           && (strncmp(reply->str, "MOVED ", 6) == 0
               || strncmp(reply->str, "CLUSTERDOWN", 11) == 0);
}

static void reply_arrived(void *owner, struct redisReply *reply)
{
    struct redis_link *link = owner;
    if (reply->type == REDIS_REPLY_PUSH)
        push_arrived(link, reply);
    else if (is_before_fence(link, reply))
        return;
    else if (link->queue.count > 0)
        redis_queue_answer(&link->queue, reply);
    else
        drop(link, reply->type == REDIS_REPLY_ERROR ? reply->str : "a reply to no command");
}

static void connect_to_address(struct redis_link *link);

/* A server that expects TLS ends what begins otherwise without a word. */
static bool was_not_even_greeted(const struct redis_link *link)
{
    return link->phase == LINK_GREETING && link->awaited == GREET_HELLO && link->trust == NULL
           && link->place.name != NULL;
}

static void socket_broken(void *owner, const char *why)
{
    struct redis_link *link = owner;
    if (link->phase == LINK_CONNECTING && link->address_at + 1 < link->resolver.count) {
        close_socket(link);
        link->address_at++;
        connect_to_address(link);
        return;
    }
    char text[WHY_ROOM];
    snprintf(text, sizeof text, "%s%s%s", link->phase == LINK_CONNECTING ? "cannot connect: " : "",
             why,
             was_not_even_greeted(link) ? "; is it a TLS port? Then use rediss:// in the url" : "");
    drop(link, text);
}

static const struct redis_socket_events socket_events = {
    .on_connected = socket_connected,
    .on_reply = reply_arrived,
    .on_broken = socket_broken,
    .on_closed = socket_closed,
};

static void connect_to_address(struct redis_link *link)
{
    char why[WHY_ROOM] = "";
    struct redis_place place = {
        .path = link->url.path,
        .address = link->resolver.address[link->address_at],
        .port = link->place.port,
        .trust = link->trust,
        .host = link->place.name,
        .silence = {2 * link->ping_every.ms},
        .bytes_in = &link->stats.bytes_in,
        .bytes_out = &link->stats.bytes_out,
    };
    link->phase = LINK_CONNECTING;
    enum err err =
        redis_socket_open(link->loop, &place, &socket_events, link, &link->socket, why, sizeof why);
    if (err == ERR_OK)
        link->alive++;
    else
        socket_broken(link, why[0] != '\0' ? why : err_text(err));
}

static void host_resolved(void *owner, const char *why)
{
    struct redis_link *link = owner;
    bool is_late = link->resolver_is_late;
    link->resolver_is_late = false;
    if (is_late && link->phase == LINK_RESOLVING) {
        resolve(link);
    } else if (link->phase == LINK_RESOLVING && link->resolver.count == 0) {
        char text[WHY_ROOM];
        snprintf(text, sizeof text, "cannot resolve %.128s: %s", link->place.name,
                 why != NULL ? why : "it has no address");
        drop(link, text);
    } else if (link->phase == LINK_RESOLVING) {
        connect_to_address(link);
    }
    release(link);
}

/* Names are resolved again for each attempt: a failover may move a name to another address. */
static void resolve(struct redis_link *link)
{
    link->phase = LINK_RESOLVING;
    link->address_at = 0;
    bool known = link->place.name == NULL;
    if (!known && !link->resolver.busy) {
        if (resolver_ask(link->loop, &link->resolver, link->place.name, &known) != ERR_OK) {
            drop(link, "cannot ask for the host's address");
            return;
        }
        link->alive += known ? 0 : 1;
    }
    if (known)
        connect_to_address(link);
}

/* False: no memory, or nobody has said where it is. */
static bool take_place_from_sentinels(struct redis_link *link)
{
    const struct redis_host *master = redis_sentinels_master(link->sentinels);
    char *name = master != NULL ? mem_copy(str_of(master->name)) : NULL;
    if (name == NULL)
        return false;
    bool is_another = link->place.name == NULL || strcmp(link->place.name, name) != 0;
    link->resolver_is_late = link->resolver.busy && (is_another || link->resolver_is_late);
    mem_free(link->place.name);
    link->place = (struct redis_host){.name = name, .port = master->port};
    return true;
}

static void begin_attempt(struct redis_link *link)
{
    uv_timer_start(&link->alarm, alarm_rang, (uint64_t)link->connect_timeout.ms, 0);
    if (link->trust != NULL)
        redis_trust_renew(link->trust);
    link->phase = LINK_SEEKING;
    if (link->sentinels != NULL) {
        redis_sentinels_ask(link->sentinels);
        if (!take_place_from_sentinels(link))
            return;
    }
    resolve(link);
}

/* Whatever is said to the old master from now on may be lost: away from it at once. */
static void master_moved(void *owner)
{
    struct redis_link *link = owner;
    static const char why[] = "the sentinels name another master";
    if (link->phase == LINK_CLOSED)
        return;
    if (link->phase == LINK_UP) {
        redis_link_reset(link, why);
        return;
    }
    link->failures = 0;
    if (link->phase == LINK_WAITING || link->phase == LINK_SEEKING)
        begin_attempt(link);
    else if (link->phase != LINK_LEAVING)
        drop(link, why);
}

static void sentinels_closed(void *owner)
{
    release(owner);
}

static const struct redis_sentinels_events sentinels_events = {
    .on_moved = master_moved,
    .on_closed = sentinels_closed,
};

static bool replace_text(char **field, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return true;
    mem_free(*field);
    *field = mem_copy(str_of(text));
    return *field != NULL;
}

static struct span span_or(struct span given, struct span fallback)
{
    return given.ms > 0 ? given : fallback;
}

static enum err read_url(struct redis_link *link, const char *text, struct buf *why)
{
    const char *fault = "";
    enum err err = redis_url_parse(text, &link->url, &fault);
    if (err == ERR_INVALID)
        (void)buf_addf(why, "redis_url: %s", fault);
    return err;
}

/* Options for TLS beside a url without it are a mistake that must not pass in silence. */
static enum err read_trust(struct redis_link *link, const struct redis_tls_options *tls,
                           struct buf *why)
{
    if (link->url.is_tls)
        return redis_trust_new(tls, &link->trust, why);
    const char *const given[] = {tls->ca_file, tls->cert_file, tls->key_file, tls->name};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (given[i] == NULL || given[i][0] == '\0')
            continue;
        (void)buf_add_text(why, "redis_ca_file, redis_cert_file, redis_key_file and redis_tls_name "
                                "need a redis_url with TLS: rediss://, sentinels:// or "
                                "rediss+cluster://");
        return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err choose_place(struct redis_link *link, const struct redis_target *target)
{
    const struct redis_url *url = &link->url;
    if (url->path != NULL)
        return ERR_OK;
    if (url->kind == REDIS_SENTINEL && target->host == NULL)
        return ERR_OK;
    if (url->kind == REDIS_CLUSTER && target->host == NULL)
        return ERR_INVALID;
    const char *name = target->host != NULL ? target->host : url->host[0].name;
    link->place.port = target->host != NULL ? target->port : url->host[0].port;
    link->place.name = mem_copy(str_of(name));
    return link->place.name != NULL ? ERR_OK : ERR_NOMEM;
}

/* The login in the url is that of the servers, the sentinels have one of their own. */
static bool copy_login(struct redis_link *link, const struct redis_target *target)
{
    struct redis_url *url = &link->url;
    if (!link->is_to_sentinel)
        return replace_text(&url->user, target->user)
               && replace_text(&url->password, target->password);
    mem_free(url->user);
    mem_free(url->password);
    url->user = url->password = NULL;
    url->db = 0;
    return replace_text(&url->password, target->sentinel_password);
}

static enum err copy_target(struct redis_link *link, const struct redis_target *target,
                            struct buf *why)
{
    enum err err = read_url(link, target->url, why);
    if (err == ERR_OK)
        err = read_trust(link, &target->tls, why);
    if (err != ERR_OK)
        return err;
    link->is_to_sentinel = link->url.kind == REDIS_SENTINEL && target->host != NULL;
    if (!copy_login(link, target) || !replace_text(&link->client_name, target->client_name))
        return ERR_NOMEM;
    link->connect_timeout = span_or(target->connect_timeout, SECONDS(3));
    link->ping_every = span_or(target->ping_every, SECONDS(3));
    link->backoff_max = span_or(target->backoff_max, SECONDS(2));
    link->queue_max = target->queue_max > 0 ? target->queue_max : QUEUE_MAX;
    link->rng.state = target->seed;
    return ERR_OK;
}

enum err redis_target_check(const struct redis_target *target, struct buf *why)
{
    struct redis_link *link = mem_new(sizeof *link);
    if (link == NULL)
        return ERR_NOMEM;
    enum err err = copy_target(link, target, why);
    free_link(link);
    return err;
}

enum err redis_link_open(uv_loop_t *loop, const struct redis_target *target,
                         const struct redis_link_events *events, void *owner,
                         struct redis_link **out)
{
    struct redis_link *link = mem_new(sizeof *link);
    if (link == NULL)
        return ERR_NOMEM;
    struct buf why = {0};
    enum err err = copy_target(link, target, &why);
    buf_fini(&why);
    if (err == ERR_OK)
        err = choose_place(link, target);
    bool has_sentinels = link->url.kind == REDIS_SENTINEL && target->host == NULL;
    if (err == ERR_OK && has_sentinels)
        err = redis_sentinels_open(loop, target, &link->url, &sentinels_events, link,
                                   &link->sentinels);
    if (err != ERR_OK) {
        free_link(link);
        return err;
    }
    link->loop = loop;
    link->events = events;
    link->owner = owner;
    link->alive = has_sentinels ? 3 : 2;
    link->resolver.on_resolved = host_resolved;
    link->resolver.owner = link;
    uv_timer_init(loop, &link->alarm);
    uv_timer_init(loop, &link->pulse);
    link->alarm.data = link->pulse.data = link;
    uv_timer_start(&link->alarm, alarm_rang, 0, 0);
    *out = link;
    return ERR_OK;
}

void redis_link_close(struct redis_link *link)
{
    assert(link->phase != LINK_CLOSED);
    link->phase = LINK_CLOSED;
    close_socket(link);
    if (link->sentinels != NULL)
        redis_sentinels_close(link->sentinels);
    resolver_cancel(&link->resolver);
    uv_close((uv_handle_t *)&link->alarm, timer_closed);
    uv_close((uv_handle_t *)&link->pulse, timer_closed);
    answer_all_with_null(link);
}

bool redis_link_is_up(const struct redis_link *link)
{
    return link->phase == LINK_UP;
}

static enum err send_command(struct redis_link *link, int argc, const struct str *argv,
                             struct redis_slot slot)
{
    if (link->phase != LINK_UP)
        return ERR_OFFLINE;
    if (link->queue.count >= link->queue_max)
        return ERR_FULL;
    enum err err = redis_queue_reserve(&link->queue);
    if (err == ERR_OK)
        err = redis_socket_send(link->socket, argc, argv);
    if (err != ERR_OK)
        return err;
    redis_queue_put(&link->queue, slot);
    link->stats.commands++;
    return ERR_OK;
}

enum err redis_link_command(struct redis_link *link, int argc, const struct str *argv,
                            redis_answered done, void *owner)
{
    return send_command(link, argc, argv, (struct redis_slot){.done = done, .owner = owner});
}

static const char *push_kind(const char *verb)
{
    static const char *const kinds[] = {"subscribe", "unsubscribe", "ssubscribe", "sunsubscribe"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcasecmp(verb, kinds[i]) == 0)
            return kinds[i];
    return NULL;
}

static void send_fence(struct redis_link *link)
{
    const struct str argv[] = {STR("ECHO"), STR("fence")};
    enum err err = send_command(link, 2, argv, (struct redis_slot){.is_fence = true});
    if (err != ERR_OK)
        redis_link_reset(link, err_text(err)); /* answers could no longer be told apart */
}

enum err redis_link_subscribe(struct redis_link *link, const char *verb, struct str channel,
                              redis_answered done, void *owner)
{
    struct redis_slot slot = {.done = done, .owner = owner, .kind = push_kind(verb)};
    assert(slot.kind != NULL);
    slot.channel = mem_copy(channel);
    if (slot.channel == NULL)
        return ERR_NOMEM;
    const struct str argv[] = {str_of(verb), channel};
    enum err err = send_command(link, 2, argv, slot);
    if (err != ERR_OK)
        mem_free(slot.channel);
    else if (strcmp(slot.kind, "sunsubscribe") == 0)
        send_fence(link);
    return err;
}

void redis_link_reset(struct redis_link *link, const char *why)
{
    if (link->phase != LINK_UP)
        return;
    link->phase = LINK_LEAVING;
    redis_socket_break(link->socket, why);
}

const struct redis_link_stats *redis_link_stats(const struct redis_link *link)
{
    return &link->stats;
}
