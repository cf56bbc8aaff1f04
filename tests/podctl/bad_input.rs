//! Bad input: one clear error each, and nothing left.

use super::instance::Instance;
use std::fs;

fn pod(image: &str, command: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: bad}}\nspec:\n  containers:\n  - {{name: c, image: \"{image}\", command: [{command}]}}\n"
    )
}

#[test]
fn what_cannot_be_decoded_makes_nothing() {
    let Some(instance) = Instance::new("decode") else { return };
    let good = pod("host", "sleep");
    let table = [
        ("a: [", "line"),
        ("{\"a\": ", "line"),
        (&good.replace("containers", "containrs"), "unknown field \"spec.containrs\""),
        (&good.replace("name: bad", "name: 7"), "cannot unmarshal number"),
        (&good.replace("name: bad", "name: Bad"), "a lowercase RFC 1123 subdomain"),
        (&format!("{good}  - {{name: c, image: host}}\n"), "Duplicate value: \"c\""),
        (&good.replace("name: c,", "name: c, livenessProb: 1,"), "livenessProb"),
    ];
    for (text, said) in table {
        let done = instance.podctl(&["apply", "-f", &instance.manifest(text)]);
        assert_eq!(done.status, 1, "{text}: {done:?}");
        assert!(done.err.contains(said), "{said} is not in {done:?}");
        assert!(!instance.root().join("lib/pods/default").exists(), "{text}");
    }
    instance
        .podctl(&["apply", "-f", "/not/there"])
        .fails(1, "the path \"/not/there\" does not exist");
    instance.podctl(&["delete", "pod", "..x"]).fails(1, "not found");
    instance.assert_nothing_left();
}

#[test]
fn what_cannot_start_says_why() {
    let Some(instance) = Instance::new("start") else { return };
    let table = [
        ("127.0.0.1:1/not-there:1", "sleep", "RegistryUnavailable", "127.0.0.1:1"),
        ("host", "/not/there", "RunContainerError", "/not/there"),
        ("Not A Name", "sleep", "InvalidImageName", "Not A Name"),
    ];
    for (image, command, reason, said) in table {
        instance.apply(&pod(image, command));
        let status = instance.wait_for("bad", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        });
        let message = status["containerStatuses"][0]["state"]["waiting"]["message"].as_str();
        assert!(message.unwrap().contains(said), "{status}");
        let described = instance.podctl(&["describe", "pod", "bad"]).ok();
        assert!(described.contains("Failed"), "{described}");
        instance.delete("bad");
        // The store of images is not the pod's: an attempt to pull has made it.
        let images = instance.root().join("lib/images");
        if images.exists() {
            fs::remove_dir_all(images).unwrap();
        }
        instance.assert_nothing_left();
    }
}

#[test]
fn links_planted_in_the_state_are_not_followed() {
    let Some(instance) = Instance::new("links") else { return };
    let canary = instance.path("canary");
    fs::write(&canary, "untouched").unwrap();
    let dir = instance.pod_dir("bad");
    fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink(&canary, dir.join("pod.json")).unwrap();
    let done = instance.podctl(&["apply", "-f", &instance.manifest(&pod("host", "sleep"))]);
    assert_eq!(done.status, 1, "{done:?}");
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
    fs::remove_dir_all(&dir).unwrap();
    fs::remove_dir(dir.parent().unwrap()).unwrap();
}
