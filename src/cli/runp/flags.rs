//! Flags and arguments, as data: runc's names, aliases and words.
//!
//! The globals are one small parser and each command another, so that a run of the program pays
//! for two short lists instead of the whole grammar. Positional arguments are counted by
//! [`super::parse`], whose complaints are runc's.

use clap::{ArgAction, Args, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

mod update;

pub use update::Update;

/// Flags before the command.
#[derive(Parser, Debug)]
#[command(name = "runp", disable_help_flag = true, disable_help_subcommand = true)]
pub struct Globals {
    /// enable debug logging
    #[arg(long)]
    pub debug: bool,
    /// set the log file to write runp logs to (default is '/dev/stderr')
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// set the log format ('text' (default), or 'json')
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true)]
    pub log_format: String,
    /// root directory for storage of container state (default is '/run/runp')
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// obsolete, as in runc
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
    /// enable systemd cgroup support, expects cgroupsPath to be of form "slice:prefix:name"
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// ignore cgroup permission errors ('true', 'false', or 'auto')
    #[arg(long, value_name = "VALUE", default_value = "auto")]
    pub rootless: String,
    /// write each step taken as a line of JSON to FILE
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// show help
    #[arg(long, short, action = ArgAction::SetTrue)]
    pub help: bool,
    /// print the version
    #[arg(long, short, action = ArgAction::SetTrue)]
    pub version: bool,
    /// The command, and everything after it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub command: Vec<OsString>,
}

/// What `create` and `run` share.
#[derive(Args, Debug)]
pub struct Launch {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end
    /// of the console's pseudoterminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the init process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// specify the file to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// do not use pivot root to jail process inside rootfs. This should be used whenever the rootfs
    /// is on top of a ramdisk
    #[arg(long)]
    pub no_pivot: bool,
    /// do not create a new session keyring for the container. This will cause the container to
    /// inherit the calling processes session key
    #[arg(long)]
    pub no_new_keyring: bool,
    /// pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// create a container
#[derive(Parser, Debug)]
#[command(name = "create", override_usage = "runp create [command options] <container-id>")]
pub struct Create {
    #[command(flatten)]
    pub launch: Launch,
}

/// create and run a container
#[derive(Parser, Debug)]
#[command(name = "run", override_usage = "runp run [command options] <container-id>")]
pub struct Run {
    #[command(flatten)]
    pub launch: Launch,
    /// detach from the container's process
    #[arg(long, short)]
    pub detach: bool,
    /// do not delete the container after it exits
    #[arg(long)]
    pub keep: bool,
    /// disable the use of the subreaper used to reap reparented processes
    #[arg(long)]
    pub no_subreaper: bool,
}

/// executes the user defined process in a created container
#[derive(Parser, Debug)]
#[command(name = "start", override_usage = "runp start <container-id>")]
pub struct Start {
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// output the state of a container
#[derive(Parser, Debug)]
#[command(name = "state", override_usage = "runp state <container-id>")]
pub struct State {
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// kill sends the specified signal (default: SIGTERM) to the container's init process
#[derive(Parser, Debug)]
#[command(name = "kill", override_usage = "runp kill [command options] <container-id> [signal]")]
pub struct Kill {
    /// send the signal to all processes of the container
    #[arg(long, short)]
    pub all: bool,
    #[arg(hide = true, allow_negative_numbers = true)]
    pub arguments: Vec<String>,
}

/// delete any resources held by the container often used with detached container
#[derive(Parser, Debug)]
#[command(name = "delete", override_usage = "runp delete [command options] <container-id>")]
pub struct Delete {
    /// forcibly deletes the container if it is still running (uses SIGKILL)
    #[arg(long, short)]
    pub force: bool,
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// execute new process inside the container
#[derive(Parser, Debug)]
#[command(
    name = "exec",
    override_usage = "runp exec [command options] <container-id> <command> [arguments]\n   \
                      runp exec [command options] -p process.json <container-id>"
)]
pub struct Exec {
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the master end
    /// of the console's pseudoterminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// current working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// set environment variables
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// allocate a pseudo-TTY
    #[arg(long, short)]
    pub tty: bool,
    /// UID (format: <uid>[:<gid>])
    #[arg(long, short, value_name = "UID[:GID]", allow_hyphen_values = true)]
    pub user: Option<String>,
    /// additional gids
    #[arg(long, short = 'g', value_name = "GID", allow_hyphen_values = true)]
    pub additional_gids: Vec<i64>,
    /// path to the process.json
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// detach from the container's process
    #[arg(long, short)]
    pub detach: bool,
    /// path to an AF_UNIX socket which will receive a file descriptor referencing the exec process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// specify the file to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// set the asm process label for the process commonly used with selinux
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// set the apparmor profile for the process
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// set the no new privileges value for the process
    #[arg(long)]
    pub no_new_privs: bool,
    /// add a capability to the bounding set for the process
    #[arg(long, short, value_name = "CAP")]
    pub cap: Vec<String>,
    /// pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>
    #[arg(long, value_name = "CGROUP")]
    pub cgroup: Vec<String>,
    /// allow exec in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// lists containers started by runp with the given root
#[derive(Parser, Debug)]
#[command(name = "list", override_usage = "runp list [command options]")]
pub struct List {
    /// select one of: table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// display only container IDs
    #[arg(long, short)]
    pub quiet: bool,
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

/// pause suspends all processes inside the container
#[derive(Parser, Debug)]
#[command(name = "pause", override_usage = "runp pause <container-id>")]
pub struct Pause {
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// resumes all processes that have been previously paused
#[derive(Parser, Debug)]
#[command(name = "resume", override_usage = "runp resume <container-id>")]
pub struct Resume {
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// ps displays the processes running inside a container
#[derive(Parser, Debug)]
#[command(name = "ps", override_usage = "runp ps [command options] <container-id> [ps options]")]
pub struct Ps {
    /// select one of: table or json
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// display container events such as OOM notifications, cpu, memory, and IO usage statistics
#[derive(Parser, Debug)]
#[command(name = "events", override_usage = "runp events [command options] <container-id>")]
pub struct Events {
    /// set the stats collection interval
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = super::watch::duration,
        allow_hyphen_values = true
    )]
    pub interval: Duration,
    /// display the container's stats then exit
    #[arg(long)]
    pub stats: bool,
    #[arg(hide = true)]
    pub ids: Vec<String>,
}

/// checkpoint a running container (not supported)
#[derive(Parser, Debug)]
#[command(name = "checkpoint", override_usage = "runp checkpoint <container-id>")]
pub struct Checkpoint {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// restore a container from a previous checkpoint (not supported)
#[derive(Parser, Debug)]
#[command(name = "restore", override_usage = "runp restore <container-id>")]
pub struct Restore {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

/// create a new specification file
#[derive(Parser, Debug)]
#[command(name = "spec", override_usage = "runp spec [command options]")]
pub struct Spec {
    /// path to the root of the bundle directory
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// generate a configuration for a rootless container
    #[arg(long)]
    pub rootless: bool,
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

/// show the enabled features
#[derive(Parser, Debug)]
#[command(name = "features", override_usage = "runp features")]
pub struct Features {
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}

/// show what create and run would do with a bundle, and do nothing
#[derive(Parser, Debug)]
#[command(name = "explain", override_usage = "runp explain [command options]")]
pub struct Explain {
    /// path to the root of the bundle directory, defaults to the current directory
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// print the plan as JSON
    #[arg(long)]
    pub json: bool,
    #[arg(hide = true)]
    pub arguments: Vec<String>,
}
