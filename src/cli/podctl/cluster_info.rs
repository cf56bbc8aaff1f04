//! `podctl cluster-info`: where pods run; with `dump` all that is known of them.

use super::flags::parse_duration;
use super::form::Form;
use super::resource::part;
use super::{Call, Outcome, print};
use crate::cli::output::{self, Format};
use crate::error::{Context, Error, Result};
use crate::kube::{Object, Pod, Resource};
use crate::pod::LogOptions;
use clap::{Args, Subcommand};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What of a namespace is dumped, besides logs.
const DUMPED: [Resource; 2] = [Resource::Events, Resource::Pods];

/// Flags of `cluster-info`.
#[derive(Args)]
pub struct Flags {
    #[command(subcommand)]
    dump: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Print what is known of pods: the node, events, pods and logs
    Dump(Dump),
}

/// Flags of `cluster-info dump`.
#[derive(Args)]
struct Dump {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Of these namespaces
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Write files into this directory; - prints
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    output_directory: String,
    /// Accepted for kubectl's sake: logs are there at once
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", hide = true)]
    pod_running_timeout: Option<Duration>,
    #[command(flatten)]
    form: Form,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    if let Some(What::Dump(flags)) = &flags.dump {
        return Ok(dump(call, flags)?);
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

fn dump(call: &Call, flags: &Dump) -> Result<u8> {
    let (format, ending) = match flags.form.format()? {
        Format::Table | Format::Json => (Format::Json, "json"),
        Format::Yaml => (Format::Yaml, "yaml"),
        _ => return Err(Error::user("only json and yaml can be dumped")),
    };
    let to = match flags.output_directory.as_str() {
        "" | "-" => Dumped(None),
        dir => Dumped(Some(dir.into())),
    };
    let nodes = call.engine.list_objects(Resource::Nodes, None)?;
    to.write(&format!("nodes.{ending}"), &list(Resource::Nodes, &nodes, &format)?)?;
    for namespace in namespaces(call, flags)? {
        let mut pods = Vec::new();
        for kind in DUMPED {
            let objects = call.engine.list_objects(kind, Some(&namespace))?;
            let file = format!("{namespace}/{}.{ending}", kind.plural());
            to.write(&file, &list(kind, &objects, &format)?)?;
            pods.extend(objects.into_iter().filter_map(|object| match object {
                Object::Pod(pod) => Some(*pod),
                _ => None,
            }));
        }
        for pod in &pods {
            let file = format!("{namespace}/{}/logs.txt", part(pod.metadata.name.as_ref()));
            to.write(&file, &logs(call, pod)?)?;
        }
    }
    if let Some(dir) = &to.0 {
        print(&format!("Cluster info dumped to {}\n", dir.display()))?;
    }
    Ok(0)
}

fn namespaces(call: &Call, flags: &Dump) -> Result<BTreeSet<String>> {
    if flags.all_namespaces {
        let all = call.engine.list_objects(Resource::Namespaces, None)?;
        return Ok(all.iter().map(|namespace| namespace.name().to_owned()).collect());
    }
    let given = flags.namespaces.iter().cloned();
    let given: BTreeSet<String> = given.filter(|name| !name.is_empty()).collect();
    Ok(if given.is_empty() { [call.namespace.clone()].into() } else { given })
}

/// Where the parts of a dump go: files below a directory, or standard output.
struct Dumped(Option<PathBuf>);

impl Dumped {
    fn write(&self, file: &str, text: &[u8]) -> Result<()> {
        let Some(dir) = &self.0 else {
            return print(&String::from_utf8_lossy(text));
        };
        let path = dir.join(file);
        let above = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(above)
            .and_then(|()| std::fs::write(&path, text))
            .doing(|| format!("write {}", path.display()))
    }
}

/// A list of one kind, as the API server would send it.
fn list(kind: Resource, objects: &[Object], format: &Format) -> Result<Vec<u8>> {
    let items: Vec<_> = objects.iter().map(output::value).collect::<Result<_>>()?;
    let list = json!({
        "apiVersion": "v1", "kind": format!("{}List", kind.kind()),
        "metadata": {"resourceVersion": ""}, "items": items,
    });
    Ok(output::one(&list, format)?.into_bytes())
}

fn logs(call: &Call, pod: &Pod) -> Result<Vec<u8>> {
    let (namespace, name) =
        (part(pod.metadata.namespace.as_ref()), part(pod.metadata.name.as_ref()));
    let spec = pod.spec.iter();
    let containers =
        spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let mut text = Vec::new();
    for container in containers {
        let of = format!("logs for container {} of pod {namespace}/{name}", container.name);
        writeln!(text, "==== START {of} ====")?;
        if let Err(error) =
            call.engine.logs(pod, &container.name, &LogOptions::default(), &mut text)
        {
            writeln!(text, "{error}")?;
        }
        writeln!(text, "==== END {of} ====")?;
    }
    Ok(text)
}
