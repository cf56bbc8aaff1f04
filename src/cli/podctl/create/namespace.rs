//! `podctl create namespace NAME`.

use super::super::write::{Sent, the_name};
use super::super::{Call, Outcome};
use super::{Saved, generated};
use crate::kube::Object;
use clap::Args;
use k8s_openapi::api::core::v1::Namespace;

/// Flags of `create namespace`.
#[derive(Args)]
pub struct Flags {
    /// The namespace's name
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    sent: Sent,
    #[command(flatten)]
    saved: Saved,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(the_name("create namespace", &flags.names)?);
    namespace.spec = Some(Default::default());
    namespace.status = Some(Default::default());
    generated(call, Object::Namespace(Box::new(namespace)), &flags.saved, &flags.sent)
}
