/* secret_file: what is read, and what is refused because others could have read or written it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/secret_file.h"

struct place {
    char folder[64], file[80];
    struct buf secret, why;
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    strcpy(place->folder, "/tmp/secret-file-XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->file, sizeof place->file, "%s/key", place->folder);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    unlink(place->file);
    assert_int_equal(rmdir(place->folder), 0);
    secret_wipe(&place->secret);
    buf_fini(&place->why);
    free(place);
    return 0;
}

static void make(const struct place *place, mode_t mode)
{
    int fd = open(place->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "open sesame", 11), 11);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static enum err reads(struct place *place, size_t max)
{
    buf_clear(&place->secret);
    buf_clear(&place->why);
    return secret_file_read(place->file, max, &place->secret, &place->why);
}

static void expect(struct place *place, mode_t mode, enum err wanted, const char *why)
{
    char text[256];
    make(place, mode);
    assert_int_equal(reads(place, 64), wanted);
    snprintf(text, sizeof text, why, place->file);
    assert_string_equal(place->why.len > 0 ? place->why.bytes : "", text);
    if (wanted == ERR_OK)
        assert_string_equal(place->secret.bytes, "open sesame");
    else
        assert_int_equal(place->secret.len, 0);
}

static void owner_and_group_may_read_it(void **state)
{
    static const mode_t modes[] = {0600, 0400, 0640, 0440, 0660};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        expect(*state, modes[i], ERR_OK, "");
}

static void what_everybody_may_read_or_write_is_refused(void **state)
{
    expect(*state, 0644, ERR_REFUSED, "can be read by everybody: chmod 600 %s");
    expect(*state, 0602, ERR_REFUSED, "can be written by everybody: chmod 600 %s");
    expect(*state, 0666, ERR_REFUSED, "can be read and written by everybody: chmod 600 %s");
}

static void what_is_no_secret_may_be_read_but_not_written(void **state)
{
    struct place *place = *state;
    char text[128];
    make(place, 0644);
    int fd = open(place->file, O_RDONLY | O_CLOEXEC);
    assert_true(secret_file_is_closed(fd, place->file, false, &place->why));
    assert_int_equal(chmod(place->file, 0646), 0);
    assert_false(secret_file_is_closed(fd, place->file, false, &place->why));
    snprintf(text, sizeof text, "can be written by everybody: chmod o-w %s", place->file);
    assert_string_equal(place->why.bytes, text);
    close(fd);
}

static void too_large_is_refused(void **state)
{
    struct place *place = *state;
    make(place, 0600);
    assert_int_equal(reads(place, 11), ERR_OK);
    assert_int_equal(reads(place, 10), ERR_TOO_LARGE);
    assert_string_equal(place->why.bytes, "is larger than 10 bytes");
}

static void what_is_missing_or_no_file_is_told(void **state)
{
    struct place *place = *state;
    assert_int_equal(reads(place, 64), ERR_SYSTEM);
    assert_string_equal(place->why.bytes, "cannot be read: No such file or directory");
    buf_clear(&place->why);
    assert_int_equal(secret_file_read(place->folder, 64, &place->secret, &place->why), ERR_INVALID);
    assert_string_equal(place->why.bytes, "is not a file");
}

/* Nobody writes into it: an open() that waits would wait for ever. */
static void a_pipe_without_a_writer_stops_nobody(void **state)
{
    struct place *place = *state;
    assert_int_equal(mkfifo(place->file, 0600), 0);
    assert_int_equal(reads(place, 64), ERR_OK);
    assert_int_equal(place->secret.len, 0);
}

static void a_pipe_of_a_shell_is_read(void **state)
{
    struct place *place = *state;
    char path[64];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "piped", 5), 5);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    assert_int_equal(secret_file_read(path, 64, &place->secret, &place->why), ERR_OK);
    assert_string_equal(place->secret.bytes, "piped");
    close(ends[0]);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(owner_and_group_may_read_it),
        STORY(what_everybody_may_read_or_write_is_refused),
        STORY(what_is_no_secret_may_be_read_but_not_written),
        STORY(too_large_is_refused),
        STORY(what_is_missing_or_no_file_is_told),
        STORY(a_pipe_without_a_writer_stops_nobody),
        STORY(a_pipe_of_a_shell_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
