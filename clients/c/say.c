#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "inside.h"

enum { WHY_MAX = 512 };

static _Thread_local char why[WHY_MAX];

const char *bw_why(void)
{
    return why;
}

enum bw_err fault(enum bw_err err, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(why, sizeof why, format, list);
    va_end(list);
    return err;
}

const char *bw_err_text(enum bw_err err)
{
    switch (err) {
    case BW_OK:
        return "success";
    case BW_ERR_CANCELLED:
        return "the run, or something above it, has been cancelled";
    case BW_ERR_FROZEN:
        return "no more checkpoint for this run";
    case BW_ERR_FENCED:
        return "a later life of this run exists";
    case BW_ERR_OVER:
        return "the run has ended already";
    case BW_ERR_NOT_CANCELLED:
        return "nobody cancelled this run";
    case BW_ERR_UNAVAILABLE:
        return "not possible now";
    case BW_ERR_REFUSED:
        return "refused by the agentd";
    case BW_ERR_OFFLINE:
        return "no agentd answers";
    case BW_ERR_INVALID:
        return "an argument is wrong";
    case BW_ERR_WOULD_BLOCK:
        return "this would block the loop";
    case BW_ERR_NOMEM:
        return "out of memory";
    case BW_ERR_SYSTEM:
        return "system call failed";
    }
    return "unknown error";
}

enum bw_err err_of_code(const char *code, long status)
{
    static const struct {
        const char *code;
        enum bw_err err;
    } known[] = {
        {"cancelled", BW_ERR_CANCELLED},
        {"frozen", BW_ERR_FROZEN},
        {"fenced", BW_ERR_FENCED},
        {"over", BW_ERR_OVER},
        {"not_cancelled", BW_ERR_NOT_CANCELLED},
        {"held", BW_ERR_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].code, code) == 0)
            return known[i].err;
    if (status >= 200 && status < 300)
        return BW_OK;
    return status == 429 || status >= 500 ? BW_ERR_UNAVAILABLE : BW_ERR_REFUSED;
}

const char *word_of(const json_t *json, const char *member)
{
    const char *word = json_string_value(json_object_get(json, member));
    return word != NULL ? word : "";
}

void say(struct bw_client *client, enum bw_log_level level, const char *format, ...)
{
    char text[WHY_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (client->options.on_log != NULL)
        client->options.on_log(client->options.owner, level, text);
    else if (level == BW_LOG_WARNING)
        fprintf(stderr, "brakewire: %s\n", text);
}
