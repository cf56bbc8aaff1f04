//! The hidden `podctl [--root DIR] monitor --namespace NS --name NAME`: a pod's monitor, started by
//! the engine. It is told apart without clap, whose tables alone would cost a monitor more memory
//! than the rest of it.

use crate::error::Result;
use crate::pod::{Config, Engine, Network, Paths};
use std::path::Path;

/// Runs the monitor if this process was started as one; `None` if not.
pub fn if_called() -> Option<Result<()>> {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = || arguments.next();
    let mut word = next()?;
    let mut paths = None;
    if word == "--root" {
        paths = Some(Paths::below(Path::new(&next()?)));
        word = next()?;
    }
    if word != "monitor" || next()? != "--namespace" {
        return None;
    }
    let namespace = next()?.into_string().ok()?;
    let name = next().filter(|flag| flag == "--name").and_then(|_| next())?.into_string().ok()?;
    Some(monitor(paths.unwrap_or_else(Paths::system), &namespace, &name))
}

/// Node and network are those that the pod was made with: its monitor finds them in the store.
fn monitor(paths: Paths, namespace: &str, name: &str) -> Result<()> {
    let node = String::new();
    let config = Config { paths, node, network: Network::default(), pod_cidr: None };
    Engine::open(config)?.monitor(namespace, name)
}
