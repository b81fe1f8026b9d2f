#include "io/sse_reader.h"

#include <stdio.h>

enum { EVENT_MAX_BYTES = 64 << 20 };

void sse_reader_init(struct sse_reader *reader, sse_event on_event, void *owner)
{
    *reader = (struct sse_reader){.on_event = on_event,
                                  .owner = owner,
                                  .line.limit = EVENT_MAX_BYTES,
                                  .data.limit = EVENT_MAX_BYTES};
}

void sse_reader_fini(struct sse_reader *reader)
{
    buf_fini(&reader->line);
    buf_fini(&reader->data);
}

static void dispatch(struct sse_reader *reader)
{
    if (reader->data.len > 0) {
        json_t *json = json_loadb(reader->data.bytes, reader->data.len, 0, NULL);
        reader->on_event(reader->owner, reader->name[0] != '\0' ? reader->name : "message", json);
        json_decref(json);
    }
    buf_clear(&reader->data);
    reader->name[0] = '\0';
}

/* Lines that begin with ':' are heartbeats; ids are not needed: each connect begins with all.
 * False: the event is too long. */
static bool take_line(struct sse_reader *reader, struct str line)
{
    if (line.len == 0) {
        dispatch(reader);
        return true;
    }
    struct str rest = line, field = str_cut(&rest, ':');
    if (rest.len > 0 && rest.at[0] == ' ')
        rest = (struct str){rest.at + 1, rest.len - 1};
    if (str_is(field, "event"))
        snprintf(reader->name, sizeof reader->name, "%.*s", (int)rest.len,
                 rest.len > 0 ? rest.at : "");
    return !str_is(field, "data") || buf_add_str(&reader->data, rest) == ERR_OK;
}

static struct str without_return(struct str line)
{
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    return line;
}

bool sse_reader_take(struct sse_reader *reader, struct str bytes)
{
    while (bytes.len > 0) {
        const char *end = memchr(bytes.at, '\n', bytes.len);
        size_t len = end != NULL ? (size_t)(end - bytes.at) : bytes.len;
        if (buf_add(&reader->line, bytes.at, len) != ERR_OK)
            return false;
        if (end == NULL)
            return true;
        bytes = (struct str){end + 1, bytes.len - len - 1};
        if (!take_line(reader, without_return(buf_str(&reader->line))))
            return false;
        buf_clear(&reader->line);
    }
    return true;
}
