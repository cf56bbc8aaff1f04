//! `podctl doctor`: what this host can and cannot do for pods, and how to mend it. Looks only,
//! changes nothing. Exits with 1 if pods cannot run.

use super::{Call, Outcome, print};
use crate::cli::colours::{Colours, Tone};
use crate::error::Result;
use crate::oci::cgroup::{Layout, Mode};
use crate::pod::{CniDirs, Network};
use crate::sys::fs::read_kernel_file;
use clap::Args;
use std::path::Path;

/// mount_setattr(2), the youngest call that nothing stands in for.
const MIN_KERNEL: (u32, u32) = (5, 12);
/// As the kubelet takes a disk for full.
const MIN_FREE_PERCENT: u64 = 10;
/// Each pod's monitor and each `-w` has one.
const MIN_INOTIFY: u64 = 128;
/// Where nft is looked for.
const PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Flags of `doctor`.
#[derive(Args)]
pub struct Flags {
    /// Only what is not as it should be
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    /// Something will not work.
    Warning,
    /// Pods cannot run.
    Failed,
}

#[derive(Debug)]
struct Finding {
    state: State,
    what: &'static str,
    detail: String,
    /// What to do.
    hint: &'static str,
}

/// Runs it.
pub fn run(call: &Call, flags: &Flags) -> Outcome {
    let findings = examine(call)?;
    let shown = findings.iter().filter(|it| !flags.quiet || it.state != State::Ok);
    let colours = Colours::of_stdout();
    print(&shown.map(|finding| line(finding, colours)).collect::<String>())?;
    Ok(u8::from(findings.iter().any(|finding| finding.state == State::Failed)))
}

fn line(finding: &Finding, colours: Colours) -> String {
    let Finding { state, what, detail, hint } = finding;
    let (word, tone) = match state {
        State::Ok => ("ok", Tone::Good),
        State::Warning => ("warn", Tone::Busy),
        State::Failed => ("FAIL", Tone::Bad),
    };
    let word = colours.paint(Some(tone), &format!("{word:<5}"));
    let hint = if *state == State::Ok { String::new() } else { format!("      hint: {hint}\n") };
    format!("{word} {what}: {detail}\n{hint}")
}

fn examine(call: &Call) -> Result<Vec<Finding>> {
    let config = &call.engine.config;
    let mut all = vec![root(nix::unistd::geteuid().is_root())];
    all.push(kernel(&read("/proc/sys/kernel/osrelease")));
    all.push(cgroups(Layout::probe()));
    all.extend(controllers());
    all.push(namespaces());
    all.push(overlay(&read("/proc/filesystems")));
    all.push(seccomp(&read("/proc/sys/kernel/seccomp/actions_avail")));
    match &config.network {
        Network::None => {}
        Network::Cni(dirs) => all.push(plugins(dirs)),
        Network::Bridge => {
            all.push(nft());
            all.push(forwarding(&read("/proc/sys/net/ipv4/ip_forward")));
        }
    }
    all.push(inotify(&read("/proc/sys/fs/inotify/max_user_instances")));
    all.extend(disk(&config.paths.lib));
    let pods = call.engine.list_brief(None)?;
    let detail = format!("{} in {}", pods.len(), config.paths.lib.display());
    all.push(found(true, State::Failed, "pods", detail, ""));
    Ok(all)
}

/// A file of the kernel's; empty where it is not there.
fn read(path: &str) -> String {
    read_kernel_file(Path::new(path)).unwrap_or_default().trim().to_owned()
}

fn found(
    fine: bool,
    otherwise: State,
    what: &'static str,
    detail: String,
    hint: &'static str,
) -> Finding {
    Finding { state: if fine { State::Ok } else { otherwise }, what, detail, hint }
}

fn root(is_root: bool) -> Finding {
    let detail = if is_root { "yes" } else { "no" };
    found(is_root, State::Failed, "root", detail.to_owned(), "run podctl as root: sudo podctl …")
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let detail = format!("Linux {release}");
    found(version >= MIN_KERNEL, State::Failed, "kernel", detail, "Linux 5.12 or newer is needed")
}

fn cgroups(layout: Result<Layout>) -> Finding {
    let hint = "mount cgroups at /sys/fs/cgroup: mount -t cgroup2 none /sys/fs/cgroup";
    let detail = match &layout {
        Ok(layout) => match layout.mode {
            Mode::V1 => "version 1".to_owned(),
            Mode::Hybrid => "version 1, with an empty version 2 tree (hybrid)".to_owned(),
            Mode::V2 => "version 2".to_owned(),
        },
        Err(error) => error.to_string(),
    };
    found(layout.is_ok(), State::Failed, "cgroups", detail, hint)
}

/// Limits of a kind that the kernel cannot set are refused when a pod has them.
fn controllers() -> Vec<Finding> {
    let v1 = read("/proc/cgroups");
    let v2 = read("/sys/fs/cgroup/cgroup.controllers");
    let of_v1 = |name: &str| v1.lines().any(|line| is_on(line, name));
    let has = |name: &str| of_v1(name) || v2.split(' ').any(|controller| controller == name);
    let missing: Vec<&str> =
        ["cpu", "memory", "pids", "cpuset"].into_iter().filter(|name| !has(name)).collect();
    let detail = match missing.as_slice() {
        [] => "cpu, memory, pids, cpuset".to_owned(),
        missing => format!("missing: {}", missing.join(", ")),
    };
    let hint = "limits of that kind cannot be set: boot with cgroup_enable=memory, or mount them";
    vec![found(missing.is_empty(), State::Warning, "controllers", detail, hint)]
}

/// A line of /proc/cgroups: name, hierarchy, number, enabled.
fn is_on(line: &str, name: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    fields.first() == Some(&name) && fields.last() == Some(&"1")
}

fn namespaces() -> Finding {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let there = |kind: &&str| Path::new("/proc/self/ns").join(kind).try_exists().unwrap_or(false);
    let missing: Vec<&str> = kinds.into_iter().filter(|kind| !there(kind)).collect();
    let detail = match missing.as_slice() {
        [] => kinds.join(", "),
        missing => format!("missing: {}", missing.join(", ")),
    };
    let hint = "the kernel was built without them";
    found(missing.is_empty(), State::Failed, "namespaces", detail, hint)
}

fn overlay(filesystems: &str) -> Finding {
    let known = filesystems.lines().any(|line| line.ends_with("overlay"));
    let detail = if known { "yes" } else { "not known to the kernel (yet)" };
    found(known, State::Warning, "overlay file system", detail.to_owned(), "modprobe overlay")
}

fn seccomp(actions: &str) -> Finding {
    let detail = if actions.is_empty() { "no" } else { "yes" };
    let hint =
        "containers run without system call filters: the kernel has no CONFIG_SECCOMP_FILTER";
    found(!actions.is_empty(), State::Warning, "seccomp", detail.to_owned(), hint)
}

fn nft() -> Finding {
    let there = |dir: &&str| Path::new(dir).join("nft").try_exists().unwrap_or(false);
    let dir = PATH.iter().copied().find(|dir| there(dir));
    let detail = dir.map_or_else(|| "not found".to_owned(), |dir| format!("{dir}/nft"));
    let hint = "host ports and ways out of the bridge need it: apt-get install nftables, or give \
                --network none";
    found(dir.is_some(), State::Failed, "nft", detail, hint)
}

fn plugins(dirs: &CniDirs) -> Finding {
    let checked = dirs.check();
    let is_fine = checked.is_ok();
    let detail = match checked {
        Ok(name) => format!("{name}, in {}", dirs.config.display()),
        Err(error) => error.to_string(),
    };
    let hint = "put a network into --cni-conf-dir, and its plugins into --cni-bin-dir: apt-get install \
                containernetworking-plugins";
    found(is_fine, State::Failed, "CNI network", detail, hint)
}

fn forwarding(value: &str) -> Finding {
    let detail = if value == "1" { "on" } else { "off, the first pod turns it on" };
    found(true, State::Warning, "IP forwarding", detail.to_owned(), "sysctl net.ipv4.ip_forward=1")
}

fn inotify(value: &str) -> Finding {
    let most = value.parse::<u64>().unwrap_or(0);
    let hint = "more pods and watches need more: sysctl fs.inotify.max_user_instances=1024";
    let detail = format!("{most} instances");
    found(most >= MIN_INOTIFY, State::Warning, "inotify", detail, hint)
}

/// The disk that the store is on, or will be on.
fn disk(lib: &Path) -> Option<Finding> {
    let stat = lib.ancestors().find_map(|dir| nix::sys::statvfs::statvfs(dir).ok())?;
    let percent = |free: u64, of: u64| (free * 100).checked_div(of).unwrap_or(100);
    let space = percent(stat.blocks_available(), stat.blocks());
    // Some file systems do not count them.
    let inodes = percent(stat.files_available(), stat.files());
    let free = (stat.blocks_available() * stat.fragment_size()) >> 30;
    let detail = format!("{free} GiB free ({space}%), {inodes}% of the inodes");
    let fine = space.min(inodes) >= MIN_FREE_PERCENT;
    let hint = "podctl gc removes images that no pod uses";
    Some(found(fine, State::Warning, "disk", detail, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_amiss_is_seen() {
        let cases = [
            (root(false), State::Failed),
            (kernel("5.4.0-100-generic"), State::Failed),
            (kernel("6.1.0"), State::Ok),
            (kernel("10.0"), State::Ok),
            (overlay("nodev\ttmpfs\nnodev\toverlay"), State::Ok),
            (overlay("nodev\ttmpfs"), State::Warning),
            (seccomp(""), State::Warning),
            (inotify("8"), State::Warning),
        ];
        for (finding, state) in cases {
            assert_eq!(finding.state, state, "{finding:?}");
        }
        assert_eq!(
            line(&overlay(""), Colours::Off),
            "warn  overlay file system: not known to the kernel (yet)\n      hint: modprobe overlay\n"
        );
        assert!(is_on("memory\t5\t80\t1", "memory") && !is_on("memory\t5\t80\t0", "memory"));
    }
}
