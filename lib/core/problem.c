#include "core/problem.h"

#include <assert.h>

static const struct {
    unsigned status;
    const char *code, *title;
} about[PROBLEM_COUNT] = {
#define X(name, status, code, title) {status, code, title},
    PROBLEM_LIST(X)
#undef X
};

unsigned problem_status(enum problem problem)
{
    assert(problem < PROBLEM_COUNT);
    return about[problem].status;
}

const char *problem_code(enum problem problem)
{
    assert(problem < PROBLEM_COUNT);
    return about[problem].code;
}

const char *problem_title(enum problem problem)
{
    assert(problem < PROBLEM_COUNT);
    return about[problem].title;
}
