//! The verbs in groups, each with examples: the one source of `--help` and of the man pages, beside
//! the flags themselves.

/// What is done, and the command line that does it.
type Example = (&'static str, &'static str);

/// A heading, and the verbs under it.
pub type Group = (&'static str, &'static [(&'static str, &'static [Example])]);

/// All verbs.
pub const GROUPS: &[Group] = &[
    (
        "Basic Commands",
        &[
            (
                "create",
                &[
                    ("Create the objects of a manifest", "podctl create -f pod.yaml"),
                    ("Change a manifest in an editor first", "podctl create -f pod.yaml --edit"),
                    (
                        "Create a config map",
                        "podctl create configmap cfg --from-literal=color=blue",
                    ),
                ],
            ),
            (
                "get",
                &[
                    ("List pods", "podctl get pods"),
                    ("List pods of all namespaces, with more columns", "podctl get po -A -o wide"),
                    ("Watch pods with a label", "podctl get po -l app=nginx -w"),
                    ("Print a pod as it is stored", "podctl get pod web -o yaml"),
                    ("Print one field", "podctl get pod web -o jsonpath={.status.podIP}"),
                    (
                        "Print columns of your own",
                        "podctl get po -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName",
                    ),
                    (
                        "List what does not run",
                        "podctl get po --field-selector=status.phase!=Running",
                    ),
                ],
            ),
            (
                "describe",
                &[
                    ("Show all about a pod, its events last", "podctl describe pod web"),
                    ("Show this machine", "podctl describe node"),
                ],
            ),
            ("explain", &[("Explain a field", "podctl explain pod.spec.containers.livenessProbe")]),
            (
                "apply",
                &[
                    ("Create what a manifest says, or change it", "podctl apply -f pod.yaml"),
                    ("Only check a manifest", "podctl apply --dry-run=server -f pod.yaml"),
                    ("Show what was applied last", "podctl apply view-last-applied pod web"),
                ],
            ),
            (
                "delete",
                &[
                    ("Delete a pod and wait until it is gone", "podctl delete pod web"),
                    ("Delete what a manifest says", "podctl delete -f pod.yaml"),
                    ("Delete at once", "podctl delete pod web --grace-period=0 --force"),
                ],
            ),
            (
                "set",
                &[
                    (
                        "Change the image of a container of a pod that runs",
                        "podctl set image pod/web nginx=nginx:1.27",
                    ),
                    (
                        "Print a manifest with another variable",
                        "podctl set env -f pod.yaml --local -o yaml LANG=C.UTF-8",
                    ),
                ],
            ),
            ("edit", &[("Change a pod in an editor", "podctl edit pod web")]),
            (
                "replace",
                &[("Replace a pod, also what cannot change", "podctl replace --force -f pod.yaml")],
            ),
            (
                "patch",
                &[(
                    "Change the image of a container",
                    "podctl patch pod web -p {\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"b\"}]}}",
                )],
            ),
            ("label", &[("Change a label", "podctl label pod web env=debug --overwrite")]),
            ("annotate", &[("Set an annotation", "podctl annotate pod web note=hello")]),
            ("diff", &[("Show what apply would change", "podctl diff -f pod.yaml")]),
            (
                "wait",
                &[
                    ("Wait until a pod is ready", "podctl wait --for=condition=Ready pod/web"),
                    (
                        "Wait for a phase",
                        "podctl wait --for=jsonpath={.status.phase}=Succeeded pod/once --timeout=60s",
                    ),
                ],
            ),
            (
                "events",
                &[
                    ("List what happened to a pod", "podctl events --for pod/web"),
                    ("List warnings of all namespaces", "podctl events -A --types=Warning"),
                ],
            ),
        ],
    ),
    (
        "Working With Pods",
        &[
            (
                "logs",
                &[
                    ("Print what a pod's only container has written", "podctl logs web"),
                    ("Follow one container of a pod", "podctl logs -f web -c nginx"),
                    (
                        "Print the last lines of all containers",
                        "podctl logs web --all-containers --tail=20",
                    ),
                    ("Print the run before the last restart", "podctl logs -p web"),
                    ("Follow all pods with a label", "podctl logs -f -l app=nginx --prefix"),
                ],
            ),
            (
                "exec",
                &[
                    ("Run a command in a pod", "podctl exec web -- date"),
                    ("Have a shell in a container", "podctl exec -it web -c nginx -- sh"),
                ],
            ),
            ("attach", &[("See what a container writes", "podctl attach web -c nginx")]),
            (
                "port-forward",
                &[("Reach a pod's port 80 as localhost:8080", "podctl port-forward web 8080:80")],
            ),
            (
                "cp",
                &[
                    (
                        "Copy a file into a container",
                        "podctl cp ./app.conf web:/etc/app.conf -c nginx",
                    ),
                    ("Copy a directory out of it", "podctl cp web:/var/log ./log"),
                ],
            ),
            (
                "debug",
                &[("Add a container to a pod that runs", "podctl debug -it web --image=host")],
            ),
            ("run", &[("Run a pod without a manifest", "podctl run web --image=nginx:1.27")]),
            ("top", &[("Show what each container uses", "podctl top pod --containers")]),
            ("tree", &[("Show a pod as its processes", "podctl tree web")]),
            (
                "timeline",
                &[
                    ("Show when each step of a pod's life happened", "podctl timeline web"),
                    ("Print it for chrome://tracing or Perfetto", "podctl timeline web -o trace"),
                ],
            ),
        ],
    ),
    (
        "Images",
        &[
            ("pull", &[("Pull an image", "podctl pull nginx:1.27")]),
            ("images", &[("List images", "podctl images")]),
            ("load", &[("Load an archive of docker save or skopeo", "podctl load -i image.tar")]),
            ("save", &[("Save an image", "podctl save -o image.tar nginx:1.27")]),
            ("tag", &[("Give an image another name", "podctl tag nginx:1.27 web:latest")]),
            ("inspect", &[("Show an image", "podctl inspect nginx:1.27")]),
            ("rmi", &[("Remove an image", "podctl rmi nginx:1.27")]),
            (
                "gc",
                &[
                    ("Remove images that no pod uses", "podctl gc"),
                    (
                        "Free a disk that is 85% full, as the kubelet does",
                        "podctl gc --image-gc-high-threshold 85",
                    ),
                ],
            ),
        ],
    ),
    (
        "Settings and Information",
        &[
            ("doctor", &[("See what this machine can do for pods", "podctl doctor")]),
            ("api-resources", &[("List the kinds of objects", "podctl api-resources -o wide")]),
            ("api-versions", &[("List the API's versions", "podctl api-versions")]),
            ("auth", &[("Ask whether you may", "podctl auth can-i create pods")]),
            (
                "config",
                &[(
                    "Set the namespace that commands go by",
                    "podctl config set-context --current --namespace=jobs",
                )],
            ),
            ("cluster-info", &[("See where pods run", "podctl cluster-info")]),
            (
                "completion",
                &[("Complete verbs, flags and names in bash", "source <(podctl completion bash)")],
            ),
            ("version", &[("Print the version", "podctl version")]),
        ],
    ),
];

/// The examples of a verb.
pub fn of(verb: &str) -> &'static [Example] {
    let mut verbs = GROUPS.iter().flat_map(|(_, verbs)| verbs.iter());
    verbs.find(|(name, _)| *name == verb).map_or(&[], |(_, examples)| examples)
}
