/* The operations of a plan: the same table as src/sampan/runtime/plan.py, where each is described.
 *
 *   X(code, name, arguments)     n integer, s string, b bytes, l list of strings (each followed by NUL)
 */
#ifndef SAMPAN_OPERATIONS_H
#define SAMPAN_OPERATIONS_H

#define OPERATIONS(X)                  \
    X(1, clone, "nn")                  \
    X(2, set_namespace, "nn")          \
    X(3, unshare, "n")                 \
    X(4, map_ids, "sss")               \
    X(5, write_slot, "nb")             \
    X(6, write_sysctl, "ss")           \
    X(7, pause, "s")                   \
    X(8, wait_start, "nn")             \
    X(9, run_hook, "sllbbns")          \
    X(10, open_tree, "nsn")            \
    X(11, make_mount, "nssnl")         \
    X(12, set_mount, "nnnnnn")         \
    X(13, attach, "nsnnn")             \
    X(14, attach_root, "ns")           \
    X(15, set_propagation, "snn")      \
    X(16, pivot_root, "")              \
    X(17, make_directory, "snnn")      \
    X(18, make_node, "snnnn")          \
    X(19, make_symlink, "ss")          \
    X(20, copy_up, "ns")               \
    X(21, mask, "s")                   \
    X(22, make_readonly, "s")          \
    X(23, set_hostname, "s")           \
    X(24, set_domainname, "s")         \
    X(25, set_limit, "nnn")            \
    X(26, set_oom_score, "nn")         \
    X(27, set_scheduler, "nnnnnnn")    \
    X(28, set_io_priority, "n")        \
    X(29, set_affinity, "b")           \
    X(30, set_personality, "n")        \
    X(31, set_umask, "n")              \
    X(32, new_session, "")             \
    X(33, join_keyring, "s")           \
    X(34, open_console, "nnnsn")       \
    X(35, set_stdio, "n")              \
    X(36, change_directory, "s")       \
    X(37, drop_bounding, "n")          \
    X(38, set_ids, "nnbn")             \
    X(39, set_capabilities, "nnnn")    \
    X(40, no_new_privileges, "")       \
    X(41, seccomp, "nb")               \
    X(42, die_with_parent, "")         \
    X(43, find_program, "sl")          \
    X(44, reap, "")                    \
    X(45, execute, "sllnnb")           \
    X(46, change_root, "l")            \
    X(47, set_time_offsets, "s")       \
    X(48, raise_loopback, "")          \
    X(49, own_stdio, "n")              \
    X(50, copy_mode, "ns")             \
    X(51, set_memory_policy, "nb")     \
    X(52, wait_slot, "n")              \
    X(53, read_plan, "nn")             \
    X(54, take_slot, "nn")             \
    X(55, join_cgroup, "l")

#define MAXIMUM_ARGUMENTS 7

enum operation_code {
#define X(code, name, arguments) OPERATION_##name = (code),
    OPERATIONS(X)
#undef X
};

#endif
