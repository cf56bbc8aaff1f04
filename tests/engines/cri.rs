//! containerd's CRI plugin, asked as the kubelet asks, with a CNI bridge.
//!
//! The numbers of fields are those of
//! [api.proto](https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto).

use super::containerd::Containerd;
use super::grpc::{Client, Message};
use super::image::BUSYBOX;
use std::fs;
use std::time::{Duration, Instant};

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge",
    "bridge": "cni0", "isGateway": true, "ipam": {"type": "host-local", "ranges":
    [[{"subnet": "10.99.0.0/24"}]]}}]}"#;

/// `ContainerState` and `PodSandboxState` of the API.
const READY: u64 = 0;
const EXITED: u64 = 2;

struct Kubelet {
    client: Client,
}

impl Kubelet {
    #[track_caller]
    fn call(&mut self, method: &str, message: &Message) -> Message {
        let path = format!("/runtime.v1.RuntimeService/{method}");
        self.client.call(&path, message).unwrap_or_else(|| panic!("{method} fails"))
    }

    /// Until the plugin has heard of an image that `ctr` imported.
    fn await_image(&mut self, image: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let message = Message::new().message(1, &Message::new().text(1, image));
        loop {
            let status =
                self.client.call("/runtime.v1.ImageService/ImageStatus", &message).unwrap();
            if !status.get(1).get_text(1).is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{image} does not appear");
        }
    }

    /// A container of the sandbox, started.
    #[track_caller]
    fn start(&mut self, sandbox: &(String, Message), config: &Message) -> String {
        let request = Message::new().text(1, &sandbox.0).message(2, config).message(3, &sandbox.1);
        let id = self.call("CreateContainer", &request).get_text(1);
        self.call("StartContainer", &Message::new().text(1, &id));
        id
    }

    /// Standard output and exit status.
    #[track_caller]
    fn exec(&mut self, id: &str, command: &[&str]) -> (String, u64) {
        let request = Message::new().text(1, id).texts(2, command).number(3, 30);
        let answer = self.call("ExecSync", &request);
        (answer.get_text(1).trim_end().to_owned(), answer.get_number(3))
    }

    #[track_caller]
    fn status(&mut self, id: &str) -> Message {
        self.call("ContainerStatus", &Message::new().text(1, id)).get(1)
    }
}

/// A container of busybox, as the kubelet configures one that asks for little.
fn config(name: &str, script: &str, memory: u64) -> Message {
    // Of the user 1000, its root read-only, with the runtime's default seccomp profile.
    let security = Message::new().message(5, &Message::new().number(1, 1000)).number(7, 1);
    let security = security.message(15, &Message::new().number(1, 0));
    let resources = Message::new().number(3, 512).number(4, memory).number(5, 900);
    Message::new()
        .message(1, &Message::new().text(1, name))
        .message(2, &Message::new().text(1, BUSYBOX))
        .texts(3, &["sh", "-c", script])
        .message(6, &Message::new().text(1, "WHO").text(2, "runp"))
        .text(11, &format!("{name}.log"))
        .message(15, &Message::new().message(1, &resources).message(2, &security))
}

#[test]
fn the_cri_plugin_runs_pods() {
    let network = |world: &super::world::World| drop(world.write("cni/10-pods.conflist", NETWORK));
    let Some(containerd) = Containerd::with("containerd-cri", network) else { return };
    let mut kubelet = Kubelet { client: Client::connect(&containerd.world.path("sock")) };
    kubelet.await_image(BUSYBOX);
    kubelet.await_image(super::image::PAUSE);
    let logs = containerd.world.text("logs");
    let pod = Message::new()
        .message(1, &Message::new().text(1, "web").text(2, "uid-1").text(3, "default"))
        .text(2, "web")
        .text(3, &logs)
        .message(8, &Message::new().text(1, "/pods/web"));
    let sandbox = kubelet.call("RunPodSandbox", &Message::new().message(1, &pod)).get_text(1);
    let ask = Message::new().text(1, &sandbox);
    let status = kubelet.call("PodSandboxStatus", &ask).get(1);
    assert_eq!(status.get_number(3), READY);
    let address = status.get(5).get_text(1);
    assert!(address.starts_with("10.99.0."), "{address:?}");

    let pod = (sandbox, pod);
    let script = "trap 'echo bye; exit 0' TERM; echo hello $WHO; while :; do sleep 0.1; done";
    let web = kubelet.start(&pod, &config("web", script, 32 << 20));
    assert_eq!(kubelet.exec(&web, &["id", "-u"]), ("1000".into(), 0));
    assert_eq!(kubelet.exec(&web, &["hostname"]), ("web".into(), 0));
    assert_eq!(kubelet.exec(&web, &["sh", "-c", "exit 4"]), (String::new(), 4));
    assert_eq!(kubelet.exec(&web, &["sh", "-c", "touch /x 2>/dev/null"]).1, 1);
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(kubelet.exec(&web, &["sh", "-c", limit]), ("33554432".into(), 0));
    let more = Message::new().text(1, &web).message(2, &Message::new().number(4, 48 << 20));
    kubelet.call("UpdateContainerResources", &more);
    assert_eq!(kubelet.exec(&web, &["sh", "-c", limit]), ("50331648".into(), 0));
    assert!(kubelet.exec(&web, &["ip", "-o", "addr"]).0.contains(&address));

    // Another container of the pod reaches the first one's network, and dies of its limit.
    let greedy = config("greedy", "x=0123456789; while :; do x=$x$x; done", 8 << 20);
    let greedy = kubelet.start(&pod, &greedy);
    let deadline = Instant::now() + Duration::from_secs(60);
    // As the kubelet does: this version of the API tells of no events.
    while kubelet.status(&greedy).get_number(3) != EXITED {
        assert!(Instant::now() < deadline, "it lives on");
    }
    let status = kubelet.status(&greedy);
    assert_eq!((status.get_number(7), status.get_text(10)), (137, "OOMKilled".into()));

    kubelet.call("StopContainer", &Message::new().text(1, &web).number(2, 30));
    let status = kubelet.status(&web);
    assert_eq!((status.get_number(3), status.get_number(7)), (EXITED, 0));
    let log = fs::read_to_string(format!("{logs}/web.log")).unwrap();
    assert!(log.contains(" stdout F hello runp\n") && log.contains(" stdout F bye\n"), "{log}");

    for id in [&web, &greedy] {
        kubelet.call("RemoveContainer", &Message::new().text(1, id));
    }
    for method in ["StopPodSandbox", "RemovePodSandbox"] {
        kubelet.call(method, &Message::new().text(1, &pod.0));
    }
    assert_eq!(containerd.world.run(&["ip", "-o", "link", "show", "type", "veth"]).ok(), "");
    containerd.assert_nothing_left();
}
