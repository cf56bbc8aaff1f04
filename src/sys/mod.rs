//! The kernel, and the only unsafe code of the library.
//!
//! One safe function per kernel call, named as its man page; each returns the bare [`Errno`], and
//! callers add the words. Descriptors are `OwnedFd`/`BorrowedFd` and close-on-exec. nix serves
//! where it has the call, rustix where nix lacks it, `libc::syscall` for the rest.
#![allow(unsafe_code)]

pub mod alloc;
pub mod bpf;
pub mod cgroup;
pub mod clone;
pub mod copy;
pub mod cred;
pub mod exec;
pub mod fork;
pub mod fs;
pub mod inode;
pub mod lean;
pub mod limits;
pub mod link;
pub mod make;
pub mod mount;
pub mod netlink;
pub mod ns;
pub mod path;
pub mod poll;
pub mod program;
pub mod seccomp;
pub mod shared;
pub mod socket;
pub mod start;
pub mod tree;
pub mod tty;
pub mod types;

pub use nix::errno::Errno;

/// `Result` with the bare errno.
pub type Result<T> = std::result::Result<T, Errno>;
