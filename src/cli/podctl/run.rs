//! `podctl run`: a pod of one container, from flags.

use super::create::make;
use super::flags::parse_duration;
use super::write::{self, DryRun, Sent, usage};
use super::{Call, Outcome, attach, delete, print};
use crate::error::{Error, Result};
use crate::kube::patch::PatchType;
use crate::kube::{self, Fields, Object, Pod, Resource, patch};
use crate::pod::DeleteOptions;
use crate::pod::apply::with_last_applied;
use clap::Args;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Flags of `run`.
#[derive(Args)]
pub struct Flags {
    /// NAME [ARGUMENT…]
    #[arg(value_name = "NAME")]
    words: Vec<String>,
    /// The arguments, or with --command the command
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
    /// The image
    #[arg(long)]
    image: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never
    #[arg(long, value_name = "POLICY", default_value = "", hide_default_value = true)]
    image_pull_policy: String,
    /// NAME=VALUE of the container's environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Labels of the pod: a=b,c=d
    #[arg(short, long, value_name = "LABELS", default_value = "", hide_default_value = true)]
    labels: String,
    /// Annotations of the pod
    #[arg(long, value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// A port that the container listens at
    #[arg(long)]
    port: Option<String>,
    /// Take the arguments for the command
    #[arg(long)]
    command: bool,
    /// Always, OnFailure or Never
    #[arg(long, value_name = "POLICY", default_value = "Always")]
    restart: String,
    /// Run privileged
    #[arg(long)]
    privileged: bool,
    /// A patch of the pod, as JSON
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    overrides: String,
    /// What kind of patch: json, merge or strategic
    #[arg(long, value_name = "TYPE", default_value = "merge")]
    override_type: String,
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
    /// Leave standard input open behind the first one who attaches
    #[arg(long)]
    leave_stdin_open: bool,
    /// Delete the pod when its container has ended
    #[arg(long)]
    rm: bool,
    /// Refused: there are no services
    #[arg(long, hide = true)]
    expose: bool,
    /// With --rm: delete the pod at once
    #[arg(long)]
    force: bool,
    /// Accepted for kubectl's sake: with --rm the end of the pod is always awaited
    #[arg(long, hide = true)]
    wait: bool,
    /// With --rm: how long to wait for the pod's end; 0 for as long as it takes
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    timeout: Option<Duration>,
    /// Accepted for kubectl's sake: nothing here owns anything
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true,
        default_missing_value = "background", hide = true)]
    cascade: Option<String>,
    /// Say nothing but what the container says
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait until the pod runs
    #[arg(long, value_parser = parse_duration, value_name = "DURATION", default_value = "1m0s", hide_default_value = true)]
    pod_running_timeout: Duration,
    /// Seconds to stop in, with --rm; -1 for the pod's own
    #[arg(long, value_name = "SECONDS", default_value_t = -1, allow_negative_numbers = true,
        hide_default_value = true)]
    grace_period: i64,
    /// Note the object as what was applied last, for a later apply
    #[arg(long)]
    save_config: bool,
    #[command(flatten)]
    sent: Sent,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let mut printer = flags.sent.printer()?.typed();
    let (name, image) = checked(flags, printer.dry_run)?;
    let mut value = overridden(flags, pod(flags, name, image)?)?;
    let namespace = call.namespace_given || printer.dry_run != DryRun::Client;
    if namespace {
        value["metadata"]["namespace"] = call.namespace.clone().into();
    }
    if flags.save_config {
        let namespace = if namespace { call.namespace.as_str() } else { "" };
        value = with_last_applied(&value, namespace)?;
    }
    let object = kube::object_of(Resource::Pods, &value, Fields::Strict)?.object;
    let made = match printer.dry_run {
        DryRun::Client => {
            let mut object = object;
            if let Object::Pod(pod) = &mut object {
                // Go's types say so, and kubectl prints it.
                pod.status.get_or_insert_default();
            }
            object
        }
        dry_run => make(call, &object, dry_run)?,
    };
    if !attaches(flags) {
        printer.one(&made, "created")?;
        return Ok(0);
    }
    let Object::Pod(pod) = made else { return Ok(0) };
    let status = attended(call, flags, *pod.clone());
    if flags.rm {
        remove(call, flags, &pod)?;
    }
    status
}

fn attaches(flags: &Flags) -> bool {
    flags.attach.unwrap_or(flags.stdin || flags.tty)
}

/// The pod's name and the image, if all flags agree.
fn checked(flags: &Flags, dry_run: DryRun) -> Result<(&str, &str)> {
    let wrong = |text: String| Err(usage("run", &text));
    let Some(name) = flags.words.first() else {
        return wrong("NAME is required for run".to_owned());
    };
    let image = match flags.image.as_deref() {
        None => return Err(Error::user("required flag(s) \"image\" not set")),
        Some("") => return Err(Error::user("--image is required")),
        Some(image) => image,
    };
    if let Err(error) = crate::image::Reference::parse(image) {
        let why = error.cause().rsplit(": ").next().unwrap_or_default();
        return Err(Error::user(format!("Invalid image name {image:?}: {why}")));
    }
    if flags.tty && !flags.stdin {
        return wrong("-i/--stdin is required for containers with -t/--tty=true".to_owned());
    }
    if flags.expose && flags.port.is_none() {
        return wrong("--port must be set when exposing a service".to_owned());
    }
    if flags.expose {
        return Err(Error::user("--expose: runp has no services").hint("podctl port-forward"));
    }
    if dry_run != DryRun::No && attaches(flags) {
        return wrong(
            "--dry-run=[server|client] can't be used with attached containers options \
                      (--attach, --stdin, or --tty)"
                .to_owned(),
        );
    }
    if flags.rm && !attaches(flags) {
        return wrong("--rm should only be used for attached containers".to_owned());
    }
    if !["Always", "OnFailure", "Never"].contains(&flags.restart.as_str()) {
        return wrong(format!("invalid restart policy: {}", flags.restart));
    }
    let policy = flags.image_pull_policy.as_str();
    if !["", "Always", "IfNotPresent", "Never"].contains(&policy) {
        return wrong(format!("invalid image pull policy: {policy}"));
    }
    Ok((name, image))
}

/// The pod, as the flags describe it.
fn pod(flags: &Flags, name: &str, image: &str) -> Result<Value> {
    let mut container = Map::new();
    let mut set = |field: &str, value: Value| container.insert(field.to_owned(), value);
    set("name", name.into());
    set("image", image.into());
    // Go's types say so, and kubectl prints it.
    set("resources", json!({}));
    let arguments: Vec<&String> = flags.words.iter().skip(1).chain(&flags.arguments).collect();
    if !arguments.is_empty() {
        set(if flags.command { "command" } else { "args" }, json!(arguments));
    }
    if !flags.env.is_empty() {
        set("env", flags.env.iter().map(|text| environment(text)).collect::<Result<_>>()?);
    }
    if let Some(port) = &flags.port {
        let port: i32 = port
            .parse()
            .map_err(|_| Error::user(format!("strconv.Atoi: parsing {port:?}: invalid syntax")))?;
        set("ports", json!([{"containerPort": port}]));
    }
    if !flags.image_pull_policy.is_empty() {
        set("imagePullPolicy", flags.image_pull_policy.clone().into());
    }
    if flags.privileged {
        set("securityContext", json!({"privileged": true}));
    }
    if flags.stdin {
        set("stdin", true.into());
        if !flags.leave_stdin_open {
            set("stdinOnce", true.into());
        }
    }
    if flags.tty {
        set("tty", true.into());
    }
    let mut metadata = json!({"name": name, "labels": labels(flags, name)?});
    if !flags.annotations.is_empty() {
        let pairs = flags.annotations.iter().map(|pair| {
            let pair = pair.split_once('=').filter(|(key, _)| !key.is_empty());
            pair.ok_or_else(|| Error::user("unexpected annotation, expected key=value"))
        });
        metadata["annotations"] = pairs
            .map(|pair| pair.map(|(key, value)| (key.to_owned(), Value::from(value))))
            .collect::<Result<Map<_, _>>>()?
            .into();
    }
    Ok(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {
            "containers": [container],
            "dnsPolicy": "ClusterFirst", "restartPolicy": flags.restart,
        },
    }))
}

/// Reads `NAME=VALUE`.
pub fn environment(text: &str) -> Result<Value> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(json!({"name": name, "value": value})),
        _ => Err(Error::user(format!("invalid env: {text}"))),
    }
}

fn labels(flags: &Flags, name: &str) -> Result<Value> {
    if flags.labels.is_empty() {
        return Ok(json!({"run": name}));
    }
    let mut labels = Map::new();
    for pair in flags.labels.split(',') {
        let read = pair.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) =
            read.ok_or_else(|| Error::user(format!("unexpected label spec: {pair}")))?;
        labels.insert(key.to_owned(), value.into());
    }
    Ok(labels.into())
}

fn overridden(flags: &Flags, pod: Value) -> Result<Value> {
    if flags.overrides.is_empty() {
        return Ok(pod);
    }
    let kind = match flags.override_type.as_str() {
        "merge" => PatchType::Merge,
        "strategic" => PatchType::Strategic,
        "json" => PatchType::Json,
        other => {
            return Err(usage("run", &format!("invalid override type: {other}")));
        }
    };
    let change = kube::value_of("--overrides", &flags.overrides);
    let change =
        change.map_err(|error| Error::user("Invalid JSON Patch").hint(error.to_string()))?;
    patch::apply(kind, &pod, &change)
}

/// Attaches once the container runs; the container's exit status, where it ends for good.
fn attended(call: &Call, flags: &Flags, pod: Pod) -> Outcome {
    let container = pod.spec.iter().flat_map(|spec| &spec.containers).next();
    let container = container.map(|container| container.name.clone()).unwrap_or_default();
    let pod = attach::awaited(call, pod, &container, flags.pod_running_timeout)?;
    let wanted = attach::Wanted { stdin: flags.stdin, tty: flags.tty, quiet: flags.quiet };
    attach::attach(call, &pod, &container, &wanted)?;
    if flags.restart == "Never" {
        return attach::exit_status(call, pod, &container);
    }
    let (name, tty) = (write::name_of(&pod), if flags.tty { " -t" } else { "" });
    if !flags.rm && !flags.quiet && flags.stdin {
        print(&format!(
            "Session ended, resume using 'podctl attach {name} -c {container} -i{tty}' command \
             when the pod is running\n"
        ))?;
    }
    Ok(0)
}

fn remove(call: &Call, flags: &Flags, pod: &Pod) -> Result<()> {
    let grace_period = (flags.grace_period >= 0).then_some(flags.grace_period);
    let grace_period = if flags.force { Some(0) } else { grace_period };
    let options = DeleteOptions { grace_period, force: grace_period == Some(0) };
    let object = Object::Pod(Box::new(pod.clone()));
    let (name, namespace) = (object.name(), object.namespace());
    delete::at_once(call, &object, options, flags.timeout)?;
    match flags.quiet {
        true => Ok(()),
        false => print(&format!("pod \"{name}\" deleted from {namespace} namespace\n")),
    }
}
