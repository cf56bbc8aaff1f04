//! `podctl describe pod`: all about a pod, its events last.

use super::resource::{self, Target, part};
use super::{Call, Outcome, done, print, tell};
use crate::cli::output::{self, describe};
use crate::error::{Error, Result};
use crate::kube::Pod;
use clap::Args;
use k8s_openapi::jiff::Timestamp;

/// Flags of `describe`.
#[derive(Args)]
pub struct Flags {
    /// pods, pod NAME… or pod/NAME…
    #[arg(value_name = "TYPE [NAME]")]
    words: Vec<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only pods with these labels: app=nginx,env!=prod
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Show events
    #[arg(long, value_parser = super::flags::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    show_events: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let mut failed = Vec::new();
    let pods = match resource::target(&flags.words)? {
        Target::Names(_) if flags.selector.is_some() => {
            let text = "name cannot be provided when a selector is specified";
            return Err(Error::user(text).into());
        }
        Target::Names(names) => named(call, &names, &mut failed)?,
        Target::All => resource::list(call, flags.all_namespaces, flags.selector.as_deref())?,
    };
    if pods.is_empty() && failed.is_empty() {
        tell(&output::none_found((!flags.all_namespaces).then_some(call.namespace.as_str())));
    }
    let mut texts = Vec::new();
    for pod in &pods {
        match text(call, flags, pod) {
            Ok(text) => texts.push(text),
            // It went between the two looks at it.
            Err(error) if resource::is_missing(&error) && pods.len() > 1 => {}
            Err(error) => failed.push(error),
        }
    }
    print(&texts.join("\n\n"))?;
    done(failed)
}

fn text(call: &Call, flags: &Flags, pod: &Pod) -> Result<String> {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let events = match flags.show_events {
        true => call.engine.events(part(namespace.as_ref()), part(name.as_ref()))?,
        false => Vec::new(),
    };
    Ok(describe::pod(pod, &events, Timestamp::now()))
}

/// The pods of those names; a name that no pod has stands for all that begin with it.
fn named(call: &Call, names: &[String], failed: &mut Vec<Error>) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    for name in names {
        match call.engine.get(&call.namespace, name) {
            Ok(pod) => pods.push(pod),
            Err(error) if resource::is_missing(&error) => {
                let mut like = resource::list(call, false, None)?;
                like.retain(|pod| part(pod.metadata.name.as_ref()).starts_with(name.as_str()));
                if like.is_empty() {
                    failed.push(error);
                }
                pods.append(&mut like);
            }
            Err(error) => failed.push(error),
        }
    }
    Ok(pods)
}
