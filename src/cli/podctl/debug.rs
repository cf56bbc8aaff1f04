//! `podctl debug`: a container added to a pod that runs, or a copy of the pod with one.

use super::create::make;
use super::run::environment;
use super::write::{self, DryRun, name_of};
use super::{Call, Outcome, attach, resource, tell};
use crate::error::{Error, Result};
use crate::kube::{self, Fields, Pod, Resource};
use clap::Args;
use k8s_openapi::api::core::v1::EphemeralContainer;
use serde_json::{Value, json};
use std::time::Duration;

/// Flags of `debug`.
#[derive(Args)]
pub struct Flags {
    /// The pod
    #[arg(value_name = "POD")]
    words: Vec<String>,
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
    let [word] = flags.words.as_slice() else {
        return Err(Error::user("NAME or TYPE/NAME is required for debug").into());
    };
    if word.starts_with("node/") {
        return Err(Error::user("debug node/…: not supported by runp")
            .hint("you are on the node already")
            .into());
    }
    checked(flags)?;
    let pod = call.engine.get(&call.namespace, &resource::name(word)?)?;
    let (pod, container) = match &flags.copy_to {
        Some(name) => copied(call, flags, &pod, name)?,
        None => added(call, flags, &pod)?,
    };
    if !flags.attach.unwrap_or(flags.stdin || flags.tty) {
        return Ok(0);
    }
    let pod = attach::awaited(call, pod, &container, Duration::from_secs(60))?;
    let wanted = attach::Wanted { stdin: flags.stdin, tty: flags.tty, quiet: flags.quiet };
    attach::attach(call, &pod, &container, &wanted)?;
    Ok(0)
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

/// A copy of the pod, with another container or other images.
fn copied(call: &Call, flags: &Flags, pod: &Pod, name: &str) -> Result<(Pod, String)> {
    let mut value = kube::Object::Pod(Box::new(pod.clone())).to_value()?;
    let namespace = pod.metadata.namespace.clone();
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let kept =
        annotations.into_iter().filter(|(key, _)| !key.ends_with("last-applied-configuration"));
    value["metadata"] = json!({
        "name": name, "namespace": namespace,
        "annotations": kept.collect::<std::collections::BTreeMap<_, _>>(),
    });
    let spec = value.get_mut("spec").and_then(Value::as_object_mut);
    let spec = spec.ok_or_else(|| Error::user("the pod has no spec"))?;
    spec.remove("nodeName");
    spec.remove("ephemeralContainers");
    if flags.share_processes {
        spec.insert("shareProcessNamespace".to_owned(), true.into());
    }
    let containers = spec.get_mut("containers").and_then(Value::as_array_mut);
    let containers = containers.ok_or_else(|| Error::user("the pod has no containers"))?;
    for pair in &flags.set_image {
        let (of, image) = pair.split_once('=').ok_or_else(|| {
            Error::user(format!("invalid image format {pair:?}, expected CONTAINER=IMAGE"))
        })?;
        let meant = |one: &&mut Value| of == "*" || one["name"] == of;
        containers.iter_mut().filter(meant).for_each(|one| one["image"] = image.into());
    }
    let target = match (&flags.container, flags.image.is_empty()) {
        (Some(name), _) => name.clone(),
        (None, false) => debugger(flags)?,
        (None, true) => {
            containers.first().and_then(|one| one["name"].as_str()).unwrap_or("").to_owned()
        }
    };
    match containers.iter_mut().find(|one| one["name"] == target.as_str()) {
        Some(there) => changed(flags, there),
        None if flags.image.is_empty() => {
            return Err(Error::user(format!("container {target:?} not found in pod")));
        }
        None => {
            if flags.container.is_none() && !flags.quiet {
                tell(&format!("Defaulting debug container name to {target}."));
            }
            containers.push(container(flags, &target)?);
        }
    }
    let object = kube::object_of(Resource::Pods, &value, Fields::Strict)?.object;
    if flags.replace {
        let old = kube::Object::Pod(Box::new(pod.clone()));
        super::delete::at_once(call, &old, Default::default(), None)?;
    }
    match make(call, &object, DryRun::No)? {
        kube::Object::Pod(pod) => Ok((*pod, target)),
        _ => Err(Error::user("the copy is no pod")),
    }
}

/// A container of the copy that is there already: another image, another command.
fn changed(flags: &Flags, container: &mut Value) {
    if !flags.image.is_empty() {
        container["image"] = flags.image.clone().into();
    }
    if !flags.command.is_empty() {
        container["command"] = json!(flags.command);
        container["args"] = Value::Null;
    }
    container["stdin"] = flags.stdin.into();
    container["tty"] = flags.tty.into();
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
        container["command"] = json!(flags.command);
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
        _ => return Ok(container),
    };
    container["securityContext"] = context;
    Ok(container)
}

/// The container's name: the one given, or `debugger-x2b4z`.
fn debugger(flags: &Flags) -> Result<String> {
    if let Some(name) = &flags.container {
        return Ok(name.clone());
    }
    Ok(format!("debugger-{}", write::random_letters()?))
}
