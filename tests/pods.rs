//! Pods under virtual time: the machine decides, a made-up world does, and the timeline is what
//! `tests/golden/pods/<case>.txt` says.
//!
//! A golden file begins with its scenario (see [`World::command`]), one command a line; the rest,
//! after the first empty line, is written by the test under `UPDATE_GOLDEN=1` and reviewed as a
//! diff. The pod stands beside it in `<case>.yaml`. How to read the rest:
//!
//! ```text
//! 0:00.020  sandbox 0 is ready        what happened (an event)
//!             > start web 0           what is to be done (an action)
//!             Normal Pulled [web] …   what is recorded for `describe`
//!           = Pending | web: …        phase and containers, where they changed
//! ```

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use runp::kube::Pod;
use runp::pod::action::Action;
use runp::pod::conditions::{Node, status};
use runp::pod::event::{
    Event, ExitStatus, Hook, ImageFault, ProbeKind, ProbeResult, SandboxFault, StartStage,
};
use runp::pod::machine::{deadline, next};
use runp::pod::state::PodState;
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[test]
fn timelines_are_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pods");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failed = Vec::new();
    for case in cases(&dir) {
        let manifest = std::fs::read_to_string(case.with_extension("yaml")).unwrap();
        let golden = std::fs::read_to_string(&case).unwrap();
        let scenario = golden.split("\n\n").next().unwrap_or_default();
        let timeline = format!("{}\n\n{}", scenario.trim_end(), play(&manifest, scenario));
        if update {
            std::fs::write(&case, timeline).unwrap();
        } else if timeline != golden {
            failed.push(format!("{}:\n{}", case.display(), first_difference(&golden, &timeline)));
        }
    }
    assert!(failed.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites them", failed.join("\n"));
}

proptest! {
    /// Whatever its programs do and whenever its monitor dies: a deleted pod goes within its grace
    /// and the 2 s that are always left, no instance is started twice, and no turn asks for a tick
    /// in the past (asserted in [`World::run`]).
    #[test]
    fn a_deleted_pod_goes(
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        codes in prop::collection::vec(prop::sample::select(vec!["0", "1"]), 1..4),
        after in 1..40_000_i64,
        stubborn in any::<bool>(),
        deaths in prop::collection::vec(0..120_000_i64, 0..4),
        (sandbox_dies, deleted, grace) in (0..60_000_i64, 0..90_000_i64, 0..40_i64),
    ) {
        let manifest = TWO_WITH_EVERYTHING.replace("POLICY", policy);
        let mut world = World::new(serde_saphyr::from_str(&manifest).unwrap());
        world.command(&format!("web exits {} after {after}ms", codes.join(",")));
        world.command("web readiness passes from 3s to 20s");
        world.command("side liveness passes from 0s to 30s");
        if stubborn {
            world.command("side ignores its stop signal");
        }
        world.command(&format!("sandbox 0 dies at {sandbox_dies}ms"));
        world.command(&format!("delete at {deleted}ms grace {grace}"));
        for death in deaths {
            world.command(&format!("monitor dies at {death}ms"));
        }
        world.at(SignedDuration::ZERO, Happening::Event(Event::Started));
        world.run();
        prop_assert!(world.over, "{}", world.timeline);
        let end = world.now.duration_since(Timestamp::UNIX_EPOCH).as_millis() as i64;
        let is_gone = world.timeline.contains("> remove the record");
        prop_assert!(!is_gone || end <= deleted + (grace + 2) * 1000 + 500, "{}", world.timeline);
        let mut instances = world.instances.clone();
        instances.sort();
        instances.dedup();
        prop_assert_eq!(instances.len(), world.instances.len(), "{}", world.timeline);
    }
}

const TWO_WITH_EVERYTHING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: default, uid: u}
spec:
  restartPolicy: POLICY
  containers:
  - name: web
    image: nginx:1.15.2
    readinessProbe: {httpGet: {port: 80}, periodSeconds: 3}
    lifecycle: {postStart: {exec: {command: [true]}}, preStop: {httpGet: {port: 80}}}
  - name: side
    image: busybox:1
    startupProbe: {exec: {command: [true]}}
    livenessProbe: {exec: {command: [true]}, periodSeconds: 5}
"#;

fn cases(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "txt")).collect();
    assert!(cases.len() > 10, "{} holds the cases", dir.display());
    cases.sort();
    cases
}

fn first_difference(golden: &str, timeline: &str) -> String {
    let pair = golden.lines().zip(timeline.lines()).enumerate().find(|(_, (a, b))| a != b);
    match pair {
        Some((line, (golden, now))) => format!("line {}\n- {golden}\n+ {now}", line + 1),
        None => "one is longer than the other".into(),
    }
}

/// Plays a scenario on a pod, to its end.
fn play(manifest: &str, scenario: &str) -> String {
    let mut world = World::new(serde_saphyr::from_str(manifest).unwrap());
    for line in scenario.lines().filter(|line| !line.starts_with('#')) {
        world.command(line);
    }
    world.at(SignedDuration::ZERO, Happening::Event(Event::Started));
    world.run();
    world.timeline
}

/// What the scenario makes happen.
#[derive(Clone, Debug)]
enum Happening {
    Event(Event),
    /// `podctl delete`, with this grace.
    Delete(i64),
    /// The monitor is killed and another one started: what was under way is forgotten.
    Crash,
    /// `podctl apply` with another image for a container.
    Image(String, String),
}

/// How the programs of one container behave.
#[derive(Clone, Default)]
struct Program {
    /// Exit statuses, one per instance, the last one for all others; none: it runs on.
    exits: Vec<i32>,
    /// How long it runs before.
    after: SignedDuration,
    /// It does not end on its stop signal.
    stubborn: bool,
    /// The message of its image's or its start's failure.
    image_fails: Option<(ImageFault, String)>,
    start_fails: Option<(StartStage, String)>,
    post_start_fails: Option<String>,
    pre_stop_takes: Option<SignedDuration>,
    /// Uptime from which on a probe passes, and from which on it fails.
    passes: HashMap<&'static str, (SignedDuration, SignedDuration)>,
}

struct World {
    now: Timestamp,
    until: SignedDuration,
    pod: Pod,
    state: PodState,
    /// Time, order and what happens then.
    queue: Vec<(Timestamp, usize, Happening)>,
    order: usize,
    programs: HashMap<String, Program>,
    sandbox_fails: Vec<(SandboxFault, String)>,
    timeline: String,
    shown: String,
    over: bool,
    /// Every instance that came up.
    instances: Vec<(String, u32)>,
}

const NAMES: [&str; 3] = ["startup", "readiness", "liveness"];
const NEVER: SignedDuration = SignedDuration::from_hours(1_000);

impl World {
    fn new(pod: Pod) -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            until: SignedDuration::from_hours(1),
            pod,
            state: PodState::default(),
            queue: Vec::new(),
            order: 0,
            programs: HashMap::new(),
            sandbox_fails: Vec::new(),
            timeline: String::new(),
            shown: String::new(),
            over: false,
            instances: Vec::new(),
        }
    }

    /// One command of a scenario.
    fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let text = || line.split_once('"').unwrap().1.trim_end_matches('"').to_owned();
        match words.as_slice() {
            ["until", time] => self.until = span(time),
            ["delete", "at", time, "grace", grace] => {
                self.at(span(time), Happening::Delete(grace.parse().unwrap()));
            }
            ["monitor", "dies", "at", time] => self.at(span(time), Happening::Crash),
            ["sandbox", attempt, "dies", "at", time] => {
                let event = Event::SandboxExited { attempt: attempt.parse().unwrap() };
                self.at(span(time), Happening::Event(event));
            }
            ["sandbox", "fails", ..] => {
                self.sandbox_fails.push((SandboxFault::Sandbox, text()));
            }
            ["volume", volume, "fails", ..] => {
                self.sandbox_fails.push((SandboxFault::Volume((*volume).into()), text()));
            }
            [container, rest @ ..] => {
                let program = self.programs.entry((*container).to_owned()).or_default();
                match rest {
                    ["exits", codes, "after", time] => {
                        program.exits =
                            codes.split(',').map(|code| code.parse().unwrap()).collect();
                        program.after = span(time);
                    }
                    ["ignores", "its", "stop", "signal"] => program.stubborn = true,
                    ["image", "is", "missing", ..] => {
                        program.image_fails = Some((ImageFault::Pull, text()));
                    }
                    ["cannot", "start", ..] => {
                        program.start_fails = Some((StartStage::Start, text()));
                    }
                    ["cannot", "be", "configured", ..] => {
                        program.start_fails = Some((StartStage::Config, text()));
                    }
                    ["postStart", "fails", ..] => program.post_start_fails = Some(text()),
                    ["preStop", "takes", time] => program.pre_stop_takes = Some(span(time)),
                    [probe, "passes", "from", from, "to", to] => {
                        let name = NAMES.iter().find(|name| *name == probe).unwrap();
                        program.passes.insert(name, (span(from), span(to)));
                    }
                    ["gets", "image", image, "at", time] => {
                        let happening = Happening::Image((*container).into(), (*image).into());
                        self.at(span(time), happening);
                    }
                    _ => panic!("no such command: {line}"),
                }
            }
            [] => {}
        }
    }

    fn at(&mut self, after: SignedDuration, happening: Happening) {
        self.queue.push((Timestamp::UNIX_EPOCH + after, self.order, happening));
        self.order += 1;
    }

    fn after_ms(&mut self, ms: i64, event: Event) {
        let since = self.now.duration_since(Timestamp::UNIX_EPOCH);
        self.at(since + SignedDuration::from_millis(ms), Happening::Event(event));
    }

    fn run(&mut self) {
        let end = Timestamp::UNIX_EPOCH + self.until;
        while !self.over {
            self.queue.sort_by_key(|(time, order, _)| (*time, *order));
            let tick = deadline(&self.state).filter(|_| self.state.started.is_some());
            assert!(tick.is_none_or(|tick| tick > self.now), "the monitor would spin");
            let first = self.queue.first().map(|(time, ..)| *time);
            let Some(time) = [tick, first].into_iter().flatten().min() else { break };
            if time > end {
                break;
            }
            self.now = time;
            if first == Some(time) {
                let (_, _, happening) = self.queue.remove(0);
                self.happen(happening);
            } else {
                self.turn("tick", &Event::Tick);
            }
        }
        let time = clock(self.now.duration_since(Timestamp::UNIX_EPOCH));
        let last = if self.over { "the monitor has ended" } else { "and so on" };
        writeln!(self.timeline, "{time:>8}  {last}").unwrap();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Delete(grace) => {
                let metadata = &mut self.pod.metadata;
                metadata.deletion_timestamp = Some(Time(self.now));
                metadata.deletion_grace_period_seconds = Some(grace);
                self.turn(&format!("deleted with a grace of {grace}s"), &Event::SpecChanged);
            }
            Happening::Image(name, image) => {
                let containers = &mut self.pod.spec.as_mut().unwrap().containers;
                let container = containers.iter_mut().find(|it| it.name == name).unwrap();
                container.image = Some(image.clone());
                self.turn(&format!("{name} is to have the image {image}"), &Event::SpecChanged);
            }
            Happening::Crash => {
                // Processes live on, answers to what the monitor had under way do not.
                self.queue.retain(|(_, _, happening)| match happening {
                    Happening::Event(Event::ContainerExited { .. }) => true,
                    Happening::Event(Event::SandboxExited { .. }) => true,
                    Happening::Event(_) => false,
                    _ => true,
                });
                // Its state was written.
                let written = serde_json::to_string(&self.state).unwrap();
                self.state = serde_json::from_str(&written).unwrap();
                self.turn("a new monitor takes over", &Event::Started);
            }
            Happening::Event(event) => {
                if let Event::ContainerStarted { container, attempt, .. } = &event {
                    self.instances.push((container.clone(), *attempt));
                }
                if !self.is_outdated(&event) {
                    self.turn(&describe(&event), &event);
                }
            }
        }
    }

    /// A process that has been killed does not end again.
    fn is_outdated(&self, event: &Event) -> bool {
        match event {
            Event::ContainerExited { container, attempt, .. } => {
                let state = self.state.container(container).unwrap();
                !state.has_process() || state.attempt != *attempt
            }
            _ => false,
        }
    }

    fn turn(&mut self, cause: &str, event: &Event) {
        let actions = next(&self.pod, &mut self.state, event, self.now);
        let node = Node { ip: Some("192.0.2.1".into()) };
        let shown = show(&status(&self.pod, &self.state, &node));
        if actions.is_empty() && shown == self.shown {
            return;
        }
        let time = clock(self.now.duration_since(Timestamp::UNIX_EPOCH));
        writeln!(self.timeline, "{time:>8}  {cause}").unwrap();
        for action in actions {
            writeln!(self.timeline, "            {}", word(&action)).unwrap();
            self.act(action);
        }
        if shown != self.shown {
            writeln!(self.timeline, "          = {shown}").unwrap();
            self.shown = shown;
        }
    }

    /// Does what is to be done, in a few virtual milliseconds.
    fn act(&mut self, action: Action) {
        match action {
            Action::CreateSandbox { attempt } => {
                let ip = Some(format!("10.88.0.{}", 2 + attempt));
                let event = match self.sandbox_fails.pop() {
                    Some((fault, message)) => Event::SandboxFailed { attempt, fault, message },
                    None => Event::SandboxReady { attempt, pid: 100, ip },
                };
                self.after_ms(20, event);
            }
            Action::StopSandbox { attempt } => {
                self.after_ms(20, Event::SandboxStopped { attempt, failure: None });
            }
            Action::StartContainer { container, attempt } => self.start(container, attempt),
            Action::RunHook { container, attempt, which, timeout } => {
                let program = self.programs.get(&container).cloned().unwrap_or_default();
                let takes = match which {
                    Hook::PreStop => {
                        program.pre_stop_takes.unwrap_or(SignedDuration::from_millis(50))
                    }
                    Hook::PostStart => SignedDuration::from_millis(50),
                };
                let limit = timeout.map_or(NEVER, |limit| limit.try_into().unwrap());
                let failure = if takes > limit {
                    Some("context deadline exceeded".to_owned())
                } else {
                    program.post_start_fails.filter(|_| which == Hook::PostStart)
                };
                let ms = takes.min(limit).as_millis().try_into().unwrap();
                self.after_ms(ms, Event::HookDone { container, attempt, which, failure });
            }
            Action::Probe { container, attempt, kind } => {
                let result = self.probe(&container, kind);
                self.after_ms(2, Event::ProbeDone { container, attempt, kind, result });
            }
            Action::Signal { container, attempt, signal } => {
                let stubborn = self.programs.get(&container).is_some_and(|it| it.stubborn);
                if !stubborn {
                    // It was ready to be stopped: it ends well, unless the signal is odd.
                    let code = if signal == 15 { 0 } else { 128 + signal };
                    self.exit(container, attempt, code, 10);
                }
            }
            Action::KillContainer { container, attempt } => self.exit(container, attempt, 137, 1),
            Action::Teardown => self.after_ms(30, Event::TornDown { failure: None }),
            Action::Remove | Action::Exit => self.over = true,
            Action::CleanContainer { .. } | Action::RecordEvent(_) => {}
        }
    }

    fn start(&mut self, container: String, attempt: u32) {
        let program = self.programs.get(&container).cloned().unwrap_or_default();
        if let Some((fault, message)) = program.image_fails {
            return self.after_ms(1, Event::ImageFailed { container, fault, message });
        }
        let spec = self.pod.spec.as_ref().unwrap();
        let image = spec.containers.iter().find(|it| it.name == container).unwrap().image.clone();
        let image = format!("docker.io/library/{}", image.unwrap());
        let image_id = format!("{image}@sha256:0a3f");
        let ready =
            Event::ImageReady { container: container.clone(), image, image_id, stop_signal: 0 };
        self.after_ms(1, ready);
        if let Some((stage, message)) = program.start_fails {
            return self.after_ms(5, Event::ContainerFailed { container, attempt, stage, message });
        }
        let started = Event::ContainerStarted { container: container.clone(), attempt, pid: 200 };
        self.after_ms(5, started);
        let last = program.exits.last().copied();
        if let Some(code) = program.exits.get(attempt as usize).copied().or(last) {
            let ms: i64 = program.after.as_millis().try_into().unwrap();
            self.exit(container, attempt, code, 5 + ms);
        }
    }

    fn exit(&mut self, container: String, attempt: u32, code: i32, ms: i64) {
        let finished_at = self.now + SignedDuration::from_millis(ms);
        let status = ExitStatus::Code { code, oom: false };
        let message = String::new();
        let event = Event::ContainerExited { container, attempt, status, finished_at, message };
        self.after_ms(ms, event);
    }

    fn probe(&self, container: &str, kind: ProbeKind) -> ProbeResult {
        let started = self.state.container(container).unwrap().started_at.unwrap();
        let uptime = self.now.duration_since(started);
        let passes = self.programs.get(container).and_then(|it| it.passes.get(name_of(kind)));
        match passes {
            Some((from, to)) if uptime < *from || uptime >= *to => {
                ProbeResult::Failure("HTTP probe failed with statuscode: 500".into())
            }
            _ => ProbeResult::Success,
        }
    }
}

/// `90s`, `5m`, `250ms`, `1h`.
fn span(text: &str) -> SignedDuration {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap();
    let (number, unit) = text.split_at(split);
    let number: i64 = number.parse().unwrap();
    match unit {
        "ms" => SignedDuration::from_millis(number),
        "s" => SignedDuration::from_secs(number),
        "m" => SignedDuration::from_mins(number),
        "h" => SignedDuration::from_hours(number),
        _ => panic!("no such unit: {text}"),
    }
}

/// `59:59.999`.
fn clock(time: SignedDuration) -> String {
    let ms = time.as_millis();
    format!("{}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

fn name_of(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Readiness => "readiness",
        ProbeKind::Liveness => "liveness",
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Started => "the monitor starts".into(),
        Event::SpecChanged | Event::Tick => "tick".into(),
        Event::SandboxReady { attempt, ip, .. } => {
            format!("sandbox {attempt} is ready, {}", ip.clone().unwrap_or_default())
        }
        Event::SandboxFailed { attempt, .. } => format!("sandbox {attempt} fails"),
        Event::SandboxExited { attempt } => format!("sandbox {attempt} dies"),
        Event::SandboxStopped { attempt, .. } => format!("sandbox {attempt} is gone"),
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
            ExitStatus::Unknown => format!("{container} {attempt} has ended"),
        },
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

fn word(action: &Action) -> String {
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
        Action::CleanContainer { container, attempt } => format!("> clean {container} {attempt}"),
        Action::RecordEvent(event) => {
            let about = event.container.as_ref().map(|name| format!(" [{name}]"));
            let about = about.unwrap_or_default();
            format!("{} {}{about} {}", event.kind.as_str(), event.reason, event.message)
        }
        Action::Teardown => "> tear the pod down".into(),
        Action::Remove => "> remove the record".into(),
        Action::Exit => "> end the monitor".into(),
    }
}

/// The status in a line: phase, address, true conditions, each container's state.
fn show(status: &api::PodStatus) -> String {
    let mut line = status.phase.clone().unwrap_or_default();
    if let Some(ip) = &status.pod_ip {
        write!(line, " {ip}").unwrap();
    }
    let conditions = status.conditions.iter().flatten();
    if conditions.clone().any(|it| it.type_ == "Ready" && it.status == "True") {
        line.push_str(" Ready");
    }
    for container in status.container_statuses.iter().flatten() {
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
