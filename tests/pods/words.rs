//! How a timeline reads.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::jiff::SignedDuration;
use runp::pod::action::Action;
use runp::pod::event::{Event, ExitStatus, ProbeKind, ProbeResult};
use std::fmt::Write;

/// `59:59.999`.
pub fn clock(time: SignedDuration) -> String {
    let ms = time.as_millis();
    format!("{}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

pub fn name_of(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Readiness => "readiness",
        ProbeKind::Liveness => "liveness",
    }
}

/// What happened.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Started => "the monitor starts".into(),
        Event::Rebooted => "the machine has been booted".into(),
        Event::SpecChanged | Event::Tick => "tick".into(),
        Event::SandboxReady { attempt, ip, .. } => {
            format!("sandbox {attempt} is ready, {}", ip.clone().unwrap_or_default())
        }
        Event::SandboxFailed { attempt, .. } => format!("sandbox {attempt} fails"),
        Event::Rejected { .. } => "the machine refuses the pod".into(),
        Event::SecretsMissing { names } => format!("{} is missing", names.join(", ")),
        Event::Measured { .. } => "the pod has been measured".into(),
        Event::SandboxExited { attempt } => format!("sandbox {attempt} dies"),
        Event::SandboxStopped { attempt, .. } => format!("sandbox {attempt} is gone"),
        Event::ImagePulling { container, .. } => format!("{container} pulls its image"),
        Event::ImageReady { container, .. } => format!("{container} has its image"),
        Event::ImageFailed { container, .. } => format!("{container} has no image"),
        Event::ContainerStarted { container, attempt, .. } => {
            format!("{container} {attempt} is started")
        }
        Event::ContainerFailed { container, attempt, .. } => {
            format!("{container} {attempt} fails to start")
        }
        Event::ContainerExited { container, attempt, status, .. } => match status {
            ExitStatus::Code { code, .. } => format!("{container} {attempt} ends with {code}"),
            ExitStatus::Unknown | ExitStatus::Rebooted => {
                format!("{container} {attempt} has ended")
            }
        },
        Event::KillFailed { container, .. } => format!("{container} does not end"),
        Event::HookDone { container, which, failure, .. } => {
            let how = if failure.is_some() { "failed" } else { "returned" };
            format!("{which:?} of {container} has {how}")
        }
        Event::ProbeDone { container, kind, result, .. } => {
            let how = if *result == ProbeResult::Success { "passes" } else { "fails" };
            format!("{} of {container} {how}", name_of(*kind))
        }
        Event::TornDown { .. } => "nothing is left".into(),
    }
}

/// What is to be done.
pub fn word(action: &Action) -> String {
    match action {
        Action::CreateSandbox { attempt } => format!("> make sandbox {attempt}"),
        Action::StopSandbox { attempt } => format!("> remove sandbox {attempt}"),
        Action::StartContainer { container, attempt } => format!("> start {container} {attempt}"),
        Action::RunHook { container, which, timeout, .. } => match timeout {
            Some(limit) => format!("> run {which:?} of {container}, at most {}s", limit.as_secs()),
            None => format!("> run {which:?} of {container}"),
        },
        Action::Probe { container, kind, .. } => {
            format!("> probe {} of {container}", name_of(*kind))
        }
        Action::Signal { container, signal, .. } => format!("> signal {signal} to {container}"),
        Action::KillContainer { container, .. } => format!("> kill {container}"),
        Action::Dismiss { container, signal, .. } => {
            format!("> signal {signal} to {container}, or kill it")
        }
        Action::CancelPull { container } => format!("> give up the image of {container}"),
        Action::ClosePorts { container } => format!("> close the host ports of {container}"),
        Action::Examine { container, .. } => format!("> examine {container}"),
        Action::CleanContainer { container, attempt } => format!("> clean {container} {attempt}"),
        Action::RecordEvent(event) => {
            let about = event.container.as_ref().map(|name| format!(" [{name}]"));
            let about = about.unwrap_or_default();
            format!("{} {}{about} {}", event.kind.as_str(), event.reason, event.message)
        }
        Action::Measure => "> measure the pod".into(),
        Action::Teardown => "> tear the pod down".into(),
        Action::Remove => "> remove the record".into(),
        Action::Exit => "> end the monitor".into(),
    }
}

/// The status in a line: phase, address, true conditions, each container's state.
pub fn show(status: &api::PodStatus) -> String {
    let mut line = status.phase.clone().unwrap_or_default();
    if let Some(ip) = &status.pod_ip {
        write!(line, " {ip}").unwrap();
    }
    let conditions = status.conditions.iter().flatten();
    if conditions.clone().any(|it| it.type_ == "Ready" && it.status == "True") {
        line.push_str(" Ready");
    }
    let containers = conditions.clone().find(|it| it.type_ == "ContainersReady");
    // What the containers' own states say stands there already.
    let shown = |it: &&api::PodCondition| match it.type_.as_str() {
        "PodReadyToStartContainers" => false,
        "ContainersReady" => it.reason.as_deref() != Some("ContainersNotReady"),
        "Ready" => containers.is_none_or(|other| other.reason != it.reason),
        _ => true,
    };
    for condition in conditions.filter(shown).filter(|it| it.reason.is_some()) {
        let reason = condition.reason.clone().unwrap_or_default();
        write!(line, " {}={}({reason})", condition.type_, condition.status).unwrap();
    }
    let init = status.init_container_statuses.iter().flatten();
    let regular = status.container_statuses.iter().flatten();
    for container in init.chain(regular).chain(status.ephemeral_container_statuses.iter().flatten())
    {
        write!(line, " | {}: {}", container.name, state_of(container)).unwrap();
    }
    line
}

fn state_of(container: &api::ContainerStatus) -> String {
    let terminated = |it: &api::ContainerStateTerminated| {
        format!("{} {}", it.reason.clone().unwrap_or_default(), it.exit_code)
    };
    let state = container.state.clone().unwrap_or_default();
    let mut text = match (&state.waiting, &state.terminated) {
        (Some(waiting), _) => waiting.reason.clone().unwrap_or_default(),
        (_, Some(exit)) => terminated(exit),
        _ if container.ready => "running, ready".into(),
        _ => "running".into(),
    };
    if let Some(exit) = container.last_state.as_ref().and_then(|last| last.terminated.as_ref()) {
        write!(text, " (last {})", terminated(exit)).unwrap();
    }
    if container.restart_count > 0 {
        write!(text, " #{}", container.restart_count).unwrap();
    }
    text
}
