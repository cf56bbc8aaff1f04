//! Pods end to end, as root: podctl in a network and a mount namespace of its own, with a root
//! directory of its own. Each case compares what is there before and after.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "podctl/instance.rs"]
mod instance;

#[path = "podctl/apply.rs"]
mod apply;
#[path = "podctl/bad_input.rs"]
mod bad_input;
#[path = "podctl/cni.rs"]
mod cni;
#[path = "podctl/crash.rs"]
mod crash;
#[path = "podctl/delete.rs"]
mod delete;
#[path = "podctl/ending.rs"]
mod ending;
#[path = "podctl/fields.rs"]
mod fields;
#[path = "podctl/grpc.rs"]
mod grpc;
#[path = "podctl/logs.rs"]
mod logs;
#[path = "podctl/namespaces.rs"]
mod namespaces;
#[path = "podctl/nginx.rs"]
mod nginx;
#[path = "podctl/order.rs"]
mod order;
#[path = "podctl/reasons.rs"]
mod reasons;
#[path = "podctl/refused.rs"]
mod refused;
#[path = "podctl/resources.rs"]
mod resources;
#[path = "podctl/restart.rs"]
mod restart;
#[path = "podctl/security.rs"]
mod security;
#[path = "podctl/volumes.rs"]
mod volumes;
