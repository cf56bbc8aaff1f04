//! The command line as data: globals and verbs; each verb's own flags stand with the verb.

use super::{
    api_resources, apply, attach, auth, cluster_info, completion, config, cp, create, debug,
    delete, describe, diff, doctor, edit, events, exec, explain, gc, get, images, inspect, label,
    load, logs, patch, port_forward, pull, replace, rmi, run, save, set, tag, timeline, top, tree,
    version, wait,
};
pub use crate::cli::parse_duration;
use crate::error::{Context, Error, Result};
use crate::pod::{CniDirs, Config, Network, Paths};
use clap::{ArgAction, Args, Command, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs Kubernetes pods on this machine, without a cluster and without a daemon.
#[derive(Parser)]
#[command(name = "podctl", version, disable_help_subcommand = true, args_override_self = true)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// `--network`.
#[derive(Clone, Copy)]
enum NetworkKind {
    Bridge,
    Cni,
    None,
}

/// Flags of every verb.
#[derive(Args)]
pub struct Globals {
    /// Directory of everything the instance has [default: system directories; env: RUNP_ROOT]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Namespace of the pods [default: default]
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Name of the node [default: the host's name]
    #[arg(long, global = true, value_name = "NAME")]
    node_name: Option<String>,
    /// How new pods reach the network: bridge, cni or none
    #[arg(long, global = true, value_name = "KIND", default_value = "bridge",
        value_parser = parse_network, hide_default_value = true)]
    network: NetworkKind,
    /// Directory of the networks of --network cni: the first one is taken [default: /etc/cni/net.d]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/etc/cni/net.d",
        hide_default_value = true
    )]
    cni_conf_dir: PathBuf,
    /// Directory of their plugins; may be repeated [default: /opt/cni/bin, /usr/lib/cni]
    #[arg(long, global = true, value_name = "DIR", action = ArgAction::Append,
        default_values = ["/opt/cni/bin", "/usr/lib/cni"], hide_default_value = true)]
    cni_bin_dir: Vec<PathBuf>,
    /// Subnet of the pods' bridge, where there are no pods yet [default: 10.88.0.0/16 or a free one]
    #[arg(long, global = true, value_name = "CIDR")]
    pod_cidr: Option<String>,
    /// The one context there is, podctl
    #[arg(long, global = true, value_name = "NAME", value_parser = super::config::context,
        hide = true)]
    context: Option<String>,
    /// Accepted for kubectl's sake: there is no server to find
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    kubeconfig: Option<String>,
    /// Accepted for kubectl's sake: there is no server to wait for
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_request_timeout,
        hide = true)]
    request_timeout: Option<Duration>,
    /// Refused: what is meant for a cluster is not done to this machine
    #[arg(short = 's', long, global = true, value_name = "URL", value_parser = no_server,
        hide = true)]
    server: Option<String>,
    /// Accepted for kubectl's sake: there is no server to trust
    #[arg(long, global = true, hide = true)]
    insecure_skip_tls_verify: bool,
    /// Accepted for kubectl's sake: nothing is cached
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    cache_dir: Option<String>,
    /// Accepted for kubectl's sake: a warning is no error
    #[arg(long, global = true, hide = true)]
    warnings_as_errors: bool,
    /// Accepted for kubectl's sake: there are no requests to log
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL", hide = true)]
    verbosity: Option<String>,
}

/// kubectl's verbs, and podctl's own.
#[derive(Subcommand)]
pub enum Verb {
    /// Create objects from manifests, or change them
    Apply(apply::Flags),
    /// Create objects that must not be there yet, from manifests or from flags
    Create(create::Flags),
    /// Replace objects by what manifests say
    Replace(replace::Flags),
    /// Change a part of an object
    Patch(patch::Flags),
    /// Change images, variables or resources of containers
    Set(set::Flags),
    /// Change an object in an editor
    Edit(edit::Flags),
    /// Set or remove labels
    Label(label::Flags),
    /// Set or remove annotations
    Annotate(label::Flags),
    /// Show what apply would change
    Diff(diff::Flags),
    /// List pods
    Get(get::Flags),
    /// Show pods in detail
    Describe(describe::Flags),
    /// Print the logs of a container
    Logs(logs::Flags),
    /// List what happened
    Events(events::Flags),
    /// Wait until objects are as they should be
    Wait(wait::Flags),
    /// Show what pods use
    Top(top::Flags),
    /// Show when each step of a pod's life happened
    Timeline(timeline::Flags),
    /// Run a command in a container
    Exec(exec::Flags),
    /// Attach to a container's own streams
    Attach(attach::Flags),
    /// Run a pod of one container
    Run(run::Flags),
    /// Add a container to a pod, to look into it
    Debug(debug::Flags),
    /// Copy files into or out of a container
    Cp(cp::Flags),
    /// Carry connections to this host's ports into a pod
    #[command(name = "port-forward")]
    PortForward(port_forward::Flags),
    /// Delete objects
    Delete(delete::Flags),
    /// Load images from an archive
    Load(load::Flags),
    /// List images
    Images(images::Flags),
    /// Pull images from registries
    Pull(pull::Flags),
    /// Remove images
    Rmi(rmi::Flags),
    /// Save images to an archive
    Save(save::Flags),
    /// Give an image another name
    Tag(tag::Flags),
    /// Show images in detail
    Inspect(inspect::Flags),
    /// Remove images that no pod uses
    Gc(gc::Flags),
    /// Show a pod as its processes
    Tree(tree::Flags),
    /// Say what this machine can and cannot do for pods
    Doctor(doctor::Flags),
    /// Print a shell's completion script
    Completion(completion::Flags),
    /// Explain the fields of a kind
    Explain(explain::Flags),
    /// List what there is to manage
    #[command(name = "api-resources")]
    ApiResources(api_resources::Flags),
    /// List the API versions there are
    #[command(name = "api-versions")]
    ApiVersions(api_resources::VersionsFlags),
    /// Say what root may do
    Auth(auth::Flags),
    /// Show and set the context: its namespace
    Config(config::Flags),
    /// Say where the pods run
    #[command(name = "cluster-info")]
    ClusterInfo(cluster_info::Flags),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        dir: PathBuf,
    },
    /// Print the help of a command
    #[command(hide = true)]
    Help {
        /// The command
        words: Vec<String>,
    },
    /// List the options of all commands
    #[command(hide = true)]
    Options,
    /// Print the version
    Version(version::Flags),
}

/// A verb, and what gives a command its flags.
type Takes = (&'static str, fn(Command) -> Command);

/// The verbs that are called often, and what each takes.
const OFTEN: [Takes; 12] = [
    ("apply", apply::Flags::augment_args),
    ("create", create::Flags::augment_args),
    ("delete", delete::Flags::augment_args),
    ("describe", describe::Flags::augment_args),
    ("events", events::Flags::augment_args),
    ("exec", exec::Flags::augment_args),
    ("get", get::Flags::augment_args),
    ("images", images::Flags::augment_args),
    ("logs", logs::Flags::augment_args),
    ("timeline", timeline::Flags::augment_args),
    ("tree", tree::Flags::augment_args),
    ("wait", wait::Flags::augment_args),
];

/// The grammar of the one verb that `arguments` seem to be of: making that of all takes 2 ms, most of
/// what a `get` takes. What it cannot read is for that of all to read, or to say what is wrong.
pub fn command_of(arguments: &[OsString]) -> Option<Command> {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let mut words = words.take_while(|word| *word != "--");
    let (name, flags) = words.find_map(|word| OFTEN.iter().find(|(name, _)| *name == word))?;
    let root = Globals::augment_args(
        Command::new("podctl").disable_help_subcommand(true).args_override_self(true),
    );
    Some(root.subcommand(flags(Command::new(*name))))
}

impl Globals {
    /// The instance's settings.
    pub fn config(&self) -> Result<Config> {
        let given = self.root.clone().or_else(|| {
            std::env::var_os("RUNP_ROOT").filter(|root| !root.is_empty()).map(PathBuf::from)
        });
        let paths = match given {
            None => Paths::system(),
            Some(root) => Paths::below(&absolute(&root)?),
        };
        Ok(Config {
            paths,
            node: self.node_name.clone().map_or_else(host_name, Ok)?,
            network: self.network()?,
            pod_cidr: self.pod_cidr.clone(),
        })
    }

    fn network(&self) -> Result<Network> {
        Ok(match self.network {
            NetworkKind::Bridge => Network::Bridge,
            NetworkKind::None => Network::None,
            NetworkKind::Cni => Network::Cni(CniDirs {
                config: absolute(&self.cni_conf_dir)?,
                plugins: self.cni_bin_dir.iter().map(|dir| absolute(dir)).collect::<Result<_>>()?,
            }),
        })
    }
}

/// Monitors run in another directory, and remember it.
fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).doing(|| format!("resolve {}", dir.display()))
}

/// The host's name, in lower case as a node's is.
fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().doing(|| "read the host's name")?;
    let name = name.into_string().map_err(|_| Error::system("the host's name is not UTF-8"));
    name.map(|name| name.to_lowercase()).hint(|| "give --node-name")
}

fn parse_network(text: &str) -> std::result::Result<NetworkKind, String> {
    match text {
        "bridge" => Ok(NetworkKind::Bridge),
        "cni" => Ok(NetworkKind::Cni),
        "none" => Ok(NetworkKind::None),
        _ => Err("must be bridge, cni or none".to_owned()),
    }
}

/// `--request-timeout`: a number is of seconds.
fn parse_request_timeout(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    seconds.or_else(|_| parse_duration(text)).map_err(|_| {
        "Timeout must be a single integer in seconds, or an integer followed by a corresponding \
         time unit (e.g. 1s | 2m | 3h)"
            .to_owned()
    })
}

fn no_server(_: &str) -> std::result::Result<String, String> {
    Err("podctl has no server: its pods are those of this machine".to_owned())
}

/// A flag that kubectl's users write as `--wait`, `--wait=true` or `--wait=false`.
pub fn parse_bool(text: &str) -> std::result::Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn one_verb_alone_takes_what_it_takes_among_all() {
        let all = Cli::command();
        for (name, _) in OFTEN {
            let alone = command_of(&["podctl", "-n", "x", name].map(Into::into)).unwrap();
            let takes = |command: &Command| {
                let verb = command.find_subcommand(name).unwrap();
                let args = [command, verb].map(|part| part.get_arguments().collect::<Vec<_>>());
                format!("{args:?} {:?}", verb.get_subcommands().collect::<Vec<_>>())
            };
            assert_eq!(takes(&alone), takes(&all), "{name}");
        }
    }

    #[test]
    fn durations_are_gos() {
        let millis = |text| parse_duration(text).map(|duration| duration.as_millis());
        let cases = [("0", 0), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("2ms", 2)];
        for (text, expected) in cases {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for bad in ["", "5", "s", "5x", "-5s", "1..5s", "9999999h", "99999999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
