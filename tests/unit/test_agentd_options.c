/* What follows from the options of an agentd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "agentd/options.h"

/* Three renewals in a row may be cut, and there is still time for another before two leases are
 * over. */
static void between_two_tries_the_lease_is_never_forgotten(void **state)
{
    (void)state;
    static const int64_t lease_ms[] = {500, 1500, 15000, 600000};
    for (size_t i = 0; i < sizeof lease_ms / sizeof *lease_ms; i++) {
        struct settings settings = {.lease = MILLIS(lease_ms[i])};
        struct span longest = settings_redis(&settings).backoff_max;
        assert_true(longest.ms > 0 && longest.ms <= 2000);
        assert_true(longest.ms * 4 <= lease_ms[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_two_tries_the_lease_is_never_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
