//! Every way in which there is no image, as a pod shows it: reason, message and events of the
//! kubelet.

use crate::pods::World;
use crate::proxy::{Fault, Proxy};
use crate::registry::Setup;
use serde_json::json;

/// A pod's image, what its registry does, and what is told.
struct Case {
    pod: &'static str,
    image: String,
    reason: &'static str,
    told: &'static str,
}

/// Makes the registry fail for each repository in its own way.
fn fail(proxy: &Proxy) {
    let answer = |pod: &str, status, header: &str| {
        proxy.answer(&format!("/v2/{pod}/manifests/"), 999, status, header);
    };
    answer("unauthorized", "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n");
    answer("denied", "401 Unauthorized", "");
    answer("forbidden", "403 Forbidden", "");
    answer("missing", "404 Not Found", "");
    answer("busy", "429 Too Many Requests", "Retry-After: 3600\r\n");
    answer("broken", "500 Internal Server Error", "");
    answer("away", "503 Service Unavailable", "");
    proxy.fault("GET /v2/cut/blobs/", 999, Fault::Cut(0));
    proxy.fault("GET /v2/damaged/blobs/", 999, Fault::Damage(70));
    let other = json!({"schemaVersion": 2}).to_string();
    proxy.fault("/v2/digest/manifests/", 999, Fault::Answer("200 OK", String::new(), other));
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
        "digest": format!("sha256:{}", "0".repeat(64)),
        "platform": {"os": "linux", "architecture": "s390x"},
    }]});
    proxy.fault(
        "GET /v2/foreign/manifests/",
        999,
        Fault::Answer("200 OK", String::new(), index.to_string()),
    );
    let old = json!({"mediaType": "application/vnd.docker.distribution.manifest.v1+json"});
    proxy.fault(
        "GET /v2/useless/manifests/",
        999,
        Fault::Answer("200 OK", String::new(), old.to_string()),
    );
}

fn cases(world: &World) -> Vec<Case> {
    let case =
        |pod, reason, told| Case { pod, image: world.image(&format!("{pod}:1")), reason, told };
    let pull = "ErrImagePull";
    let digest = format!("{}@sha256:{}", world.image("digest"), "0".repeat(64));
    let nowhere = "runp-nowhere.invalid/x:1".to_owned();
    vec![
        case(
            "unauthorized",
            pull,
            "the registry wants name and password, and there are none for it",
        ),
        case(
            "denied",
            pull,
            "pull access denied, repository does not exist or may require authorization",
        ),
        case("forbidden", pull, "403 Forbidden: denied: the proxy says no"),
        case("missing", pull, "/missing:1: not found"),
        case("busy", pull, "429 Too Many Requests"),
        case("broken", pull, "500 Internal Server Error"),
        case("away", "RegistryUnavailable", "503 Service Unavailable"),
        case("cut", pull, "EOF"),
        case("damaged", pull, "is damaged: its digest is sha256:"),
        Case {
            pod: "digest",
            image: digest,
            reason: pull,
            told: "is damaged: its digest is sha256:",
        },
        case("foreign", pull, "no image for linux/amd64, only for linux/s390x"),
        case("useless", pull, "unsupported manifest media type"),
        Case {
            pod: "nowhere",
            image: nowhere,
            reason: "RegistryUnavailable",
            told: "dial tcp: lookup runp-nowhere.invalid",
        },
    ]
}

#[test]
fn every_failure_of_a_pull_has_its_reason() {
    let Some(world) = World::new("failures", &Setup::default()) else { return };
    for name in ["cut:1", "damaged:1"] {
        world.registry.push_app(name, "");
    }
    fail(&world.proxy);
    let cases = cases(&world);
    for case in &cases {
        world.apply(case.pod, &case.image, "IfNotPresent", "");
    }
    for Case { pod, image, reason, told } in &cases {
        let message = world.reason(pod, "ImagePullBackOff");
        let begin = format!("Back-off pulling image \"{image}\": {reason}: ");
        assert!(message.starts_with(&begin), "{pod}: {message}");
        assert!(message.contains(told), "{pod}: {message}");
        let events = world.events(pod);
        let failed = format!("Failed to pull image \"{image}\": ");
        let line = events.lines().find(|line| line.contains(&failed));
        assert!(line.is_some_and(|line| line.contains(told)), "{pod}: {events}");
        for event in [
            format!("Error: {reason}"),
            "Error: ImagePullBackOff".into(),
            format!("Back-off pulling image \"{image}\""),
        ] {
            assert!(events.contains(&event), "{pod}: {event}\n{events}");
        }
    }
    let pods: Vec<&str> = cases.iter().map(|case| case.pod).collect();
    world.end(&pods);
}
