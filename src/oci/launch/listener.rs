//! The listener of a seccomp filter, handed to who is to answer it
//! ([config-linux](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#containerprocessstate)).

use super::{Parent, barrier};
use crate::error::{Context, Error, Kind, Result};
use crate::oci::SPEC_VERSION;
use crate::oci::container::{Container, State, Status};
use crate::oci::plan::step::{Barrier, Listener};
use crate::sys::{clone, socket};
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Parent<'_> {
    /// `number` is the listener's in the child, which waits for an answer.
    pub(super) fn listener(&self, listener: &Listener, number: i32) -> Result<()> {
        let launched = self.launched()?;
        // By the parent, as sending a descriptor may be what the filter asks about.
        let descriptor = clone::pidfd_getfd(&launched.pidfd, number)
            .doing(|| "copy the listener from the child")?;
        let path = Path::new(OsStr::from_bytes(listener.path.to_bytes()));
        let agent = socket::connect_stream(path, socket::ACCEPT_DEADLINE)
            .doing(|| "failed to connect with seccomp agent")?;
        let state = self.state()?;
        let told = json!({
            "ociVersion": SPEC_VERSION,
            "fds": ["seccompFd"],
            "pid": launched.pid,
            "metadata": listener.metadata,
            "state": {
                "ociVersion": state.oci_version,
                "id": state.id,
                "status": state.status,
                "pid": state.pid,
                "bundle": state.bundle,
                "annotations": state.annotations,
            },
        });
        socket::send_fd(&agent, told.to_string().as_bytes(), descriptor)
            .doing(|| "send the listener")?;
        // Any answer will do.
        let answer = barrier::Report { step: Barrier::Go as u32, errno: 0 };
        Ok(barrier::send(&launched.control, answer)?)
    }

    /// Of the container that is being created, or that is joined.
    fn state(&self) -> Result<State> {
        let none = || Error::new(Kind::Bug, "a listener of no container");
        match (self.job.container.as_deref(), self.job.joined) {
            (Some(created), _) => Ok(created.state(Status::Creating)),
            (None, joined) => {
                joined.map(|of| Container::state(of, Status::Running)).ok_or_else(none)
            }
        }
    }
}
