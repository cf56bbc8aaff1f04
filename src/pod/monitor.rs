//! The monitor of a pod: one process, one thread, one wait. It hands what happens to
//! [`machine::next`], writes what the pod has become, and has the answer's actions carried out by
//! workers ([`super::worker`]).
//!
//! It may be killed at any time, and nothing ends with it but its workers: the next one finds the
//! pod's state in its record, adopts its processes, and does again what was under way. Whoever holds
//! the lock is the monitor.

use super::action::Action;
use super::conditions::Node;
use super::effects::{self, Place};
use super::event::Event;
use super::logs::{self, Capture};
use super::processes::{self, Adopted, Ended};
use super::publish::Publisher;
use super::state::{ContainerState, PodState, Step};
use super::store::{self, Store};
use super::worker::{self, Lane, Worker, lane};
use super::{Config, apply, clock, fault, lock, machine, wake};
use crate::error::{Context, Error, Result};
use crate::kube::Pod;
use crate::kube::roster::Role;
use crate::sys::clone::{SIGKILL, pidfd_send_signal};
use crate::sys::poll::{poll_in, signalfd};
use crate::sys::{Errno, fork, lean};
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// After a failure to write the record: when to try again.
const RETRY: Duration = Duration::from_secs(1);

/// How long what was begun may keep the pod's events, and what of its record nothing hangs on, from
/// being written: starts follow each other faster than they can be told one by one.
const TELL: Duration = Duration::from_millis(50);

/// Nothing has happened for so long: the pod is idle.
const SETTLE: Duration = Duration::from_secs(1);

/// A pod's monitor.
struct Monitor {
    place: Place,
    /// Held: this is the pod's monitor.
    lock: File,
    state: PodState,
    publisher: Publisher,
    /// Tells of changes of `pod.json`.
    wanted: File,
    /// Tells of ended children.
    children: SignalFd,
    workers: Vec<Worker>,
    /// What the machine has decided and nobody has begun.
    decided: Vec<Action>,
    /// Actions that wait for their lane.
    waiting: VecDeque<Action>,
    captures: Vec<(String, Capture)>,
    adopted: Vec<Adopted>,
    /// The record may not say what the pod is.
    changed: bool,
    /// Since when something has been known that is not told yet.
    untold: Option<Instant>,
    /// It could not be written.
    unwritten: bool,
    done: bool,
    /// The pod is to be taken out of the store at last.
    removes: bool,
}

/// See [`super::Engine::monitor`].
pub fn run(config: &Config, namespace: &str, name: &str) -> Result<()> {
    let inherited = lock::leave_caller()?;
    let dir = Store::new(&config.paths.lib).pod_dir(namespace, name)?;
    let Some(pod) = store::read_json::<Pod>(&dir.join("pod.json"))? else { return Ok(()) };
    let uid = pod.metadata.uid.clone().ok_or_else(|| Error::system("a stored pod has no uid"))?;
    let Some(lock) = lock::take_lock(inherited, &lock::lock_path(&config.paths, &uid))? else {
        return Ok(());
    };
    let config = apply::Settings::restore(&dir, &pod, config)?;
    let run = config.paths.run.join(&uid);
    lock::await_workers(&run)?;
    let mut monitor = Monitor::new(Place { config, pod, uid, dir, run }, lock)?;
    monitor.begin()?;
    while !monitor.done {
        monitor.turn()?;
    }
    monitor.end()
}

impl Monitor {
    fn new(place: Place, lock: File) -> Result<Self> {
        let record = Store::new(&place.config.paths.lib).record(&place.dir, &place.uid)?;
        let state = record.map(|record: store::Record<PodState>| record.state).unwrap_or_default();
        let children = signalfd(&[Signal::SIGCHLD]).doing(|| "watch for ended processes")?;
        let wanted = wake::listen(&place.run)?;
        let publisher = Publisher::new(Node { ip: super::node::host_ip() });
        Ok(Self {
            place,
            lock,
            state,
            publisher,
            wanted,
            children,
            workers: Vec::new(),
            decided: Vec::new(),
            waiting: VecDeque::new(),
            captures: Vec::new(),
            adopted: Vec::new(),
            changed: false,
            untold: None,
            unwritten: false,
            done: false,
            removes: false,
        })
    }

    /// Takes the pod up where its record has it.
    fn begin(&mut self) -> Result<()> {
        // What was wanted when this process began may have been replaced before it listened.
        let changed = self.read_wanted();
        self.capture_output()?;
        let boot = processes::boot()?;
        let earlier = std::mem::replace(&mut self.state.boot, boot);
        if !earlier.is_empty() && earlier != self.state.boot {
            // Pids of that boot are others' now, and so is the time since it.
            self.state.clock = clock::ahead();
            effects::forget(&self.place)?;
            self.decide(&[Event::Rebooted]);
        } else {
            self.follow_clock();
            let (adopted, gone) = processes::adopt(&self.place, &self.state)?;
            self.adopted = adopted;
            let exits = self.exits(&gone);
            self.decide(&[vec![Event::Started], exits].concat());
        }
        self.decide(changed.as_slice());
        fault::monitor("monitor: taken up");
        self.carry_out();
        Ok(())
    }

    /// Opens the pipes of the containers that have none yet; ephemeral ones come later.
    fn capture_output(&mut self) -> Result<()> {
        for container in self.place.containers().iter().skip(self.captures.len()) {
            let fifos = self.place.fifos(&container.name);
            logs::make_fifos(&fifos)?;
            let (stdin, tty) = (container.stdin == Some(true), container.tty == Some(true));
            let mut capture = Capture::open(&fifos, stdin, tty)?;
            let running = self.state.container(&container.name).filter(|it| it.step != Step::Idle);
            if let Some(running) = running {
                capture.start(&self.place.log(&container.name, running.attempt))?;
            }
            self.captures.push((container.name.clone(), capture));
        }
        Ok(())
    }

    /// Leaves a pod that stays in the store complete, and nothing of one that is to go.
    fn end(mut self) -> Result<()> {
        if self.removes {
            fault::monitor("removal: begun");
            return effects::clean_up(&self.place, self.wanted);
        }
        self.publisher.write_events(&self.place)
    }

    /// Waits until something happens, and handles it.
    fn turn(&mut self) -> Result<()> {
        if self.is_time_to_tell() {
            self.untold = None;
            self.publish();
            if let Err(error) = self.publisher.write_events(&self.place) {
                // Events are told best-effort; the record, which has the same causes, is tried again.
                drop(error);
            }
        }
        let woken = self.wait()?;
        self.follow_clock();
        let mut events = Vec::new();
        if woken.wanted {
            events.extend(self.read_wanted());
            self.capture_output()?;
            for (_, capture) in &mut self.captures {
                if let Err(error) = capture.admit() {
                    // Its client waits for the container's end, then.
                    drop(error);
                }
            }
        }
        // First the dead, then the reports: a worker reports a container before it ends, and only
        // then is the container reaped here. So no death is learned of before its birth.
        let ended = self.ended()?;
        for (_, capture) in &mut self.captures {
            if let Err(error) = capture.pump() {
                // A full disk: what cannot be kept is lost, and the container goes on.
                drop(error);
            }
        }
        events.extend(self.reports(&ended));
        if !events.is_empty() {
            fault::monitor("monitor: reported");
        }
        self.decide(&events);
        let exits = self.exits(&ended);
        if !exits.is_empty() {
            fault::monitor("monitor: reaped");
        }
        self.decide(&exits);
        if machine::deadline(&self.place.pod, &self.state)
            .is_some_and(|deadline| deadline <= Timestamp::now())
        {
            self.decide(&[Event::Tick]);
        }
        self.carry_out();
        Ok(())
    }

    /// Sleeps in the one wait of the monitor.
    fn wait(&mut self) -> Result<Woken> {
        let timeout = self.timeout();
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.wanted.as_fd(), self.children.as_fd()];
        fds.extend(self.captures.iter().flat_map(|(_, capture)| capture.fds()));
        fds.extend(self.workers.iter().map(|worker| worker.pipe.as_fd()));
        fds.extend(self.adopted.iter().map(|adopted| adopted.pidfd.as_fd()));
        let busy = !self.workers.is_empty() || timeout.is_some_and(|timeout| timeout <= SETTLE);
        let first = if busy { timeout } else { Some(SETTLE) };
        let mut ready = poll_in(&fds, first).doing(|| "wait for the pod")?;
        if !busy && !ready.contains(&true) {
            let left = timeout.map(|timeout| timeout - SETTLE);
            ready = lean::poll_in(&fds, left).doing(|| "wait for the pod")?;
        }
        Ok(Woken { wanted: ready.first() == Some(&true) })
    }

    fn follow_clock(&mut self) {
        if clock::ahead().is_some_and(|ahead| clock::follow(&mut self.state, ahead)) {
            self.changed = true;
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Timestamp::now();
        let deadline = machine::deadline(&self.place.pod, &self.state).map(|deadline| {
            Duration::try_from(deadline.duration_since(now)).unwrap_or(Duration::ZERO)
        });
        let retry = self.unwritten.then_some(RETRY);
        let tell = self.untold.map(|since| TELL.saturating_sub(since.elapsed()));
        [deadline, retry, tell].into_iter().flatten().min()
    }

    /// Whether nothing is under way that will soon have more to tell.
    fn is_time_to_tell(&self) -> bool {
        let makes = |worker: &Worker| lane(&worker.action) != Lane::Free;
        !self.workers.iter().any(makes) || self.untold.is_none_or(|since| since.elapsed() >= TELL)
    }

    /// Lets the machine decide.
    fn decide(&mut self, events: &[Event]) {
        for event in events {
            let now = Timestamp::now();
            let actions = machine::next(&self.place.pod, &mut self.state, event, now);
            self.decided.extend(actions);
            self.changed = true;
            self.untold.get_or_insert_with(Instant::now);
        }
    }

    /// Writes what the pod has become, then does what was decided, and what has waited for a lane.
    fn carry_out(&mut self) {
        loop {
            let acts = |action: &Action| !matches!(action, Action::RecordEvent(_));
            // A change that only says how far a start has got goes along with the next one.
            if self.decided.iter().any(acts) || self.is_time_to_tell() {
                self.publish();
            }
            for action in std::mem::take(&mut self.decided) {
                self.act(action);
            }
            let lost = self.start_waiting();
            fault::monitor("monitor: given out");
            if lost.is_empty() || self.done {
                break;
            }
            self.decide(&lost);
        }
    }

    /// Writes the record, if it is due.
    fn publish(&mut self) {
        if self.changed {
            // Acting without a record is better than not acting: a pod can be ended on a full disk.
            self.changed = self.publisher.publish(&self.place, &self.state).is_err();
            self.unwritten = self.changed;
            fault::monitor("monitor: written");
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::RecordEvent(event) => self.publisher.event(event, Timestamp::now()),
            Action::Signal { container, attempt, signal } => {
                self.signal(&container, attempt, signal);
            }
            Action::Dismiss { container, attempt, signal } => {
                self.dismiss(&container, attempt, signal);
            }
            // The end of the whole pod takes it along.
            Action::CleanContainer { .. } if self.state.deletion.is_some() => {}
            // The end of its init process is that of all in its PID namespace.
            Action::KillContainer { container, attempt } if self.is_alone(&container) => {
                self.signal(&container, attempt, SIGKILL);
            }
            Action::CancelPull { container } => self.cancel_start(&container),
            Action::Exit => self.done = true,
            Action::Remove => {
                self.done = true;
                self.removes = true;
            }
            action => self.waiting.push_back(action),
        }
    }

    /// Starts what waits, in its order, as far as the lanes are free; the answers of what could not
    /// be started.
    fn start_waiting(&mut self) -> Vec<Event> {
        let mut later = VecDeque::new();
        let mut lost = Vec::new();
        while let Some(action) = self.waiting.pop_front() {
            let free = |other: &Action| lane(&action).is_free_of(&lane(other));
            let busy = self.workers.iter().any(|worker| !free(&worker.action));
            if busy || later.iter().any(|earlier| !free(earlier)) {
                later.push_back(action);
            } else if let Err(action) = self.start(action) {
                lost.extend(worker::lost(&action));
            }
        }
        self.waiting = later;
        lost
    }

    fn start(&mut self, action: Action) -> std::result::Result<(), Action> {
        if let Action::StartContainer { container, attempt } = &action {
            let log = self.place.log(container, *attempt);
            let capture = self.captures.iter_mut().find(|(name, _)| name == container);
            if capture.is_some_and(|(_, capture)| capture.start(&log).is_err()) {
                return Err(action);
            }
        }
        match Worker::start(&self.place, &self.state, action.clone(), &self.lock) {
            Ok(worker) => self.workers.push(worker),
            Err(_) => return Err(action),
        }
        Ok(())
    }

    /// What the workers have reported, those among `reaped` for the last time.
    fn reports(&mut self, reaped: &[Ended]) -> Vec<Event> {
        let reaped: Vec<i32> = reaped.iter().map(|ended| ended.pid).collect();
        let mut events = Vec::new();
        self.workers.retain_mut(|worker| {
            let (reported, ended) = worker.read(&reaped);
            events.extend(reported);
            !ended
        });
        events
    }

    /// The processes that have ended since.
    fn ended(&mut self) -> Result<Vec<Ended>> {
        while self.children.read_signal().doing(|| "read the signals")?.is_some() {}
        let mut ended = Vec::new();
        while let Some((pid, status)) = fork::reap_any().doing(|| "reap a process")? {
            ended.push(Ended { pid, status: Some(status) });
        }
        let mut kept = Vec::new();
        for adopted in std::mem::take(&mut self.adopted) {
            if adopted.has_ended()? { ended.push(adopted.end()?) } else { kept.push(adopted) }
        }
        self.adopted = kept;
        Ok(ended)
    }

    /// The machine's view of ended processes; what a container wrote is in its log by then, from
    /// where its termination message may come.
    fn exits(&mut self, ended: &[Ended]) -> Vec<Event> {
        for (name, capture) in &mut self.captures {
            let pid = self.state.container(name).map_or(0, |container| container.pid);
            if pid > 0
                && ended.iter().any(|ended| ended.pid == pid)
                && let Err(error) = capture.finish()
            {
                // As above: a full disk must not keep the container from having ended.
                drop(error);
            }
        }
        let exits = processes::exits(&self.place, &self.state, ended);
        for exit in &exits {
            if let Event::ContainerExited { container, attempt, .. } = exit {
                self.abandon_asking(container, *attempt);
            }
        }
        exits
    }

    /// Ends the hooks and probes of an instance that has ended: nobody waits for their answers.
    fn abandon_asking(&self, container: &str, attempt: u32) {
        let asks = |worker: &&Worker| match &worker.action {
            Action::RunHook { container: name, attempt: of, .. }
            | Action::Probe { container: name, attempt: of, .. } => {
                name == container && *of == attempt
            }
            _ => false,
        };
        self.workers.iter().filter(asks).for_each(kill_worker);
    }

    /// Whether a container runs, in a PID namespace of its own.
    fn is_alone(&self, container: &str) -> bool {
        let spec = self.place.pod.spec.as_ref();
        let shared = spec.is_some_and(|spec| {
            spec.share_process_namespace == Some(true) || spec.host_pid == Some(true)
        });
        // An ephemeral one may be in the namespace of the one it looks into.
        let runs = |it: &ContainerState| it.pid > 0 && it.role != Role::Ephemeral;
        !shared && self.state.container(container).is_some_and(runs)
    }

    /// Kills the worker that starts a container; the machine learns that it has answered nothing.
    fn cancel_start(&self, container: &str) {
        let starts = |worker: &&Worker| match &worker.action {
            Action::StartContainer { container: name, .. } => name == container,
            _ => false,
        };
        self.workers.iter().filter(starts).for_each(kill_worker);
    }

    /// Signals a container's init process. It is our child or adopted by pidfd, so that its pid
    /// cannot have become another's.
    fn signal(&self, container: &str, attempt: u32, signal: i32) {
        let found =
            self.state.container(container).filter(|it| it.attempt == attempt && it.pid > 0);
        let Some(pid) = found.map(|container| container.pid) else { return };
        let adopted = self.adopted.iter().find(|adopted| adopted.pid == pid);
        let sent = match adopted {
            Some(adopted) => pidfd_send_signal(&adopted.pidfd, signal),
            None => fork::kill_child(pid, signal),
        };
        if let Err(errno) = sent {
            // It has ended; that comes as an event of its own.
            debug_assert_eq!(errno, Errno::ESRCH, "signal {signal} to {pid}");
        }
    }

    /// The first process of a PID namespace ends on no signal that it does not handle: those who
    /// cannot hear of theirs are not waited for.
    fn dismiss(&self, container: &str, attempt: u32, signal: i32) {
        let pid = self.state.container(container).map_or(0, |container| container.pid);
        let is_deaf = self.is_alone(container) && !processes::hears(pid, signal);
        self.signal(container, attempt, if is_deaf { SIGKILL } else { signal });
    }

    /// The pod as it is wanted now; one that was taken away from under us is to end at once.
    fn read_wanted(&mut self) -> Option<Event> {
        // Taken in before it is read: no change in between is lost.
        let wanted = wake::drain(&self.wanted)
            .and_then(|()| store::read_json::<Pod>(&self.place.dir.join("pod.json")));
        match wanted {
            Ok(Some(pod)) if pod.metadata.uid.as_ref() == Some(&self.place.uid) => {
                if pod == self.place.pod {
                    return None;
                }
                self.place.pod = pod;
            }
            Ok(_) => {
                let meta = &mut self.place.pod.metadata;
                meta.deletion_grace_period_seconds = Some(0);
                meta.deletion_timestamp.get_or_insert(
                    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()),
                );
            }
            // It cannot be read now; the next change wakes us again.
            Err(_) => return None,
        }
        Some(Event::SpecChanged)
    }
}

/// What it was to do is told as undone.
fn kill_worker(worker: &Worker) {
    if let Err(errno) = fork::kill_child(worker.pid, SIGKILL) {
        // It has just ended, and answered.
        debug_assert_eq!(errno, Errno::ESRCH, "kill the worker {}", worker.pid);
    }
}

/// What ended the wait, as far as it is not looked at anyway.
struct Woken {
    wanted: bool,
}
