/* One field of the hash bw:{root} into a core/tree.h tree. */
#ifndef WIRE_TREE_FIELDS_H
#define WIRE_TREE_FIELDS_H

#include "base/err.h"
#include "core/tree.h"

/* Unknown fields are ignored (ERR_OK); a known field with a value that does not decode is
 * ERR_MALFORMED and leaves the tree as it was; ERR_NOMEM. */
enum err wire_tree_field(struct tree *tree, struct str field, struct str value) MUST_CHECK;

#endif
