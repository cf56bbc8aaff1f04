//! runp: containers like runc and pods like kubectl, on one Linux host, without a daemon.
//!
//! Two flows run through this library:
//!
//! ```text
//! runp    config.json -> oci::bundle -> oci::plan (decide) -> oci::launch (do) -> state.json
//! podctl  manifest -> kube (decode, default, validate) -> pod::store -> pod::monitor
//!             (pod::machine decides, pod::effects does) -> status, events -> get, describe, logs
//! ```
//!
//! Imports run one way, and `tests/repo.rs` checks it: `sys <- {oci, image, net} <- pod <- cli`;
//! `kube` imports only `error`; `oci`, `image` and `net` never import each other. What is decided
//! about X stands in `oci::plan` or `pod::machine`, how it is done in `oci::launch` or
//! `pod::effects`, the kernel call in `sys`, the words in `cli`.

pub mod cli;
pub mod error;
pub mod image;
pub mod kube;
pub mod net;
pub mod oci;
pub mod pod;
pub mod sys;
