/* brakewire-agentd: options, signals, the loop. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "agentd/agentd.h"
#include "base/log.h"
#include "io/privileges.h"
#include "io/uv_threads.h"

struct signals {
    uv_signal_t handle[2];
    struct agentd *daemon;
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct signals *signals = handle->data;
    log_info("signal", "number=%d", number);
    agentd_stop(signals->daemon);
}

/* Unreferenced: they do not keep the loop alive. */
static void watch_signals(uv_loop_t *loop, struct signals *signals, struct agentd *daemon)
{
    static const int numbers[2] = {SIGTERM, SIGINT};
    signals->daemon = daemon;
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        uv_signal_init(loop, &signals->handle[i]);
        signals->handle[i].data = signals;
        uv_signal_start(&signals->handle[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&signals->handle[i]);
    }
}

/* Each client may hold a stream and a request open; the usual 1,024 files are for programs that
 * serve nobody. */
static void raise_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int cannot_start(enum err err, const char *why)
{
    char quoted[256];
    log_error("cannot start", "because=%s",
              log_quoted(why != NULL ? why : err_text(err), quoted, sizeof quoted));
    return EXIT_FAILURE;
}

/* What needs root comes first: the sockets, the secrets (they were read with the options). */
static enum err open_and_drop(uv_loop_t *loop, const struct settings *settings, struct agentd **out,
                              const char **why)
{
    struct privileges become;
    enum err err = privileges_find(settings->user, settings->group, &become, why);
    if (err == ERR_OK)
        err = agentd_open(loop, settings, out, why);
    if (err == ERR_OK)
        err = privileges_give(&become, settings->socket);
    if (err == ERR_OK)
        err = privileges_drop(&become, settings->agents_of_other_users, why);
    return err;
}

static int run(const struct settings *settings)
{
    uv_loop_t loop;
    struct signals signals;
    struct agentd *daemon;
    const char *why = NULL;
    raise_file_limit();
    uv_threads_set();
    if (uv_loop_init(&loop) != 0)
        return EXIT_FAILURE;
    enum err err = open_and_drop(&loop, settings, &daemon, &why);
    if (err != ERR_OK)
        return cannot_start(err, why);
    watch_signals(&loop, &signals, daemon);
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&signals.handle[i], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return agentd_free(daemon);
}

int main(int argc, char *argv[])
{
    struct settings settings = {0};
    const struct conf_program *program = settings_program();
    switch (conf_read(program, argc, argv, &settings, NULL, stdout, stderr)) {
    case CONF_DONE:
        return EXIT_SUCCESS;
    case CONF_BAD:
        return 2;
    case CONF_GO:
        break;
    }
    log_setup((enum log_level)settings.log_level, settings.log_format == 1, "agentd");
    int code = run(&settings);
    conf_fini(program, &settings);
    return code;
}
