//! `linux.netDevices`: interfaces of the host's that move into the container
//! ([config-linux](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#network-devices)).
//! They stay there: with the namespace the kernel gives them back, or removes them.

use super::Parent;
use crate::error::{Context, Error, Result};
use crate::oci::plan::step::NetDevice;
use crate::sys::link::Links;
use crate::sys::{Errno, fs};
use nix::fcntl::OFlag;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

impl Parent<'_> {
    /// Moves it, then gives it its addresses back, which the move has taken, and sets it up.
    pub(super) fn net_device(&self, device: &NetDevice) -> Result<()> {
        let own = format!("/proc/{}/ns/net", self.launched()?.pid);
        let path = device.namespace.as_ref().map_or(own.as_bytes(), |path| path.to_bytes());
        let path = Path::new(OsStr::from_bytes(path));
        let netns = fs::open(path, OFlag::O_RDONLY, 0).doing(|| path.display().to_string())?;
        let here = Links::open()?;
        let index = here.index(&device.name).map_err(|errno| match errno {
            Errno::ENODEV => Error::from(errno).hint("`ip link` lists the network devices"),
            errno => errno.into(),
        })?;
        let addresses = here.addresses(index)?;
        let there = Links::open_in(netns.as_fd())?;
        let name = free_name(&there, &device.new_name)?;
        here.move_to(index, netns.as_fd(), &name)?;
        let index = there.index(&name)?;
        for address in &addresses {
            there.add_address(index, address).doing(|| "give it back an address")?;
        }
        Ok(there.set_up(index)?)
    }
}

/// `eth%d` stands for the first number that is free.
fn free_name(links: &Links, wanted: &str) -> Result<String> {
    let names = (0..1024).map(|number: u32| wanted.replacen("%d", &number.to_string(), 1));
    let tries = if wanted.contains("%d") { 1024 } else { 1 };
    for name in names.take(tries) {
        match links.index(&name) {
            Err(Errno::ENODEV) => return Ok(name),
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
    }
    Err(Error::from(Errno::EEXIST).hint(format!("the container has a network device {wanted}")))
}
