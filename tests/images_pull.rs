//! Pulling images: Debian's docker-registry on 127.0.0.1, with and without authentication and TLS,
//! behind a proxy that makes every fault that a network has. Needs root, as layers do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "images/build.rs"]
#[allow(dead_code, reason = "shared with the other suite of images")]
mod build;
#[path = "podctl/instance.rs"]
#[allow(dead_code, reason = "shared with the suite of pods")]
mod instance;

#[path = "images_pull/access.rs"]
mod access;
#[path = "images_pull/collect.rs"]
mod collect;
#[path = "images_pull/config.rs"]
mod config;
#[path = "images_pull/faults.rs"]
mod faults;
#[path = "images_pull/kill.rs"]
mod kill;
#[path = "images_pull/phases.rs"]
mod phases;
#[path = "images_pull/pods.rs"]
mod pods;
#[path = "images_pull/power.rs"]
mod power;
#[path = "images_pull/proxy.rs"]
mod proxy;
#[path = "images_pull/reasons.rs"]
mod reasons;
#[path = "images_pull/registry.rs"]
mod registry;
#[path = "images_pull/socks.rs"]
mod socks;
#[path = "images_pull/verbs.rs"]
mod verbs;
