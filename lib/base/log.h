/* One line is one fact, on stderr: logfmt, or JSON for machines.
 *
 *     log_info("run moved", "run=%s from=%s to=%s", id, from, to);
 *
 * `fields` is printf-formatted logfmt: key=value pairs, values without blanks or quoted with
 * log_quoted(). error means a person must act. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_setup(enum log_level level, bool json, const char *program);
bool log_level_parse(const char *text, enum log_level *out);
void log_line(enum log_level level, const char *fact, const char *fields, ...)
    __attribute__((format(printf, 3, 4)));
/* `text` quoted and escaped into `out`, cut to fit; returns out. */
const char *log_quoted(const char *text, char *out, unsigned long room);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
