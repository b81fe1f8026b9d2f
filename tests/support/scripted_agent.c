#include "support/scripted_agent.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/http_server.h"

enum { BUSY_TIMES = 2 };

static void copy(char *out, size_t room, struct str text)
{
    snprintf(out, room, "%.*s", (int)text.len, text.len > 0 ? text.at : "");
}

static void on_request(void *owner, struct http_request *request)
{
    struct agent_seen *seen = owner;
    struct str path = http_path(request);
    unsigned status = 202;
    copy(seen->method, sizeof seen->method, http_method(request));
    copy(seen->body, sizeof seen->body, http_body(request));
    copy(seen->extra, sizeof seen->extra, http_header(request, "x-extra"));
    if (str_is(path, "/late")) {
        seen->late++;
        return;
    }
    if (str_is(path, "/busy")) {
        status = ++seen->busy > BUSY_TIMES ? 202 : 503;
    } else if (str_is(path, "/broken")) {
        seen->broken++;
        status = 500;
    } else {
        seen->ok++;
    }
    http_answer(request, status, "text/plain", STR("said"), NULL);
}

static void serve(struct agent_seen *seen, int ready)
{
    static const struct http_server_events events = {.on_request = on_request};
    uv_loop_t loop;
    struct http_server *server;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    uv_loop_init(&loop);
    if (http_server_open(&loop, &(struct http_server_options){.tcp = "127.0.0.1:0"}, &events, seen,
                         &server, NULL)
        != ERR_OK)
        _exit(1);
    unsigned port = http_server_port(server);
    if (write(ready, &port, sizeof port) != sizeof port)
        _exit(1);
    uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

void scripted_agent_start(struct scripted_agent *agent)
{
    int ready[2];
    agent->seen =
        mmap(NULL, sizeof *agent->seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(agent->seen != MAP_FAILED);
    assert_int_equal(pipe(ready), 0);
    agent->pid = fork();
    if (agent->pid == 0)
        serve(agent->seen, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &agent->port, sizeof agent->port), sizeof agent->port);
    close(ready[0]);
}

void scripted_agent_end(struct scripted_agent *agent)
{
    kill(agent->pid, SIGKILL);
    waitpid(agent->pid, NULL, 0);
    munmap(agent->seen, sizeof *agent->seen);
}
