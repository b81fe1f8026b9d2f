/* Which hosts a daemon may call by HTTP on behalf of somebody else.
 *
 * A list of words: a name, `*.suffix`, an address, `address/bits`, or `*` for any. Without a list
 * it is `*`. What is only allowed by `*` may not lead to a link-local, multicast or unspecified
 * address (cloud metadata is there), nor, unless `loopback` says so, to this machine itself. An
 * IPv6 address that holds an IPv4 address is judged as both. */
#ifndef IO_HOST_LIST_H
#define IO_HOST_LIST_H

#include <sys/socket.h>

#include "base/err.h"
#include "base/str.h"

struct host_list;
/* words: separated by commas or blanks, NULL or "" for none. ERR_INVALID: `*bad` is the word that
 * cannot be read, lent by `words`; empty: there is nothing but commas and blanks. */
enum err host_list_new(const char *words, bool loopback, struct host_list **out,
                       struct str *bad) MUST_CHECK;
void host_list_free(struct host_list *list); /* NULL is fine */
/* NULL, or what is wrong with the value of the option `call_hosts`, for a person. Static text. */
const char *host_list_fault(const char *words);

/* May it be asked for at all? `host` as in a URL, [brackets] around an IPv6 address. False is
 * final, true is to be followed by host_list_reaches() once its addresses are known. */
bool host_list_names(const struct host_list *list, struct str host);
bool host_list_reaches(const struct host_list *list, struct str host,
                       const struct sockaddr *address);

#endif
