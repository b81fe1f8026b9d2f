/* Opening and closing, and the one door from other threads: they post ops and wake the loop. */
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "brakewire/environment.h"
#include "inside.h"

enum { WHERE_MAX = 256 };

int64_t now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

bool make_secret(char out[SECRET_LEN + 1])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[SECRET_LEN];
    if (uv_random(NULL, NULL, bytes, sizeof bytes, 0, NULL) != 0)
        return false;
    for (size_t i = 0; i < SECRET_LEN; i++)
        out[i] = alphabet[bytes[i] & 63];
    out[SECRET_LEN] = '\0';
    return true;
}

bool client_is_here(const struct bw_client *client)
{
    uv_thread_t here = uv_thread_self();
    return uv_thread_equal(&here, &client->thread) != 0;
}

bool client_is_ours(const struct bw_client *client)
{
    return uv_os_getpid() == client->process;
}

bool bw_client_is_linked(const struct bw_client *client)
{
    return atomic_load(&client->is_linked);
}

/* ---- what other threads ask ---------------------------------------------------------------- */

void client_post(struct bw_client *client, struct op *op)
{
    uv_mutex_lock(&client->lock);
    list_add_last(&client->posted, &op->in_list);
    uv_mutex_unlock(&client->lock);
    uv_async_send(&client->wake);
}

struct waiter {
    uv_mutex_t lock;
    uv_cond_t answered;
    bool is_over;
    enum bw_err err;
    char detail[256];
    void (*seen)(void *seer, const struct bw_answer *answer);
    void *seer;
};

static void on_answered(void *owner, const struct bw_answer *answer)
{
    struct waiter *waiter = owner;
    uv_mutex_lock(&waiter->lock);
    waiter->err = answer->err;
    const char *text = answer->detail[0] != '\0' ? answer->detail : bw_err_text(answer->err);
    snprintf(waiter->detail, sizeof waiter->detail, "%s", text);
    if (waiter->seen != NULL)
        waiter->seen(waiter->seer, answer);
    waiter->is_over = true;
    uv_cond_signal(&waiter->answered);
    uv_mutex_unlock(&waiter->lock);
}

enum bw_err ask(struct op *op, void (*seen)(void *seer, const struct bw_answer *answer), void *seer)
{
    struct waiter waiter = {.seen = seen, .seer = seer};
    if (uv_mutex_init(&waiter.lock) != 0 || uv_cond_init(&waiter.answered) != 0)
        abort(); /* fails only on a broken system */
    op->done = on_answered;
    op->owner = &waiter;
    client_post(op->client, op);
    uv_mutex_lock(&waiter.lock);
    while (!waiter.is_over)
        uv_cond_wait(&waiter.answered, &waiter.lock);
    uv_mutex_unlock(&waiter.lock);
    uv_cond_destroy(&waiter.answered);
    uv_mutex_destroy(&waiter.lock);
    return waiter.err == BW_OK ? BW_OK : fault(waiter.err, "%s", waiter.detail);
}

static void leave(struct bw_client *client);

/* What was posted so far, into `out`; true: the client is to close as well. */
static bool take_posted(struct bw_client *client, struct list *out)
{
    list_init(out);
    uv_mutex_lock(&client->lock);
    LIST_EACH (at, then, &client->posted) {
        link_remove(at);
        list_add_last(out, at);
    }
    bool is_to_close = client->is_to_close;
    uv_mutex_unlock(&client->lock);
    return is_to_close;
}

static void on_wake(uv_async_t *wake)
{
    struct bw_client *client = wake->data;
    struct list posted;
    bool is_to_close = take_posted(client, &posted);
    ops_begin(client, &posted);
    if (is_to_close && !client->is_leaving)
        leave(client);
}

/* ---- leaving ------------------------------------------------------------------------------- */

/* The memory that the loop knew of is not used any more. */
static void client_free(struct bw_client *client)
{
    sse_reader_fini(&client->sse);
    uv_mutex_destroy(&client->lock);
    mem_free(client->where);
    mem_free(client->token);
    mem_free(client);
}

static void released(struct bw_client *client)
{
    if (--client->handles > 0 || client->has_own_loop)
        return;
    void (*on_closed)(void *owner) = client->options.on_closed;
    void *owner = client->options.owner;
    client_free(client);
    if (on_closed != NULL)
        on_closed(owner);
}

static void on_courier_closed(void *owner)
{
    released(owner);
}

static void on_handle_closed(uv_handle_t *handle)
{
    released(handle->data);
}

static void drop_all(struct list *ops)
{
    while (!list_is_empty(ops)) {
        struct op *op = LIST_OWNER(ops->head.next, struct op, in_list);
        struct bw_run *unbegun =
            op->kind == OP_START && !link_is_in_list(&op->run->in_runs) ? op->run : NULL;
        link_remove(&op->in_list);
        op_answer_err(op, BW_ERR_OFFLINE, "the client was closed");
        op_free(op);
        if (unbegun != NULL)
            run_free(unbegun);
    }
}

static void close_parts(struct bw_client *client)
{
    struct list posted;
    client->is_closing = true;
    atomic_store(&client->is_linked, false);
    courier_close(client->courier, on_courier_closed, client);
    drop_all(&client->waiting);
    drop_all(&client->flying);
    for (bool is_more = true; is_more; drop_all(&posted)) { /* whoever is told may ask again */
        (void)take_posted(client, &posted);
        is_more = !list_is_empty(&posted);
    }
    LIST_EACH (at, then, &client->runs)
        run_free(LIST_OWNER(at, struct bw_run, in_runs));
    uv_close((uv_handle_t *)&client->wake, on_handle_closed);
    uv_close((uv_handle_t *)&client->retry, on_handle_closed);
    uv_close((uv_handle_t *)&client->clock, on_handle_closed);
    uv_close((uv_handle_t *)&client->patience, on_handle_closed);
}

static void on_patience_over(uv_timer_t *timer)
{
    struct bw_client *client = timer->data;
    if (now_ms() >= client->close_by || !ops_have_ends(client))
        close_parts(client);
}

static void leave(struct bw_client *client)
{
    enum { LOOK_EVERY_MS = 2 };
    client->is_leaving = true;
    client->close_by = now_ms() + CLOSE_WAIT_MS;
    uv_timer_start(&client->patience, on_patience_over, 0, LOOK_EVERY_MS);
}

static void post_close(struct bw_client *client)
{
    uv_mutex_lock(&client->lock);
    client->is_to_close = true;
    uv_mutex_unlock(&client->lock);
    uv_async_send(&client->wake);
}

void bw_client_close(struct bw_client *client)
{
    if (client == NULL
        || !client_is_ours(client)) /* its files are shared with the process that forked */
        return;
    if (!client->has_own_loop) {
        post_close(client);
        return;
    }
    if (client_is_here(client)) {
        say(client, BW_LOG_WARNING, "bw_client_close() was called from a callback: not closed");
        return;
    }
    post_close(client);
    uv_thread_join(&client->own_thread);
    uv_loop_close(&client->own_loop);
    client_free(client);
}

/* ---- opening ------------------------------------------------------------------------------- */

/* The system's agentd, or else the user's own. */
static const char *default_agentd(char out[WHERE_MAX])
{
    static const char system_wide[] = "/run/brakewire/agentd.sock";
    const char *named = getenv(BRAKEWIRE_ENV_AGENTD), *runtime = getenv("XDG_RUNTIME_DIR");
    if (named != NULL && named[0] != '\0')
        return named;
    if (runtime == NULL || runtime[0] == '\0' || access(system_wide, F_OK) == 0)
        return system_wide;
    snprintf(out, WHERE_MAX, "%s/brakewire/agentd.sock", runtime);
    return out;
}

static bool is_url(const char *text)
{
    CURLU *url = curl_url();
    bool fits = url != NULL && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK;
    curl_url_cleanup(url);
    return fits;
}

/* "unix:/path" or "http://…", in fresh memory; NULL: it is neither, or too long. */
static char *read_where(const char *agentd)
{
    enum { SOCKET_MAX = sizeof((struct sockaddr_un *)NULL)->sun_path - 1 };
    char room[WHERE_MAX], where[WHERE_MAX];
    if (agentd == NULL)
        agentd = default_agentd(room);
    if (strncmp(agentd, "http://", 7) == 0)
        return strlen(agentd) < WHERE_MAX && is_url(agentd) ? mem_copy(str_of(agentd)) : NULL;
    if (strncmp(agentd, "unix://", 7) == 0)
        agentd += 7;
    else if (strncmp(agentd, "unix:", 5) == 0)
        agentd += 5;
    size_t len = strlen(agentd);
    if (len > SOCKET_MAX || agentd[0] != '/')
        return NULL;
    snprintf(where, sizeof where, "unix:%s", agentd);
    return mem_copy(str_of(where));
}

static bool is_token(const char *token)
{
    size_t len = strlen(token);
    for (size_t i = 0; i < len; i++)
        if (token[i] <= ' ' || token[i] > '~')
            return false;
    return len >= 16 && len <= 256;
}

static enum bw_err take_options(struct bw_client *client, const struct bw_client_options *options)
{
    char secret[SECRET_LEN + 1];
    client->options = *options;
    client->where = read_where(options->agentd);
    if (client->where == NULL)
        return fault(BW_ERR_INVALID,
                     "agentd: a path of at most 107 bytes, unix:/path or http://host:port");
    if (options->token != NULL && !is_token(options->token))
        return fault(BW_ERR_INVALID, "token: 16 to 256 printable characters without a blank");
    if (!make_secret(secret) || !make_secret(client->incarnation))
        return fault(BW_ERR_SYSTEM, "no randomness");
    client->token = mem_copy(str_of(options->token != NULL ? options->token : secret));
    client->options.agentd = client->options.token = NULL;
    return client->token != NULL ? BW_OK : fault(BW_ERR_NOMEM, "out of memory");
}

static void init_handles(struct bw_client *client)
{
    uv_timer_t *timers[] = {&client->retry, &client->clock, &client->patience};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(client->loop, timers[i]);
        timers[i]->data = client;
    }
    client->wake.data = client;
    client->handles = 5; /* with the courier */
}

static enum bw_err set_up(struct bw_client *client)
{
    if (uv_mutex_init(&client->lock) != 0)
        return fault(BW_ERR_SYSTEM, "no mutex");
    if (courier_open(client->loop, client->where, client->token, &client->courier) != ERR_OK) {
        uv_mutex_destroy(&client->lock);
        return fault(BW_ERR_NOMEM, "out of memory");
    }
    if (uv_async_init(client->loop, &client->wake, on_wake) != 0) {
        courier_close(client->courier, NULL, NULL);
        uv_mutex_destroy(&client->lock);
        return fault(BW_ERR_SYSTEM, "no file for a wake-up: is the limit of open files reached?");
    }
    init_handles(client);
    return BW_OK;
}

static void free_unopened(struct bw_client *client)
{
    mem_free(client->where);
    mem_free(client->token);
    mem_free(client);
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* NULL: *err says why. */
static struct bw_client *client_new(const struct bw_client_options *options, enum bw_err *err)
{
    static uv_once_t once = UV_ONCE_INIT;
    static const struct bw_client_options defaults;
    struct bw_client *client = mem_new(sizeof *client);
    if (client == NULL) {
        *err = fault(BW_ERR_NOMEM, "out of memory");
        return NULL;
    }
    uv_once(&once, init_curl);
    client->process = uv_os_getpid();
    struct list *lists[] = {&client->posted, &client->runs, &client->ready, &client->waiting,
                            &client->flying};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    *err = take_options(client, options != NULL ? options : &defaults);
    if (*err == BW_OK)
        return client;
    free_unopened(client);
    return NULL;
}

enum bw_err bw_client_open_on_loop(struct uv_loop_s *loop, const struct bw_client_options *options,
                                   struct bw_client **out)
{
    enum bw_err err;
    struct bw_client *client = client_new(options, &err);
    if (client == NULL)
        return err;
    client->loop = loop;
    client->thread = uv_thread_self();
    err = set_up(client);
    if (err == BW_OK)
        *out = client;
    else
        free_unopened(client);
    return err;
}

/* Signals are for the threads of the program. */
static void run_loop(void *owner)
{
    struct bw_client *client = owner;
    client->thread = uv_thread_self();
    uv_sem_post(&client->has_begun);
    uv_run(client->loop, UV_RUN_DEFAULT);
}

static bool begin_thread(struct bw_client *client)
{
    sigset_t all, before;
    if (uv_sem_init(&client->has_begun, 0) != 0)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = uv_thread_create(&client->own_thread, run_loop, client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0)
        uv_sem_wait(&client->has_begun);
    uv_sem_destroy(&client->has_begun);
    return failed == 0;
}

enum bw_err bw_client_open(const struct bw_client_options *options, struct bw_client **out)
{
    enum bw_err err;
    struct bw_client *client = client_new(options, &err);
    if (client == NULL)
        return err;
    client->has_own_loop = true;
    client->loop = &client->own_loop;
    if (uv_loop_init(client->loop) != 0) {
        free_unopened(client);
        return fault(BW_ERR_SYSTEM, "no loop: is the limit of open files reached?");
    }
    err = set_up(client);
    if (err == BW_OK && begin_thread(client)) {
        *out = client;
        return BW_OK;
    }
    if (err == BW_OK) {
        err = fault(BW_ERR_SYSTEM, "no thread can be started");
        close_parts(client);
    }
    uv_run(client->loop, UV_RUN_DEFAULT); /* what was opened closes */
    uv_loop_close(client->loop);
    free_unopened(client);
    return err;
}
