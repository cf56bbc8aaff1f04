//! Real containers, as root. Each case has a bundle, a state root and a cgroup of its own, and at
//! its end asserts that no process, mount, cgroup or file is left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

#[path = "runtime/apparmor.rs"]
mod apparmor;
#[path = "runtime/attributes.rs"]
mod attributes;
#[path = "runtime/bad_input.rs"]
mod bad_input;
#[path = "runtime/binds.rs"]
mod binds;
#[path = "runtime/cgroups.rs"]
mod cgroups;
#[path = "runtime/console.rs"]
mod console;
#[path = "runtime/devices.rs"]
mod devices;
#[path = "runtime/events.rs"]
mod events;
#[path = "runtime/exec.rs"]
mod exec;
#[path = "runtime/faults.rs"]
mod faults;
#[path = "runtime/fields.rs"]
mod fields;
#[path = "runtime/freeze.rs"]
mod freeze;
#[path = "runtime/hooks.rs"]
mod hooks;
#[path = "runtime/host_mounts.rs"]
mod host_mounts;
#[path = "runtime/lifecycle.rs"]
mod lifecycle;
#[path = "runtime/mounts.rs"]
mod mounts;
#[path = "runtime/namespaces.rs"]
mod namespaces;
#[path = "runtime/netdev.rs"]
mod netdev;
#[path = "runtime/notify.rs"]
mod notify;
#[path = "runtime/owners.rs"]
mod owners;
#[path = "runtime/process.rs"]
mod process;
#[path = "runtime/ready.rs"]
mod ready;
#[path = "runtime/rootfs_escape.rs"]
mod rootfs_escape;
#[path = "runtime/rootless.rs"]
mod rootless;
#[path = "runtime/seccomp.rs"]
mod seccomp;
#[path = "runtime/tmpfs.rs"]
mod tmpfs;
#[path = "runtime/update.rs"]
mod update;
