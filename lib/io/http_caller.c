#include "io/http_caller.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "io/curl_loop.h"
#include "io/uv_threads.h"

enum {
    AT_ONCE = 64,
    WAITING_MAX = 10000,
    ANSWER_MAX = 256 << 10,
    LOOK_AHEAD = 256, /* calls that wait, looked at for one whose host has room */
    HOST_MAX = 255,
    ADDRESSES_MAX = 8,
    URL_MAX = 2048,
    HEADERS_MAX = 64 << 10 /* of an answer, all of them, with those that come before and after it */
};

enum call_state { CALL_WAITS, CALL_RESOLVES, CALL_FLIES, CALL_IS_OVER };

struct call {
    struct link in_calls;   /* `waiting` or `open` of its caller */
    struct link in_lookups; /* its name is looked up, also when it is over already */
    struct http_caller *caller;
    enum call_state state;
    unsigned handles;       /* the timer, and a name that is looked up: they know our address */
    bool was_sent, is_told; /* `sent` was called for it */
    bool is_no_http;        /* what looks like a status line is none */
    bool was_led_astray;    /* an address that may not be called was about to be */
    const struct http_called *called;
    void *owner;
    uv_timer_t deadline;
    uv_getaddrinfo_t lookup;
    CURL *easy;
    struct curl_slist *headers, *address;
    struct buf body;
    size_t header_bytes;
    char host[HOST_MAX + 1];
    char port[8];
    char why[CURL_ERROR_SIZE + 64];
    enum err err; /* of a call that failed before it flew */
    char *method, *url, *sent;
    size_t sent_len;
};

struct http_caller {
    uv_loop_t *loop;
    struct http_caller_options options;
    struct curl_loop *curl;
    uv_idle_t later; /* the next turn of the loop: answers, and calls whose turn it is */
    struct list waiting, open, over;
    size_t waiting_count, open_count;
    struct list lookups;
    size_t lookup_count, lookups_max; /* libuv's threads are for Redis, too */
    bool is_closing;
    unsigned handles;
};

static const char *const not_allowed = "the host is not one that may be called (call_hosts)";

/* ---- life ---------------------------------------------------------------------------------- */
static void call_free(struct call *call)
{
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->address);
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    buf_fini(&call->body);
    mem_free(call->method);
    mem_free(call->url);
    mem_free(call->sent);
    mem_free(call);
}

static void caller_released(struct http_caller *caller)
{
    if (--caller->handles == 0)
        mem_free(caller);
}

static void call_released(struct call *call)
{
    struct http_caller *caller = call->caller;
    if (--call->handles > 0)
        return;
    call_free(call);
    caller_released(caller);
}

static void on_timer_closed(uv_handle_t *handle)
{
    call_released(handle->data);
}

/* Nothing of it is in flight any more. */
static void call_close(struct call *call)
{
    struct http_caller *caller = call->caller;
    if (call->state == CALL_RESOLVES)
        (void)uv_cancel((uv_req_t *)&call->lookup); /* its callback still comes */
    if (call->easy != NULL)
        curl_loop_take_out(caller->curl, call->easy);
    if (call->state == CALL_WAITS)
        caller->waiting_count--;
    else if (call->state != CALL_IS_OVER)
        caller->open_count--;
    call->state = CALL_IS_OVER;
    link_remove(&call->in_calls);
    uv_close((uv_handle_t *)&call->deadline, on_timer_closed);
}

/* ---- answers ------------------------------------------------------------------------------- */
static void look_later(struct http_caller *caller);

static void answer(struct call *call, const struct http_outcome *outcome)
{
    struct http_outcome kept = *outcome;
    look_later(call->caller);
    call->called->done(call->owner, &kept); /* it lives on: its timer closes in a later turn */
}

static void fail(struct call *call, enum err err, const char *why)
{
    struct http_outcome outcome = {.err = err, .why = why};
    call_close(call);
    answer(call, &outcome);
}

/* Also where the answer came in the turn in which the request went out. False: its owner gave it
 * up. */
static bool tell_sent(struct call *call)
{
    if (call->was_sent && !call->is_told) {
        call->is_told = true;
        call->called->sent(call->owner);
    }
    return call->state != CALL_IS_OVER;
}

static void on_deadline(uv_timer_t *timer)
{
    struct call *call = timer->data;
    if (!tell_sent(call))
        return;
    if (call->was_sent)
        fail(call, ERR_TIMEOUT, "no answer in time");
    else
        fail(call, ERR_OFFLINE, "not reached in time");
}

/* After the request is out it is the answer that is wrong: one header of more than 100 KiB is "out
 * of memory" to libcurl, and what is no HTTP/1 an "unsupported protocol". */
static enum err err_of(const struct call *call, CURLcode code)
{
    enum err err = curl_loop_err(code);
    if (call->was_sent && err == ERR_NOMEM)
        return ERR_TOO_LARGE;
    return call->was_sent && err == ERR_INVALID ? ERR_OFFLINE : err;
}

static void on_finished(void *transfer, CURLcode code)
{
    struct call *call = transfer;
    struct http_outcome outcome = {.err = err_of(call, code)};
    if (!tell_sent(call))
        return;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &outcome.status);
    bool has_status = !call->is_no_http && outcome.status >= 200 && outcome.status <= 599;
    if (outcome.err == ERR_OK && !has_status)
        outcome = (struct http_outcome){.err = ERR_OFFLINE, .why = "the answer has no status"};
    else if (outcome.err == ERR_OK)
        outcome.body = buf_str(&call->body);
    else if (code == CURLE_COULDNT_CONNECT && call->was_led_astray)
        outcome = (struct http_outcome){.err = ERR_REFUSED, .why = not_allowed};
    else if (outcome.err == ERR_TOO_LARGE)
        outcome.why = "the answer is longer than it may be";
    else
        outcome.why = call->why[0] != '\0' ? call->why : curl_easy_strerror(code);
    call_close(call);
    answer(call, &outcome);
}

/* ---- one call ------------------------------------------------------------------------------ */
/* "HTTP/1.1 200 …". libcurl takes other lines for it, each version others. */
static bool is_status_line(struct str line)
{
    static const char shape[] = "HTTP/1.# ###";
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        char c = i < line.len ? line.at[i] : '\0';
        if (shape[i] == '#' ? c < '0' || c > '9' : c != shape[i])
            return false;
    }
    return true;
}

static size_t take_header(const char *bytes, size_t size, size_t count, void *owner)
{
    struct call *call = owner;
    struct str line = {bytes, size * count};
    call->header_bytes += line.len;
    if (line.len > 5 && memcmp(bytes, "HTTP/", 5) == 0 && !is_status_line(line))
        call->is_no_http = true;
    return call->header_bytes <= HEADERS_MAX ? line.len : 0;
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *owner)
{
    struct call *call = owner;
    return buf_add(&call->body, bytes, size * count) == ERR_OK ? size * count : 0;
}

/* What is really dialled: libcurl was given the addresses that were judged, and what it may do with
 * a name that it finds unusual is its own affair. */
static curl_socket_t open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct call *call = owner;
    (void)purpose;
    if (host_list_reaches(call->caller->options.hosts, str_of(call->host), &address->addr))
        return curl_loop_socket(address);
    call->was_led_astray = true;
    return CURL_SOCKET_BAD;
}

/* Headers that went out are the only sign of it; what libcurl calls us from, it may not be called
 * from. A body follows at once: "Expect:" is never sent. */
static int on_traffic(CURL *easy, curl_infotype kind, char *bytes, size_t len, void *owner)
{
    struct call *call = owner;
    bool is_request = kind == CURLINFO_HEADER_OUT && memchr(bytes, '\n', len) != NULL;
    (void)easy;
    if (is_request && !call->was_sent) {
        call->was_sent = true;
        look_later(call->caller);
    }
    return 0;
}

static bool add_header(struct call *call, const char *line)
{
    struct curl_slist *longer = curl_slist_append(call->headers, line);
    if (longer != NULL)
        call->headers = longer;
    return longer != NULL;
}

/* libcurl takes "Name:" for a header that is not to be sent, and "Name;" for an empty one. */
static bool take_header_line(struct call *call, struct str line)
{
    char text[URL_MAX];
    struct str value = line, name = str_cut(&value, ':');
    while (value.len > 0 && (value.at[0] == ' ' || value.at[0] == '\t'))
        value = (struct str){value.at + 1, value.len - 1};
    bool is_empty = value.at != NULL && value.len == 0;
    struct str shown = is_empty ? name : line;
    int len = snprintf(text, sizeof text, "%.*s%s", (int)shown.len, shown.at, is_empty ? ";" : "");
    return len >= 0 && (size_t)len < sizeof text && add_header(call, text);
}

static bool take_headers(struct call *call, struct str lines)
{
    bool fits = add_header(call, "Expect:");
    while (fits && lines.len > 0) {
        struct str line = str_cut(&lines, '\n');
        fits = line.len == 0 || take_header_line(call, line);
    }
    return fits;
}

static void set_up(struct call *call)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)call);
    curl_easy_setopt(easy, CURLOPT_URL, call->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* that of the environment is not for us */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_traffic);
    curl_easy_setopt(easy, CURLOPT_DEBUGDATA, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->why);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "brakewire");
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    if (call->address != NULL)
        curl_easy_setopt(easy, CURLOPT_RESOLVE, call->address);
    if (strcmp(call->method, "GET") != 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->sent_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->sent);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, call->method);
}

static void fly(struct call *call)
{
    call->easy = curl_easy_init();
    if (call->easy == NULL) {
        fail(call, ERR_NOMEM, "out of memory");
        return;
    }
    set_up(call);
    call->state = CALL_FLIES;
    if (!curl_loop_add(call->caller->curl, call->easy))
        fail(call, ERR_NOMEM, "libcurl does not take it");
}

/* ---- names --------------------------------------------------------------------------------- */
/* All its addresses that may be called, in the form "+host:port:address,address": with the + they
 * leave libcurl's cache again. */
static bool take_addresses(struct call *call, const struct addrinfo *found)
{
    char text[64 * ADDRESSES_MAX + HOST_MAX + 16];
    size_t count = 0;
    int len = snprintf(text, sizeof text, "+%s:%s:", call->host, call->port);
    for (; found != NULL && count < ADDRESSES_MAX; found = found->ai_next) {
        char address[INET6_ADDRSTRLEN + 1];
        bool is_v6 = found->ai_family == AF_INET6;
        if (!host_list_reaches(call->caller->options.hosts, str_of(call->host), found->ai_addr)
            || getnameinfo(found->ai_addr, found->ai_addrlen, address, sizeof address, NULL, 0,
                           NI_NUMERICHOST)
                   != 0)
            continue;
        len += snprintf(text + len, sizeof text - (size_t)len, "%s%s%s%s", count > 0 ? "," : "",
                        is_v6 ? "[" : "", address, is_v6 ? "]" : "");
        count++;
    }
    if (count > 0)
        call->address = curl_slist_append(NULL, text);
    return count > 0;
}

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
    struct call *call = lookup->data;
    struct http_caller *caller = call->caller;
    link_remove(&call->in_lookups);
    caller->lookup_count--;
    if (call->state == CALL_IS_OVER) {
        uv_freeaddrinfo(found);
        if (!caller->is_closing)
            look_later(caller);
        call_released(call);
        return;
    }
    bool may_be_called = status == 0 && take_addresses(call, found);
    uv_freeaddrinfo(found);
    call->handles--; /* the timer holds it */
    call->state = CALL_FLIES;
    look_later(caller);
    if (status != 0)
        fail(call, ERR_OFFLINE, uv_strerror(status));
    else if (!may_be_called)
        fail(call, ERR_REFUSED, not_allowed);
    else
        fly(call);
}

static void resolve(struct call *call)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct http_caller *caller = call->caller;
    call->lookup.data = call;
    if (uv_getaddrinfo(caller->loop, &call->lookup, on_resolved, call->host, NULL, &hints) != 0) {
        fail(call, ERR_SYSTEM, "the name cannot be looked up");
        return;
    }
    call->state = CALL_RESOLVES;
    call->handles++;
    list_add_last(&caller->lookups, &call->in_lookups);
    caller->lookup_count++;
}

/* One for each name: a name that hangs takes no second thread, however often it is called. */
static bool may_be_looked_up(const struct http_caller *caller, const char *host)
{
    for (const struct link *at = caller->lookups.head.next; at != &caller->lookups.head;
         at = at->next)
        if (strcasecmp(LIST_OWNER(at, struct call, in_lookups)->host, host) == 0)
            return false;
    return caller->lookup_count < caller->lookups_max;
}

static bool read_numeric(const char *host, struct sockaddr_storage *out)
{
    char text[INET6_ADDRSTRLEN + 1];
    size_t len = strlen(host);
    bool has_brackets = len > 2 && host[0] == '[' && host[len - 1] == ']';
    snprintf(text, sizeof text, "%.*s", (int)(has_brackets ? len - 2 : len),
             host + (has_brackets ? 1 : 0));
    return (!has_brackets && uv_ip4_addr(text, 0, (struct sockaddr_in *)out) == 0)
           || uv_ip6_addr(text, 0, (struct sockaddr_in6 *)out) == 0;
}

static void start(struct call *call)
{
    struct sockaddr_storage address;
    struct http_caller *caller = call->caller;
    link_remove(&call->in_calls);
    list_add_last(&caller->open, &call->in_calls);
    caller->waiting_count--;
    caller->open_count++;
    call->state = CALL_FLIES;
    if (!read_numeric(call->host, &address))
        resolve(call);
    else if (host_list_reaches(caller->options.hosts, str_of(call->host),
                               (const struct sockaddr *)&address))
        fly(call);
    else
        fail(call, ERR_REFUSED, not_allowed);
}

/* ---- whose turn it is ---------------------------------------------------------------------- */
static size_t open_to(const struct http_caller *caller, const struct call *like)
{
    size_t count = 0;
    for (const struct link *at = caller->open.head.next; at != &caller->open.head; at = at->next) {
        const struct call *call = LIST_OWNER(at, struct call, in_calls);
        count += strcmp(call->host, like->host) == 0 && strcmp(call->port, like->port) == 0;
    }
    return count;
}

/* One host that hangs does not hold up the others. */
static struct call *next_call(struct http_caller *caller)
{
    size_t looked_at = 0, of_one_host = (caller->options.at_once + 3) / 4;
    if (caller->open_count >= caller->options.at_once)
        return NULL;
    LIST_EACH (at, then, &caller->waiting) {
        struct call *call = LIST_OWNER(at, struct call, in_calls);
        struct sockaddr_storage address;
        if (looked_at++ == LOOK_AHEAD)
            break;
        if (!read_numeric(call->host, &address) && !may_be_looked_up(caller, call->host))
            continue;
        if (open_to(caller, call) < of_one_host)
            return call;
    }
    return NULL;
}

static void answer_the_failed(struct http_caller *caller)
{
    LIST_EACH (at, then, &caller->over) {
        struct call *call = LIST_OWNER(at, struct call, in_calls);
        fail(call, call->err, call->why);
        if (caller->is_closing)
            return;
    }
}

static void tell_the_sent(struct http_caller *caller)
{
    LIST_EACH (at, then, &caller->open) {
        struct call *call = LIST_OWNER(at, struct call, in_calls);
        (void)tell_sent(call);
        if (caller->is_closing)
            return;
    }
}

static void on_later(uv_idle_t *idle)
{
    struct http_caller *caller = idle->data;
    uv_idle_stop(idle);
    answer_the_failed(caller);
    if (!caller->is_closing)
        tell_the_sent(caller);
    for (struct call *call; !caller->is_closing && (call = next_call(caller)) != NULL;)
        start(call);
}

static void look_later(struct http_caller *caller)
{
    if (!caller->is_closing)
        uv_idle_start(&caller->later, on_later);
}

/* ---- urls ---------------------------------------------------------------------------------- */
static bool part_of(CURLU *url, CURLUPart part, unsigned flags, char *out, size_t room)
{
    char *text = NULL;
    bool fits = curl_url_get(url, part, &text, flags) == CURLUE_OK && strlen(text) < room;
    if (fits)
        memcpy(out, text, strlen(text) + 1);
    curl_free(text);
    return fits;
}

/* NULL, or what is wrong. */
static const char *read_url(const char *text, char host[HOST_MAX + 1], char port[8])
{
    char scheme[8], *user = NULL;
    CURLU *url = curl_url();
    const char *fault = NULL;
    if (url == NULL)
        return "out of memory";
    if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
        fault = "it is not a URL such as http://127.0.0.1:2024";
    else if (!part_of(url, CURLUPART_SCHEME, 0, scheme, sizeof scheme)
             || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        fault = "only http:// and https:// can be called";
    else if (curl_url_get(url, CURLUPART_USER, &user, 0) != CURLUE_NO_USER)
        fault = "a user does not belong in a URL; name him in headers";
    else if (!part_of(url, CURLUPART_HOST, 0, host, HOST_MAX + 1)
             || !part_of(url, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, 8))
        fault = "it needs a host";
    curl_free(user);
    curl_url_cleanup(url);
    return fault;
}

const char *http_url_fault(const struct host_list *hosts, struct str url)
{
    char text[URL_MAX], host[HOST_MAX + 1], port[8];
    if (url.len >= sizeof text || memchr(url.at, '\0', url.len) != NULL)
        return "it is not a URL of at most 2047 characters";
    memcpy(text, url.at, url.len);
    text[url.len] = '\0';
    const char *fault = read_url(text, host, port);
    if (fault == NULL && !host_list_names(hosts, str_of(host)))
        fault = not_allowed;
    return fault;
}

/* ---- calling ------------------------------------------------------------------------------- */
static struct call *call_new(struct http_caller *caller, const struct http_errand *errand)
{
    struct call *call = mem_new(sizeof *call);
    if (call == NULL)
        return NULL;
    call->caller = caller;
    call->body.limit = caller->options.answer_max;
    call->method = mem_copy(str_of(errand->method));
    call->url = mem_copy(str_of(errand->url));
    call->sent = mem_copy(errand->body);
    call->sent_len = errand->body.len;
    if (call->method == NULL || call->url == NULL || call->sent == NULL
        || !take_headers(call, errand->headers)) {
        call_free(call);
        return NULL;
    }
    return call;
}

static void queue(struct http_caller *caller, struct call *call, struct span within)
{
    uv_timer_init(caller->loop, &call->deadline);
    call->deadline.data = call;
    call->handles = 1;
    caller->handles++;
    uv_timer_start(&call->deadline, on_deadline, within.ms > 0 ? (uint64_t)within.ms : 1, 0);
    const char *fault = read_url(call->url, call->host, call->port);
    bool is_full = caller->waiting_count >= caller->options.waiting_max;
    if (fault != NULL || is_full) {
        call->state = CALL_IS_OVER;
        call->err = fault != NULL ? ERR_INVALID : ERR_FULL;
        fault = fault != NULL ? fault : "too many calls wait for their turn";
        snprintf(call->why, sizeof call->why, "%s", fault);
        list_add_last(&caller->over, &call->in_calls);
    } else {
        list_add_last(&caller->waiting, &call->in_calls);
        caller->waiting_count++;
    }
    look_later(caller);
}

enum err http_caller_call(struct http_caller *caller, const struct http_errand *errand,
                          const struct http_called *called, void *owner)
{
    assert(!caller->is_closing);
    struct call *call = call_new(caller, errand);
    if (call == NULL)
        return ERR_NOMEM;
    call->called = called;
    call->owner = owner;
    queue(caller, call, errand->within);
    return ERR_OK;
}

/* ---- coming and going ---------------------------------------------------------------------- */
static void on_later_closed(uv_handle_t *handle)
{
    caller_released(handle->data);
}

static void on_curl_closed(void *owner)
{
    caller_released(owner);
}

enum err http_caller_open(uv_loop_t *loop, const struct http_caller_options *options,
                          struct http_caller **out)
{
    static const struct curl_loop_events events = {.finished = on_finished};
    struct http_caller *caller = mem_new(sizeof *caller);
    if (caller == NULL)
        return ERR_NOMEM;
    caller->loop = loop;
    caller->options = *options;
    caller->options.at_once = options->at_once > 0 ? options->at_once : AT_ONCE;
    caller->options.waiting_max = options->waiting_max > 0 ? options->waiting_max : WAITING_MAX;
    caller->options.answer_max = options->answer_max > 0 ? options->answer_max : ANSWER_MAX;
    caller->lookups_max = uv_threads_for_others();
    if (curl_loop_open(loop, (long)caller->options.at_once, &events, caller, &caller->curl)
        != ERR_OK) {
        mem_free(caller);
        return ERR_NOMEM;
    }
    struct list *lists[] = {&caller->waiting, &caller->open, &caller->over, &caller->lookups};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    uv_idle_init(loop, &caller->later);
    caller->later.data = caller;
    caller->handles = 2;
    *out = caller;
    return ERR_OK;
}

static void close_calls(struct list *calls)
{
    LIST_EACH (at, then, calls)
        call_close(LIST_OWNER(at, struct call, in_calls));
}

void http_caller_close(struct http_caller *caller)
{
    caller->is_closing = true;
    close_calls(&caller->waiting);
    close_calls(&caller->open);
    close_calls(&caller->over);
    curl_loop_close(caller->curl, on_curl_closed, caller);
    uv_close((uv_handle_t *)&caller->later, on_later_closed);
}
