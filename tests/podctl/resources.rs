//! What pods may use: limits of a pod as a whole, and huge pages.

use super::apply::init_pid;
use super::instance::Instance;
use std::fs;
use std::path::{Path, PathBuf};

/// The cgroup of process `pid` in which `controller` is, and whether it is of v2.
fn cgroup(pid: i32, controller: &str) -> (PathBuf, bool) {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |line: &str| line.rsplit(':').next().unwrap().trim_start_matches('/').to_owned();
    let is_v1 = |line: &&str| line.split(':').nth(1).unwrap().split(',').any(|it| it == controller);
    let root = Path::new("/sys/fs/cgroup");
    match cgroups.lines().find(is_v1) {
        Some(line) => (root.join(controller).join(path(line)), false),
        None => (root.join(path(cgroups.lines().last().unwrap())), true),
    }
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
}

#[test]
fn a_pod_may_be_limited_as_a_whole() {
    let Some(instance) = Instance::new("whole") else { return };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: whole}
spec:
  terminationGracePeriodSeconds: 1
  resources: {requests: {cpu: 500m, memory: 32Mi}, limits: {cpu: "1", memory: 64Mi}}
  containers:
  - name: own
    image: host
    command: [sleep, "1000"]
    resources: {limits: {memory: 16Mi}}
  - name: rest
    image: host
    command: [sleep, "1000"]
    env: [{name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}]
"#;
    instance.apply(manifest);
    let status = instance.wait_running("whole");
    assert_eq!(instance.get("whole")["status"]["qosClass"], "Burstable");
    let memory_of = |container: &str| {
        let (dir, v2) = cgroup(init_pid(&instance, &status, container), "memory");
        let name = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
        (read(&dir, name), read(dir.parent().unwrap(), name))
    };
    let mebibytes = |count: u64| (count << 20).to_string();
    assert_eq!(memory_of("own"), (mebibytes(16), mebibytes(64)));
    assert_eq!(memory_of("rest"), (mebibytes(64), mebibytes(64)));
    let (dir, v2) = cgroup(init_pid(&instance, &status, "rest"), "cpu");
    let (name, quota) =
        if v2 { ("cpu.max", "100000 100000") } else { ("cpu.cfs_quota_us", "100000") };
    assert_eq!(read(dir.parent().unwrap(), name), quota);
    assert_eq!(read(&dir, name), quota);
    assert_eq!(instance.sh("whole", "rest", "echo $MEMORY"), "64\n");
    instance.delete("whole");
    instance.assert_nothing_left();
}

/// Pages of the machine, given back at the end.
struct Pages(String);

const PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl Pages {
    fn get(count: u32) -> Option<Self> {
        let before = fs::read_to_string(PAGES).ok()?;
        let wanted = before.trim().parse::<u32>().ok()? + count;
        let pages = Self(before);
        fs::write(PAGES, wanted.to_string()).ok()?;
        let there = fs::read_to_string(PAGES).ok()?.trim().parse::<u32>().ok()?;
        (there >= wanted).then_some(pages)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        fs::write(PAGES, &self.0).unwrap_or_default();
    }
}

#[test]
fn huge_pages_are_a_volume() {
    let Some(instance) = Instance::new("hugepages") else { return };
    let Some(_pages) = Pages::get(2) else {
        return eprintln!("SKIP huge_pages_are_a_volume: this machine gives none");
    };
    let manifest = r#"
apiVersion: v1
kind: Pod
metadata: {name: huge}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: host
    command: [sleep, "1000"]
    resources: {limits: {hugepages-2Mi: 4Mi, memory: 64Mi, cpu: 100m}}
    volumeMounts: [{name: pages, mountPath: /pages}, {name: named, mountPath: /named}]
  volumes:
  - {name: pages, emptyDir: {medium: HugePages}}
  - {name: named, emptyDir: {medium: HugePages-2Mi}}
"#;
    instance.apply(manifest);
    let status = instance.wait_running("huge");
    let sh = |script: &str| instance.sh("huge", "c", script);
    assert_eq!(sh("stat -f -c '%T %s' /pages /named"), "hugetlbfs 2097152\nhugetlbfs 2097152\n");
    let pid = init_pid(&instance, &status, "c");
    let (dir, v2) = cgroup(pid, "hugetlb");
    let limit = dir.join(if v2 { "hugetlb.2MB.max" } else { "hugetlb.2MB.limit_in_bytes" });
    if limit.exists() {
        assert_eq!(fs::read_to_string(&limit).unwrap().trim(), "4194304");
    }
    // A page is in use while its file is.
    sh("truncate -s 2M /pages/file && python3 -c 'import mmap; \
        f = open(\"/pages/file\", \"r+b\"); mmap.mmap(f.fileno(), 1 << 21)[0] = 1'");
    let free = "sed -n 's/^HugePages_Free: *//p' /proc/meminfo";
    let before: u32 = sh(free).trim().parse().unwrap();
    instance.delete("huge");
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let after = meminfo.lines().find_map(|line| line.strip_prefix("HugePages_Free:")).unwrap();
    assert_eq!(after.trim().parse(), Ok(before + 1), "the page went with the pod");
    instance.assert_nothing_left();
}
