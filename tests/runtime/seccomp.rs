//! Seccomp profiles, as the kernel applies them.

use super::common::{Case, field};
use serde_json::json;

#[test]
fn a_rule_gives_its_errno_and_the_rest_goes_on() {
    let script = "mkdir /tmp/x; echo $?; touch /tmp/y && echo made; cat /proc/self/status";
    let Some(mut case) = Case::script("errno", script) else { return };
    case.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    });
    for no_new_privileges in [true, false] {
        case.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let done = case.run();
        assert!(done.err.contains("No space left on device"), "{done:?}");
        assert!(done.out.starts_with("1\nmade\n"), "{done:?}");
        assert_eq!(field(&done.out, "Seccomp"), "2");
        assert_eq!(field(&done.out, "Seccomp_filters"), "1");
    }
}

#[test]
fn the_log_tells_the_flags_of_the_filter() {
    let Some(mut case) = Case::script("flags", "true") else { return };
    for (flags, number) in [(json!([]), 0), (json!(["SECCOMP_FILTER_FLAG_LOG"]), 2)] {
        case.config["linux"]["seccomp"] =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags});
        let done = case.runp(&["--debug", "run", &case.id]);
        let said = format!("level=debug msg=\"seccomp filter flags: {number}\"");
        assert!(done.err.contains(&said), "{said}: {done:?}");
    }
}

#[test]
fn arguments_are_compared() {
    // personality(2): the queries pass, another personality does not.
    let Some(mut case) = Case::script("args", "chmod 700 /tmp; echo $?; chmod 755 /tmp; echo $?")
    else {
        return;
    };
    case.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
            "args": [{"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}],
        }],
    });
    let done = case.run();
    assert_eq!(done.out, "1\n0\n", "{done:?}");
}

#[test]
fn a_killing_rule_kills() {
    let Some(mut case) = Case::script("kill", "echo before; mkdir /tmp/x; echo status $?") else {
        return;
    };
    case.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    assert_eq!(case.run().out, "before\nstatus 159\n", "128 + SIGSYS");
}

#[test]
fn exec_is_filtered_too() {
    let Some(mut case) = Case::script("exec-filter", "sleep 1000") else { return };
    case.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    });
    case.up();
    let done = case.exec("mkdir /tmp/x; cat /proc/self/status");
    assert!(done.err.contains("No space left on device"), "{done:?}");
    assert_eq!(field(&done.out, "Seccomp"), "2");
}

#[test]
fn what_is_not_known_is_refused() {
    let table = [
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"],
                "action": "SCMP_ACT_NOTIFY"}]}),
            "linux.seccomp.listenerPath",
        ),
        (json!({"defaultAction": "SCMP_ACT_NONSENSE"}), "SCMP_ACT_NONSENSE"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONSENSE"]}),
            "SCMP_ARCH_NONSENSE",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"],
            "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
            "index",
        ),
    ];
    let Some(mut case) = Case::script("unknown", "true") else { return };
    for (profile, said) in table {
        case.config["linux"]["seccomp"] = profile.clone();
        let done = case.run();
        assert_eq!(done.status, 1, "{profile}: {done:?}");
        assert!(done.err.contains(said) && done.err.contains("seccomp"), "{profile}: {done:?}");
        case.assert_nothing_left();
    }
}
