//! The image store against real archives (skopeo, umoci) and hostile ones. Needs root: layers hold
//! owners, devices and overlayfs' marks.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "images/build.rs"]
mod build;
#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/load.rs"]
mod load;
#[path = "common/nginx.rs"]
mod nginx;
#[path = "images/odd.rs"]
mod odd;
#[path = "images/random.rs"]
mod random;
#[path = "images/tree.rs"]
mod tree;
#[path = "images/umoci.rs"]
mod umoci;
