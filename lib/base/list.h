/* A doubly linked list through the objects themselves.
 *
 * The link's field is named after the list it is in: `struct link in_due_order`. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *next, *prev; /* both NULL: in no list */
};

struct list {
    struct link head; /* a ring through the head */
};

static inline void list_init(struct list *list)
{
    list->head.next = list->head.prev = &list->head;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline bool link_is_in_list(const struct link *link)
{
    return link->next != NULL;
}

static inline void list_add_before(struct link *place, struct link *link)
{
    link->prev = place->prev;
    link->next = place;
    place->prev->next = link;
    place->prev = link;
}

static inline void list_add_last(struct list *list, struct link *link)
{
    list_add_before(&list->head, link);
}

static inline void link_remove(struct link *link)
{
    if (link->next == NULL)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

#define LIST_OWNER(link, type, field) ((type *)(void *)((char *)(link) - offsetof(type, field)))

/* `at` may be removed from the list in the body. */
#define LIST_EACH(at, then, list)                                                    \
    for (struct link *at = (list)->head.next, *then = at->next; at != &(list)->head; \
         at = then, then = at->next)

#endif
