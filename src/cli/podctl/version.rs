//! `podctl version` and `cluster-info`.

use super::{Call, Outcome, print};
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

/// Flags of `cluster-info`.
#[derive(Args)]
pub struct ClusterInfo {
    /// Refused: there is no cluster to dump
    #[arg(hide = true)]
    dump: Option<String>,
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

/// Runs `cluster-info`.
pub fn cluster_info(call: &Call, flags: &ClusterInfo) -> Outcome {
    if flags.dump.is_some() {
        let error = Error::user("cluster-info dump: there is no cluster to dump");
        return Err(error.hint("podctl get pods -A -o yaml has all that is known of pods").into());
    }
    let config = &call.engine.config;
    let (node, lib, logs) = (&config.node, config.paths.lib.display(), config.paths.logs.display());
    print(&format!(
        "Pods run on this machine, node {node}; there is no control plane.\n\
         Their state is in {lib}, their logs are in {logs}.\n\n\
         To see what this machine can and cannot do, use 'podctl doctor'.\n"
    ))?;
    Ok(0)
}
