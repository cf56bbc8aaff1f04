//! `podctl debug`: a container added to a pod that runs, or a copy of the pod with one.

mod copy;

use super::chosen::Chosen;
use super::run::environment;
use super::write::{self, Files, name_of};
use super::{Call, Outcome, attach, report, resource, tell};
use crate::error::{Error, Result};
use crate::kube::patch::{self, PatchType};
use crate::kube::{self, Pod};
use clap::Args;
use k8s_openapi::api::core::v1::EphemeralContainer;
use serde_json::{Value, json};
use std::time::Duration;

/// Flags of `debug`.
#[derive(Args)]
pub struct Flags {
    /// The pods
    #[arg(value_name = "POD")]
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// What to run in the container
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// The container's image
    #[arg(long, default_value = "", hide_default_value = true)]
    image: String,
    /// When the image is pulled: Always, IfNotPresent or Never
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// The container's name
    #[arg(short, long)]
    container: Option<String>,
    /// The container whose processes are to be seen
    #[arg(long, value_name = "CONTAINER")]
    target: Option<String>,
    /// NAME=VALUE of the container's environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Debug a copy of the pod, of this name
    #[arg(long, value_name = "POD")]
    copy_to: Option<String>,
    /// With --copy-to: delete the pod that is copied
    #[arg(long)]
    replace: bool,
    /// Accepted for kubectl's sake: there is one node
    #[arg(long, hide = true)]
    same_node: bool,
    /// With --copy-to: other images, as CONTAINER=IMAGE or *=IMAGE
    #[arg(long, value_name = "CONTAINER=IMAGE", value_delimiter = ',')]
    set_image: Vec<String>,
    /// With --copy-to: whether the containers see each other's processes
    #[arg(long, value_parser = super::flags::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", default_value = "true", hide_default_value = true)]
    share_processes: bool,
    /// What the container may do: legacy, general, baseline, restricted, netadmin or sysadmin
    #[arg(long, default_value = "general")]
    profile: String,
    /// Take the words behind -- for the arguments of the image's own command
    #[arg(long)]
    arguments_only: bool,
    /// A part of a container, as JSON or YAML: env, resources, mounts and others
    #[arg(long, value_name = "FILE")]
    custom: Option<String>,
    #[command(flatten)]
    keep: copy::Keep,
    /// Keep standard input open
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Give the container a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// Attach to the container once it runs; the default with -i
    #[arg(long, value_parser = super::flags::parse_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    attach: Option<bool>,
    /// Say nothing but what the container says
    #[arg(short, long)]
    quiet: bool,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    checked(flags)?;
    if flags.words.is_empty() && !flags.files.given()? {
        return Err(Error::user("NAME or filename is required for debug").into());
    }
    for pod in pods(call, flags)? {
        one(call, flags, &pod)?;
    }
    Ok(0)
}

/// The pods that are named, by word or by file.
fn pods(call: &Call, flags: &Flags) -> Result<Vec<Pod>> {
    let mut pods = Vec::new();
    if flags.files.given()? {
        let chosen = Chosen { files: &flags.files, ..Chosen::NONE };
        let (objects, failed) = chosen.objects(call, false)?;
        if let Some(error) = failed.into_iter().next() {
            return Err(error);
        }
        for object in objects {
            let kind = object.resource().kind();
            match object {
                kube::Object::Pod(pod) => pods.push(*pod),
                _ => {
                    return Err(Error::user(format!(
                        "\"/v1, Kind={kind}\" not supported by debug"
                    )));
                }
            }
        }
    }
    for word in &flags.words {
        if word.starts_with("node/") {
            return Err(Error::user("debug node/…: not supported by runp")
                .hint("you are on the node already"));
        }
        pods.push(call.engine.get(&call.namespace, &resource::name(word)?)?);
    }
    Ok(pods)
}

fn one(call: &Call, flags: &Flags, pod: &Pod) -> Result<()> {
    let (pod, container) = match &flags.copy_to {
        Some(name) => copy::make(call, flags, pod, name)?,
        None => added(call, flags, pod)?,
    };
    if !flags.attach.unwrap_or(flags.stdin || flags.tty) {
        return Ok(());
    }
    let pod = attach::awaited(call, pod, &container, Duration::from_secs(60))?;
    let wanted = attach::Wanted { stdin: flags.stdin, tty: flags.tty, quiet: flags.quiet };
    attach::attach(call, &pod, &container, &wanted)
}

fn checked(flags: &Flags) -> Result<()> {
    if flags.copy_to.is_none() {
        let only = [
            ("--set-image", !flags.set_image.is_empty()),
            ("--replace", flags.replace),
            ("--same-node", flags.same_node),
        ];
        if let Some((flag, _)) = only.iter().find(|(_, given)| *given) {
            return Err(Error::user(format!("{flag} may only be used with --copy-to.")));
        }
        if flags.image.is_empty() {
            return Err(Error::user("you must specify --image when not using --copy-to."));
        }
    } else if flags.image.is_empty() && flags.set_image.is_empty() && flags.command.is_empty() {
        return Err(Error::user("you must specify --image, --set-image or command arguments."));
    }
    if flags.target.is_some() && flags.copy_to.is_some() {
        return Err(Error::user(
            "--target is incompatible with --copy-to. Use --share-processes instead.",
        ));
    }
    if flags.tty && !flags.stdin {
        return Err(Error::user("-i/--stdin is required for containers with -t/--tty=true"));
    }
    let policy = flags.image_pull_policy.as_deref().unwrap_or_default();
    if !["", "Always", "IfNotPresent", "Never"].contains(&policy) {
        return Err(Error::user(format!("invalid image pull policy: {policy}")));
    }
    for pair in &flags.env {
        environment(pair)?;
    }
    let profiles = ["legacy", "general", "baseline", "restricted", "netadmin", "sysadmin"];
    match profiles.contains(&flags.profile.as_str()) {
        true => Ok(()),
        false => Err(Error::user(format!("unknown profile: {}", flags.profile))),
    }
}

/// An ephemeral container in the pod itself.
fn added(call: &Call, flags: &Flags, pod: &Pod) -> Result<(Pod, String)> {
    let name = debugger(flags)?;
    if let Some(target) = &flags.target {
        tell(&format!(
            "Targeting container \"{target}\". If you don't see processes from this container it \
             may be because the container runtime doesn't support this feature."
        ));
    }
    if flags.container.is_none() && !flags.quiet {
        tell(&format!("Defaulting debug container name to {name}."));
    }
    let mut value = container(flags, &name)?;
    if let Some(target) = &flags.target {
        value["targetContainerName"] = target.clone().into();
    }
    let container: EphemeralContainer = serde_json::from_value(value)
        .map_err(|error| Error::user(format!("the debug container: {error}")))?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pod = call.engine.add_ephemeral(namespace, name_of(pod), container)?;
    Ok((pod, name))
}

/// The container that is added.
fn container(flags: &Flags, name: &str) -> Result<Value> {
    let mut container = json!({
        "name": name, "image": flags.image, "stdin": flags.stdin, "tty": flags.tty,
        "terminationMessagePolicy": "File",
    });
    if flags.stdin && !flags.tty {
        // What is piped in has an end.
        container["stdinOnce"] = true.into();
    }
    if let Some(policy) = &flags.image_pull_policy {
        container["imagePullPolicy"] = policy.clone().into();
    }
    if !flags.command.is_empty() {
        container[flags.command_field()] = json!(flags.command);
    }
    let env = flags.env.iter().map(|pair| environment(pair)).collect::<Result<Vec<Value>>>()?;
    if !env.is_empty() {
        container["env"] = env.into();
    }
    let context = match flags.profile.as_str() {
        "general" => json!({"capabilities": {"add": ["SYS_PTRACE"]}}),
        "netadmin" => json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}),
        "sysadmin" => json!({"privileged": true}),
        "restricted" => json!({
            "runAsNonRoot": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        }),
        _ => return customized(flags, container),
    };
    container["securityContext"] = context;
    customized(flags, container)
}

/// `--custom`: the container with what the file says.
fn customized(flags: &Flags, container: Value) -> Result<Value> {
    let Some(file) = &flags.custom else { return Ok(container) };
    let text = std::fs::read_to_string(file).map_err(|error| {
        let why = report::opening(file, &error);
        Error::user(format!("must pass a container spec json file for custom profile: {why}"))
    })?;
    let mut custom = kube::value_of(file, &text)?;
    let fixed = ["name", "command", "image", "lifecycle", "volumeDevices"];
    if fixed.iter().any(|field| custom.get(field).is_some()) {
        return Err(Error::user(
            "name, command, image, lifecycle and volume devices are not modifiable via custom \
             profile",
        ));
    }
    custom["name"] = container["name"].clone();
    // Lists are merged by what they are in a pod.
    let pod = |container: Value| json!({"spec": {"containers": [container]}});
    let mut merged = patch::apply(PatchType::Strategic, &pod(container), &pod(custom))?;
    Ok(merged["spec"]["containers"][0].take())
}

impl Flags {
    /// What the words behind `--` are.
    fn command_field(&self) -> &'static str {
        if self.arguments_only { "args" } else { "command" }
    }
}

/// The container's name: the one given, or `debugger-x2b4z`.
fn debugger(flags: &Flags) -> Result<String> {
    if let Some(name) = &flags.container {
        return Ok(name.clone());
    }
    Ok(format!("debugger-{}", write::random_letters()?))
}
