//! What the documentation promises about Kubernetes is what the table in `kube::support` says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{env, fs};

#[test]
fn the_documentation_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compat-kubernetes.md");
    let text = fs::read_to_string(path).unwrap();
    let (start, end) = ("<!-- fields -->\n", "<!-- end of fields -->");
    let (before, rest) = text.split_once(start).unwrap();
    let (shown, after) = rest.split_once(end).unwrap();
    let table = runp::kube::support::table();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, format!("{before}{start}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(shown, table, "run with UPDATE_GOLDEN=1 and review the difference");
    }
}
