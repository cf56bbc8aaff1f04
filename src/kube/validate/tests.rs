use super::{ANNOTATIONS_SIZE, validate, validate_update};
use crate::kube::Pod;
use crate::kube::set_defaults;
use serde_json::{Value, json};

fn pod_of(metadata: Value, spec: Value) -> Pod {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    set_defaults(&mut pod);
    pod
}

/// The causes against a pod with this spec.
fn causes(spec: Value) -> Vec<String> {
    let Err(error) = validate(&pod_of(json!({"name": "web"}), spec)) else { return vec![] };
    let story = error.to_string();
    let causes = story.strip_prefix("The Pod \"web\" is invalid: ").unwrap();
    match causes.strip_prefix("\n* ") {
        Some(causes) => causes.split("\n* ").map(str::to_owned).collect(),
        None => vec![causes.to_owned()],
    }
}

/// The causes against a container with these fields besides name and image, without their path.
fn container_causes(fields: Value) -> Vec<String> {
    let mut container = json!({"name": "c", "image": "i:1"});
    for (key, value) in fields.as_object().unwrap() {
        container[key] = value.clone();
    }
    let all = causes(json!({"containers": [container], "volumes": [{"name": "v"}]}));
    all.iter().map(|cause| cause.replace("spec.containers[0].", "")).collect()
}

#[test]
fn speaks_the_words_of_the_api() {
    let cases = include_str!("../../../tests/golden/kube/validate.txt").split("\n\n").skip(1);
    for case in cases {
        let (input, expected) = case.trim_end().split_once('\n').unwrap_or((case.trim_end(), ""));
        let expected: Vec<&str> = expected.lines().map(str::trim_start).collect();
        let found = match input.split_once(' ').unwrap() {
            ("container", fields) => container_causes(serde_json::from_str(fields).unwrap()),
            ("spec", spec) => causes(serde_json::from_str(spec).unwrap()),
            (kind, _) => panic!("{kind} is neither container nor spec"),
        };
        assert_eq!(found, expected, "{input}");
    }
}

#[test]
fn metadata_in_the_words_of_the_api() {
    let spec = json!({"containers": [{"name": "a", "image": "i:1"}]});
    let says = |metadata: Value| validate(&pod_of(metadata, spec.clone())).unwrap_err().to_string();
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    assert_eq!(
        says(json!({"name": "Web"})),
        format!("The Pod \"Web\" is invalid: metadata.name: Invalid value: \"Web\": {subdomain}")
    );
    assert_eq!(
        says(json!({})),
        "The Pod \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let label = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    assert_eq!(
        says(json!({"name": "a", "labels": {"k": "a b"}})),
        format!("The Pod \"a\" is invalid: metadata.labels: Invalid value: \"a b\": {label}")
    );
    assert_eq!(
        says(json!({"name": "a", "annotations": {"k": "x".repeat(ANNOTATIONS_SIZE)}})),
        "The Pod \"a\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
    );
    assert_eq!(
        says(json!({"name": "x".repeat(254)})),
        format!(
            "The Pod \"{0}\" is invalid: metadata.name: Invalid value: \"{0}\": must be no more than 253 bytes",
            "x".repeat(254)
        )
    );
}

#[test]
fn updates_may_change_images_only() {
    let pod = |image: &str, command: &str, count: usize| {
        let container = |i| json!({"name": format!("c{i}"), "image": image, "command": [command]});
        let containers: Vec<Value> = (0..count).map(container).collect();
        pod_of(
            json!({"name": "web", "labels": {"v": image.replace(':', "")}}),
            json!({"containers": containers}),
        )
    };
    let old = pod("i:1", "sh", 1);
    validate_update(&old, &old).unwrap();
    validate_update(&pod("i:2", "sh", 1), &old).unwrap();
    validate_update(&pod("i", "sh", 1), &old).unwrap();
    let error = validate_update(&pod("i:1", "bash", 1), &old).unwrap_err().to_string();
    let story = "The Pod \"web\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n  spec.containers[0].command[0]:\n- \t\"sh\"\n+ \t\"bash\"";
    assert_eq!(error, story);
    let error = validate_update(&pod("i:1", "sh", 2), &old).unwrap_err().to_string();
    assert_eq!(
        error,
        "The Pod \"web\" is invalid: spec.containers: Forbidden: pod updates may not add or remove containers"
    );
}
