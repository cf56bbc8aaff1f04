//! Resources as numbers for the kernel: cpu shares and quota, memory, the OOM score, and the QoS
//! class they follow from (kubelet `cm/helpers_linux.go`, `qos/policy.go`).

use super::Pod;
use super::quantity::{Quantity, ZERO};
use super::roster::{self, Role};
use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::borrow::Cow;
use std::fmt;

/// Length of a quota period in microseconds.
pub const PERIOD: u64 = 100_000;
/// The least quota of a period in microseconds: a limit below 10m is taken for 10m.
const MIN_QUOTA: i64 = 1000;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

/// A Pod's quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has limits for cpu and memory, and requests the same.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        })
    }
}

/// What a cgroup is given. Absent fields stay at the kernel's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `cpu.shares`.
    pub shares: u64,
    /// Microseconds of cpu in each [`PERIOD`].
    pub quota: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
}

/// Which side of the requirements.
#[derive(Clone, Copy)]
enum Side {
    Limits,
    Requests,
}

/// `requirements`' quantity of `name`, if it is there and can be read.
fn quantity(
    requirements: Option<&ResourceRequirements>,
    side: Side,
    name: &str,
) -> Option<Quantity> {
    let requirements = requirements?;
    let list = match side {
        Side::Limits => requirements.limits.as_ref(),
        Side::Requests => requirements.requests.as_ref(),
    };
    Quantity::parse(&list?.get(name)?.0).ok()
}

fn positive(container: &Container, side: Side, name: &str) -> Option<Quantity> {
    quantity(container.resources.as_ref(), side, name).filter(|quantity| *quantity > ZERO)
}

/// The container's own limit on what is called `name`.
pub fn own_limit(container: &Container, name: &str) -> Option<Quantity> {
    positive(container, Side::Limits, name)
}

/// The limits of all containers of `pod` together, where any has one.
pub fn total_limit(pod: &Pod, name: &str) -> Option<Quantity> {
    let total = together(&containers(pod), |container| own_limit(container, name));
    Some(total).filter(|total| *total > ZERO)
}

/// What `pod` requests of what is called `name`.
pub fn total_request(pod: &Pod, name: &str) -> Quantity {
    let of_pod = quantity(of_whole(pod), Side::Requests, name);
    of_pod.unwrap_or_else(|| together(&containers(pod), |container| requested(container, name)))
}

/// `cpu.shares` for millicores.
pub fn shares(milli: i64) -> u64 {
    let milli = u64::try_from(milli).unwrap_or(0);
    (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Microseconds of cpu in each [`PERIOD`] for a limit in millicores; `None` for no limit.
pub fn quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli.saturating_mul(PERIOD as i64) / 1000).max(MIN_QUOTA))
}

/// What the cgroup of `container` of `pod` is given.
pub fn container(pod: &Pod, container: &Container) -> Limits {
    let request = quantity(container.resources.as_ref(), Side::Requests, "cpu");
    let limit = limit(pod, container, "cpu");
    Limits {
        shares: shares(request.or(limit).map_or(0, Quantity::milli)),
        quota: limit.map(Quantity::milli).and_then(quota),
        memory: self::limit(pod, container, "memory").map(Quantity::value),
    }
}

/// The limit of `container`; without one that of the pod as a whole (kubelet `getCPULimit`).
pub fn limit(pod: &Pod, container: &Container, name: &str) -> Option<Quantity> {
    positive(container, Side::Limits, name)
        .or_else(|| quantity(of_whole(pod), Side::Limits, name).filter(|quantity| *quantity > ZERO))
}

/// What the cgroup around all containers of `pod` is given: what they request together, and their
/// limits together where every one has a limit.
pub fn pod(pod: &Pod) -> Limits {
    let containers = containers(pod);
    let of_pod = |side, name: &str| quantity(of_whole(pod), side, name).filter(|it| *it > ZERO);
    let all = |name: &str| -> Option<Quantity> {
        let of = |container: &Container| positive(container, Side::Limits, name);
        let limited = !containers.is_empty() && containers.iter().all(|(_, it)| of(it).is_some());
        let limited = limited.then(|| together(&containers, of));
        of_pod(Side::Limits, name).or(limited)
    };
    match qos(pod) {
        Qos::BestEffort => Limits { shares: MIN_SHARES, ..Limits::default() },
        _ => Limits {
            shares: shares(
                of_pod(Side::Requests, "cpu")
                    .unwrap_or_else(|| together(&containers, |c| requested(c, "cpu")))
                    .milli(),
            ),
            quota: all("cpu").and_then(|limit| quota(limit.milli())),
            memory: all("memory").map(Quantity::value),
        },
    }
}

/// The most that the containers need at one time: an init container runs beside the sidecars before
/// it, the others beside all sidecars (component-helpers, `AggregateContainerRequests`).
fn together(
    containers: &[(Role, Cow<'_, Container>)],
    of: impl Fn(&Container) -> Option<Quantity>,
) -> Quantity {
    let (mut sidecars, mut most, mut regular) = (ZERO, ZERO, ZERO);
    for (role, container) in containers {
        let one = of(container).unwrap_or(ZERO);
        match role {
            Role::Regular => regular = [regular, one].into_iter().sum(),
            Role::Sidecar => sidecars = [sidecars, one].into_iter().sum(),
            _ => most = most.max([sidecars, one].into_iter().sum()),
        }
    }
    most.max([regular, sidecars].into_iter().sum())
}

/// The quality of service class of `pod`.
pub fn qos(pod: &Pod) -> Qos {
    const NAMES: [&str; 2] = ["cpu", "memory"];
    if let Some(requirements) = of_whole(pod) {
        return qos_of_whole(requirements, &NAMES);
    }
    let containers = containers(pod);
    let asks = |c: &Container, name| {
        [Side::Limits, Side::Requests].iter().any(|side| positive(c, *side, name).is_some())
    };
    if !containers.iter().any(|(_, c)| NAMES.iter().any(|name| asks(c, name))) {
        return Qos::BestEffort;
    }
    let guaranteed = |name: &&str| {
        let limited = |c: &Container| positive(c, Side::Limits, name);
        let sum = |of: &dyn Fn(&Container) -> Option<Quantity>| {
            containers.iter().filter_map(|(_, c)| of(c)).sum::<Quantity>()
        };
        containers.iter().all(|(_, c)| limited(c).is_some())
            && sum(&limited) == sum(&|c| requested(c, name))
    };
    if NAMES.iter().all(guaranteed) { Qos::Guaranteed } else { Qos::Burstable }
}

/// `spec.resources`, where it says anything: it decides alone.
fn of_whole(pod: &Pod) -> Option<&ResourceRequirements> {
    let requirements = pod.spec.as_ref()?.resources.as_ref()?;
    let is_empty = requirements.limits.is_none() && requirements.requests.is_none();
    (!is_empty).then_some(requirements)
}

fn qos_of_whole(requirements: &ResourceRequirements, names: &[&str]) -> Qos {
    let of = |side, name: &&str| {
        quantity(Some(requirements), side, name).filter(|quantity| *quantity > ZERO)
    };
    let is_asked = |name| of(Side::Limits, name).or(of(Side::Requests, name)).is_some();
    let is_equal = |name| {
        let limit = of(Side::Limits, name);
        limit.is_some() && of(Side::Requests, name).is_none_or(|request| Some(request) == limit)
    };
    match names {
        names if names.iter().all(is_equal) => Qos::Guaranteed,
        names if names.iter().any(is_asked) => Qos::Burstable,
        _ => Qos::BestEffort,
    }
}

/// Huge pages of `container`: the size as the kernel's files have it (`2MB`), and bytes.
pub fn huge_pages(container: &Container) -> Vec<(String, i64)> {
    let limits = container.resources.as_ref().and_then(|it| it.limits.as_ref());
    let page = |(name, limit): (&String, &ApiQuantity)| {
        let size = Quantity::parse(name.strip_prefix("hugepages-")?).ok()?.value();
        let (size, unit) = match size {
            size if size >= 1 << 30 => (size >> 30, "GB"),
            size if size >= 1 << 20 => (size >> 20, "MB"),
            size => (size >> 10, "KB"),
        };
        Some((format!("{size}{unit}"), Quantity::parse(&limit.0).ok()?.value()))
    };
    limits.into_iter().flatten().filter_map(page).collect()
}

/// What `container` requests; without a request the limit stands for it.
fn requested(container: &Container, name: &str) -> Option<Quantity> {
    let request = quantity(container.resources.as_ref(), Side::Requests, name);
    request.or_else(|| positive(container, Side::Limits, name))
}

/// Those that may ask for something.
fn containers(pod: &Pod) -> Vec<(Role, Cow<'_, Container>)> {
    roster::all(pod).into_iter().filter(|(role, _)| *role != Role::Ephemeral).collect()
}

/// `oom_score_adj` of `container` of `pod`, on a node of `node_memory` bytes.
pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory: u64) -> i32 {
    let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
    match qos(pod) {
        _ if class == Some("system-node-critical") => -997,
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let bytes = |it: &Container| requested(it, "memory").map_or(0, Quantity::value);
            let (role, own) = (roster::find(pod, &container.name), bytes(container));
            let counted = match role {
                // A sidecar goes with the containers it serves, not before them.
                Some((Role::Sidecar, _)) => {
                    let spec = pod.spec.iter().flat_map(|spec| &spec.containers);
                    own.max(spec.map(bytes).min().unwrap_or(0))
                }
                _ => own,
            };
            let bytes = i128::from(counted) + unshared(pod);
            let share = 1000 * bytes / i128::from(node_memory.max(1));
            i32::try_from((1000 - share).clamp(3, 999)).unwrap_or(999)
        }
    }
}

/// What each container has of the memory that the pod as a whole requests beyond what its containers
/// do themselves.
fn unshared(pod: &Pod) -> i128 {
    let request = quantity(of_whole(pod), Side::Requests, "memory").filter(|it| *it > ZERO);
    let (Some(whole), containers) = (request, containers(pod)) else { return 0 };
    let own = together(&containers, |it| requested(it, "memory"));
    let left = i128::from(whole.value()) - i128::from(own.value());
    left / i128::try_from(containers.len().max(1)).unwrap_or(1)
}

/// `oom_score_adj` of the sandbox's pause process.
pub const SANDBOX_OOM_SCORE_ADJ: i32 = -998;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn init_containers_count_while_they_run() {
        let of = |name: &str, cpu: &str, policy: Value| {
            json!({"name": name, "restartPolicy": policy,
                "resources": {"limits": {"cpu": cpu, "memory": "64Mi"}}})
        };
        let mut value: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [
                of("a", "1", Value::Null), of("s", "500m", "Always".into()),
                of("b", "2", Value::Null), of("t", "100m", "Always".into()),
            ],
            "containers": [of("c", "1", Value::Null)],
        }}))
        .unwrap();
        assert_eq!(pod(&value).quota, Some(250_000), "b beside s");
        assert_eq!(qos(&value), Qos::Guaranteed);
        value.spec.as_mut().unwrap().init_containers.as_mut().unwrap()[0].resources = None;
        assert_eq!(pod(&value).quota, None, "one is unlimited");
        assert_eq!(qos(&value), Qos::Burstable);
    }

    fn pod_of(resources: &[Value]) -> Pod {
        let container = |resources: &Value| json!({"name": "c", "resources": resources});
        let containers: Vec<Value> = resources.iter().map(container).collect();
        serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}}),
        )
        .unwrap()
    }

    #[test]
    fn classes_follow_from_requests_and_limits() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let equal = json!({"limits": {"cpu": "1", "memory": "1Gi"},
                           "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let lower = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
        let cases = [
            (vec![json!({})], Qos::BestEffort),
            (vec![json!({"limits": {"cpu": "0"}})], Qos::BestEffort),
            (vec![json!({"requests": {"ephemeral-storage": "1Gi"}})], Qos::BestEffort),
            (vec![full.clone()], Qos::Guaranteed),
            (vec![full.clone(), equal], Qos::Guaranteed),
            (vec![full.clone(), json!({})], Qos::Burstable),
            (vec![lower], Qos::Burstable),
            (
                vec![json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0"}})],
                Qos::Burstable,
            ),
            (vec![json!({"limits": {"memory": "1Gi"}})], Qos::Burstable),
            (vec![json!({"requests": {"cpu": "1m"}})], Qos::Burstable),
        ];
        for (resources, class) in cases {
            assert_eq!(qos(&pod_of(&resources)), class, "{resources:?}");
        }
    }

    #[test]
    fn cpu_becomes_shares_and_quota() {
        let cases = [
            (0, 2),
            (1, 2),
            (2, 2),
            (10, 10),
            (100, 102),
            (500, 512),
            (1000, 1024),
            (i64::MAX, 262_144),
        ];
        for (milli, expected) in cases {
            assert_eq!(shares(milli), expected, "{milli}m");
        }
        let cases =
            [(0, None), (1, Some(1000)), (10, Some(1000)), (15, Some(1500)), (1000, Some(100_000))];
        for (milli, expected) in cases {
            assert_eq!(quota(milli), expected, "{milli}m");
        }
    }

    #[test]
    fn cgroups_of_containers_and_pods() {
        let limited = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
        let asking = json!({"requests": {"cpu": "250m", "memory": "32Mi"}});
        let first = |pod: &Pod| container(pod, &containers(pod)[0].1);
        let both = pod_of(&[limited.clone(), asking.clone()]);
        let memory = Some(64 << 20);
        assert_eq!(first(&both), Limits { shares: 512, quota: Some(50_000), memory });
        assert_eq!(pod(&both), Limits { shares: 768, quota: None, memory: None });
        let twice = pod_of(&[limited.clone(), limited]);
        let memory = Some(128 << 20);
        assert_eq!(pod(&twice), Limits { shares: 1024, quota: Some(100_000), memory });
        assert_eq!(pod(&pod_of(&[json!({})])), Limits { shares: 2, quota: None, memory: None });
        assert_eq!(first(&pod_of(&[asking])), Limits { shares: 256, quota: None, memory: None });
    }

    #[test]
    fn the_oom_killer_prefers_who_asked_for_least() {
        let score = |resources: Value| {
            let pod = pod_of(&[resources]);
            oom_score_adj(&pod, &containers(&pod)[0].1, 8 << 30)
        };
        assert_eq!(score(json!({})), 1000);
        assert_eq!(score(json!({"limits": {"cpu": "1", "memory": "1Gi"}})), -997);
        assert_eq!(score(json!({"requests": {"memory": "4Gi"}})), 500);
        assert_eq!(score(json!({"requests": {"memory": "8Gi"}})), 3);
        assert_eq!(score(json!({"requests": {"cpu": "1"}})), 999);
    }

    #[test]
    fn what_the_pod_requests_beyond_its_containers_is_shared_out() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "resources": {"requests": {"memory": "6Gi"}, "limits": {"memory": "7Gi", "cpu": "2"}},
            "initContainers": [{"name": "side", "restartPolicy": "Always"}],
            "containers": [
                {"name": "a", "resources": {"requests": {"memory": "4Gi"}}},
                {"name": "b", "resources": {"limits": {"cpu": "1"}}},
            ],
        }}))
        .unwrap();
        let all = containers(&pod);
        let scores: Vec<i32> =
            all.iter().map(|(_, it)| oom_score_adj(&pod, it, 16 << 30)).collect();
        let third = 1000 - 1000 * 2 / (3 * 16);
        assert_eq!(scores, [third, third - 250, third]);
        let limits: Vec<_> = all.iter().map(|(_, it)| container(&pod, it)).collect();
        assert!(limits.iter().all(|limits| limits.memory == Some(7 << 30)));
        let quotas: Vec<_> = limits.iter().map(|limits| limits.quota).collect();
        assert_eq!(quotas, [Some(200_000), Some(200_000), Some(100_000)]);
        assert_eq!(limits[0].shares, 2048);
    }

    #[test]
    fn a_sidecar_is_not_killed_before_those_it_serves() {
        let asks = |memory: &str| json!({"requests": {"memory": memory}});
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "side", "restartPolicy": "Always"}],
            "containers": [
                {"name": "a", "resources": asks("4Gi")}, {"name": "b", "resources": asks("2Gi")},
            ],
        }}))
        .unwrap();
        assert_eq!(oom_score_adj(&pod, &containers(&pod)[0].1, 8 << 30), 750);
    }

    #[test]
    fn what_is_said_of_the_pod_decides_alone() {
        let of = |whole: Value| {
            let mut pod = pod_of(&[json!({"limits": {"cpu": "1", "memory": "1Gi"}})]);
            let resources = serde_json::from_value(whole).unwrap();
            pod.spec.as_mut().unwrap().resources = Some(resources);
            (qos(&pod), super::pod(&pod))
        };
        let (class, limits) = of(json!({"limits": {"cpu": "2", "memory": "2Gi"}}));
        assert_eq!(class, Qos::Guaranteed);
        assert_eq!((limits.quota, limits.memory), (Some(200_000), Some(2 << 30)));
        let (class, limits) = of(json!({"requests": {"cpu": "500m"}}));
        assert_eq!(class, Qos::Burstable);
        assert_eq!((limits.shares, limits.memory), (512, Some(1 << 30)));
        assert_eq!(of(json!({})).0, Qos::Guaranteed, "it says nothing");
    }

    #[test]
    fn huge_pages_have_the_kernels_names() {
        let limits = json!({"hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi", "cpu": "1"});
        let container = json!({"name": "c", "resources": {"limits": limits}});
        let pages = huge_pages(&serde_json::from_value(container).unwrap());
        assert_eq!(pages, [("1GB".into(), 1 << 30), ("2MB".into(), 4 << 20)]);
    }
}
