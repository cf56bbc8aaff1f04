//! `run`: `create` and `start` in one, without a hand-over.

use super::create::{Up, bring_up, console_socket};
use super::delete::delete_own;
use super::start::poststart;
use super::{CreateOptions, Created, Then};
use crate::error::{Context, Result};
use crate::oci::bundle::Bundle;
use crate::oci::launch::console::{Receiver, hold_signals, supervise};
use crate::oci::notify;
use crate::oci::plan::Mode;
use crate::sys::socket;
use nix::sys::signalfd::SignalFd;
use std::os::fd::OwnedFd;

/// A container whose program has been executed, for [`Running::finish`].
#[must_use = "nobody waits for it, relays its terminal or deletes it"]
pub struct Running<'a> {
    up: Up,
    options: &'a CreateOptions,
    then: Then,
    relay: Option<OwnedFd>,
    signals: Option<SignalFd>,
}

/// Creates a container and starts its program.
pub fn run<'a>(bundle: &Bundle, options: &'a CreateOptions, then: Then) -> Result<Running<'a>> {
    let (console, relay) = console(bundle, options, then)?;
    let signals = (then != Then::Detach).then(hold_signals).transpose()?;
    let up = bring_up(bundle, options, Mode::Run, console)?;
    Ok(Running { up, options, then, relay, signals })
}

impl Running<'_> {
    /// The program's pid on the host.
    pub fn pid(&self) -> i32 {
        self.up.launched.pid
    }

    /// Unless detached relays its terminal, forwards signals and returns its exit status (128+N for
    /// signal N), and what to warn of.
    pub fn finish(self) -> Result<(i32, Vec<String>)> {
        let Self { up: Up { container, launched, notify }, options, then, relay, signals } = self;
        let notify = notify.as_ref().zip(options.notify_socket.as_deref());
        let ran = poststart(&container, &launched.pidfd).and_then(|()| match &signals {
            None => {
                let passed = notify.map(|(socket, host)| {
                    notify::pass_on(socket, host, &launched.pidfd, launched.pid)
                });
                passed.transpose().map(|_| 0)
            }
            Some(signals) => {
                if let Some((socket, host)) = notify {
                    notify::pass_on_beside(socket, host, &launched)?;
                }
                let master = relay.map(receive_master).transpose()?;
                supervise(&launched, master, signals)
            }
        });
        let mut warnings = Vec::new();
        if then == Then::Delete || ran.is_err() {
            warnings = delete_own(&options.root, &container)?;
        }
        Ok((ran?, warnings))
    }
}

/// As [`run`] with [`Then::Detach`], for a container of nobody's but the caller's, who serves no
/// `NOTIFY_SOCKET`: the process that was started. On failure nothing is left.
pub fn run_detached(bundle: &Bundle, options: &CreateOptions) -> Result<Created> {
    let console = console_socket(&bundle.spec, options)?;
    let Up { container, launched, .. } = bring_up(bundle, options, Mode::Run, console)?;
    match poststart(&container, &launched.pidfd) {
        Ok(()) => Ok(Created { pid: launched.pid, pidfd: launched.pidfd }),
        Err(error) => delete_own(&options.root, &container).and(Err(error)),
    }
}

/// The child's end and ours: the console socket's when detached, a pair of our own when we relay.
fn console(
    bundle: &Bundle,
    options: &CreateOptions,
    then: Then,
) -> Result<(Option<Receiver>, Option<OwnedFd>)> {
    let terminal = bundle.spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal);
    if then == Then::Detach || options.console_socket.is_some() {
        return Ok((console_socket(&bundle.spec, options)?, None));
    }
    if terminal != Some(true) {
        return Ok((None, None));
    }
    pair()
}

/// A pair over which the child sends its terminal's master.
pub(super) fn pair() -> Result<(Option<Receiver>, Option<OwnedFd>)> {
    let (ours, childs) = socket::stream_pair().doing(|| "make a socket pair")?;
    Ok((Some(Receiver::Relay(childs)), Some(ours)))
}

/// The master that the child has sent by now.
pub(super) fn receive_master(socket: OwnedFd) -> Result<OwnedFd> {
    let master = socket::receive_fd(socket).doing(|| "receive the terminal")?;
    master.ok_or_else(|| crate::error::Error::system("the container has sent no terminal"))
}
