use super::decode;
use crate::error::Kind;
use crate::kube::Object;
use serde_json::Value;
use serde_json::json;

fn pods(text: &str) -> Vec<Value> {
    let objects = decode("f.yaml", text).unwrap_or_else(|error| panic!("{error}"));
    objects.iter().map(|decoded| decoded.object.to_value().unwrap()).collect()
}

fn refusal(text: &str) -> String {
    decode("f.yaml", text).unwrap_err().to_string()
}

/// A pod of one container whose manifest goes on with `rest`, indented as its fields.
fn with(rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  containers:\n  - name: c\n{rest}"
    )
}

#[test]
fn reads_yaml_as_kubectl_does() {
    let text = "# a comment first\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  \
                shareProcessNamespace: yes\n  terminationGracePeriodSeconds: 1e1\n  containers:\n  \
                - name: c\n    image: i\n    securityContext: {privileged: on, runAsUser: 0644}\n    \
                resources: {limits: {cpu: 0.5, memory: 1024Ki}}\n    livenessProbe: {httpGet: \
                {port: http}}\n---\n---\n{apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
    let pods = pods(text);
    assert_eq!(pods.len(), 2);
    assert_eq!(pods[1]["metadata"]["name"], "b");
    assert_eq!(decode("f.yaml", text.rsplit("---").next().unwrap()).unwrap().len(), 1);
    let spec = json!({
        "shareProcessNamespace": true, "terminationGracePeriodSeconds": 10,
        "containers": [{
            "name": "c", "image": "i",
            "securityContext": {"privileged": true, "runAsUser": 420},
            "resources": {"limits": {"cpu": "500m", "memory": "1Mi"}},
            "livenessProbe": {"httpGet": {"port": "http"}},
        }],
    });
    assert_eq!(pods[0]["spec"], spec);
}

#[test]
fn reads_json_and_lists() {
    let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": "u"}, "status": {"phase": "Running"}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [pod("b"), pod("c")]});
    let names: Vec<Value> =
        pods(&format!(" {}\n{list}", pod("a"))).iter().map(|pod| pod["metadata"].clone()).collect();
    assert_eq!(names, [json!({"name": "a"}), json!({"name": "b"}), json!({"name": "c"})]);
}

#[test]
fn says_where_text_is_malformed() {
    let yaml = "error parsing f.yaml: error converting YAML to JSON: yaml: ";
    let cases = [
        ("a: b: c\n", "line 1: mapping values are not allowed in this context (column 5)"),
        (
            "a:\n  b: 1\n  b: 2\n",
            "unmarshal errors:\n  line 3: key \"b\" already set in map (column 3)",
        ),
        ("a:\n\t- b\n", "line 2: found character that cannot start any token: a tab (column 2)"),
        ("a: 1\n---\nb: [1\n", "line 3: did not find expected ',' or ']' (column 4)"),
        ("a: *x\n", "line 1: alias references unknown anchor (column 4)"),
    ];
    for (text, story) in cases {
        assert_eq!(refusal(text), format!("{yaml}{story}"), "{text:?}");
    }
    assert_eq!(
        refusal("{\"a\": 1,\n \"b\" 2}"),
        "error parsing f.yaml: json: line 2: expected `:` (column 6)"
    );
}

/// A field, what is said of it, and where it is.
const MISTYPED: [(&str, &str, &str); 11] = [
    (
        "    image: 1.15\n",
        "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        "spec.containers[0].image",
    ),
    (
        "    ports: [{containerPort: http}]\n",
        "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        "spec.containers[0].ports[0].containerPort",
    ),
    (
        "    ports: [{containerPort: 99999999999}]\n",
        "json: cannot unmarshal number 99999999999 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        "spec.containers[0].ports[0].containerPort",
    ),
    (
        "    ports: {containerPort: 80}\n",
        "json: cannot unmarshal object into Go struct field Container.spec.containers.ports of type []v1.ContainerPort",
        "spec.containers[0].ports",
    ),
    (
        "    command: sh\n",
        "json: cannot unmarshal string into Go struct field Container.spec.containers.command of type []string",
        "spec.containers[0].command",
    ),
    (
        "    env: [{name: A, value: 1}]\n",
        "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        "spec.containers[0].env[0].value",
    ),
    (
        "    env: [{name: A, value: yes}]\n",
        "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
        "spec.containers[0].env[0].value",
    ),
    (
        "    securityContext: root\n",
        "json: cannot unmarshal string into Go struct field Container.spec.containers.securityContext of type v1.SecurityContext",
        "spec.containers[0].securityContext",
    ),
    (
        "    livenessProbe: {httpGet: {port: true}}\n",
        "json: cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.httpGet.port of type int32",
        "spec.containers[0].livenessProbe.httpGet.port",
    ),
    (
        "    resources: {limits: {cpu: 1x}}\n",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        "spec.containers[0].resources.limits.cpu",
    ),
    (
        "  restartPolicy: [Always]\n",
        "json: cannot unmarshal array into Go struct field PodSpec.spec.restartPolicy of type string",
        "spec.restartPolicy",
    ),
];

#[test]
fn says_what_a_value_should_be_in_words_of_go() {
    for (rest, story, path) in MISTYPED {
        let error = decode("f.yaml", &with(rest)).unwrap_err();
        let start =
            "error when creating \"f.yaml\": Pod in version \"v1\" cannot be handled as a Pod: ";
        assert_eq!(error.to_string(), format!("{start}{story}"));
        assert_eq!(error.hint_text(), Some(format!("in Pod \"web\", at {path}").as_str()));
        assert_eq!(error.kind(), Kind::BadRequest);
    }
}

#[test]
fn names_all_unknown_fields_at_once() {
    let text = with(
        "    imagee: i\n    ports: [{containerPort: 80, hostport: 1}]\n  foo: {bar: 1}\nbaz: 1\n",
    );
    let story = "error when creating \"f.yaml\": Pod in version \"v1\" cannot be handled as a Pod: \
                 strict decoding error: unknown field \"baz\", unknown field \
                 \"spec.containers[0].imagee\", unknown field \
                 \"spec.containers[0].ports[0].hostport\", unknown field \"spec.foo\"";
    assert_eq!(refusal(&text), story);
    let twice = r#"{"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": true, "hostNetwork": false}}"#;
    assert!(
        refusal(twice).ends_with("strict decoding error: duplicate field \"spec.hostNetwork\"")
    );
}

#[test]
fn null_is_no_value() {
    let text = with(
        "    image: null\n    command: ~\n    env:\n    ports: []\n  volumes:\n  nodeName: null\n",
    );
    assert_eq!(pods(&text)[0]["spec"], json!({"containers": [{"name": "c", "ports": []}]}));
}

#[test]
fn refuses_other_kinds_by_name() {
    let cases = [
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
            "Deployment \"d\" in \"f.yaml\": not supported by runp yet",
        ),
        (
            "apiVersion: v1\nkind: Foo\nmetadata: {name: x}\n",
            "resource mapping not found for name: \"x\" namespace: \"\" from \"f.yaml\": no matches for kind \"Foo\" in version \"v1\"\nensure CRDs are installed first",
        ),
        (
            "apiVersion: v2\nkind: Pod\nmetadata: {name: x, namespace: ns}\n",
            "resource mapping not found for name: \"x\" namespace: \"ns\" from \"f.yaml\": no matches for kind \"Pod\" in version \"v2\"\nensure CRDs are installed first",
        ),
        (
            "apiVersion: v1\n",
            "unable to decode \"f.yaml\": Object 'Kind' is missing in '{\"apiVersion\":\"v1\"}'",
        ),
        ("kind: Pod\n", "error validating \"f.yaml\": error validating data: apiVersion not set"),
    ];
    for (text, story) in cases {
        assert_eq!(refusal(text), story);
    }
}

#[test]
fn takes_the_examples() {
    let text = include_str!("../../examples/hello.yaml");
    let objects = decode("hello.yaml", text).unwrap();
    for decoded in objects {
        let Object::Pod(mut pod) = decoded.object else { panic!("a pod") };
        crate::kube::set_defaults(&mut pod);
        crate::kube::validate(&pod).unwrap();
    }
}

#[test]
fn takes_the_manifest_of_the_main_job() {
    let text = include_str!("../../tests/golden/kube/nginx.yaml");
    let objects = decode("nginx.yaml", text).unwrap();
    let Object::Pod(pod) = &objects[0].object else { panic!("{objects:?}") };
    let mut pod = pod.as_ref().clone();
    crate::kube::set_defaults(&mut pod);
    crate::kube::validate(&pod).unwrap();
    let spec = pod.spec.unwrap();
    assert_eq!(spec.containers[0].command.as_ref().unwrap()[2], "daemon off;");
    assert_eq!(spec.containers[0].volume_mounts.as_ref().unwrap()[0].read_only, Some(true));
}

proptest::proptest! {
    #[test]
    fn any_text_is_taken_or_refused(
        rest in "[ ]{0,4}(image|ports|env|spec|-)?[:]?[ ]?[-\\[\\]{}:,'\"&*!|>a-z0-9 \n]{0,60}",
        cut in 0usize..200,
    ) {
        let text = with(&rest);
        let text = text.get(..cut).unwrap_or(&text);
        match decode("f.yaml", text) {
            Ok(objects) => assert!(objects.len() <= 1),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
