//! `podctl version`.

use super::{Outcome, print};
use clap::Args;

/// The version of Kubernetes whose API and behaviour podctl follows.
const KUBERNETES: &str = "v1.36";

/// Flags of `version`.
#[derive(Args)]
pub struct Flags {
    /// Accepted for kubectl's sake: there is no server to ask
    #[arg(long)]
    client: bool,
}

/// Runs it.
pub fn run(_: &Flags) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    print(&format!("Client Version: v{version}\nKubernetes API Version: {KUBERNETES}\n"))?;
    Ok(0)
}
