/* An agent that works until it has finished or is cancelled:
 *
 *     agent [STEPS]
 *
 * cc agent.c $(pkg-config --cflags --libs brakewire) */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <brakewire/brakewire.h>

static long steps_left;

static bool work(void)
{
    const struct timespec step = {0, 10 * 1000 * 1000};
    nanosleep(&step, NULL);
    return --steps_left > 0;
}

int main(int argc, char *argv[])
{
    struct bw_client *client;
    struct bw_run *run;
    struct bw_cancel cancel;
    struct bw_run_params params = {.agent = "researcher"};
    steps_left = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    if (bw_client_open(NULL, &client) != BW_OK || bw_run_start(client, &params, &run) != BW_OK) {
        fprintf(stderr, "not started: %s\n", bw_why());
        return EXIT_FAILURE;
    }
    printf("run %s\n", bw_run_id(run));
    fflush(stdout);

    while (!bw_run_is_cancelled(run) && work())
        ;

    if (bw_run_cancel(run, &cancel))
        printf("cancelled by %s: %s\n", cancel.by, cancel.reason);
    else
        printf("finished\n");
    bw_run_end(run, bw_run_is_cancelled(run) ? BW_CANCELLED : BW_SUCCESS);
    bw_client_close(client);
    return EXIT_SUCCESS;
}
