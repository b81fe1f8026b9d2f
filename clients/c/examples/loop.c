/* A server on a libuv loop of its own: a run for each request, here one that ends by itself after
 * STEPS hundredths of a second. Nothing blocks, and every callback comes from the loop.
 *
 *     loop [STEPS]
 *
 * cc loop.c $(pkg-config --cflags --libs brakewire libuv) */
#include <stdio.h>
#include <stdlib.h>

#include <brakewire/brakewire.h>
#include <uv.h>

struct request {
    uv_timer_t work;
    struct bw_client *client;
    struct bw_run *run;
    long steps_left;
};

static void on_ended(void *owner, const struct bw_answer *answer)
{
    struct request *request = owner;
    (void)answer;
    bw_client_close(request->client);
}

static void finish(struct request *request, enum bw_end state)
{
    uv_close((uv_handle_t *)&request->work, NULL);
    bw_run_end_then(request->run, state, on_ended, request);
}

static void on_cancel(void *owner, struct bw_run *run, const struct bw_cancel *cancel)
{
    (void)run;
    printf("cancelled by %s: %s\n", cancel->by, cancel->reason);
    finish(owner, BW_CANCELLED);
}

static void on_step(uv_timer_t *timer)
{
    struct request *request = timer->data;
    if (--request->steps_left > 0)
        return;
    printf("finished\n");
    finish(request, BW_SUCCESS);
}

static void on_started(void *owner, const struct bw_answer *answer)
{
    struct request *request = owner;
    if (answer->err != BW_OK) {
        fprintf(stderr, "not started: %s\n", answer->detail);
        bw_client_close(request->client);
        return;
    }
    request->run = answer->run;
    printf("run %s\n", bw_run_id(request->run));
    fflush(stdout);
    uv_timer_init(uv_default_loop(), &request->work);
    request->work.data = request;
    uv_timer_start(&request->work, on_step, 10, 10);
}

int main(int argc, char *argv[])
{
    struct request request = {.steps_left = argc > 1 ? strtol(argv[1], NULL, 10) : 1000};
    struct bw_run_params params = {
        .agent = "researcher", .on_cancel = on_cancel, .owner = &request};
    if (bw_client_open_on_loop(uv_default_loop(), NULL, &request.client) != BW_OK
        || bw_run_start_then(request.client, &params, on_started, &request) != BW_OK) {
        fprintf(stderr, "not started: %s\n", bw_why());
        return EXIT_FAILURE;
    }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return EXIT_SUCCESS;
}
