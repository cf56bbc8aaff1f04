//! The OCI runtime: everything `runp` does, for any caller. Nothing here prints or exits.

pub mod bundle;
pub mod cgroup;
pub mod container;
pub mod example;
pub mod host;
mod json;
pub mod launch;
pub mod notify;
pub mod ops;
mod place;
pub mod plan;
pub mod seccomp;
pub mod selfexe;

/// The version of the runtime specification that is implemented.
pub const SPEC_VERSION: &str = "1.3.0";
