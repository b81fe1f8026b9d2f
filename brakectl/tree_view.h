/* A tree of runs as people draw it, from the broker's JSON. */
#ifndef BRAKECTL_TREE_VIEW_H
#define BRAKECTL_TREE_VIEW_H

#include <jansson.h>

#include "base/buf.h"

/* tree: the answer of GET /v1/roots/{root}/tree: parents stand before their children. A run whose
 * parent is not in it is drawn at the top. */
void tree_view(const json_t *tree, bool with_colour, struct buf *out);
/* Its last line: how many runs, in which states. */
void tree_view_summary(const json_t *tree, bool with_colour, struct buf *out);
/* What people call a run: its agent's name, else its id. Lends. */
const char *tree_view_name(const json_t *node);

#endif
