//! Real engines with `runp` as their runtime: Debian's podman, containerd, docker and buildah, and
//! conmon as CRI-O calls it. Each case has sockets, directories and a world of its own, and asserts
//! that its containers leave nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "engines/grpc.rs"]
mod grpc;
#[path = "engines/image.rs"]
mod image;
#[path = "engines/world.rs"]
mod world;

#[path = "engines/buildah.rs"]
mod buildah;
#[path = "engines/conmon.rs"]
mod conmon;
#[path = "engines/containerd.rs"]
mod containerd;
#[path = "engines/cri.rs"]
mod cri;
#[path = "engines/docker.rs"]
mod docker;
#[path = "engines/podman.rs"]
mod podman;
