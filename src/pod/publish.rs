//! What the monitor tells the world: the pod's record and its events. Nothing is written that has
//! not changed.

use super::action::PodEvent;
use super::conditions::{self, Node};
use super::effects::Place;
use super::eviction::Watch;
use super::recorder::Recorder;
use super::state::{PodState, Probes};
use super::store::{self, Record};
use crate::error::{Context, Result};
use crate::sys::fs;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::path::Path;

/// Bytes of `status.json` before it is begun anew: some ten changes of a pod.
const MAX_RECORDS: usize = 64 << 10;

/// What has been written, and what is to be.
pub struct Publisher {
    node: Node,
    /// Hashes of what the record holds: the status, and the state without its probes' counters.
    written: Option<(u64, u64)>,
    /// Bytes of records in the file; none while it is not this monitor's, or damaged.
    length: Option<usize>,
    version: u64,
    recorder: Recorder,
    events: Vec<(PodEvent, Timestamp)>,
}

impl Publisher {
    /// Nothing written yet.
    pub fn new(node: Node) -> Self {
        let recorder = Recorder::new(Timestamp::now());
        Self { node, written: None, length: None, version: 0, recorder, events: Vec::new() }
    }

    /// Writes the record if the pod has changed. Counters of probes and the
    /// time of the next measurement alone are no change: a new monitor counts anew.
    pub fn publish(&mut self, place: &Place, state: &PodState) -> Result<()> {
        let status = conditions::status(&place.pod, state, &self.node);
        let status_hash = hash(&status);
        let mut lasting = state.clone();
        lasting.storage = Watch::default();
        for container in &mut lasting.containers {
            container.probes = Probes::default();
        }
        let hashes = (status_hash, hash(&lasting));
        if self.written == Some(hashes) {
            return Ok(());
        }
        if self.written.is_none_or(|(status, _)| status != status_hash) {
            self.version = store::now_version().max(self.version + 1);
        }
        let uid = place.uid.clone();
        let record = Record { uid, resource_version: self.version, status, state };
        self.write_record(&place.dir.join("status.json"), &record)?;
        self.written = Some(hashes);
        Ok(())
    }

    /// Adds the record to its file, or begins the file anew when it has become long.
    fn write_record(&mut self, path: &Path, record: &impl Serialize) -> Result<()> {
        let mut line = store::encode(path, record)?;
        let before = self.length.take().filter(|length| length + line.len() < MAX_RECORDS);
        let length = before.unwrap_or_default() + line.len() + 1;
        let written = match before {
            Some(_) => fs::append_line(path, &line, 0o600),
            None => {
                line.push(b'\n');
                fs::write_often(path, &line, 0o600)
            }
        };
        written.doing(|| format!("write {}", path.display()))?;
        self.length = Some(length);
        Ok(())
    }

    /// Keeps an event for [`Publisher::write_events`].
    pub fn event(&mut self, event: PodEvent, now: Timestamp) {
        self.events.push((event, now));
    }

    /// Adds the kept events to the pod's.
    pub fn write_events(&mut self, place: &Place) -> Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let path = place.dir.join("events.json");
        let mut events: Vec<Event> = store::read_json(&path)?.unwrap_or_default();
        for (event, now) in self.events.drain(..) {
            self.recorder.record(&mut events, &place.pod, &event, now);
        }
        self.events.shrink_to_fit();
        store::write_json_often(&path, &events)
    }
}

/// A hash of the JSON, made without the JSON.
fn hash(value: &impl Serialize) -> u64 {
    struct Into(DefaultHasher);
    impl Write for Into {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Into(DefaultHasher::new());
    match serde_json::to_writer(&mut hasher, value) {
        Ok(()) => hasher.0.finish(),
        // Then it is written each time, and the writing says why it cannot be.
        Err(_) => {
            rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec.unsigned_abs()
        }
    }
}
