/* What other programs answer, agent cards, and the texts that links hold: bytes of strangers. The
 * first byte says what the rest is taken for. */
#include <assert.h>

#include "remote/answers.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void read_text(enum link_kind kind, struct str text)
{
    struct remote_work work;
    struct buf out = {0};
    if (!remote_text_read(kind, text, &work))
        return;
    assert(work.url.len > 0 && work.url.len <= text.len);
    if (kind == LINK_A2A && remote_text_decode(work.task_id, &out) == ERR_OK)
        for (size_t i = 0; i < out.len; i++)
            assert(out.bytes[i] != '"' && out.bytes[i] != '\\' && out.bytes[i] > ' ');
    buf_fini(&out);
}

/* What can be written can be read. */
static void write_text(struct str text)
{
    struct str rest = text, id = str_cut(&rest, '\n');
    struct remote_work work = {.kind = LINK_A2A, .url = rest, .task_id = id}, read;
    struct buf out = {0}, decoded = {0};
    if (remote_text_write(&work, &out) == NULL) {
        assert(remote_text_read(LINK_A2A, buf_str(&out), &read));
        assert(remote_text_decode(read.task_id, &decoded) == ERR_OK);
        assert(str_eq(buf_str(&decoded), id) && str_eq(read.url, rest));
    }
    buf_fini(&out);
    buf_fini(&decoded);
}

static void read_card(struct str body)
{
    struct a2a_interface found;
    if (!a2a_read_card(body, A2A_ANY_VERSION, A2A_ANY_BINDING, &found))
        return;
    assert(found.version != A2A_ANY_VERSION && found.binding != A2A_ANY_BINDING);
    assert(found.path.len > 0 && found.path.bytes[0] == '/');
    buf_fini(&found.path);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const long statuses[] = {200, 400, 404, 409, 503};
    if (size == 0)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    switch (data[0] % 8) {
    case 0:
        read_card(rest);
        break;
    case 1:
        (void)langgraph_read_run(rest);
        (void)langgraph_has_no_such_run(rest);
        break;
    case 2:
        read_text(LINK_LANGGRAPH, rest);
        break;
    case 3:
        read_text(LINK_A2A, rest);
        break;
    case 4:
        read_text(LINK_HTTP, rest);
        break;
    case 5:
        write_text(rest);
        break;
    default:
        for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
            (void)a2a_read_answer(statuses[i], rest);
        break;
    }
    return 0;
}
