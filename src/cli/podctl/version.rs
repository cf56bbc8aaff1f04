//! `podctl version`.

use super::{Outcome, print};
use crate::cli::output::{json, yaml};
use crate::error::Error;
use crate::pod::node::KUBERNETES;
use clap::Args;
use serde_json::json;

/// Flags of `version`.
#[derive(Args)]
pub struct Flags {
    /// Accepted for kubectl's sake: there is no server to ask
    #[arg(long)]
    client: bool,
    /// Output format: yaml or json
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

/// Runs it.
pub fn run(flags: &Flags) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let whole = || {
        let platform = format!("linux/{}", std::env::consts::ARCH);
        json!({
            "clientVersion": {"gitVersion": format!("v{version}"), "platform": platform},
            "kubernetesVersion": {"gitVersion": KUBERNETES},
        })
    };
    print(&match flags.output.as_deref() {
        None | Some("") => {
            format!("Client Version: v{version}\nKubernetes API Version: {KUBERNETES}\n")
        }
        Some("yaml") => yaml::document(&whole()),
        Some("json") => json::document(&whole()),
        Some(_) => {
            return Err(Error::user("--output must be 'yaml' or 'json'").into());
        }
    })?;
    Ok(0)
}
