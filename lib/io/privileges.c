#include "io/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"

/* ---- who ----------------------------------------------------------------------------------- */

static bool is_said(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool is_number(const char *text, uint32_t *out)
{
    int64_t number;
    if (!str_to_int(str_of(text), &number) || number < 0 || number >= UINT32_MAX)
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool find_user(const char *name, struct privileges *out, bool *has_group)
{
    uint32_t number;
    const struct passwd *user = is_number(name, &number) ? getpwuid(number) : getpwnam(name);
    if (user != NULL) {
        out->uid = user->pw_uid;
        out->gid = user->pw_gid;
        *has_group = true;
        return true;
    }
    *has_group = false; /* in a container a number needs no name */
    out->uid = is_number(name, &number) ? number : 0;
    return is_number(name, &number);
}

static bool find_group(const char *name, gid_t *out)
{
    uint32_t number;
    if (is_number(name, &number)) {
        *out = number;
        return true;
    }
    const struct group *group = getgrnam(name);
    if (group != NULL)
        *out = group->gr_gid;
    return group != NULL;
}

enum err privileges_find(const char *user, const char *group, struct privileges *out,
                         const char **why)
{
    struct privileges found = {.drops = is_said(user)};
    bool has_group = false;
    *why = NULL;
    if (!found.drops && is_said(group))
        *why = "group: only together with user";
    else if (found.drops && !find_user(user, &found, &has_group))
        *why = "user: there is no such user";
    else if (is_said(group) && !find_group(group, &found.gid))
        *why = "group: there is no such group";
    else if (found.drops && !has_group && !is_said(group))
        *why = "group: is needed, because this user has no entry that names one";
    else if (found.drops && geteuid() != 0 && (found.uid != geteuid() || found.gid != getegid()))
        *why = "user, group: only root may become somebody else; leave them out";
    else if (found.drops && found.uid == 0)
        *why = "user: root is no user to become; leave it out to stay root";
    if (*why != NULL)
        return ERR_INVALID;
    *out = found;
    return ERR_OK;
}

enum err privileges_give(const struct privileges *to, const char *path)
{
    return !to->drops || lchown(path, to->uid, to->gid) == 0 ? ERR_OK : ERR_SYSTEM;
}

/* ---- dropping ------------------------------------------------------------------------------ */

static const uint32_t kill_capabilities = 1u << CAP_KILL | 1u << CAP_SYS_PTRACE;

/* Of 64; those that we keep are all below 32. */
static bool set_capabilities(uint32_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = wanted, .permitted = wanted}};
    return syscall(SYS_capset, &header, data) == 0;
}

static bool has_exactly(uint32_t wanted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    return syscall(SYS_capget, &header, data) == 0 && data[0].effective == wanted
           && data[0].permitted == wanted && data[1].effective == 0 && data[1].permitted == 0;
}

/* So that nothing that is executed gets them back either. */
static void empty_bounding_set(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
}

static bool become(const struct privileges *to, bool keeps_kill)
{
    empty_bounding_set();
    return prctl(PR_SET_KEEPCAPS, keeps_kill ? 1 : 0, 0, 0, 0) == 0 && setgroups(1, &to->gid) == 0
           && setresgid(to->gid, to->gid, to->gid) == 0 && setresuid(to->uid, to->uid, to->uid) == 0
           && set_capabilities(keeps_kill ? kill_capabilities : 0)
           && prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0;
}

static bool is_for_good(const struct privileges *to, bool keeps_kill)
{
    uid_t uid[3];
    gid_t gid[3], only[2];
    return getresuid(&uid[0], &uid[1], &uid[2]) == 0 && getresgid(&gid[0], &gid[1], &gid[2]) == 0
           && uid[0] == to->uid && uid[1] == to->uid && uid[2] == to->uid && gid[0] == to->gid
           && gid[1] == to->gid && gid[2] == to->gid && getgroups(2, only) == 1
           && only[0] == to->gid && setresuid(0, 0, 0) != 0 && setresgid(0, 0, 0) != 0
           && has_exactly(keeps_kill ? kill_capabilities : 0);
}

enum err privileges_drop(const struct privileges *to, bool keeps_kill, const char **why)
{
    *why = NULL;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        *why = "the kernel does not know no_new_privs";
    else if (!to->drops || geteuid() != 0)
        return ERR_OK; /* it is who it has to be */
    else if (!become(to, keeps_kill))
        *why = "user, group: this process may not change who it is";
    else if (!is_for_good(to, keeps_kill))
        *why = "user: the privileges of root could be had again";
    return *why == NULL ? ERR_OK : ERR_REFUSED;
}
