//! Every fault that a registry and the way to it can have.

use crate::build::{Member, Scene, blob, image, skip, tar_of, write_index};
use crate::proxy::{Fault, Proxy};
use crate::registry::{Registry, assert_app, assert_nothing, pull_anonymously, pull_impatiently};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

const TOOLS: &[&str] = &["skopeo", "docker-registry"];

/// A registry with the app behind a proxy, and an empty store.
fn world() -> Option<(Registry, Proxy, Scene, String)> {
    if skip(TOOLS) {
        return None;
    }
    let registry = Registry::with_app();
    let proxy = Proxy::before(registry.port);
    let name = format!("127.0.0.1:{}/app:1", proxy.port);
    Some((registry, proxy, Scene::new(), name))
}

#[test]
fn an_image_comes_whole_and_only_once() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    let first = pull_anonymously(&scene, &name).unwrap();
    assert_app(&scene, &first);
    assert_eq!(proxy.seen("GET /v2/app/blobs/").len(), 4, "three layers and the configuration");
    // The tag still means the same: its digest is all that is asked for.
    let second = pull_anonymously(&scene, &name).unwrap();
    assert_eq!(second.image.manifest, first.image.manifest);
    assert_eq!(proxy.seen("/blobs/").len(), 4);
    assert_eq!(proxy.seen("GET /v2/app/manifests/").len(), 1);
    // By its digest it is there too, and nothing at all is asked.
    let by_digest = format!("{}@{}", name.trim_end_matches(":1"), first.image.manifest);
    let before = proxy.seen("").len();
    assert_eq!(pull_anonymously(&scene, &by_digest).unwrap().image.id, first.image.id);
    assert_eq!(proxy.seen("").len(), before);
}

#[test]
fn broken_connections_are_taken_up_where_they_broke() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    for at in [200_000, 300_000, 1] {
        proxy.fault("GET /v2/app/blobs/", 1, Fault::Cut(at));
    }
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
    let ranges = proxy.seen("/blobs/").into_iter().filter(|seen| seen.range.is_some()).count();
    assert!(ranges >= 1, "{:?}", proxy.seen("/blobs/"));
}

#[test]
fn a_registry_without_ranges_sends_it_all_again() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    proxy.fault("GET /v2/app/blobs/", 3, Fault::Cut(250_000));
    proxy.fault("GET /v2/app/blobs/", 20, Fault::NoRange);
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
}

#[test]
fn silence_is_borne_for_a_while_only() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    proxy.fault("GET /v2/app/blobs/", 1, Fault::Stall(100_000));
    assert_app(&scene, &pull_impatiently(&scene, &name).unwrap());
}

#[test]
fn a_part_is_gone_on_with_by_the_next_pull() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    proxy.fault("GET /v2/app/blobs/", 4, Fault::Cut(600_000));
    proxy.fault("GET /v2/app/blobs/", 30, Fault::Cut(0));
    let failed = pull_anonymously(&scene, &name).err().unwrap();
    let error = failed.error.to_string();
    assert!(error.contains("failed to copy: "), "{error}");
    assert!(error.ends_with("unexpected EOF"), "{error}");
    assert!(scene.store.list().unwrap().is_empty());
    let parts = scene.leftovers();
    assert!(!parts.is_empty());
    let proxy = Proxy::before(_registry.port);
    // Another port is another name; the blobs are the same.
    let name = format!("127.0.0.1:{}/app:1", proxy.port);
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
    assert!(proxy.seen("/blobs/").iter().any(|seen| seen.range.is_some()));
}

#[test]
fn a_damaged_part_costs_a_fresh_start() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    proxy.fault("GET /v2/app/blobs/", 4, Fault::Cut(600_000));
    proxy.fault("GET /v2/app/blobs/", 30, Fault::Cut(0));
    assert!(pull_anonymously(&scene, &name).is_err());
    for part in scene.leftovers() {
        let mut content = fs::read(&part).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        fs::write(&part, content).unwrap();
    }
    let proxy = Proxy::before(_registry.port);
    let name = format!("127.0.0.1:{}/app:1", proxy.port);
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
}

#[test]
fn wrong_bytes_are_found_by_their_digest() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    proxy.fault("GET /v2/app/blobs/", 9, Fault::Damage(70_000));
    let error = pull_anonymously(&scene, &name).err().unwrap().error.to_string();
    assert!(error.contains("is damaged: its digest is sha256:"), "{error}");
    assert_nothing(&scene);
    // A manifest too, when its digest was asked for.
    let wanted = format!("{}@sha256:{}", name.trim_end_matches(":1"), "0".repeat(64));
    let manifest = json!({"schemaVersion": 2}).to_string().into_bytes();
    let answer = Fault::Answer("200 OK", String::new(), String::from_utf8(manifest).unwrap());
    proxy.fault("/manifests/sha256:", 9, answer);
    let error = pull_anonymously(&scene, &wanted).err().unwrap().error.to_string();
    assert!(error.contains("is damaged"), "{error}");
    assert_nothing(&scene);
}

/// What the kubelet would show, and whether the registry counts as out of reach.
fn refusal(
    registry: &Registry,
    part: &str,
    (status, header): (&'static str, &str),
) -> (String, bool, usize) {
    let (proxy, scene) = (Proxy::before(registry.port), Scene::new());
    let name = format!("127.0.0.1:{}/app:1", proxy.port);
    proxy.answer(part, 99, status, header);
    let failed = pull_anonymously(&scene, &name).err().unwrap();
    assert_nothing(&scene);
    let text = failed.error.to_string().replace(&proxy.port.to_string(), "PORT");
    (text, failed.is_unavailable, proxy.seen(part).len())
}

#[test]
fn refusals_are_told_as_they_are() {
    let Some((registry, ..)) = world() else { return };
    let begin = "failed to pull and unpack image \"127.0.0.1:PORT/app:1\": ";
    let resolving = "failed to resolve reference \"127.0.0.1:PORT/app:1\": ";
    let status = "unexpected status from GET request to http://127.0.0.1:PORT/v2/app/manifests/1: ";
    let says = ": denied: the proxy says no";
    for (answer, header, told, is_unavailable, tries) in [
        (
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "the registry wants name and password, and there are none for it".to_owned(),
            false,
            1,
        ),
        (
            "401 Unauthorized",
            "",
            format!(
                "pull access denied, repository does not exist or may require authorization{says}"
            ),
            false,
            1,
        ),
        ("403 Forbidden", "", format!("{status}403 Forbidden{says}"), false, 1),
        ("404 Not Found", "", "127.0.0.1:PORT/app:1: not found".to_owned(), false, 1),
        (
            "429 Too Many Requests",
            "Retry-After: 3600\r\n",
            format!("{status}429 Too Many Requests{says}"),
            false,
            1,
        ),
        (
            "500 Internal Server Error",
            "",
            format!("{status}500 Internal Server Error{says}"),
            false,
            4,
        ),
        ("503 Service Unavailable", "", format!("{status}503 Service Unavailable{says}"), true, 1),
    ] {
        let found = refusal(&registry, "/manifests/", (answer, header));
        assert_eq!(found, (format!("{begin}{resolving}{told}"), is_unavailable, tries));
    }
    let (error, _, _) = refusal(&registry, "GET /v2/app/blobs/", ("404 Not Found", ""));
    assert!(error.contains("failed to copy: unexpected status from GET"), "{error}");
    assert!(error.ends_with("404 Not Found: denied: the proxy says no"), "{error}");
}

#[test]
fn what_passes_is_waited_for() {
    let Some((_registry, proxy, scene, name)) = world() else { return };
    proxy.answer("/manifests/", 1, "429 Too Many Requests", "Retry-After: 1\r\n");
    proxy.answer("/manifests/", 2, "500 Internal Server Error", "");
    proxy.answer("/blobs/", 2, "500 Internal Server Error", "");
    let begin = Instant::now();
    assert_app(&scene, &pull_anonymously(&scene, &name).unwrap());
    assert!(begin.elapsed() >= Duration::from_secs(1), "Retry-After counts");
}

#[test]
fn registries_out_of_reach() {
    if skip(&[]) {
        return;
    }
    let scene = Scene::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|it| (it.port(), silent)).unwrap();
    for (host, why) in [
        // No port that another case could be given meanwhile.
        ("127.0.0.1:1".to_owned(), "dial tcp: connect: connection refused"),
        (format!("127.0.0.1:{}", silent.0), "i/o timeout"),
        ("runp-nowhere.invalid".to_owned(), ""),
    ] {
        let failed = pull_impatiently(&scene, &format!("{host}/app:1")).err().unwrap();
        let error = failed.error.to_string();
        assert!(failed.is_unavailable, "{error}");
        assert!(error.ends_with(why), "{error}");
        if why.is_empty() {
            assert!(error.contains("dial tcp: lookup runp-nowhere.invalid on "), "{error}");
        }
    }
    assert_nothing(&scene);
}

#[test]
fn manifests_that_are_no_use() {
    if skip(TOOLS) {
        return;
    }
    let registry = Registry::with_app();
    let proxy = Proxy::before(registry.port);
    let manifest = |change: &dyn Fn(&mut Value)| {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": format!("sha256:{}", "0".repeat(64)), "size": 2,
            },
            "layers": [],
        });
        change(&mut manifest);
        manifest.to_string().into_bytes()
    };
    for (body, why) in [
        (b"{\"schemaVersion\":".to_vec(), "manifest: EOF while parsing"),
        (
            manifest(&|it| {
                it["mediaType"] = json!("application/vnd.docker.distribution.manifest.v1+json")
            }),
            "unsupported manifest media type \"application/vnd.docker.distribution.manifest.v1+json\"",
        ),
        // One reader's image is not to be another's index (CVE-2021-41190).
        (manifest(&|it| it["manifests"] = json!([])), "unsupported manifest media type"),
        (
            manifest(&|it| {
                it["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")
            }),
            "not a container image: its configuration is a application/vnd.cncf.helm.config.v1+json",
        ),
        (
            manifest(&|it| it["config"]["digest"] = json!("sha256:../../x")),
            "Invalid encoded value ../../x",
        ),
        (manifest(&|_| {}), "404 Not Found: blob_unknown: blob unknown to registry"),
    ] {
        let scene = Scene::new();
        proxy.fault("/manifests/1", 1, Fault::Body(body));
        let name = format!("127.0.0.1:{}/app:1", proxy.port);
        let error = pull_anonymously(&scene, &name).err().unwrap().error.to_string();
        assert!(error.contains(why), "{error}\nexpected {why}");
        assert!(scene.store.list().unwrap().is_empty());
    }
}

#[test]
fn the_machines_image_of_an_index_and_dockers_own_forms() {
    if skip(TOOLS) {
        return;
    }
    let registry = Registry::start();
    let layout = tempfile::tempdir().unwrap();
    let layers = [tar_of(&[Member::file("here", b"amd64")])];
    let mut ours = image(layout.path(), &layers, &json!({}));
    ours["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut other = image(layout.path(), &layers, &json!({"architecture": "arm64"}));
    other["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
    for (name, manifests) in [("multi:1", json!([other, ours])), ("foreign:1", json!([other]))] {
        let mut index = blob(
            layout.path(),
            json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": manifests,
            })
            .to_string()
            .as_bytes(),
        );
        index["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
        write_index(layout.path(), &[index]);
        registry.push(layout.path(), name, "--all");
    }
    let scene = Scene::new();
    let host = format!("127.0.0.1:{}", registry.port);
    let pulled = pull_anonymously(&scene, &format!("{host}/multi:1")).unwrap();
    let index = pulled.image.index.clone().unwrap();
    assert_ne!(index, pulled.image.manifest);
    assert_eq!(fs::read(pulled.image.layers[0].join("here")).unwrap(), b"amd64");
    // Both digests name it.
    for digest in [&index, &pulled.image.manifest] {
        let again = pull_anonymously(&scene, &format!("{host}/multi@{digest}")).unwrap();
        assert_eq!(again.image.id, pulled.image.id);
    }
    let error = pull_anonymously(&scene, &format!("{host}/foreign:1")).err().unwrap().error;
    let told = "no image for linux/amd64, only for linux/arm64/v8";
    assert!(error.to_string().ends_with(told), "{error}");
    registry.push_app("docker:1", "--format v2s2");
    assert_app(&scene, &pull_anonymously(&scene, &format!("{host}/docker:1")).unwrap());
    registry.push_app("zstd:1", "--dest-compress-format zstd");
    assert_app(&scene, &pull_anonymously(&scene, &format!("{host}/zstd:1")).unwrap());
}
