#include "support/service.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/buf.h"
#include "io/http_client.h"

/* ---- bounded waits ------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void waiting_turn(struct waiting *waiting)
{
    enum { TURN_MS = 5 };
    if (waiting->until_ms == 0)
        waiting->until_ms = now_ms() + SERVICE_WAIT_MS;
    if (now_ms() > waiting->until_ms) {
        print_error("waited in vain\n");
        _fail(waiting->file, waiting->line);
    }
    poll(NULL, 0, TURN_MS);
}

/* ---- the process --------------------------------------------------------------------------- */

static void log_path(const struct service *service, char out[SERVICE_PATH_MAX + 8])
{
    snprintf(out, SERVICE_PATH_MAX + 8, "%s/log", service->folder);
}

static void show_log(const struct service *service)
{
    char path[SERVICE_PATH_MAX + 8], line[1024];
    log_path(service, path);
    FILE *log = fopen(path, "r");
    while (log != NULL && fgets(line, sizeof line, log) != NULL)
        print_error("%s", line);
    if (log != NULL)
        fclose(log);
}

bool service_logged(const struct service *service, const char *text)
{
    char path[SERVICE_PATH_MAX + 8], line[4096];
    log_path(service, path);
    FILE *log = fopen(path, "r");
    bool is_there = false;
    while (log != NULL && !is_there && fgets(line, sizeof line, log) != NULL)
        is_there = strstr(line, text) != NULL;
    if (log != NULL)
        fclose(log);
    return is_there;
}

static _Noreturn void become(const struct service *service, pid_t parent, const char *const args[])
{
    enum { ARGS_MAX = 32 };
    char path[SERVICE_PATH_MAX + 8], binary[512], socket[SERVICE_PATH_MAX + 16];
    const char *argv[ARGS_MAX] = {binary, socket};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    log_path(service, path);
    snprintf(binary, sizeof binary, "%s/%s", BRAKEWIRE_BIN, service->program);
    snprintf(socket, sizeof socket, "--socket=%s", service->where + strlen("unix:"));
    for (size_t i = 0; args != NULL && args[i] != NULL && i + 3 < ARGS_MAX; i++)
        argv[2 + i] = args[i];
    if (getppid() == parent && freopen(path, "a", stderr) != NULL
        && freopen("/dev/null", "w", stdout) != NULL)
        execv(binary, (char *const *)(void *)argv);
    _exit(127);
}

static bool has_ended(struct service *service)
{
    int status;
    if (waitpid(service->pid, &status, WNOHANG) != service->pid)
        return false;
    service->pid = 0;
    return true;
}

static void launch(struct service *service, const char *const args[])
{
    pid_t parent = getpid();
    service->pid = fork();
    if (service->pid == 0)
        become(service, parent, args);
    assert_true(service->pid > 0);
}

static void furnish(struct service *service, const char *program)
{
    *service = (struct service){0};
    snprintf(service->program, sizeof service->program, "%s", program);
    snprintf(service->folder, sizeof service->folder, "/tmp/brakewire-test-XXXXXX");
    assert_non_null(mkdtemp(service->folder));
    snprintf(service->where, sizeof service->where, "unix:%.80s/s", service->folder);
}

int service_run(const char *program, const char *const args[])
{
    struct service service;
    furnish(&service, program);
    launch(&service, args);
    int code = service_wait(&service);
    service_stop(&service);
    return code;
}

void service_start_again(struct service *service, bool is_ready, const char *const args[])
{
    struct waiting wait = WAITING;
    launch(service, args);
    while (service_call(service, NULL, "GET", is_ready ? "/readyz" : "/livez", NULL, NULL) != 200) {
        if (has_ended(service)) {
            show_log(service);
            fail_msg("%s did not start", service->program);
        }
        waiting_turn(&wait);
    }
}

void service_start(struct service *service, const char *program, bool is_ready,
                   const char *const args[])
{
    furnish(service, program);
    service_start_again(service, is_ready, args);
}

void service_signal(struct service *service, int signal)
{
    assert_true(service->pid > 0);
    kill(service->pid, signal);
}

int service_wait(struct service *service)
{
    struct waiting wait = WAITING;
    int status;
    assert_true(service->pid > 0);
    while (waitpid(service->pid, &status, WNOHANG) != service->pid)
        waiting_turn(&wait);
    service->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void service_stop(struct service *service)
{
    if (service->pid > 0) {
        kill(service->pid, SIGKILL);
        waitpid(service->pid, NULL, 0);
        service->pid = 0;
    }
    static const char *const files[] = {"log", "s"};
    for (size_t i = 0; i < sizeof files / sizeof files[0] && service->folder[0] != '\0'; i++) {
        char path[SERVICE_PATH_MAX + 8];
        snprintf(path, sizeof path, "%s/%s", service->folder, files[i]);
        unlink(path);
    }
    rmdir(service->folder);
}

/* ---- asking it ----------------------------------------------------------------------------- */

long service_ask(const struct service *service, const struct service_request *request,
                 json_t **json)
{
    struct http_client *client;
    struct buf body = {0};
    const char *why;
    long status = 0;
    assert_int_equal(http_client_new(service->where, request->token, &client), ERR_OK);
    struct http_call call = {.method = request->method,
                             .path = request->path,
                             .body = request->body != NULL ? str_of(request->body) : STR_NONE,
                             .headers = request->headers};
    if (http_client_call(client, &call, &status, &body, &why) != ERR_OK)
        status = 0;
    if (json != NULL)
        *json = status == 0 ? NULL : json_loadb(body.bytes, body.len, 0, NULL);
    buf_fini(&body);
    http_client_free(client);
    return status;
}

long service_call(const struct service *service, const char *token, const char *method,
                  const char *path, const char *body, json_t **json)
{
    struct service_request request = {.method = method, .path = path, .token = token, .body = body};
    return service_ask(service, &request, json);
}

const json_t *json_member(const json_t *json, const char *pointer)
{
    struct str rest = str_of(pointer);
    while (rest.at != NULL && json != NULL) {
        char name[64];
        struct str part = str_cut(&rest, '.');
        int64_t index;
        snprintf(name, sizeof name, "%.*s", (int)part.len, part.at);
        json = json_is_array(json) && str_to_int(part, &index) ? json_array_get(json, (size_t)index)
                                                               : json_object_get(json, name);
    }
    return json;
}

const char *json_word(const json_t *json, const char *pointer)
{
    const char *word = json_string_value(json_member(json, pointer));
    return word != NULL ? word : "";
}

static bool shows(const json_t *member, const char *wanted)
{
    if (json_is_string(member))
        return strcmp(json_string_value(member), wanted) == 0;
    char *text = member == NULL ? NULL : json_dumps(member, JSON_COMPACT | JSON_ENCODE_ANY);
    bool is_wanted = text != NULL && strcmp(text, wanted) == 0;
    free(text);
    return is_wanted;
}

void service_wait_for(const struct service *service, const char *token, const char *path,
                      const char *pointer, const char *wanted)
{
    struct waiting wait = WAITING;
    for (bool is_there = false; !is_there;) {
        json_t *json;
        service_call(service, token, "GET", path, NULL, &json);
        is_there = shows(json_member(json, pointer), wanted);
        json_decref(json);
        if (!is_there)
            waiting_turn(&wait);
    }
}
