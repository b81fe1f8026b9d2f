/* Which hosts may be called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <uv.h>

#include <cmocka.h>

#include "io/host_list.h"
#include "io/http_caller.h"

static struct host_list *list_of(const char *words, bool loopback)
{
    struct host_list *list;
    struct str bad;
    assert_int_equal(host_list_new(words, loopback, &list, &bad), ERR_OK);
    return list;
}

static bool reaches(const struct host_list *list, const char *host, const char *address)
{
    struct sockaddr_storage bytes = {0};
    if (uv_ip4_addr(address, 0, (struct sockaddr_in *)&bytes) != 0)
        assert_int_equal(uv_ip6_addr(address, 0, (struct sockaddr_in6 *)&bytes), 0);
    return host_list_reaches(list, str_of(host), (const struct sockaddr *)&bytes);
}

static void without_a_list_everything_but_metadata_is_reached(void **state)
{
    (void)state;
    struct host_list *list = list_of(NULL, true);
    assert_true(host_list_names(list, STR("agent.example")));
    assert_true(reaches(list, "agent", "10.1.2.3"));
    assert_true(reaches(list, "agent", "2001:db8::1"));
    assert_true(reaches(list, "localhost", "127.0.0.1"));
    assert_true(reaches(list, "localhost", "::1"));
    assert_false(reaches(list, "metadata", "169.254.169.254"));
    assert_false(reaches(list, "metadata", "::ffff:169.254.169.254"));
    assert_false(reaches(list, "x", "fe80::1"));
    assert_false(reaches(list, "x", "0.0.0.0"));
    assert_false(reaches(list, "x", "::"));
    assert_false(reaches(list, "x", "224.0.0.1"));
    host_list_free(list);
}

static void what_holds_an_ipv4_address_is_judged_by_it(void **state)
{
    (void)state;
    static const char *const metadata[] = {"::169.254.169.254", "64:ff9b::a9fe:a9fe",
                                           "2002:a9fe:a9fe::1", "::ffff:0:a9fe:a9fe",
                                           "2002:7f00:1::",     "64:ff9b::127.0.0.1",
                                           "64:ff9b::",         "2002:e000:1::"};
    static const char *const elsewhere[] = {"64:ff9b:1::7f00:1", "2001::1"};
    static const char *const fine[] = {"64:ff9b::808:808", "2002:808:808::1", "::8.8.8.8",
                                       "2001:db8::7f00:1"};
    struct host_list *any = list_of("*", false);
    struct host_list *ten = list_of("10.0.0.0/8", false);
    struct host_list *v6 = list_of("::/0", false);
    struct host_list *nat64 = list_of("64:ff9b::/96", false);
    for (size_t i = 0; i < sizeof metadata / sizeof metadata[0]; i++)
        if (reaches(any, "x", metadata[i]))
            fail_msg("%s is reached", metadata[i]);
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++)
        assert_false(reaches(any, "x", elsewhere[i]));
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_true(reaches(any, "x", fine[i]));
    assert_true(reaches(ten, "x", "64:ff9b::a00:1"));
    assert_true(reaches(ten, "x", "2002:a00:1::5"));
    assert_false(reaches(ten, "x", "64:ff9b::b00:1"));
    assert_true(host_list_names(ten, STR("[64:ff9b::a00:1]")));
    assert_false(host_list_names(ten, STR("[64:ff9b::b00:1]")));
    assert_true(reaches(v6, "x", "2001:db8::1"));
    assert_false(reaches(v6, "x", "10.1.2.3")); /* its bytes may look like it */
    assert_false(reaches(v6, "x", "::ffff:10.1.2.3"));
    assert_true(reaches(nat64, "x", "64:ff9b::808:808")); /* by its own name */
    struct host_list *lists[] = {any, ten, v6, nat64};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        host_list_free(lists[i]);
}

static void here_ipv6_loopback_is_reached_where_it_may(void **state)
{
    (void)state;
    struct host_list *list = list_of("*", true);
    assert_true(reaches(list, "localhost", "::1"));
    assert_true(reaches(list, "localhost", "64:ff9b::7f00:1"));
    assert_false(reaches(list, "localhost", "::"));
    host_list_free(list);
}

static void a_broker_does_not_call_its_own_host(void **state)
{
    (void)state;
    struct host_list *list = list_of("", false);
    assert_false(reaches(list, "localhost", "127.0.0.1"));
    assert_false(reaches(list, "localhost", "127.9.9.9"));
    assert_false(reaches(list, "localhost", "::1"));
    assert_false(reaches(list, "localhost", "::ffff:127.0.0.1"));
    assert_true(reaches(list, "agent", "10.1.2.3"));
    host_list_free(list);
}

static void a_list_names_hosts_suffixes_and_blocks(void **state)
{
    (void)state;
    struct host_list *list = list_of("agent.example, *.agents.svc 10.0.0.0/8,169.254.1.1", false);
    assert_true(host_list_names(list, STR("AGENT.example")));
    assert_true(host_list_names(list, STR("a.b.agents.svc")));
    assert_true(host_list_names(list, STR("other.example"))); /* its address may be in a block */
    assert_false(host_list_names(list, STR("192.0.2.1")));
    assert_true(host_list_names(list, STR("10.200.0.1")));
    assert_true(reaches(list, "agent.example", "192.0.2.1"));
    assert_true(reaches(list, "agent.example", "127.0.0.1")); /* it was named */
    assert_true(reaches(list, "x.agents.svc", "192.0.2.1"));
    assert_false(reaches(list, "agents.svc", "192.0.2.1"));
    assert_false(reaches(list, "notagents.svc", "192.0.2.1"));
    assert_true(reaches(list, "other.example", "10.200.0.1"));
    assert_false(reaches(list, "other.example", "11.0.0.1"));
    assert_true(reaches(list, "x", "169.254.1.1"));
    assert_false(reaches(list, "x", "169.254.169.254"));
    host_list_free(list);
}

static void names_alone_refuse_others_at_once(void **state)
{
    (void)state;
    struct host_list *list = list_of("agent.example", true);
    assert_null(http_url_fault(list, STR("http://agent.example:2024/x")));
    assert_non_null(http_url_fault(list, STR("http://other.example")));
    assert_non_null(http_url_fault(list, STR("http://127.0.0.1")));
    host_list_free(list);
}

static void a_word_that_is_none_of_these_is_said(void **state)
{
    (void)state;
    assert_null(host_list_fault(NULL));
    assert_null(host_list_fault("*"));
    assert_non_null(strstr(host_list_fault("fine, 10.0.0.0/40"), "10.0.0.0/40"));
    assert_non_null(host_list_fault("http://agent"));
    assert_non_null(host_list_fault("*.*"));
    assert_null(host_list_fault(""));
    static const char *const none[] = {",", " ", ", ,\t"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_non_null(strstr(host_list_fault(none[i]), "write names"));
}

static void only_http_without_a_user_is_a_url(void **state)
{
    (void)state;
    struct host_list *list = list_of(NULL, true);
    static const char *const fine[] = {"http://x", "https://x/y?z=1", "http://[::1]:80/"};
    static const char *const wrong[] = {
        "",    "x",          "ftp://x",       "file:///etc/passwd", "http://",
        "//x", "http://u@x", "http://u:p@x/", "gopher://x",         "http://x:99999/"};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        assert_null(http_url_fault(list, str_of(fine[i])));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (http_url_fault(list, str_of(wrong[i])) == NULL)
            fail_msg("%s is taken", wrong[i]);
    host_list_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_list_everything_but_metadata_is_reached),
        cmocka_unit_test(what_holds_an_ipv4_address_is_judged_by_it),
        cmocka_unit_test(here_ipv6_loopback_is_reached_where_it_may),
        cmocka_unit_test(a_broker_does_not_call_its_own_host),
        cmocka_unit_test(a_list_names_hosts_suffixes_and_blocks),
        cmocka_unit_test(names_alone_refuse_others_at_once),
        cmocka_unit_test(a_word_that_is_none_of_these_is_said),
        cmocka_unit_test(only_http_without_a_user_is_a_url),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
