//! AppArmor profiles, where the kernel has them.

use super::common::Case;
use serde_json::json;
use std::fs;
use std::process::Command;

const PROFILE: &str = "profile runp-test flags=(attach_disconnected,mediate_deleted) {
  file,
  signal,
  deny /secret r,
}
";

#[test]
fn a_profile_confines_the_program() {
    let script = "cat /proc/self/attr/current /open; cat /secret";
    let Some(mut case) = Case::script("apparmor", script) else { return };
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|enabled| enabled.starts_with('Y')) {
        case.config["process"]["apparmorProfile"] = json!("runp-test");
        case.run().fails(1, "process.apparmorProfile: apparmor: config provided but apparmor not");
        eprintln!("SKIP a_profile_confines_the_program: no AppArmor in this kernel");
        return;
    }
    let file = case.path("profile");
    fs::write(&file, PROFILE).unwrap();
    let loaded = Command::new("apparmor_parser").arg("-rK").arg(&file).status();
    if !loaded.is_ok_and(|status| status.success()) {
        eprintln!("SKIP a_profile_confines_the_program: apparmor_parser cannot load a profile");
        return;
    }
    for name in ["open", "secret"] {
        fs::write(case.rootfs().join(name), format!("{name}\n")).unwrap();
    }
    case.config["process"]["apparmorProfile"] = json!("runp-test");
    let done = case.run();
    assert_eq!(done.out, "runp-test (enforce)\nopen\n", "{done:?}");
    assert!(done.err.contains("/secret': Permission denied"), "{done:?}");
    case.args(&["sleep", "1000"]);
    case.up();
    assert!(case.exec(script).out.starts_with("runp-test (enforce)\n"));
    case.runp(&["delete", "-f", &case.id]).ok();
    case.config["process"]["apparmorProfile"] = json!("not-there");
    case.run().fails(1, "apply AppArmor profile: exec not-there (process.apparmorProfile): ENOENT");
    case.assert_nothing_left();
}
