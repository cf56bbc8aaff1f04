//! A made-up machine: it does what a pod's machine decides, in a few virtual milliseconds each.

use super::words::{clock, describe, name_of, show, word};
use k8s_openapi::api::core::v1::{EphemeralContainer, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use runp::kube::{Pod, roster};
use runp::pod::action::Action;
use runp::pod::conditions::{Node, status};
use runp::pod::event::{
    Event, ExitStatus, Hook, ImageFault, ProbeKind, ProbeResult, Pulled, SandboxFault, StartStage,
};
use runp::pod::eviction::Usage;
use runp::pod::machine::{deadline, next};
use runp::pod::state::PodState;
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

/// Plays a scenario on a pod, to its end.
pub fn play(manifest: &str, scenario: &str) -> String {
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
pub enum Happening {
    Event(Event),
    /// `podctl delete`, with this grace.
    Delete(i64),
    /// The monitor is killed and another one started: what was under way is forgotten.
    Crash,
    /// The machine is booted: nothing runs any more.
    Reboot,
    /// `podctl debug` adds an ephemeral container.
    Debug(String),
    /// `podctl apply` with another image for a container.
    Image(String, String),
}

/// How the programs of one container behave.
#[derive(Clone, Default)]
pub struct Program {
    /// Exit statuses, one per instance, the last one for all others; none: it runs on.
    pub exits: Vec<i32>,
    /// How long it runs before.
    pub after: SignedDuration,
    /// It does not end on its stop signal.
    pub stubborn: bool,
    /// It ends so long after its stop signal.
    pub heeds: Option<SignedDuration>,
    /// The kernel holds on to it until then.
    pub held_until: Option<SignedDuration>,
    /// Its image has to be pulled, which takes so long.
    pub pulls: Option<SignedDuration>,
    /// The pod's pull secrets are not there.
    pub secrets_missing: bool,
    /// The message of its image's or its start's failure.
    pub image_fails: Option<(ImageFault, String)>,
    pub start_fails: Option<(StartStage, String)>,
    pub post_start_fails: Option<String>,
    pub post_start_takes: Option<SignedDuration>,
    pub pre_stop_fails: Option<String>,
    pub pre_stop_takes: Option<SignedDuration>,
    /// It is the OOM killer that ends it with 137.
    pub greedy: bool,
    /// What a probe comes to, always.
    pub says: HashMap<&'static str, ProbeResult>,
    /// Uptime from which on a probe passes, and from which on it fails.
    pub passes: HashMap<&'static str, (SignedDuration, SignedDuration)>,
}

pub struct World {
    pub now: Timestamp,
    pub until: SignedDuration,
    pub pod: Pod,
    pub state: PodState,
    /// Time, order and what happens then.
    pub queue: Vec<(Timestamp, usize, Happening)>,
    pub order: usize,
    pub programs: HashMap<String, Program>,
    pub sandbox_fails: Vec<(SandboxFault, String)>,
    /// Why the machine does not run the pod: reason and message.
    pub rejects: Option<(String, String)>,
    /// Volumes and containers that are so many bytes from then on.
    pub sizes: Vec<(String, u64, SignedDuration)>,
    pub timeline: String,
    pub shown: String,
    status: Option<PodStatus>,
    pub over: bool,
    /// Every instance that came up.
    pub instances: Vec<(String, u32)>,
}

pub const NAMES: [&str; 3] = ["startup", "readiness", "liveness"];
const NEVER: SignedDuration = SignedDuration::from_hours(1_000);

impl World {
    pub fn new(pod: Pod) -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            until: SignedDuration::from_hours(1),
            pod,
            state: PodState::default(),
            queue: Vec::new(),
            order: 0,
            programs: HashMap::new(),
            sandbox_fails: Vec::new(),
            rejects: None,
            sizes: Vec::new(),
            timeline: String::new(),
            shown: String::new(),
            status: None,
            over: false,
            instances: Vec::new(),
        }
    }

    pub fn at(&mut self, after: SignedDuration, happening: Happening) {
        self.queue.push((Timestamp::UNIX_EPOCH + after, self.order, happening));
        self.order += 1;
    }

    fn after_ms(&mut self, ms: i64, event: Event) {
        let since = self.now.duration_since(Timestamp::UNIX_EPOCH);
        self.at(since + SignedDuration::from_millis(ms), Happening::Event(event));
    }

    pub fn run(&mut self) {
        let end = Timestamp::UNIX_EPOCH + self.until;
        while !self.over {
            self.queue.sort_by_key(|(time, order, _)| (*time, *order));
            let tick = deadline(&self.pod, &self.state).filter(|_| self.state.started.is_some());
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
            Happening::Reboot => {
                self.queue.retain(|(_, _, happening)| !matches!(happening, Happening::Event(_)));
                let written = serde_json::to_string(&self.state).unwrap();
                self.state = serde_json::from_str(&written).unwrap();
                self.turn("the machine has been booted", &Event::Rebooted);
            }
            Happening::Debug(name) => {
                let image = Some("busybox:1".into());
                let container =
                    EphemeralContainer { name: name.clone(), image, ..Default::default() };
                let spec = self.pod.spec.as_mut().unwrap();
                spec.ephemeral_containers.get_or_insert_default().push(container);
                self.turn(&format!("{name} is to debug it"), &Event::SpecChanged);
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
        let status = status(&self.pod, &self.state, &node);
        self.assert_lasting(&status);
        let shown = show(&status);
        self.status = Some(status);
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

    /// What holds of every status after another: the pod has begun once, a terminal phase stays with
    /// its reason, a condition's time is that of its last change, no restart is uncounted.
    fn assert_lasting(&self, new: &PodStatus) {
        let Some(old) = &self.status else { return };
        assert_eq!(old.start_time, new.start_time, "{}", self.timeline);
        let phase = old.phase.as_deref().unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            let lasting =
                |it: &PodStatus| (it.phase.clone(), it.reason.clone(), it.message.clone());
            assert_eq!(lasting(old), lasting(new), "{}", self.timeline);
        }
        for before in old.conditions.iter().flatten() {
            let mut all = new.conditions.iter().flatten();
            let now = all.find(|it| it.type_ == before.type_).unwrap();
            let stays = before.status == now.status;
            assert_eq!(stays, before.last_transition_time == now.last_transition_time, "{now:?}");
        }
        for before in old.container_statuses.iter().flatten() {
            let mut all = new.container_statuses.iter().flatten();
            let now = all.find(|it| it.name == before.name);
            assert!(now.is_none_or(|now| now.restart_count >= before.restart_count));
        }
    }

    /// Does what is to be done, in a few virtual milliseconds.
    fn act(&mut self, action: Action) {
        match action {
            Action::CreateSandbox { .. } if self.rejects.is_some() => {
                let (reason, message) = self.rejects.clone().unwrap();
                self.after_ms(1, Event::Rejected { reason, message });
            }
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
                self.run_hook(container, attempt, which, timeout);
            }
            Action::Probe { container, attempt, kind } => {
                let result = self.probe(&container, kind);
                self.after_ms(2, Event::ProbeDone { container, attempt, kind, result });
            }
            Action::Signal { container, attempt, signal } => {
                let program = self.programs.get(&container).cloned().unwrap_or_default();
                if !program.stubborn {
                    // It was ready to be stopped: it ends well, unless the signal is odd.
                    let code = if signal == 15 { 0 } else { 128 + signal };
                    let takes = program.heeds.map_or(10, |takes| takes.as_millis() as i64);
                    self.exit(container, attempt, code, takes);
                }
            }
            Action::Dismiss { container, attempt, signal } => {
                self.dismiss(container, attempt, signal);
            }
            Action::KillContainer { container, attempt } => {
                let program = self.programs.get(&container).cloned().unwrap_or_default();
                let uptime = self.now.duration_since(Timestamp::UNIX_EPOCH);
                if program.held_until.is_none_or(|until| uptime >= until) {
                    self.exit(container, attempt, 137, 1);
                }
            }
            Action::Examine { container, attempt } => {
                let message = format!(
                    "container {container} has had SIGKILL and does not end: \
                     process 300 (cat /mnt/file) in state D (disk sleep)"
                );
                self.after_ms(3, Event::KillFailed { container, attempt, message });
            }
            Action::ClosePorts { .. } => {}
            Action::CancelPull { container } => self.cancel_pull(container),
            Action::Measure => {
                let usage = self.usage();
                self.after_ms(5, Event::Measured { usage });
            }
            Action::Teardown => self.after_ms(30, Event::TornDown { failure: None }),
            Action::Remove | Action::Exit => self.over = true,
            Action::CleanContainer { .. } | Action::RecordEvent(_) => {}
        }
    }

    fn dismiss(&mut self, container: String, attempt: u32, signal: i32) {
        let program = self.programs.get(&container).cloned().unwrap_or_default();
        match program.heeds {
            // One that hears takes its time, if it has it.
            Some(takes) => {
                let ms = takes.as_millis().try_into().unwrap();
                self.exit(container, attempt, 0, ms);
            }
            None if program.stubborn => self.exit(container, attempt, 137, 1),
            None => self.act(Action::Signal { container, attempt, signal }),
        }
    }

    fn run_hook(
        &mut self,
        container: String,
        attempt: u32,
        which: Hook,
        timeout: Option<Duration>,
    ) {
        let program = self.programs.get(&container).cloned().unwrap_or_default();
        let (takes, fails) = match which {
            Hook::PreStop => (program.pre_stop_takes, program.pre_stop_fails),
            Hook::PostStart => (program.post_start_takes, program.post_start_fails),
        };
        let takes = takes.unwrap_or(SignedDuration::from_millis(50));
        let limit = timeout.map_or(NEVER, |limit| limit.try_into().unwrap());
        let failure =
            if takes > limit { Some("context deadline exceeded".to_owned()) } else { fails };
        let ms = takes.min(limit).as_millis().try_into().unwrap();
        self.after_ms(ms, Event::HookDone { container, attempt, which, failure });
    }

    fn usage(&self) -> Usage {
        let uptime = self.now.duration_since(Timestamp::UNIX_EPOCH);
        let grown = self.sizes.iter().filter(|(_, _, from)| uptime >= *from);
        let mut usage = Usage::default();
        for (name, bytes, _) in grown {
            let is_container = self.state.container(name).is_some();
            let all = if is_container { &mut usage.containers } else { &mut usage.volumes };
            all.insert(name.clone(), *bytes);
        }
        usage
    }

    fn cancel_pull(&mut self, cancelled: String) {
        self.queue.retain(|(_, _, happening)| match happening {
            Happening::Event(
                Event::ImageReady { container, .. } | Event::ContainerStarted { container, .. },
            ) => *container != cancelled,
            _ => true,
        });
        let attempt = self.state.container(&cancelled).unwrap().next_attempt();
        let (stage, message) = (StartStage::Create, "its worker died".into());
        let container = cancelled;
        self.after_ms(2, Event::ContainerFailed { container, attempt, stage, message });
    }

    fn start(&mut self, container: String, attempt: u32) {
        let program = self.programs.get(&container).cloned().unwrap_or_default();
        if program.secrets_missing {
            let names = vec!["registry".to_owned()];
            self.after_ms(1, Event::SecretsMissing { names });
        }
        if let Some((fault, message)) = program.image_fails {
            let failed = Event::ImageFailed { container, volume: None, fault, message };
            return self.after_ms(1, failed);
        }
        let image = roster::find(&self.pod, &container).unwrap().1.image.clone();
        let image = format!("docker.io/library/{}", image.unwrap());
        let image_id = format!("{image}@sha256:0a3f");
        let takes: i64 = program.pulls.unwrap_or_default().as_millis().try_into().unwrap();
        let pulled = program.pulls.map(|_| {
            let container = container.clone();
            self.after_ms(1, Event::ImagePulling { container, volume: None });
            Pulled { took: takes as u64, with_waiting: takes as u64, size: 4096 }
        });
        let ready = Event::ImageReady {
            container: container.clone(),
            image,
            image_id,
            stop_signal: 0,
            pulled,
        };
        self.after_ms(takes + 1, ready);
        if let Some((stage, message)) = program.start_fails {
            return self.after_ms(
                takes + 5,
                Event::ContainerFailed { container, attempt, stage, message },
            );
        }
        let (container, user) = (container.clone(), Default::default());
        let started =
            Event::ContainerStarted { container: container.clone(), attempt, pid: 200, user };
        self.after_ms(takes + 5, started);
        let last = program.exits.last().copied();
        if let Some(code) = program.exits.get(attempt as usize).copied().or(last) {
            let ms: i64 = program.after.as_millis().try_into().unwrap();
            self.exit(container, attempt, code, takes + 5 + ms);
        }
    }

    fn exit(&mut self, container: String, attempt: u32, code: i32, ms: i64) {
        let finished_at = self.now + SignedDuration::from_millis(ms);
        let oom = code == 137 && self.programs.get(&container).is_some_and(|it| it.greedy);
        let status = ExitStatus::Code { code, oom };
        let message = String::new();
        let event = Event::ContainerExited { container, attempt, status, finished_at, message };
        self.after_ms(ms, event);
    }

    fn probe(&self, container: &str, kind: ProbeKind) -> ProbeResult {
        let started = self.state.container(container).unwrap().started_at.unwrap();
        let uptime = self.now.duration_since(started);
        let says = self.programs.get(container).and_then(|it| it.says.get(name_of(kind)));
        if let Some(result) = says {
            return result.clone();
        }
        let passes = self.programs.get(container).and_then(|it| it.passes.get(name_of(kind)));
        match passes {
            Some((from, to)) if uptime < *from || uptime >= *to => {
                ProbeResult::Failure("HTTP probe failed with statuscode: 500".into())
            }
            _ => ProbeResult::Success,
        }
    }
}
