/* Which run is meant: where it is, whether it is of that thread, and whether it was deleted. */
#include "base/mem.h"
#include "broker/langgraph.h"
#include "wire/message.h"

bool langgraph_entry_parse(struct str text, struct langgraph_entry *out)
{
    struct str rest = text, run = str_cut(&rest, ' '), letter = str_cut(&rest, ':'),
               strategy = str_cut(&rest, ':'), number = str_cut(&rest, ':');
    str_cut(&rest, ':');
    *out = (struct langgraph_entry){.is_deleted = str_is(letter, "d"),
                                    .is_ended = str_is(letter, "e")};
    return id_parse(run, &out->run) && rest.at != NULL && id_parse(rest, &out->root)
           && strategy.len == 1 && multitask_of_letter(strategy.at[0], &out->multitask)
           && str_to_int(number, &out->number);
}

/* ---- one look after the other ------------------------------------------------------------------
 */
static bool is_trouble(const struct store_answer *answer)
{
    return answer->verdict == SAID_OFFLINE || answer->verdict == SAID_UNWRITABLE
           || answer->verdict == SAID_ERROR;
}

static void ask(struct langgraph_seek *seek, const struct store_call *call, store_answered done)
{
    static const char why[] = "no room for another question to Redis";
    const struct store_answer no_room = {.verdict = SAID_OFFLINE, .text = str_of(why)};
    if (store_send(seek->daemon->store, call, done, seek, 0) != ERR_OK)
        seek->done(seek, false, &no_room);
}

static void on_entry(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_seek *seek = owner;
    struct langgraph_entry entry;
    (void)token;
    if (is_trouble(answer)) {
        seek->done(seek, false, answer);
        return;
    }
    bool is_listed = answer->list_count > 0 && langgraph_entry_parse(answer->list[0], &entry);
    seek->multitask = is_listed ? entry.multitask : MULTITASK_ENQUEUE;
    seek->done(seek, !is_listed || !entry.is_deleted, NULL);
}

static void on_meta(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_seek *seek = owner;
    struct run_meta meta;
    (void)token;
    if (is_trouble(answer)) {
        seek->done(seek, false, answer);
        return;
    }
    bool is_there = answer->verdict == SAID_OK && wire_meta_decode(answer->text, &meta) == ERR_OK;
    if (!is_there || (seek->thread != NULL && !str_is(meta.thread, seek->thread))) {
        seek->done(seek, false, NULL);
        return;
    }
    if (seek->thread == NULL)
        seek->thread = mem_copy(meta.thread);
    if (seek->thread == NULL || meta.thread.len == 0) {
        seek->done(seek, true, NULL);
        return;
    }
    struct store_call call = {
        .op = STORE_THREAD_READ, .id = str_of(seek->thread), .run = id_str(&seek->run)};
    ask(seek, &call, on_entry);
}

static void read_meta(struct langgraph_seek *seek)
{
    struct store_call call = {
        .op = STORE_META_READ, .root = id_str(&seek->root), .run = id_str(&seek->run)};
    ask(seek, &call, on_meta);
}

static void on_root(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_seek *seek = owner;
    (void)token;
    if (is_trouble(answer))
        seek->done(seek, false, answer);
    else if (answer->verdict == SAID_OK && id_parse(answer->text, &seek->root))
        read_meta(seek);
    else
        seek->done(seek, false, NULL);
}

void langgraph_seek(struct langgraph_seek *seek)
{
    struct str run = id_str(&seek->run);
    if (id_parse(id_minted_root(run), &seek->root))
        read_meta(seek);
    else
        ask(seek, &(struct store_call){.op = STORE_FIND_READ, .id = run}, on_root);
}

/* ---- for a request -----------------------------------------------------------------------------
 */
static void find_free(struct read *read)
{
    struct langgraph_find *find = (struct langgraph_find *)read;
    mem_free(find->seek.thread);
    mem_free(find);
}

static void find_done(struct langgraph_seek *seek, bool is_found, const struct store_answer *answer)
{
    static const struct store_answer fine = {.verdict = SAID_OK};
    struct langgraph_find *find = LIST_OWNER(seek, struct langgraph_find, seek);
    if (find->read.pending.request == NULL && is_found && find->dropped != NULL)
        find->dropped(find);
    if (read_failed(&find->read, answer != NULL ? answer : &fine))
        return;
    if (is_found) {
        find->found(find);
        return;
    }
    langgraph_refuse(find->read.pending.request, 404, find->unknown);
    read_end(&find->read);
}

void *langgraph_find_open(struct brokerd *d, struct http_request *request, size_t bytes,
                          struct str thread, struct str run)
{
    struct langgraph_find *find = read_open(d, request, bytes, find_free);
    if (find == NULL)
        return NULL;
    find->unknown = langgraph_unknown;
    find->seek = (struct langgraph_seek){
        .daemon = d, .thread = thread.at != NULL ? mem_copy(thread) : NULL, .done = find_done};
    if (id_parse(run, &find->seek.run) && (thread.at == NULL) == (find->seek.thread == NULL))
        return find;
    langgraph_refuse(request, 503, "out of memory"); /* the router has checked the id */
    read_end(&find->read);
    return NULL;
}

void langgraph_find(struct langgraph_find *find, void (*found)(struct langgraph_find *find))
{
    find->found = found;
    langgraph_seek(&find->seek);
}
