#include "io/redis_news.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "io/redis_url.h"

enum { AGAIN_MS = 60 * 1000 };

void redis_news_init(struct redis_news *news, const char *text)
{
    struct redis_url url;
    struct buf shown = {0};
    const char *why;
    char quoted[512];
    *news = (struct redis_news){0};
    if (redis_url_parse(text, &url, &why) != ERR_OK)
        return;
    redis_url_print(&url, &shown);
    redis_url_fini(&url);
    (void)buf_add_text(&news->address,
                       log_quoted(shown.len > 0 ? shown.bytes : "", quoted, sizeof quoted));
    buf_fini(&shown);
}

void redis_news_fini(struct redis_news *news)
{
    buf_fini(&news->address);
}

static bool is_news(struct redis_news_line *line, struct str why, struct instant now)
{
    char cut[sizeof line->why[0]];
    snprintf(cut, sizeof cut, "%.*s", (int)(why.len < sizeof cut ? why.len : sizeof cut - 1),
             why.at);
    bool is_known = strcmp(line->why[0], cut) == 0 || strcmp(line->why[1], cut) == 0;
    if (is_known && now.ms - line->said.ms < AGAIN_MS)
        return false;
    if (!is_known) {
        memcpy(line->why[1], line->why[0], sizeof cut);
        memcpy(line->why[0], cut, sizeof cut);
    }
    line->said = now;
    return true;
}

static void say(struct redis_news *news, struct redis_news_line *line, const char *fact,
                struct str why, struct instant now)
{
    char text[320], quoted[400];
    snprintf(text, sizeof text, "%.*s", (int)why.len, why.at);
    log_line(is_news(line, why, now) ? LOG_WARN : LOG_DEBUG, fact, "redis=%.*s because=%s",
             (int)news->address.len, news->address.bytes, log_quoted(text, quoted, sizeof quoted));
}

void redis_news_away(struct redis_news *news, struct str why, struct instant now)
{
    say(news, &news->away, "redis is away", why, now);
}

void redis_news_there(struct redis_news *news, const struct redis_server *server, bool another)
{
    news->away = (struct redis_news_line){0};
    log_info("redis is there", "redis=%.*s server=%.*s version=%.*s role=%.*s another=%d",
             (int)news->address.len, news->address.bytes, (int)server->name.len, server->name.at,
             (int)server->version.len, server->version.at, (int)server->role.len, server->role.at,
             another);
}

void redis_news_refuses(struct redis_news *news, struct str why, struct instant now)
{
    say(news, &news->refuses, "redis takes no writes", why, now);
}
